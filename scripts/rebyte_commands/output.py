"""stdout: one document, small and ASCII; text for people on a terminal; foreign text made harmless."""

from __future__ import annotations

import json
import os
import sys
import unicodedata

BUDGET_BYTES = 8_000
SIGNED_FIELDS = ("downloadUrl", "uploadUrl")
STRING_LIMITS = (2000, 600, 200, 80)
LIST_LIMITS = (100, 40, 15, 5)
DEPTH_LIMIT = 40
# Made once: a stream has an event on each line.
ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))


def to_json(value):
    """Return compact JSON in ASCII."""
    return ENCODER.encode(value)


def escape_controls(text):
    """Make foreign text safe for a terminal: escapes, control characters and bidi marks become visible, lines stay lines."""
    return "".join(
        letter
        if letter in "\n\t"
        or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else "\\u%04x" % ord(letter)
        if ord(letter) < 65536
        else "\\U%08x" % ord(letter)
        for letter in text
    )


def is_terminal(stream):
    """Tell whether a stream is a terminal; a closed or missing one is not."""
    try:
        return stream is not None and stream.isatty()
    except (ValueError, OSError):
        return False


def escape_non_ascii(text):
    """Return a text with everything beyond ASCII written as escapes."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def silence_stdout():
    """Point stdout nowhere, so that the interpreter's last flush does not complain."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError:
        pass
    sys.stdout = None


def without_signed(value):
    """Return a value without the signed addresses in it, which are secrets for as long as they live."""
    if isinstance(value, dict):
        return {
            key: without_signed(item) for key, item in value.items() if key not in SIGNED_FIELDS
        }
    if isinstance(value, list):
        return [without_signed(item) for item in value]
    return value


def field_of(document, path):
    """Return what stands at a path such as answer or files.0.path; raises KeyError(the part that is missing, where it is missing)."""
    value = document
    for part in path.split("."):
        if (
            isinstance(value, list)
            and part.lstrip("-").isdigit()
            and -len(value) <= int(part) < len(value)
        ):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            raise KeyError(part, value)
    return value


def fit_answer(document, keep_whole):
    """Cut the answer of a task document to what the budget leaves; `keep_whole(text)` stores it and returns the path."""
    size = len(to_json(document))
    if size <= BUDGET_BYTES or not isinstance(document.get("answer"), str):
        return document
    path = document.get("answerPath") or keep_whole(document["answer"])
    document = dict(document, answerPath=path) if path else dict(document)
    answer = document["answer"]
    room = BUDGET_BYTES - (len(to_json(dict(document, answer=""))))
    document["answer"] = cut_to(answer, max(room - 60, 400))
    return document


def cut_to(text, size):
    """Cut a text so that its JSON has at most `size` bytes, and say how long it was."""
    if len(to_json(text)) <= size:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if len(to_json(text[:middle])) <= size - 48 else (low, middle - 1)
        )
    return text[:low] + "... [cut: %d characters in all]" % len(text)


def fit(value, keep_whole):
    """Shrink any JSON to the budget: long texts and lists are cut, and the whole is kept where `cut.path` says."""
    whole = to_json(value)
    if len(whole) <= BUDGET_BYTES:
        return value
    # A line to paste is whole or not there.
    steps = value.get("next") if isinstance(value, dict) else None
    steps = {"next": steps} if steps and len(to_json(steps)) <= BUDGET_BYTES // 2 else {}
    value = (
        {key: item for key, item in value.items() if key != "next"}
        if isinstance(value, dict)
        else value
    )
    note = {"bytes": len(whole), "path": keep_whole(whole)}
    for text_limit, list_limit in zip(STRING_LIMITS, LIST_LIMITS):
        smaller = _shrunk(value, text_limit, list_limit)
        smaller = (
            dict(smaller, cut=note, **steps)
            if isinstance(smaller, dict)
            else {"data": smaller, "cut": note}
        )
        if len(to_json(smaller)) <= BUDGET_BYTES:
            return smaller
    return dict({"cut": note}, **steps)


def _shrunk(value, text_limit, list_limit, depth=0):
    if depth > DEPTH_LIMIT:
        return "..."
    if isinstance(value, str) and len(value) > text_limit:
        return value[:text_limit] + "... [cut: %d characters in all]" % len(value)
    if isinstance(value, list):
        head = [_shrunk(item, text_limit, list_limit, depth + 1) for item in value[:list_limit]]
        # A word among objects would break whoever reads them; the note at the end tells that something is missing.
        return head + (
            ["... [cut: %d in all]" % len(value)]
            if len(value) > list_limit and not isinstance(value[0], dict)
            else []
        )
    if isinstance(value, dict):
        pairs = list(value.items())[: list_limit * 2]
        return {
            key[:text_limit]: _shrunk(item, text_limit, list_limit, depth + 1)
            for key, item in pairs
        }
    return value


def task_text(document):
    """Return a task document as a few lines for a person."""
    lines = [
        "%s%s%s"
        % (
            document.get("status", ""),
            " after %s s" % document["seconds"] if "seconds" in document else "",
            " (a rehearsal on this machine)" if document.get("rehearsal") else "",
        )
    ]
    if document.get("answer"):
        lines += ["", document["answer"].rstrip("\n"), ""]
    question = document.get("question")
    if question:
        lines += ["it asks: " + question["text"]] + [
            "  %(n)d  %(label)s" % option for option in question.get("options", [])
        ]
    if document.get("failure"):
        lines.append("why: " + document["failure"]["reason"])
    for item in document.get("files", []):
        lines.append("file: %s (%s bytes)" % (item.get("path") or item["name"], item.get("bytes")))
    lines += ["missing: " + name for name in document.get("missing", [])]
    lines += ["refused: %(name)s, %(reason)s" % item for item in document.get("refused", [])]
    lines += ["note: " + text for text in document.get("warnings", [])]
    lines += ["note: an earlier task, taken up again"] if document.get("reused") else []
    if document.get("answerPath"):
        lines.append("the whole answer: " + document["answerPath"])
    lines += ["id:   %s" % document["id"]] if "id" in document else []
    lines += ["live: %s" % document["url"]] if document.get("url") else []
    return "\n".join(lines + next_lines(document))


def next_lines(document):
    """Return what is next as lines for a person: what to type, whom to ask, or else what it is for."""
    steps = document.get("next") if isinstance(document, dict) else None
    return [
        "next: %s" % (step.get("run") or step.get("ask") or step.get("why"))
        for step in steps or []
        if isinstance(step, dict)
    ]


def plain_text(value, indent=""):
    """Return any JSON as indented lines for a person."""
    if isinstance(value, dict):
        return "\n".join(
            _plain_pair(key, item, indent)
            for key, item in value.items()
            if item not in (None, [], {})
        )
    if isinstance(value, list):
        return "\n".join(
            plain_text(item, indent) + ("\n" if isinstance(item, dict) else "") for item in value
        ).rstrip("\n")
    return indent + (value if isinstance(value, str) else json.dumps(value))


def _plain_pair(key, item, indent):
    if isinstance(item, (dict, list)):
        return "%s%s:\n%s" % (indent, key, plain_text(item, indent + "  "))
    return "%s%s: %s" % (indent, key, item if isinstance(item, str) else json.dumps(item))
