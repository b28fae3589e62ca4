"""Servers that say listed bytes: a raw one, and a proxy. They know their port before they start."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading

READ_SECONDS = 20


def answer(status=200, body=b"", *headers, length=None) -> bytes:
    """Return an answer as bytes; a dict or list becomes JSON; `length` may lie."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        "HTTP/1.1 {} Said".format(status),
        "Content-Length: {}".format(len(body) if length is None else length),
    ]
    return "\r\n".join(lines + list(headers) + ["", ""]).encode("latin-1") + body


def chunked(*pieces, end=b"0\r\n\r\n", kind="text/event-stream") -> bytes:
    """Return a chunked answer; without `end` it is cut short."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n".format(
        kind
    ).encode()
    return (
        head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end
    )


def say_and_close(data):
    """Return a step that says something and hangs up."""
    return lambda sock: sock.sendall(data)


def reset(sock):
    """Hang up with a RST, as a process that died does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def failure(call, kind=Exception):
    """Return the error of a call that must fail."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError("it did not fail")


class Server:
    """Answers each request with the next step of its script; the last step stays.

    A step is bytes to say, or a callable that is given the socket, after which it hangs up.
    Instead of a script, `speaks` makes the step of (line, headers, body). An `early` server takes
    the step as soon as the head is in. With `context` it speaks TLS.
    """

    def __init__(self, *script, early=False, context=None, speaks=None):
        """Bind a port; nothing is accepted before start."""
        self.script, self.early, self.context, self.speaks = (
            list(script),
            early,
            context,
            speaks or self.next_step,
        )
        self.requests, self.heads, self.connections, self.received = [], [], 0, 0
        self.ending = threading.Event()
        self._lock, self._open, self._threads = threading.Lock(), set(), []
        self._listener = socket.socket()
        # Inherited by each connection: an answer over TLS would wait for the other side otherwise.
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(256)
        self.port = self._listener.getsockname()[1]
        self.url = "{}://127.0.0.1:{}".format("https" if context else "http", self.port)

    def __enter__(self):
        """Start to accept."""
        self._spawn(self._accept)
        return self

    def __exit__(self, *_):
        """Hang up on everybody and wait for the threads."""
        self.ending.set()
        for sock in [self._listener] + list(self._open):
            hang_up(sock)
        for thread in self._threads:
            thread.join(READ_SECONDS)
        self._listener.close()

    def _spawn(self, run, *args):
        """Run something in a thread that is joined at the end."""
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        """Give each connection a thread of its own."""
        while not self.ending.is_set():
            try:
                sock = self._listener.accept()[0]
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(sock)
            self._spawn(self._guard, sock)

    def _guard(self, raw):
        """Serve a connection; whatever breaks it is the client's doing and its test's business."""
        sock = raw
        try:
            sock.settimeout(READ_SECONDS)
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._open.add(sock)
            self.serve(sock)
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._open -= {raw, sock}
            sock.close()
            raw.close()

    def next_step(self, _):
        """Take the next step of the script."""
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def serve(self, sock):
        """Read requests and take steps until one hangs up."""
        with sock.makefile("rb") as file:
            while True:
                head = read_head(file)
                self.received += len(head)
                if not head.endswith(b"\r\n\r\n"):
                    return
                line, headers = parse(head)
                request = line, headers, b"" if self.early else read_body(file, head)
                with self._lock:
                    self.heads.append(head)
                    self.requests.append(request)
                    step = self.speaks(request)
                if callable(step):
                    step(sock)
                    return
                sock.sendall(step)


class Proxy(Server):
    """Opens tunnels: every CONNECT leads to `port` on this machine; or says `refusal`."""

    def __init__(self, port=None, refusal=None):
        """Bind a port."""
        super().__init__()
        self.target, self.refusal = port, refusal

    def serve(self, sock):
        """Read a CONNECT and become a pipe."""
        with sock.makefile("rb", buffering=0) as file:
            head = read_head(file)
        if not head:
            return
        self.heads.append(head)
        if self.refusal:
            sock.sendall(self.refusal)
            return
        with socket.create_connection(("127.0.0.1", self.target)) as there:
            sock.sendall(b"HTTP/1.1 200 Go\r\n\r\n")
            self._spawn(pump, there, sock)
            pump(sock, there)


def pump(source, target):
    """Carry bytes one way until an end."""
    try:
        for data in iter(lambda: source.recv(65536), b""):
            target.sendall(data)
    except OSError:
        pass
    hang_up(target)


def hang_up(sock):
    """Shut a socket down in both directions."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def read_head(file) -> bytes:
    """Read up to the empty line, or to the end."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = file.readline()
        if not line:
            break
        head += line
    return head


def read_body(file, head) -> bytes:
    """Read as many bytes as Content-Length says."""
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return file.read(int(found.group(1))) if found else b""


def parse(head):
    """Return the first line, and the headers as they were spelled."""
    line, *headers = head.decode("latin-1").split("\r\n")[:-2]
    return line, dict(header.split(": ", 1) for header in headers)
