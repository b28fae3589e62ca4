"""Waiting for any or all of many tasks, and for an agent computer, in slices of time."""

from __future__ import annotations

import time
from collections import deque

from rebyte_flows.following.answer import response_in
from rebyte_flows.following.ending import Outcome
from rebyte_flows.following.questions import question_in, question_in_stream
from rebyte_flows.following.turns import latest_id
from rebyte_wire.errors import AuthError, DeadlineReached, NotFound, RebyteError
from rebyte_wire.status import items_with_id, terminal_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from rebyte_client import RebyteClient
    from rebyte_flows.following.questions import Question
    from rebyte_types import Json, Shape

REQUESTS_PER_SECOND = 1.1
# So few tasks are asked one by one; of more a list says who has ended.
FEW_TASKS = 2
ASKED_PER_TICK = 2
LIST_ROWS = 100
# What each task is asked in turn: its content tells status, answer and question in one request.
CONTENT, STATUS, STREAM = "content", "status", "stream"
LOOKS = (CONTENT, STATUS, CONTENT, STREAM)
FAILURES_AT_MOST = 12
COMPUTER_POLL_SECONDS = 2.0
ANSWER_KEPT_CHARACTERS = 8_000


def wait(
    client: RebyteClient,
    task_ids: Iterable[str],
    *,
    any_of: bool = False,
    answered: Callable[[str], Collection[str]] | None = None,
    sleep: Callable[[float], object] = time.sleep,
    on_told: Callable[[str], object] = lambda task_id: None,
) -> Iterator[Outcome]:
    """Yield an Outcome for each task as it ends; with `any_of` of the first look that finds one.

    One list a tick says whom to ask first, the others are asked in turn, within 1.1 requests a
    second. A question counts as ended, and so does a task the service does not know. `answered`
    gives the message ids of a task's questions that were answered. `on_told(task_id)` is called
    whenever the service says how a task stands. Raises DeadlineReached when time is over; single
    failures are forgiven, a refused key is not.
    """
    ring = Ring(client, task_ids, answered or (lambda task_id: ()), sleep, on_told)
    yield from ring.outcomes(any_of)


class Ring:
    """The tasks that are waited for, each standing in it once for each of LOOKS."""

    def __init__(
        self,
        client: RebyteClient,
        task_ids: Iterable[str],
        answered: Callable[[str], Collection[str]],
        sleep: Callable[[float], object],
        on_told: Callable[[str], object],
    ) -> None:
        self._client = client
        self._answered = answered
        self._sleep = sleep
        self._on_told = on_told
        self._left = dict.fromkeys(task_ids)
        self._ring = deque((task_id, look) for look in LOOKS for task_id in self._left)
        self._hinted: dict[str, None] = {}
        self._offers_content = True
        self._content_refused = False
        self._requests = 0
        self._failures = 0

    def __repr__(self) -> str:
        return "Ring(%d tasks)" % len(self._left)

    def outcomes(self, any_of: bool) -> Iterator[Outcome]:
        """Yield an Outcome for each task as it ends; see wait."""
        count = len(self._left)
        while self._left and not (any_of and len(self._left) < count):
            self._requests = 0
            if len(self._left) > FEW_TASKS:
                self._list()
            for _ in range(min(ASKED_PER_TICK, len(self._left))):
                outcome = self._visit()
                if outcome:
                    del self._left[outcome.id]
                    yield outcome
            if self._left:
                self._pause()

    def _pause(self) -> None:
        pause = self._client.deadline.within(self._requests / REQUESTS_PER_SECOND)
        self._sleep(pause.left() or 0.0)
        self._check_deadline()

    def _check_deadline(self) -> None:
        if self._client.deadline.expired:
            raise DeadlineReached(
                "the time is over and %d of the tasks still run" % len(self._left),
                hint="type the same line again",
            )

    def _list(self) -> None:
        """Let one list say who has ended, so that those are asked first, in that order."""
        self._requests += 1
        try:
            items = items_with_id(self._client.list_tasks(limit=LIST_ROWS))
        except RebyteError as problem:
            self._count_failure(problem)
            return
        for item in items:
            self._on_told(item["id"])
        over = {item["id"] for item in items if item.get("completedAt")}
        self._hinted.update(
            (task_id, None) for task_id in self._left if task_id in over
        )

    def _next(self) -> tuple[str, str]:
        """Return the task to ask next, and how."""
        while self._hinted:
            task_id = next(iter(self._hinted))
            del self._hinted[task_id]
            if task_id in self._left:
                return task_id, CONTENT
        while self._ring[0][0] not in self._left:
            self._ring.popleft()
        self._ring.rotate(-1)
        return self._ring[-1]

    def _visit(self) -> Outcome | None:
        """Ask one task; returns its Outcome if it has ended."""
        self._check_deadline()
        task_id, look = self._next()
        try:
            content = self._content(task_id) if look == CONTENT else None
            task = self._task(task_id) if content is None else content
            self._on_told(task_id)
            status = terminal_status(task.get("status"))
            if status:
                return self._ended(task_id, status, task, content)
            question = self._question(task_id, look, content)
        except NotFound as problem:
            return Outcome(task_id, "gone", error=problem)
        except RebyteError as problem:
            self._count_failure(problem)
            return None
        if question is None:
            return None
        return Outcome(
            task_id,
            "question",
            task=_brief(task),
            prompt_id=question.prompt_id,
            question=question,
        )

    def _content(
        self,
        task_id: str,
        events: bool = True,
    ) -> Shape | None:
        """Return what the undocumented /content tells, None where it is not offered or fails."""
        self._content_refused = False
        if not self._offers_content:
            return None
        self._requests += 1
        try:
            return self._client.task_content(task_id, events=events)
        except (AuthError, DeadlineReached):
            raise
        except RebyteError as problem:
            self._content_refused = not problem.retryable
            return None

    def _task(self, task_id: str) -> Shape:
        self._requests += 1
        task = self._client.get_task(task_id)
        self._failures = 0
        if self._content_refused:
            # The task is there and its content is not: this service does not offer it.
            self._offers_content = False
        return task

    def _ended(
        self,
        task_id: str,
        status: str,
        task: Shape,
        content: Shape | None,
    ) -> Outcome:
        if content is None:
            content = self._content(task_id, events=False) or {}
        final = task.get("finalResult")
        answer = response_in(content) or (final if isinstance(final, str) else "")
        outcome = Outcome(
            task_id,
            status,
            task=_brief(task),
            prompt_id=latest_id(task) or latest_id(content),
            answer=answer,
        )
        # Many tasks are kept until all have ended; `answer_bytes` keeps the true length.
        outcome.answer = answer[:ANSWER_KEPT_CHARACTERS]
        return outcome

    def _question(
        self,
        task_id: str,
        look: str,
        content: Shape | None,
    ) -> Question | None:
        answered = {str(word) for word in self._answered(task_id)}
        if content is not None:
            return question_in(content, answered)
        if look != STREAM or self._offers_content:
            return None
        self._requests += 1
        return question_in_stream(self._client, task_id, answered)

    def _count_failure(self, problem: RebyteError) -> None:
        if isinstance(problem, (AuthError, DeadlineReached)):
            raise problem
        self._failures += 1
        if self._failures > FAILURES_AT_MOST:
            raise problem


def _brief(task: Shape) -> Json:
    return {key: value for key, value in task.items() if key != "prompts"}


def computer_status(computer: Shape) -> str:
    """Return ready, error or provisioning; an error counts first, and a sandbox id is ready."""
    if computer.get("status") == "error":
        return "error"
    if computer.get("status") == "ready" or computer.get("sandboxId"):
        return "ready"
    return "provisioning"


def provision_error(computer: Shape) -> str:
    """Return why a computer could not be provisioned, in the service's words."""
    return str(computer.get("provisionError") or "the service gave no reason")


def wait_until_usable(
    client: RebyteClient,
    computer_id: str,
    *,
    sleep: Callable[[float], object] = time.sleep,
    on_poll: Callable[[Shape], object] | None = None,
) -> Shape:
    """Ask until a computer is ready, has a sandbox id, or is in error, and return it.

    `on_poll(computer)` is told how it stands. Raises DeadlineReached; single failures are
    forgiven, a refused key and a computer that is not there are not.
    """
    failures = 0
    while True:
        try:
            computer = client.get_computer(computer_id)
            failures = 0
        except (AuthError, DeadlineReached, NotFound):
            raise
        except RebyteError:
            failures += 1
            if failures > FAILURES_AT_MOST:
                raise
            computer = {}
        if computer_status(computer) != "provisioning":
            return computer
        if on_poll:
            on_poll(computer)
        left = client.deadline.left()
        if left is not None and left <= COMPUTER_POLL_SECONDS:
            raise DeadlineReached(
                "the computer is still being provisioned",
                hint="type the same line again to go on waiting",
            )
        sleep(COMPUTER_POLL_SECONDS)
