"""Waiting for any or all of many tasks, and for an agent computer, in slices of time."""

from __future__ import annotations

import time
from collections import deque

from rebyte_flows.following.result import (
    prompts_in,
    question_in,
    question_in_stream,
    read_content,
    response_in,
)
from rebyte_wire.errors import AuthError, DeadlineReached, NotFound, RebyteError
from rebyte_wire.status import items_with_id, terminal_status

REQUESTS_PER_SECOND = 1.1
BURST_REQUESTS = 5
LIST_EVERY_SECONDS = 2.5
FEW_TASKS = 2
LOOK_INSIDE_EVERY_VISITS = 2
STREAM_EVERY_VISITS = 4
LIST_ROWS = 100
MISSES_AT_MOST = 2
FAILURES_AT_MOST = 12
COMPUTER_POLL_SECONDS = 2.0
ANSWER_KEPT_CHARACTERS = 8_000


class Ended:
    """A task that needs no more waiting: completed, failed, canceled, question or gone.

    `task` is what the service said of it last, `prompt_id` its latest turn, `answer` its first 8,000 characters, `answer_bytes` how long it is.
    """

    def __init__(self, task_id, status, task=None, *, answer="", question=None, error=None):
        self.id, self.status, self.question, self.error = task_id, status, question, error
        self.task = {key: task.get(key) for key in ("url", "rehearsal")} if task else {}
        turns = prompts_in(task or {})
        self.prompt_id = turns[-1].get("id") if turns else None
        self.answer, self.answer_bytes = (
            answer[:ANSWER_KEPT_CHARACTERS],
            len(answer.encode("utf-8", "replace")),
        )

    def __repr__(self):
        return "Ended(%s %s)" % (self.id, self.status)


def wait(client, task_ids, *, any_of=False, answered=None, clock=time.monotonic, sleep=time.sleep):
    """Yield an Ended for each task as it ends (the first only with `any_of`); raises DeadlineReached when time is over.

    One list a tick says whom to ask first; the rest are asked in turn, within 1.1 requests a second. A question counts as ended, and so
    does a task the service does not know. Single failures are forgiven, a refused key is not.
    """
    return _Waiting(client, task_ids, any_of, answered or (lambda task_id: ()), clock, sleep).ends()


class _Waiting:
    def __init__(self, client, task_ids, any_of, answered, clock, sleep):
        self.client, self.any_of, self.answered = client, any_of, answered
        self.clock, self.sleep = clock, sleep
        self.turn, self.hinted, self.visits = deque(dict.fromkeys(task_ids)), deque(), {}
        self.next_list, self.failures, self.missed = clock(), 0, 0
        self.allowance, self.counted_at = float(BURST_REQUESTS), clock()

    def ends(self):
        """Yield an Ended for each task as it ends."""
        while self.turn:
            if len(self.turn) > FEW_TASKS and self.clock() >= self.next_list:
                self.next_list = self.clock() + LIST_EVERY_SECONDS
                self._list()
            end = self._visit(*self._whom())
            if end:
                self.turn.remove(end.id)
                yield end
                if self.any_of:
                    return

    def _spend(self):
        """Wait until one more request is within the budget; raises DeadlineReached when there is no time for it."""
        while self._allowance_now() < 1:
            self._pause((1 - self.allowance) / REQUESTS_PER_SECOND)
        self.allowance -= 1

    def _allowance_now(self):
        """Return how many requests are within the budget by now; raises DeadlineReached when the time is over."""
        self._check_deadline()
        now = self.clock()
        self.allowance = min(
            BURST_REQUESTS, self.allowance + (now - self.counted_at) * REQUESTS_PER_SECOND
        )
        self.counted_at = now
        return self.allowance

    def _whom(self):
        """Return (the task to ask next, whether a list said that it is over)."""
        while self.hinted:
            task_id = self.hinted.popleft()
            if task_id in self.turn:
                return task_id, True
        self.turn.rotate(-1)
        return self.turn[-1], False

    def _list(self):
        """Let one list say who has ended, so that those are asked first."""
        self._spend()
        try:
            items = items_with_id(self.client.list_tasks(limit=LIST_ROWS))
        except RebyteError as problem:
            self._forgive(problem)
            return
        over = {item["id"] for item in items if item.get("completedAt")}
        # In the order they were first seen to be over: none is overtaken.
        self.hinted.extend(
            task_id for task_id in self.turn if task_id in over and task_id not in self.hinted
        )

    def _visit(self, task_id, hinted):
        """Ask about one task: by turns the whole of it (status, question, answer) and its plain status."""
        visit = self.visits[task_id] = self.visits.get(task_id, 0) + 1
        try:
            if self.missed < MISSES_AT_MOST and (hinted or visit % LOOK_INSIDE_EVERY_VISITS == 1):
                end = self._look_inside(task_id)
                if end:
                    return end
                if end is None:
                    return None
            return self._ask(task_id)
        except NotFound as problem:
            return Ended(task_id, "gone", error=problem)
        except RebyteError as problem:
            self._forgive(problem)
            return None

    def _look_inside(self, task_id):
        """Return an Ended, None while it runs, or False where the service does not tell what is inside."""
        self._spend()
        content = read_content(self.client, task_id)
        self.missed = self.missed + 1 if content is None else 0
        if content is None:
            return False
        status = terminal_status(content.get("status"))
        if status:
            return Ended(task_id, status, content, answer=response_in(content))
        question = question_in(content, self.answered(task_id))
        return Ended(task_id, "question", content, question=question) if question else None

    def _ask(self, task_id):
        self._spend()
        task = self.client.get_task(task_id)
        self.failures = 0
        status = terminal_status(task.get("status"))
        if not status:
            return self._look_into_stream(task_id, task)
        content = None
        if self.missed < MISSES_AT_MOST:
            self._spend()
            content = read_content(self.client, task_id, events=False)
        final = task.get("finalResult")
        return Ended(
            task_id,
            status,
            dict(content or {}, **task),
            answer=response_in(content or {}) or (final if isinstance(final, str) else ""),
        )

    def _look_into_stream(self, task_id, task):
        """Where the service does not tell what is inside, let the stream say now and then whether the task asks; else None."""
        if self.missed < MISSES_AT_MOST or self.visits[task_id] % STREAM_EVERY_VISITS:
            return None
        self._spend()
        question = question_in_stream(self.client, task_id, self.answered(task_id))
        return Ended(task_id, "question", task, question=question) if question else None

    def _forgive(self, problem):
        if isinstance(problem, (AuthError, DeadlineReached)):
            raise problem
        self.failures += 1
        if self.failures > FAILURES_AT_MOST:
            raise problem

    def _pause(self, seconds):
        left = self.client.deadline.left()
        self.sleep(seconds if left is None else min(seconds, left))

    def _check_deadline(self):
        if self.client.deadline.expired:
            raise DeadlineReached(
                "the time is over and %d of the tasks still run" % len(self.turn),
                hint="type the same line again",
            )


def how_it_stands(computer):
    """Return ready, error or provisioning: an error counts first, and a sandbox id counts as ready."""
    if computer.get("status") == "error":
        return "error"
    return (
        "ready"
        if computer.get("status") == "ready" or computer.get("sandboxId")
        else "provisioning"
    )


def reason_of(computer):
    """Return why a computer could not be provisioned, in the service's words."""
    return str(computer.get("provisionError") or "the service gives no reason")


def wait_until_usable(client, computer_id, *, sleep=time.sleep, on_look=None):
    """Ask until a computer is ready, has a sandbox id, or is in error, and return it; raises DeadlineReached.

    Single failures are forgiven; a refused key and a computer that is not there are not.
    """
    failures = 0
    while True:
        try:
            computer, failures = client.get_computer(computer_id), 0
        except (AuthError, DeadlineReached, NotFound):
            raise
        except RebyteError:
            failures += 1
            if failures > FAILURES_AT_MOST:
                raise
            computer = {}
        if how_it_stands(computer) != "provisioning":
            return computer
        if on_look:
            on_look(computer)
        left = client.deadline.left()
        if left is not None and left <= COMPUTER_POLL_SECONDS:
            raise DeadlineReached(
                "the computer is still being provisioned",
                hint="type the same line again to go on waiting",
            )
        sleep(COMPUTER_POLL_SECONDS)
