"""One request as it is to travel, how far it got, and the moment after which it must not go on."""

from __future__ import annotations

import time

from rebyte_wire.errors import DeadlineReached

READ_TIMEOUT_SECONDS = 60
PAID_START_SECONDS = 300


class Deadline:
    """A moment on a monotonic clock, or never (`seconds=None`)."""

    __slots__ = ("_clock", "_moment")

    def __init__(self, seconds=None, clock=time.monotonic, started=None):
        """End `seconds` after `started` (a reading of the same clock), which is now unless given."""
        self._clock = clock
        self._moment = (
            None if seconds is None else (clock() if started is None else started) + seconds
        )

    def left(self) -> float | None:
        """Return the seconds left, never below zero; None when there is no limit."""
        return None if self._moment is None else max(0.0, self._moment - self._clock())

    @property
    def expired(self) -> bool:
        """Say whether the moment has passed."""
        return self._moment is not None and self._clock() >= self._moment

    def within(self, seconds) -> Deadline:
        """Return a deadline `seconds` from now, or this one if it is earlier."""
        left = self.left()
        return Deadline(
            left if seconds is None else seconds if left is None else min(left, seconds),
            self._clock,
        )

    def __repr__(self):
        return (
            "Deadline(never)"
            if self._moment is None
            else "Deadline({:.1f} s left)".format(self.left())
        )


class Request:
    """A request between transport and connections; `sent` once its first byte may have left."""

    def __init__(
        self,
        method,
        url,
        headers,
        body=None,
        *,
        deadline=None,
        read_seconds=READ_TIMEOUT_SECONDS,
        paid=False,
        repeatable=False,
        public_only=False,
        before_send=None,
        answer_type=None,
    ):
        """Keep the parts; `body` is None, bytes, or has `length` and `chunks()`; an `answer_type` is called with what came."""
        self.method, self.url, self.headers, self.body, self.answer_type = (
            method,
            url,
            headers,
            body,
            answer_type,
        )
        self.paid, self.repeatable, self.public_only, self.before_send = (
            paid,
            repeatable,
            public_only,
            before_send,
        )
        self._own_time = deadline or Deadline(), read_seconds
        self.rewind()

    def rewind(self):
        """Stand before the first step again, with the time that was given."""
        self.sent = False
        self.deadline, self.read_seconds = self._own_time

    def begin(self):
        """Run the caller's last step; from here on the call counts as sent, and a paid one may take its own time."""
        if self.before_send:
            self.before_send()
        self.sent = True
        if self.paid:
            self.deadline, self.read_seconds = Deadline(PAID_START_SECONDS), PAID_START_SECONDS

    def pace(self, seconds) -> float:
        """Return how long the next step on a socket may take; DeadlineReached if none may."""
        left = self.deadline.left()
        if left == 0:
            raise DeadlineReached(
                "The time for this call is over, and the service has not answered in full."
            )
        return seconds if left is None else min(seconds, left)

    def __repr__(self):
        # Without the query, which may be a signature, and without headers.
        return "<Call {} {}{}>".format(
            self.method, self.url.partition("?")[0], " sent" if self.sent else ""
        )
