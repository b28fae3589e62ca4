"""One connection: read requests, hand them to the routes, send what comes back, and note what was asked, without keys or signatures."""
from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl

from rebyte_local import routes
from rebyte_local.answers import ConnectionCut, FileAnswer, Refusal, StorageRefusal, StreamAnswer, json_answer
from rebyte_local.bodies import Body

MEMORY_LIMIT = 10000  # requests kept in the list
FILE_LIMIT_BYTES = 4 * 1024 * 1024  # then the file becomes requests.jsonl.1 and a new one begins
SECRET_HEADERS = ("api_key", "api-key", "x-api-key", "authorization", "proxy-authorization", "cookie")
SIGNATURE = re.compile(r"(signature=)[^&\s]*", re.IGNORECASE)
IDLE_SECONDS = 75  # a kept connection without a request, or a peer that takes nothing
DRAIN_LIMIT_BYTES = 128 * 1024 * 1024
LINGER_SECONDS = 2.0
PIECE_BYTES = 256 * 1024
PEER_GONE = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError, socket.timeout)


class RequestLog:
    """A list of dictionaries and a file of the same."""

    def __init__(self, folder):
        self._path = os.path.join(folder, "requests.jsonl")
        self._lock = threading.Lock()
        self._file = self._open()
        self.entries = []

    def __repr__(self):
        return "RequestLog(%d)" % len(self.entries)

    def _open(self):
        return open(os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")

    def add(self, method, target, headers, status, size):
        """Note a request as it is about to be answered; status 0 is a connection closed without an answer."""
        kept = {name.lower(): "***" if name.lower() in SECRET_HEADERS else SIGNATURE.sub(r"\1***", value)
                for name, value in headers.items()}
        entry = {"method": method, "path": SIGNATURE.sub(r"\1***", target), "headers": kept, "status": status,
                 "bytes": size}
        line = json.dumps(entry).encode("ascii") + b"\n"
        with self._lock:
            self.entries.append(entry)
            if len(self.entries) > MEMORY_LIMIT:
                del self.entries[:MEMORY_LIMIT // 2]
            if self._file.closed:
                return
            if self._file.tell() + len(line) > FILE_LIMIT_BYTES:
                self._file.close()
                os.replace(self._path, self._path + ".1")
                self._file = self._open()
            self._file.write(line)
            self._file.flush()

    def close(self):
        """Close the file; the list stays."""
        with self._lock:
            self._file.close()


class Request:
    """What a route needs to know of a request; `params` are the parts of the path, decoded."""

    def __init__(self, method, target, headers, body):
        path, _, query = target.partition("?")
        self.method = method
        self.path = path
        self.query = dict(parse_qsl(query, keep_blank_values=True))
        self.headers = headers
        self.body = body
        self.params = []


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with kept connections; small answers leave in one write."""

    protocol_version = "HTTP/1.1"
    server_version = "rebyte-local"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    body = None

    def finish(self):
        """Close the connection without complaint when the peer is gone."""
        try:
            super().finish()
        except PEER_GONE:
            pass

    def handle(self):
        """Serve requests until the peer goes."""
        try:
            super().handle()
        except PEER_GONE:
            pass

    def do_GET(self):
        """Serve one request; every method comes here."""
        with self.server.activity:
            self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET

    def _serve(self):
        self.body = None
        try:
            answer = self._find_answer()
        except ConnectionCut:
            self._note(0)
            self._cut()
            return
        self._note(answer.status)
        if isinstance(answer, StreamAnswer):
            self._send_stream(answer)
        elif isinstance(answer, FileAnswer):
            self._send_file(answer)
        else:
            self._send_whole(answer)

    def _find_answer(self):
        try:
            target = self.path if self.path.startswith("/") else "/" + self.path.partition("://")[2].partition("/")[2]
            self.body = Body(self.rfile, self.headers)
            return routes.respond(self.server.service, Request(self.command, target, self.headers, self.body))
        except (Refusal, StorageRefusal) as refusal:
            return refusal.answer()
        except (ConnectionCut,) + PEER_GONE:
            raise
        except Exception as error:  # a fault of ours: the caller gets a clean 500, stderr the traceback
            traceback.print_exc(file=sys.stderr)
            return json_answer(500, {"error": {"code": "internal_error", "message": type(error).__name__}})

    def _note(self, status):
        size = self.body.received if self.body else 0
        self.server.log.add(self.command, self.path, self.headers, status, size)

    def _head(self, answer, length):
        if self.body is None or (length is None and self.request_version == "HTTP/1.0"):
            self.close_connection = True
        lines = ["HTTP/1.1 %d %s" % (answer.status, self.responses.get(answer.status, ("",))[0]),
                 "Server: rebyte-local", "Date: " + self.date_time_string()]
        if answer.content_type and answer.status != 204:
            lines.append("Content-Type: " + answer.content_type)
        if length is not None and answer.status != 204:
            lines.append("Content-Length: %d" % length)
        elif length is None and self.request_version != "HTTP/1.0":
            lines.append("Transfer-Encoding: chunked")
        for name, value in answer.headers.items():
            if name.lower() == "connection":
                self.close_connection = True
            else:
                lines.append("%s: %s" % (name, value))
        if self.close_connection:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def _send_whole(self, answer):
        too_much = (self.body.length or 0) > DRAIN_LIMIT_BYTES if self.body else True
        if too_much or not self.body.drain(DRAIN_LIMIT_BYTES):
            self.close_connection = True
        head = self._head(answer, len(answer.body))
        if answer.cut_at is not None:
            self.connection.sendall(head + answer.body[:answer.cut_at])
            self._cut()
            return
        self.connection.sendall(head + (b"" if self.command == "HEAD" else answer.body))
        if self.close_connection and not (self.body and self.body.ended):
            self._linger()

    def _drain(self):
        if not self.body.drain(DRAIN_LIMIT_BYTES):
            self.close_connection = True

    def _send_file(self, answer):
        self._drain()
        try:
            file = open(answer.path, "rb")
        except FileNotFoundError:
            self._send_whole(Refusal(404, "not_found", "Artifact not found").answer())
            return
        with file:
            self.connection.sendall(self._head(answer, answer.length))
            left = answer.length if self.command != "HEAD" else 0
            while left > 0:
                piece = file.read(min(PIECE_BYTES, left))
                if not piece:
                    self._cut()
                    return
                self.connection.sendall(piece)
                left -= len(piece)

    def _send_stream(self, answer):
        self._drain()
        is_chunked = self.request_version != "HTTP/1.0"
        self.connection.sendall(self._head(answer, None))
        chunks = iter(answer.chunks)
        try:
            for chunk in chunks:
                if chunk:
                    self.connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk) if is_chunked else chunk)
            if is_chunked:
                self.connection.sendall(b"0\r\n\r\n")
        except (ConnectionCut,) + PEER_GONE:
            self._cut()
        finally:
            chunks.close()

    def _cut(self):
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

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
        words = message or self.responses.get(code, ("Bad request",))[0]
        body = json.dumps({"error": {"code": "bad_request", "message": words}}).encode("ascii")
        self.close_connection = True
        try:
            self.connection.sendall(b"HTTP/1.1 %d %s\r\nContent-Type: application/json; charset=utf-8\r\n"
                                    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (
                                        code, self.responses.get(code, ("Error",))[0].encode("ascii"), len(body), body))
        except OSError:
            pass

    def log_message(self, format, *args):  # noqa: A002 - the name is the base class's
        """Nothing on stderr; requests.jsonl has it."""
