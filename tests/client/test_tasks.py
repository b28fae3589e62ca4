"""Each call as it travels, and the streams of a task."""
from __future__ import annotations

import json
import os
import sys
import threading

import pytest
from measure import run_quietly
from scripted_server import Server, answer, chunked, reset, say_and_close

import rebyte_client
from rebyte_client import RebyteClient
from rebyte_wire.calls import Deadline
from rebyte_wire.errors import AnswerUnreadable, AuthError, DeadlineReached, InputError, NetworkError, NotFound, OutcomeUnknown, RouteMissing

TASK = answer(200, {"id": "t", "promptId": "p", "data": []})
SCRIPTS = os.path.dirname(rebyte_client.__file__)
CALLS = [
    (lambda c: c.create_task("p"), "POST /v1/tasks", {"prompt": "p"}),
    (lambda c: c.create_task("p", executor="e", model="m", workspace_id="w", files=[{"id": "f", "filename": "n"}], skills=["s"],
                             github_url="o/r", branch_name="b"), "POST /v1/tasks",
     {"prompt": "p", "executor": "e", "model": "m", "workspaceId": "w", "files": [{"id": "f", "filename": "n"}],
      "skills": ["s"], "githubUrl": "o/r", "branchName": "b"}),
    (lambda c: c.list_tasks(), "GET /v1/tasks", None),
    (lambda c: c.list_tasks(limit=5, offset=0), "GET /v1/tasks?limit=5&offset=0", None),
    (lambda c: c.get_task("t-1"), "GET /v1/tasks/t-1", None),
    (lambda c: c.follow_up("t", "more"), "POST /v1/tasks/t/prompts", {"prompt": "more"}),
    (lambda c: c.follow_up("t", "more", ["s"], files=[]), "POST /v1/tasks/t/prompts", {"prompt": "more", "skills": ["s"], "files": []}),
    (lambda c: c.cancel_task("t"), "POST /v1/tasks/t/cancel", None),
    (lambda c: c.set_visibility("t", "public"), "PATCH /v1/tasks/t/visibility", {"visibility": "public"}),
    (lambda c: c.delete_task("t"), "DELETE /v1/tasks/t", None),
    (lambda c: c.task_content("t"), "GET /v1/tasks/t/content", None),
    (lambda c: c.task_content("t", events=True), "GET /v1/tasks/t/content?include=events", None),
    (lambda c: c.prompt_events("t", "p"), "GET /v1/tasks/t/prompts/p/events", None),
    (lambda c: c.answer_question("t", {"messageId": "m"}), "POST /v1/tasks/t/answer", {"messageId": "m"}),
    (lambda c: c.create_upload("a"), "POST /v1/files", {"filename": "a"}),
    (lambda c: c.list_artifacts("w"), "GET /v1/workspaces/w/artifacts", None),
    (lambda c: c.request_artifact_uploads("w", [{"name": "a"}]), "POST /v1/workspaces/w/artifacts/upload-url", {"files": [{"name": "a"}]}),
    (lambda c: c.delete_artifact("w", "a b/\u00fc?.pdf".replace("/", "")), "DELETE /v1/workspaces/w/artifacts/a%20b%C3%BC%3F.pdf", None),
    (lambda c: c.delete_artifacts("w"), "DELETE /v1/workspaces/w/artifacts", None),
    (lambda c: c.request("PATCH", "/x", body={}), "PATCH /v1/x", {}),
    (lambda c: c.request("GET", "/x", query={"a": "b&c", "d": None}), "GET /v1/x?a=b%26c", None),
]


@pytest.mark.parametrize("call, line, body", CALLS, ids=[line + " " + str(body or "")[:20] for _, line, body in CALLS])
def test_a_method_sends_what_was_asked_for_and_nothing_else(client_for, call, line, body):
    with Server(TASK) as server:
        call(client_for(server))
        sent_line, headers, sent = server.requests[0]
    assert sent_line == line + " HTTP/1.1"
    assert (json.loads(sent.decode()) if sent else None) == body
    assert headers.get("Content-Length") == (str(len(sent)) if sent or line.split()[0] in ("POST", "PATCH") else None)


@pytest.mark.parametrize("odd", ["", " ", ".", "..", "a/b", "a?b", "a#b", "a%2fb", "a\\b", "a\nb", "a\0b", "a b", "\u00fc", None, 7, ["t"]])
def test_an_odd_id_is_refused_before_anything_is_sent(client_for, odd):
    with Server(TASK) as server:
        client = client_for(server)
        for call in (client.get_task, client.cancel_task, client.delete_task, client.delete_artifacts, client.stream_events,
                     lambda id: client.follow_up(id, "x"), lambda id: client.prompt_events("t", id)):
            with pytest.raises(InputError):
                call(odd)
        assert server.connections == 0


@pytest.mark.parametrize("path", ["", "tasks", "//evil.example/x", "/tasks/../x", "/tasks/%2e%2e/x", "/a b", "/a\r\nX: y", "/a#b", "/\u00fc", "/"])
def test_an_odd_path_is_refused_before_anything_is_sent(client_for, path):
    with Server(TASK) as server:
        with pytest.raises(InputError):
            client_for(server).request("POST", path)
        assert server.connections == 0


def test_a_body_that_json_cannot_say_is_an_input_error(client_for):
    for body in ({"x": float("nan")}, {"x": {1, 2}}):
        with pytest.raises(InputError):
            client_for("http://127.0.0.1:1").request("POST", "/x", body=body)


def test_waiting_asks_until_any_word_of_the_end(client_for):
    with Server(answer(200, {"id": "t", "status": "running"}), answer(200, {"id": "t"}), answer(200, {"id": "t", "status": "cancelled"})) as server:
        client = client_for(server)
        assert client.wait_for_task("t", poll_interval=3)["status"] == "cancelled"
        assert client.waits == [3, 3]


def test_waiting_ends_at_its_timeout(client_for):
    with Server(answer(200, {"id": "t", "status": "running"})) as server:
        with pytest.raises(DeadlineReached):
            client_for(server).wait_for_task("t", timeout=0)
        with pytest.raises(DeadlineReached):
            client_for(server, Deadline(0.05)).wait_for_task("t", poll_interval=0, timeout=600)


def test_the_clocks_are_compared(client_for):
    with Server(answer(200, {}, "Date: Fri, 29 Sep 2023 16:26:37 GMT")) as server:
        client = client_for(server)
        assert client.clock_skew is None
        client.get_task("t")
        assert client.clock_skew < -1e6


# The client itself...

def test_no_key_and_a_foreign_address_are_told_before_anything_is_sent(tmp_path):
    home = {"HOME": str(tmp_path)}
    with pytest.raises(AuthError) as caught:
        RebyteClient(environ=home)
    assert caught.value.code == "missing_api_key" and "settings/api-keys" in caught.value.hint
    with pytest.raises(AuthError) as caught:
        RebyteClient(base_url="https://other.example.com", environ=dict(home, REBYTE_API_KEY="rbk_CANARY"))
    assert caught.value.code == "missing_api_key" and "CANARY" not in str(caught.value.as_dict())


def test_the_environments_key_goes_to_the_environments_origin(tmp_path):
    environ = {"HOME": str(tmp_path), "REBYTE_API_KEY": "k", "REBYTE_BASE_URL": "https://mine.example.com"}
    assert RebyteClient(environ=environ).base_url == "https://mine.example.com/v1"
    assert RebyteClient(base_url="https://mine.example.com/v1", environ=environ).is_loopback is False
    with pytest.raises(AuthError):
        RebyteClient(base_url="https://api.rebyte.ai", environ=environ)
    own = tmp_path / "key"
    own.write_text("mine")
    assert RebyteClient(base_url="http://127.0.0.1:1", key_file=str(own), environ=environ).is_loopback
    assert RebyteClient("given", "https://x.example.com", environ={}).base_url == "https://x.example.com/v1"


def test_no_repr_shows_the_key_or_a_query(client_for):
    client = client_for("http://127.0.0.1:1")
    transport = client._transport
    call = transport._signed_call("GET", "http://127.0.0.1:1/f?X-Goog-Signature=CANARY", {}, None)
    shown = [repr(thing) for thing in (client, transport, transport._connections, call, client.deadline)]
    assert "CANARY" not in "".join(shown) and "http://127.0.0.1:1/v1" in shown[0]


def test_the_deadline_can_be_set_again(client_for):
    with Server(TASK) as server:
        client = client_for(server)
        client.deadline = Deadline(0)
        with pytest.raises(DeadlineReached):
            client.get_task("t")
        client.deadline = Deadline()
        client.get_task("t")


def test_one_line_of_python_is_enough():
    code = "import sys; sys.path.insert(0, 'scripts'); from rebyte_client import RebyteClient; print(RebyteClient().get_task('t')['id'])"
    with Server(TASK) as server:
        environ = dict(os.environ, REBYTE_API_KEY="k\n", REBYTE_BASE_URL=server.url)
        done = run_quietly([sys.executable, "-c", code], cwd=os.path.dirname(SCRIPTS), env=environ)
    assert (done.stdout, done.stderr) == (os.linesep.join(["t", ""]).encode(), b"")


def test_no_traceback_shows_the_key():
    code = ("import sys; sys.path.insert(0, 'scripts'); from rebyte_client import RebyteClient\n"
            "RebyteClient('rbk_CANARY', 'http://127.0.0.1:1').get_task('t')")
    for code in (code, code.replace("CANARY'", "CANARY\\nX: y'")):
        done = run_quietly([sys.executable, "-c", code.replace("get_task('t')", "request('GET', '/x', query={'a': 1})")],
            cwd=os.path.dirname(SCRIPTS), env=dict(os.environ))
        assert done.returncode == 1 and b"Error" in done.stderr
        lines = [line for line in done.stderr.decode().splitlines() if not line.lstrip().startswith("RebyteClient(")]
        assert "CANARY" not in "\n".join(lines)


# The client's sections computers, webhooks and credits, and the routes that a deployment may lack.

COMPUTER = {"id": "c1", "status": "ready", "sandboxId": "s1", "sandboxApiKey": "CANARY", "views": [{"id": "v"}]}
HOOK = {"id": "h1", "url": "https://a.example/x"}


def lines(server):
    return [request[0].rsplit(" ", 1)[0] for request in server.requests]


@pytest.mark.parametrize("call, answered, line, body", [
    (lambda c: c.create_computer("box", "B"), COMPUTER, "POST /v1/agent-computers", b'{"name": "box", "icon": "B"}'),
    (lambda c: c.create_computer(), COMPUTER, "POST /v1/agent-computers", b"{}"),
    (lambda c: c.list_computers(5, 10), {"data": [COMPUTER]}, "GET /v1/agent-computers?limit=5&offset=10", b""),
    (lambda c: c.get_computer("c1"), COMPUTER, "GET /v1/agent-computers/c1", b""),
    (lambda c: c.update_computer("c1", instructions="be brief", views={"v": False}), COMPUTER, "PATCH /v1/agent-computers/c1",
     b'{"agent_instructions": "be brief", "views": {"v": false}}'),
    (lambda c: c.create_webhook("https://a.example/x", ["task.failed"], secret="s"), HOOK, "POST /v1/webhooks",
     b'{"url": "https://a.example/x", "events": ["task.failed"], "secret": "s"}'),
    (lambda c: c.get_webhook("h1"), HOOK, "GET /v1/webhooks/h1", b""),
    (lambda c: c.get_webhook_key(), {"publicKey": "k"}, "GET /v1/webhooks/public_key", b""),
    (lambda c: c.get_credits(), {"balance": 1}, "GET /v1/billing/credits", b""),
    (lambda c: c.get_health(), {"status": "ok"}, "GET /health", b""),
])
def test_a_call_travels_as_documented(client_for, call, answered, line, body):
    with Server(answer(200, answered)) as server:
        assert isinstance(call(client_for(server)), dict)
        assert lines(server) == [line] and server.requests[0][2] == body


def test_credits_are_told_as_the_service_sends_them(client_for):
    with Server(answer(200, {"balance": 1.5, "unheard_of": None})) as server:
        assert client_for(server).get_credits() == {"balance": 1.5, "unheard_of": None}


@pytest.mark.parametrize("call", [lambda c: c.delete_computer("c1"), lambda c: c.delete_webhook("h1")])
def test_a_delete_gives_nothing_and_an_odd_id_is_never_sent(client_for, call):
    with Server(answer(204, b"")) as server:
        assert call(client_for(server)) is None
        for odd in ("", "..", "a/b", "a?b"):
            with pytest.raises(InputError):
                client_for(server).delete_computer(odd)
        assert server.connections == 1


@pytest.mark.parametrize("call", [
    lambda c: c.create_computer(), lambda c: c.list_computers(), lambda c: c.get_computer("c1"),
    lambda c: c.update_computer("c1", instructions=""), lambda c: c.request("GET", "/agent-computers/c1")])
def test_the_key_of_a_machine_is_shown_to_nobody(client_for, call):
    with Server(answer(200, dict(COMPUTER, data=[COMPUTER, {"deep": [COMPUTER]}]))) as server:
        told = call(client_for(server))
    assert "CANARY" not in str(told) and told["sandboxApiKey"] == "***"


def test_the_key_of_a_machine_is_shown_to_who_asks_for_it_by_name(client_for):
    with Server(answer(200, COMPUTER)) as server:
        assert client_for(server).get_computer("c1", reveal=("sandboxApiKey",))["sandboxApiKey"] == "CANARY"


@pytest.mark.parametrize("shape", [[HOOK], {"data": [HOOK], "total": 1}, {"webhooks": [HOOK], "total": 1}, {"data": []}])
def test_webhooks_are_listed_whatever_the_list_is_called(client_for, shape):
    with Server(answer(200, shape)) as server:
        told = client_for(server).list_webhooks()
    assert told["data"] in ([HOOK], []) and "webhooks" not in told
    assert isinstance(shape, list) or told.get("total") == shape.get("total")


def test_a_list_of_webhooks_in_no_known_shape_is_unreadable(client_for):
    with Server(answer(200, {"hooks": []})) as server, pytest.raises(AnswerUnreadable):
        client_for(server).list_webhooks()


def test_a_computer_is_a_paid_start_that_is_never_repeated_on_a_doubt(client_for):
    ran = []
    with Server(answer(500, {"error": {"code": "internal_error", "message": "x"}})) as server:
        with pytest.raises(OutcomeUnknown):
            client_for(server).create_computer("box", before_send=lambda: ran.append(len(server.requests)))
        assert ran == [0] and len(server.requests) == 1


@pytest.mark.parametrize("body", [
    b"<html>nginx</html>", b"", {"message": "Route GET:/v1/billing/credits not found", "error": "Not Found", "statusCode": 404},
    {"error": {"code": "not_found", "message": "Route GET /v1/billing/credits not found"}}, {"error": "Cannot GET /v1/billing/credits"}])
def test_a_route_that_is_not_there_is_told_apart_from_a_thing_that_is_not_there(client_for, body):
    with Server(answer(404, body), answer(404, {"error": {"code": "not_found", "message": "Task not found"}})) as server:
        client = client_for(server)
        with pytest.raises(RouteMissing) as caught:
            client.get_credits()
        assert "this service has no such route" in str(caught.value).lower() and caught.value.code == "no_such_route"
        with pytest.raises(NotFound) as caught:
            client.get_task("t")
        assert not isinstance(caught.value, RouteMissing) and "route" not in str(caught.value)


# Event streams: told as they arrive, cut, silent, closed by another thread.

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
