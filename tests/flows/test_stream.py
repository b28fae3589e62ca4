"""Watching one task or many: what may end it, what is forgiven, what is told in any case."""

from __future__ import annotations

import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from rebyte_client import RebyteClient
from rebyte_flows.following.answer import AnswerBuilder, response_of
from rebyte_flows.following.delegation import Delegation
from rebyte_flows.following.ending import Outcome
from rebyte_flows.following.polling import FAILURES_AT_MOST as FAILURES_IN_A_ROW
from rebyte_flows.following.questions import Question
from rebyte_flows.following.waiting import (
    FAILURES_AT_MOST,
    provision_error,
    wait,
    wait_until_usable,
)
from rebyte_flows.starting.credit import credits_left, note_of
from rebyte_local.server import LocalServer
from rebyte_wire.errors import (
    AuthError,
    DeadlineReached,
    InputError,
    NetworkError,
    NotFound,
    RateLimited,
    RequestRefused,
    RouteMissing,
    ServerError,
)
from rebyte_wire.requests import Deadline

from .service import WORK, Service, Stream, event, frames, told, watch


def cut_after(count, work=WORK):
    """Return a stream that is cut after so many events."""
    return Stream(frames(work[:count], done=None), cut=True)


MORE = WORK + [event("text", 4, content="and more")]
TALK = [
    event("text", 0, content="on it"),
    event("tool_use", 1),
    event("text", 2, content="done"),
]


STORIES = {
    "a whole stream is told once": ([frames(WORK)], ["completed"], 4),
    "done is not believed while the status says running": (
        [frames(WORK[:2]), frames(WORK)],
        ["running", "completed"],
        4,
    ),
    "a status that flips before the last words is waited out": (
        [frames(WORK[:3]), frames(WORK[:3]), frames(WORK)],
        ["completed"],
        4,
    ),
    "a task that never says a word ends after the drain": (
        [frames(WORK[:3])],
        ["completed"],
        3,
    ),
    "a cut is never an end": (
        [cut_after(2), cut_after(3), frames(WORK)],
        ["completed"],
        4,
    ),
    "a cut after words is no end, though the status is known": (
        [cut_after(3), cut_after(4, MORE), frames(MORE)],
        ["completed"],
        5,
    ),
    "a `done` that counts more than came is no end": (
        [frames(WORK).replace(b'"lastSeq": 3', b'"lastSeq": 4'), frames(MORE)],
        ["completed"],
        5,
    ),
    "a drain that is cut each time ends all the same": (
        [cut_after(3)],
        ["completed"],
        3,
    ),
    "a status that flips back is waited for anew": (
        [frames(WORK[:3])] * 3 + [frames(WORK)],
        ["completed", "running", "running", "completed"],
        4,
    ),
    "broken frames are passed over": (
        [
            b"event: event\ndata: {not json\n\nevent: event\ndata: [1]\n\n"
            + frames(WORK)
        ],
        ["completed"],
        4,
    ),
}


@pytest.mark.parametrize("streams, statuses, count", STORIES.values(), ids=STORIES)
def test_what_the_stream_does_is_told_as(streams, statuses, count):
    events, end = told(Service(streams, statuses))
    assert events == MORE[:count] and end.status == "completed"


def test_words_before_a_tool_use_are_not_the_last_ones():
    assert told(Service([frames(TALK[:2]), frames(TALK)]))[0] == TALK


def test_a_status_that_flips_back_begins_the_drain_anew():
    statuses = ["completed"] + ["running"] * 12 + ["completed"]
    service = Service([frames(WORK[:3])], statuses)
    assert told(service)[1].status == "completed"
    assert service.asked.count("task") > len(statuses) + 4


def test_failures_that_pass_are_forgiven_however_many():
    statuses = [ServerError("down"), "running"] * 12 + ["completed"]
    assert told(Service([frames(WORK)], statuses))[1].status == "completed"


def test_a_failure_and_a_cancel_are_told_as_such():
    for word, status in (
        ("failed", "failed"),
        ("cancelled", "canceled"),
        ("error", "failed"),
    ):
        assert told(Service([frames(WORK, done=word)], [word]))[1].status == status


def test_that_very_prompt_is_followed_and_not_the_turn_before():
    before = [event("text", 0, "p1", content="old words")]
    after = [event("text", 0, "p2", content="new words")]
    prompts = [
        [{"id": "p1", "status": "succeeded"}, {"id": "p2", "status": word}]
        for word in ("pending", "running", "succeeded")
    ]
    events, end = told(
        Service([frames(before), frames(before), frames(after)], prompts=prompts),
        prompt_id="p2",
    )
    assert [item["payload"]["content"] for item in events] == [
        "new words"
    ] and end.status == "completed"


def test_delegated_work_is_shown_inside_and_may_grow_later():
    work = [
        event("tool_use", 0, id="tool", subPromptId="sub"),
        event("tool_result", 1, id="tool", subPromptId="sub"),
        event("text", 2, content="done"),
    ]
    inner = [event("text", n, "sub", content="inner %d" % n) for n in range(3)]
    events, end = told(Service([frames(work)], nested={"sub": [inner[:1], inner]}))
    assert [item["payload"]["content"] for item in events if "parent" in item] == [
        "inner 0",
        "inner 1",
        "inner 2",
    ]
    assert {item["parent"] for item in events if "parent" in item} == {"tool"}
    reader = AnswerBuilder()
    for item in events:
        reader.take(item)
    assert reader.words == "done"


def test_delegated_work_is_asked_once_a_tick_however_much_is_said():
    work = [event("tool_use", 0, id="tool", subPromptId="sub")]
    work += [event("text", n, content=str(n)) for n in range(1, 300)]
    service = Service(
        [frames(work)], nested={"sub": [[], [event("text", 0, "sub", content="x")]]}
    )
    events, _ = told(service)
    assert service.asked.count("sub") == 2 and len(events) == 301


def test_delegated_work_that_fails_just_now_is_asked_again():
    work = [
        event("tool_use", 0, id="tool", subPromptId="sub"),
        event("text", 1, content="done"),
    ]
    inner = [event("text", 0, "sub", content="inner")]
    events, _ = told(
        Service([frames(work)], nested={"sub": [RateLimited("slow down"), inner]})
    )
    assert [item.get("parent") for item in events].count("tool") == 1


def test_delegated_prompts_are_asked_in_turn_and_told_once():
    one, two = ([event("text", n, name) for n in range(2)] for name in ("one", "two"))
    service = Service([], nested={"one": [one, one[:1], one], "two": [two]})
    now = [0.0]
    delegation = Delegation(service, "t", lambda: now[0])
    for name in ("one", "two", "one"):
        delegation.note(event("tool_use", 0, id="tool", subPromptId=name))
    told_at = []
    for now[0] in (0.0, 1.0, 2.0, 3.0, 4.0, 8.0, 12.0):
        told_at.append(len(list(delegation.news())))
    assert told_at == [2, 0, 2, 0, 0, 0, 0]
    assert service.asked == ["one", "two", "one", "two", "one"]
    assert list(delegation.rest()) == []


def test_delegated_work_that_is_not_offered_is_forgiven():
    work = [
        event("tool_use", 0, id="tool", subPromptId="sub"),
        event("text", 1, content="done"),
    ]
    events, end = told(Service([frames(work)], nested={"sub": [RouteMissing("no")]}))
    assert [item["eventType"] for item in events] == ["tool_use", "text"]


def test_a_new_task_may_be_not_found_for_a_moment_and_an_old_one_may_not():
    assert told(Service([NotFound("not yet"), frames(WORK)]))[1].status == "completed"
    clock = iter([0.0] + [100.0 * n for n in range(1, 999)])
    with pytest.raises(NotFound):
        list(
            watch(
                Service([NotFound("no")], [NotFound("no")]),
                "t",
                clock=lambda: next(clock),
                sleep=lambda seconds: None,
            )
        )


@pytest.mark.parametrize(
    "problem",
    [AuthError("no"), RouteMissing("no"), RequestRefused("no", http_status=400)],
)
def test_what_waiting_cannot_mend_is_raised_at_once(problem):
    asked = []

    class Refusing(Service):
        def get_task(self, task_id):
            asked.append(task_id)
            raise problem

    with pytest.raises(type(problem)):
        list(watch(Refusing([frames(WORK[:1])]), "t", sleep=lambda seconds: None))
    assert len(asked) == 1
    with pytest.raises(AuthError):
        list(watch(Service([AuthError("no")]), "t", sleep=lambda seconds: None))


def test_a_service_that_stays_away_is_given_up_and_the_deadline_comes_first(impatient):
    with pytest.raises(NetworkError):
        list(
            watch(
                Service([NetworkError("gone")], [NetworkError("gone")]),
                "t",
                sleep=lambda seconds: None,
            )
        )
    service = Service([frames(WORK[:1], done=None)], ["running"])
    service.deadline = Deadline(0.3)
    with pytest.raises(DeadlineReached):
        list(watch(service, "t"))


def test_a_service_that_says_nothing_is_given_up_when_its_status_cannot_be_asked():
    pauses = []
    with pytest.raises(ServerError):
        list(
            watch(
                Service([b": hello\n\n"], [ServerError("down")]),
                "t",
                sleep=pauses.append,
            )
        )
    assert len(pauses) == FAILURES_IN_A_ROW and 7.9 < pauses[-1] <= 8


def test_a_replayed_question_that_was_answered_is_not_asked_again():
    asks = event("ask_user_question", 1, question="Which?", messageId="m")
    replay = [
        frames(WORK[:1] + [asks], done=None),
        frames(WORK[:1] + [asks] + WORK[2:]),
    ]
    assert told(Service(replay[:1], ["running"]))[1].question.text == "Which?"
    events, end = told(Service(replay, ["running", "completed"]), answered={"m"})
    assert end.status == "completed" and len(events) == 4


@pytest.mark.parametrize(
    "done, status", [("failed", "failed"), ("succeeded", "completed")]
)
def test_a_status_that_nobody_knows_ends_as_done_says_when_nothing_changes(
    done, status
):
    service = Service([frames(WORK, done=done)], ["expired"])
    events, outcome = told(service)
    assert (
        events == WORK
        and outcome.status == status
        and outcome.task["status"] == "expired"
    )
    assert told(Service([frames(WORK, done="idle")], ["expired"]))[1].status == "failed"
    again = Service([frames(WORK, done=done)], ["expired"] * 5 + ["completed"])
    assert told(again)[1].status == "completed"


def test_a_status_that_nobody_knows_does_not_end_while_news_come(monkeypatch):
    monkeypatch.setattr("rebyte_flows.following.ending.STUCK_SECONDS", 1)
    texts = [event("text", n, content="news %d" % n) for n in range(20)]
    streams = [frames(texts[: n + 1]) for n in range(20)]
    events, _ = told(Service(streams, ["expired"]))
    assert events == texts


def test_a_question_of_a_task_that_was_canceled_is_none():
    asks = event("ask_user_question", 1, question="Which?", messageId="m")
    assert (
        told(Service([frames([asks], done="canceled")], ["canceled"]))[1].status
        == "canceled"
    )


def test_the_same_words_twice_are_said_once():
    reader = AnswerBuilder()
    for item in (
        event("text", 0, content="on it"),
        event("tool_use", 1),
        event("text", 2, content="It is"),
        event("text", 3, content="It is  42."),
        event("text", 4, content="It is 42."),
        event("text", 5, content="is 42"),
        event("result", 6, result="It is 42."),
    ):
        reader.take(item)
    assert reader.words == "It is 42."


def test_deltas_are_joined_and_a_snapshot_replaces_them():
    reader = AnswerBuilder()
    for text in ("It ", "is ", "42"):
        reader.take(event("text", 0, content=text, is_delta=True))
    assert reader.words == "It is 42"
    reader.take(event("text", 1, content="It is 42, all told."))
    assert reader.words == "It is 42, all told."


def test_several_questions_at_once_are_shown_and_not_answered_by_halves():
    asked = Question(
        {
            "messageId": "m",
            "questions": [
                {"question": "Which?", "options": [{"label": "a"}]},
                {"question": "How many?"},
            ],
        }
    )
    assert asked.text == "Which?\nHow many?" and asked.count == 2
    with pytest.raises(InputError, match="2 questions"):
        asked.answer(["1"])
    one = Question(
        {
            "messageId": "m",
            "actionId": 3,
            "question": "Which?",
            "options": [{"label": "a"}, {"label": "b"}],
            "multiSelect": True,
        }
    )
    assert one.answer(["2", "A"], "as you like") == {
        "messageId": "m",
        "actionId": 3,
        "answer": {"selectedOptions": [1, 0], "customResponse": "as you like"},
    }
    for wrong in ("0", "3", "c"):
        with pytest.raises(InputError, match="no option"):
            one.answer([wrong])


# Whatever the stream does, alone or together: the same events, the same answer, the same end.

FAULTS = {
    "early-done": {},
    "cut-stream": {"events": 3},
    "renumber": {},
    "duplicates": {},
    "no-done": {},
    "late-tail": {"seconds": 0.2},
    "answer-in-result": {},
    "answer-in-final": {},
    "answer-in-content": {},
    "silence": {"seconds": 0.3},
    "late-visible": {"seconds": 0.15},
    "html-now-and-then": {"every": 3},
}
PLACES = {"answer-in-result", "answer-in-final", "answer-in-content"}
PROMPT = """Count.
```bash run
echo one; echo two; echo two; echo three
```
```bash run
echo four; echo four
```"""
ANSWER = "one\ntwo\ntwo\nthree\nfour\nfour"
PRINTED = ["one", "two", "two", "three", "four", "four"]
PAIRS = list(itertools.combinations(sorted(FAULTS), 2))
TRIPLES = random.Random(7).sample(list(itertools.combinations(sorted(FAULTS), 3)), 200)


def parse_error_body(client, task_id):
    """Return (events, end, answer) of a watch from its start to its end."""
    reader, events, end = AnswerBuilder(), [], None
    for seen in watch(client, task_id):
        if isinstance(seen, Outcome):
            end = seen
        else:
            events.append(seen)
            reader.take(seen)
    return events, end, reader.answer(None, end.final) or response_of(client, task_id)


def is_nowhere(names):
    """Tell whether these faults leave the answer nowhere, so that an empty one is the truth."""
    return PLACES & set(names) == {"answer-in-final"} and "no-done" in names


def differs(folder, names):
    """Run one task under these faults, and return what differs from the undisturbed run."""
    with LocalServer(str(folder)) as server, RebyteClient(
        server.key, server.base_url
    ) as client:
        for name in names:
            server.faults.enable(name, **FAULTS[name])
        events, end, answer = parse_error_body(client, client.create_task(PROMPT)["id"])
    late = [
        event["payload"]["content"]
        for event in events
        if event["eventType"] == "thinking"
    ]
    found = {
        "end": end.status,
        "answer": answer.split(),
        "late rows told_by twice": len(late) - len(set(late)),
        "printed": [
            event["payload"]["content"]
            for event in events
            if event["eventType"] == "stdout"
        ],
        "tools": [
            event["eventType"]
            for event in events
            if event["eventType"] in ("tool_use", "tool_result")
        ],
    }
    expected = {
        "end": "completed",
        "answer": [] if is_nowhere(names) else ANSWER.split(),
        "late rows told_by twice": 0,
        "printed": PRINTED,
        "tools": ["tool_use", "tool_result"] * 2,
    }
    return {key: found[key] for key in expected if found[key] != expected[key]}


def differ(tmp_path, combinations):
    """Check many combinations, twenty at a time since they mostly wait; return what differs."""
    with ThreadPoolExecutor(20) as pool:
        found = pool.map(
            lambda pair: differs(tmp_path / str(pair[0]), pair[1]),
            enumerate(combinations),
        )
        return {names: wrong for names, wrong in zip(combinations, found) if wrong}


def test_the_undisturbed_run_tells_what_the_others_are_held_against(
    tmp_path, impatient
):
    assert differs(tmp_path / "plain", ()) == {}


def test_one_fault_changes_nothing_that_is_told(tmp_path, impatient):
    assert differ(tmp_path, [(name,) for name in sorted(FAULTS)]) == {}


def test_each_pair_of_faults_changes_nothing_that_is_told(tmp_path, impatient):
    assert differ(tmp_path, PAIRS) == {}


def test_two_hundred_random_triples_of_faults_change_nothing_that_is_told(
    tmp_path, impatient
):
    assert differ(tmp_path, TRIPLES) == {}


# Waiting for many: within the budget, nobody forgotten, nobody overtaken.


class Tasks:
    """Tasks that end at given seconds, on a clock that only sleeping moves; counts requests."""

    def __init__(self, ends, *, content=True, questions=(), limit=None):
        self.now, self.ends, self.content, self.questions = (
            0.0,
            ends,
            content,
            set(questions),
        )
        self.requests, self.broken = [], {}
        self.deadline = Deadline(limit, clock=self.clock)

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += max(seconds, 0.001)

    def _count(self, what):
        self.requests.append((self.now, what))
        self.now += 0.01
        problem = self.broken.get(what, lambda: None)()
        if problem:
            raise problem

    def _over(self, task_id):
        return self.now >= self.ends[task_id]

    def list_tasks(self, limit=None, offset=None):
        self._count("list")
        return {
            "data": [
                {"id": task_id, "completedAt": "x" if self._over(task_id) else None}
                for task_id in self.ends
            ][:100]
        }

    def get_task(self, task_id):
        self._count("get")
        if task_id == "gone":
            raise NotFound("no")
        return {
            "id": task_id,
            "status": "completed" if self._over(task_id) else "running",
        }

    def stream_events(self, task_id):
        raise NetworkError("no stream here")

    def task_content(self, task_id, events=False):
        self._count("content")
        if task_id == "gone" or not self.content:
            raise NotFound("no")
        asked = {
            "eventType": "ask_user_question",
            "payload": {"messageId": "m", "question": "Which?"},
        }
        return {
            "status": "succeeded" if self._over(task_id) else "running",
            "prompts": [
                {
                    "id": "p",
                    "response": "done " + task_id,
                    "events": [asked] if task_id in self.questions else [],
                }
            ],
        }


def ends_told(service, ids, **more):
    return [
        (service.now, end) for end in wait(service, ids, sleep=service.sleep, **more)
    ]


@pytest.mark.parametrize("content", [True, False])
def test_fifty_tasks_cost_little_more_than_a_request_a_second_and_ends_are_seen_soon(
    content,
):
    service = Tasks({"t%d" % n: 5 + 3.0 * n for n in range(50)}, content=content)
    found = ends_told(service, list(service.ends))
    assert len(found) == 50 and len(service.requests) <= 1.2 * service.now + 5
    late = sorted(now - service.ends[end.id] for now, end in found)
    assert late[25] < 5 and late[-1] < 20
    assert all(end.answer == ("done " + end.id if content else "") for _, end in found)


def test_a_burst_of_ends_is_told_in_the_order_it_was_seen():
    service = Tasks({"t%d" % n: 20 for n in range(30)})
    found = ends_told(service, list(service.ends))
    assert max(now for now, _ in found) < 20 + 45


def test_any_ends_with_the_first():
    service = Tasks({"a": 50, "b": 10, "c": 90})
    assert [end.id for _, end in ends_told(service, ["a", "b", "c"], any_of=True)] == [
        "b"
    ]


def test_a_question_counts_as_ended():
    service = Tasks({"a": 1e9, "b": 3}, questions=["a"])
    assert {end.id: end.status for _, end in ends_told(service, ["a", "b"])} == {
        "a": "question",
        "b": "completed",
    }


def test_a_question_answered_from_here_is_not_asked_again():
    service = Tasks({"a": 30}, questions=["a"])
    assert [
        end.status
        for _, end in ends_told(service, ["a"], answered=lambda task_id: {"m"})
    ] == ["completed"]


def test_a_question_is_found_in_the_stream_where_content_is_missing(impatient):
    asks = event("ask_user_question", 0, question="Which?", messageId="m")

    class Silent(Tasks):
        def stream_events(self, task_id):
            return Stream(frames([asks], done=None))

    service = Silent({"a": 1e9}, content=False, limit=60)
    found = ends_told(service, ["a"])
    assert [(end.status, end.question.text) for _, end in found] == [
        ("question", "Which?")
    ]
    assert len(service.requests) < 12


def test_a_task_nobody_knows_is_gone_and_hides_nobody():
    service = Tasks({"gone": 1e9, "b": 3, "c": 4})
    assert {
        end.id: end.status for _, end in ends_told(service, ["gone", "b", "c"])
    } == {
        "gone": "gone",
        "b": "completed",
        "c": "completed",
    }


def test_the_deadline_ends_the_wait():
    service = Tasks({"a": 1e9}, limit=30)
    with pytest.raises(DeadlineReached):
        ends_told(service, ["a"])
    assert 30 <= service.now < 32


def test_single_errors_are_forgiven_and_a_refused_key_is_not():
    service = Tasks({"a": 30, "b": 40, "c": 50})
    service.broken["get"] = lambda: (
        ServerError("boom") if len(service.requests) % 3 == 0 else None
    )
    assert len(ends_told(service, ["a", "b", "c"])) == 3
    service = Tasks({"a": 30}, content=False)
    service.broken["get"] = lambda: AuthError("no")
    with pytest.raises(AuthError):
        ends_told(service, ["a"])


# Waiting for a computer: what ends it, and what is forgiven on the way.

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


@pytest.mark.parametrize(
    "last",
    [
        {"id": "c", "status": "ready"},
        {"id": "c", "status": "provisioning", "sandboxId": "s"},
        {"id": "c", "status": "odd", "sandboxId": "s"},
        {"id": "c", "status": "error", "sandboxId": "s", "provisionError": "no room"},
    ],
)
def test_it_ends_on_ready_on_a_sandbox_id_and_on_an_error(last):
    client = Script(WAITING, {"id": "c", "status": "waking"}, {}, last)
    assert client.wait() is last and len(client.pauses) == 3


def test_single_failures_are_forgiven_and_many_are_not():
    assert Script(
        WAITING, ServerError("x"), ServerError("x"), {"status": "ready"}
    ).wait() == {"status": "ready"}
    with pytest.raises(ServerError):
        Script(*[ServerError("x")] * (FAILURES_AT_MOST + 1)).wait()


@pytest.mark.parametrize(
    "problem", [AuthError("x"), NotFound("x"), DeadlineReached("x")]
)
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
    assert provision_error(
        {"provisionError": "no room"}
    ) == "no room" and "no reason" in provision_error({})


@pytest.mark.parametrize(
    "answer, note",
    [
        (
            {"totalAvailable": 0, "balance": 50},
            "the organization's credit is spent (0 left)",
        ),
        ({"totalAvailable": -3}, "the organization's credit is spent (-3 left)"),
        ({"balance": 99.5}, "the organization's credit is low (99.5 left)"),
        ({"totalAvailable": 100}, None),
        ({"totalAvailable": "0"}, None),
        ({"totalAvailable": True}, None),
        ({}, None),
    ],
)
def test_credit_is_named_when_it_is_low_or_spent_and_told(answer, note):
    assert note_of(credits_left(answer)) == note
