"""Webhooks of the local server: routes, limits, and deliveries to receivers on this machine."""
from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rebyte_local import hooks

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
        told = api.api("GET", "/webhooks/" + hook_id).json
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
        api.api("POST", "/tasks/%s/cancel" % slow)
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
        assert api.api("POST", "/tasks/%s/cancel" % idle).json["canceledPrompts"] == 1
        assert api.api("POST", "/tasks/%s/cancel" % idle).json["canceledPrompts"] == 0
        api.api("POST", "/tasks/%s/cancel" % busy)
        assert [body["taskId"] for body, _ in receiver.wait_for(2)] == [idle, busy]


def test_a_follow_up_is_told_as_running_and_ended_again(api):
    with Receiver() as receiver:
        hook(api, receiver.url)
        task = api.create("x")["id"]
        api.finish(task)
        receiver.wait_for(3)
        api.api("POST", "/tasks/%s/prompts" % task, {"prompt": "y"})
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
        api.api("POST", "/tasks/%s/prompts" % task, {"prompt": "y"})
        if ended == "canceled":
            receiver.wait_for(2)
            assert api.api("POST", "/tasks/%s/cancel" % task).json["canceledPrompts"] == 2
        api.finish(task)
        assert events_of(api, receiver, task) == ["task.created", "task.running", "task." + ended]


@pytest.mark.parametrize("status", [500, 302, 404])
def test_a_receiver_that_fails_twice_gets_it_on_the_third(api, status):
    with Receiver(refusals=2, status=status) as receiver:
        made = hook(api, receiver.url, ["task.completed"])
        task = api.create("x")["id"]
        api.finish(task)
        assert [body["taskId"] for body, _ in receiver.wait_for(1)] == [task]
        assert receiver.tries == 3
        shown(api, made["id"], failureCount=0, isActive=True)


def test_failures_are_counted_and_a_dead_receiver_is_switched_off(api, monkeypatch):
    monkeypatch.setattr(hooks, "RETRY_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(hooks, "FAILURES_MOST", 4)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        made = hook(api, "http://localhost:%d/" % closed.getsockname()[1], ["task.completed"])
        api.finish(api.create("x")["id"])
        assert shown(api, made["id"], failureCount=3)["isActive"]
        api.finish(api.create("x")["id"])
        assert shown(api, made["id"], failureCount=4)["isActive"] is False


def test_no_other_address_is_ever_called(api, monkeypatch):
    called = []
    monkeypatch.setattr(hooks.http.client, "HTTPSConnection", lambda *words, **more: called.append(words))
    made = hook(api, "https://hooks.example.invalid/x")
    assert "this machine only" in made["note"]
    api.finish(api.create("x")["id"])
    assert not hooks.send("https://hooks.example.invalid/x", None, b"{}") and called == []
    assert shown(api, made["id"], failureCount=0)["lastTriggeredAt"] is None


@pytest.mark.parametrize("url", ["http://example.com/", "http://10.0.0.1/", "http://127.0.0.1.example.com/", "ftp://127.0.0.1/", "https://", "x",
                                 "https://user:pass@example.com/", "http://127.0.0.1:99999/", "https://a b/", "", None, 1])
def test_an_address_that_is_neither_https_nor_this_machine_is_refused(steady, url):
    assert steady.api("POST", "/webhooks", {"url": url, "events": FIVE}).code == "validation_error"


@pytest.mark.parametrize("more", [{"events": []}, {"events": None}, {"events": ["task.started"]}, {"events": "task.failed"},
                                  {"description": "x" * 501}, {"secret": "x" * 501}, {"secret": "a\nb"}])
def test_limits_are_as_documented(steady, more):
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
    assert [item["id"] for item in api.api("GET", "/webhooks").json["webhooks"]] == [item["id"] for item in made[1:]]
    assert "PUBLIC KEY" in api.api("GET", "/webhooks/public_key").json["publicKey"]
