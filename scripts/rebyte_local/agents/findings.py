"""What a line of a program's stream says, in one vocabulary for all programs.

A finding is (type, payload). text, thinking, tool_use, tool_result and agent_event become events
of the task as they are; session, retry, denied, failure, spent and end are for the account of the
turn.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Tuple

from rebyte_local.agents.records import words_of
from rebyte_local.formats import JsonObject

Finding = Tuple[str, JsonObject]
SHOWN = frozenset(("text", "thinking", "tool_use", "tool_result", "agent_event"))
INPUT_TOKENS = "inputTokens"
OUTPUT_TOKENS = "outputTokens"
CACHED_TOKENS = "cachedInputTokens"
REASONING_TOKENS = "reasoningTokens"
# What a turn cannot have cost: a number beyond is a fault of the program that told it.
TOKENS_MOST = 10**12
USD_MOST = 10.0**6


def session(session_id: str, model: str = "") -> Finding:
    """Return the id under which the conversation goes on later, and the model that answers."""
    return "session", {"id": session_id, "model": model}


def text(words: str, is_delta: bool = False) -> Finding:
    """Return words of the program; a delta continues the words before it."""
    payload: JsonObject = {"content": words}
    if is_delta:
        payload["is_delta"] = True
    return "text", payload


def thinking(words: str) -> Finding:
    """Return what the program thought aloud."""
    return "thinking", {"content": words}


def tool_use(tool_id: str, name: str, given: object) -> Finding:
    """Return that a tool is being used, with what was given to it."""
    return "tool_use", {"id": tool_id, "name": name or "tool", "input": given}


def tool_result(tool_id: str, output: object, is_error: bool) -> Finding:
    """Return what a tool gave back."""
    payload = {"tool_id": tool_id, "output": words_of(output), "is_error": is_error}
    return "tool_result", payload


def unknown(record: JsonObject) -> Finding:
    """Return a record that no adapter knows, whole, as an event that is not taken for an answer."""
    name = record.get("type")
    content = json.dumps(record, separators=(",", ":"))
    return "agent_event", {"name": words_of(name) or "unknown", "content": content}


def unless_silent(
    kind: str, silent: Collection[str], record: JsonObject
) -> list[Finding]:
    """Return a record as an unknown one, or nothing for a kind that has nothing to say."""
    return [] if kind in silent else [unknown(record)]


def note(words: str) -> Finding:
    """Return words about the run that are no answer."""
    return "agent_event", {"name": "note", "content": words}


def retry(reason: str, status: float | None = None) -> Finding:
    """Return that the program tries its model service once more, which is no progress."""
    return "retry", {"reason": reason, "status": status}


def denied(tool_id: str, name: str, reason: str) -> Finding:
    """Return that the program did not let a tool run."""
    return "denied", {"id": tool_id, "name": name, "reason": reason}


def failure(reason: str) -> Finding:
    """Return why the turn fails, unless the program's last word says that it did not."""
    return "failure", {"reason": reason}


def spent(usage: JsonObject, cost: float | None = None) -> Finding:
    """Return what one step cost; the steps of a turn add up."""
    return "spent", {"usage": usage, "cost": _plausible(cost)}


def _plausible(cost: float | None) -> float | None:
    return cost if cost is not None and 0 <= cost <= USD_MOST else None


def end(
    is_error: bool,
    words: str = "",
    usage: JsonObject | None = None,
    cost: float | None = None,
) -> Finding:
    """Return the program's last word on the turn: its answer, or why it failed."""
    payload = {"is_error": is_error, "words": words, "usage": usage}
    return "end", dict(payload, cost=_plausible(cost))


def counts(record: JsonObject, **names: str) -> JsonObject:
    """Return token counts of a record under our names, given as ours=theirs."""
    found = {ours: record.get(theirs) for ours, theirs in names.items()}
    return {name: value for name, value in found.items() if _is_count(value)}


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= TOKENS_MOST
