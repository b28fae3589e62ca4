"""Requests with their bodies, responses, and errors in the shape of the API."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Generator
from email.message import Message
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from rebyte_local.formats import JsonObject

JSON_TYPE = "application/json; charset=utf-8"
JSON_LIMIT_BYTES = 8 * 1024 * 1024
DRAIN_LIMIT_BYTES = 64 * 1024 * 1024
PIECE_BYTES = 64 * 1024
CLOSE = {"Connection": "close"}
STORAGE_ERROR = (
    "<?xml version='1.0' encoding='UTF-8'?>"
    "<Error><Code>%s</Code><Message>%s</Message></Error>"
)


class Response:
    """An answer whose body is bytes; `length` is None when it is not known before it is sent."""

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        content_type: str = JSON_TYPE,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.length: int | None = len(body)
        self.content_type = content_type
        self.headers = headers or {}


class FileResponse(Response):
    """An answer whose body is an open file of `length` bytes, which is closed after sending."""

    def __init__(
        self,
        file: io.BufferedReader,
        length: int,
        content_type: str,
        headers: dict[str, str],
    ) -> None:
        super().__init__(200, b"", content_type, headers)
        self.file = file
        self.length = length


class StreamResponse(Response):
    """An answer whose body is generated piece by piece; raising DropConnection cuts it."""

    def __init__(
        self,
        pieces: Generator[bytes, None, None],
        content_type: str = JSON_TYPE,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(200, b"", content_type, headers)
        self.pieces = pieces
        self.length = None


class DropConnection(Exception):
    """The connection is to be closed at once, without an answer or in the middle of it."""


class ApiError(Exception):
    """An error of the API: {"error":{"code","message"}}."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.response = json_response(
            status, {"error": {"code": code, "message": message}}, headers
        )


class StorageError(ApiError):
    """An error of a signed address; these speak XML, as the real storage does."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, code, message)
        text = STORAGE_ERROR % (escape(code), escape(message))
        self.response = Response(
            status, text.encode("utf-8", "replace"), "application/xml; charset=UTF-8"
        )


def validation_error(message: str) -> ApiError:
    """Return the error for a body, query or path that says something wrong."""
    return ApiError(400, "validation_error", message)


def require(condition: object, message: str) -> None:
    """Raise ApiError 400 with this message unless the condition holds."""
    if not condition:
        raise validation_error(message)


def json_response(
    status: int, value: JsonObject, headers: dict[str, str] | None = None
) -> Response:
    """Return an object as an answer, in ASCII so that any text can travel in it."""
    return Response(status, json.dumps(value).encode("ascii"), headers=headers)


def no_content() -> Response:
    """Return 204 without a body."""
    return Response(204)


def one_line(header: str) -> str:
    """Return the value of a header that may be folded over several lines as one line."""
    return re.sub(r"\s*[\r\n]+\s*", " ", header).strip()


class Request:
    """A request as the routes see it; `params` are the variable parts of the path, decoded."""

    def __init__(self, method: str, target: str, headers: Message, body: Body) -> None:
        self.method = method
        self.path, _, query = target.partition("?")
        self.query = dict(parse_qsl(query, keep_blank_values=True))
        self.headers = headers
        self.body = body
        self.params: list[str] = []

    def header(self, name: str) -> str:
        """Return a header as one line, "" when it is absent."""
        return one_line(str(self.headers.get(name, "")))

    def json_object(self) -> JsonObject:
        """Read the whole body as a JSON object; raises ApiError 400 or 413."""
        raw = bytearray()
        for piece in iter(self.body.read, b""):
            raw += piece
            if len(raw) > JSON_LIMIT_BYTES:
                raise ApiError(
                    413,
                    "validation_error",
                    ("the body is larger than %d bytes" % JSON_LIMIT_BYTES),
                )
        try:
            value = json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError):
            raise validation_error("the body is not JSON") from None
        if not isinstance(value, dict):
            raise validation_error("the body must be a JSON object")
        return value

    def number(self, name: str, default: int) -> int:
        """Return a whole number of the query; raises ApiError 400 for anything else."""
        text = self.query.get(name, str(default))
        require(re.fullmatch("[0-9]{1,9}", text), "%s must be a whole number" % name)
        return int(text)


class Body:
    """The body of a request, `length` bytes long."""

    def __init__(self, file: io.BufferedIOBase, headers: Message) -> None:
        """Raises ApiError 411 without a length, 400 for a length in doubt."""
        self._file = file
        self.length = _content_length(headers)
        self.received = 0

    def read(self, size: int = PIECE_BYTES) -> bytes:
        """Return up to `size` bytes, b"" at the end; raises ApiError 400 for an early end."""
        wanted = min(size, self.length - self.received, PIECE_BYTES)
        if wanted == 0:
            return b""
        piece = self._file.read(wanted)
        if not piece:
            raise ApiError(400, "bad_request", "the body ended too early", CLOSE)
        self.received += len(piece)
        return piece

    def drain(self) -> bool:
        """Read and forget what was not read; return False when that is too much or cut off."""
        if self.length - self.received > DRAIN_LIMIT_BYTES:
            return False
        try:
            while self.read():
                pass
        except ApiError:
            return False
        return True


def _content_length(headers: Message) -> int:
    if headers.get("Transfer-Encoding"):
        raise ApiError(
            411,
            "length_required",
            "the body must come with a Content-Length, not with a Transfer-Encoding",
            CLOSE,
        )
    lengths = headers.get_all("Content-Length") or ["0"]
    if len(set(lengths)) > 1 or not re.fullmatch("[0-9]{1,18}", lengths[0].strip()):
        raise ApiError(400, "bad_request", "Content-Length must be one number", CLOSE)
    return int(lengths[0])
