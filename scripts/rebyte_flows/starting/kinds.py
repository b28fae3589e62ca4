"""The kinds of paid starts, with what sets them apart as data."""

from __future__ import annotations

from rebyte_wire.retry import kind_of_start
from rebyte_wire.status import str_field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_types import Json, Shape


class Kind:
    """One kind of paid start.

    `id_field` is the field of the service's answer that names what was started; `is_turn` says
    that it belongs to a task that is there already; `counts` that it is a new task or machine for
    the guards; `repeats` that a delivered one is shown again, for a while, when its line is typed
    again without a name.
    """

    def __init__(
        self, name: str, *, id_field: str, is_turn: bool, repeats: bool
    ) -> None:
        self.name = name
        self.id_field = id_field
        self.is_turn = is_turn
        self.counts = not is_turn
        self.repeats = repeats

    def __repr__(self) -> str:
        return "Kind(%s)" % self.name

    def columns(self, answer: Shape) -> Json:
        """Return what an answer tells of the start, as columns of the ledger."""
        if self.is_turn:
            return {"prompt_id": answer.get(self.id_field)}
        workspace = str_field(answer, "workspaceId")
        if self is COMPUTER:
            workspace = answer["id"]
        return {
            "task_id": answer["id"],
            "workspace_id": workspace,
            "url": str_field(answer, "url"),
        }


TASK = Kind("task", id_field="id", is_turn=False, repeats=True)
COMPUTER = Kind("computer", id_field="id", is_turn=False, repeats=True)
# Saying "go on" twice is normal, so a follow-up is only shown again when it has a name.
FOLLOW_UP = Kind("follow-up", id_field="promptId", is_turn=True, repeats=False)
# A reply answers one question of a task; the question's own id keeps it from being sent twice.
REPLY = Kind("reply", id_field="promptId", is_turn=True, repeats=False)
KINDS = {kind.name: kind for kind in (TASK, FOLLOW_UP, COMPUTER, REPLY)}
COUNTED = tuple(kind.name for kind in KINDS.values() if kind.counts)


def kind_for(method: str, path: str) -> Kind | None:
    """Return the kind of paid start that a request to a path below /v1 makes, None for any other
    request.
    """
    name = kind_of_start(method, path)
    return KINDS[name] if name else None
