"""SIGINT and SIGTERM: end at once, but not while a paid start waits for its answer."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager

from rebyte_wire.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any


class Interrupted(BaseException):
    """A signal asked this command to end; `exit_code` is 130 or 143."""

    def __init__(self, number: int) -> None:
        super().__init__("interrupted")
        self.number = number
        self.exit_code = (
            EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_TERMINATED
        )


class Interrupts:
    """Turns signals into Interrupted, at a moment when nothing is lost by it.

    `is_busy()` tells whether the answer to a paid start is waited for: then the first signal only
    sets `pending`, and `info` is told. Inside `held_off()` signals are ignored.
    """

    def __init__(
        self, is_busy: Callable[[], bool], info: Callable[[str], None]
    ) -> None:
        self.pending: Interrupted | None = None
        self._is_busy = is_busy
        self._info = info
        self._held_off = False

    def __repr__(self) -> str:
        return "Interrupts(%s)" % self.pending

    def listen(self) -> None:
        """Handle both signals from now on; outside the main thread whoever runs us there handles
        them.
        """
        usual = sys.unraisablehook

        def send_again(lost: Any) -> None:
            """Send the signal once more when it came inside a callback that swallows exceptions."""
            if isinstance(lost.exc_value, Interrupted):
                os.kill(os.getpid(), lost.exc_value.number)
            else:
                usual(lost)

        sys.unraisablehook = send_again
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                signal.signal(number, self._handle)
            except ValueError:
                return

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held_off:
            return
        if self._is_busy() and self.pending is None:
            self.pending = Interrupted(number)
            self._info(
                "a paid start is on its way; waiting for its answer "
                "(interrupt again to leave it unknown)"
            )
            return
        raise Interrupted(number)

    @contextmanager
    def held_off(self) -> Iterator[None]:
        """Ignore signals: one in the middle of the document would leave half of it."""
        self._held_off = True
        try:
            yield
        finally:
            self._held_off = False

    def raise_pending(self) -> None:
        """Raise the interrupt that waited for a paid start, once no answer is waited for."""
        if self.pending is not None and not self._is_busy():
            raise self.pending
