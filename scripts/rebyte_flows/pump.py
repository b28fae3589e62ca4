"""Reads a stream in a thread of its own, so that the caller can wait for bytes with a limit and never lose any."""
from __future__ import annotations

import queue
import threading

from rebyte_wire.errors import RebyteError

QUIET, ENDED, CUT = object(), object(), object()
CHUNKS_AHEAD = 64


class Pump:
    """Chunks of an open stream through a bounded queue; close() ends the thread and the connection."""

    def __init__(self, stream):
        self._stream, self._closed = stream, False
        self._queue = queue.Queue(CHUNKS_AHEAD)
        self._thread = threading.Thread(target=self._run, name="rebyte-stream", daemon=True)
        self._thread.start()

    def __repr__(self):
        return "Pump(%s)" % ("closed" if self._closed else "running")

    def _run(self):
        last = ENDED
        try:
            for chunk in self._stream.chunks():
                self._put(chunk)
                if self._closed:
                    return
        except RebyteError:
            last = CUT
        except Exception:
            # Closing the connection under a reader ends it with whatever error the platform has.
            last = CUT
        self._put(last)

    def _put(self, item):
        while not self._closed:
            try:
                self._queue.put(item, timeout=0.5)
                return
            except queue.Full:
                continue

    def get(self, seconds):
        """Return the next chunk, ENDED, CUT, or QUIET when nothing came for so many seconds."""
        try:
            return self._queue.get(timeout=max(seconds, 0.001))
        except queue.Empty:
            return QUIET

    def close(self):
        """Stop reading and give the connection back."""
        self._closed = True
        self._stream.close()
        self._thread.join(2)
