"""A process that answers like the service, as fast as Python can, plain or over TLS; and a relay that adds a round trip.

    python3 stub.py api [CERTIFICATE KEY]         prints the port it listens on
    python3 stub.py relay PORT SECONDS            the same; what comes is passed on to PORT, each way half of SECONDS later

What a task does stands in its prompt: "work SECONDS" runs so long and then answers; "burst COUNT" is over and replays so
many events as fast as they are taken; "pace COUNT PER_SECOND" sends them at a rate, each with the moment it left as its text.
"""
from __future__ import annotations

import collections
import contextlib
import http.server
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

TASK = "550e8400-e29b-41d4-a716-446655440000"
EVENTS = 50_000
ANSWER = "the answer"
DONE = b'event: done\ndata: {"status":"succeeded","lastSeq":%d}\n\n'


def event(number, text, kind="text"):
    """Return one event as it travels, in the service's envelope."""
    return ('id: %d\ndata: {"seq":%d,"timestamp":"2026-01-28T12:00:00.000Z","promptId":"p","eventType":"%s","eventKey":"k%d",'
            '"payload":{"type":"%s","text":"%s"}}\n\n' % (number, number, kind, number, kind, text)).encode()


def stream_bytes(count=EVENTS):
    """Return a whole stream of events with its end."""
    return b"".join(event(number, "%08d %s" % (number, "x" * 60)) for number in range(1, count + 1)) + DONE % count


class Task:
    """One task: what its prompt makes of it, and since when."""

    def __init__(self, id, prompt):
        words = prompt.split()
        self.id, self.kind, self.figures, self.began = id, words[0], [float(word) for word in words[1:]], time.time()
        self.ends = self.began + (self.figures[0] if self.kind == "work" else 0)
        # Made now, so that a stream costs the server nothing later.
        self.bytes = stream_bytes(int(self.figures[0])) if self.kind == "burst" else None

    def as_dict(self):
        """Return what GET /tasks/:id tells; the one prompt holds what /content tells."""
        over = time.time() >= self.ends
        status, ended = ("succeeded", moment(self.ends)) if over else ("running", None)
        prompt = {"id": "p", "status": status, "submittedAt": moment(self.began), "completedAt": ended, "response": ANSWER if over else None}
        return {"id": self.id, "workspaceId": "w-" + self.id, "url": "http://127.0.0.1/run/" + self.id, "title": "t", "createdAt": moment(self.began),
                "completedAt": ended, "status": "completed" if over else "running", "prompts": [prompt]}

    def pieces(self):
        """Yield the stream in pieces, each when it is due."""
        if self.kind == "burst":
            yield self.bytes
            return
        if self.kind == "pace":
            count, began = int(self.figures[0]), time.time()
            for number in range(1, count + 1):
                time.sleep(max(0.0, began + number / self.figures[1] - time.time()))
                yield event(number, "%.6f" % time.time())
            yield DONE % count
            return
        yield event(1, "", "init")
        time.sleep(max(0.0, self.ends - time.time()))
        yield event(2, ANSWER) + DONE % 2


def moment(seconds):
    """Return a time as the service writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + ".%03dZ" % (seconds % 1 * 1000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Tasks are made, listed, told and streamed; /counts tells how many connections and requests there were."""

    protocol_version, wbufsize, disable_nagle_algorithm = "HTTP/1.1", -1, True

    def do_POST(self):
        """Make a task."""
        prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["prompt"]
        self.say(201, self.server.make(prompt).as_dict())

    def do_GET(self):
        """Answer at once."""
        parts = self.path.partition("?")[0].strip("/").split("/")
        self.server.requests += self.path != "/counts"
        if self.path == "/counts":
            return self.say(200, [self.server.connections, self.server.requests])
        if parts[-1] == "artifacts":
            return self.say(200, {"data": []})
        if parts[-1] == "tasks":
            rows = list(self.server.tasks.values())[:-1 - int(self.path.partition("limit=")[2].partition("&")[0] or 50):-1]
            return self.say(200, {"data": [task.as_dict() for task in rows], "total": len(self.server.tasks)})
        task = self.server.tasks[parts[2]]
        if parts[-1] != "events":
            return self.say(200, task.as_dict())
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in task.pieces():
            self.wfile.write(piece)
            self.wfile.flush()

    def say(self, status, value):
        """Send JSON."""
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


class Api(http.server.ThreadingHTTPServer):
    """Counts its connections and requests; TLS begins in the connection's own thread."""

    daemon_threads, context, request_queue_size = True, None, 256
    connections = requests = 0
    numbers = itertools.count(1)

    def make(self, prompt, id=None):
        """Make a task of a prompt."""
        id = id or "%08x-0000-4000-8000-000000000000" % next(self.numbers)
        task = self.tasks[id] = Task(id, prompt)
        self.requests += 1
        return task

    def finish_request(self, request, client_address):
        """Serve one connection."""
        self.connections += 1
        if self.context:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, *_):
        """A client that leaves is no error here."""


def serve_api(certificate=None, key=None):
    """Serve until killed."""
    server = Api(("127.0.0.1", 0), Handler)
    if certificate:
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(certificate, key)
    server.tasks = {}
    server.make("burst %d" % EVENTS, TASK)
    print(server.server_port, flush=True)
    server.serve_forever()


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


def relay(port, seconds):
    """Relay until killed. A new connection costs its round trip too: nothing is read before."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)

    def connect(near):
        # The three-way handshake of a far server; the kernel's own is done already.
        time.sleep(float(seconds))
        far = socket.create_connection(("127.0.0.1", int(port)))
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=carry, args=(near, far, float(seconds) / 2), daemon=True).start()
        carry(far, near, float(seconds) / 2)
    while True:
        threading.Thread(target=connect, args=(listener.accept()[0],), daemon=True).start()


def end_with_starter():
    """End when stdin does: whoever started this is gone, however it went."""
    sys.stdin.buffer.read()
    os._exit(0)


class Process:
    """One of the two in a process of its own, with its port; ends with the block."""

    def __init__(self, *words):
        """Start it and wait until it listens."""
        self._child = subprocess.Popen([sys.executable, __file__] + [str(word) for word in words], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        self.port = int(self._child.stdout.readline())
        self.plain, self.tls = "http://127.0.0.1:%d" % self.port, "https://127.0.0.1:%d" % self.port

    def counts(self, ca=None):
        """Ask the stub how many (connections, requests) it had, this question left out."""
        context = ssl.create_default_context(cafile=ca) if ca else None
        with urllib.request.urlopen((self.tls if ca else self.plain) + "/counts", context=context) as answer:
            connections, requests = json.load(answer)
        return connections - 1, requests

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._child.kill()
        self._child.wait()
        self._child.stdin.close()
        self._child.stdout.close()


def make_certificate(folder):
    """Make a self-signed certificate for 127.0.0.1 in a folder: leaf.pem and leaf.key."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "leaf.key",
                    "-out", "leaf.pem", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,digitalSignature"],
                   cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return os.path.join(folder, "leaf.pem")


@contextlib.contextmanager
def far_away(seconds):
    """Serve the API over TLS behind a relay of so many seconds; the block gets (api, relay, certificate)."""
    with tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder:
        ca = make_certificate(folder)
        with Process("api", ca, os.path.join(folder, "leaf.key")) as api, Process("relay", api.port, seconds) as relay:
            yield api, relay, ca


if __name__ == "__main__":
    threading.Thread(target=end_with_starter, daemon=True).start()
    {"api": serve_api, "relay": relay}[sys.argv[1]](*sys.argv[2:])
