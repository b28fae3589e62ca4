"""Computers and webhooks of the local server."""
from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rebyte_local import webhooks


@pytest.fixture(autouse=True)
def soon(impatient):
    """A computer is ready after a tenth of a second."""


def ready(api, computer_id, field="status", value="ready"):
    """Ask until a field has a value."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        computer = api.get("/agent-computers/" + computer_id)
        if computer[field] == value or value is None and computer[field]:
            return computer
        time.sleep(0.02)
    raise AssertionError(computer)


def test_a_computer_is_provisioned_and_then_ready_with_a_sandbox(api):
    reply = api.api("POST", "/agent-computers", {"name": "box", "icon": "B"})
    made = reply.json
    assert reply.status == 201 and made["status"] == "provisioning" and made["sandboxId"] is None and made["provisionError"] is None
    assert made["url"].endswith("/agent/computer/" + made["id"]) and "sandboxApiKey" not in made
    seen = ready(api, made["id"])
    assert seen["sandboxId"] and seen["sandboxApiKey"].startswith("sbx_local_") and seen["name"] == "box"
    assert api.api("POST", "/agent-computers", {}).json["name"] == "Agent Computer"
    listed = api.get("/agent-computers?limit=1")
    assert [item["name"] for item in listed["data"]] == ["Agent Computer"] and listed["total"] == 2
    assert "sandboxApiKey" not in listed["data"][0]


def test_tasks_share_the_files_of_a_computer(api):
    computer = api.api("POST", "/agent-computers", {}).json["id"]
    api.finish(api.create(api.fence("sh", "echo kept > /code/note"), workspaceId=computer)["id"])
    _, events, _ = api.run(api.fence("sh", "cat /code/note"), workspaceId=computer)
    assert "kept" in "".join(api.words(events))


def test_a_computer_outlives_a_restart_and_a_deleted_one_is_gone(start):
    first = start()
    computer = first.api("POST", "/agent-computers", {"name": "box"}).json["id"]
    first.server.close()
    again = start()
    assert ready(again, computer)["name"] == "box"
    task = again.create(again.fence("sh", "sleep 30"), workspaceId=computer)["id"]
    assert again.api("DELETE", "/agent-computers/" + computer).status == 204
    assert again.finish(task)["status"] == "canceled"
    assert again.api("GET", "/agent-computers/" + computer).code == "not_found"
    assert again.api("POST", "/tasks", {"prompt": "x", "workspaceId": computer}).status == 404


def test_instructions_and_views_change_snake_case_in_camel_case_out(api):
    computer = api.api("POST", "/agent-computers", {}).json["id"]
    answer = api.api("PATCH", "/agent-computers/" + computer, {"agent_instructions": "brief", "views": {"skills": False}}).json
    assert answer["agentInstructions"] == "brief"
    assert [view["id"] for view in answer["views"] if not view["enabled"]] == ["skills"]
    answer = api.api("PATCH", "/agent-computers/" + computer, {"views": {"skills": True}}).json
    assert answer["agentInstructions"] == "brief" and all(view["enabled"] for view in answer["views"])
    assert api.api("PATCH", "/agent-computers/" + computer, {"views": {"skills": 1}}).status == 400


def test_instructions_reach_an_agent_program_and_a_view_stops_questions(start, tmp_path):
    api = start()
    computer = api.api("POST", "/agent-computers", {}).json["id"]
    api.api("PATCH", "/agent-computers/" + computer, {"views": {"ask_user_question": False}})
    _, events, done = api.run(api.fence("ask", "Which?", "- this") + api.fence("sh", "echo went on"), workspaceId=computer)
    assert done["status"] == "succeeded" and "ask_user_question" not in [event["eventType"] for event in events]
    assert "went on" in done["finalResult"]
    agent = start(folder=str(tmp_path / "other"), agent=["cat"])
    computer = agent.api("POST", "/agent-computers", {}).json["id"]
    agent.api("PATCH", "/agent-computers/" + computer, {"agent_instructions": "Be brief."})
    assert agent.run("Say hello.", workspaceId=computer)[2]["finalResult"].split() == "Be brief. Say hello.".split()
    assert agent.run("Say hello.")[2]["finalResult"].split() == "Say hello.".split()


def test_the_address_of_a_computer_shows_how_it_stands_and_its_tasks(api):
    made = api.api("POST", "/agent-computers", {"name": "<b>box"}).json
    task = api.create("<i>work", workspaceId=made["id"])["id"]
    reply = api.send("GET", made["url"])
    page = reply.body.decode()
    assert reply.status == 200 and "&lt;b&gt;box" in page and "<b>" not in page and "/run/" + task in page and "&lt;i&gt;work" in page
    assert "sbx_local_" not in page
    assert api.send("GET", made["url"][:-1] + "x").status == 404


@pytest.mark.parametrize("body", [{"name": "x" * 201}, {"icon": "x" * 51}, {"name": 1}, {"name": ""}])
def test_limits_are_as_documented(steady, body):
    assert steady.api("POST", "/agent-computers", body).code == "validation_error"


def test_one_that_cannot_be_provisioned_says_why_and_takes_no_task(api):
    api.server.faults.enable("computer-error")
    computer = api.api("POST", "/agent-computers", {}).json["id"]
    assert ready(api, computer, "status", "error")["provisionError"]
    assert api.api("POST", "/tasks", {"prompt": "x", "workspaceId": computer}).code == "validation_error"


def test_the_sandbox_id_can_come_before_the_status(api):
    api.server.faults.enable("sandbox-first")
    computer = api.api("POST", "/agent-computers", {}).json["id"]
    assert ready(api, computer, "sandboxId", None)["status"] == "provisioning"


# Webhooks of the local server: routes, limits, and deliveries to receivers on this machine.

FIVE = ["task.created", "task.running", "task.completed", "task.failed", "task.canceled"]


class Receiver:
    """Listens on this machine, refuses the first `refusals` messages, and keeps the others."""

    def __init__(self, refusals=0, status=500):
        self.seen, self.tries, self.arrived = [], 0, threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])).decode())
                with receiver.arrived:
                    receiver.tries += 1
                    taken = receiver.tries > refusals
                    if taken:
                        receiver.seen.append((body, self.headers.get("X-Webhook-Secret")))
                    receiver.arrived.notify_all()
                self.send_response(200 if taken else status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/hook?a=b" % self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def wait_for(self, count):
        """Wait until so many messages were taken; gives them."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.seen) >= count, 15), self.seen
            return list(self.seen)


def hook(api, url, events=FIVE, **more):
    reply = api.api("POST", "/webhooks", dict(more, url=url, events=list(events)))
    assert reply.status == 201, reply.body
    return reply.json


def shown(api, hook_id, **wanted):
    """Ask for a hook until it stands as wanted."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        told = api.get("/webhooks/" + hook_id)
        if all(told[name] == value for name, value in wanted.items()):
            return told
        time.sleep(0.02)
    raise AssertionError(told)


def test_each_of_the_five_events_comes_once_with_the_secret(api):
    with Receiver() as receiver:
        made = hook(api, receiver.url, secret="only we know")
        good = api.create(api.fence("sh", "true"))["id"]
        api.finish(good)
        bad = api.create(api.fence("sh", "false"))["id"]
        api.finish(bad)
        slow = api.create(api.fence("sh", "sleep 30"))["id"]
        receiver.wait_for(8)
        api.cancel(slow)
        api.finish(slow)
        seen = receiver.wait_for(9)
        told = shown(api, made["id"], failureCount=0)
    assert [secret for _, secret in seen] == ["only we know"] * 9
    by_task = {task: [body["event"] for body, _ in seen if body["taskId"] == task] for task in (good, bad, slow)}
    assert by_task == {good: ["task.created", "task.running", "task.completed"], bad: ["task.created", "task.running", "task.failed"],
                       slow: ["task.created", "task.running", "task.canceled"]}
    assert {body["event"] for body, _ in seen} == set(FIVE)
    assert told["lastTriggeredAt"] and told["isActive"] and told["hasSecret"] and "secret" not in told


def test_a_prompt_that_never_ran_is_told_as_canceled_once(start):
    api = start(width=1)
    with Receiver() as receiver:
        busy = api.create(api.fence("sh", "sleep 30"))["id"]
        hook(api, receiver.url, ["task.canceled"])
        idle = api.create("x")["id"]
        assert api.cancel(idle).json["canceledPrompts"] == 1
        assert api.cancel(idle).json["canceledPrompts"] == 0
        api.cancel(busy)
        assert [body["taskId"] for body, _ in receiver.wait_for(2)] == [idle, busy]


def test_a_follow_up_is_told_as_running_and_ended_again(api):
    with Receiver() as receiver:
        hook(api, receiver.url)
        task = api.create("x")["id"]
        api.finish(task)
        receiver.wait_for(3)
        api.follow_up(task, "y")
        assert [body["event"] for body, _ in receiver.wait_for(5)][3:] == ["task.running", "task.completed"]


def events_of(api, receiver, task):
    """The events of one task; a later task's end shows that no more will come, since a receiver is told in order."""
    last = api.create("x")["id"]
    api.finish(last)
    with receiver.arrived:
        assert receiver.arrived.wait_for(lambda: (last, "task.completed") in [(b["taskId"], b["event"]) for b, _ in receiver.seen], 15)
        return [body["event"] for body, _ in receiver.seen if body["taskId"] == task]


@pytest.mark.parametrize("ended", ["completed", "canceled"])
def test_two_prompts_in_a_row_are_one_run_and_one_end(api, ended):
    with Receiver() as receiver:
        hook(api, receiver.url)
        task = api.create(api.fence("sh", "sleep 0.3" if ended == "completed" else "sleep 30"))["id"]
        api.follow_up(task, "y")
        if ended == "canceled":
            receiver.wait_for(2)
            assert api.cancel(task).json["canceledPrompts"] == 2
        api.finish(task)
        assert events_of(api, receiver, task) == ["task.created", "task.running", "task." + ended]


@pytest.mark.parametrize("status", [500, 302, 404])
def test_a_receiver_that_fails_twice_gets_it_on_the_third(api, monkeypatch, status):
    monkeypatch.setattr(webhooks, "RETRY_SECONDS", (0.01, 0.02, 0.05))
    with Receiver(refusals=2, status=status) as receiver:
        made = hook(api, receiver.url, ["task.completed"])
        task = api.create("x")["id"]
        api.finish(task)
        assert [body["taskId"] for body, _ in receiver.wait_for(1)] == [task]
        assert receiver.tries == 3
        shown(api, made["id"], failureCount=0, isActive=True)


def test_failures_are_counted_and_a_dead_receiver_is_switched_off(api, monkeypatch):
    monkeypatch.setattr(webhooks, "RETRY_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(webhooks, "FAILURES_MOST", 4)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        made = hook(api, "http://localhost:%d/" % closed.getsockname()[1], ["task.completed"])
        api.finish(api.create("x")["id"])
        assert shown(api, made["id"], failureCount=3)["isActive"]
        api.finish(api.create("x")["id"])
        assert shown(api, made["id"], failureCount=4)["isActive"] is False


def test_no_other_address_is_ever_called(api, monkeypatch):
    called = []
    monkeypatch.setattr(webhooks.http.client, "HTTPSConnection", lambda *words, **more: called.append(words))
    made = hook(api, "https://hooks.example.invalid/x")
    assert "this machine only" in made["note"]
    api.finish(api.create("x")["id"])
    assert not webhooks.send("https://hooks.example.invalid/x", None, b"{}") and called == []
    assert shown(api, made["id"], failureCount=0)["lastTriggeredAt"] is None


@pytest.mark.parametrize("url", ["http://example.com/", "http://10.0.0.1/", "http://127.0.0.1.example.com/", "ftp://127.0.0.1/", "https://", "x",
                                 "https://user:pass@example.com/", "http://127.0.0.1:99999/", "https://a b/", "", None, 1])
def test_an_address_that_is_neither_https_nor_this_machine_is_refused(steady, url):
    assert steady.api("POST", "/webhooks", {"url": url, "events": FIVE}).code == "validation_error"


@pytest.mark.parametrize("more", [{"events": []}, {"events": None}, {"events": ["task.started"]}, {"events": "task.failed"},
                                  {"description": "x" * 501}, {"secret": "x" * 501}, {"secret": "a\nb"}])
def test_limits_of_webhooks_are_as_documented(steady, more):
    body = dict({"url": "https://a.example/", "events": FIVE}, **more)
    assert steady.api("POST", "/webhooks", body).code == "validation_error"


def test_three_webhooks_and_no_more(start):
    api = start()
    made = [hook(api, "https://a.example/%d" % number) for number in range(3)]
    reply = api.api("POST", "/webhooks", {"url": "https://a.example/3", "events": FIVE})
    assert (reply.status, reply.code) == (400, "limit_exceeded")
    assert api.api("POST", "/webhooks", {"url": "https://a.example/0", "events": FIVE}).json["id"] == made[0]["id"]
    assert api.api("DELETE", "/webhooks/" + made[0]["id"]).status == 204
    assert api.api("GET", "/webhooks/" + made[0]["id"]).code == "not_found"
    assert [item["id"] for item in api.get("/webhooks")["webhooks"]] == [item["id"] for item in made[1:]]
    assert "PUBLIC KEY" in api.get("/webhooks/public_key")["publicKey"]
