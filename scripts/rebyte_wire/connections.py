"""Connections that carry one request at a time and are kept open for the next one.

A request travels in steps, and it is known of each whether something may have left before it:
    connect (name, TCP, CONNECT, TLS) -> before_send() -> head and body -> response head -> its body
"""

from __future__ import annotations

import http.client
import selectors
import socket
import ssl
import threading
from collections import namedtuple
from collections.abc import Mapping
from contextlib import suppress

from rebyte_wire.addresses import Origin, origin_of
from rebyte_wire.errors import NetworkError
from rebyte_wire.failures import map_exceptions
from rebyte_wire.proxies import proxy_for
from rebyte_wire.requests import Request
from rebyte_wire.responses import Response
from rebyte_wire.sockets import open_socket, read_response, send_all
from rebyte_wire.tls import build_context

EARLY_RESPONSE_SECONDS = 5
MAX_IDLE_CONNECTIONS = 32

# What a connection leads to: idle ones are kept per key.
PoolKey = namedtuple("PoolKey", "origin proxy")


class Connection:
    """An open socket to an origin, direct or through a proxy's tunnel."""

    def __init__(self, sock: socket.socket, pool_key: PoolKey) -> None:
        """Take over a socket that is ready for a request."""
        self.sock = sock
        self.pool_key = pool_key
        self.reusable = True

    def send_request(self, request: Request, head: bytes) -> http.client.HTTPResponse:
        """Send a request and return http.client's response once its head is in."""
        with map_exceptions(request):
            try:
                self._write(request, head)
            except OSError as error:
                return self._read_early_response(request, error)
            return read_response(self.sock, request, request.method)

    def _write(self, request: Request, head: bytes) -> None:
        # Head and body in one send where that is possible: a paid start that was cut between two
        # could have arrived as half a request.
        if request.body is None or isinstance(request.body, bytes):
            send_all(self.sock, request, head + (request.body or b""))
            return
        send_all(self.sock, request, head)
        for chunk in request.body.chunks():
            send_all(self.sock, request, chunk)

    def _read_early_response(
        self, request: Request, write_error: OSError
    ) -> http.client.HTTPResponse:
        """Read what a server said that hung up while we wrote (401, 413, 429), if anything."""
        self.reusable = False
        usual_seconds = request.read_seconds
        request.read_seconds = min(usual_seconds, EARLY_RESPONSE_SECONDS)
        try:
            return read_response(self.sock, request, request.method)
        except (OSError, http.client.HTTPException):
            # A fresh connection may follow, and it has its whole time again.
            request.read_seconds = usual_seconds
            raise write_error from None

    def abort(self) -> None:
        """Hang up at once; a reader in another thread wakes up."""
        # Not SSLSocket's own shutdown, which would pull the session away under the reader.
        with suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    def is_dead(self) -> bool:
        """Say whether an idle connection was hung up: a healthy one has nothing to say."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.sock, selectors.EVENT_READ)
            return bool(selector.select(0))


class ConnectionPool:
    """Sends requests and keeps idle connections per origin and proxy. Safe across threads."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Keep the environment: proxies and certificates are read from it when they are needed."""
        self._environ = environ
        self._context: ssl.SSLContext | None = None
        self._closed = False
        self._idle: dict[PoolKey, list[Connection]] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: Request) -> Response:
        """Send a request once and return its response, whatever its status.

        NetworkError or DeadlineReached if none came. An idempotent request may go out on a kept
        connection, any other takes a fresh one.
        """
        request.reset()
        head = request.head()
        origin = origin_of(request.url)
        pool_key = PoolKey(origin, proxy_for(origin, self._environ))
        connection = self.take_idle(pool_key) if request.idempotent else None
        if connection:
            try:
                return self._send(connection, request, head)
            except NetworkError as error:
                if not is_hang_up(error):
                    raise
        sock = open_socket(origin, pool_key.proxy, self.context_for(origin), request)
        return self._send(Connection(sock, pool_key), request, head)

    def _send(
        self,
        connection: Connection,
        request: Request,
        head: bytes,
    ) -> Response:
        try:
            request.mark_sent()
            raw = connection.send_request(request, head)
            response_class = request.response_class or Response
            return response_class(raw, connection, self, request)
        except BaseException:
            connection.close()
            raise

    def context_for(self, origin: Origin) -> ssl.SSLContext | None:
        """Return the TLS context for an origin, made once; None for plain http."""
        if origin.scheme != "https":
            return None
        if self._context is None:
            self._context = build_context(self._environ)
        return self._context

    def take_idle(self, pool_key: PoolKey) -> Connection | None:
        """Return a living idle connection, or None; dead ones are closed on the way."""
        while True:
            with self._lock:
                idle = self._idle.get(pool_key)
                connection = idle.pop() if idle else None
            if connection is None or not connection.is_dead():
                return connection
            connection.close()

    def release(self, connection: Connection, will_close: bool) -> None:
        """Keep a connection whose response was read to the end, or close it."""
        with self._lock:
            idle = self._idle.setdefault(connection.pool_key, [])
            keep = connection.reusable and not will_close and not self._closed
            if keep and len(idle) < MAX_IDLE_CONNECTIONS:
                idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the idle connections; those in use close when their response ends."""
        with self._lock:
            self._closed = True
            connections = sum(self._idle.values(), [])
            self._idle = {}
        for connection in connections:
            connection.close()

    def __repr__(self) -> str:
        idle = {
            key.origin.host: len(found) for key, found in self._idle.items() if found
        }
        return "<ConnectionPool {}>".format(idle)


def is_hang_up(error: NetworkError) -> bool:
    """Say whether a kept connection was hung up as we wrote: what each one risks.

    Only that is worth a fresh connection at once; a silence would be waited for twice.
    """
    return isinstance(error.__cause__, ConnectionError)
