"""The turns of a task, as GET /tasks/:id and its /content tell them, each prompt being one."""

from __future__ import annotations

from rebyte_wire.status import dict_items, parse_timestamp, terminal_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rebyte_types import Prompt, Shape

RUNNING_WORDS = frozenset(("running", "pending", "queued", "processing"))
WORD_CHARACTERS = 80


def turns_of(task: Shape) -> list[Prompt]:
    """Return the turns of a task or content, oldest first: the service orders them both ways."""
    turns: list[Any] = dict_items(task, "prompts")
    return sorted(turns, key=lambda turn: parse_timestamp(turn.get("submittedAt")) or 0)


def find_turn(task: Shape, prompt_id: str | None = None) -> Any:
    """Return that very turn, or None; without an id the task, which tells the same fields."""
    if prompt_id is None:
        return task
    return next((turn for turn in turns_of(task) if turn.get("id") == prompt_id), None)


def latest_turn(task: Shape) -> Shape:
    """Return a task's latest turn, empty where none is told."""
    turns: list[Any] = turns_of(task)
    return turns[-1] if turns else {}


def latest_id(task: Shape) -> str | None:
    """Return the id of a task's latest turn, or None where none is told."""
    return latest_turn(task).get("id")


def is_latest(task: Shape, prompt_id: str | None) -> bool:
    """Say whether a turn is the task's latest; without an id, or without turns, it is."""
    return prompt_id is None or not turns_of(task) or latest_id(task) == prompt_id


def undocumented_word(task: Shape, prompt_id: str | None = None) -> str | None:
    """Return the status of a turn (else the task) as the service says it, if no source knows it."""
    turn = find_turn(task, prompt_id) or {}
    word = turn.get("status")
    if not isinstance(word, str) or terminal_status(word):
        return None
    return None if word.strip().lower() in RUNNING_WORDS else word[:WORD_CHARACTERS]


def error_of(task: Shape, prompt_id: str | None = None) -> str:
    """Return what the service says of why a turn (else the task) failed, or an empty text."""
    turn = find_turn(task, prompt_id) or task
    error = turn.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    return error if isinstance(error, str) else ""


def status_of(task: Shape, prompt_id: str | None = None) -> str | None:
    """Return completed, failed or canceled for a turn (else the task), None while it runs."""
    turn = find_turn(task, prompt_id) or {}
    return terminal_status(turn.get("status"))


def ended_at(task: Shape, prompt_id: str | None = None) -> float | None:
    """Return when a turn (else the task) ended, in seconds since 1970 of the service's clock.

    None where it does not tell; the service may put the time of submission in its place.
    """
    turn = find_turn(task, prompt_id) or task
    ended = turn.get("completedAt")
    return None if ended == turn.get("submittedAt") else parse_timestamp(ended)


def seconds_taken(task: Shape, prompt_id: str | None = None) -> float | None:
    """Return the seconds from a turn's submission to its end as the service tells them, or None."""
    turn = find_turn(task, prompt_id) or task
    began = parse_timestamp(turn.get("submittedAt") or turn.get("createdAt"))
    ended = parse_timestamp(turn.get("completedAt"))
    if began is None or ended is None:
        return None
    return max(0.0, float(ended - began))
