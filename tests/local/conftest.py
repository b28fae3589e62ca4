"""A local server per test, and a plain http.client caller instead of the client room."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time

import pytest

from measure import SCRIPTS
from rebyte_local.server import LocalServer

SERVE = (
    "import sys, json; sys.dont_write_bytecode = True; sys.path.insert(0, sys.argv[1]); "
    "from rebyte_local.server import serve; sys.exit(serve(sys.argv[2], **json.loads(sys.argv[3])))"
)


class Reply:
    """A whole answer."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()
        self.text = self.body.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def code(self):
        return self.json["error"]["code"]

    @property
    def refusal(self):
        """(status, code)."""
        return self.status, self.code


class Caller:
    """Calls one origin with one key; each call has a connection of its own."""

    def __init__(self, url, key):
        self.url = url
        self.key = key
        self._open = []

    def hang_up(self):
        """Close what was opened and left open."""
        while self._open:
            self._open.pop().close()

    @staticmethod
    def words(events, event_type="text"):
        """What the events of one type say."""
        return [
            event["payload"].get("content", event["payload"].get("output"))
            for event in events
            if event["eventType"] == event_type
        ]

    @staticmethod
    def fence(kind, *lines):
        """A fence that asks to be run."""
        return "\n".join(("```" + kind + " run",) + lines + ("```", ""))

    def sh(self, *lines):
        """A fence for the shell."""
        return self.fence("sh", *lines)

    def connect(self):
        """A connection that is closed with the test."""
        self._open.append(
            http.client.HTTPConnection(self.url[len("http://") :], timeout=30)
        )
        return self._open[-1]

    def send(self, method, path, body=None, headers=None):
        """Send as given, without key; a whole address may stand for the path."""
        path = path[len(self.url) :] if path.startswith(self.url) else path
        connection = http.client.HTTPConnection(self.url[len("http://") :], timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def api(self, method, path, body=None, headers=None):
        """Call the API with the key and a JSON body."""
        data = json.dumps(body) if isinstance(body, (dict, list)) else body
        return self.send(
            method, "/v1" + path, data, dict({"API_KEY": self.key}, **(headers or {}))
        )

    def post(self, path, body=None, headers=None):
        """POST to the API."""
        return self.api("POST", path, body, headers)

    def get(self, path):
        """What a path says, as a value."""
        return self.api("GET", path).json

    def delete(self, path):
        """DELETE, and the status of the answer."""
        return self.api("DELETE", path).status

    def follow_up(self, task_id, prompt, **fields):
        """Add a prompt to a task."""
        return self.post("/tasks/%s/prompts" % task_id, dict(fields, prompt=prompt))

    def cancel(self, task_id):
        """Cancel a task; gives the answer."""
        return self.post("/tasks/%s/cancel" % task_id).json

    def show_to(self, task_id, visibility):
        """Set who may look at a task."""
        return self.api(
            "PATCH", "/tasks/%s/visibility" % task_id, {"visibility": visibility}
        )

    def answer(self, task_id, asked, **given):
        """Answer the question that an event asked."""
        return self.post(
            "/tasks/%s/answer" % task_id,
            {
                "messageId": asked["messageId"],
                "actionId": asked["actionId"],
                "answer": given,
            },
        )

    def create(self, prompt, **fields):
        """Create a task and give its answer."""
        reply = self.post("/tasks", dict(fields, prompt=prompt))
        assert reply.status == 201, reply.body
        return reply.json

    def open_stream(self, task_id):
        """The response of an event stream."""
        connection = self.connect()
        connection.request(
            "GET", "/v1/tasks/%s/events" % task_id, headers={"API_KEY": self.key}
        )
        self._open.append(connection.getresponse())
        return self._open[-1]

    def until(self, task_id, event_type="stdout", count=1):
        """(events up to the count-th of a type, the response that goes on)."""
        response, events = self.open_stream(task_id), []
        for _, data in self.read_frames(response):
            events.append(data)
            if [event["eventType"] for event in events].count(event_type) == count:
                return events, response
        raise AssertionError(events)

    def asked(self, task_id):
        """(the question that a task asks, the response that goes on)."""
        events, response = self.until(task_id, "ask_user_question")
        return events[-1]["payload"], response

    def first_output(self, task_id):
        """The first line of a running task."""
        return self.until(task_id)[0][-1]["payload"]["content"]

    def stream(self, task_id):
        """(events, done or None, was it cut) of one connect, read to its end."""
        response, raw, was_cut = self.open_stream(task_id), b"", False
        try:
            assert response.status == 200, response.read()
            for piece in iter(lambda: response.read1(1 << 20), b""):
                raw += piece
        except (http.client.IncompleteRead, ConnectionError):
            was_cut = True  # reading line by line would take it for an end
        response.close()
        frames = list(self.read_frames(raw.split(b"\n")))
        return (
            [data for name, data in frames if name == "event"],
            next((data for name, data in frames if name == "done"), None),
            was_cut,
        )

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

    def result(self, prompt, **fields):
        """Create and wait; gives the final words."""
        return self.run(prompt, **fields)[2]["finalResult"]

    @staticmethod
    def wait_until(look, seconds=10):
        """Look until there is something; gives it."""
        end = time.monotonic() + seconds
        while True:
            seen = look()
            if seen:
                return seen
            assert time.monotonic() < end
            time.sleep(0.01)

    def wait_for_end_of(self, *pids):
        """Wait until processes are gone; a zombie whose parent has not looked yet is."""
        self.wait_until(lambda: not any(map(self.is_alive, pids)))

    @staticmethod
    def is_alive(pid):
        """True while a process runs."""
        try:
            with open("/proc/%d/stat" % int(pid), encoding="ascii") as file:
                return file.read().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "state")


@pytest.fixture
def start(folder):
    """start(**settings) -> Caller of a server in this process, with .server."""
    callers = []

    def start_one(**settings):
        server = LocalServer(settings.pop("folder", folder), **settings)
        server.start()
        callers.append(Caller(server.url, server.key))
        callers[-1].server = server
        return callers[-1]

    yield start_one
    for caller in callers:
        caller.hang_up()
        caller.server.close()


@pytest.fixture
def api(start):
    """A Caller of a server with default settings."""
    return start()


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """A Caller of one server for all tests of a module that leave nothing behind."""
    with LocalServer(tmp_path_factory.mktemp("steady")) as server:
        caller = Caller(server.url, server.key)
        caller.folder = server.folder
        caller.store = "/workspaces/%s/artifacts" % caller.create("x")["workspaceId"]
        yield caller
        caller.hang_up()


@pytest.fixture
def spawn(folder):
    """spawn(**settings) -> (process, Caller) of `serve` in its own process."""
    spawned = []

    def spawn_one(**settings):
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, SCRIPTS, folder, json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        line = process.stdout.readline()
        facts = json.loads(line.decode()) if line else {"url": "", "key": ""}
        caller = Caller(facts["url"], facts["key"])
        caller.facts = facts
        spawned.append((process, caller))
        return process, caller

    yield spawn_one
    for process, caller in spawned:
        caller.hang_up()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
