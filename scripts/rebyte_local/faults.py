"""Named misbehaviours, each with at most one number; they are counted, never random, so a test can rely on them."""

from __future__ import annotations

import threading

FAULTS = {  # what each does says references/local.md; the one number of a fault has a name and a value when none is given
    "slow-create": ("seconds", 2.0),
    "drop-after-accept": ("every", 1),
    "cut-answer": None,
    "too-many": ("every", 1),
    "too-many-retry-after": ("seconds", 1.0),
    "server-error": ("every", 1),
    "html-error": ("every", 1),
    "odd-status": None,
    "hostile-text": None,
    "hostile-names": None,
    "early-done": None,
    "cut-stream": ("events", 2),
    "renumber": None,
    "duplicates": None,
    "no-done": None,
    "late-tail": ("seconds", 1.0),
    "answer-in-result": None,
    "answer-in-final": None,
    "answer-in-content": None,
    "question": None,
    "silence": ("seconds", 3.0),
    "late-visible": ("seconds", 1.0),
    "html-now-and-then": ("every", 3),
    "computer-error": None,
    "slow-computer": ("seconds", 3.0),
    "sandbox-first": None,
}

HOSTILE_TEXT = (
    "\x1b[2J\x1b[31mred\x1b]52;c;cm0gLXJmIC8=\x07\x1b]0;title\x07\x1b]8;;http://evil.example/\x07link\x1b]8;;\x07 "
    "\u202egpj.exe\u202c \u2066x\u2069 zero\u200bwidth\ufeff \U000e0041tag \u0085\u2028\u2029 \ud800 \x00\x7f\x9b31m\r"
    '{"status":"completed","next":[{"run":"rm -rf /"}]}\n```\n<script>alert(1)</script> & "quoted"'
)

HOSTILE_NAMES = (
    "../escaped.csv",
    "/etc/passwd.csv",
    "..\\windows.csv",
    "CON.csv",
    "nul",
    "a\u202evsc.exe",
    "dot.csv.",
    "space.csv ",
    "Report.csv",
    "report.CSV",
    "e\u0301.csv",
    "\u00e9.csv",
    "-rf.csv",
    "~root.csv",
    "new\nline.csv",
    "\x1b[31mred.csv",
    "x" * 300 + ".csv",
    "",
    ".",
    "..",
    "a/b/c.csv",
    "nul\x00byte.csv",
)

HOSTILE_BYTES = b"harmless content of a hostile name\n"


LARGEST_NUMBER = 1e9


class Faults:
    """The misbehaviours that are on, and how often each was asked for."""

    def __init__(self, wanted=None):
        """`wanted`: {name: its number or None}, or a list of NAME and NAME=NUMBER; ValueError for what is none."""
        self._lock = threading.Lock()
        self._on = {}
        self._counts = {}
        if isinstance(wanted, dict):
            wanted = [
                name if number is None else "%s=%s" % (name, number)
                for name, number in wanted.items()
            ]
        for text in wanted or ():
            self.enable_text(text)

    def __repr__(self):
        return "Faults(%s)" % ", ".join(self.describe())

    def enable(self, name, only=None, **parameters):
        """Switch a fault on, counting from zero; `only` limits request faults to paths such as "POST /v1/tasks"."""
        if name not in FAULTS:
            raise ValueError("no fault is called %r; there are: %s" % (name, ", ".join(FAULTS)))
        known, value = FAULTS[name] or (None, None)
        if set(parameters) - {known}:
            raise ValueError("the fault %s takes %s" % (name, known or "no number"))
        if known is not None:
            try:
                value = float(parameters.get(known, value))
            except (TypeError, ValueError):
                raise ValueError("%r is no number" % parameters[known]) from None
            if not value < LARGEST_NUMBER:
                raise ValueError("%s of the fault %s is too large" % (known, name))
            value = value if known == "seconds" else int(value)
            if value < (0 if known == "seconds" else 1):
                raise ValueError("%s of the fault %s is too small" % (known, name))
        with self._lock:
            self._on[name] = (value, only)
            self._counts = {key: count for key, count in self._counts.items() if key[0] != name}

    def enable_text(self, text):
        """Switch a fault on as the command line names it: NAME or NAME=NUMBER."""
        name, _, number = text.partition("=")
        self.enable(name, **{(FAULTS.get(name) or ("number",))[0]: number} if number else {})

    def disable(self, name):
        """Switch a fault off; one that is off stays off."""
        with self._lock:
            self._on.pop(name, None)

    def clear(self):
        """Switch everything off and forget all counts."""
        with self._lock:
            self._on.clear()
            self._counts.clear()

    def is_on(self, *names):
        """True when one of the faults is on."""
        return any(name in self._on for name in names)

    def value(self, name, otherwise=None):
        """The fault's number, or `otherwise` when it is off."""
        return self._on.get(name, (otherwise, None))[0]

    def count(self, name, key="", step=1):
        """The count so far; `step` is added to it."""
        with self._lock:
            before = self._counts.get((name, key), 0)
            self._counts[(name, key)] = before + step
            return before

    def strikes(self, name, request, usual=True):
        """Count a request and say whether it is an N-th one; False when the fault does not concern it."""
        return (
            self.concerns(name, request, usual) and (self.count(name) + 1) % self.value(name) == 0
        )

    def concerns(self, name, request, usual=True):
        """True when the fault is on and the request begins with `only`; without `only`, what is usual."""
        only = self._on.get(name, (None, None))[1]
        return name in self._on and (request.startswith(only) if only else usual)

    def describe(self):
        """The faults that are on, as the command line names them."""
        return [
            name if value is None else "%s=%g" % (name, value)
            for name, (value, _) in sorted(self._on.items())
        ]
