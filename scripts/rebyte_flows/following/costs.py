"""What a turn used and cost, and what the service warns of, wherever it tells that."""

from __future__ import annotations

from rebyte_flows.following.turns import find_turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rebyte_types import Json, Shape

COST_KEYS = ("costUsd", "cost_usd", "total_cost_usd")
WARNINGS_MOST = 10
WARNING_CHARACTERS = 400


def costs_in(told: Shape) -> Json:
    """Return usage and costUsd as a turn or a `result` event tells them."""
    found: Json = {}
    usage = told.get("usage")
    if isinstance(usage, dict) and usage:
        found["usage"] = usage
    for key in COST_KEYS:
        cost = told.get(key)
        if isinstance(cost, (int, float)) and not isinstance(cost, bool):
            found.setdefault("costUsd", cost)
    return found


def turn_told(task: Shape, prompt_id: str | None) -> Any:
    """Return that turn of a task, empty where it is not told."""
    turn = find_turn(task, prompt_id) if prompt_id else None
    return turn or {}


def warnings_in(told: Shape) -> list[str]:
    """Return what the service itself warns of, each cut to one short text."""
    warnings = told.get("warnings")
    if not isinstance(warnings, list):
        return []
    texts = [text for text in warnings if isinstance(text, str) and text.strip()]
    return [text[:WARNING_CHARACTERS] for text in texts[:WARNINGS_MOST]]
