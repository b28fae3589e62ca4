"""How a task stands: what is kept of it, what passes, and since when it is over."""

from __future__ import annotations

import time

import pytest

from rebyte_flows.following.polling import FAILURES_AT_MOST, StatusPoller
from rebyte_wire.errors import (
    AuthError,
    DeadlineReached,
    NetworkError,
    NotFound,
    RateLimited,
    RequestRefused,
    RouteMissing,
    ServerError,
)


class Answers:
    """A client that gives one answer after the other; the last one stays."""

    def __init__(self, *answers, clock_skew=None):
        self.answers, self.clock_skew = list(answers), clock_skew

    def get_task(self, task_id):
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return {"status": found} if isinstance(found, str) else found


def poller(*answers, prompt_id=None, age=0, clock_skew=None):
    """Return a StatusPoller whose clock is `now[0]`, and `now`."""
    now = [0.0]
    client = Answers(*answers, clock_skew=clock_skew)
    return StatusPoller(client, "t", prompt_id, age, lambda: now[0]), now


def written(moment):
    """Return a moment as the service writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def test_the_seconds_since_the_end_are_counted_from_when_it_is_seen():
    state, now = poller("running", "completed", "completed", "running", "completed")
    waited = []
    for now[0] in (0.0, 10.0, 14.0, 20.0, 30.0):
        state.poll()
        waited.append(state.waited)
    assert waited == [None, 0, 4, None, 0] and state.status == "completed"


@pytest.mark.parametrize("skew", [None, 0, 3600, -3600])
def test_the_service_says_when_it_ended_by_its_own_clock(skew):
    ended = written(time.time() + (skew or 0) - 100)
    state, _ = poller({"status": "completed", "completedAt": ended}, clock_skew=skew)
    state.poll()
    assert 99 < state.waited < 103
    state, _ = poller(
        {"status": "completed", "completedAt": written(time.time() + 10_000)}
    )
    state.poll()
    assert state.waited == 0


def test_a_turn_is_told_from_the_task():
    task = {
        "status": "running",
        "prompts": [{"id": "a", "status": "succeeded"}, {"id": "b"}],
    }
    for prompt_id, status in (("a", "completed"), ("b", None), (None, None)):
        state, _ = poller(task, prompt_id=prompt_id, age=100)
        state.poll()
        assert state.status == status and state.task == task
    state, _ = poller(task, prompt_id="c", age=100)
    with pytest.raises(NotFound, match="no turn c"):
        state.poll()
    poller({"status": "running"}, prompt_id="c", age=100)[0].poll()


def test_a_task_that_was_just_made_may_not_be_visible_yet():
    state, now = poller(NotFound("no"))
    state.poll()
    now[0] = 5.1
    with pytest.raises(NotFound):
        state.poll()
    with pytest.raises(NotFound):
        poller(NotFound("no"), age=6)[0].poll()


@pytest.mark.parametrize(
    "problem, passes",
    [
        (NetworkError("cut"), True),
        (ServerError("down"), True),
        (RateLimited("slow"), True),
        (NetworkError("tls", retryable=False), True),
        (RequestRefused("no", http_status=400), False),
        (RouteMissing("no"), False),
        (AuthError("no"), False),
        (DeadlineReached("over"), False),
    ],
)
def test_single_failures_pass_and_what_waiting_cannot_mend_does_not(problem, passes):
    state, _ = poller(problem)
    if not passes:
        with pytest.raises(type(problem)):
            state.poll()
        return
    for _ in range(FAILURES_AT_MOST):
        state.poll()
    with pytest.raises(type(problem)):
        state.poll()


def test_an_answer_in_between_forgives_the_failures_before_it():
    state, _ = poller(*([ServerError("down")] * FAILURES_AT_MOST + ["running"]) * 3)
    for _ in range(3 * (FAILURES_AT_MOST + 1)):
        state.poll()
    assert state.status is None


@pytest.mark.parametrize(
    "word, told",
    [
        ("running", None),
        ("Pending", None),
        ("queued", None),
        ("completed", None),
        ("expired", "expired"),
        ("x" * 200, "x" * 80),
        ({"a": 1}, None),
    ],
)
def test_a_word_that_no_source_documents_is_kept_as_it_is(word, told):
    state, _ = poller({"status": word})
    state.poll()
    assert state.word == told


def test_the_moment_of_a_change_is_that_of_the_word():
    state, now = poller("expired", "expired", "idle")
    changes = []
    for now[0] in (1.0, 2.0, 3.0):
        state.poll()
        changes.append(state.changed_at)
    assert changes == [1, 1, 3] and state.polled_at == 3 and "idle" in repr(state)


def test_what_kept_the_last_look_from_telling_is_known_until_one_succeeds():
    away = NetworkError("no connection")
    state, _ = poller(away, "running", ServerError("sick"))
    seen = []
    for _ in range(3):
        state.poll()
        seen.append(state.problem and state.problem.message)
    assert seen == ["no connection", None, "sick"]
    late, _ = poller(DeadlineReached("the time is over"))
    with pytest.raises(DeadlineReached):
        late.poll()
    assert late.problem is None
