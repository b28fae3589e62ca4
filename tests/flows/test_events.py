"""Events, turns, questions and answers as values: read once, the same for everybody."""

from __future__ import annotations

import json
import threading
import time

import pytest

from rebyte_flows.following.answer import AnswerBuilder, last_words, response_in
from rebyte_flows.following.deduplication import EventDeduplicator
from rebyte_flows.following.events import event_line, event_text, parse_object
from rebyte_flows.following.questions import (
    Question,
    question_in,
    question_of,
    standing,
)
from rebyte_flows.following.turns import (
    ended_at,
    find_turn,
    is_latest,
    latest_id,
    seconds_taken,
    status_of,
    turns_of,
)
from rebyte_wire.errors import AuthError, NotFound


def event(kind, **payload):
    return {"promptId": "p1", "eventType": kind, "payload": payload}


@pytest.mark.parametrize(
    "payload, text",
    [
        ({"content": "a", "text": "b"}, "a"),
        ({"content": "", "text": "b"}, "b"),
        ({"result": "c"}, "c"),
        ({"message": "d"}, "d"),
        ({"output": "e"}, "e"),
        ({"question": "f"}, "f"),
        ({"thinking": "g"}, "g"),
        ({"content": {"a": 1}, "output": "h"}, "h"),
        ({"content": 7}, ""),
        ({}, ""),
        ("no object", ""),
    ],
)
def test_the_text_of_an_event_is_found_under_whichever_key(payload, text):
    assert event_text({"payload": payload}) == text


def test_an_event_is_shown_in_few_fields_and_cut():
    line = event_line(event("tool_use", name="bash", input={"a": 1}))
    assert line == {"type": "tool_use", "tool": "bash"}
    line = event_line(
        dict(event("tool_result", output={"a": 1}, is_error=True), parent="t")
    )
    assert line == {
        "type": "tool_result",
        "text": '{"a": 1}',
        "parent": "t",
        "isError": True,
    }
    assert event_line(event("text", content="x" * 300))["text"] == "x" * 200 + "..."
    assert event_line({}) == {}


@pytest.mark.parametrize("text", ["", "[1]", "7", "{", "[" * 100_000])
def test_a_frame_that_holds_no_object_is_no_event(text):
    assert parse_object(text) is None


def test_numbers_that_are_no_json_are_read_as_null():
    found = parse_object('{"a": NaN, "b": -Infinity, "c": 1.5, "d": 1e999, "e": 7}')
    assert found == {"a": None, "b": None, "c": 1.5, "d": None, "e": 7}


TASK = {
    "status": "running",
    "createdAt": "2026-01-01T00:00:00Z",
    "prompts": [
        {
            "id": "new",
            "status": "succeeded",
            "submittedAt": "2026-01-01T00:05:00Z",
            "completedAt": "2026-01-01T00:05:30Z",
        },
        {
            "id": "old",
            "status": "failed",
            "submittedAt": "2026-01-01T00:00:00Z",
            "completedAt": "2026-01-01T00:00:00Z",
        },
    ],
}


def test_turns_are_sorted_once_whatever_order_the_service_has():
    assert [turn["id"] for turn in turns_of(TASK)] == ["old", "new"]
    assert latest_id(TASK) == "new" and latest_id({}) is None
    assert (
        find_turn(TASK, "old")["status"] == "failed"
        and find_turn(TASK, "other") is None
    )
    assert is_latest(TASK, "new") and not is_latest(TASK, "old")
    assert is_latest(TASK, None) and is_latest({}, "any")
    assert (
        status_of(TASK),
        status_of(TASK, "old"),
        status_of(TASK, "new"),
        status_of({}, "x"),
    ) == (
        None,
        "failed",
        "completed",
        None,
    )
    assert seconds_taken(TASK, "new") == 30 and seconds_taken(TASK) is None


def test_an_end_that_is_the_moment_of_submission_is_not_known():
    assert ended_at(TASK, "old") is None
    assert ended_at(TASK, "new") == ended_at({"completedAt": "2026-01-01T00:05:30Z"})


def test_the_response_is_that_of_the_turn_or_of_the_latest():
    content = {
        "prompts": [
            {"id": "b", "response": "second", "submittedAt": "2026-01-01T00:05:00Z"},
            {"id": "a", "response": "first", "submittedAt": "2026-01-01T00:00:00Z"},
        ]
    }
    assert response_in(content) == "second" and response_in(content, "a") == "first"
    assert response_in(content, "c") == "" and response_in({}) == ""
    assert response_in({"prompts": [{"id": "a", "response": 7}]}) == ""


# The answer: in time that grows with what comes, and no faster.


def built(*events):
    builder = AnswerBuilder()
    for item in events:
        builder.take(item)
    return builder


def test_the_ladder_of_places_where_an_answer_can_stand():
    words, result = event("text", content="words"), event("result", result="result")
    task = {"finalResult": "final", "result": "own"}
    assert built(result, words).answer(task, "done") == "words"
    assert built(result).answer(task, "done") == "result"
    assert built().answer(task, "done") == "done"
    assert built().answer(task) == "final"
    assert built().answer({"result": "own"}) == "own"
    assert (
        built().answer({"result": {"a": 1}})
        == ""
        == built(event("text", content=" ")).answer()
    )


def test_words_before_the_last_tool_use_are_no_answer():
    builder = built(event("text", content="on it"), event("tool_use", name="bash"))
    assert builder.words == "" and builder.tools == 1
    builder.take(event("text", content="on it"))
    assert builder.words == "on it"


def test_delegated_work_says_nothing_in_the_answer():
    inner = dict(event("text", content="inner"), parent="t")
    assert built(event("text", content="mine"), inner).words == "mine"


def test_paragraphs_stay_apart_and_one_that_is_told_again_much_later_is_not_repeated():
    texts = ["paragraph %d." % n for n in range(20)]
    builder = built(*(event("text", content=text) for text in texts + texts[:1]))
    assert builder.words == "\n\n".join(texts)


@pytest.mark.parametrize(
    "events",
    [
        [event("text", content="line %d of many" % n) for n in range(8_000)],
        [event("text", content="token%d " % n, is_delta=True) for n in range(150_000)],
        [
            event("text", content="token%d " % (n // 2), is_delta=n % 2 == 0)
            for n in range(40_000)
        ],
    ],
    ids=["texts", "deltas", "each delta told twice"],
)
def test_a_flood_takes_time_that_grows_with_it_and_no_faster(events):
    began = time.process_time()
    builder = built(*events)
    assert builder.words
    assert time.process_time() - began < 4


def test_what_was_seen_last_is_told_briefly():
    builder = built(
        event("init", model="m", rehearsal=True),
        event("thinking", thinking="hmm"),
        event("tool_use", name="bash"),
        event("tool_result", output="x" * 400),
        event("status"),
    )
    lines = builder.last_events()
    assert [line["type"] for line in lines] == ["tool_use", "tool_result"]
    assert len(lines[1]["text"]) == 303 and builder.model == "m" and builder.rehearsal


def test_the_last_words_are_whole_lines_from_the_end():
    assert last_words("a\n" + "b" * 296 + "\nend\n") == "b" * 296 + "\nend"
    assert last_words("x" * 400) == "x" * 300 and last_words("") == ""


# Questions.


def asks(**more):
    return event("ask_user_question", messageId="m", question="Which?", **more)


def test_a_question_is_read_from_its_event_and_an_answered_one_is_not():
    question = question_of(asks(options=[{"label": "a"}, "b"], multiSelect=True))
    assert question.as_dict() == {
        "id": "m",
        "text": "Which?",
        "multi": True,
        "options": [{"n": 1, "label": "a"}, {"n": 2, "label": "b"}],
    }
    assert question.prompt_id == "p1"
    assert (
        question_of(asks(), {"m"}) is None
        and question_of(event("text", question="x")) is None
    )
    assert "id" not in Question({"messageId": "../x", "question": "?"}).as_dict()


def test_a_content_asks_what_its_last_event_asks():
    content = {"prompts": [{"id": "a", "events": [event("text"), asks()]}]}
    assert question_in(content).text == "Which?" and question_in(content, {"m"}) is None
    content["prompts"][0]["events"].append(event("text", content="go on"))
    assert question_in(content) is None
    for odd in ({}, {"prompts": [{"events": "x"}]}, {"prompts": [{"events": [7]}]}):
        assert question_in(odd) is None


class Asking:
    """A service without /content whose stream says these chunks and then falls silent."""

    def __init__(self, *chunks, status="running", content=None, problem=None):
        self.sent, self.status, self.content, self.problem = (
            chunks,
            status,
            content,
            problem,
        )
        self.closed = threading.Event()

    def get_task(self, task_id):
        return {"id": task_id, "status": self.status}

    def task_content(self, task_id, events=False):
        if self.content is None:
            raise NotFound("no such route")
        return self.content

    def stream_events(self, task_id):
        if self.problem:
            raise self.problem
        return self

    def chunks(self):
        for chunk in self.sent:
            if isinstance(chunk, float):
                self.closed.wait(chunk)
            else:
                yield chunk

    def close(self):
        self.closed.set()


def frame(item, name="event"):
    return ("event: %s\ndata: %s\n\n" % (name, json.dumps(item))).encode()


PINGS = [part for _ in range(40) for part in (b": ping\n\n", 0.1)]
TALKS = [
    part for n in range(40) for part in (frame(event("text", content=str(n))), 0.1)
]


@pytest.mark.parametrize(
    "chunks, asked",
    [
        ([frame(event("text")), frame(asks())], True),
        ([frame(asks())] + PINGS, True),
        ([frame(asks()), frame({}, "ping"), frame({}, "done")], True),
        ([frame(asks()), frame(event("text", content="on"))], False),
        ([frame(asks())] + TALKS, False),
        ([], False),
    ],
    ids=["last", "then keep-alives", "then done", "then words", "then talk", "nothing"],
)
def test_a_question_is_found_in_the_stream_where_content_is_missing(
    impatient, chunks, asked
):
    began = time.monotonic()
    question = standing(Asking(*chunks), "t")
    assert bool(question) is asked and time.monotonic() - began < 3
    assert standing(Asking(*chunks), "t", {"m"}) is None


def test_content_is_asked_before_the_stream_and_a_task_that_is_over_asks_nothing(
    impatient,
):
    content = {"prompts": [{"events": [asks()]}]}
    assert standing(Asking(content=content), "t").text == "Which?"
    assert standing(Asking(content=content, status="completed"), "t") is None
    assert standing(Asking(frame(asks())), "t", stream=False) is None
    with pytest.raises(AuthError):
        standing(Asking(problem=AuthError("no")), "t")


# Deduplication.


def test_each_event_is_new_once_over_connections_that_replay():
    seen = EventDeduplicator()
    first = [
        dict(event("text", content="a"), seq=0),
        dict(event("text", content="a"), seq=1),
    ]
    assert [seen.is_new(item) for item in first] == [True, True]
    assert not seen.is_new(first[0]) and seen.highest_seq == 1 and seen.came == 3
    seen.begin_connect()
    renumbered = [dict(item, seq=item["seq"] + 5) for item in first + first[:1]]
    renumbered[2]["seq"] = 9
    assert [seen.is_new(item) for item in renumbered] == [False, False, True]


def test_a_key_counts_more_than_the_content():
    seen = EventDeduplicator()
    assert seen.is_new(dict(event("text"), eventKey="k1"))
    assert seen.is_new(dict(event("text"), eventKey="k2"))
    assert not seen.is_new(dict(event("text", content="other"), eventKey="k1"))
