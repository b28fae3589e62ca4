"""What a route may give back: a whole answer, a file, a stream, or a refusal."""
from __future__ import annotations

import json
from xml.sax.saxutils import escape

JSON_TYPE = "application/json; charset=utf-8"


class Answer:
    """A whole answer; head and body leave in one write."""

    def __init__(self, status, body=b"", content_type=JSON_TYPE, headers=None):
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = dict(headers or {})
        self.cut_at = None  # number of body bytes to send before the connection is closed


class FileAnswer:
    """A file from the disk, sent in pieces with its Content-Length."""

    def __init__(self, path, length, content_type, headers=None):
        self.status = 200
        self.path = path
        self.length = length
        self.content_type = content_type
        self.headers = dict(headers or {})


class StreamAnswer:
    """Chunks sent as they come; a ConnectionCut raised by the iterator cuts the connection."""

    def __init__(self, chunks, content_type, headers=None):
        self.status = 200
        self.chunks = chunks
        self.content_type = content_type
        self.headers = dict(headers or {})


class ConnectionCut(Exception):
    """The connection is to be closed now, with nothing more said."""


class Refusal(Exception):
    """An error of the API: {"error":{"code","message"}}."""

    def __init__(self, status, code, message, headers=None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers

    def answer(self):
        """The refusal as an answer."""
        return json_answer(self.status, {"error": {"code": self.code, "message": self.message}}, self.headers)


class StorageRefusal(Exception):
    """An error of the storage addresses, which speak XML as the real storage does."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def answer(self):
        """The refusal as an answer."""
        text = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code><Message>%s</Message></Error>" % (
            escape(self.code), escape(self.message))
        return Answer(self.status, text.encode("utf-8", "replace"), "application/xml; charset=UTF-8")


def json_answer(status, value, headers=None):
    """A JSON answer, ASCII only so that any text can travel in it."""
    return Answer(status, json.dumps(value).encode("ascii"), headers=headers)


def no_content():
    """204 without a body."""
    return Answer(204, b"", None)


def not_found(what):
    """The refusal for something absent, deleted or never there."""
    return Refusal(404, "not_found", "%s not found" % what)


def invalid(message):
    """The refusal for a body, query or path that says something wrong."""
    return Refusal(400, "validation_error", message)
