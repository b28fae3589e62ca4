"""One request as it is to travel, and how far it got."""
from __future__ import annotations

from rebyte_wire.answers import Answer
from rebyte_wire.deadlines import Deadline
from rebyte_wire.errors import DeadlineReached

READ_TIMEOUT_SECONDS = 60
PAID_START_SECONDS = 300


class Call:
    """A request between transport and connections; `sent` once its first byte may have left."""

    def __init__(self, method, url, headers, body=None, *, deadline=None, read_seconds=READ_TIMEOUT_SECONDS, paid=False,
                 repeatable=False, public_only=False, before_send=None, answer_type=Answer):
        """Keep the parts; `body` is None, bytes, or has `length` and `chunks()`."""
        self.method, self.url, self.headers, self.body, self.answer_type = method, url, headers, body, answer_type
        self.paid, self.repeatable, self.public_only, self.before_send = paid, repeatable, public_only, before_send
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
            raise DeadlineReached("The time for this call is over, and the service has not answered in full.")
        return seconds if left is None else min(seconds, left)

    def __repr__(self):
        # Without the query, which may be a signature, and without headers.
        return "<Call {} {}{}>".format(self.method, self.url.partition("?")[0], " sent" if self.sent else "")
