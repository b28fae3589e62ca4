"""What a harness's sandbox does to a rehearsal, told as that and not as the task's own failure."""

from __future__ import annotations

from rebyte_commands.shell.sandbox import ends_with_call
from rebyte_wire.errors import NetworkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_commands.shell.context import Context
    from rebyte_types import Json

# How the local server begins the answer of a prompt that it found cut off when it started.
CUT_OFF = "The local server was stopped while this prompt ran"
ENDS_WITH_CALL = (
    "this sandbox ends the local server together with the call: its addresses are only live"
    " during the call, and later lines do not find a task that still ran"
)


def explain_sandbox(context: Context, document: Json) -> int | None:
    """Add to a rehearsal's document what the sandbox does to it.

    Return the exit code where its server went away while it ran, else None.
    """
    if not document.get("rehearsal"):
        return None
    if context.options.local and ends_with_call():
        document["warnings"] = [*document.get("warnings", []), ENDS_WITH_CALL]
    reason = document.get("failure", {}).get("reason", "")
    if not reason.startswith(CUT_OFF):
        return None
    del document["failure"]
    problem = NetworkError(
        "the local server went away while this rehearsal ran, and the task with it",
        code="local_server_gone",
        hint="a sandbox ends it with the call: choose a --max-wait in which it can finish",
        retryable=False,
    )
    document["error"] = problem.as_dict()
    why = "nothing is wrong with the task; this runs the rehearsal again"
    document["next"] = [context.again_step(why)]
    return problem.exit_code
