"""Lines of a program's stream as records, and safe looks into them: any field may be missing."""

from __future__ import annotations

import json
import sys

from rebyte_local.formats import JsonObject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Where programs put words, the first that holds any counts.
WORD_KEYS = ("text", "content", "message", "output", "error", "delta", "result")
DEPTH_MOST = 8  # a nested record deeper than this is told as JSON
# Far above what programs write, and far below where writing it as JSON again fails.
NESTING_MOST = 100
BYTE_ORDER_MARK = "\ufeff"


def parse_line(line: str) -> JsonObject | None:
    """Return the JSON object of a line, None for anything else, also for one that is nested too
    deep to be written again; no number in it is infinite. A byte order mark before it is none of
    its words.
    """
    text = line.lstrip(BYTE_ORDER_MARK)
    try:
        found = json.loads(text, parse_constant=lambda word: None, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and not _is_too_deep(found) else None


def _is_too_deep(record: JsonObject) -> bool:
    """Return True for a record of more levels than NESTING_MOST; looks level by level."""
    level: list[Any] = [record]
    for _ in range(NESTING_MOST):
        inner = [list(one.values()) if isinstance(one, dict) else one for one in level]
        level = [item for items in inner for item in items if _is_container(item)]
        if not level:
            return False
    return True


def _is_container(value: object) -> bool:
    return isinstance(value, (dict, list))


def _finite(text: str) -> float | None:
    number = float(text)
    return number if abs(number) <= sys.float_info.max else None


def at(record: object, *path: str) -> Any:
    """Return what lies at a path of keys, None where it is not there."""
    value = record
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def object_at(record: object, *path: str) -> JsonObject:
    """Return the object at a path, empty where there is none."""
    value = at(record, *path)
    return value if isinstance(value, dict) else {}


def objects_at(record: object, *path: str) -> list[JsonObject]:
    """Return the objects in the list at a path."""
    value = at(record, *path)
    if not isinstance(value, list):
        return []
    return [item for item in value if isinstance(item, dict)]


def string_at(record: object, *path: str) -> str:
    """Return the text at a path, empty where there is none."""
    value = at(record, *path)
    return value if isinstance(value, str) else ""


def number_at(record: object, *path: str) -> float | None:
    """Return the number at a path, None where there is none that a float can hold."""
    value = at(record, *path)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and abs(value) <= sys.float_info.max else None


def words_of(value: object, depth: int = 0) -> str:
    """Return the words in a value of whatever shape; as JSON where there is no place for words."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    words = ""
    if isinstance(value, list) and depth < DEPTH_MOST:
        parts = [words_of(item, depth + 1) for item in value]
        return "\n".join(filter(None, parts))
    if isinstance(value, dict) and depth < DEPTH_MOST:
        words = _words_in(value, depth)
    return words or json.dumps(value, separators=(",", ":"))


def _words_in(value: JsonObject, depth: int) -> str:
    if value.get("type") == "image":
        return "[image]"
    found = (words_of(value.get(key), depth + 1) for key in WORD_KEYS)
    return next(filter(None, found), "")


def words_at(record: JsonObject, key: str) -> str:
    """Return the words under a key; where it is missing, those under any that words stand under
    elsewhere. What is empty says nothing, and a truth value is a setting.
    """
    if isinstance(record.get(key), str):
        return string_at(record, key)
    values = (record.get(name) for name in (key, *WORD_KEYS))
    found = (words_of(value) for value in values if not isinstance(value, bool))
    return next(filter(None, found), "")
