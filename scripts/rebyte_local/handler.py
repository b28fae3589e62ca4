"""One connection: read requests, hand them to the routes, send what comes back, and note what was asked, without keys or signatures."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler

from rebyte_local import routes
from rebyte_local.messages import Body, ConnectionCut, Refusal, Request

MEMORY_LIMIT = 10000  # requests kept in the list
FILE_LIMIT_BYTES = 4 * 1024 * 1024  # then the file becomes requests.jsonl.1 and a new one begins
SECRET_HEADERS = (
    "api_key",
    "api-key",
    "x-api-key",
    "authorization",
    "proxy-authorization",
    "cookie",
)
SIGNATURE = re.compile(r"(signature=)[^&\s]*", re.IGNORECASE)
IDLE_SECONDS = 75  # a kept connection without a request, or a peer that takes nothing
DRAIN_LIMIT_BYTES = 128 * 1024 * 1024
LINGER_SECONDS = 2.0
PIECE_BYTES = 256 * 1024
PEER_GONE = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError, socket.timeout)


def shut_down(connection):
    """End a connection under whoever uses it; one that has ended already stays so."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class RequestLog:
    """A list of dictionaries and a file of the same."""

    def __init__(self, folder):
        self._path = os.path.join(folder, "requests.jsonl")
        self._lock = threading.Lock()
        self._open()
        self.entries = []

    def _open(self):
        self._file = open(
            os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab"
        )

    def add(self, method, target, headers, status, size):
        """Note a request as it is about to be answered; status 0 is a connection closed without an answer."""
        kept = {
            name.lower(): "***"
            if name.lower() in SECRET_HEADERS
            else SIGNATURE.sub(r"\1***", value)
            for name, value in headers.items()
        }
        entry = {
            "method": method,
            "path": SIGNATURE.sub(r"\1***", target),
            "headers": kept,
            "status": status,
            "bytes": size,
        }
        line = json.dumps(entry).encode("ascii") + b"\n"
        with self._lock:
            self.entries.append(entry)
            if len(self.entries) > MEMORY_LIMIT:
                del self.entries[: MEMORY_LIMIT // 2]
            if self._file.closed:
                return
            if self._file.tell() + len(line) > FILE_LIMIT_BYTES:
                self._file.close()
                os.replace(self._path, self._path + ".1")
                self._open()
            self._file.write(line)
            self._file.flush()

    def close(self):
        """Close the file; the list stays."""
        with self._lock:
            self._file.close()


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with kept connections; small answers leave in one write."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS

    def handle(self):
        """Serve requests until the peer goes."""
        try:
            super().handle()
        except PEER_GONE:
            pass

    def do_GET(self):
        """Serve one request; every method comes here."""
        with self.server.serving():
            self._body = None
            try:
                answer = self._find_answer()
            except ConnectionCut:
                self._note(0)
                self._cut()
                return
            self._note(answer.status)
            self._send(answer)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET

    def _find_answer(self):
        try:
            target = (
                self.path
                if self.path.startswith("/")
                else "/" + self.path.partition("://")[2].partition("/")[2]
            )
            self._body = Body(self.rfile, self.headers)
            return routes.respond(
                self.server.service, Request(self.command, target, self.headers, self._body)
            )
        except Refusal as refusal:
            return refusal.answer
        except (ConnectionCut,) + PEER_GONE:
            raise
        except (
            Exception
        ) as error:  # a fault of ours: the caller gets a clean 500, stderr the traceback
            traceback.print_exc()
            return Refusal(500, "internal_error", type(error).__name__).answer

    def _note(self, status):
        self.server.log.add(
            self.command, self.path, self.headers, status, self._body.received if self._body else 0
        )

    def _head(self, answer, is_chunked):
        lines = [
            "HTTP/1.1 %d %s" % (answer.status, self.responses[answer.status][0]),
            "Server: rebyte-local",
            "Date: " + self.date_time_string(),
        ]
        if is_chunked:
            lines.append("Transfer-Encoding: chunked")
        if answer.status != 204:
            lines.append("Content-Type: " + answer.content_type)
            lines += ["Content-Length: %d" % answer.length] if answer.length is not None else []
        lines += [
            "%s: %s" % header for header in answer.headers.items() if header[0] != "Connection"
        ]
        if self.close_connection:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def _send(self, answer):
        is_endless = answer.length is None
        is_chunked = is_endless and self.request_version != "HTTP/1.0"
        is_read = self._body is not None and self._body.drain(DRAIN_LIMIT_BYTES)
        if not is_read or is_endless and not is_chunked or "Connection" in answer.headers:
            self.close_connection = True
        head = self._head(answer, is_chunked)
        if is_endless:
            self._send_pieces(head, answer.body, is_chunked)
        elif isinstance(answer.body, bytes):
            self.connection.sendall(head + (answer.body if self.command != "HEAD" else b""))
            if len(answer.body) < answer.length:
                self._cut()
        else:
            with answer.body:
                self.connection.sendall(head)
                if (
                    self.connection.sendfile(answer.body, count=answer.length or None)
                    < answer.length
                ):
                    self._cut()
        if not (self._body and self._body.ended):
            self._linger()

    def _send_pieces(self, head, pieces, is_chunked):
        try:
            self.connection.sendall(head)
            for piece in pieces:
                self.connection.sendall(
                    b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece
                )
            if is_chunked:
                self.connection.sendall(b"0\r\n\r\n")
        except (ConnectionCut,) + PEER_GONE:
            self._cut()
        finally:
            pieces.close()

    def _cut(self):
        self.close_connection = True
        shut_down(self.connection)

    def _linger(self):
        """Take what the peer still sends for a moment, so that it reads the answer instead of a reset."""
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER_SECONDS)
            end = time.monotonic() + LINGER_SECONDS
            while time.monotonic() < end and self.connection.recv(PIECE_BYTES):
                pass
        except OSError:
            pass

    def send_error(self, code, message=None, explain=None):
        """The answer to what is no HTTP request, in the API's own shape."""
        answer = Refusal(code, "bad_request", message or self.responses[code][0]).answer
        self.close_connection = True
        try:
            self.connection.sendall(self._head(answer, False) + answer.body)
        except OSError:
            pass

    def log_message(self, format, *args):
        """Nothing on stderr; requests.jsonl has it."""
