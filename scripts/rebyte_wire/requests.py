"""One request as it is to travel, how far it got, and the moment after which it must not go on."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from rebyte_wire.addresses import DEFAULT_PORTS, bracketed, origin_of
from rebyte_wire.errors import DeadlineReached, InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_wire.multipart import Body
    from rebyte_wire.responses import Response

READ_TIMEOUT_SECONDS = 60
PAID_START_SECONDS = 300
HEADER_LINE = re.compile("[\x20-\x7e]+")


class Deadline:
    """A moment on a monotonic clock, or never (`seconds=None`)."""

    __slots__ = ("_clock", "_moment")

    def __init__(
        self,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        started: float | None = None,
    ) -> None:
        """End `seconds` after `started` (a reading of the same clock), which is now by default."""
        begin = clock() if started is None else started
        self._clock = clock
        self._moment = math.inf if seconds is None else begin + seconds

    def left(self) -> float | None:
        """Return the seconds left, never below zero; None when there is no limit."""
        if self._moment == math.inf:
            return None
        return max(0.0, self._moment - self._clock())

    @property
    def expired(self) -> bool:
        """Say whether the moment has passed."""
        return self._clock() >= self._moment

    def within(self, seconds: float | None) -> Deadline:
        """Return a deadline `seconds` from now, or one at this moment if that is earlier."""
        earlier = Deadline(seconds, self._clock)
        earlier._moment = min(earlier._moment, self._moment)
        return earlier

    def __repr__(self) -> str:
        left = self.left()
        return "Deadline({})".format(
            "never" if left is None else "{:.1f} s left".format(left)
        )


class Request:
    """A request between transport and connections; `sent` once its first byte may have left.

    `response_class` is Response where none is given.
    `kind` is the kind of paid start (task, follow-up, computer) or None; a paid start is
    `billable`: never repeated on a doubt, and with a time of its own once it is sent.
    """

    deadline: Deadline
    read_seconds: float
    sent: bool

    def __init__(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | Body | None = None,
        *,
        deadline: Deadline | None = None,
        read_seconds: float = READ_TIMEOUT_SECONDS,
        kind: str | None = None,
        idempotent: bool = False,
        reject_private_peer: bool = False,
        before_send: Callable[[], object] | None = None,
        response_class: type[Response] | None = None,
    ) -> None:
        """Keep the parts. `before_send()` runs once connected, right before the first byte."""
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
        self.kind = kind
        self.billable = kind is not None
        self.idempotent = idempotent
        self.reject_private_peer = reject_private_peer
        self.before_send = before_send
        self.response_class = response_class
        self._deadline = deadline or Deadline()
        self._read_seconds = read_seconds
        self.reset()

    def reset(self) -> None:
        """Make ready for another try: nothing is sent, and the time is the one that was given."""
        self.sent = False
        self.deadline = self._deadline
        self.read_seconds = self._read_seconds

    def mark_sent(self) -> None:
        """Run `before_send`, then count as sent; a paid start now has its own time to answer."""
        if self.before_send:
            self.before_send()
        self.sent = True
        if self.billable:
            self.deadline = Deadline(PAID_START_SECONDS)
            self.read_seconds = PAID_START_SECONDS

    def timeout_for(self, seconds: float) -> float:
        """Return how long a step on a socket may take; DeadlineReached if no time is left."""
        left = self.deadline.left()
        if left is None:
            return seconds
        if left == 0:
            raise DeadlineReached(
                "The time for this call is over, and the service has not answered in full."
            )
        return min(seconds, left)

    def head(self) -> bytes:
        """Return request line and headers as bytes; InputError for what cannot travel in them."""
        parts = urlsplit(self.url)
        target = parts.path or "/"
        if parts.query:
            target += "?" + parts.query
        lines = [
            "{} {} HTTP/1.1".format(self.method, target),
            "Host: " + host_header(self.url),
            "Accept-Encoding: identity",
        ]
        lines += ["{}: {}".format(name, value) for name, value in self.headers.items()]
        return encode_head(lines)

    def __repr__(self) -> str:
        # Without the query, which may be a signature, and without headers.
        state = " sent" if self.sent else ""
        return "<Request {} {}{}>".format(
            self.method, self.url.partition("?")[0], state
        )


def host_header(url: str) -> str:
    """Return the value of the Host header: the port is left out where it is the usual one."""
    origin = origin_of(url)
    host = bracketed(origin.host)
    if origin.port == DEFAULT_PORTS[origin.scheme]:
        return host
    return "{}:{}".format(host, origin.port)


def encode_head(lines: list[str]) -> bytes:
    """Return the lines of a head as bytes; InputError if one holds what cannot travel."""
    for line in lines:
        if not HEADER_LINE.fullmatch(line):
            # The line is not shown: it may hold the key.
            raise InputError(
                "A header or an address holds characters that cannot travel."
            )
    return "\r\n".join(lines + ["", ""]).encode("ascii")
