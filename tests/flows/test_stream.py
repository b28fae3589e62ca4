"""Watching one task: what may end it, what is forgiven, and what is shown inside it."""
from __future__ import annotations

import json

import pytest

from rebyte_flows.result import Reader, answer_body, question_of
from rebyte_flows.stream import End, watch
from rebyte_wire.calls import Deadline
from rebyte_wire.errors import AuthError, DeadlineReached, InputError, NetworkError, NotFound, RouteMissing


def event(kind, seq, prompt="p1", **payload):
    return {"seq": seq, "promptId": prompt, "eventType": kind, "payload": payload, "eventKey": "%s:%d" % (prompt, seq)}


def frames(events, done="succeeded", last=None):
    text = "".join("event: event\ndata: %s\n\n" % json.dumps(item) for item in events)
    if done:
        text += "event: done\ndata: %s\n\n" % json.dumps({"status": done, "lastSeq": events[-1]["seq"] if last is None and events else last or -1, "finalResult": ""})
    return text.encode()


class Stream:
    """An open stream that gives these bytes and then ends, or is cut."""

    def __init__(self, data, cut=False):
        self.data, self.cut, self.closed = data, cut, False

    def chunks(self):
        yield self.data
        if self.cut:
            raise NetworkError("cut", code="connection_cut")

    def close(self):
        self.closed = True


class Service:
    """Streams and statuses, one after the other; the last of each stays."""

    def __init__(self, streams, statuses=("completed",), prompts=None, nested=None):
        self.streams, self.statuses, self.prompts, self.nested = list(streams), list(statuses), prompts, nested or {}
        self.deadline, self.opened = Deadline(20), []

    def stream_events(self, task_id):
        found = self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]
        if isinstance(found, Exception):
            raise found
        self.opened.append(found if isinstance(found, Stream) else Stream(found))
        return self.opened[-1]

    def get_task(self, task_id):
        found = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if isinstance(found, Exception):
            raise found
        return dict({"id": task_id, "status": found}, **({"prompts": self.prompts.pop(0) if len(self.prompts) > 1 else self.prompts[0]} if self.prompts else {}))

    def prompt_events(self, task_id, prompt_id):
        found = self.nested[prompt_id]
        if isinstance(found, Exception):
            raise found
        return {"events": found.pop(0) if len(found) > 1 else found[0]}


WORK = [event("init", 0), event("tool_use", 1, name="bash"), event("tool_result", 2, output="x"), event("text", 3, content="the answer")]


def told(service, **more):
    seen = list(watch(service, "t", sleep=lambda seconds: None, **more))
    assert isinstance(seen[-1], End) and all(stream.closed for stream in service.opened)
    return seen[:-1], seen[-1]


def test_a_whole_stream_is_told_once():
    events, end = told(Service([frames(WORK)]))
    assert events == WORK and end.status == "completed"


def test_done_is_not_believed_while_the_status_says_running():
    events, end = told(Service([frames(WORK[:2]), frames(WORK)], ["running", "completed"]))
    assert events == WORK and end.status == "completed"


def test_a_status_that_flips_before_the_last_words_is_waited_out(impatient):
    events, end = told(Service([frames(WORK[:3]), frames(WORK[:3]), frames(WORK)]))
    assert events[-1]["payload"]["content"] == "the answer"


def test_a_task_that_never_says_a_word_ends_after_the_drain(impatient):
    events, end = told(Service([frames(WORK[:3])]))
    assert events == WORK[:3] and end.status == "completed"


def test_a_cut_is_never_an_end(impatient):
    events, end = told(Service([Stream(frames(WORK[:2], done=None), cut=True), Stream(frames(WORK[:3], done=None), cut=True), frames(WORK)]))
    assert events == WORK and end.status == "completed"


def test_a_failure_and_a_cancel_are_told_as_such(impatient):
    for word, status in (("failed", "failed"), ("cancelled", "canceled"), ("error", "failed")):
        assert told(Service([frames(WORK, done=word)], [word]))[1].status == status


def test_that_very_prompt_is_followed_and_not_the_turn_before(impatient):
    before = [event("text", 0, "p1", content="old words")]
    after = [event("text", 0, "p2", content="new words")]
    prompts = [[{"id": "p1", "status": "succeeded"}, {"id": "p2", "status": word}] for word in ("pending", "running", "succeeded")]
    events, end = told(Service([frames(before), frames(before), frames(after)], prompts=prompts), prompt_id="p2")
    assert [item["payload"]["content"] for item in events] == ["new words"] and end.status == "completed"


def test_delegated_work_is_shown_inside_and_may_grow_later(impatient):
    work = [event("tool_use", 0, id="tool", subPromptId="sub"), event("tool_result", 1, id="tool", subPromptId="sub"), event("text", 2, content="done")]
    inner = [event("text", n, "sub", content="inner %d" % n) for n in range(3)]
    events, end = told(Service([frames(work)], nested={"sub": [inner[:1], inner[:2], inner[:2], inner]}))
    assert [item["payload"]["content"] for item in events if "parent" in item] == ["inner 0", "inner 1", "inner 2"]
    assert {item["parent"] for item in events if "parent" in item} == {"tool"}
    reader = Reader()
    for item in events:
        reader.take(item)
    assert reader.words == "done"


def test_delegated_work_that_is_not_offered_is_forgiven(impatient):
    work = [event("tool_use", 0, id="tool", subPromptId="sub"), event("text", 1, content="done")]
    events, end = told(Service([frames(work)], nested={"sub": RouteMissing("no")}))
    assert [item["eventType"] for item in events] == ["tool_use", "text"]


def test_a_new_task_may_be_not_found_for_a_moment_and_an_old_one_may_not(impatient):
    assert told(Service([NotFound("not yet"), frames(WORK)]))[1].status == "completed"
    clock = iter([0.0] + [100.0 * n for n in range(1, 999)])
    with pytest.raises(NotFound):
        list(watch(Service([NotFound("no")]), "t", clock=lambda: next(clock), sleep=lambda seconds: None))


@pytest.mark.parametrize("problem", [AuthError("no"), RouteMissing("no")])
def test_what_waiting_cannot_mend_is_raised_at_once(problem):
    with pytest.raises(type(problem)):
        list(watch(Service([problem]), "t", sleep=lambda seconds: None))


def test_a_service_that_stays_away_is_given_up_and_the_deadline_comes_first(impatient):
    with pytest.raises(NetworkError):
        list(watch(Service([NetworkError("gone")], [NetworkError("gone")]), "t", sleep=lambda seconds: None))
    service = Service([frames(WORK[:1], done=None)], ["running"])
    service.deadline = Deadline(0.3)
    with pytest.raises(DeadlineReached):
        list(watch(service, "t"))


def test_broken_frames_are_passed_over(impatient):
    data = b"event: event\ndata: {not json\n\nevent: event\ndata: [1]\n\n" + frames(WORK)
    assert told(Service([data]))[0] == WORK


def test_the_same_words_twice_are_said_once():
    reader = Reader()
    for item in (event("text", 0, content="on it"), event("tool_use", 1), event("text", 2, content="It is"), event("text", 3, content="It is  42."),
                 event("text", 4, content="It is 42."), event("result", 5, result="It is 42.")):
        reader.take(item)
    assert reader.words == "It is 42."


def test_deltas_are_joined_and_a_snapshot_replaces_them():
    reader = Reader()
    for text in ("It ", "is ", "42"):
        reader.take(event("text", 0, content=text, is_delta=True))
    assert reader.words == "It is 42"
    reader.take(event("text", 1, content="It is 42, all told."))
    assert reader.words == "It is 42, all told."


def test_several_questions_at_once_are_shown_and_not_answered_by_halves():
    asked = question_of({"messageId": "m", "questions": [{"question": "Which?", "options": [{"label": "a"}]}, {"question": "How many?"}]})
    assert asked["text"] == "Which?\nHow many?" and asked["count"] == 2
    with pytest.raises(InputError, match="2 questions"):
        answer_body(asked, ["1"], None)
    one = question_of({"messageId": "m", "actionId": 3, "question": "Which?", "options": [{"label": "a"}, {"label": "b"}], "multiSelect": True})
    assert answer_body(one, ["2", "A"], "as you like") == {"messageId": "m", "actionId": 3,
                                                         "answer": {"selectedOptions": [1, 0], "customResponse": "as you like"}}
    for wrong in ("0", "3", "c"):
        with pytest.raises(InputError, match="no option"):
            answer_body(one, [wrong], None)
