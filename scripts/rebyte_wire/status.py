"""The one place that reads the service's words: lists, how a task or prompt stands, and when."""

from __future__ import annotations

import re
from calendar import timegm

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

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
# Years from 1970 to 9998; the zone, if it is not Z, as sign, hours and minutes.
TIMESTAMP = (
    r"(?!9999)(19[7-9]\d|[2-9]\d{3})-(0[1-9]|1[012])-(0[1-9]|[12]\d|3[01])"
    r"[T ](\d\d):(\d\d):(\d\d)(\.\d+)?\s*(?:Z|([+-])(\d\d):?(\d\d))?$"
)


def terminal_status(word: object) -> str | None:
    """Return completed, failed or canceled; None for any other word: still running."""
    if not isinstance(word, str):
        return None
    return OUTCOMES.get(word.strip().lower())


def dict_items(answer: object, name: str = "data") -> list[dict[str, Any]]:
    """Return the objects in the list under a name; whatever else stands there is left out."""
    found = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(found, list):
        return []
    return [item for item in found if isinstance(item, dict)]


def items_with_id(page: object) -> list[dict[str, Any]]:
    """Return the tasks (or computers) of a page that have a usable id."""
    return [item for item in dict_items(page) if is_id(item.get("id"))]


def is_id(value: object) -> bool:
    """Say whether a value can be an id: it stands in addresses, file names and lines to paste."""
    return isinstance(value, str) and bool(re.fullmatch(ID, value))


def str_field(item: Mapping[str, Any], name: str) -> str | None:
    """Return the text under a name; None if there is none, or none that could be kept or sent."""
    value = item.get(name)
    # A lone surrogate is no text: it cannot be encoded.
    if not isinstance(value, str) or re.search("[\ud800-\udfff]", value):
        return None
    return value


def parse_timestamp(text: object) -> float | None:
    """Return the moment of a text such as 2026-01-28T12:00:00.000Z or ...+00:00, else None.

    Without a zone it is UTC.
    """
    match = re.match(TIMESTAMP, text.strip()) if isinstance(text, str) else None
    if not match:
        return None
    date = tuple(map(int, match.groups()[:6]))
    fraction, sign, hours, minutes = match.groups("0")[6:]
    seconds_ahead = int(hours) * 3600 + int(minutes) * 60
    moment = timegm(date) + float(fraction)
    return moment + seconds_ahead if sign == "-" else moment - seconds_ahead
