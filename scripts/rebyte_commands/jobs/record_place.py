"""Where a start was written down, told where that may not be found again: in a sandbox's fallback
folder.
"""

from __future__ import annotations

from rebyte_wire.errors import LedgerUnwritable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_commands.shell.context import Context
    from rebyte_types import Json, Step

NOT_LASTING = "this start is recorded in %s, which may not outlast this machine"
NOT_FOUND = (
    "a run outside of this sandbox finds this start by its id, by its name or its words only with"
    " REBYTE_STATE_DIR=%s"
)
UNREAD = "the ledger in %s cannot be read from here: what was started there is not known here"
UNREAD_WHY = "so that nothing is started twice, in the sandbox and out of it"
UNREAD_ASK = "Please let commands in my sandbox read %s, where Rebyte's ledger lies."
REFUSED_WHY = "starts need a ledger that lasts"
REFUSED_ASK = (
    "Please let commands in my sandbox write to ~/.local/state/rebyte, or let me run this line"
    " outside of the sandbox, so that the limit can be counted and names are kept."
)


def tell_place(context: Context, document: Json) -> None:
    """Add to the document of a start where it is recorded, if a later run may not find that."""
    try:
        state = context.state
        unread = list(context.ledger.unread)
    except LedgerUnwritable:
        return
    warnings = [UNREAD % folder for folder in unread]
    steps: list[Step] = [
        {"why": UNREAD_WHY, "ask": UNREAD_ASK % folder} for folder in unread
    ]
    if not state.lasting:
        warnings.append(NOT_LASTING % state.path)
    if not state.lasting and not state.is_found:
        steps.append({"why": NOT_FOUND % state.path})
    if warnings:
        document["warnings"] = [*document.get("warnings", []), *warnings]
        document["next"] = [*document.get("next", []), *steps]


def refused_step() -> Step:
    """Return what to ask the human for where a start is refused for want of a lasting ledger."""
    return {"why": REFUSED_WHY, "ask": REFUSED_ASK}
