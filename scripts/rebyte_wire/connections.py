"""The only module with a socket: one urllib handler that keeps connections open between calls.

A call travels in steps, and it is known of each whether something may have left before it:
    connect (name, TCP, CONNECT, TLS)  ->  before_send()  ->  head and body  ->  head of the answer  ->  its body
"""

from __future__ import annotations

import http.client
import io
import selectors
import socket
import threading
import urllib.request
from urllib.parse import urlsplit

from rebyte_wire.addresses import DEFAULT_PORTS, is_loopback, is_private, origin_of, refused
from rebyte_wire.errors import InputError, NetworkError
from rebyte_wire.failures import (
    connect_failure,
    map_exceptions,
    not_sent,
    proxy_failure,
    proxy_unreachable,
    tls_failure,
)
from rebyte_wire.tls import build_context

CONNECT_TIMEOUT_SECONDS = 10
EARLY_ANSWER_SECONDS = 5
MAX_IDLE_CONNECTIONS = 32
DEFAULT_PROXY_PORT = 80


class DeadlineReader(io.RawIOBase):
    """Reads a socket, each time for no longer than the call has left: a drip of bytes cannot outlast it."""

    def __init__(self, raw, sock, call):
        self._raw, self._sock, self._call = raw, sock, call

    def readable(self):
        """Say yes, as a reader must."""
        return True

    def readinto(self, buffer):
        """Wait for the next bytes and take them."""
        set_pace(self._sock, self._call)
        return self._sock.recv_into(buffer)

    def close(self):
        """Let go of the socket."""
        self._raw.close()
        super().close()


class Connection(http.client.HTTPConnection):
    """One connection to an origin, direct or through a proxy's tunnel, serving one call at a time."""

    def __init__(self, place, proxy_headers, context):
        """Describe the connection to `place` (origin, proxy or None); nothing is opened yet."""
        self.place, self.context = place, context
        self.origin, self.proxy = place
        super().__init__(*(self.proxy or self.origin[1:]))
        self.default_port = DEFAULT_PORTS[self.origin.scheme]
        self.call = self.wire = self.held = self.reply = None
        self.broken = False
        self._create_connection = self.dial
        self.response_class = self.paced_response
        if self.proxy:
            self.set_tunnel(self.origin.host, self.origin.port, proxy_headers)

    def connect(self):
        """Take all the steps before the first byte of a call; whatever fails in them, nothing was sent."""
        try:
            super().connect()
        except (OSError, http.client.HTTPException) as error:
            # Python 3.8 leaves the proxy's answer open.
            if self.reply:
                self.reply.close()
            # dial() tells its own failures, so this is the proxy (or, without one, a socket option).
            raise (proxy_failure if self.proxy else connect_failure)(
                self.proxy or self.origin[1:], error
            ) from error
        if self.context:
            self.sock.settimeout(self.call.pace(CONNECT_TIMEOUT_SECONDS))
            try:
                self.sock = self.context.wrap_socket(self.sock, server_hostname=self.origin.host)
            except (OSError, ValueError) as error:
                raise tls_failure(self.origin.host, error, self.context) from error
        self.wire = self.sock

    def dial(self, place, *_):
        """Open TCP to the first address that answers, each in its own time. The name look-up cannot be bounded."""
        try:
            # As bytes, an ASCII name needs no tables of other alphabets.
            found = socket.getaddrinfo(
                place[0].encode("ascii" if place[0].isascii() else "idna"),
                place[1],
                type=socket.SOCK_STREAM,
            )
        except (OSError, UnicodeError) as error:
            raise (proxy_unreachable if self.proxy else connect_failure)(place, error) from error
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(self.call.pace(CONNECT_TIMEOUT_SECONDS))
                sock.connect(address)
                # Behind a proxy only a literal could be judged, and was.
                if self.call.public_only and not self.proxy and is_private(sock.getpeername()[0]):
                    raise refused("Its name leads into a private network, and the API is public.")
                return sock
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
        raise (proxy_unreachable if self.proxy else connect_failure)(place, failure) from failure

    def paced_response(self, sock, *args, **kwargs):
        """Make the response object of http.client, reading at the call's pace."""
        self.reply = http.client.HTTPResponse(sock, *args, **kwargs)
        self.reply.fp = io.BufferedReader(DeadlineReader(self.reply.fp.detach(), sock, self.call))
        return self.reply

    def send(self, data):
        """Write at the call's pace; while `held` is a list the head waits there, to leave together with the body."""
        if self.held is not None:
            self.held.append(data)
        else:
            set_pace(self.sock, self.call)
            self.sock.sendall(data)

    def converse(self, call, target):
        """Send a call and return http.client's response once its head is in."""
        with map_exceptions(call):
            try:
                self.write(call, self.head_of(call, target))
            except OSError as error:
                return self.early_answer(call, error)
            return self.getresponse()

    def head_of(self, call, target) -> bytes:
        """Return request line and headers as http.client writes them, names spelled as given."""
        self.held = []
        try:
            self.putrequest(call.method, target)
            for name, value in call.headers.items():
                self.putheader(name, value)
            self.endheaders()
            return b"".join(self.held)
        except ValueError:
            # Without a cause: it would show the header, and that may be the key.
            raise InputError(
                "A header or an address holds characters that cannot travel."
            ) from None
        finally:
            self.held = None

    def write(self, call, head):
        """Write the head, with a body in memory in the same send, or a streamed one after it."""
        if call.body is None or isinstance(call.body, bytes):
            self.send(head + (call.body or b""))
            return
        self.send(head)
        for chunk in call.body.chunks():
            self.send(chunk)

    def early_answer(self, call, error):
        """Read the answer of a server that hung up while we wrote (401, 413, 429), or raise what the write raised."""
        self.broken = True
        call.read_seconds = min(call.read_seconds, EARLY_ANSWER_SECONDS)
        try:
            return self.getresponse()
        except (OSError, http.client.HTTPException):
            raise error from None

    def hang_up(self):
        """End the talk at once; a reader in another thread wakes up."""
        try:
            # Not SSLSocket's own shutdown, which would pull the session away under the reader.
            socket.socket.shutdown(self.wire, socket.SHUT_RDWR)
        except OSError:
            pass
        self.close()

    def is_dead(self) -> bool:
        """Say whether an idle connection was hung up: a healthy one has nothing to say."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.sock, selectors.EVENT_READ)
            return bool(selector.select(0))


class Proxies(urllib.request.ProxyHandler):
    """urllib's proxy rules from the environment, except that this machine is always spoken to directly."""

    def proxy_open(self, req, proxy, type):
        """Send a request through its proxy unless it is for this machine."""
        if is_loopback(origin_of(req.full_url).host):
            return None
        if proxy.lower().startswith("socks"):
            raise bad_proxy()
        try:
            return super().proxy_open(req, proxy, type)
        except ValueError:
            raise bad_proxy() from None


class ConnectionPool(urllib.request.BaseHandler):
    """Speaks http and https for an opener, and keeps idle connections per origin and proxy. Safe across threads."""

    def __init__(self, environ):
        """Read the proxies; certificates are read from `environ` when the first https origin is spoken to."""
        self._environ, self._context, self._closed = environ, None, False
        self._idle, self._lock = {}, threading.Lock()
        self._opener = urllib.request.OpenerDirector()
        self._opener.add_handler(Proxies())
        self._opener.add_handler(self)

    def exchange(self, call):
        """Send a call once and return its answer, whatever its status; NetworkError or DeadlineReached if none came."""
        call.rewind()
        request = urllib.request.Request(call.url, method=call.method)
        request.call = call
        return self._opener.open(request)

    def http_open(self, request):
        """Speak on a kept connection where the call may be sent again, else on a fresh one."""
        call, place = request.call, place_of(request)
        line = self.take_idle(place) if call.repeatable else None
        if line:
            try:
                return self.speak(line, request)
            except NetworkError as error:
                # Hung up in the very moment we wrote: what every kept connection risks. A fresh one is tried once.
                if not isinstance(error.__cause__, ConnectionError):
                    raise
        headers = {
            name: value for name, value in request.headers.items() if name == "Proxy-authorization"
        }
        return self.speak(Connection(place, headers, self.context_for(place[0])), request)

    https_open = http_open

    def speak(self, line, request):
        """Carry one call over one connection, connecting it first if it is fresh."""
        line.call = call = request.call
        try:
            if line.sock is None:
                line.connect()
            call.begin()
            return call.answer_type(line.converse(call, request.selector), line, self, call)
        except BaseException:
            line.close()
            raise

    def context_for(self, origin):
        """Return the TLS context for an origin, made once; None for plain http."""
        if origin.scheme == "https" and self._context is None:
            self._context = build_context(self._environ)
        return self._context if origin.scheme == "https" else None

    def take_idle(self, place):
        """Return a living idle connection, or None; dead ones are closed on the way."""
        while True:
            with self._lock:
                idle = self._idle.get(place)
                line = idle.pop() if idle else None
            if line is None or not line.is_dead():
                return line
            line.close()

    def give_back(self, line, will_close: bool):
        """Keep a connection whose answer was read to the end, or close it."""
        with self._lock:
            idle = self._idle.setdefault(line.place, [])
            if not (will_close or line.broken or self._closed) and len(idle) < MAX_IDLE_CONNECTIONS:
                idle.append(line)
                return
        line.close()

    def close(self):
        """Close the idle connections; those in use close when their answer ends."""
        with self._lock:
            self._closed, lines, self._idle = True, sum(self._idle.values(), []), {}
        for line in lines:
            line.close()

    def __repr__(self):
        return "<Connections {}>".format(
            {place[0].host: len(lines) for place, lines in self._idle.items() if lines}
        )


def set_pace(sock, call):
    """Bound the next step on a socket by what the call has left; a tenth more passes, since to set it is a system call."""
    seconds, now = call.pace(call.read_seconds), sock.gettimeout()
    if not now or not 0.9 * now <= seconds <= now:
        sock.settimeout(seconds)


def place_of(request) -> tuple:
    """Return (origin, proxy): what ProxyHandler changed in the request is the proxy's host and port."""
    origin = origin_of(request.full_url)
    try:
        there = urlsplit("//" + request.host)
        host, port = there.hostname, there.port
    except ValueError:
        raise bad_proxy() from None
    if (host, port or DEFAULT_PORTS[origin.scheme]) == origin[1:]:
        return origin, None
    if not host:
        raise bad_proxy()
    return origin, (host, port or DEFAULT_PROXY_PORT)


def bad_proxy() -> NetworkError:
    """Return the error for a proxy setting that cannot be used; it is not shown, since it may hold a password."""
    return not_sent(
        "The proxy set in the environment is not the address of an HTTP proxy.",
        "proxy_refused",
        retryable=False,
        hint="Expected something like HTTPS_PROXY=http://proxy.example.com:3128.",
    )
