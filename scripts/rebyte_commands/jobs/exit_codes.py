"""Which exit code a document, or many of them, ends a command with."""

from __future__ import annotations

from rebyte_wire.errors import (
    EXIT_CANCELED,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_QUESTION,
    EXIT_RUNNING,
    EXIT_SOME_FAILED,
    EXIT_TASK_FAILED,
    EXIT_TERMINATED,
    EXIT_UNKNOWN,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rebyte_types import Json, TaskDocument

STATUS_CODES = {
    "completed": EXIT_DONE,
    "failed": EXIT_TASK_FAILED,
    "canceled": EXIT_CANCELED,
    "question": EXIT_QUESTION,
    "running": EXIT_RUNNING,
}


# What was asked for beside the answer and did not come, or not as it was to be.
INCOMPLETE = ("missing", "refused", "valueErrors")


def exit_code_of(document: TaskDocument) -> int:
    """Return the exit code of one task's document."""
    code = STATUS_CODES.get(document["status"], EXIT_RUNNING)
    is_incomplete = any(document.get(key) for key in INCOMPLETE)
    return EXIT_SOME_FAILED if code == EXIT_DONE and is_incomplete else code


def standing_for_exit(document: Json) -> str:
    """Return how one of many stands: its standing, or `incomplete` where it completed and what was
    asked for beside the answer did not come.
    """
    # Lazy: only many tasks pay for the table.
    from rebyte_flows.values.table import standing_of

    standing = standing_of(document)
    is_incomplete = any(document.get(key) for key in INCOMPLETE)
    return "incomplete" if standing == "completed" and is_incomplete else standing


def exit_code_of_many(
    statuses: Iterable[str], ended_by: int | None = None, *, may_go_on: bool = True
) -> int:
    """Return the exit code of several tasks by how each stands: the first of the table that
    applies.

    `ended_by` is the code of what ended the command early, if anything; without `may_go_on` what
    is left was given up.
    """
    found = set(statuses)
    if "unknown" in found:
        return EXIT_UNKNOWN
    if "question" in found:
        return EXIT_QUESTION
    left = found & {"running", "waiting"}
    some_failed = not found <= left | {"completed"}
    if ended_by in (EXIT_INTERRUPTED, EXIT_TERMINATED):
        if some_failed:
            return EXIT_SOME_FAILED
        return ended_by if left else EXIT_DONE
    if ended_by:
        return ended_by
    if "running" in left or (left and may_go_on):
        return EXIT_RUNNING
    return EXIT_SOME_FAILED if some_failed or left else EXIT_DONE
