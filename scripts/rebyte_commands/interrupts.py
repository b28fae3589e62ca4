"""SIGINT and SIGTERM: end at once, but not while a paid start waits for its answer."""

from __future__ import annotations

import os
import signal
import sys

from rebyte_flows.starting.flight import Flight
from rebyte_wire.errors import EXIT_INTERRUPTED, EXIT_TERMINATED


class Interrupted(BaseException):
    """A signal asked this command to end; `exit_code` is 130 or 143."""

    def __init__(self, number):
        super().__init__("interrupted")
        self.number = number
        self.exit_code = EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_TERMINATED


def listen(context):
    """Raise Interrupted on a signal; with a paid start in the air the first one only sets `flight.pending`."""
    flight = Flight()

    def handle(number, frame):
        """End the command, now or once the document is written and the paid starts have landed."""
        if context.writing:
            return
        if flight.busy and flight.pending is None:
            flight.pending = Interrupted(number)
            context.complain(
                "a paid start is on its way; waiting for its answer (interrupt again to leave it unknown)"
            )
            return
        raise Interrupted(number)

    usual = sys.unraisablehook

    def again(lost):
        """Send the signal once more when it came inside a callback that swallows exceptions."""
        if isinstance(lost.exc_value, Interrupted):
            os.kill(os.getpid(), lost.exc_value.number)
        else:
            usual(lost)

    sys.unraisablehook = again
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            signal.signal(number, handle)
        except ValueError:
            # Outside the main thread: whoever runs us there handles signals.
            break
    return flight
