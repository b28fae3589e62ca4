"""A process that answers like the service, as fast as Python can, plain or over TLS; and a relay that adds a round trip.

    python3 stub.py api [CERTIFICATE KEY]         prints the port it listens on
    python3 stub.py relay PORT SECONDS            the same; what comes is passed on to PORT, each way half of SECONDS later
"""
from __future__ import annotations

import collections
import http.server
import socket
import ssl
import subprocess
import sys
import threading
import time

TASK = b'{"id":"550e8400-e29b-41d4-a716-446655440000","status":"completed","title":"t","prompts":[{"id":"p","status":"succeeded"}]}'


EVENTS = 50_000


def event(number):
    """Return one event as it travels, in the service's envelope."""
    return ('id: %d\ndata: {"seq":%d,"timestamp":"2026-01-28T12:00:00.000Z","promptId":"p","eventType":"text","eventKey":"k%d",'
            '"payload":{"type":"text","text":"%08d %s"}}\n\n' % (number, number, number, number, "x" * 60)).encode()


def stream_bytes(count=EVENTS):
    """Return a whole stream of events with its end."""
    return b"".join(event(number) for number in range(1, count + 1)) + b'event: done\ndata: {"status":"succeeded","lastSeq":%d}\n\n' % count


class Handler(http.server.BaseHTTPRequestHandler):
    """Every GET is a task, or a task's events; /connections tells how many connections there were."""

    protocol_version, wbufsize, disable_nagle_algorithm = "HTTP/1.1", -1, True

    def do_GET(self):
        """Answer at once."""
        if self.path.endswith("/events"):
            return self.stream()
        body = TASK if self.path != "/connections" else b"%d" % self.server.connections
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self):
        """Send every event as fast as it is taken."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(self.server.stream)

    def log_message(self, *_):
        """Say nothing."""


class Api(http.server.ThreadingHTTPServer):
    """Counts its connections; TLS begins in the connection's own thread."""

    daemon_threads, context, connections = True, None, 0

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
    server.stream = stream_bytes()
    print(server.server_port, flush=True)
    server.serve_forever()


def carry(source, target, delay):
    """Pass bytes one way, each piece `delay` seconds after it came."""
    queue, ready = collections.deque(), threading.Semaphore(0)

    def write():
        while True:
            ready.acquire()
            moment, data = queue.popleft()
            time.sleep(max(0, moment - time.monotonic()))
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


class Process:
    """One of the two in a process of its own, with its port; ends with the block."""

    def __init__(self, *words):
        """Start it and wait until it listens."""
        self._child = subprocess.Popen([sys.executable, __file__] + [str(word) for word in words], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.port = int(self._child.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._child.kill()
        self._child.wait()
        self._child.stdout.close()


if __name__ == "__main__":
    {"api": serve_api, "relay": relay}[sys.argv[1]](*sys.argv[2:])
