"""Server-sent events: byte chunks -> lines -> events, as WHATWG HTML 9.2 has it. No HTTP, no clock."""

from __future__ import annotations

import codecs
import re
from collections import namedtuple

Event = namedtuple("Event", "event data id retry")

DIGITS = "[0-9]+"
MAX_RETRY_DIGITS = 9


class Decoder:
    """Turns chunks, cut anywhere, into events; a block without its empty line at the end is never told."""

    def __init__(self):
        self.last_event_id = ""
        self.retry = None
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = []
        self._after_cr = False
        self._at_start = True
        self._forget_block()

    def feed(self, chunk: bytes) -> list:
        """Take the next bytes and return the events they complete."""
        text = self._text.decode(chunk)
        if self._at_start and text:
            self._at_start = False
            text = text[1:] if text[0] == "\ufeff" else text
        told = []
        for line in self._lines(text):
            # Most lines are these two.
            if line[:6] == "data: ":
                self._data.append(line[6:])
            elif line:
                self._take_field(line)
            else:
                self._end_block(told)
        return told

    def _lines(self, text) -> list:
        """Cut off the complete lines; pieces of an unfinished one are kept apart, so that long lines stay linear."""
        if self._after_cr and text:
            self._after_cr = False
            text = text[1:] if text[0] == "\n" else text
        if "\n" not in text and "\r" not in text:
            self._pending.append(text)
            return []
        if "\r" in text:
            self._after_cr = text[-1] == "\r"
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        # Not splitlines, which cuts at characters that end no line here.
        lines = text.split("\n")
        lines[0] = "".join(self._pending) + lines[0]
        self._pending = [lines.pop()]
        return lines

    def _take_field(self, line):
        """Take one line into the block."""
        field, _, value = line.partition(":")
        value = value[1:] if value[:1] == " " else value
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._event = value
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and re.fullmatch(DIGITS, value):
            # Clamped, because a server may send more digits than an integer should be made of.
            self.retry = self._retry = (
                int(value) if len(value) <= MAX_RETRY_DIGITS else 10**MAX_RETRY_DIGITS
            )

    def _end_block(self, told):
        """Finish the block: its id counts from here on, and it is an event if it had data."""
        if self._id is not None:
            self.last_event_id = self._id
        if self._data:
            told.append(
                Event(
                    self._event or "message", "\n".join(self._data), self.last_event_id, self._retry
                )
            )
        self._forget_block()

    def _forget_block(self):
        """Begin the next block."""
        self._event, self._data, self._id, self._retry = "", [], None, None


def events(chunks):
    """Yield the events in an iterable of byte chunks."""
    decoder = Decoder()
    for chunk in chunks:
        yield from decoder.feed(chunk)
