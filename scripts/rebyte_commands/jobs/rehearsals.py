"""What a sandbox does to a task on this machine, told as that and not as the task's own failure."""

from __future__ import annotations

from rebyte_commands.shell.sandbox import ends_with_call
from rebyte_wire.errors import EXIT_NETWORK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_commands.shell.context import Context
    from rebyte_types import Json

ENDS_WITH_CALL = (
    "this sandbox ends the local server together with the call: its addresses are only live"
    " during the call, and later lines do not find a task that still ran"
)


def explain_sandbox(context: Context, document: Json) -> int | None:
    """Add to the document of a task on this machine what the sandbox does to it.

    Return the exit code where its server went away while it ran, else None.
    """
    is_local = document.get("rehearsal") or document.get("service") == "local"
    if is_local and context.options.local and ends_with_call():
        document["warnings"] = [*document.get("warnings", []), ENDS_WITH_CALL]
    if document.get("error", {}).get("code") != "local_server_gone":
        return None
    document["next"] = []
    # Other verbs did not start it: the line that did is not known here.
    if hasattr(context.options, "again"):
        why = "nothing is wrong with the task; this runs the rehearsal again"
        document["next"] = [context.again_step(why)]
    return EXIT_NETWORK
