"""Checks of what requests say that several nouns share, and the one shape of lists."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable

from rebyte_local.formats import JsonObject
from rebyte_local.http.messages import (
    ApiError,
    Request,
    Response,
    json_response,
    require,
    validation_error,
)
from rebyte_local.service import Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

LIST_DEFAULT = 50
LIST_LIMIT = 100
FILENAME_LIMIT_CHARS = 255
UNTYPED = "application/octet-stream"
PLAIN_NAME = re.compile(r"(?!\s*\.\.?\s*$)[^/\\\x00-\x1f\x7f]+")
SURROGATE = re.compile("[\ud800-\udfff]")
CONTENT_TYPE = re.compile(r"[\x20-\x7e]{1,127}/[\x20-\x7e]{1,127}")
KEY_HEADERS = ("api_key", "api-key", "x-api-key")
UUID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    re.ASCII | re.IGNORECASE,
)


def or_404(thing: T | None, noun: str) -> T:
    """Return the thing; raises ApiError 404 for None, what is absent, deleted or never was."""
    if thing is None:
        raise ApiError(404, "not_found", "%s not found" % noun)
    return thing


def is_equal(given: str, expected: str) -> bool:
    """Compare two secrets without telling by the time how much of one was right."""
    return hmac.compare_digest(
        given.encode("utf-8", "replace"), expected.encode("utf-8")
    )


def check_key(service: Service, request: Request) -> None:
    """Raise ApiError 401 unless the request carries the key of this server."""
    given = next(filter(None, map(request.header, KEY_HEADERS)), None)
    if given is None:
        raise ApiError(
            401, "missing_api_key", "API key is required in the API_KEY header"
        )
    if not is_equal(given.strip(), service.key):
        raise ApiError(401, "invalid_api_key", "Invalid API key")


def check_page_access(service: Service, request: Request, path: str) -> None:
    """Raise ApiError 401 unless the request has the token of this page, or the key."""
    expected = service.page_path(path).partition("token=")[2]
    if not is_equal(request.query.get("token", ""), expected):
        check_key(service, request)


def is_uuid(value: object) -> bool:
    """Return True for the one spelling of ids that the service uses."""
    return isinstance(value, str) and UUID.fullmatch(value) is not None


def optional_string(body: JsonObject, name: str, limit: int = 500) -> str | None:
    """Return an optional short string, None when absent; raises ApiError 400."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise validation_error(
            "%s must be a string of 1 to %d characters" % (name, limit)
        )
    return value


def list_of(kind: type[T], value: object, message: str, most: int = 1000) -> list[T]:
    """Return a list of at most `most` values of one type; raises ApiError 400 with `message`."""
    if not isinstance(value, list) or len(value) > most:
        raise validation_error(message)
    require(all(isinstance(item, kind) for item in value), message)
    return value


def check_filename(value: object, field: str = "filename") -> str:
    """Return a plain file name: no folders, no control characters, at most 255 characters."""
    if not isinstance(value, str) or not value.strip():
        raise validation_error("%s is required and must be a non-empty string" % field)
    require(
        len(value) <= FILENAME_LIMIT_CHARS,
        "%s is longer than %d characters" % (field, FILENAME_LIMIT_CHARS),
    )
    require(PLAIN_NAME.fullmatch(value), "%s must be a plain file name" % field)
    require(not SURROGATE.search(value), "%s is not valid Unicode" % field)
    return value


def check_content_type(value: object) -> str:
    """Return a MIME type as declared for an upload; application/octet-stream when absent."""
    if value is None:
        return UNTYPED
    if not isinstance(value, str) or not CONTENT_TYPE.fullmatch(value):
        raise validation_error("contentType must look like text/csv")
    return value


def list_response(
    request: Request,
    find_page: Callable[[int, int], tuple[list[JsonObject], int]],
    show: Callable[[list[JsonObject]], list[JsonObject]],
) -> Response:
    """Answer with a page; limit and offset out of bounds are refused, not clamped."""
    limit = request.number("limit", LIST_DEFAULT)
    offset = request.number("offset", 0)
    require(1 <= limit <= LIST_LIMIT, "limit must be between 1 and %d" % LIST_LIMIT)
    rows, total = find_page(limit, offset)
    return json_response(
        200, {"data": show(rows), "total": total, "limit": limit, "offset": offset}
    )
