"""Request bodies: Content-Length or chunked, read in pieces, drained when nobody wants them."""
from __future__ import annotations

import json

from rebyte_local.answers import Refusal, invalid

JSON_LIMIT_BYTES = 8 * 1024 * 1024
PIECE_BYTES = 64 * 1024
LINE_LIMIT_BYTES = 4096


def _bad_framing(message):
    return Refusal(400, "bad_request", message, {"Connection": "close"})


class Body:
    """The body of one request; `length` is None when it is chunked."""

    def __init__(self, rfile, headers):
        self._rfile = rfile
        self.received = 0
        coding = (headers.get("Transfer-Encoding") or "").strip().lower()
        lengths = headers.get_all("Content-Length") or []
        self._chunked = bool(coding)
        if coding and (coding != "chunked" or lengths):
            raise _bad_framing("Transfer-Encoding must be chunked, and alone")
        if len(set(lengths)) > 1 or (lengths and not (lengths[0].isascii() and lengths[0].strip().isdigit())):
            raise _bad_framing("Content-Length must be one number")
        self.length = None if coding else int(lengths[0]) if lengths else 0
        self._left = 0 if coding else self.length
        self._ended = not coding and self._left == 0

    @property
    def ended(self):
        """True when every byte of the body was read."""
        return self._ended

    def read(self, size=PIECE_BYTES):
        """Up to `size` bytes, b"" at the end; a body that stops too early is a bad request."""
        if self._ended:
            return b""
        if self._chunked and self._left == 0 and not self._next_chunk():
            return b""
        piece = self._rfile.read(min(size, self._left, PIECE_BYTES))
        if not piece:
            self._ended = True
            raise _bad_framing("the body ended too early")
        self._left -= len(piece)
        self.received += len(piece)
        if self._chunked:
            if self._left == 0:
                self._line()
        elif self._left == 0:
            self._ended = True
        return piece

    def _line(self):
        line = self._rfile.readline(LINE_LIMIT_BYTES)
        if not line.endswith(b"\n"):
            self._ended = True
            raise _bad_framing("the body is not well chunked")
        return line.strip()

    def _next_chunk(self):
        digits = self._line().split(b";")[0].strip()
        try:
            if not digits or len(digits) > 15 or digits.strip(b"0123456789abcdefABCDEF"):
                raise ValueError(digits)
            self._left = int(digits, 16)
        except ValueError:
            self._ended = True
            raise _bad_framing("the body is not well chunked") from None
        if self._left == 0:
            while self._line():
                pass  # trailers are read and forgotten
            self._ended = True
        return not self._ended

    def drain(self, limit):
        """Read and forget what is left, at most `limit` bytes; True when the end was reached."""
        try:
            while not self._ended and limit > 0:
                limit -= len(self.read())
        except Refusal:
            return False
        return self._ended

    def whole(self, limit=JSON_LIMIT_BYTES):
        """The whole body in memory; longer than `limit` is refused."""
        pieces = []
        while True:
            piece = self.read()
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            if self.received > limit:
                raise Refusal(413, "validation_error", "the body is larger than %d bytes" % limit)

    def json_object(self):
        """The body as a JSON object, or a validation_error."""
        raw = self.whole()
        try:
            value = json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError):
            raise invalid("the body is not JSON") from None
        if not isinstance(value, dict):
            raise invalid("the body must be a JSON object")
        return value
