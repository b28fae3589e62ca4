"""A stream of server-sent events over an open answer."""
from __future__ import annotations

from rebyte_wire.errors import AnswerUnreadable
from rebyte_wire.sse import events

EVENT_STREAM = "text/event-stream"


class EventStream:
    """Iterate it for events. A clean end just ends; a cut or `read_seconds` of silence raises NetworkError."""

    def __init__(self, answer):
        """Take over an open answer, which must be an event stream."""
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != EVENT_STREAM:
            answer.close()
            raise AnswerUnreadable("The answer (HTTP {}) is not an event stream but {!r}.".format(answer.status, kind[:60]),
                                   http_status=answer.status)
        self._answer = answer

    def chunks(self):
        """Yield the raw bytes as they arrive."""
        return iter(self._answer.read_some, b"")

    def __iter__(self):
        """Yield events as they complete."""
        return events(self.chunks())

    def close(self):
        """End the stream; callable from another thread, whose reader then ends quietly. The task runs on."""
        self._answer.close()

    def __enter__(self):
        """Close at the end of the block."""
        return self

    def __exit__(self, *_):
        """Close."""
        self.close()

    def __repr__(self):
        """Show how far it was read."""
        return "<EventStream of {!r}>".format(self._answer)
