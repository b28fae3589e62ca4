"""How a task stands, asked of the service now and then: the only word about its end that counts."""

from __future__ import annotations

import time

from rebyte_flows.following.turns import (
    ended_at,
    find_turn,
    status_of,
    turns_of,
    undocumented_word,
)
from rebyte_wire.errors import (
    AnswerUnreadable,
    DeadlineReached,
    NetworkError,
    NotFound,
    RebyteError,
    RouteMissing,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rebyte_client import RebyteClient
    from rebyte_types import Shape

NEW_TASK_GRACE_SECONDS = 5
FAILURES_AT_MOST = 8


class StatusPoller:
    """Asks for the status of a task, or of one of its turns, and keeps what was said last.

    `status` is completed, failed or canceled, None while it runs; `word` the service's own, if no
    source documents it; `task` all that was told; `polled_at` and `changed_at` are moments.
    """

    def __init__(
        self,
        client: RebyteClient,
        task_id: str,
        prompt_id: str | None,
        age: float,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._task_id = task_id
        self._prompt_id = prompt_id
        self._clock = clock
        self._visible_at = clock() - age + NEW_TASK_GRACE_SECONDS
        self._failures = 0
        self._over_at: float | None = None
        self.task: Shape = {}
        # What kept the last look from telling anything, None after one that did.
        self.problem: RebyteError | None = None
        self.status: str | None = None
        self.word: str | None = None
        self.polled_at = clock()
        self.changed_at = clock()

    def __repr__(self) -> str:
        return "StatusPoller(%s, %s)" % (self._task_id, self.status or self.word)

    def poll(self) -> None:
        """Ask once. Single failures may pass; what waiting cannot mend is raised."""
        self.polled_at = self._clock()
        try:
            task = self._client.get_task(self._task_id)
            if turns_of(task) and find_turn(task, self._prompt_id) is None:
                raise NotFound(
                    "the task %s has no turn %s" % (self._task_id, self._prompt_id)
                )
        except RebyteError as problem:
            self._count_failure(problem)
            return
        self._failures = 0
        self.problem = None
        self.task = task
        self.status = status_of(task, self._prompt_id)
        word = undocumented_word(task, self._prompt_id)
        if word != self.word:
            self.word = word
            self.changed_at = self._clock()
        if self.status is None:
            self._over_at = None
        elif self._over_at is None:
            self._over_at = self._clock() - self._seconds_since_end()

    @property
    def waited(self) -> float | None:
        """The seconds since the end, None while it runs."""
        return None if self._over_at is None else self._clock() - self._over_at

    def _seconds_since_end(self) -> float:
        """Return how long ago the service says it ended, 0 when it does not tell."""
        moment = ended_at(self.task, self._prompt_id)
        if moment is None:
            return 0.0
        return max(0.0, time.time() + (self._client.clock_skew or 0) - moment)

    def _count_failure(self, problem: RebyteError) -> None:
        if not isinstance(problem, DeadlineReached):
            self.problem = problem
        if isinstance(problem, NotFound) and not isinstance(problem, RouteMissing):
            # A task that was just made may not be visible yet.
            if self._clock() > self._visible_at:
                raise problem
            return
        self._failures += 1
        if isinstance(problem, DeadlineReached) or not self._may_pass(problem):
            raise problem
        if self._failures > FAILURES_AT_MOST:
            raise problem

    def _may_pass(self, problem: RebyteError) -> bool:
        if isinstance(problem, AnswerUnreadable):
            # A page in place of a status may be a proxy's; before any, the address may be wrong.
            return bool(self.task)
        return problem.retryable or isinstance(problem, NetworkError)
