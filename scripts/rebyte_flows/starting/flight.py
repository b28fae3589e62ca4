"""Which paid starts are in the air: an interrupt has to wait for their answers."""

from __future__ import annotations

import threading


class Flight:
    """Counts paid starts whose bytes may have left and whose answer is not in; `pending` is an interrupt that waits."""

    def __init__(self):
        self._count, self._lock = 0, threading.Lock()
        self.pending = None

    def __repr__(self):
        return "Flight(%d in the air)" % self._count

    @property
    def busy(self):
        """True while at least one start is in the air."""
        return self._count > 0

    def change(self, by):
        """Count one start more or less."""
        with self._lock:
            self._count += by
