"""Silence is measured in news: whatever a stream does or does not do, the status is asked."""

from __future__ import annotations

import threading
import time

import pytest

from rebyte_flows.following import reader as reader_module
from rebyte_flows.following.ending import Outcome
from rebyte_flows.following.reader import ERROR, BackgroundReader
from rebyte_wire.errors import (
    AnswerUnreadable,
    DeadlineReached,
    NetworkError,
    NotFound,
    RouteMissing,
    ServerError,
)
from rebyte_wire.requests import Deadline

from .service import WORK, Service, Stream, event, frames, told, watch

PING = b": ping\n\n"


class Lively(Stream):
    """A stream that says its bytes and then the same again and again, until it is closed."""

    def __init__(self, data, again, seconds=0.02):
        super().__init__(data)
        self.again, self.seconds, self.ended = again, seconds, threading.Event()

    def chunks(self):
        yield self.data
        while not self.ended.wait(self.seconds):
            yield self.again

    def close(self):
        super().close()
        self.ended.set()


def seen_by(service, **more):
    """Watch in real time; return (events, Outcome)."""
    *events, outcome = watch(service, "t", **more)
    assert isinstance(outcome, Outcome)
    return events, outcome


ASKS = event("ask_user_question", 4, question="Which?", messageId="m")
SAME = frames(WORK[:1], done=None)
LONG_AGO = [
    [{"id": "p1", "status": "succeeded", "completedAt": "2026-01-01T00:00:00Z"}]
]


@pytest.mark.parametrize("again", [PING, SAME, b"event: ping\ndata: {}\n\n"])
def test_keep_alives_and_repeats_are_no_news_and_the_end_is_seen(impatient, again):
    began = time.monotonic()
    stream = Lively(frames(WORK[:1], done=None), again)
    events, outcome = seen_by(Service([stream], ["running", "completed"]))
    assert outcome.status == "completed" and events == WORK[:1]
    assert time.monotonic() - began < 5


def test_the_status_is_asked_in_a_short_watch_as_well():
    stream = Lively(frames(WORK, done=None), PING)
    service = Service([stream], ["completed"], deadline=Deadline(2.5))
    began = time.monotonic()
    assert seen_by(service)[1].status == "completed" and time.monotonic() - began < 2
    service = Service([Lively(b"", PING)], ["running"], deadline=Deadline(2.5))
    with pytest.raises(DeadlineReached):
        list(watch(service, "t"))
    assert len(service.asked) <= 2


class Slow(Stream):
    """A stream that brings each frame a while after the one before."""

    def __init__(self, *data, seconds=0.0):
        super().__init__(b"")
        self.parts, self.seconds = data, seconds

    def chunks(self):
        for part in self.parts:
            time.sleep(self.seconds)
            yield part


def test_a_long_stream_that_is_told_again_is_heard_to_its_end(impatient):
    """Telling it again takes longer than a silence that would end it; the answer stands last."""
    first = [event("text", seq, content="word %d" % seq) for seq in range(6)]
    last = event("text", 6, content="the answer")
    cut = Slow(frames(first, done=None))
    again = [frames([one], done=None) for one in first]
    slow = Slow(*again, frames([last]), seconds=0.25)
    events, outcome = seen_by(Service([cut, slow], ["completed"]))
    assert outcome.status == "completed" and events == [*first, last]


@pytest.mark.parametrize("again", [PING, b"event: ping\ndata: {}\n\n"])
def test_a_question_stands_although_keep_alives_go_on(impatient, again):
    service = Service([Lively(frames(WORK + [ASKS], done=None), again)], ["running"])
    assert seen_by(service)[1].question.text == "Which?"


def test_a_frame_of_an_unknown_name_is_no_event(impatient):
    data = b"event: ping\ndata: {}\n\nevent: heartbeat\ndata: {}\n\n" + frames(WORK)
    assert seen_by(Service([data]))[0] == WORK


def test_a_frame_without_a_name_is_an_event(impatient):
    assert seen_by(Service([frames(WORK).replace(b"event: event\n", b"")]))[0] == WORK


def test_the_status_is_asked_while_the_head_of_the_stream_is_awaited(
    impatient, monkeypatch
):
    for module in ("stream", "ending"):
        name = "rebyte_flows.following.%s.DRAIN_AT_MOST_SECONDS" % module
        monkeypatch.setattr(name, 1.0)
    gate = threading.Event()

    class Held(Service):
        def stream_events(self, task_id):
            gate.wait(10)
            return super().stream_events(task_id)

    content = {"prompts": [{"id": "p1", "response": "the answer"}]}
    service = Held([frames(WORK)], ["running", "completed"], content=content)
    began = time.monotonic()
    try:
        events, outcome = seen_by(service)
        assert outcome.status == "completed" and events == []
        assert time.monotonic() - began < 5
    finally:
        gate.set()


@pytest.mark.parametrize(
    "problem",
    [
        AnswerUnreadable("it is not an event stream"),
        NotFound("no such task here"),
        RouteMissing("no such route"),
        NetworkError("cut"),
    ],
)
def test_a_stream_that_cannot_be_had_leaves_the_status(problem):
    now, pauses = [0.0], []

    def sleep(seconds):
        pauses.append(seconds)
        now[0] += seconds

    service = Service([problem], ["running"] * 5 + ["completed"])
    seen = list(watch(service, "t", age=100, clock=lambda: now[0], sleep=sleep))
    assert [item.status for item in seen] == ["completed"]
    # It is not hammered.
    assert pauses[:4] == pytest.approx([0.5, 1, 2, 4], abs=0.01)


@pytest.mark.parametrize(
    "first",
    [
        [ServerError("down")] * 5,
        [NetworkError("cut")],
        [Stream(b"", cut=True), Stream(frames(WORK[:2]), cut=True)],
        [AnswerUnreadable("a page")],
    ],
)
def test_a_task_that_ended_long_ago_is_heard_though_the_first_attempts_fail(first):
    service = Service([*first, frames(WORK)], prompts=LONG_AGO)
    events, outcome = told(service, prompt_id="p1")
    assert events == WORK and outcome.status == "completed"


def test_a_page_in_place_of_a_status_passes_unless_it_is_the_first_answer():
    page = AnswerUnreadable("a page of a portal")
    events, outcome = told(
        Service([frames(WORK[:2]), frames(WORK)], ["running", page, page, "completed"])
    )
    assert events == WORK and outcome.status == "completed"
    with pytest.raises(AnswerUnreadable):
        told(Service([frames(WORK[:2])], [page, "completed"]))
    with pytest.raises(AnswerUnreadable):
        told(Service([frames(WORK[:2])], ["running", page]))


def test_a_task_that_ended_long_ago_ends_though_its_stream_stays_away():
    service = Service([ServerError("down")], prompts=LONG_AGO)
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    seen = list(watch(service, "t", "p1", clock=lambda: now[0], sleep=sleep))
    assert [item.status for item in seen] == ["completed"] and 10 <= now[0] < 12


def test_a_short_look_at_what_ended_long_ago_ends_in_its_time():
    service = Service([ServerError("down")], prompts=LONG_AGO, deadline=Deadline(2.0))
    assert [item.status for item in watch(service, "t", "p1")] == ["completed"]


def test_a_question_is_found_in_content_where_no_stream_can_be_had():
    content = {"prompts": [{"id": "p1", "events": [ASKS]}]}
    service = Service([NotFound("no stream")], ["running"], content=content)
    seen = list(watch(service, "t", age=100, sleep=lambda seconds: None))
    assert [item.question.text for item in seen] == ["Which?"]
    service = Service(
        [frames(WORK, done=None)], ["running", "completed"], content=content
    )
    assert told(service)[1].status == "completed" and "content" not in service.asked


def test_the_deadline_is_looked_at_while_events_come():
    class Endless(Stream):
        def chunks(self):
            for number in range(1_000_000):
                yield frames([event("text", number, content="x")], done=None)

    service = Service([Endless(b"")], ["running"], deadline=Deadline(0.3))
    began = time.monotonic()
    with pytest.raises(DeadlineReached):
        list(watch(service, "t"))
    assert time.monotonic() - began < 2


def test_an_event_without_an_end_is_a_cut_and_not_kept(impatient, monkeypatch):
    monkeypatch.setattr(reader_module, "FRAME_LIMIT_BYTES", 10_000)
    endless = Lively(b"data: ", b"x" * 1000, 0)
    events, outcome = seen_by(
        Service([endless, frames(WORK)], ["running", "completed"])
    )
    assert events == WORK and endless.closed


def test_a_reader_that_is_closed_before_its_stream_is_open_gives_it_back():
    gate, stream, read = threading.Event(), Stream(b""), []
    stream.chunks = lambda: read.append(1) or iter(())

    def open_stream():
        gate.wait(10)
        return stream

    reader = BackgroundReader(open_stream)
    reader.close()
    gate.set()
    reader._thread.join(5)
    assert stream.closed and not reader._thread.is_alive() and "closed" in repr(reader)
    assert read == []


def test_what_ended_a_stream_is_kept():
    reader = BackgroundReader(lambda: Stream(b"", cut=True))
    assert reader.get(5) == b"" and reader.get(5) is ERROR
    assert isinstance(reader.problem, NetworkError) and reader.opened
    reader.close()


def test_while_news_comes_nobody_is_asked(monkeypatch):
    monkeypatch.setattr("rebyte_flows.following.stream.POLL_SECONDS", 0.5)
    events = [event("text", number, content="x") for number in range(1, 31)]
    news = [frames([one], done=None) for one in events[:-1]]
    news.append(frames(events[-1:]))
    asked = []

    class Steady(Stream):
        def chunks(self):
            for data in news:
                time.sleep(0.04)
                asked.append(len(service.asked))
                yield data

    service = Service([Steady(b"")], ["completed"])
    assert seen_by(service)[0] == events and asked == [0] * 30


@pytest.mark.parametrize("trouble", [ServerError("503"), NetworkError("cut")])
def test_a_stream_that_cannot_be_opened_for_a_while_is_waited_for_after_the_end(
    trouble,
):
    words = event("result", 4, result="the answer")
    streams = [frames(WORK[:3], done=None), *[trouble] * 9, frames(WORK[:3] + [words])]
    events, outcome = told(Service(streams, ["completed"]))
    assert outcome.status == "completed" and events[-1] == words


def test_a_service_without_a_stream_is_not_waited_for_as_long():
    service = Service([RouteMissing("no stream")], ["completed"])
    assert told(service)[1].status == "completed" and 5 < len(service.asked) < 10
