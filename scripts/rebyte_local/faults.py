"""Named misbehaviours, each with at most one number.

They are counted, never random, so a test can rely on them. references/local.md says what each does.
"""

from __future__ import annotations

import threading

# Name -> (what its number is called, its value when none is given), or None for no number.
FAULTS: dict[str, tuple[str, float] | None] = {
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
    "heartbeats": ("seconds", 1.0),
    "lost-end": ("events", 1),
    "held-stream": ("seconds", 5.0),
    "no-stream": None,
    "ping-events": None,
    "unknown-status": None,
    "late-visible": ("seconds", 1.0),
    "html-now-and-then": ("every", 3),
    "computer-error": None,
    "slow-computer": ("seconds", 3.0),
    "sandbox-first": None,
}

HOSTILE_TEXT = (
    "\x1b[2J\x1b[31mred\x1b]52;c;cm0gLXJmIC8=\x07\x1b]0;title\x07"
    "\x1b]8;;http://evil.example/\x07link\x1b]8;;\x07 "
    "\u202egpj.exe\u202c \u2066x\u2069 zero\u200bwidth\ufeff \U000e0041tag \u0085\u2028\u2029 "
    "\ud800 \x00\x7f\x9b31m\r"
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

    def __init__(self, wanted: dict[str, object] | list[str] | None = None) -> None:
        """Take {name: its number or None}, or a list of NAME and NAME=NUMBER.

        Raises ValueError for what is none.
        """
        self._lock = threading.Lock()
        self._on: dict[str, tuple[float | None, str | None]] = {}
        self._counts: dict[tuple[str, str], int] = {}
        if isinstance(wanted, dict):
            wanted = [
                name if n is None else "%s=%s" % (name, n) for name, n in wanted.items()
            ]
        for text in wanted or ():
            self.enable_text(text)

    def __repr__(self) -> str:
        return "Faults(%s)" % ", ".join(self.describe())

    def enable(self, name: str, only: str | None = None, **parameters: object) -> None:
        """Switch a fault on, counting from zero.

        `only` limits request faults to requests that begin so, such as "POST /v1/tasks".
        """
        number = _check_number(name, parameters)
        with self._lock:
            self._on[name] = (number, only)
            self._counts = {
                key: count for key, count in self._counts.items() if key[0] != name
            }

    def enable_text(self, text: str) -> None:
        """Switch a fault on as the command line names it: NAME or NAME=NUMBER."""
        name, _, number = text.partition("=")
        parameter = FAULTS.get(name) or ("number", 0)
        self.enable(name, **({parameter[0]: number} if number else {}))

    def clear(self) -> None:
        """Switch everything off and forget all counts."""
        with self._lock:
            self._on.clear()
            self._counts.clear()

    def is_on(self, *names: str) -> bool:
        """Return True when one of the faults is on."""
        return any(name in self._on for name in names)

    def value(self, name: str, default: float = 0.0) -> float:
        """Return the fault's number, or `default` when it is off."""
        number = self._on.get(name, (None, None))[0]
        return default if number is None else number

    def count(self, name: str, key: str = "", step: int = 1) -> int:
        """Return the count so far, and add `step` to it."""
        with self._lock:
            before = self._counts.get((name, key), 0)
            self._counts[(name, key)] = before + step
            return before

    def hits(self, name: str, request: str, by_default: bool = True) -> bool:
        """Count a request that the fault applies to; return True for every N-th one."""
        if not self.applies_to(name, request, by_default):
            return False
        return (self.count(name) + 1) % self.value(name) == 0

    def applies_to(self, name: str, request: str, by_default: bool = True) -> bool:
        """Return True when the fault is on and `only` fits; without `only`, `by_default`."""
        if name not in self._on:
            return False
        only = self._on[name][1]
        return request.startswith(only) if only else by_default

    def describe(self) -> list[str]:
        """Return the faults that are on, as the command line names them."""
        numbers = {name: number for name, (number, _) in sorted(self._on.items())}
        return [
            name if n is None else "%s=%g" % (name, n) for name, n in numbers.items()
        ]


def _check_number(name: str, parameters: dict[str, object]) -> float | None:
    """Return the fault's number; raises ValueError for an unknown name or a wrong number."""
    if name not in FAULTS:
        raise ValueError(
            "no fault is called %r; there are: %s" % (name, ", ".join(FAULTS))
        )
    parameter, default = FAULTS[name] or ("", 0.0)
    if set(parameters) - {parameter}:
        raise ValueError("the fault %s takes %s" % (name, parameter or "no number"))
    if not parameter:
        return None
    given = parameters.get(parameter, default)
    try:
        number = float(str(given))
    except ValueError:
        raise ValueError("%r is no number" % given) from None
    least = 0 if parameter == "seconds" else 1
    if not least <= number < LARGEST_NUMBER:
        raise ValueError(
            "%s of the fault %s is too small or too large" % (parameter, name)
        )
    return number if parameter == "seconds" else int(number)
