"""The one place that reads the service's words: lists, how a task or prompt stands, and when."""

from __future__ import annotations

import re
from calendar import timegm

FINAL = ("completed", "failed", "canceled")
OUTCOMES = {
    "completed": "completed",
    "succeeded": "completed",
    "success": "completed",
    "done": "completed",
    "failed": "failed",
    "error": "failed",
    "canceled": "canceled",
    "cancelled": "canceled",
}
ID = r"(?=.{1,200}$)[A-Za-z0-9_.~:-]*[A-Za-z0-9_~:-][A-Za-z0-9_.~:-]*"
FORM = r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(\.\d+)?\s*(Z|[+-]\d\d:?\d\d)?$"


def terminal_status(word) -> str | None:
    """Return completed, failed or canceled; None for any other word, which means still running."""
    return OUTCOMES.get(word.strip().lower()) if isinstance(word, str) else None


def dict_items(answer, name="data") -> list:
    """Return the objects in the list that an answer holds under a name; whatever else stands there is left out."""
    found = answer.get(name) if isinstance(answer, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def items_with_id(page) -> list:
    """Return the tasks (or computers) of a page that have a usable id."""
    return [item for item in dict_items(page) if is_id(item.get("id"))]


def is_id(value) -> bool:
    """Say whether a value can be the id of something: it stands in addresses, file names and lines to paste."""
    return isinstance(value, str) and bool(re.fullmatch(ID, value))


def str_field(item, name):
    """Return the text under a name, None where there is none or it is no text that could be kept or sent."""
    value = item.get(name)
    if not isinstance(value, str) or any("\ud800" <= letter <= "\udfff" for letter in value):
        return None
    return value


def parse_timestamp(text):
    """Return the moment a text such as 2026-01-28T12:00:00.000Z or ...+00:00 names, or None; without a zone it is UTC."""
    match = re.match(FORM, text.strip()) if isinstance(text, str) else None
    if not match:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if not (1970 <= year <= 9998 and 1 <= month <= 12 and 1 <= day <= 31):
        return None
    moment = timegm((year, month, day, hour, minute, second))
    return moment + float(match.group(7) or 0) - _zone_seconds(match.group(8))


def _zone_seconds(zone):
    if not zone or zone == "Z":
        return 0
    digits = zone[1:].replace(":", "")
    return (1 if zone[0] == "+" else -1) * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)
