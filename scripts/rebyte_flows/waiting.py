"""Any or all of many tasks, in one process, within a budget of requests."""
from __future__ import annotations

import time
from collections import deque

from rebyte_flows.asking import question_in_content
from rebyte_wire.errors import AuthError, DeadlineReached, NotFound, RebyteError
from rebyte_wire.status import outcome_of

REQUESTS_PER_SECOND = 1.1
LIST_EVERY_SECONDS = 2.5
FEW_TASKS = 2
QUESTION_EVERY_VISITS = 3
LIST_ROWS = 100
FAILURES_AT_MOST = 12


class Ended:
    """A task that needs no more waiting: completed, failed, canceled, question or gone; `task` is what get said last."""

    def __init__(self, task_id, status, task=None, question=None, error=None):
        self.id, self.status, self.task, self.question, self.error = task_id, status, task or {}, question, error

    def __repr__(self):
        return "Ended(%s %s)" % (self.id, self.status)


def wait(client, task_ids, *, any_of=False, answered=None, clock=time.monotonic, sleep=time.sleep):
    """Yield an Ended for each task as it ends (the first only with `any_of`); raises DeadlineReached when time is over.

    One list a tick says whom to ask first; a get settles it; the rest are asked in turn. A question counts as ended, and so
    does a task the service does not know. Single failures are forgiven, a refused key is not.
    """
    return _Waiting(client, task_ids, any_of, answered or (lambda task_id: ()), clock, sleep).ends()


class _Waiting:
    def __init__(self, client, task_ids, any_of, answered, clock, sleep):
        self.client, self.any_of, self.answered = client, any_of, answered
        self.clock, self.sleep = clock, sleep
        self.turn, self.hinted, self.visits = deque(dict.fromkeys(task_ids)), deque(), {}
        self.next_list, self.failures, self.problem = clock() + LIST_EVERY_SECONDS, 0, None

    def ends(self):
        first_round = len(self.turn)
        while self.turn:
            began = self.clock()
            spent, end = self._step()
            if end:
                self.turn.remove(end.id)
                yield end
                if self.any_of:
                    return
            first_round -= 1
            # Each task is asked once at once, so that what has ended already is told without waiting.
            if self.turn and first_round < 0:
                self._pause(spent / REQUESTS_PER_SECOND - (self.clock() - began))

    def _step(self):
        """Do what is due next; returns (requests spent, an Ended or None)."""
        self._check_deadline()
        if len(self.turn) > FEW_TASKS and self.clock() >= self.next_list:
            self.next_list = self.clock() + LIST_EVERY_SECONDS
            self._list()
            return 1, None
        task_id = self._whom()
        return self._visit(task_id)

    def _whom(self):
        while self.hinted:
            task_id = self.hinted.popleft()
            if task_id in self.turn:
                return task_id
        self.turn.rotate(-1)
        return self.turn[-1]

    def _list(self):
        try:
            items = self.client.list_tasks(limit=LIST_ROWS).get("data") or []
        except RebyteError as problem:
            self._forgive(problem)
            return
        over = {item.get("id") for item in items if isinstance(item, dict) and item.get("completedAt")}
        self.hinted = deque(task_id for task_id in self.turn if task_id in over)

    def _visit(self, task_id):
        try:
            task = self.client.get_task(task_id)
            self.failures = 0
        except NotFound as problem:
            return 1, Ended(task_id, "gone", error=problem)
        except RebyteError as problem:
            self._forgive(problem)
            return 1, None
        status = outcome_of(task.get("status"))
        if status:
            return 1, Ended(task_id, status, task)
        visit = self.visits[task_id] = self.visits.get(task_id, 0) + 1
        if visit % QUESTION_EVERY_VISITS != 1:
            return 1, None
        question = question_in_content(self.client, task_id, self.answered(task_id))
        return 2, Ended(task_id, "question", task, question) if question else None

    def _forgive(self, problem):
        if isinstance(problem, (AuthError, DeadlineReached)):
            raise problem
        self.failures += 1
        if self.failures > FAILURES_AT_MOST:
            raise problem

    def _pause(self, seconds):
        left = self.client.deadline.left() if self.client.deadline is not None else None
        if left is not None:
            seconds = min(seconds, left)
        if seconds > 0:
            self.sleep(seconds)

    def _check_deadline(self):
        if self.client.deadline is not None and self.client.deadline.expired:
            raise DeadlineReached("the time is over and %d of the tasks still run" % len(self.turn), hint="type the same line again")
