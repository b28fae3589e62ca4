"""Events of a task's stream: read from a frame, and shown in the few fields that a caller reads."""

from __future__ import annotations

import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rebyte_types import Event, EventLine, Json

# Under one of these the service puts what an event says; the first that holds a text counts.
TEXT_KEYS = ("content", "text", "result", "message", "output", "question", "thinking")
SPOKEN = ("text", "assistant", "message", "response")
NAME_CHARACTERS = 80
TEXT_CHARACTERS = 200


def parse_object(text: str) -> Any:
    """Return the JSON object in a frame's data, or None.

    NaN, and numbers too large to write down again, are no JSON and read as null.
    """
    try:
        found = json.loads(text, parse_constant=lambda word: None, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _finite(text: str) -> float | None:
    number = float(text)
    return number if abs(number) <= sys.float_info.max else None


def payload_of(event: Event) -> Json:
    """Return an event's payload, empty where it is no object."""
    payload = event.get("payload")
    return payload if isinstance(payload, dict) else {}


def event_text(event: Event) -> str:
    """Return the text an event carries, whatever key it stands under, or an empty text."""
    payload = payload_of(event)
    for key in TEXT_KEYS:
        text = payload.get(key)
        if text and isinstance(text, str):
            return text
    return ""


def event_line(
    event: Event,
    characters: int = TEXT_CHARACTERS,
) -> EventLine:
    """Return an event as a caller reads it: type, tool, text (cut), parent, isError."""
    payload = payload_of(event)
    fields = (
        ("type", event.get("eventType"), NAME_CHARACTERS),
        ("tool", payload.get("name") or payload.get("tool_name"), NAME_CHARACTERS),
        ("text", event_text(event) or payload.get("output"), characters),
        ("parent", event.get("parent"), NAME_CHARACTERS),
    )
    line = {key: _cut(value, limit) for key, value, limit in fields if value}
    if payload.get("is_error"):
        line["isError"] = True
    return line  # type: ignore[return-value]


def _cut(value: Any, characters: int) -> Any:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:characters] + "..." if len(text) > characters else text
