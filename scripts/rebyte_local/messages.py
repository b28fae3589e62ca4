"""What comes in, a request and its body; what goes back, an answer or a refusal; and the checks that several nouns share."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

JSON_TYPE = "application/json; charset=utf-8"
JSON_LIMIT_BYTES = 8 * 1024 * 1024
PIECE_BYTES = 64 * 1024
LINE_LIMIT_BYTES = 4096
LIST_DEFAULT = 50
LIST_LIMIT = 100
UUID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE
)


class Answer:
    """A body of bytes, an open file of `length` bytes, or a generator of pieces, which may raise ConnectionCut."""

    def __init__(self, status, body=b"", content_type=JSON_TYPE, headers=None, length=None):
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers or {}
        self.length = len(body) if isinstance(body, bytes) else length


class ConnectionCut(Exception):
    """The connection is to be closed now, with nothing more said."""


class Refusal(Exception):
    """An error of the API: {"error":{"code","message"}}."""

    def __init__(self, status, code, message, headers=None):
        super().__init__(message)
        self.answer = json_answer(status, {"error": {"code": code, "message": message}}, headers)


class StorageRefusal(Refusal):
    """An error of the storage addresses, which speak XML as the real storage does."""

    def __init__(self, status, code, message):
        super().__init__(status, code, message)
        text = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code><Message>%s</Message></Error>"
        body = (text % (escape(code), escape(message))).encode("utf-8", "replace")
        self.answer = Answer(status, body, "application/xml; charset=UTF-8")


def json_answer(status, value, headers=None):
    """Any value as an answer, ASCII only so that any text can travel in it."""
    return Answer(status, json.dumps(value).encode("ascii"), headers=headers)


def no_content():
    """204 without a body."""
    return Answer(204)


def found(what, thing):
    """The thing, or the refusal for something absent, deleted or never there."""
    if not thing:
        raise Refusal(404, "not_found", "%s not found" % what)
    return thing


def invalid(message):
    """The refusal for a body, query or path that says something wrong."""
    return Refusal(400, "validation_error", message)


class Request:
    """What a route needs to know of a request; `params` are the parts of the path, decoded."""

    def __init__(self, method, target, headers, body):
        self.method = method
        self.path, _, query = target.partition("?")
        self.query = dict(parse_qsl(query, keep_blank_values=True))
        self.headers = headers
        self.body = body
        self.params = []


class Body:
    """The body of one request; `length` is None when it is chunked."""

    def __init__(self, rfile, headers):
        self._rfile = rfile
        self.received = 0
        coding = (headers.get("Transfer-Encoding") or "").strip().lower()
        lengths = headers.get_all("Content-Length") or []
        if coding and (coding != "chunked" or lengths):
            raise self._bad_framing("Transfer-Encoding must be chunked, and alone")
        if len(set(lengths)) > 1 or not all(
            re.fullmatch("[0-9]{1,18}", length.strip()) for length in lengths
        ):
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
                raise Refusal(
                    413, "validation_error", "the body is larger than %d bytes" % JSON_LIMIT_BYTES
                )
        try:
            value = json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError):
            raise invalid("the body is not JSON") from None
        if not isinstance(value, dict):
            raise invalid("the body must be a JSON object")
        return value


def is_uuid(text):
    """True for the one spelling of ids that the service uses."""
    return isinstance(text, str) and UUID.fullmatch(text) is not None


def check_text(body, name, limit=500):
    """An optional short string, None when absent."""
    value = body.get(name)
    if value is not None and (not isinstance(value, str) or not 0 < len(value) <= limit):
        raise invalid("%s must be a string of 1 to %d characters" % (name, limit))
    return value


def list_answer(request, find_page, show):
    """A listing: `limit` and `offset` as asked for, refused and not clamped beyond the documented bounds."""
    limit, offset = (
        _check_number(request, "limit", LIST_DEFAULT),
        _check_number(request, "offset", 0),
    )
    if not 1 <= limit <= LIST_LIMIT:
        raise invalid("limit must be between 1 and %d" % LIST_LIMIT)
    rows, total = find_page(limit, offset)
    return json_answer(200, {"data": show(rows), "total": total, "limit": limit, "offset": offset})


def _check_number(request, name, default):
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid("%s must be a whole number" % name)
    return int(text)
