"""The client's tasks section, and the client itself: what is sent, what is refused before anything is."""
from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from scripted_server import Server, answer

import rebyte_client
from rebyte_client import RebyteClient
from rebyte_wire.calls import Deadline
from rebyte_wire.errors import AuthError, DeadlineReached, InputError

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
        done = subprocess.run([sys.executable, "-c", code], cwd=os.path.dirname(SCRIPTS), env=environ, timeout=60,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.stdout, done.stderr) == (os.linesep.join(["t", ""]).encode(), b"")


def test_no_traceback_shows_the_key():
    code = ("import sys; sys.path.insert(0, 'scripts'); from rebyte_client import RebyteClient\n"
            "RebyteClient('rbk_CANARY', 'http://127.0.0.1:1').get_task('t')")
    for code in (code, code.replace("CANARY'", "CANARY\\nX: y'")):
        done = subprocess.run([sys.executable, "-c", code.replace("get_task('t')", "request('GET', '/x', query={'a': 1})")],
                              cwd=os.path.dirname(SCRIPTS), env=dict(os.environ), timeout=60, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 1 and b"Error" in done.stderr
        lines = [line for line in done.stderr.decode().splitlines() if not line.lstrip().startswith("RebyteClient(")]
        assert "CANARY" not in "\n".join(lines)
