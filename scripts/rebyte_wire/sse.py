"""Server-sent events: byte chunks -> lines -> events, as WHATWG HTML 9.2. No HTTP, no clock."""

from __future__ import annotations

import codecs
import re
from collections import namedtuple
from collections.abc import Iterable, Iterator

from rebyte_wire.errors import AnswerUnreadable

Event = namedtuple("Event", "event data id retry")

DIGITS = "[0-9]+"
MAX_RETRY_DIGITS = 9
MAX_EVENT_CHARS = 16 * 1024 * 1024


class Decoder:
    """Turns chunks, cut anywhere, into events.

    A block whose empty line at the end never comes is no event. `last_event_id` and `retry` (in
    milliseconds, or None) are what the stream has said so far.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending: list[str] = []
        self._after_cr = False
        self._at_start = True
        self._begin_block()

    def _begin_block(self) -> None:
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None
        self._block_retry: int | None = None
        self._held = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes and return the events they complete.

        AnswerUnreadable for an event that grows beyond MAX_EVENT_CHARS.
        """
        text = self._text.decode(chunk)
        self._held += len(text)
        if self._at_start and text:
            self._at_start = False
            if text.startswith("\ufeff"):
                text = text[1:]
        complete: list[Event] = []
        for line in self._lines(text):
            # Most lines are these two.
            if line[:6] == "data: ":
                self._data.append(line[6:])
            elif line:
                self._take_field(line)
            else:
                self._end_block(complete)
        if self._held > MAX_EVENT_CHARS:
            raise AnswerUnreadable(
                "An event of the stream is larger than {} characters.".format(
                    MAX_EVENT_CHARS
                )
            )
        return complete

    def _lines(self, text: str) -> list[str]:
        """Cut off the complete lines; pieces of an unfinished one are kept apart until it ends."""
        if self._after_cr and text:
            self._after_cr = False
            if text.startswith("\n"):
                text = text[1:]
        if "\r" in text:
            self._after_cr = text[-1] == "\r"
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        # Not splitlines, which cuts at characters that end no line here.
        lines = text.split("\n")
        self._pending.append(lines[0])
        if len(lines) == 1:
            return []
        lines[0] = "".join(self._pending)
        self._pending = [lines.pop()]
        return lines

    def _take_field(self, line: str) -> None:
        """Take one line into the block."""
        field, _, value = line.partition(":")
        if value.startswith(" "):
            value = value[1:]
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._event = value
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and re.fullmatch(DIGITS, value):
            # Clamped, because a server may send more digits than an integer should be made of.
            too_long = len(value) > MAX_RETRY_DIGITS
            self._block_retry = 10**MAX_RETRY_DIGITS if too_long else int(value)
            self.retry = self._block_retry
        else:
            # A comment, or what means nothing, is not kept.
            self._held -= len(line)

    def _end_block(self, complete: list[Event]) -> None:
        """Finish the block: its id counts from here on, and it is an event if it had data."""
        if self._id is not None:
            self.last_event_id = self._id
        if self._data:
            name = self._event or "message"
            data = "\n".join(self._data)
            complete.append(Event(name, data, self.last_event_id, self._block_retry))
        self._begin_block()


def events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Yield the events in an iterable of byte chunks."""
    decoder = Decoder()
    for chunk in chunks:
        yield from decoder.feed(chunk)
