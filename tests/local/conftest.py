"""A local server per test and a plain http.client caller: the server is tested without the client room."""
from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys

import pytest

from rebyte_local.server import LocalServer

SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "scripts")
SERVE = ("import sys, json; sys.dont_write_bytecode = True; sys.path.insert(0, sys.argv[1]); "
         "from rebyte_local.server import serve; sys.exit(serve(sys.argv[2], **json.loads(sys.argv[3])))")


class Reply:
    """A whole answer."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body.decode("utf-8"))

    @property
    def code(self):
        return self.json["error"]["code"]


class Caller:
    """Calls one origin with one key; each call has a connection of its own."""

    def __init__(self, url, key):
        self.url = url
        self.key = key

    @staticmethod
    def words(events, event_type="text"):
        """What the events of one type say."""
        return [e["payload"].get("content", e["payload"].get("output")) for e in events if e["eventType"] == event_type]

    @staticmethod
    def fence(kind, *lines):
        """A fence that asks to be run."""
        return "\n".join(("```" + kind + " run",) + lines + ("```", ""))

    def send(self, method, path, body=None, headers=None):
        """Send as given, without key; a whole address may stand for the path."""
        path = path[len(self.url):] if path.startswith(self.url) else path
        connection = http.client.HTTPConnection(self.url[len("http://"):], timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def api(self, method, path, body=None, headers=None):
        """Call the API with the key and a JSON body."""
        data = json.dumps(body) if isinstance(body, (dict, list)) else body
        return self.send(method, "/v1" + path, data, dict({"API_KEY": self.key}, **(headers or {})))

    def get(self, path):
        """What a path says, as a value."""
        return self.api("GET", path).json

    def follow_up(self, task_id, prompt):
        """Add a prompt to a task."""
        return self.api("POST", "/tasks/%s/prompts" % task_id, {"prompt": prompt})

    def cancel(self, task_id):
        """Cancel a task."""
        return self.api("POST", "/tasks/%s/cancel" % task_id)

    def create(self, prompt, **fields):
        """Create a task and give its answer."""
        reply = self.api("POST", "/tasks", dict(fields, prompt=prompt))
        assert reply.status == 201, reply.body
        return reply.json

    def open_stream(self, task_id):
        """(connection, response) of an event stream."""
        connection = http.client.HTTPConnection(self.url[len("http://"):], timeout=30)
        connection.request("GET", "/v1/tasks/%s/events" % task_id, headers={"API_KEY": self.key})
        return connection, connection.getresponse()

    def stream(self, task_id):
        """(events, done or None, was it cut) of one connect, read to its end."""
        connection, response = self.open_stream(task_id)
        raw, was_cut = b"", False
        try:
            assert response.status == 200, response.read()
            while True:
                piece = response.read1(1 << 20)
                raw += piece
                if not piece:
                    break
        except (http.client.IncompleteRead, ConnectionError):
            was_cut = True  # reading line by line would take it for an end
        finally:
            response.close()
            connection.close()
        frames = list(self.read_frames(raw.split(b"\n")))
        events = [data for name, data in frames if name == "event"]
        return events, next((data for name, data in frames if name == "done"), None), was_cut

    @staticmethod
    def read_frames(response):
        """(event name, decoded data) as they come."""
        name = None
        for line in response:
            line = line.decode("utf-8").rstrip("\n")
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                yield name, json.loads(line[6:])

    def finish(self, task_id):
        """Wait for the end by listening; gives GET /tasks/:id."""
        self.stream(task_id)
        return self.get("/tasks/" + task_id)

    def run(self, prompt, **fields):
        """Create and wait; gives (create's answer, events, done)."""
        task = self.create(prompt, **fields)
        events, done, _ = self.stream(task["id"])
        return task, events, done


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "state")


@pytest.fixture
def start(folder):
    """start(**settings) -> Caller of a server in this process, with .server; ended with the test."""
    servers = []

    def start_one(**settings):
        server = LocalServer(settings.pop("folder", folder), **settings)
        server.start()
        servers.append(server)
        caller = Caller(server.url, server.key)
        caller.server = server
        return caller
    yield start_one
    for server in servers:
        server.close()


@pytest.fixture
def api(start):
    """A Caller of a server with default settings."""
    return start()


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """A Caller of one server for all tests of a module that leave nothing behind."""
    with LocalServer(tmp_path_factory.mktemp("steady")) as server:
        caller = Caller(server.url, server.key)
        caller.workspace = caller.create("x")["workspaceId"]
        yield caller


@pytest.fixture
def spawn(folder):
    """spawn(**settings) -> (process, Caller) of `serve` in its own process."""
    processes = []

    def spawn_one(**settings):
        process = subprocess.Popen([sys.executable, "-c", SERVE, SCRIPTS, folder, json.dumps(settings)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        processes.append(process)
        line = process.stdout.readline()
        facts = json.loads(line.decode()) if line else {"url": "", "key": ""}
        caller = Caller(facts["url"], facts["key"])
        caller.facts = facts
        return process, caller
    yield spawn_one
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
