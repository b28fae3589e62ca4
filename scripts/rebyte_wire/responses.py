"""A response of the service: its body to the true end, its JSON, or the error it stands for."""

from __future__ import annotations

import http.client
import json
import re
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rebyte_wire.errors import (
    AnswerUnreadable,
    AuthError,
    NetworkError,
    NotFound,
    RateLimited,
    RebyteError,
    RequestRefused,
    RouteMissing,
    ServerError,
    StorageRefused,
)
from rebyte_wire.failures import map_exceptions
from rebyte_wire.payloads import parse_json
from rebyte_wire.retry import is_passing, retry_after_seconds
from rebyte_wire.sse import Event, events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from rebyte_wire.connections import Connection, ConnectionPool
    from rebyte_wire.requests import Request

    AnyResponse = TypeVar("AnyResponse", bound="Response")

EVENT_STREAM = "text/event-stream"
COMPRESSIONS = frozenset(
    (
        "gzip",
        "x-gzip",
        "deflate",
        "br",
        "zstd",
        "compress",
        "x-compress",
        "dcb",
        "dcz",
        "exi",
    )
)
CHUNK_BYTES = 64 * 1024
MAX_JSON_BYTES = 8 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
MAX_MESSAGE_CHARS = 300
# The states of a response: its body is being read, was read to its end, or was given up.
OPEN = "open"
DONE = "done"
ABORTED = "closed"
# Compiled when an error has to be explained; most responses are none.
SIGNATURE = (
    r"(?i)((?:x-goog-|x-amz-)?(?:signature|credential|security-token)|sig|token|key)"
    r"=[^&\s\"'<>]+"
)
CODE = r"[A-Za-z0-9_.-]{1,64}"
XML_CODE = r"<Code>([A-Za-z0-9_.-]{1,64})</Code>"
# How servers say that a path is none of theirs, even in the shape of an error of the API.
NO_ROUTE = r"(?i)route\b|cannot (get|post|put|patch|delete)\b|no such (route|endpoint)"
ERROR_CLASSES = {401: AuthError, 403: AuthError, 429: RateLimited}
DEFAULT_CODES = {401: "invalid_api_key", 403: "forbidden"}
HINTS = {
    401: "Check the key. If it is right, a proxy may drop header names with an underscore"
    " (API_KEY), as nginx does by default.",
    402: "The organization may be out of credit; see https://app.rebyte.ai.",
    403: "The key may lack the scope for this; see https://app.rebyte.ai/settings/api-keys.",
}

# `is_ours` is true for an error in the service's own shape.
ErrorBody = namedtuple("ErrorBody", "code message is_ours")


class Response:
    """A response whose head is in: status, headers, length (None if not told), and its body."""

    def __init__(
        self,
        raw: http.client.HTTPResponse,
        connection: Connection,
        pool: ConnectionPool,
        request: Request,
    ) -> None:
        self.status = raw.status
        self.headers = raw.headers
        self.length = raw.length
        self.received = 0
        self.state = OPEN
        self._raw = raw
        self._connection = connection
        self._pool = pool
        self._request = request

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        """Return up to `size` bytes, b"" only at the end.

        A body that is shorter than told raises NetworkError(short_body).
        """
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(buffer)])

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill a buffer as far as there are bytes, and return how many; errors as for read."""
        count = 0
        with self._reading("short_body"):
            count = self._raw.readinto(buffer)
            self._advance(count, "short_body")
        if not count and self.state is not DONE:
            raise NetworkError(
                "The answer was closed before it was read to its end.",
                code="short_body",
            )
        return count

    @contextmanager
    def _reading(self, short_code: str) -> Iterator[None]:
        """Map what goes wrong in a read; nothing does once another thread has closed it."""
        try:
            with map_exceptions(self._request, short_code):
                yield
        except BaseException as error:
            if self.state is ABORTED and isinstance(error, Exception):
                return
            self.close()
            raise

    def _advance(self, count: int, short_code: str) -> None:
        """Count what was read; at the end compare the sum and give the connection back."""
        self.received += count
        if self.state is not OPEN or (count and not self._raw.isclosed()):
            return
        if self.length is not None and self.received < self.length:
            raise NetworkError(
                "The answer ended after {} of {} bytes.".format(
                    self.received, self.length
                ),
                code=short_code,
            )
        self.state = DONE
        self._raw.close()
        self._pool.release(self._connection, self._raw.will_close)

    def close(self) -> None:
        """Give up what was not read; a reader in another thread wakes up and ends."""
        if self.state is OPEN:
            self.state = ABORTED
            self._connection.abort()
            self._raw.close()

    def __enter__(self: AnyResponse) -> AnyResponse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "<{} {}, {} of {} bytes, {}>".format(
            type(self).__name__, self.status, self.received, self.length, self.state
        )


class EventStream(Response):
    """Iterate it for events as they complete. A clean end just ends; a cut or silence raises."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the raw bytes as they arrive. Once another thread has closed it, end quietly."""
        while True:
            chunk = b""
            with self._reading("connection_cut"):
                chunk = self._raw.read1(CHUNK_BYTES)
                self._advance(len(chunk), "connection_cut")
            if not chunk:
                return
            yield chunk

    def __iter__(self) -> Iterator[Event]:
        """Yield the events."""
        return events(self.chunks())


def check_stream(response: EventStream) -> EventStream:
    """Return a response that is an event stream; AnswerUnreadable instead of an endless wait."""
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    if kind.strip().lower() != EVENT_STREAM:
        response.close()
        raise unreadable(response, "it is not an event stream")
    check_encoding(response)
    return response


def check_encoding(response: Response) -> Response:
    """Return a response that is not compressed: unasked, and a small one can grow unbounded."""
    coding = ",".join(response.headers.get_all("Transfer-Encoding", []))
    if coding.lower() not in ("", "identity", "chunked"):
        # http.client undoes "chunked" spelled just so; of the rest it hands out the framing.
        response.close()
        raise unreadable(response, "its transfer coding is not known")
    # Other words, such as utf-8 or aws-chunked, stand there by mistake and compress nothing.
    words = ",".join(response.headers.get_all("Content-Encoding", []))
    if not COMPRESSIONS.isdisjoint(re.split(r"[\s,]+", words.lower())):
        response.close()
        raise unreadable(response, "it is compressed although that was not asked for")
    return response


def check_whole(response: Response) -> Response:
    """Return a response that can be read as it came: whole, and not compressed.

    A part (206) was not asked for, and nobody would see that the rest is missing.
    """
    if response.status == 206:
        response.close()
        raise NetworkError(
            "Only a part of the file came, which was not asked for.",
            code="short_body",
            http_status=206,
            retryable=False,
        )
    return check_encoding(response)


def read_json(
    response: Response,
    expected: Any = dict,
    empty_allowed: bool = False,
) -> Any:
    """Read a body as JSON of the expected type(s); None for an empty one where that is allowed.

    AnswerUnreadable for anything else.
    """
    with check_encoding(response):
        body = b"".join(read_up_to(response, MAX_JSON_BYTES + 1))
    if not body and empty_allowed:
        return None
    if len(body) > MAX_JSON_BYTES:
        raise unreadable(response, "it is larger than {} bytes".format(MAX_JSON_BYTES))
    try:
        value = parse_json(body.decode("utf-8"))
    except RecursionError:
        raise unreadable(response, "it is nested too deeply") from None
    except ValueError:
        raise unreadable(response, why_no_json(body)) from None
    if not isinstance(value, expected):
        raise unreadable(response, "it is JSON, but a {}".format(type(value).__name__))
    return value


def why_no_json(body: bytes) -> str:
    """Say what a body is that is no JSON."""
    start = body.strip()[:1]
    if not start:
        return "it is empty"
    return "it is a web page" if start == b"<" else "it is not JSON"


def read_up_to(response: Response, limit: int) -> Iterator[bytes]:
    """Yield chunks until the end of the body or until `limit` bytes have come."""
    while limit > 0:
        chunk = response.read(min(CHUNK_BYTES, limit))
        if not chunk:
            return
        limit -= len(chunk)
        yield chunk


def unreadable(response: Response, why: str) -> AnswerUnreadable:
    """Return the error for a response that is not what the API promises."""
    return AnswerUnreadable(
        "The answer (HTTP {}) cannot be used: {}; expected what the API documents.".format(
            response.status, why
        ),
        http_status=response.status,
    )


def error_from_response(
    response: Response,
    secret: str,
    now: float,
) -> RebyteError:
    """Read a response whose status is no success and return its error; never shows `secret`."""
    status = response.status
    headers = response.headers
    body = parse_error_body(read_error_body(response))
    kind = error_class(status, body.is_ours and not re.match(NO_ROUTE, body.message))
    code = body.code or DEFAULT_CODES.get(status)
    words = redact_message(body.message, secret)
    message = "HTTP {}: {}".format(status, words)
    if not words:
        message = "HTTP {} without a message from the service.".format(status)
    if kind is RouteMissing:
        message = "This service has no such route ({}).".format(message.rstrip("."))
        code = None
    may_pass = headers.get("x-should-retry", "").strip().lower() != "false"
    wait = retry_after_seconds(headers.get("Retry-After"), headers.get("Date"), now)
    if wait:
        message = "{}. The service asks to wait {:g} s.".format(
            message.rstrip("."), wait
        )
    return kind(
        message,
        code=code,
        hint=HINTS.get(status),
        http_status=status,
        retryable=is_passing(status) and may_pass,
        retry_after=wait,
    )


def redact_message(text: str, secret: str) -> str:
    """Return a message on one short line, without the key and without signatures."""
    text = re.sub(SIGNATURE, r"\1=***", text.replace(secret, "***"))
    return " ".join(text.split())[:MAX_MESSAGE_CHARS]


def error_from_storage(response: Response) -> StorageRefused:
    """Return the error for a signed address that did not answer 2xx; storage speaks XML."""
    found = re.search(XML_CODE, read_error_body(response).decode("utf-8", "replace"))
    code = found.group(1) if found else None
    return StorageRefused(
        "The storage answered HTTP {}{}.".format(
            response.status, ": " + code if code else ""
        ),
        code=code,
        http_status=response.status,
        retryable=is_passing(response.status),
    )


def read_error_body(response: Response) -> bytes:
    """Read what there is of an error's body; its status counts also if it is cut or encoded."""
    try:
        with check_encoding(response):
            return b"".join(read_up_to(response, MAX_ERROR_BYTES))
    except (NetworkError, AnswerUnreadable):
        return b""


def parse_error_body(body: bytes) -> ErrorBody:
    """Return code, message and whether it is the service's own shape, of a body of any shape."""
    try:
        value = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        value = None
    error = value.get("error", value) if isinstance(value, dict) else None
    if isinstance(error, str):
        return ErrorBody(None, error, False)
    if not isinstance(error, dict):
        return ErrorBody(None, "", False)
    code = error.get("code")
    message = error.get("message")
    is_code = isinstance(code, str) and re.fullmatch(CODE, code)
    return ErrorBody(
        code if is_code else None,
        message if isinstance(message, str) else "",
        "error" in value,
    )


def error_class(status: int, is_ours: bool) -> Callable[..., RebyteError]:
    """Return the class of error that a status stands for."""
    if status in (404, 410):
        return NotFound if is_ours else RouteMissing
    usual = ServerError if is_passing(status) else RequestRefused
    return ERROR_CLASSES.get(status, usual)
