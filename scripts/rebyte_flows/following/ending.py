"""When following a task may end: pure decisions about what a connection to its stream brought."""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_flows.following.questions import Question
    from rebyte_types import Shape

# The last words can come after the status has flipped; they are waited for so long.
DRAIN_AT_LEAST_SECONDS = 5
DRAIN_AT_MOST_SECONDS = 10
BACK_OFF_SECONDS = (0.2, 0.5, 1, 2, 4, 8)
DRAIN_PAUSE_SECONDS = 0.8
# A status that no source knows means running, but not for ever once `done` was said.
STUCK_SECONDS = 60
DONE_PER_STEP = 6

# came: how many events it brought, told before or not. cut: it ended badly, or a trouble that may
# pass kept it from opening. done: it said so. behind: `done` counts more events than came. left: it
# was still open, and had brought nothing for a while.
Connect = namedtuple("Connect", "came cut done behind left", defaults=(False,))


class Outcome:
    """How following a task ended: `status` is completed, failed, canceled, question or gone.

    `task` is what the service told with it, `prompt_id` the turn, `final` what `done` said last;
    `answer` may be cut, `answer_bytes` is its true length; `error` says why it is gone.
    """

    def __init__(
        self,
        id: str,
        status: str,
        *,
        task: Shape | None = None,
        prompt_id: str | None = None,
        final: str | None = None,
        question: Question | None = None,
        answer: str = "",
        error: Exception | None = None,
    ) -> None:
        self.id = id
        self.status = status
        self.task: Shape = task or {}
        self.prompt_id = prompt_id
        self.final = final
        self.question = question
        self.answer = answer
        self.answer_bytes = len(answer.encode("utf-8", "replace"))
        self.error = error

    def __repr__(self) -> str:
        return "Outcome(%s %s)" % (self.id, self.status)


def may_end(
    connect: Connect,
    *,
    was_over: bool,
    waited: float | None,
    quiet: float,
    spoken: bool,
    patience: float = DRAIN_AT_MOST_SECONDS,
) -> bool:
    """Say whether the end can be trusted once a connection is over.

    `waited` are the seconds since the task ended, None while it runs, and `quiet` those since this
    watch began or heard something new; `was_over` says that the status was final before this
    connection ended; `spoken` that words followed the last tool use. `patience` is how long nothing
    new has to come where connections do not get to their end.
    """
    if waited is None:
        return False
    if spoken and _is_whole(connect, was_over):
        return True
    if connect.cut or connect.left:
        # What follows the cut, or has not arrived yet, may be the answer: also where the task
        # ended long ago, or the machine is so slow that the seconds since are few connections.
        return waited >= DRAIN_AT_MOST_SECONDS and quiet >= patience
    if waited >= DRAIN_AT_MOST_SECONDS:
        return True
    return was_over and min(waited, quiet) >= DRAIN_AT_LEAST_SECONDS


def _is_whole(connect: Connect, was_over: bool) -> bool:
    """Tell whether a connection brought all that there is to say."""
    if connect.came == 0 or connect.cut or connect.behind:
        return False
    return connect.done or was_over


def is_stuck(connect: Connect, *, unchanged: float) -> bool:
    """Say whether a task has ended whose status is a word that no source documents.

    It has when its stream says `done` and nothing has changed for `unchanged` seconds.
    """
    return connect.done and unchanged >= STUCK_SECONDS


def pause_before_next(
    connect: Connect,
    idle: int,
    is_over: bool,
) -> float:
    """Return the seconds to wait before connecting again.

    `idle` counts the connections in a row that brought nothing new; once the task is over, only
    its last words are waited for.
    """
    if idle == 0:
        return BACK_OFF_SECONDS[0]
    if is_over:
        return DRAIN_PAUSE_SECONDS
    # A stream that says `done` at once belongs to a task that waits for its turn.
    steps = idle // DONE_PER_STEP if connect.done else idle
    pause = BACK_OFF_SECONDS[min(steps, len(BACK_OFF_SECONDS) - 1)]
    return max(pause, DRAIN_PAUSE_SECONDS) if connect.done else pause
