"""What a person sees while a task works: one line that changes in place, and a lasting line for each tool; else plain lines."""
from __future__ import annotations

import os
import time

from rebyte_commands.output import harmless
from rebyte_commands.session import ascii_text, is_terminal
from rebyte_flows.stream import words_of

PLAIN_EVERY_SECONDS = 10
REDRAW_SECONDS = 0.1
ERASE = "\r\x1b[K"
MARKS = {"tool_use": "> ", "tool_result": "< ", "ask_user_question": "? ", "stderr": "! "}


class Progress:
    """Called with each event; close() leaves the terminal clean. Off a terminal one plain line every 10 s."""

    def __init__(self, session, keep=None):
        self.session, self.keep, self.count = session, keep, 0
        self.began = self.drawn = time.monotonic()
        self.terminal = is_terminal(session.stderr) and not session.options.quiet
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
                self.session.say("still at work after %d s, %d events so far" % (now - self.began, self.count))
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
            width = os.get_terminal_size(self.session.stderr.fileno()).columns
        except (OSError, ValueError):
            width = 80
        text = ascii_text(harmless(text))
        return text if len(text) < width else text[:width - 4] + "..."

    def _write(self, text):
        try:
            self.session.stderr.write(text)
            self.session.stderr.flush()
        except (OSError, ValueError):
            self.terminal = False


def brief(event, width=400):
    """Return one event as one short line for a person."""
    payload = event.get("payload") if isinstance(event.get("payload"), dict) else {}
    text = words_of(payload) or payload.get("name") or payload.get("tool_name") or payload.get("output") or payload.get("question") or ""
    text = " ".join(str(text).split())
    mark = MARKS.get(event.get("eventType"), "" if text else "%s " % event.get("eventType"))
    return mark + (text if len(text) <= width else text[:width] + "...")
