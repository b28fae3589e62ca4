"""HTTP as the local server speaks it, and how it misbehaves when asked to."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import stat
import time

import pytest

from measure import read
from rebyte_local.api.routes import ROUTES
from rebyte_local.faults import FAULTS, HOSTILE_NAMES, Faults
from rebyte_local.server import LocalServer


def speak(api, raw):
    """Send raw bytes and read until the server closes."""
    with socket.create_connection(
        ("127.0.0.1", int(api.url.rpartition(":")[2])), timeout=20
    ) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def ask(connection, api, method, path, body=None, key=None):
    """Use a kept connection; gives the response, read to its end."""
    connection.request(method, "/v1" + path, body, {"API_KEY": key or api.key})
    response = connection.getresponse()
    response.text = response.read()
    return response


@pytest.mark.parametrize(
    "method,path",
    [
        (method, path.replace("*", "x"))
        for method, path, _ in ROUTES
        if path.startswith("/v1/")
    ],
)
def test_no_endpoint_answers_without_the_key(steady, method, path):
    assert steady.send(method, path, "{}").refusal == (401, "missing_api_key")
    assert steady.send(method, path, "{}", {"API_KEY": "rbk_wrong"}).refusal == (
        401,
        "invalid_api_key",
    )


@pytest.mark.parametrize("name", ["API_KEY", "api_key", "Api-Key", "x-api-key"])
def test_the_key_is_taken_under_its_documented_names(steady, name):
    assert steady.send("GET", "/v1/tasks", headers={name: steady.key}).status == 200


def test_health_needs_no_key(steady):
    assert steady.send("GET", "/health").json == {
        "status": "ok",
        "service": "rebyte-local",
    }


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
        "localhost.evil.example:80",
    ],
)
@pytest.mark.parametrize(
    "path", ["/", "/health", "/v1/tasks", "/run/x", "/run/x/stream"]
)
def test_a_host_that_is_not_this_machine_is_refused(steady, host, path):
    assert (
        steady.send("GET", path, headers={"Host": host, "API_KEY": steady.key}).status
        == 403
    )


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:1", "[::1]:8080", "LOCALHOST:99"]
)
def test_every_name_of_this_machine_is_taken(steady, host):
    assert steady.send("GET", "/health", headers={"Host": host}).status == 200


def test_an_unknown_route_and_a_wrong_method_are_told_apart(steady):
    assert steady.api("GET", "/nothing").refusal == (404, "not_found")
    wrong = steady.api("DELETE", "/tasks")
    assert (wrong.status, wrong.headers["Allow"]) == (405, "GET, POST")
    assert steady.api("GET", "/tasks/%ff").refusal == (400, "bad_request")


def test_one_connection_serves_many_requests_even_after_refusals(api):
    connection = api.connect()
    for body, wanted in (
        ("nonsense", 400),
        (json.dumps({"prompt": "x"}), 201),
        ("y" * 200000, 400),
    ) * 3:
        response = ask(connection, api, "POST", "/tasks", body)
        assert response.status == wanted and response.text and not response.will_close
    response = ask(connection, api, "POST", "/tasks", "unread body" * 1000, "wrong")
    assert response.status == 401 and response.text
    task, _, _ = api.run(api.sh("echo 1 > artifacts/a.csv"))
    for path in (
        "/tasks/%s/events" % task["id"],
        "/workspaces/%s/artifacts/a.csv" % task["workspaceId"],
        "/tasks",
    ):
        response = ask(connection, api, "GET", path, "unwanted body")
        assert response.status == 200 and response.text and not response.will_close


def test_head_gets_no_body(steady):
    answer = speak(
        steady,
        (
            "HEAD /v1/tasks HTTP/1.1\r\nHost: localhost\r\nAPI_KEY: %s\r\n\r\n"
            % steady.key
        ).encode(),
    )
    assert (
        answer.startswith(b"HTTP/1.1 405 ")
        and answer.endswith(b"\r\n\r\n")
        and b"Content-Length: " in answer
    )


def test_a_body_without_a_length_is_refused_and_told_what_it_lacks(api):
    head = "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nAPI_KEY: %s\r\n" % api.key
    raw = head + 'Transfer-Encoding: chunked\r\n\r\ne\r\n{"prompt":"x"}\r\n0\r\n\r\n'
    answer = speak(api, raw.encode())
    assert (
        answer.startswith(b"HTTP/1.1 411 ")
        and b"Content-Length" in answer.split(b"\r\n\r\n")[1]
    )
    assert b"\r\nConnection: close\r\n" in answer and answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    ],
)
def test_what_is_no_request_gets_a_clean_refusal(steady, raw):
    answer = speak(steady, raw)
    assert (
        answer.startswith(b"HTTP/1.1 ")
        and 400 <= int(answer.split(b" ")[1]) < 600
        and b'"error"' in answer
    )
    assert steady.send("GET", "/health").status == 200


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: x",
        "Content-Length: -1",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: +14",
        "Content-Length: 99",
        "Content-Length: " + "9" * 5000,
    ],
)
def test_a_body_whose_length_is_in_doubt_is_refused_and_the_connection_ended(
    steady, framing
):
    body = '{"prompt":"x"}'
    raw = (
        "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nAPI_KEY: %s\r\n%s\r\n\r\n%s"
        % (
            steady.key,
            framing,
            body,
        )
    )
    answer = speak(steady, raw.encode())
    assert (
        answer.startswith(b"HTTP/1.1 400 ") and b"\r\nConnection: close\r\n" in answer
    )
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_body_of_json_has_a_limit(steady):
    assert steady.post("/tasks", " " * (8 * 1024 * 1024 + 1)).refusal == (
        413,
        "validation_error",
    )


def test_an_http_1_0_client_gets_a_stream_without_chunks(api):
    task, _, _ = api.run("x")
    raw = (
        "GET /v1/tasks/%s/events HTTP/1.0\r\nHost: localhost\r\nAPI_KEY: %s\r\n\r\n"
        % (
            task["id"],
            api.key,
        )
    )
    head, _, body = speak(api, raw.encode()).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head and body.startswith(
        b"event: event\ndata: {"
    )


def test_small_answers_come_at_once_on_a_kept_connection(api):
    connection, began = api.connect(), time.monotonic()
    for _ in range(50):
        ask(connection, api, "GET", "/tasks")
    assert (
        time.monotonic() - began < 1.5
    )  # a delayed acknowledgement would cost 40 ms each time


def test_requests_are_noted_without_key_and_signature(api, folder):
    api.create("x")
    url = api.post("/files", {"filename": "a.csv"}).json["uploadUrl"]
    api.send("PUT", url, b"1", {"Content-Type": "application/octet-stream"})
    first, last = api.server.requests[0], api.server.requests[-1]
    assert (first["method"], first["path"], first["status"], first["bytes"]) == (
        "POST",
        "/v1/tasks",
        201,
        15,
    )
    assert first["headers"]["api_key"] == "***" and first["headers"]["host"]
    assert last["path"].endswith("signature=***") and last["bytes"] == 1
    with open(os.path.join(folder, "requests.jsonl"), encoding="utf-8") as file:
        text = file.read()
    assert [json.loads(line) for line in text.splitlines()] == api.server.requests
    assert api.key not in text and url.rpartition("=")[2] not in text


def test_what_was_noted_does_not_grow_for_ever(api, folder, monkeypatch):
    monkeypatch.setattr("rebyte_local.http.request_log.FILE_LIMIT_BYTES", 1000)
    monkeypatch.setattr("rebyte_local.http.request_log.MEMORY_LIMIT", 6)
    for _ in range(20):
        api.send("GET", "/health")
    assert 0 < os.path.getsize(os.path.join(folder, "requests.jsonl")) <= 1000
    assert 0 < os.path.getsize(os.path.join(folder, "requests.jsonl.1")) <= 1000
    assert 3 <= len(api.server.requests) <= 6


def test_the_folder_and_everything_in_it_is_the_owners_alone(start, folder):
    os.mkdir(folder, 0o755)
    start().create("x")
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    for name in os.listdir(folder):
        assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) & 0o077 == 0, (
            name
        )


# Each misbehaviour alone, and some together: what a client would suffer, exactly and every time.


def test_every_fault_has_one_sentence_in_the_reference():
    rows = dict(
        re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", read("references", "local.md"), re.M)
    )
    for name in FAULTS:
        assert 20 < len(rows[name]) < 130 and rows[name][0].islower(), name


def test_faults_are_named_as_on_the_command_line_or_in_python():
    faults = Faults(["slow-create=0.5", "no-done"])
    assert faults.describe() == ["no-done", "slow-create=0.5"]
    assert Faults({"cut-stream": 3, "question": None, "too-many": 2}).describe() == [
        "cut-stream=3",
        "question",
        "too-many=2",
    ]
    faults.enable("cut-stream", events=4)
    assert faults.value("cut-stream") == 4 and faults.is_on("no-done")
    faults.clear()
    assert not faults.is_on("no-done")
    faults.enable("too-many", every=2)
    assert not faults.hits("too-many", "GET /")
    faults.enable("too-many", every=2)  # which begins to count anew
    assert [faults.hits("too-many", "GET /") for _ in range(4)] == [
        False,
        True,
        False,
        True,
    ]
    faults.clear()
    assert faults.describe() == []


@pytest.mark.parametrize(
    "wanted",
    [
        ["nothing-like-it"],
        ["no-done=3"],
        ["cut-stream=x"],
        ["cut-stream=0"],
        ["silence=-1"],
        {"no-done": 3},
    ],
)
def test_a_fault_that_is_none_is_refused(wanted):
    with pytest.raises(ValueError):
        Faults(wanted)


def test_a_fault_takes_no_number_of_another_name():
    with pytest.raises(ValueError, match="takes events"):
        Faults().enable("cut-stream", seconds=1)


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_can_be_on_from_the_start(tmp_path, name):
    with LocalServer(tmp_path / "state", faults=[name]) as server:
        assert server.faults.is_on(name)


def test_slow_create_answers_late_for_a_task_that_exists_at_once(start):
    api = start(faults={"slow-create": 0.3})
    connection, began = api.connect(), time.monotonic()
    connection.request("POST", "/v1/tasks", '{"prompt": "x"}', {"API_KEY": api.key})
    api.wait_until(lambda: api.get("/tasks")["total"], 5)
    assert connection.getresponse().status == 201 and time.monotonic() - began >= 0.3


def test_drop_after_accept_runs_the_task_and_says_nothing(start):
    api = start(faults={"drop-after-accept": 2})
    first = api.create("heard")
    with pytest.raises(http.client.RemoteDisconnected):
        api.create("not heard")
    third = api.create("heard again")
    data = api.get("/tasks")["data"]
    assert [task["title"] for task in data] == ["heard again", "not heard", "heard"]
    assert api.finish(data[1]["id"])["status"] == "completed"
    assert (first["id"], third["id"]) == (data[2]["id"], data[0]["id"])
    assert [seen["status"] for seen in api.server.requests[:3]] == [201, 0, 201]


def test_follow_ups_are_dropped_too_when_asked_for(api):
    task = api.create("x")
    api.server.faults.enable("drop-after-accept", only="POST /v1/tasks/")
    api.create("not concerned")
    with pytest.raises(http.client.RemoteDisconnected):
        api.follow_up(task["id"], "y")
    assert len(api.get("/tasks/" + task["id"])["prompts"]) == 2


def test_cut_answer_breaks_off_in_the_middle_of_an_accepted_create(start):
    api = start(faults=["cut-answer"])
    with pytest.raises(http.client.IncompleteRead) as broken:
        api.create("x")
    assert broken.value.partial.startswith(b'{"id": "') and broken.value.expected > 50
    assert api.get("/tasks")["total"] == 1


def statuses(api, count):
    """The answers to so many creates."""
    return [api.post("/tasks", {"prompt": "x"}).status for _ in range(count)]


def test_too_many_refuses_before_anything_is_done(start):
    api = start(faults={"too-many": 2})
    assert statuses(api, 4) == [201, 429, 201, 429]
    api.server.faults.enable("too-many")
    reply = api.api("GET", "/tasks")
    assert reply.refusal == (429, "rate_limited") and "Retry-After" not in reply.headers
    api.server.faults.clear()
    assert api.get("/tasks")["total"] == 2


def test_too_many_retry_after_lets_the_second_of_two_equal_requests_through(start):
    api = start(faults={"too-many-retry-after": 1.5})
    first = api.api("GET", "/tasks")
    assert (first.status, first.headers["Retry-After"]) == (429, "2")
    assert statuses(api, 1) == [429]
    assert api.api("GET", "/tasks").status == 200


def test_server_errors_and_html_pages_come_every_so_often(start):
    api = start(faults={"server-error": 2, "html-error": 3})
    replies = [api.post("/tasks", {"prompt": "x"}) for _ in range(6)]
    assert [reply.status for reply in replies] == [201, 500, 201, 500, 502, 500]
    assert replies[1].code == "internal_error"
    assert (
        replies[4].headers["Content-Type"] == "text/html"
        and "<html>" in replies[4].text
    )
    api.server.faults.clear()
    assert api.get("/tasks")["total"] == 2


def test_a_fault_can_be_limited_to_one_route(api):
    api.server.faults.enable("server-error", only="POST /v1/tasks")
    assert api.api("GET", "/tasks").status == 200 and statuses(api, 1) == [500]


def test_html_now_and_then_hits_every_nth_get_only(start):
    api = start(faults={"html-now-and-then": 3})
    task = api.create("x")
    assert [api.api("GET", "/tasks/" + task["id"]).status for _ in range(6)] == [
        200,
        200,
        503,
        200,
        200,
        503,
    ]


def test_odd_status_uses_words_nobody_documented_until_the_end(start):
    api = start(faults=["odd-status"])
    task = api.create("```ask run\nWell?\n```\n")
    assert task["status"] == "queued"
    _, response = api.asked(task["id"])
    seen = api.get("/tasks/" + task["id"])
    assert seen["status"] == "processing" == seen["prompts"][0]["status"]
    api.cancel(task["id"])
    response.read()
    assert api.get("/tasks/" + task["id"])["status"] == "canceled"


def test_hostile_text_comes_in_titles_and_answers_as_plain_ascii_json(start):
    api = start(faults=["hostile-text"])
    task, events, done = api.run(api.sh("echo 5"))
    reply = api.api("GET", "/tasks/" + task["id"])
    assert reply.body.isascii()
    for text in (reply.json["title"], done["finalResult"], api.words(events)[-1]):
        for part in (
            "\x1b]52;",
            "\u202e",
            "\u200b",
            "\ud800",
            "\x00",
            '{"status":"completed"',
        ):
            assert part in text
    assert done["finalResult"].endswith("\n5")


def test_hostile_names_are_listed_and_can_be_fetched(start):
    api = start(faults=["hostile-names"])
    task, _, _ = api.run(api.sh("echo 1 > artifacts/real.csv"))
    data = api.get("/workspaces/%s/artifacts" % task["workspaceId"])["data"]
    assert [item["name"] for item in data] == ["real.csv"] + list(HOSTILE_NAMES)
    for item in data[1:]:
        reply = api.send("GET", item["downloadUrl"])
        assert (reply.status, len(reply.body)) == (200, item["size"]), item["name"]
        assert "\n" not in reply.headers["Content-Disposition"]
