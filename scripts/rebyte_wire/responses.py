"""An answer of the service: its body read to the true end, its JSON, or the error that its status stands for."""

from __future__ import annotations

import json
import re

from rebyte_wire.errors import (
    AnswerUnreadable,
    AuthError,
    NetworkError,
    NotFound,
    RateLimited,
    RequestRefused,
    RouteMissing,
    ServerError,
    StorageRefused,
)
from rebyte_wire.failures import map_exceptions
from rebyte_wire.retry import is_passing, retry_after_seconds
from rebyte_wire.sse import events

EVENT_STREAM = "text/event-stream"
BYTE_ORDER_MARK = "\ufeff"
CHUNK_BYTES = 64 * 1024
MAX_JSON_BYTES, MAX_ERROR_BYTES = 8 * 1024 * 1024, 64 * 1024
MAX_MESSAGE_CHARS = 300
# Compiled when an answer has to be explained; most have not.
SIGNATURE = (
    r"(?i)((?:x-goog-|x-amz-)?(?:signature|credential|security-token)|sig|token|key)=[^&\s\"'<>]+"
)
CODE = r"[A-Za-z0-9_.-]{1,64}"
XML_CODE = r"<Code>([A-Za-z0-9_.-]{1,64})</Code>"
# How servers say that a path is none of theirs, even in the shape of an error of the API.
NO_ROUTE = r"(?i)route\b|cannot (get|post|put|patch|delete)\b|no such (route|endpoint)"
DEFAULT_CODES = {401: "invalid_api_key", 403: "forbidden"}
HINTS = {
    401: "Check the key. If it is right, a proxy may drop header names with an underscore (API_KEY), as nginx does by default.",
    402: "The organization may be out of credit; see https://app.rebyte.ai.",
    403: "The key may lack the scope for this; see https://app.rebyte.ai/settings/api-keys.",
}


class Response:
    """An answer whose head is in: status, headers, length (None if not told), and a body to read to its true end."""

    def __init__(self, response, line, pool, call):
        self.status, self.headers, self.length = response.status, response.headers, response.length
        self.received, self.closed, self.complete = 0, False, False
        self._response, self._line, self._pool, self._call = response, line, pool, call

    def read(self, size=CHUNK_BYTES) -> bytes:
        """Return up to `size` bytes, b"" only at the end; a body shorter than told raises NetworkError(short_body)."""
        return self._more(self._take(lambda: self._response.read(size), "short_body"))

    def readinto(self, buffer) -> int:
        """Fill a buffer as far as there are bytes, and return how many; else as read."""
        return (
            self._more(self._take(lambda: self._response.readinto(buffer), "short_body", int)) or 0
        )

    def _more(self, chunk):
        """Return what was read, unless that is nothing because somebody closed the answer too early."""
        if not chunk and not self.complete:
            raise NetworkError(
                "The answer was closed before it was read to its end.", code="short_body"
            )
        return chunk

    def _take(self, read, cut, size_of=len):
        """Read a chunk and count it; at the end compare the count and give the connection back."""
        try:
            with map_exceptions(self._call, cut):
                chunk = read()
            self.received += size_of(chunk)
            if self.closed or chunk and not self._response.isclosed():
                return chunk
            if self.length is not None and self.received < self.length:
                raise NetworkError(
                    "The answer ended after {} of {} bytes.".format(self.received, self.length),
                    code=cut,
                )
            self.closed = self.complete = True
            self._response.close()
            self._pool.give_back(self._line, self._response.will_close)
            return chunk
        except BaseException:
            # Closed by another thread while we waited: a quiet end, whatever http.client made of it.
            if self.closed:
                return b""
            self.close()
            raise

    def close(self):
        """Let go of what was not read; a reader in another thread wakes up and ends."""
        if not self.closed:
            self.closed = True
            self._line.hang_up()
            self._response.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return "<{} {}, {} of {} bytes{}>".format(
            type(self).__name__, self.status, self.received, self.length, ", closed" * self.closed
        )


class EventStream(Response):
    """Iterate it for events as they complete. A clean end just ends; a cut or silence raises NetworkError."""

    def chunks(self):
        """Yield the raw bytes as they arrive. Once another thread has closed the stream, end quietly."""
        return iter(
            lambda: self._take(lambda: self._response.read1(CHUNK_BYTES), "connection_cut"), b""
        )

    def __iter__(self):
        """Yield the events."""
        return events(self.chunks())


def check_stream(answer):
    """Return an answer that is an event stream; anything else raises AnswerUnreadable instead of waiting for ever."""
    if answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() != EVENT_STREAM:
        answer.close()
        raise unreadable(answer, "it is not an event stream")
    return check_encoding(answer)


def check_encoding(answer):
    """Return an answer that is not compressed: that was not asked for, and a small one can grow without bound."""
    if answer.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        answer.close()
        raise unreadable(answer, "it is compressed although that was not asked for")
    return answer


def read_json(answer, expected=dict, may_be_empty=False):
    """Read an answer as JSON of the expected type(s), or None for an empty one where that may be. Anything else raises AnswerUnreadable."""
    with check_encoding(answer):
        body = b"".join(read_up_to(answer, MAX_JSON_BYTES + 1))
    if not body and may_be_empty:
        return None
    if len(body) > MAX_JSON_BYTES:
        raise unreadable(answer, "it is larger than {} bytes".format(MAX_JSON_BYTES))
    try:
        text = body.decode("utf-8")
        value = json.loads(
            text[1:] if text[:1] == BYTE_ORDER_MARK else text, parse_constant=refuse_constant
        )
    except RecursionError:
        raise unreadable(answer, "it is nested too deeply") from None
    except ValueError:
        start = body.strip()[:1]
        why = "it is a web page" if start == b"<" else "it is not JSON" if start else "it is empty"
        raise unreadable(answer, why) from None
    if not isinstance(value, expected):
        raise unreadable(answer, "it is JSON, but a {}".format(type(value).__name__))
    return value


def refuse_constant(word):
    """Raise ValueError for NaN and Infinity, which Python reads and JSON does not know."""
    raise ValueError(word)


def read_up_to(answer, limit: int):
    """Yield chunks until the end of the body or until `limit` bytes have come."""
    while limit > 0:
        chunk = answer.read(min(CHUNK_BYTES, limit))
        if not chunk:
            return
        limit -= len(chunk)
        yield chunk


def unreadable(answer, why: str) -> AnswerUnreadable:
    """Return the error for an answer that is not what the API promises."""
    return AnswerUnreadable(
        "The answer (HTTP {}) cannot be used: {}; expected what the API documents.".format(
            answer.status, why
        ),
        http_status=answer.status,
    )


def error_from_response(answer, secret: str, now: float):
    """Read an answer whose status is no success and return the error it stands for; never shows `secret`."""
    code, text, is_ours = parse_error_body(read_error_body(answer))
    status, headers = answer.status, answer.headers
    kind = error_class(status, is_ours and not re.match(NO_ROUTE, text))
    said = " ".join(re.sub(SIGNATURE, r"\1=***", text.replace(secret, "***")).split())[
        :MAX_MESSAGE_CHARS
    ]
    passing = is_passing(status) and headers.get("x-should-retry", "").strip().lower() != "false"
    told = "HTTP {}{}".format(
        status, ": " + said if said else " without a message from the service."
    )
    if kind is RouteMissing:
        told, code = "This service has no such route ({}).".format(told.rstrip(".")), None
    return kind(
        told,
        code=code or DEFAULT_CODES.get(status),
        hint=HINTS.get(status),
        http_status=status,
        retryable=passing,
        retry_after=retry_after_seconds(headers.get("Retry-After"), headers.get("Date"), now),
    )


def error_from_storage(answer) -> StorageRefused:
    """Return the error for a signed address that did not answer 2xx; storage speaks XML, of which the code is told."""
    found = re.search(XML_CODE, read_error_body(answer).decode("utf-8", "replace"))
    code = found.group(1) if found else None
    return StorageRefused(
        "The storage answered HTTP {}{}.".format(answer.status, ": " + code if code else ""),
        code=code,
        http_status=answer.status,
        retryable=is_passing(answer.status),
    )


def read_error_body(answer) -> bytes:
    """Read what there is of an error's body; the status counts even if the body is cut, late or encoded."""
    try:
        with check_encoding(answer):
            return b"".join(read_up_to(answer, MAX_ERROR_BYTES))
    except (NetworkError, AnswerUnreadable):
        return b""


def parse_error_body(body: bytes) -> tuple:
    """Return (code, message, whether it is the service's own shape) for an error body of any shape."""
    try:
        value = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None, "", False
    error = value.get("error", value) if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return None, error if isinstance(error, str) else "", False
    code, message = error.get("code"), error.get("message")
    code = code if isinstance(code, str) and re.fullmatch(CODE, code) else None
    return code, message if isinstance(message, str) else "", "error" in value


def error_class(status: int, is_ours: bool):
    """Return the class of error that a status stands for."""
    if status in (404, 410):
        return NotFound if is_ours else RouteMissing
    known = {401: AuthError, 403: AuthError, 429: RateLimited}
    return known.get(status) or (ServerError if is_passing(status) else RequestRefused)
