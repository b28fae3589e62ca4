"""A process that answers like the service, as fast as Python can, plain or over TLS; and a relay
that adds a round trip.

python3 stub.py api [CERTIFICATE KEY]         prints the port it listens on python3 stub.py relay
PORT SECONDS            the same; what comes is passed on to PORT, each way half of SECONDS later

What a task does stands in its prompt: "work SECONDS" runs so long and then answers; "burst COUNT"
is over and replays so many events as fast as they are taken; "pace COUNT PER_SECOND" sends them at
a rate, each with the moment it left as its text.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from scripted_server import Server, answer

TASK = "550e8400-e29b-41d4-a716-446655440000"
EVENTS = 50_000
ANSWER = "the answer"
DONE = b'event: done\ndata: {"status":"succeeded","lastSeq":%d}\n\n'
OPEN_END = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
)


def event(number, text, kind="text"):
    """Return one event as it travels, in the service's envelope."""
    return (
        'id: %d\ndata: {"seq":%d,"timestamp":"2026-01-28T12:00:00.000Z","promptId":"p","eventType":"%s","eventKey":"k%d",'
        '"payload":{"type":"%s","text":"%s"}}\n\n'
        % (number, number, kind, number, kind, text)
    ).encode()


def stream_bytes(count=EVENTS):
    """Return a whole stream of events with its end."""
    return (
        b"".join(
            event(number, "%08d %s" % (number, "x" * 60))
            for number in range(1, count + 1)
        )
        + DONE % count
    )


def moment(seconds):
    """Return a time as the service writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + ".%03dZ" % (
        seconds % 1 * 1000
    )


class Task:
    """One task: what its prompt makes of it, and since when."""

    def __init__(self, id, prompt):
        words = prompt.split()
        self.id, self.kind, self.figures, self.began = (
            id,
            words[0],
            [float(word) for word in words[1:]],
            time.time(),
        )
        self.ends = self.began + (self.figures[0] if self.kind == "work" else 0)
        # Made now, so that a stream costs the server nothing later.
        self.bytes = (
            stream_bytes(int(self.figures[0])) if self.kind == "burst" else None
        )

    def as_dict(self):
        """Return what GET /tasks/:id tells; the one prompt holds what /content tells."""
        over = time.time() >= self.ends
        status, ended = ("succeeded", moment(self.ends)) if over else ("running", None)
        prompt = {
            "id": "p",
            "status": status,
            "submittedAt": moment(self.began),
            "completedAt": ended,
            "response": ANSWER if over else None,
        }
        return {
            "id": self.id,
            "workspaceId": "w-" + self.id,
            "url": "http://127.0.0.1/run/" + self.id,
            "title": "t",
            "createdAt": moment(self.began),
            "completedAt": ended,
            "status": "completed" if over else "running",
            "prompts": [prompt],
        }

    def stream(self, sock):
        """Send the stream in pieces, each when it is due."""
        sock.sendall(OPEN_END)
        if self.kind == "burst":
            sock.sendall(self.bytes)
        elif self.kind == "pace":
            count, began = int(self.figures[0]), time.time()
            for number in range(1, count + 1):
                time.sleep(max(0.0, began + number / self.figures[1] - time.time()))
                sock.sendall(event(number, "%.6f" % time.time()))
            sock.sendall(DONE % count)
        else:
            sock.sendall(event(1, "", "init"))
            time.sleep(max(0.0, self.ends - time.time()))
            sock.sendall(event(2, ANSWER) + DONE % 2)


class Api:
    """Tasks are made, listed, told and streamed; /counts tells how many connections and requests
    there were.
    """

    def __init__(self, *certificate_and_key):
        context = (
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate_and_key else None
        )
        if context:
            context.load_cert_chain(*certificate_and_key)
        self.server, self.asked, self.numbers = (
            Server(context=context, speaks=self.reply),
            0,
            itertools.count(1),
        )
        self.tasks = {TASK: Task(TASK, "burst %d" % EVENTS)}

    def reply(self, request):
        """Return the answer to a request, or what streams it."""
        (method, path, _), body = request[0].split(" "), request[2]
        if path == "/counts":
            return answer(200, [self.server.connections, self.asked])
        self.asked += 1
        if method == "POST":
            id = "%08x-0000-4000-8000-000000000000" % next(self.numbers)
            self.tasks[id] = Task(id, json.loads(body.decode())["prompt"])
            return answer(201, self.tasks[id].as_dict())
        parts = path.partition("?")[0].strip("/").split("/")
        if parts[-1] == "artifacts":
            return answer(200, {"data": []})
        if parts[-1] == "tasks":
            rows = list(self.tasks.values())[
                : -1 - int(path.partition("limit=")[2].partition("&")[0] or 50) : -1
            ]
            return answer(
                200,
                {"data": [task.as_dict() for task in rows], "total": len(self.tasks)},
            )
        task = self.tasks[parts[2]]
        return task.stream if parts[-1] == "events" else answer(200, task.as_dict())


def carry(source, target, delay):
    """Pass bytes one way, each piece `delay` seconds after it came."""
    queue, ready = collections.deque(), threading.Semaphore(0)

    def write():
        while True:
            ready.acquire()
            due, data = queue.popleft()
            time.sleep(max(0, due - time.monotonic()))
            try:
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)
            except OSError:
                return

    threading.Thread(target=write, daemon=True).start()
    data = b"x"
    while data:
        try:
            data = source.recv(1 << 16)
        except OSError:
            data = b""
        queue.append((time.monotonic() + delay, data))
        ready.release()


class Relay:
    """Passes everything on. A new connection costs its round trip too: nothing is read before."""

    def __init__(self, port, seconds):
        self.port, self.seconds, self.server = int(port), float(seconds), Server()
        self.server.serve = self.connect

    def connect(self, near):
        """Carry both ways until both have ended."""
        # The three-way handshake of a far server; the kernel's own is done already.
        time.sleep(self.seconds)
        far = socket.create_connection(("127.0.0.1", self.port))
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        near.settimeout(None)
        back = threading.Thread(
            target=carry, args=(far, near, self.seconds / 2), daemon=True
        )
        back.start()
        carry(near, far, self.seconds / 2)
        back.join()


class Process:
    """One of the two in a process of its own, with its port; ends with the block."""

    def __init__(self, *words):
        """Start it and wait until it listens."""
        self._child = subprocess.Popen(
            [sys.executable, __file__] + [str(word) for word in words],
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
        )
        self.port = int(self._child.stdout.readline())
        self.plain, self.tls = (
            "http://127.0.0.1:%d" % self.port,
            "https://127.0.0.1:%d" % self.port,
        )

    def counts(self, ca=None):
        """Ask the stub how many (connections, requests) it had, this question left out."""
        context = ssl.create_default_context(cafile=ca) if ca else None
        with urllib.request.urlopen(
            (self.tls if ca else self.plain) + "/counts", context=context
        ) as told:
            connections, requests = json.load(told)
        return connections - 1, requests

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._child.kill()
        self._child.communicate()


def make_certificate(folder):
    """Make a self-signed certificate for 127.0.0.1 in a folder: leaf.pem and leaf.key."""
    line = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout leaf.key -out leaf.pem -days 2"
        " -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:TRUE"
        " -addext keyUsage=critical,keyCertSign,digitalSignature"
    )
    subprocess.run(
        line.split(),
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    return os.path.join(folder, "leaf.pem")


@contextlib.contextmanager
def far_away(seconds):
    """Serve the API over TLS behind a relay of so many seconds; the block gets (api, relay,
    certificate).
    """
    with tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder:
        ca = make_certificate(folder)
        with Process("api", ca, os.path.join(folder, "leaf.key")) as api, Process(
            "relay", api.port, seconds
        ) as relay:
            yield api, relay, ca


if __name__ == "__main__":
    with {"api": Api, "relay": Relay}[sys.argv[1]](*sys.argv[2:]).server as listening:
        print(listening.port, flush=True)
        # Whoever started this is gone when stdin ends, however it went.
        sys.stdin.buffer.read()
        os._exit(0)
