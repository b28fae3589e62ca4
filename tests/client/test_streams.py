"""Event streams: told as they arrive, cut, silent, closed by another thread."""
from __future__ import annotations

import threading

import pytest
from scripted_server import Server, answer, chunked, reset, say_and_close

from rebyte_wire.calls import Deadline
from rebyte_wire.errors import AnswerUnreadable, AuthError, DeadlineReached, NetworkError

EVENT = b"event: event\ndata: {}\n\n"
DONE = b"event: done\ndata: {}\n\n"
OPEN_END = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=x\r\n\r\n"


def test_a_stream_is_asked_for_as_one_and_ends_cleanly(client_for):
    with Server(chunked(EVENT, DONE)) as server:
        with client_for(server).stream_events("t") as stream:
            assert [event.event for event in stream] == ["event", "done"]
        line, headers, _ = server.requests[0]
        assert line.startswith("GET /v1/tasks/t/events ") and headers["Accept"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-cache" and "Last-Event-ID" not in headers


def test_a_stream_that_ends_by_hanging_up_ends_cleanly_and_half_an_event_is_not_told(client_for):
    with Server(say_and_close(OPEN_END + EVENT + b"event: done\ndata: {}\n")) as server:
        assert [event.event for event in client_for(server).stream_events("t")] == ["event"]


def test_an_event_is_told_before_the_next_one_is_sent(client_for):
    told = threading.Event()

    def step(sock):
        sock.sendall(chunked(EVENT, end=b""))
        assert told.wait(10)
        sock.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(DONE), DONE))
    with Server(step) as server:
        stream = iter(client_for(server).stream_events("t"))
        assert next(stream).event == "event"
        told.set()
        assert next(stream).event == "done"
        assert list(stream) == []


def test_chunks_come_as_they_were_sent(client_for):
    with Server(chunked(EVENT, DONE)) as server:
        assert b"".join(client_for(server).stream_events("t").chunks()) == EVENT + DONE


@pytest.mark.parametrize("step", [
    say_and_close(chunked(EVENT, end=b"")), say_and_close(chunked(EVENT, end=b"5\r\nab")),
    lambda sock: (sock.sendall(OPEN_END + EVENT), reset(sock)),
    say_and_close(answer(200, EVENT, "Content-Type: text/event-stream", length=500))], ids=["chunked", "chunk", "reset", "length"])
def test_a_cut_stream_tells_what_came_and_then_the_cut(client_for, step):
    with Server(step) as server:
        seen = []
        with pytest.raises(NetworkError) as caught:
            for event in client_for(server).stream_events("t"):
                seen.append(event.event)
        assert caught.value.code == "connection_cut"


def test_silence_and_the_deadline_end_a_stream_with_different_words(client_for):
    with Server() as server:
        server.script = [lambda sock: (sock.sendall(OPEN_END + EVENT), server.ending.wait(20))]
        with pytest.raises(NetworkError) as caught:
            list(client_for(server).stream_events("t", read_seconds=0.1))
        assert caught.value.code == "read_timeout"
        with pytest.raises(DeadlineReached):
            list(client_for(server, Deadline(0.2)).stream_events("t"))


def test_another_thread_can_close_a_stream_and_its_reader_ends_quietly(client_for):
    with Server() as server:
        for head in (OPEN_END, chunked(end=b"")):
            server.script = [lambda sock, head=head: (sock.sendall(head + b""), server.ending.wait(20))]
            stream = client_for(server).stream_events("t", read_seconds=20)
            seen = []
            reader = threading.Thread(target=lambda stream=stream, seen=seen: seen.extend(stream))
            reader.start()
            stream.close()
            stream.close()
            reader.join(5)
            assert not reader.is_alive() and seen == []


def test_a_reader_that_already_waits_is_woken_by_a_close(client_for):
    waiting = threading.Event()
    with Server() as server:
        server.script = [lambda sock: (sock.sendall(chunked(EVENT, end=b"")), server.ending.wait(20))]
        stream, seen = client_for(server).stream_events("t", read_seconds=20), []

        def read():
            for event in stream:
                seen.append(event.event)
                waiting.set()
        reader = threading.Thread(target=read)
        reader.start()
        assert waiting.wait(5)
        stream.close()
        reader.join(5)
        assert not reader.is_alive() and seen == ["event"] and "closed" in repr(stream)


@pytest.mark.parametrize("step", [answer(200, {"id": "t"}, "Content-Type: application/json"), answer(200, b"<html>"),
                                  answer(204), answer(200, b"x", "Content-Type: text/event-stream", "Content-Encoding: gzip")])
def test_what_is_not_an_event_stream_is_an_error_and_not_an_endless_wait(client_for, step):
    with Server(step) as server:
        with pytest.raises(AnswerUnreadable):
            client_for(server).stream_events("t")


def test_a_refused_stream_tells_why(client_for):
    with Server(answer(401)) as server:
        with pytest.raises(AuthError):
            client_for(server).stream_events("t")
