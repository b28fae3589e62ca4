"""Computers and webhooks of the local server."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rebyte_local import deliveries

FIVE = [
    "task.created",
    "task.running",
    "task.completed",
    "task.failed",
    "task.canceled",
]


@pytest.fixture(autouse=True)
def soon(impatient):
    """A computer is ready after a tenth of a second."""


def make(api, **fields):
    """The path of a new computer."""
    return "/agent-computers/" + api.post("/agent-computers", fields).json["id"]


def id_of(path):
    return path.rpartition("/")[2]


def shown(api, path, **wanted):
    """Ask until the fields stand as wanted; None wants any value."""

    def look():
        """What is told, once it is right."""
        told = api.get(path)
        return (
            told
            if all(
                told[name] if value is None else told[name] == value
                for name, value in wanted.items()
            )
            else None
        )

    return api.wait_until(look)


def test_a_computer_is_provisioned_and_then_ready_with_a_sandbox(api):
    reply = api.post("/agent-computers", {"name": "box", "icon": "B"})
    made = reply.json
    assert (
        reply.status == 201
        and made["status"] == "provisioning"
        and made["sandboxId"] is None
        and made["provisionError"] is None
    )
    assert (
        "/agent/computer/%s?token=" % made["id"] in made["url"]
        and "sandboxApiKey" not in made
    )
    seen = shown(api, "/agent-computers/" + made["id"], status="ready")
    assert (
        seen["sandboxId"]
        and seen["sandboxApiKey"].startswith("sbx_local_")
        and seen["name"] == "box"
    )
    assert api.post("/agent-computers", {}).json["name"] == "Agent Computer"
    listed = api.get("/agent-computers?limit=1")
    assert [item["name"] for item in listed["data"]] == ["Agent Computer"] and listed[
        "total"
    ] == 2
    assert "sandboxApiKey" not in listed["data"][0]


def test_tasks_share_the_files_of_a_computer_which_outlives_a_restart_and_a_deleted_one_is_gone(
    start,
):
    first = start()
    path = make(first, name="box")
    first.run(first.sh("echo kept > /code/note"), workspaceId=id_of(path))
    first.server.close()
    again = start()
    assert shown(again, path, status="ready")["name"] == "box"
    assert again.result(again.sh("cat /code/note"), workspaceId=id_of(path)) == "kept"
    task = again.create(again.sh("sleep 30"), workspaceId=id_of(path))["id"]
    assert again.delete(path) == 204
    assert again.finish(task)["status"] == "canceled"
    assert again.api("GET", path).code == "not_found"
    assert (
        again.post("/tasks", {"prompt": "x", "workspaceId": id_of(path)}).status == 404
    )


def test_instructions_and_views_change_snake_case_in_camel_case_out(api):
    path = make(api)
    answer = api.api(
        "PATCH", path, {"agent_instructions": "brief", "views": {"skills": False}}
    ).json
    assert answer["agentInstructions"] == "brief"
    assert [view["id"] for view in answer["views"] if not view["enabled"]] == ["skills"]
    answer = api.api("PATCH", path, {"views": {"skills": True}}).json
    assert answer["agentInstructions"] == "brief" and all(
        view["enabled"] for view in answer["views"]
    )
    assert (
        api.api("PATCH", path, {"agent_instructions": None, "views": None}).json[
            "agentInstructions"
        ]
        == "brief"
    )
    for bad in (
        {"views": {"skills": 1}},
        {"views": []},
        {"agent_instructions": 1},
        {"agent_instructions": "x" * 100001},
    ):
        assert api.api("PATCH", path, bad).status == 400


def test_instructions_reach_an_agent_program_and_a_view_stops_questions(
    start, tmp_path
):
    api = start()
    path = make(api)
    api.api("PATCH", path, {"views": {"ask_user_question": False}})
    _, events, done = api.run(
        api.fence("ask", "Which?", "- this") + api.sh("echo went on"),
        workspaceId=id_of(path),
    )
    assert done["status"] == "succeeded" and "ask_user_question" not in [
        event["eventType"] for event in events
    ]
    assert "went on" in done["finalResult"]
    agent = start(folder=str(tmp_path / "other"), agent=["cat"])
    path = make(agent)
    agent.api("PATCH", path, {"agent_instructions": "Be brief."})
    assert agent.result("Say hello.", workspaceId=id_of(path)).split() == [
        "Be",
        "brief.",
        "Say",
        "hello.",
    ]
    assert agent.result("Say hello.").split() == ["Say", "hello."]


def test_the_address_of_a_computer_shows_how_it_stands_and_its_tasks(api):
    made = api.post("/agent-computers", {"name": "<b>box"}).json
    task = api.create("<i>work", workspaceId=made["id"])["id"]
    reply = api.send("GET", made["url"])
    assert reply.status == 200 and all(
        part in reply.text for part in ("&lt;b&gt;box", "/run/" + task, "&lt;i&gt;work")
    )
    assert "<b>" not in reply.text and "sbx_local_" not in reply.text
    gone = api.url + "/agent/computer/" + task
    assert api.send("GET", gone, headers={"API_KEY": api.key}).status == 404


@pytest.mark.parametrize(
    "body", [{"name": "x" * 201}, {"icon": "x" * 51}, {"name": 1}, {"name": ""}]
)
def test_limits_of_computers_are_as_documented(steady, body):
    assert steady.post("/agent-computers", body).code == "validation_error"


def test_one_that_cannot_be_provisioned_says_why_and_takes_no_task(api):
    api.server.faults.enable("computer-error")
    path = make(api)
    assert shown(api, path, status="error")["provisionError"]
    assert (
        api.post("/tasks", {"prompt": "x", "workspaceId": id_of(path)}).code
        == "validation_error"
    )


def test_the_sandbox_id_can_come_before_the_status(api):
    api.server.faults.enable("sandbox-first")
    assert shown(api, make(api), sandboxId=None)["status"] == "provisioning"


# Webhooks of the local server: routes, limits, and deliveries to receivers on this machine.


class Receiver:
    """Listens on this machine, refuses the first `refusals` messages, and keeps the others."""

    def __init__(self, refusals=0, status=500):
        self.seen, self.tries, self.arrived = [], 0, threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(
                    self.rfile.read(int(self.headers["Content-Length"])).decode()
                )
                with receiver.arrived:
                    receiver.tries += 1
                    taken = receiver.tries > refusals
                    if taken:
                        receiver.seen.append(
                            (
                                body["taskId"],
                                body["event"],
                                self.headers.get("X-Webhook-Secret"),
                            )
                        )
                    receiver.arrived.notify_all()
                self.send_response(200 if taken else status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/hook?a=b" % self._http.server_port
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.02,), daemon=True
        )

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def wait_for(self, count):
        """Wait until so many messages were taken; gives (task, event, secret) of each."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.seen) >= count, 15), self.seen
            return list(self.seen)

    def of(self, task):
        """The events of one task so far."""
        return [event for told, event, _ in self.seen if told == task]


def hook(api, url, events=FIVE, **more):
    """The path of a new webhook."""
    reply = api.post("/webhooks", dict(more, url=url, events=events))
    assert reply.status == 201, reply.body
    return "/webhooks/" + reply.json["id"]


def test_each_of_the_five_events_comes_once_with_the_secret(api):
    with Receiver() as receiver:
        made = hook(api, receiver.url, secret="only we know")
        good, bad = api.run(api.sh("true"))[0]["id"], api.run(api.sh("false"))[0]["id"]
        slow = api.create(api.sh("sleep 30"))["id"]
        receiver.wait_for(8)
        api.cancel(slow)
        api.finish(slow)
        assert [secret for _, _, secret in receiver.wait_for(9)] == ["only we know"] * 9
        told = shown(api, made, failureCount=0)
    for task, end in ((good, "completed"), (bad, "failed"), (slow, "canceled")):
        assert receiver.of(task) == ["task.created", "task.running", "task." + end]
    assert (
        told["lastTriggeredAt"]
        and told["isActive"]
        and told["hasSecret"]
        and "secret" not in told
    )


def test_a_prompt_that_never_ran_is_told_as_canceled_once(start):
    api = start(width=1)
    with Receiver() as receiver:
        busy = api.create(api.sh("sleep 30"))["id"]
        hook(api, receiver.url, ["task.canceled"])
        idle = api.create("x")["id"]
        assert [api.cancel(idle)["canceledPrompts"] for _ in range(2)] == [1, 0]
        api.cancel(busy)
        assert [task for task, _, _ in receiver.wait_for(2)] == [idle, busy]


def test_a_follow_up_is_told_as_running_and_ended_again(api):
    with Receiver() as receiver:
        hook(api, receiver.url)
        task = api.run("x")[0]["id"]
        receiver.wait_for(3)
        api.follow_up(task, "y")
        receiver.wait_for(5)
        assert receiver.of(task)[3:] == ["task.running", "task.completed"]


@pytest.mark.parametrize("ended", ["completed", "canceled"])
def test_two_prompts_in_a_row_are_one_run_and_one_end(api, ended):
    with Receiver() as receiver:
        hook(api, receiver.url)
        task = api.create(api.sh("sleep 0.3" if ended == "completed" else "sleep 30"))[
            "id"
        ]
        api.follow_up(task, "y")
        if ended == "canceled":
            receiver.wait_for(2)
            assert api.cancel(task)["canceledPrompts"] == 2
        receiver.wait_for(3)
        last = api.run("x")[0][
            "id"
        ]  # its end shows that no more will come, since a receiver is told in order
        api.wait_until(lambda: receiver.of(last)[-1:] == ["task.completed"], 15)
        assert receiver.of(task) == ["task.created", "task.running", "task." + ended]


@pytest.mark.parametrize("status", [500, 302, 404])
def test_a_receiver_that_fails_twice_gets_it_on_the_third(api, monkeypatch, status):
    monkeypatch.setattr(deliveries, "RETRY_SECONDS", (0.01, 0.02, 0.05))
    with Receiver(refusals=2, status=status) as receiver:
        made = hook(api, receiver.url, ["task.completed"])
        task = api.run("x")[0]["id"]
        assert [told for told, _, _ in receiver.wait_for(1)] == [
            task
        ] and receiver.tries == 3
        shown(api, made, failureCount=0, isActive=True)


def test_failures_are_counted_and_a_dead_receiver_is_switched_off(api, monkeypatch):
    monkeypatch.setattr(deliveries, "RETRY_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(deliveries, "FAILURES_MOST", 4)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        made = hook(
            api, "http://localhost:%d/" % closed.getsockname()[1], ["task.completed"]
        )
        for failures in (3, 4):
            api.run("x")
            assert shown(api, made, failureCount=failures)["isActive"] is (
                failures == 3
            )


def test_no_other_address_is_ever_called(api, monkeypatch):
    called = []
    monkeypatch.setattr(
        deliveries.http.client,
        "HTTPSConnection",
        lambda *words, **more: called.append(words),
    )
    made = hook(api, "https://hooks.example.invalid/x")
    assert "this machine only" in api.get(made)["note"]
    api.run("x")
    assert (
        not deliveries.post("https://hooks.example.invalid/x", None, b"{}")
        and called == []
    )
    assert shown(api, made, failureCount=0)["lastTriggeredAt"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"url": url}
        for url in (
            "http://example.com/",
            "http://10.0.0.1/",
            "http://127.0.0.1.example.com/",
            "ftp://127.0.0.1/",
            "https://",
            "x",
            "https://user:pass@example.com/",
            "http://127.0.0.1:99999/",
            "https://a b/",
            "",
            None,
            1,
        )
    ]
    + [
        {"events": []},
        {"events": None},
        {"events": ["task.started"]},
        {"events": "task.failed"},
        {"description": "x" * 501},
        {"secret": "x" * 501},
        {"secret": "a\nb"},
    ],
)
def test_limits_of_webhooks_and_their_addresses_are_as_documented(steady, body):
    assert (
        steady.post(
            "/webhooks", dict({"url": "https://a.example/", "events": FIVE}, **body)
        ).code
        == "validation_error"
    )


def test_three_webhooks_and_no_more(api):
    made = [hook(api, "https://a.example/%d" % number) for number in range(3)]
    assert api.post(
        "/webhooks", {"url": "https://a.example/3", "events": FIVE}
    ).refusal == (
        400,
        "limit_exceeded",
    )
    known = api.post("/webhooks", {"url": "https://a.example/0", "events": FIVE})
    assert known.status == 200 and known.json["id"] == id_of(made[0])
    assert api.delete(made[0]) == 204
    assert api.api("GET", made[0]).code == "not_found"
    assert [
        "/webhooks/" + item["id"] for item in api.get("/webhooks")["webhooks"]
    ] == made[1:]
    assert "PUBLIC KEY" in api.get("/webhooks/public_key")["publicKey"]
