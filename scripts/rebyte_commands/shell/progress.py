"""What a person sees on stderr while something works: how far bytes have come, and what a task
does.
"""

from __future__ import annotations

import os
import threading
import time

from rebyte_commands.shell.output import (
    escape_controls,
    escape_non_ascii,
    is_terminal,
    write_quietly,
)
from rebyte_flows.following.events import event_text, payload_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from rebyte_commands.shell.context import Context
    from rebyte_types import Event

# What is over in a moment needs no words; off a terminal they are rarer.
TERMINAL_SECONDS = 0.2
PLAIN_SECONDS = 10.0
ERASE = "\r\x1b[K"
USUAL_COLUMNS = 80
LINE_CHARACTERS = 400
MARKS = {
    "tool_use": "> ",
    "tool_result": "< ",
    "ask_user_question": "? ",
    "stderr": "! ",
}
UNITS = ("bytes", "kB", "MB", "GB", "TB")


def one_line(event: Event) -> str:
    """Return one event as one short line for a person."""
    payload = payload_of(event)
    text = event_text(event) or payload.get("name") or payload.get("tool_name") or ""
    text = " ".join(str(text).split())
    kind = str(event.get("eventType"))
    mark = MARKS.get(kind, "" if text else kind + " ")
    if len(text) > LINE_CHARACTERS:
        text = text[:LINE_CHARACTERS] + "..."
    return mark + text


class StatusLine:
    """One line that is drawn over and over on a terminal; off a terminal, now and then a plain
    line.
    """

    def __init__(
        self, context: Context, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.stream = context.console.stderr
        self.info = context.info
        self.clock = clock
        self.quiet = context.console.quiet
        self.on_terminal = is_terminal(self.stream)
        self.began = clock()
        self._next = self.began + self._interval()
        self._is_drawn = False

    def __repr__(self) -> str:
        return "StatusLine(%s)" % ("drawn" if self._is_drawn else "empty")

    def _interval(self) -> float:
        return TERMINAL_SECONDS if self.on_terminal else PLAIN_SECONDS

    def show(self, text: Callable[[float], str]) -> None:
        """Show `text(seconds)` unless something was shown a moment ago."""
        now = self.clock()
        if self.quiet or now < self._next:
            return
        self._next = now + self._interval()
        words = text(now - self.began)
        if self.on_terminal:
            self._is_drawn = True
            self.quiet = not write_quietly(self.stream, ERASE + self._fit(words))
        else:
            self.info(words)

    def erase(self) -> None:
        """Take the line away."""
        if self._is_drawn:
            self._is_drawn = False
            write_quietly(self.stream, ERASE)

    def _fit(self, text: str) -> str:
        """Return foreign text as one line of the terminal."""
        try:
            width = (
                os.get_terminal_size(self.stream.fileno()).columns if self.stream else 0
            )
        except (OSError, ValueError):
            width = USUAL_COLUMNS
        text = escape_non_ascii(escape_controls(text))
        return text if len(text) < width else text[: width - 4] + "..."


class Meter:
    """Counts bytes from any thread: meter(count). end() leaves a clean line behind."""

    def __init__(
        self,
        context: Context,
        what: str,
        total: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what = what
        self.total = total
        self.moved = 0
        self._line = StatusLine(context, clock)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "Meter(%s)" % self.words()

    def __call__(self, count: int) -> None:
        """Note that so many bytes more have moved."""
        with self._lock:
            self.moved += count
            self._line.show(lambda seconds: self.words())

    def words(self) -> str:
        """Return how far it has come as a few words."""
        if not self.total:
            return "%s: %s" % (self.what, amount(self.moved))
        # Bytes sent again after a cut are no progress.
        done = min(self.moved, self.total)
        return "%s: %s of %s" % (self.what, amount(done), amount(self.total))

    def end(self) -> None:
        """Take the moving line away."""
        with self._lock:
            self._line.erase()

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def amount(count: float) -> str:
    """Return a number of bytes in the unit that a person reads."""
    place = 0
    while count >= 1000 and place < len(UNITS) - 1:
        count /= 1000
        place += 1
    return "%.*f %s" % (1 if place else 0, count, UNITS[place])


class Progress:
    """Told of each event of a task; `kept` collects them where `keep` says so.

    close() clears the line.
    """

    def __init__(self, context: Context, keep: bool = False) -> None:
        self.kept: list[Event] = []
        self.count = 0
        self._keep = keep
        self._line = StatusLine(context)

    def __repr__(self) -> str:
        return "Progress(%d events)" % self.count

    def __call__(self, event: Event) -> None:
        """Tell one event."""
        self.count += 1
        if self._keep:
            self.kept.append(event)
        if self._line.on_terminal:
            self._line.show(lambda seconds: "  %3d s  %s" % (seconds, one_line(event)))
        else:
            self._line.show(self._words)

    def _words(self, seconds: float) -> str:
        return "still at work after %d s, %d events so far" % (seconds, self.count)

    def close(self) -> None:
        """Take the changing line away."""
        self._line.erase()
