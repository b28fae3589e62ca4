"""From an address to a socket that is ready for a request: name, TCP, the proxy's CONNECT, TLS.

Whatever fails in these steps, nothing was sent. Each step is bounded by the request's deadline.
"""

from __future__ import annotations

import http.client
import io
import os
import selectors
import socket
import ssl
import threading
from contextlib import suppress

from rebyte_wire.addresses import (
    Origin,
    bracketed,
    is_loopback,
    is_private,
    parse_literal,
    refused,
)
from rebyte_wire.failures import connect_failure, reason_of, tls_failure, tunnel_failure
from rebyte_wire.proxies import Proxy
from rebyte_wire.requests import Deadline, Request, encode_head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOOKUP_TIMEOUT_SECONDS = 30
CONNECT_TIMEOUT_SECONDS = 10
ATTEMPT_DELAY_SECONDS = 0.25
MAX_INFORMATIONAL = 100


class DeadlineReader(io.RawIOBase):
    """Reads a socket, each time for no longer than the request has left, however bytes drip."""

    def __init__(self, sock: socket.socket, request: Request) -> None:
        self._sock = sock
        self._request = request
        # This file keeps the descriptor until the response is closed, also when another thread
        # closes the socket under its reader.
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        """Say yes, as a reader must."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for the next bytes and take them."""
        apply_timeout(self._sock, self._request)
        return self._sock.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the buffered file that http.client asks a socket for."""
        return io.BufferedReader(self)

    def close(self) -> None:
        """Let go of the socket."""
        self._file.close()
        super().close()


class RawResponse(http.client.HTTPResponse):
    """http.client's response, but for chunks of a negative size, which it reads without end."""

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            # http.client makes IncompleteRead of it.
            raise ValueError("negative chunk size")
        return size


def open_socket(
    origin: Origin,
    proxy: Proxy | None,
    context: ssl.SSLContext | None,
    request: Request,
) -> socket.socket:
    """Return a socket over which the origin can be spoken to; NetworkError if there is none."""
    sock = connect_tcp(origin, proxy, request)
    try:
        if proxy:
            open_tunnel(sock, origin, proxy, request)
        if context:
            return start_tls(sock, origin.host, context, request)
        return sock
    except BaseException:
        sock.close()
        raise


def connect_tcp(origin: Origin, proxy: Proxy | None, request: Request) -> socket.socket:
    """Open TCP to the origin, or to the proxy before it."""
    host = proxy.host if proxy else origin.host
    port = proxy.port if proxy else origin.port
    try:
        addresses = look_up(host, port, request.timeout_for(LOOKUP_TIMEOUT_SECONDS))
        sock = connect_first(addresses, request.timeout_for(CONNECT_TIMEOUT_SECONDS))
    except (OSError, UnicodeError) as error:
        raise connect_failure(host, port, proxy, error) from error
    try:
        # Without it the kernel waits for an answer before a small write leaves.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Behind a proxy only a literal address can be judged, and that was done before.
        judged = request.reject_private_peer and not proxy
        if judged and is_private(sock.getpeername()[0]):
            raise refused(
                "Its name leads into a private network, and the API is public."
            )
        return sock
    except BaseException:
        sock.close()
        raise


def look_up(host: str, port: int, seconds: float) -> list[Any]:
    """Return the addresses of a name, as getaddrinfo does; OSError if that takes too long."""
    # As bytes, an ASCII name needs no tables of other alphabets.
    name = host.encode("ascii" if host.isascii() else "idna")
    if is_loopback(host) or parse_literal(host):
        return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    found: list[Any] = []
    # The system's look-up cannot be ended, only left behind.
    thread = threading.Thread(
        target=_ask_system, args=(found, name, port), daemon=True, name="rebyte-look-up"
    )
    thread.start()
    thread.join(seconds)
    if not found:
        raise socket.gaierror(socket.EAI_AGAIN, "no answer from the name service")
    if isinstance(found[0], Exception):
        raise found[0]
    addresses: list[Any] = found[0]
    return addresses


def _ask_system(found: list[Any], name: bytes, port: int) -> None:
    """Append the system's answer, or what it raised."""
    try:
        found.append(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM))
    except OSError as error:
        found.append(error)


def connect_first(addresses: list[Any], seconds: float) -> socket.socket:
    """Return a socket to the first address that answers, or raise the last one's OSError.

    The next address is tried beside one that is slow, as RFC 8305 has it, so that an IPv6 route
    that swallows packets costs a quarter of a second. All of them together have `seconds`.
    """
    failure: OSError = OSError("its name has no address")
    waiting = list(addresses)
    deadline = Deadline(seconds)
    with selectors.DefaultSelector() as racing:
        try:
            while waiting or racing.get_map():
                try:
                    if waiting:
                        sock = begin_connect(waiting.pop(0))
                        racing.register(sock, selectors.EVENT_WRITE, sock)
                    left = deadline.left() or 0.0
                    winner = next_connected(
                        racing, min(ATTEMPT_DELAY_SECONDS, left) if waiting else left
                    )
                except OSError as error:
                    failure = error
                    continue
                if winner:
                    return winner
                if not waiting or deadline.expired:
                    raise socket.timeout("timed out")
        finally:
            for loser in list(racing.get_map().values()):
                loser.data.close()
    raise failure


def begin_connect(address: Any) -> socket.socket:
    """Return a socket that connects to one address of getaddrinfo's, without waiting for it."""
    family, kind, protocol, _, place = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        with suppress(BlockingIOError):
            sock.connect(place)
        return sock
    except BaseException:
        sock.close()
        raise


def next_connected(
    racing: selectors.BaseSelector, seconds: float
) -> socket.socket | None:
    """Return a socket that connects within some seconds, or None; OSError if one fails first."""
    for key, _ in racing.select(seconds):
        racing.unregister(key.fileobj)
        sock: socket.socket = key.data
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code:
            return sock
        sock.close()
        raise OSError(code, os.strerror(code))
    return None


def open_tunnel(
    sock: socket.socket,
    origin: Origin,
    proxy: Proxy,
    request: Request,
) -> None:
    """Ask a proxy to connect to the origin (CONNECT, RFC 9110 9.3.6)."""
    target = "{}:{}".format(bracketed(origin.host), origin.port)
    lines = ["CONNECT {} HTTP/1.1".format(target), "Host: " + target]
    lines += ["{}: {}".format(name, value) for name, value in proxy.headers]
    try:
        send_all(sock, request, encode_head(lines))
        response = read_response(sock, request, "CONNECT")
    except (OSError, http.client.HTTPException) as error:
        raise tunnel_failure(proxy, reason_of(error)) from error
    response.close()
    if not 200 <= response.status < 300:
        reason = "Tunnel connection failed: {} {}".format(
            response.status, response.reason
        )
        raise tunnel_failure(proxy, reason, response.status)


def start_tls(
    sock: socket.socket,
    host: str,
    context: ssl.SSLContext,
    request: Request,
) -> ssl.SSLSocket:
    """Make a TLS connection of a plain one; the certificate must be the host's."""
    sock.settimeout(request.timeout_for(CONNECT_TIMEOUT_SECONDS))
    try:
        return context.wrap_socket(sock, server_hostname=host)
    except (OSError, ValueError) as error:
        raise tls_failure(host, error, context) from error


def send_all(
    sock: socket.socket,
    request: Request,
    data: bytes,
) -> None:
    """Write bytes in the time that the request has left."""
    apply_timeout(sock, request)
    sock.sendall(data)


def read_response(
    sock: socket.socket,
    request: Request,
    method: str,
) -> http.client.HTTPResponse:
    """Return http.client's response once its head is in; the body is left to be read."""
    # http.client asks what it is given for nothing but a file to read.
    reader: socket.socket = DeadlineReader(sock, request)  # type: ignore[assignment]
    response = RawResponse(reader, method=method)
    try:
        response.begin()
        for _ in range(MAX_INFORMATIONAL):
            if (
                response.status >= 200
                or response.status == http.client.SWITCHING_PROTOCOLS
            ):
                return response
            # RFC 9110 15.2: a client reads past any 1xx. begin() reads a head where it has none.
            response.headers = None  # type: ignore[assignment]
            response.begin()
        raise http.client.HTTPException("nothing but 1xx")
    except BaseException:
        response.close()
        raise


def apply_timeout(sock: socket.socket, request: Request) -> None:
    """Bound the next step on a socket by what the request has left.

    A timeout that is at most a tenth too long stays: to set one is a system call.
    """
    seconds = request.timeout_for(request.read_seconds)
    current = sock.gettimeout()
    if not current or not 0.9 * current <= seconds <= current:
        sock.settimeout(seconds)
