"""What a person sees while something works, on stderr: how far bytes have come, and what a task does."""

from __future__ import annotations

import os
import threading
import time

from rebyte_commands.output import escape_controls, escape_non_ascii, is_terminal
from rebyte_flows.following.events import event_text

TERMINAL_SECONDS, PLAIN_SECONDS = 0.2, 5
# What is over in a moment needs no words.
SILENT_SECONDS = 1
UNITS = ("bytes", "kB", "MB", "GB", "TB")
ERASE = "\r\x1b[K"
PLAIN_EVERY_SECONDS = 10
REDRAW_SECONDS = 0.1
MARKS = {"tool_use": "> ", "tool_result": "< ", "ask_user_question": "? ", "stderr": "! "}


class Meter:
    """Counts bytes from any thread: meter(count). Says nothing with --quiet; end() leaves a clean line behind."""

    def __init__(self, context, what, total=None, clock=time.monotonic):
        self.context, self.what, self.total, self.clock = context, what, total, clock
        self.moved, self.began, self.shown = 0, clock(), False
        self.terminal, self.quiet = is_terminal(context.stderr), context.options.quiet
        self._next, self._lock = (
            self.began + (SILENT_SECONDS if self.terminal else PLAIN_SECONDS),
            threading.Lock(),
        )

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
        return "%s: %s of %s, %s/s, %s" % (
            self.what,
            amount(done),
            amount(self.total),
            amount(rate),
            left,
        )

    def _show(self, words):
        if not self.terminal:
            self.context.say(words)
            return
        self._write(ERASE + words)
        self.shown = True

    def _write(self, text):
        self.quiet = self.quiet or not written(self.context.stderr, text)

    def end(self):
        """Take the moving line away."""
        with self._lock:
            if self.shown:
                self._write(ERASE)
            self.quiet = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def written(stream, text) -> bool:
    """Write to a terminal and say whether it is still there."""
    try:
        stream.write(text)
        stream.flush()
        return True
    except (OSError, ValueError):
        return False


def amount(count):
    """Return a number of bytes in the unit that a person reads."""
    place = 0
    while count >= 1000 and place < len(UNITS) - 1:
        count, place = count / 1000, place + 1
    return "%.*f %s" % (1 if place else 0, count, UNITS[place])


class Progress:
    """Called with each event; close() leaves the terminal clean. Off a terminal one plain line every 10 s."""

    def __init__(self, context, keep=None):
        self.context, self.keep, self.count = context, keep, 0
        self.began = self.drawn = time.monotonic()
        self.terminal = is_terminal(context.stderr) and not context.options.quiet
        self.line = ""

    def __call__(self, event):
        """Tell one event."""
        self.count += 1
        if self.keep is not None:
            self.keep.append(event)
        now = time.monotonic()
        if not self.terminal:
            if now - self.drawn >= PLAIN_EVERY_SECONDS:
                self.drawn = now
                self.context.say(
                    "still at work after %d s, %d events so far" % (now - self.began, self.count)
                )
            return
        if event.get("eventType") == "tool_use":
            self._write(ERASE + self._cut("  " + brief(event)) + "\n")
        self.line = brief(event)
        if now - self.drawn >= REDRAW_SECONDS:
            self.drawn = now
            self._write(ERASE + self._cut("  %3d s  %s" % (now - self.began, self.line)))

    def close(self):
        """Take the changing line away."""
        if self.terminal and self.count:
            self._write(ERASE)

    def _cut(self, text):
        try:
            width = os.get_terminal_size(self.context.stderr.fileno()).columns
        except (OSError, ValueError):
            width = 80
        text = escape_non_ascii(escape_controls(text))
        return text if len(text) < width else text[: width - 4] + "..."

    def _write(self, text):
        self.terminal = written(self.context.stderr, text)


def brief(event, width=400):
    """Return one event as one short line for a person."""
    payload = event.get("payload") if isinstance(event.get("payload"), dict) else {}
    text = (
        event_text(event)
        or payload.get("name")
        or payload.get("tool_name")
        or payload.get("output")
        or payload.get("question")
        or ""
    )
    text = " ".join(str(text).split())
    kind = str(event.get("eventType"))
    mark = MARKS.get(kind, "" if text else kind + " ")
    return mark + (text if len(text) <= width else text[:width] + "...")
