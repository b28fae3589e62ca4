"""How a document is written: small ASCII JSON, or text for people with foreign control characters
made visible.
"""

from __future__ import annotations

import json
import unicodedata

from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    from rebyte_types import Json, Shape, TaskDocument

    Save = Callable[[str], "str | None"]

BUDGET_BYTES = 8_000
SIGNED_FIELDS = ("downloadUrl", "uploadUrl")
# Pairs to try one after the other until a document fits: characters of a text, items of a list.
LIMITS = ((2000, 100), (600, 40), (200, 15), (80, 5))
DEPTH_LIMIT = 40
VALUE_KEYS = ("value", "candidate")
# So much of a value is shown beside an answer that is cut.
VALUE_BYTES = 3_000
# What `cut_text` adds, and what the path of the whole answer takes.
NOTE_BYTES, PATH_BYTES, LEAST_ANSWER_BYTES = 48, 60, 400
# Control characters, format characters (escape sequences, bidi marks), surrogates, private use,
# separators.
UNSAFE_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
INDEX_DIGITS = 9
# What a document for people ends with, and where it stands.
PLACES = (
    ("the whole answer: ", "answerPath"),
    ("the whole value: ", "valuePath"),
    ("id:   ", "id"),
    ("live: ", "url"),
)
# Made once: a stream has an event on each line.
ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def to_json(value: Any) -> str:
    """Return compact JSON in ASCII; numbers that JSON does not know become null."""
    try:
        return ENCODER.encode(value)
    except ValueError:
        return ENCODER.encode(_without_nan(value))


def _without_nan(value: Any) -> Any:
    """Return a value with null in place of NaN and the infinities."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return value


def escape_controls(text: str) -> str:
    """Make foreign text safe for a terminal: control characters become visible."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_escape_control, text))


def _escape_control(letter: str) -> str:
    if letter in "\n\t" or unicodedata.category(letter) not in UNSAFE_CATEGORIES:
        return letter
    code = ord(letter)
    return "\\u%04x" % code if code < 0x10000 else "\\U%08x" % code


def escape_non_ascii(text: str) -> str:
    """Return a text with everything beyond ASCII written as escapes."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def is_terminal(stream: Any) -> bool:
    """Tell whether a stream is a terminal; a closed or missing one is not."""
    try:
        return stream is not None and bool(stream.isatty())
    except (ValueError, OSError):
        return False


def write_quietly(stream: TextIO | None, text: str) -> bool:
    """Write to a stream for people and tell whether it is still there."""
    try:
        if stream is None:
            return False
        stream.write(text)
        stream.flush()
        return True
    except (OSError, ValueError):
        return False


def without_signed(value: Any) -> Any:
    """Return a value without the signed addresses in it, which are secrets for as long as they
    live.
    """
    if isinstance(value, dict):
        kept = (key for key in value if key not in SIGNED_FIELDS)
        return {key: without_signed(value[key]) for key in kept}
    if isinstance(value, list):
        return [without_signed(item) for item in value]
    return value


def field_of(document: Any, path: str) -> Any:
    """Return what stands at a path such as files.0.path; InputError tells what is there."""
    value = document
    for part in path.split("."):
        index = _index_of(part, value)
        if index is not None:
            value = value[index]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            raise InputError(
                "--field %s: there is no %s, but %s" % (path, part, _parts_of(value)),
                code="no_such_field",
            )
    return value


def _index_of(part: str, value: Any) -> int | None:
    """Return the place in a list that a part of a path names, None if it names none."""
    if not isinstance(value, list):
        return None
    digits = part
    if part.startswith("-"):
        digits = part[1:]
    is_number = digits.isascii() and digits.isdigit()
    if not is_number or len(digits) > INDEX_DIGITS:
        return None
    index = int(part)
    if -len(value) <= index < len(value):
        return index
    return None


def _parts_of(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(sorted(value)) or "nothing"
    if isinstance(value, list):
        return "a list of %d" % len(value)
    return "no parts"


def truncate(document: Any, save: Save) -> Any:
    """Cut any JSON to the budget: first the answer, then every long text and list.

    `save(text)` keeps the whole and returns its path, or None; the document tells it.
    """
    document = _truncate_answer(_move_value(document, save), save)
    whole = to_json(document)
    if len(whole) <= BUDGET_BYTES:
        return document
    kept: Json = {}
    if isinstance(document, dict):
        kept = _whole_or_not(document)
        apart = ("next", *VALUE_KEYS)
        document = {key: item for key, item in document.items() if key not in apart}
    kept["cut"] = {"bytes": len(whole), "path": save(whole)}
    smaller = _fit(document, kept)
    if smaller is None and kept.pop("next", None):
        # Which task it is, and how it stands, matter more than a line to paste.
        smaller = _fit(document, kept)
    return smaller or kept


def _fit(document: Any, kept: Json) -> Json | None:
    """Return a document cut as little as it has to be, beside what is kept; None where it is not
    small enough.
    """
    for text_limit, list_limit in LIMITS:
        smaller = _shorten(document, text_limit, list_limit, 0)
        if not isinstance(smaller, dict):
            smaller = {"data": smaller}
        smaller.update(kept)
        if len(to_json(smaller)) <= BUDGET_BYTES:
            found: Json = smaller
            return found
    return None


def _whole_or_not(document: Json) -> Json:
    """Return what is never cut: a value that is shown, and lines to paste if there is room."""
    kept = {key: document[key] for key in VALUE_KEYS if key in document}
    steps = document.get("next")
    if steps and len(to_json(steps)) <= BUDGET_BYTES // 2:
        kept["next"] = steps
    return kept


def _move_value(document: Any, save: Save) -> Any:
    """Put a value that leaves no room into a file: a cut one would be another value."""
    if not isinstance(document, dict) or len(to_json(document)) <= BUDGET_BYTES:
        return document
    document = dict(document)
    for key in VALUE_KEYS:
        whole = to_json(document.get(key))
        if len(whole) > VALUE_BYTES:
            del document[key]
            document[key + "Bytes"] = len(whole)
            path = save(whole)
            if path:
                document[key + "Path"] = path
    return document


def _truncate_answer(document: Any, save: Save) -> Any:
    """Cut the answer of a task document to what the rest of the document leaves it."""
    answer = document.get("answer") if isinstance(document, dict) else None
    if not isinstance(answer, str) or len(to_json(document)) <= BUDGET_BYTES:
        return document
    document = dict(document)
    path = document.get("answerPath") or save(answer)
    if path:
        document["answerPath"] = path
    document["answer"] = ""
    room = BUDGET_BYTES - len(to_json(document)) - PATH_BYTES
    document["answer"] = cut_text(answer, max(room, LEAST_ANSWER_BYTES))
    return document


def cut_text(text: str, size: int) -> str:
    """Cut a text so that its JSON has at most `size` bytes, and say how long it was."""
    if len(to_json(text)) <= size:
        return text
    low = 0
    high = len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if len(to_json(text[:middle])) <= size - NOTE_BYTES:
            low = middle
        else:
            high = middle - 1
    return _noted(text, low)


def _noted(text: str, length: int) -> str:
    return text[:length] + "... [cut: %d characters in all]" % len(text)


def _shorten(value: Any, text_limit: int, list_limit: int, depth: int) -> Any:
    """Return any JSON with its texts and lists cut to limits."""
    if depth > DEPTH_LIMIT:
        return "..."
    if isinstance(value, str) and len(value) > text_limit:
        return _noted(value, text_limit)
    if isinstance(value, list):
        return _shorten_list(value, text_limit, list_limit, depth + 1)
    if isinstance(value, dict):
        return _shorten_object(value, text_limit, list_limit, depth + 1)
    return value


def _shorten_list(
    items: list[Any], text_limit: int, list_limit: int, depth: int
) -> list[Any]:
    head = [
        _shorten(item, text_limit, list_limit, depth) for item in items[:list_limit]
    ]
    if len(items) <= list_limit:
        return head
    # A word among objects would break whoever reads them; `cut` tells that something is missing.
    if not isinstance(items[0], dict):
        head.append("... [cut: %d in all]" % len(items))
    return head


def _shorten_object(item: Json, text_limit: int, list_limit: int, depth: int) -> Json:
    found = {}
    for key in list(item)[: list_limit * 2]:
        short = key[:text_limit]
        found[short] = _shorten(item[key], text_limit, list_limit, depth)
    return found


# Text for people


def task_text(document: TaskDocument) -> str:
    """Return a task document as a few lines for a person."""
    lines = [_headline(document)]
    if document.get("answer"):
        lines += ["", document["answer"].rstrip("\n"), ""]
    question = document.get("question")
    if question:
        lines.append("it asks: " + question["text"])
        lines += [
            "  %(n)d  %(label)s" % option for option in question.get("options", [])
        ]
    if document.get("failure"):
        lines.append("why: " + document["failure"]["reason"])
    for item in document.get("files", []):
        place = item.get("path") or item["name"]
        lines.append("file: %s (%s bytes)" % (place, item.get("bytes")))
    if document.get("changes"):
        lines.append(_code_line(document["changes"]))
    lines += _notes(document)
    fields: Json = dict(document)
    for label, key in PLACES:
        if fields.get(key):
            lines.append(label + str(fields[key]))
    lines += next_lines(document)
    return "\n".join(lines)


def _code_line(changes: Json) -> str:
    """Return what changed in the code, in one line."""
    figures = (changes["files"], changes["added"], changes["removed"])
    line = "code: %d files, +%d -%d" % figures
    if changes.get("branch"):
        line += " on " + changes["branch"]
    sensitive = len(changes.get("sensitive", []))
    if sensitive:
        line += "; %d of them may run by themselves" % sensitive
    return line


def _notes(document: TaskDocument) -> list[str]:
    lines = ["missing: " + name for name in document.get("missing", [])]
    for key in VALUE_KEYS:
        if key in document:
            lines.append("%s: %s" % (key, to_json(document[key])))  # type: ignore[literal-required]
    for fault in document.get("valueErrors", []):
        place = fault["at"] or "the top"
        lines.append(
            "wrong: at %s, wanted %s, came %s" % (place, fault["wanted"], fault["came"])
        )
    lines += [
        "refused: %(name)s, %(reason)s" % item for item in document.get("refused", [])
    ]
    lines += ["note: " + text for text in document.get("warnings", [])]
    if document.get("reused"):
        lines.append("note: an earlier task, taken up again")
    return lines


def _headline(document: TaskDocument) -> str:
    text = document.get("status", "")
    if "seconds" in document:
        text += " after %s s" % document["seconds"]
    if document.get("rehearsal"):
        text += " (a rehearsal on this machine)"
    return text


def next_lines(document: Any) -> list[str]:
    """Return what is next as lines for a person: what to type, whom to ask, or else what it is
    for.
    """
    steps = document.get("next") if isinstance(document, dict) else None
    if not isinstance(steps, list):
        return []
    return ["next: %s" % _step_text(step) for step in steps if isinstance(step, dict)]


def _step_text(step: Shape) -> str:
    return str(step.get("run") or step.get("ask") or step.get("why") or "")


def plain_text(value: Any, indent: str = "") -> str:
    """Return any JSON as indented lines for a person."""
    if isinstance(value, dict):
        pairs = [
            (key, item) for key, item in value.items() if item not in (None, [], {})
        ]
        return "\n".join(_pair_text(key, item, indent) for key, item in pairs)
    if isinstance(value, list):
        parts = []
        for item in value:
            parts.append(plain_text(item, indent))
            if isinstance(item, dict):
                parts[-1] += "\n"
        return "\n".join(parts).rstrip("\n")
    return indent + _scalar_text(value)


def _pair_text(key: str, item: Any, indent: str) -> str:
    if isinstance(item, (dict, list)):
        return "%s%s:\n%s" % (indent, key, plain_text(item, indent + "  "))
    return "%s%s: %s" % (indent, key, _scalar_text(item))


def _scalar_text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value)
