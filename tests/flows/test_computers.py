"""Waiting for a computer: what ends it, and what is forgiven on the way."""
from __future__ import annotations

import pytest

from rebyte_flows.waiting import FAILURES_AT_MOST, reason_of, wait_until_usable
from rebyte_flows.credit import credits_left, note_of
from rebyte_wire.calls import Deadline
from rebyte_wire.errors import AuthError, DeadlineReached, NotFound, ServerError

WAITING = {"id": "c", "status": "provisioning", "sandboxId": None}


class Script:
    """A client whose computer answers from a list; errors are raised."""

    def __init__(self, *answers, seconds=None):
        self.answers, self.deadline, self.pauses = list(answers), Deadline(seconds), []

    def get_computer(self, computer_id):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait(self):
        return wait_until_usable(self, "c", sleep=self.pauses.append)


@pytest.mark.parametrize("last", [
    {"id": "c", "status": "ready"}, {"id": "c", "status": "provisioning", "sandboxId": "s"}, {"id": "c", "status": "odd", "sandboxId": "s"},
    {"id": "c", "status": "error", "sandboxId": "s", "provisionError": "no room"}])
def test_it_ends_on_ready_on_a_sandbox_id_and_on_an_error(last):
    client = Script(WAITING, {"id": "c", "status": "waking"}, {}, last)
    assert client.wait() is last and len(client.pauses) == 3


def test_single_failures_are_forgiven_and_many_are_not():
    assert Script(WAITING, ServerError("x"), ServerError("x"), {"status": "ready"}).wait() == {"status": "ready"}
    with pytest.raises(ServerError):
        Script(*[ServerError("x")] * (FAILURES_AT_MOST + 1)).wait()


@pytest.mark.parametrize("problem", [AuthError("x"), NotFound("x"), DeadlineReached("x")])
def test_some_failures_end_it_at_once(problem):
    client = Script(WAITING, problem)
    with pytest.raises(type(problem)):
        client.wait()
    assert len(client.pauses) == 1


def test_it_ends_before_a_pause_that_the_time_has_no_room_for():
    client = Script(WAITING, seconds=1)
    with pytest.raises(DeadlineReached):
        client.wait()
    assert client.pauses == []


def test_the_reason_is_the_services_own_or_said_to_be_missing():
    assert reason_of({"provisionError": "no room"}) == "no room" and "no reason" in reason_of({})


@pytest.mark.parametrize("answer, note", [
    ({"totalAvailable": 0, "balance": 50}, "the organization's credit is spent (0 left)"), ({"totalAvailable": -3}, "the organization's credit is spent (-3 left)"),
    ({"balance": 99.5}, "the organization's credit is low (99.5 left)"), ({"totalAvailable": 100}, None), ({"totalAvailable": "0"}, None),
    ({"totalAvailable": True}, None), ({}, None)])
def test_credit_is_named_when_it_is_low_or_spent_and_told(answer, note):
    assert note_of(credits_left(answer)) == note
