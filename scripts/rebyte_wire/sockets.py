"""From an address to a socket that is ready for a request: name, TCP, the proxy's CONNECT, TLS.

Whatever fails in these steps, nothing was sent. Each step is bounded by the request's deadline.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl

from rebyte_wire.addresses import Origin, bracketed, is_private, refused
from rebyte_wire.failures import connect_failure, reason_of, tls_failure, tunnel_failure
from rebyte_wire.proxies import Proxy
from rebyte_wire.requests import Request, encode_head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONNECT_TIMEOUT_SECONDS = 10


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


def connect_tcp(
    origin: Origin,
    proxy: Proxy | None,
    request: Request,
) -> socket.socket:
    """Open TCP to the first address that answers, each in its own time.

    The look-up of the name cannot be bounded.
    """
    host = proxy.host if proxy else origin.host
    port = proxy.port if proxy else origin.port
    failure: Exception = OSError("its name has no address")
    try:
        # As bytes, an ASCII name needs no tables of other alphabets.
        name = host.encode("ascii" if host.isascii() else "idna")
        addresses = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise connect_failure(host, port, proxy, error) from error
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(request.timeout_for(CONNECT_TIMEOUT_SECONDS))
            sock.connect(address)
            # Without it the kernel waits for an answer before a small write leaves.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not proxy:
                check_peer(sock, request)
            return sock
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
    raise connect_failure(host, port, proxy, failure) from failure


def check_peer(sock: socket.socket, request: Request) -> None:
    """Raise NetworkError(address_refused) for a peer in a private network that may not be one.

    Behind a proxy only a literal address can be judged, and that was done before.
    """
    if request.reject_private_peer and is_private(sock.getpeername()[0]):
        raise refused("Its name leads into a private network, and the API is public.")


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
        reason = "Tunnel connection failed: {} {}".format(response.status, response.reason)
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
    response = http.client.HTTPResponse(reader, method=method)
    try:
        response.begin()
    except BaseException:
        response.close()
        raise
    return response


def apply_timeout(sock: socket.socket, request: Request) -> None:
    """Bound the next step on a socket by what the request has left.

    A timeout that is at most a tenth too long stays: to set one is a system call.
    """
    seconds = request.timeout_for(request.read_seconds)
    current = sock.gettimeout()
    if not current or not 0.9 * current <= seconds <= current:
        sock.settimeout(seconds)
