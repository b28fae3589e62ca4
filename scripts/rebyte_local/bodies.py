"""Request bodies: Content-Length or chunked, read in pieces, and drained when nobody wants them."""
from __future__ import annotations

import json

from rebyte_local.answers import Refusal, invalid

JSON_LIMIT_BYTES = 8 * 1024 * 1024
PIECE_BYTES = 64 * 1024
LINE_LIMIT_BYTES = 4096


class Body:
    """The body of one request; `length` is None when it is chunked."""

    def __init__(self, rfile, headers):
        self._rfile = rfile
        self.received = 0
        coding = (headers.get("Transfer-Encoding") or "").strip().lower()
        lengths = headers.get_all("Content-Length") or []
        if coding and (coding != "chunked" or lengths):
            raise self._bad_framing("Transfer-Encoding must be chunked, and alone")
        if len(set(lengths)) > 1 or (lengths and not (lengths[0].isascii() and lengths[0].strip().isdigit())):
            raise self._bad_framing("Content-Length must be one number")
        self.length = None if coding else int(lengths[0]) if lengths else 0
        self._left = self.length or 0
        self.ended = self.length == 0

    def _bad_framing(self, message):
        self.ended = True
        return Refusal(400, "bad_request", message, {"Connection": "close"})

    def read(self, size=PIECE_BYTES):
        """Up to `size` bytes, b"" at the end; a body that stops too early is a bad request."""
        if not self.ended and self._left == 0:
            self._next_chunk()
        if self.ended:
            return b""
        piece = self._rfile.read(min(size, self._left, PIECE_BYTES))
        if not piece:
            raise self._bad_framing("the body ended too early")
        self._left -= len(piece)
        self.received += len(piece)
        if self._left == 0 and self.length is None:
            self._line()
        elif self._left == 0:
            self.ended = True
        return piece

    def _line(self):
        line = self._rfile.readline(LINE_LIMIT_BYTES)
        if not line.endswith(b"\n"):
            raise self._bad_framing("the body is not well chunked")
        return line.strip()

    def _next_chunk(self):
        digits = self._line().split(b";")[0].strip()
        if not 0 < len(digits) <= 15 or digits.strip(b"0123456789abcdefABCDEF"):
            raise self._bad_framing("the body is not well chunked")
        self._left = int(digits, 16)
        if self._left == 0:
            while self._line():
                pass  # trailers are read and forgotten
            self.ended = True

    def drain(self, limit):
        """Read and forget what is left of at most `limit` bytes; True when the end was reached."""
        if (self.length or 0) > limit:
            return self.ended
        try:
            while not self.ended and limit > 0:
                limit -= len(self.read())
        except Refusal:
            return False
        return self.ended

    def json_object(self):
        """The whole body as a JSON object, or a refusal."""
        raw = bytearray()
        for piece in iter(self.read, b""):
            raw += piece
            if len(raw) > JSON_LIMIT_BYTES:
                raise Refusal(413, "validation_error", "the body is larger than %d bytes" % JSON_LIMIT_BYTES)
        try:
            value = json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError):
            raise invalid("the body is not JSON") from None
        if not isinstance(value, dict):
            raise invalid("the body must be a JSON object")
        return value
