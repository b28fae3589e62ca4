"""One moment after which a call, or a whole command, must not go on; shared by everything that waits."""
from __future__ import annotations

import time


class Deadline:
    """A moment on a monotonic clock, or never (`seconds=None`)."""

    __slots__ = ("_clock", "_moment")

    def __init__(self, seconds=None, clock=time.monotonic, started=None):
        """End `seconds` after `started` (a reading of the same clock), which is now unless given."""
        self._clock = clock
        self._moment = None if seconds is None else (clock() if started is None else started) + seconds

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
        return Deadline(left if seconds is None else seconds if left is None else min(left, seconds), self._clock)

    def __repr__(self):
        return "Deadline(never)" if self._moment is None else "Deadline({:.1f} s left)".format(self.left())
