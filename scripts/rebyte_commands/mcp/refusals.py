"""What is said where nothing is done: no limit was set, the time is over, a task is not there."""

from __future__ import annotations

from rebyte_commands.mcp import documents, protocol
from rebyte_commands.mcp.protocol import ProtocolError
from rebyte_wire.errors import GuardRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_types import Json

# Codes of errors that say that no such task is known, or none can be meant.
REQUEST_FAULTS = ("not_found", "invalid_input", "usage", "no_question")
TIME_IS_OVER = {
    "code": "deadline",
    "message": "the time of this call was over before the service had answered",
    "hint": "make the same call again",
    "retryable": True,
}


def task_error(document: Json) -> ProtocolError:
    """Return the protocol's error for a task that could not be looked at or changed: the request's
    fault, or the network's and the service's, which may pass.
    """
    error = documents.without_flags(document.get("error") or {})
    words = str(error.get("message") or "no such task")
    code = protocol.INTERNAL_ERROR
    if error.get("code") in REQUEST_FAULTS:
        code = protocol.INVALID_PARAMS
    return ProtocolError(code, words, error)


def no_limit() -> GuardRefused:
    """Return the refusal of a start where the owner has set no limit."""
    problem = GuardRefused(
        "the owner has set no limit, so nothing is started here",
        code="guard_no_limit",
        hint="set REBYTE_MAX_TASKS_PER_DAY, or begin the server with a limit of its own",
    )
    problem.next = [
        {
            "why": "starts cost money, and nobody stands beside each of them here",
            "ask": "Please set REBYTE_MAX_TASKS_PER_DAY for this MCP server, or give it"
            " mcp --max-tasks N.",
        }
    ]
    return problem
