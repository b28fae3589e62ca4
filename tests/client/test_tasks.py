"""Each call as it travels, and the streams of a task."""

from __future__ import annotations

import json
import os
import sys
import threading
import time

import pytest

from measure import ROOT, run_quietly
from rebyte_client import RebyteClient
from rebyte_wire.errors import (
    AnswerUnreadable,
    AuthError,
    DeadlineReached,
    InputError,
    NetworkError,
    OutcomeUnknown,
)
from rebyte_wire.requests import Deadline
from scripted_server import answer, chunked, failure, reset, say_and_close

TASK = answer(200, {"id": "t", "promptId": "p", "data": []})
HOOK = {"id": "h1", "url": "https://a.example/x"}
CALLS = [
    (lambda c: c.create_task("p"), "POST /v1/tasks", {"prompt": "p"}),
    (
        lambda c: c.create_task(
            "p",
            executor="e",
            model="m",
            workspace_id="w",
            files=[{"id": "f", "filename": "n"}],
            skills=["s"],
            github_url="o/r",
            branch_name="b",
        ),
        "POST /v1/tasks",
        {
            "prompt": "p",
            "executor": "e",
            "model": "m",
            "workspaceId": "w",
            "files": [{"id": "f", "filename": "n"}],
            "skills": ["s"],
            "githubUrl": "o/r",
            "branchName": "b",
        },
    ),
    (lambda c: c.list_tasks(), "GET /v1/tasks", None),
    (lambda c: c.list_tasks(limit=5, offset=0), "GET /v1/tasks?limit=5&offset=0", None),
    (lambda c: c.get_task("t-1"), "GET /v1/tasks/t-1", None),
    (
        lambda c: c.follow_up("t", "more"),
        "POST /v1/tasks/t/prompts",
        {"prompt": "more"},
    ),
    (
        lambda c: c.follow_up("t", "more", ["s"], files=[]),
        "POST /v1/tasks/t/prompts",
        {"prompt": "more", "skills": ["s"], "files": []},
    ),
    (lambda c: c.cancel_task("t"), "POST /v1/tasks/t/cancel", None),
    (
        lambda c: c.set_visibility("t", "public"),
        "PATCH /v1/tasks/t/visibility",
        {"visibility": "public"},
    ),
    (lambda c: c.delete_task("t"), "DELETE /v1/tasks/t", None),
    (lambda c: c.task_content("t"), "GET /v1/tasks/t/content", None),
    (
        lambda c: c.task_content("t", events=True),
        "GET /v1/tasks/t/content?include=events",
        None,
    ),
    (lambda c: c.prompt_events("t", "p"), "GET /v1/tasks/t/prompts/p/events", None),
    (
        lambda c: c.answer_question("t", {"messageId": "m"}),
        "POST /v1/tasks/t/answer",
        {"messageId": "m"},
    ),
    (lambda c: c.create_upload("a"), "POST /v1/files", {"filename": "a"}),
    (lambda c: c.list_artifacts("w"), "GET /v1/workspaces/w/artifacts", None),
    (
        lambda c: c.request_artifact_uploads("w", [{"name": "a"}]),
        "POST /v1/workspaces/w/artifacts/upload-url",
        {"files": [{"name": "a"}]},
    ),
    (
        lambda c: c.delete_artifact("w", "a b\u00fc?.pdf"),
        "DELETE /v1/workspaces/w/artifacts/a%20b%C3%BC%3F.pdf",
        None,
    ),
    (lambda c: c.delete_artifacts("w"), "DELETE /v1/workspaces/w/artifacts", None),
    (
        lambda c: c.create_computer("box", "B"),
        "POST /v1/agent-computers",
        {"name": "box", "icon": "B"},
    ),
    (lambda c: c.create_computer(), "POST /v1/agent-computers", {}),
    (
        lambda c: c.list_computers(5, 10),
        "GET /v1/agent-computers?limit=5&offset=10",
        None,
    ),
    (lambda c: c.get_computer("c1"), "GET /v1/agent-computers/c1", None),
    (
        lambda c: c.update_computer("c1", instructions="be brief", views={"v": False}),
        "PATCH /v1/agent-computers/c1",
        {"agent_instructions": "be brief", "views": {"v": False}},
    ),
    (
        lambda c: c.create_webhook("https://a.example/x", ["task.failed"], secret="s"),
        "POST /v1/webhooks",
        {"url": "https://a.example/x", "events": ["task.failed"], "secret": "s"},
    ),
    (lambda c: c.get_webhook("h1"), "GET /v1/webhooks/h1", None),
    (lambda c: c.get_webhook_key(), "GET /v1/webhooks/public_key", None),
    (lambda c: c.get_credits(), "GET /v1/billing/credits", None),
    (lambda c: c.get_health(), "GET /health", None),
    (lambda c: c.request("PATCH", "/x", body={}), "PATCH /v1/x", {}),
    (
        lambda c: c.request("GET", "/x", query={"a": "b&c", "d": None}),
        "GET /v1/x?a=b%26c",
        None,
    ),
    (
        lambda c: c.request("GET", "/x", query=[("a", "1"), ("a", "2"), ("b", None)]),
        "GET /v1/x?a=1&a=2",
        None,
    ),
    (lambda c: c.request("POST", "/x", body="text"), "POST /v1/x", "text"),
    (
        lambda c: c.request("POST", "/x", body=["\u00fc\U0001f600"]),
        "POST /v1/x",
        ["\u00fc\U0001f600"],
    ),
    (lambda c: c.request("POST", "/x", body="\\u0000"), "POST /v1/x", "\\u0000"),
]


@pytest.mark.parametrize(
    "call, line, body",
    CALLS,
    ids=[line + " " + str(body or "")[:20] for _, line, body in CALLS],
)
def test_a_method_sends_what_was_asked_for_and_nothing_else(served, call, line, body):
    client, server = served(TASK)
    told = call(client)
    ((sent_line, headers, sent),) = server.requests
    assert (
        sent_line == line + " HTTP/1.1"
        and (json.loads(sent.decode()) if sent else None) == body
    )
    assert headers.get("Content-Length") == (
        str(len(sent)) if sent or line.split()[0] in ("POST", "PATCH") else None
    )
    assert (
        told is None
        if line.startswith("DELETE")
        else told == json.loads(TASK.partition(b"\r\n\r\n")[2].decode())
    )


@pytest.mark.parametrize(
    "odd",
    [
        "",
        " ",
        ".",
        "..",
        "a/b",
        "a?b",
        "a#b",
        "a%2fb",
        "a\\b",
        "a\nb",
        "a\0b",
        "a b",
        "\u00fc",
        None,
        7,
        ["t"],
    ],
)
def test_an_odd_id_is_refused_before_anything_is_sent(served, odd):
    client, server = served(TASK)
    for call in (
        client.get_task,
        client.cancel_task,
        client.delete_task,
        client.delete_artifacts,
        client.stream_events,
        client.delete_computer,
        client.delete_webhook,
        lambda id: client.follow_up(id, "x"),
        lambda id: client.prompt_events("t", id),
    ):
        failure(lambda call=call: call(odd), InputError)
    assert server.connections == 0


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tasks",
        "//evil.example/x",
        "/tasks/../x",
        "/tasks/%2e%2e/x",
        "/a b",
        "/a\r\nX: y",
        "/a#b",
        "/\u00fc",
        "/",
    ],
)
def test_an_odd_path_is_refused_before_anything_is_sent(served, path):
    client, server = served(TASK)
    failure(lambda: client.request("POST", path), InputError)
    assert server.connections == 0


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        {1, 2},
        "\ud83d",
        ["caf\udce9.csv"],
        {"\udc00": 1},
        "\ud83dx\ude00",
        "H\0e\0",
        "\\\0",
        {"\0": 1},
    ],
)
def test_a_body_that_json_cannot_say_is_an_input_error(client_for, value):
    client = client_for("http://127.0.0.1:1")
    for body in ({"x": value}, [value], value):
        failure(lambda body=body: client.request("POST", "/x", body=body), InputError)


def test_waiting_asks_until_any_word_of_the_end(served):
    client, _ = served(
        *(
            answer(200, dict({"id": "t"}, **more))
            for more in ({"status": "running"}, {}, {"status": "cancelled"})
        )
    )
    assert client.wait_for_task("t", poll_interval=3)[
        "status"
    ] == "cancelled" and client.waits == [
        3,
        3,
    ]


def test_waiting_without_a_limit_pauses_all_the_same(served):
    client, _ = served(answer(200, {}), answer(200, {"status": "failed"}))
    assert client.wait_for_task("t", 3, timeout=None) and client.waits == [3]


@pytest.mark.parametrize("deadline, timeout", [(None, 0), (Deadline(0.05), 600)])
def test_waiting_ends_at_its_timeout(served, deadline, timeout):
    client, _ = served(answer(200, {"id": "t", "status": "running"}), deadline=deadline)
    failure(
        lambda: client.wait_for_task("t", poll_interval=0, timeout=timeout),
        DeadlineReached,
    )


def test_the_clocks_are_compared(served):
    client, _ = served(answer(200, {}, "Date: Fri, 29 Sep 2023 16:26:37 GMT"))
    assert client.clock_skew is None
    client.get_task("t")
    assert client.clock_skew < -1e6


# The client itself...


def test_no_key_and_a_foreign_address_are_told_before_anything_is_sent(tmp_path):
    home = {"HOME": str(tmp_path)}
    error = failure(lambda: RebyteClient(environ=home), AuthError)
    assert error.code == "missing_api_key" and "settings/api-keys" in error.hint
    error = failure(
        lambda: RebyteClient(
            base_url="https://other.example.com",
            environ=dict(home, REBYTE_API_KEY="rbk_CANARY"),
        ),
        AuthError,
    )
    assert error.code == "missing_api_key" and "CANARY" not in str(error.as_dict())


def test_the_environments_key_goes_to_the_environments_origin(tmp_path):
    environ = {
        "HOME": str(tmp_path),
        "REBYTE_API_KEY": "k",
        "REBYTE_BASE_URL": "https://mine.example.com",
    }
    assert RebyteClient(environ=environ).base_url == "https://mine.example.com/v1"
    assert (
        RebyteClient(
            base_url="https://mine.example.com/v1", environ=environ
        ).is_loopback
        is False
    )
    failure(
        lambda: RebyteClient(base_url="https://api.rebyte.ai", environ=environ),
        AuthError,
    )
    own = tmp_path / "key"
    own.write_text("mine")
    assert RebyteClient(
        base_url="http://127.0.0.1:1", key_file=str(own), environ=environ
    ).is_loopback
    assert (
        RebyteClient("given", "https://x.example.com", environ={}).base_url
        == "https://x.example.com/v1"
    )


def test_no_repr_shows_the_key_or_a_query(client_for):
    client = client_for("http://127.0.0.1:1")
    transport = client._transport
    call = transport._signed_request(
        "GET", "http://127.0.0.1:1/f?X-Goog-Signature=CANARY"
    )
    shown = [
        repr(thing)
        for thing in (client, transport, transport._pool, call, client.deadline)
    ]
    assert "CANARY" not in "".join(shown) and "http://127.0.0.1:1/v1" in shown[0]


def test_the_deadline_can_be_set_again(served):
    client, _ = served(TASK, deadline=Deadline(0))
    failure(lambda: client.get_task("t"), DeadlineReached)
    client.deadline = Deadline()
    client.get_task("t")


def type_python(line, **environ):
    """Run a line of Python after the import of the client."""
    code = (
        "import sys; sys.path.insert(0, 'scripts'); from rebyte_client import RebyteClient\n"
        + line
    )
    return run_quietly(
        [sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ, **environ)
    )


def test_one_line_of_python_is_enough(served):
    done = type_python(
        "print(RebyteClient().get_task('t')['id'])",
        REBYTE_API_KEY="k\n",
        REBYTE_BASE_URL=served(TASK)[1].url,
    )
    assert (done.stdout, done.stderr) == (os.linesep.join(["t", ""]).encode(), b"")


@pytest.mark.parametrize("key", ["rbk_CANARY", "rbk_CANARY\nX: y"])
def test_no_traceback_shows_the_key(key):
    done = type_python(
        "RebyteClient(%r, 'http://127.0.0.1:1').request('GET', '/x', query={'a': 1})"
        % key
    )
    assert done.returncode == 1 and b"Error" in done.stderr
    assert "CANARY" not in "\n".join(
        line
        for line in done.stderr.decode().splitlines()
        if not line.lstrip().startswith("RebyteClient(")
    )


# The client's sections computers, webhooks and credits.

COMPUTER = {
    "id": "c1",
    "status": "ready",
    "sandboxId": "s1",
    "sandboxApiKey": "CANARY",
    "views": [{"id": "v"}],
}


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.create_computer(),
        lambda c: c.list_computers(),
        lambda c: c.get_computer("c1"),
        lambda c: c.update_computer("c1", instructions=""),
        lambda c: c.request("GET", "/agent-computers/c1"),
    ],
)
def test_the_key_of_a_machine_is_shown_to_nobody(served, call):
    told = call(
        served(answer(200, dict(COMPUTER, data=[COMPUTER, {"deep": [COMPUTER]}])))[0]
    )
    assert "CANARY" not in str(told) and told["sandboxApiKey"] == "***"


def test_the_key_of_a_machine_is_shown_to_who_asks_for_it_by_name(served):
    assert (
        served(answer(200, COMPUTER))[0].get_computer("c1", reveal=("sandboxApiKey",))[
            "sandboxApiKey"
        ]
        == "CANARY"
    )


@pytest.mark.parametrize(
    "shape",
    [
        [HOOK],
        {"data": [HOOK], "total": 1},
        {"webhooks": [HOOK], "total": 1},
        {"data": []},
    ],
)
def test_webhooks_are_listed_whatever_the_list_is_called(served, shape):
    told = served(answer(200, shape))[0].list_webhooks()
    assert told["data"] in ([HOOK], []) and "webhooks" not in told
    assert isinstance(shape, list) or told.get("total") == shape.get("total")


def test_a_list_of_webhooks_in_no_known_shape_is_unreadable(served):
    failure(served(answer(200, {"hooks": []}))[0].list_webhooks, AnswerUnreadable)


def test_a_computer_is_a_paid_start_with_a_last_step_before_it_leaves(served):
    client, server = served(
        answer(500, {"error": {"code": "internal_error", "message": "x"}})
    )
    ran = []
    failure(
        lambda: client.create_computer(
            "box", before_send=lambda: ran.append(len(server.requests))
        ),
        OutcomeUnknown,
    )
    assert ran == [0] and len(server.requests) == 1


def test_credits_are_told_as_the_service_sends_them(served):
    told = {"balance": 1.5, "unheard_of": None}
    assert served(answer(200, told))[0].get_credits() == told


# Event streams: told as they arrive, cut, silent, closed by another thread.

EVENT, DONE = b"event: event\ndata: {}\n\n", b"event: done\ndata: {}\n\n"
OPEN_END = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=x\r\n\r\n"


def told(stream):
    """Return the names of the events of a stream."""
    return [event.event for event in stream]


def test_a_stream_is_asked_for_as_one_and_ends_cleanly(served):
    client, server = served(chunked(EVENT, DONE))
    with client.stream_events("t") as stream:
        assert told(stream) == ["event", "done"]
    line, headers, _ = server.requests[0]
    assert (
        line.startswith("GET /v1/tasks/t/events ")
        and headers["Accept"] == "text/event-stream"
    )
    assert headers["Cache-Control"] == "no-cache" and "Last-Event-ID" not in headers


def test_a_stream_that_ends_by_hanging_up_ends_cleanly_and_half_an_event_is_not_told(
    served,
):
    client, _ = served(say_and_close(OPEN_END + EVENT + b"event: done\ndata: {}\n"))
    assert told(client.stream_events("t")) == ["event"]


def test_an_event_is_told_before_the_next_one_is_sent(served):
    seen = threading.Event()

    def step(sock):
        sock.sendall(chunked(EVENT, end=b""))
        assert seen.wait(10)
        sock.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(DONE), DONE))

    stream = iter(served(step)[0].stream_events("t"))
    assert next(stream).event == "event"
    seen.set()
    assert told(stream) == ["done"]


def test_chunks_come_as_they_were_sent(served):
    assert (
        b"".join(served(chunked(EVENT, DONE))[0].stream_events("t").chunks())
        == EVENT + DONE
    )


@pytest.mark.parametrize(
    "step",
    [
        say_and_close(chunked(EVENT, end=b"")),
        say_and_close(chunked(EVENT, end=b"5\r\nab")),
        say_and_close(chunked(EVENT, end=b"-1\r\n" + EVENT)),
        lambda sock: (sock.sendall(OPEN_END + EVENT), reset(sock)),
        say_and_close(
            answer(200, EVENT, "Content-Type: text/event-stream", length=500)
        ),
    ],
    ids=["chunked", "chunk", "negative chunk", "reset", "length"],
)
def test_a_cut_stream_tells_what_came_and_then_the_cut(served, step):
    stream, seen = served(step)[0].stream_events("t"), []
    assert (
        failure(lambda: seen.extend(event.event for event in stream), NetworkError).code
        == "connection_cut"
    )
    assert seen == ["event"]


@pytest.fixture
def silent(served):
    """silent(head, **more) -> a client of a server that says so much and then nothing."""

    def make(head, **more):
        client, server = served(**more)
        server.script = [lambda sock: (sock.sendall(head), server.ending.wait(20))]
        return client

    return make


def test_silence_and_the_deadline_end_a_stream_with_different_words(silent):
    assert (
        failure(
            lambda: told(silent(OPEN_END + EVENT).stream_events("t", read_seconds=0.1)),
            NetworkError,
        ).code
        == "read_timeout"
    )
    failure(
        lambda: told(
            silent(OPEN_END + EVENT, deadline=Deadline(0.2)).stream_events("t")
        ),
        DeadlineReached,
    )


@pytest.mark.parametrize(
    "head", [OPEN_END, chunked(end=b"")], ids=["open end", "chunked"]
)
def test_another_thread_can_close_a_stream_and_its_reader_ends_quietly(silent, head):
    stream, seen = silent(head).stream_events("t", read_seconds=20), []
    reader = threading.Thread(target=lambda: seen.extend(stream))
    reader.start()
    began = time.monotonic()
    stream.close()
    stream.close()
    reader.join(5)
    assert time.monotonic() - began < 5
    assert not reader.is_alive() and seen == []


def test_a_reader_that_already_waits_is_woken_by_a_close(silent):
    waiting, seen = threading.Event(), []
    stream = silent(chunked(EVENT, end=b"")).stream_events("t", read_seconds=20)

    def read():
        for event in stream:
            seen.append(event.event)
            waiting.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert waiting.wait(5)
    began = time.monotonic()
    stream.close()
    reader.join(5)
    assert time.monotonic() - began < 5
    assert not reader.is_alive() and seen == ["event"] and "closed" in repr(stream)


@pytest.mark.parametrize(
    "step, kind",
    [
        (answer(200, {"id": "t"}, "Content-Type: application/json"), AnswerUnreadable),
        (answer(200, b"<html>"), AnswerUnreadable),
        (answer(204), AnswerUnreadable),
        (
            answer(
                200, b"x", "Content-Type: text/event-stream", "Content-Encoding: gzip"
            ),
            AnswerUnreadable,
        ),
        (answer(401), AuthError),
    ],
)
def test_what_is_not_an_event_stream_is_an_error_and_not_an_endless_wait(
    served, step, kind
):
    failure(lambda: served(step)[0].stream_events("t"), kind)


def test_waiting_for_a_task_ends_in_time_although_nobody_answers(silent):
    began = time.monotonic()
    failure(lambda: silent(b"").wait_for_task("t", timeout=0.3), DeadlineReached)
    assert time.monotonic() - began < 3


def test_a_query_in_a_path_and_one_beside_it_are_one(served):
    client, server = served(answer(200, {"data": []}))
    client.request("GET", "/tasks?limit=10", query={"offset": 1})
    assert server.requests[0][0] == "GET /v1/tasks?limit=10&offset=1 HTTP/1.1"
