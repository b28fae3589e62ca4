"""Waiting for many: within the budget, nobody forgotten, nobody overtaken."""
from __future__ import annotations

import pytest

from rebyte_flows.waiting import wait
from rebyte_wire.calls import Deadline
from rebyte_wire.errors import AuthError, DeadlineReached, NotFound, ServerError


class Service:
    """Tasks that end at given seconds, on a clock that only sleeping moves; counts requests."""

    def __init__(self, ends, *, content=True, questions=(), limit=None):
        self.now, self.ends, self.content, self.questions = 0.0, ends, content, set(questions)
        self.requests, self.broken = [], {}
        self.deadline = Deadline(limit, clock=self.clock)

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += max(seconds, 0.001)

    def _count(self, what):
        self.requests.append((self.now, what))
        self.now += 0.01
        if what in self.broken and self.broken[what](self):
            raise self.broken[what](self)

    def _over(self, task_id):
        return self.now >= self.ends[task_id]

    def list_tasks(self, limit=None, offset=None):
        self._count("list")
        return {"data": [{"id": task_id, "completedAt": "x" if self._over(task_id) else None} for task_id in self.ends][:100]}

    def get_task(self, task_id):
        self._count("get")
        if task_id == "gone":
            raise NotFound("no")
        return {"id": task_id, "status": "completed" if self._over(task_id) else "running"}

    def task_content(self, task_id, events=False):
        self._count("content")
        if task_id == "gone" or not self.content:
            raise NotFound("no")
        asked = {"eventType": "ask_user_question", "payload": {"messageId": "m", "question": "Which?"}}
        return {"status": "succeeded" if self._over(task_id) else "running",
                "prompts": [{"id": "p", "response": "done " + task_id, "events": [asked] if task_id in self.questions else []}]}


def told(service, ids, **more):
    return [(service.now, end) for end in wait(service, ids, clock=service.clock, sleep=service.sleep, **more)]


@pytest.mark.parametrize("content", [True, False])
def test_fifty_tasks_cost_little_more_than_a_request_a_second_and_ends_are_seen_soon(content):
    service = Service({"t%d" % n: 5 + 3.0 * n for n in range(50)}, content=content)
    found = told(service, list(service.ends))
    assert len(found) == 50 and len(service.requests) <= 1.2 * service.now + 5
    late = sorted(now - service.ends[end.id] for now, end in found)
    assert late[25] < 5 and late[-1] < 20
    assert all(end.answer == ("done " + end.id if content else "") for _, end in found)


def test_a_burst_of_ends_is_told_in_the_order_it_was_seen():
    service = Service({"t%d" % n: 20 for n in range(30)})
    found = told(service, list(service.ends))
    assert max(now for now, _ in found) < 20 + 45


def test_any_ends_with_the_first():
    service = Service({"a": 50, "b": 10, "c": 90})
    assert [end.id for _, end in told(service, ["a", "b", "c"], any_of=True)] == ["b"]


def test_a_question_counts_as_ended():
    service = Service({"a": 1e9, "b": 3}, questions=["a"])
    assert {end.id: end.status for _, end in told(service, ["a", "b"])} == {"a": "question", "b": "completed"}


def test_a_question_answered_from_here_is_not_asked_again():
    service = Service({"a": 30}, questions=["a"])
    assert [end.status for _, end in told(service, ["a"], answered=lambda task_id: {"m"})] == ["completed"]


def test_a_task_nobody_knows_is_gone_and_hides_nobody():
    service = Service({"gone": 1e9, "b": 3, "c": 4})
    assert {end.id: end.status for _, end in told(service, ["gone", "b", "c"])} == {"gone": "gone", "b": "completed", "c": "completed"}


def test_the_deadline_ends_the_wait():
    service = Service({"a": 1e9}, limit=30)
    with pytest.raises(DeadlineReached):
        told(service, ["a"])
    assert 30 <= service.now < 32


def test_single_errors_are_forgiven_and_a_refused_key_is_not():
    service = Service({"a": 30, "b": 40, "c": 50})
    service.broken["get"] = lambda self: ServerError("boom") if len(self.requests) % 3 == 0 else None
    assert len(told(service, ["a", "b", "c"])) == 3
    service = Service({"a": 30}, content=False)
    service.broken["get"] = lambda self: AuthError("no")
    with pytest.raises(AuthError):
        told(service, ["a"])
