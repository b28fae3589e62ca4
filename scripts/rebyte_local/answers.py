"""What a route may give back, an answer or a refusal, and the checks that several nouns share."""
from __future__ import annotations

import json
import re
from xml.sax.saxutils import escape

JSON_TYPE = "application/json; charset=utf-8"
LIST_DEFAULT = 50
LIST_LIMIT = 100
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


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
    """A JSON answer, ASCII only so that any text can travel in it."""
    return Answer(status, json.dumps(value).encode("ascii"), headers=headers)


def no_content():
    """204 without a body."""
    return Answer(204)


def not_found(what):
    """The refusal for something absent, deleted or never there."""
    return Refusal(404, "not_found", "%s not found" % what)


def invalid(message):
    """The refusal for a body, query or path that says something wrong."""
    return Refusal(400, "validation_error", message)


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
    limit, offset = _check_number(request, "limit", LIST_DEFAULT), _check_number(request, "offset", 0)
    if not 1 <= limit <= LIST_LIMIT:
        raise invalid("limit must be between 1 and %d" % LIST_LIMIT)
    rows, total = find_page(limit, offset)
    return json_answer(200, {"data": show(rows), "total": total, "limit": limit, "offset": offset})


def _check_number(request, name, default):
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid("%s must be a whole number" % name)
    return int(text)
