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


def parse_line(line: str) -> JsonObject | None:
    """Return the JSON object of a line, None for anything else; no number in it is infinite."""
    try:
        found = json.loads(line, parse_constant=lambda word: None, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


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
    """Return the words under a key, or else under any that words stand under elsewhere."""
    found = (words_of(record.get(name)) for name in (key, *WORD_KEYS))
    return next(filter(None, found), "")
