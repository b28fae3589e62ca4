"""Connections and threads: requests are read, given to one function, and its answer is sent."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from rebyte_local.formats import log_exception
from rebyte_local.http.messages import (
    ApiError,
    Body,
    DropConnection,
    FileResponse,
    Request,
    Response,
    StreamResponse,
)
from rebyte_local.http.request_log import RequestLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BACKLOG = 1024
JOIN_SECONDS = 5.0
IDLE_SECONDS = 75  # a kept connection without a request, or a peer that takes nothing
PEER_GONE = (
    BrokenPipeError,
    ConnectionResetError,
    ConnectionAbortedError,
    socket.timeout,
)


def shut_down(connection: socket.socket) -> None:
    """End a connection under whoever uses it; one that has ended already stays so."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


class HttpServer(ThreadingHTTPServer):
    """Listens on 127.0.0.1 and answers each request with what `respond` returns.

    `last_request_at` is when the last request began or was answered, in monotonic seconds.
    """

    daemon_threads = True
    request_queue_size = BACKLOG

    def __init__(
        self, port: int, respond: Callable[[Request], Response], log: RequestLog
    ) -> None:
        self.respond = respond
        self.log = log
        self._connections: set[Any] = set()
        self._lock = threading.Lock()
        self.last_request_at = time.monotonic()
        super().__init__(("127.0.0.1", port), Handler)

    def server_bind(self) -> None:
        """Bind without asking the resolver for a name of this machine."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection until it is closed, and give it a thread."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection and forget it."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Close every connection under its thread and wait until the threads are gone."""
        end = time.monotonic() + JOIN_SECONDS
        while self._connections and time.monotonic() < end:
            with self._lock:
                for connection in self._connections:
                    shut_down(connection)
            time.sleep(0.005)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a connection that broke."""


class Handler(BaseHTTPRequestHandler):
    """One connection: HTTP/1.1, kept open; small answers leave in one write."""

    server: HttpServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS

    def handle(self) -> None:
        """Serve requests until the peer goes."""
        with contextlib.suppress(*PEER_GONE):
            super().handle()

    def do_GET(self) -> None:
        """Serve one request; every method comes here."""
        self.server.last_request_at = time.monotonic()
        self._body: Body | None = None
        try:
            response = self._respond()
        except DropConnection:
            self._log(0)
            self._drop()
            return
        self._log(response.status)
        self._send(response)
        self.server.last_request_at = time.monotonic()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET

    def _respond(self) -> Response:
        try:
            self._body = Body(self.rfile, self.headers)
            return self.server.respond(
                Request(self.command, self._target(), self.headers, self._body)
            )
        except ApiError as error:
            return error.response
        except (DropConnection, *PEER_GONE):
            raise
        except (
            Exception
        ) as error:  # our own bug: the caller gets a 500, stderr the traceback
            log_exception()
            return ApiError(500, "internal_error", type(error).__name__).response

    def _target(self) -> str:
        """Return path and query; a proxy may have sent the whole address."""
        if self.path.startswith("/"):
            return self.path
        return "/" + self.path.partition("://")[2].partition("/")[2]

    def _log(self, status: int) -> None:
        size = self._body.received if self._body else 0
        self.server.log.add(self.command, self.path, self.headers, status, size)

    def _send(self, response: Response) -> None:
        is_read = self._body is not None and self._body.drain()
        if not is_read or "Connection" in response.headers:
            self.close_connection = True
        if isinstance(response, StreamResponse):
            self._send_stream(response)
        elif isinstance(response, FileResponse):
            self._send_file(response)
        else:
            body = b"" if self.command == "HEAD" else response.body
            self.connection.sendall(self._head(response) + body)
            if response.length != len(response.body):
                self._drop()

    def _send_file(self, response: FileResponse) -> None:
        with response.file:
            self.connection.sendall(self._head(response))
            sent = self.connection.sendfile(
                response.file, count=response.length or None
            )
        if sent != response.length:
            self._drop()

    def _send_stream(self, response: StreamResponse) -> None:
        is_chunked = self.request_version != "HTTP/1.0"
        if is_chunked:
            response.headers["Transfer-Encoding"] = "chunked"
        else:
            self.close_connection = True
        try:
            self.connection.sendall(self._head(response))
            for piece in response.pieces:
                self.connection.sendall(_chunk(piece) if is_chunked else piece)
            if is_chunked:
                self.connection.sendall(b"0\r\n\r\n")
        except (DropConnection, *PEER_GONE):
            self._drop()
        finally:
            response.pieces.close()

    def _head(self, response: Response) -> bytes:
        headers = {"Server": "rebyte-local", "Date": self.date_time_string()}
        if response.status != 204:
            headers["Content-Type"] = response.content_type
            if response.length is not None:
                headers["Content-Length"] = str(response.length)
        headers.update(response.headers)
        if self.close_connection:
            headers["Connection"] = "close"
        lines = [
            "HTTP/1.1 %d %s" % (response.status, self.responses[response.status][0])
        ]
        lines += ["%s: %s" % header for header in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def _drop(self) -> None:
        self.close_connection = True
        shut_down(self.connection)

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """Answer what is no HTTP request, in the API's own shape."""
        response = ApiError(
            code, "bad_request", message or self.responses[code][0]
        ).response
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.sendall(self._head(response) + response.body)

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing to stderr; the request log has it."""
