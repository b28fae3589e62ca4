"""A stream read by a thread of its own, so that whoever waits for it can look at a clock."""

from __future__ import annotations

import queue
import threading

from rebyte_wire.errors import AnswerUnreadable
from rebyte_wire.sse import Decoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from rebyte_wire.responses import EventStream
    from rebyte_wire.sse import Event as Frame

TIMEOUT, EOF, ERROR = object(), object(), object()
DONE = "done"
# Frames of any other name are keep-alives of some service or proxy.
EVENT_FRAMES = ("event", "message", DONE)
CHUNKS_AHEAD = 64
PUT_SECONDS = 0.5
JOIN_SECONDS = 2
# A frame without an end would be kept in memory until it has one.
FRAME_LIMIT_BYTES = 16 * 1024 * 1024


class BackgroundReader:
    """Opens a stream and reads it in a thread: get() gives its chunks, close() ends both.

    `problem` is the exception that ended it, None before and after a clean end.
    """

    def __init__(self, open_stream: Callable[[], EventStream]) -> None:
        self.problem: Exception | None = None
        self._open_stream = open_stream
        self._stream: EventStream | None = None
        self._closed = False
        self._queue: queue.Queue[Any] = queue.Queue(CHUNKS_AHEAD)
        self._thread = threading.Thread(
            target=self._run, name="rebyte-stream", daemon=True
        )
        self._thread.start()

    def __repr__(self) -> str:
        return "BackgroundReader(%s)" % ("closed" if self._closed else "running")

    @property
    def opened(self) -> bool:
        """Whether the service has answered with a stream."""
        return self._stream is not None

    def _run(self) -> None:
        try:
            self._stream = self._open_stream()
            chunks = iter(()) if self._closed else self._stream.chunks()
            for chunk in chunks:
                self._put(chunk)
                if self._closed:
                    break
        except Exception as problem:
            # Closing the connection under a reader ends it with whatever the platform raises.
            self.problem = problem
        if self._closed and self._stream is not None:
            self._stream.close()
        self._put(ERROR if self.problem else EOF)

    def _put(self, item: Any) -> None:
        while not self._closed:
            try:
                self._queue.put(item, timeout=PUT_SECONDS)
                return
            except queue.Full:
                continue

    def get(self, seconds: float) -> Any:
        """Return the next chunk, EOF, ERROR, or TIMEOUT when none came for so many seconds."""
        try:
            return self._queue.get(timeout=max(seconds, 0.001))
        except queue.Empty:
            return TIMEOUT

    def close(self) -> None:
        """Stop reading and give the connection back; one that is still awaited ends by itself."""
        self._closed = True
        if self._stream is not None:
            self._stream.close()
            self._thread.join(JOIN_SECONDS)


def frames(
    reader: BackgroundReader,
    left: Callable[[], float],
) -> Iterator[Frame | None]:
    """Yield the frames that are events or `done`, and None whenever `left()` seconds have passed.

    Ends with the stream. A frame larger than FRAME_LIMIT_BYTES counts as a cut.
    """
    decoder = Decoder()
    unfinished = 0
    while True:
        chunk = reader.get(left())
        if chunk in (EOF, ERROR):
            return
        if chunk is TIMEOUT:
            yield None
            continue
        completed = decoder.feed(chunk)
        yield from (frame for frame in completed if frame.event in EVENT_FRAMES)
        unfinished = 0 if completed else unfinished + len(chunk)
        if unfinished > FRAME_LIMIT_BYTES:
            reader.problem = AnswerUnreadable("an event of the stream has no end")
            return
        if left() <= 0:
            yield None
