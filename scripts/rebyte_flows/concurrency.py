"""Work beside the caller: the same for many items in lanes, and a stream read through a pump."""

from __future__ import annotations

import queue
import threading

from rebyte_wire.errors import EXIT_KEY, EXIT_RUNNING, RebyteError

JOIN_SECONDS = 0.2
# A refused key or a time that is over is the same for every item.
FINAL_EXIT_CODES = (EXIT_KEY, EXIT_RUNNING)
TIMEOUT, EOF, ERROR = object(), object(), object()
CHUNKS_AHEAD = 64


def map_concurrently(work, items, width):
    """Call `work(item)` for each item on at most `width` threads; return results or exceptions, in order.

    A refused key and the end of the time stop the rest and are raised once what runs has ended; an interrupt at once.
    """
    lanes = Lanes(work, list(items))
    if len(lanes.items) <= 1 or width <= 1:
        lanes.drive()
    else:
        threads = [
            threading.Thread(target=lanes.drive, daemon=True)
            for _ in range(min(width, len(lanes.items)))
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    # A wait with a limit lets signals through on every platform.
                    thread.join(JOIN_SECONDS)
        finally:
            lanes.stopped = True
    if lanes.final:
        raise lanes.final
    return lanes.outcomes


class Lanes:
    """Items on their way; each lane takes the next one until none is left."""

    def __init__(self, work, items):
        self.work, self.items, self.outcomes = work, items, [None] * len(items)
        self.final, self.stopped = None, False
        self._places, self._lock = iter(range(len(items))), threading.Lock()

    def __repr__(self):
        return "Lanes(%d items%s)" % (len(self.items), ", stopped" if self.stopped else "")

    def drive(self):
        """Work on one item after another."""
        while not self.stopped:
            with self._lock:
                place = next(self._places, None)
            if place is None:
                return
            try:
                self.outcomes[place] = self.work(self.items[place])
            except Exception as problem:
                self.outcomes[place] = problem
                if getattr(problem, "exit_code", None) in FINAL_EXIT_CODES:
                    self.final, self.stopped = self.final or problem, True


class BackgroundReader:
    """Chunks of an open stream through a bounded queue; close() ends the thread and the connection."""

    def __init__(self, stream):
        self._stream, self._closed = stream, False
        self._queue = queue.Queue(CHUNKS_AHEAD)
        self._thread = threading.Thread(target=self._run, name="rebyte-stream", daemon=True)
        self._thread.start()

    def __repr__(self):
        return "Pump(%s)" % ("closed" if self._closed else "running")

    def _run(self):
        last = EOF
        try:
            for chunk in self._stream.chunks():
                self._put(chunk)
                if self._closed:
                    return
        except RebyteError:
            last = ERROR
        except Exception:
            # Closing the connection under a reader ends it with whatever error the platform has.
            last = ERROR
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
            return TIMEOUT

    def close(self):
        """Stop reading and give the connection back."""
        self._closed = True
        self._stream.close()
        self._thread.join(2)
