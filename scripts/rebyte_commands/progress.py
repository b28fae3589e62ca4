"""How far bytes have come, told on stderr: one line that moves on a terminal, a plain one now and then elsewhere."""
from __future__ import annotations

import threading
import time

from rebyte_commands.session import is_terminal

TERMINAL_SECONDS, PLAIN_SECONDS = 0.2, 5
# What is over in a moment needs no words.
SILENT_SECONDS = 1
UNITS = ("bytes", "kB", "MB", "GB", "TB")
CLEAR_LINE = "\r\x1b[K"


class Meter:
    """Counts bytes from any thread: meter(count). Says nothing with --quiet; end() leaves a clean line behind."""

    def __init__(self, session, what, total=None, clock=time.monotonic):
        self.session, self.what, self.total, self.clock = session, what, total, clock
        self.moved, self.began, self.shown = 0, clock(), False
        self.terminal, self.quiet = is_terminal(session.stderr), session.options.quiet
        self._next, self._lock = self.began + (SILENT_SECONDS if self.terminal else PLAIN_SECONDS), threading.Lock()

    def __repr__(self):
        return "Meter(%s)" % self.words()

    def __call__(self, count):
        """Note that so many bytes more have moved."""
        with self._lock:
            self.moved += count
            now = self.clock()
            if self.quiet or now < self._next:
                return
            self._next = now + (TERMINAL_SECONDS if self.terminal else PLAIN_SECONDS)
            self._show(self.words(now))

    def words(self, now=None):
        """Return bytes, rate and time left as a few words."""
        seconds = max((self.clock() if now is None else now) - self.began, 0.001)
        rate = self.moved / seconds
        if not self.total:
            return "%s: %s, %s/s" % (self.what, amount(self.moved), amount(rate))
        # Bytes sent again after a cut are no progress.
        done = min(self.moved, self.total)
        left = "%d s left" % round((self.total - done) / rate) if rate else "time left unknown"
        return "%s: %s of %s, %s/s, %s" % (self.what, amount(done), amount(self.total), amount(rate), left)

    def _show(self, words):
        if not self.terminal:
            self.session.say(words)
            return
        self._write(CLEAR_LINE + words)
        self.shown = True

    def _write(self, text):
        try:
            self.session.stderr.write(text)
            self.session.stderr.flush()
        except (OSError, ValueError):
            self.quiet = True

    def end(self):
        """Take the moving line away."""
        with self._lock:
            if self.shown:
                self._write(CLEAR_LINE)
            self.quiet = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def amount(count):
    """Return a number of bytes in the unit that a person reads."""
    place = 0
    while count >= 1000 and place < len(UNITS) - 1:
        count, place = count / 1000, place + 1
    return "%.*f %s" % (1 if place else 0, count, UNITS[place])
