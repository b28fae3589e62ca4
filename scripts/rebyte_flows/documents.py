"""Documents of tasks on a disk, where others may have written too: what may be believed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rebyte_types import Json

NUMBER = (int, float)
NUMBER_KINDS: tuple[Any, ...] = (int, NUMBER)
# Seconds, money and counts beyond that, or below nothing, were never told by a task.
NUMBER_MOST = 1e12
# What the keys of a document have to be.
KINDS: dict[str, Any] = {
    "id": str,
    "workspaceId": str,
    "url": str,
    "once": str,
    "status": str,
    "promptId": str,
    "next": list,
    "answer": str,
    "answerBytes": int,
    "answerPath": str,
    "question": dict,
    "failure": dict,
    "files": list,
    "missing": list,
    "refused": list,
    "changes": dict,
    "conflicts": list,
    "value": object,
    "candidate": object,
    "valueErrors": list,
    "repaired": int,
    "warnings": list,
    "requested": dict,
    "executor": str,
    "model": str,
    "usage": dict,
    "costUsd": NUMBER,
    "seconds": NUMBER,
    "events": list,
    "transcriptPath": str,
    "reused": bool,
    "recovered": bool,
    "service": str,
    "rehearsal": bool,
    "error": dict,
}
# What stands in those that are made of parts: the texts of an object.
PARTS = {
    "failure": ("reason",),
    "question": ("text",),
    "error": ("code", "message"),
}
FAULT_PARTS = ("at", "wanted", "came")
LISTS_OF_TEXTS = ("missing", "warnings", "conflicts")
LISTS_OF_OBJECTS = ("next", "files", "refused", "events")


def has_kind(key: str, item: Any) -> bool:
    """Tell whether a key is one of a document, and holds what it has to."""
    kind = KINDS.get(key)
    if kind is None or not isinstance(item, kind):
        return False
    return kind not in NUMBER_KINDS or is_plain_number(item)


def is_plain_number(item: Any) -> bool:
    """Tell whether something is a number that a task may have told; NaN is none."""
    return not isinstance(item, bool) and 0 <= item <= NUMBER_MOST


def is_sound(document: Json) -> bool:
    """Tell whether a document is as it was written, as far as its keys are known."""
    return all(
        has_kind(key, item) and _has_parts(key, item)
        for key, item in document.items()
        if key in KINDS
    )


def _has_parts(key: str, item: Any) -> bool:
    """Tell whether the parts of what a key holds are what they have to be."""
    if key in PARTS:
        return _has_texts(item, PARTS[key])
    if key == "valueErrors":
        return all(_has_texts(part, FAULT_PARTS) for part in item)
    if key in LISTS_OF_TEXTS:
        return all(isinstance(part, str) for part in item)
    if key in LISTS_OF_OBJECTS:
        return all(isinstance(part, dict) for part in item)
    return True


def _has_texts(item: Any, names: tuple[str, ...]) -> bool:
    """Tell whether something is an object with texts under some names."""
    return isinstance(item, dict) and all(
        isinstance(item.get(name), str) for name in names
    )
