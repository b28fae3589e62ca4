"""One logical call: build it, send it (again where that is safe), return its answer or raise."""

# _perform returns what its `receive` makes of a response, which mypy cannot follow.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlencode

from rebyte_wire import redirects, retry
from rebyte_wire.addresses import check_signed, is_loopback, origin_of
from rebyte_wire.connections import ConnectionPool
from rebyte_wire.errors import OutcomeUnknown, RebyteError
from rebyte_wire.payloads import encode
from rebyte_wire.requests import READ_TIMEOUT_SECONDS, Deadline, Request
from rebyte_wire.responses import (
    EVENT_STREAM,
    EventStream,
    Response,
    check_stream,
    check_whole,
    error_from_response,
    error_from_storage,
    read_json,
)
from rebyte_wire.status import is_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    from rebyte_wire.multipart import Body, FileBody

    # Names and values, of which None is left out; as pairs a name may come again.
    Query = Union[Mapping[str, object], Iterable[tuple[str, object]], None]
    # A JSON value, or what has a length and chunks.
    RequestBody = Union[Any, Body]

VERSION = "0.1.0"
# What `client.request` takes: an object, a list, or nothing.
ANY_JSON = (dict, list, type(None))
USER_AGENT = "skill-as-a-service/" + VERSION


class Peer:
    """What the service's answers tell of it, for all views of one transport.

    `clock_skew` is by how many seconds its clock is ahead of ours, `software` its Server header.
    """

    clock_skew: float | None = None
    software: str | None = None


class Transport:
    """Knows the service's address and the key, and carries calls there."""

    def __init__(
        self,
        base_url: str,
        key: str,
        environ: Mapping[str, str],
        *,
        deadline: Deadline | None = None,
        sleep: Callable[[float], object] = time.sleep,
        rng: Callable[[], float] = random.random,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Connect nothing yet; `deadline` bounds every call and can be set again later."""
        self.base_url = base_url
        self.origin = origin_of(base_url)
        self.is_loopback = is_loopback(self.origin.host)
        self.deadline = deadline or Deadline()
        self.sleep = sleep
        self._key = key
        self._rng = rng
        self._now = now
        self._peer = Peer()
        self._pool = ConnectionPool(environ)

    def with_deadline(self, deadline: Deadline) -> Transport:
        """Return a transport over the same connections whose calls end at another deadline."""
        view = copy.copy(self)
        view.deadline = deadline
        return view

    @property
    def software(self) -> str | None:
        """The Server header of the API's last answer, "" without one; None before the first."""
        return self._peer.software

    @property
    def clock_skew(self) -> float | None:
        """Seconds by which the service's clock is ahead of ours; None before the first answer."""
        return self._peer.clock_skew

    def fetch(
        self,
        method: str,
        path: str,
        *,
        query: Query = None,
        body: RequestBody = None,
        content_type: str = "application/json",
        expected: Any = dict,
        empty_allowed: bool = False,
        before_send: Callable[[], object] | None = None,
        base: str | None = None,
    ) -> Any:
        """Make an API call and return its JSON, of the `expected` type(s).

        A paid start that gives no id raises OutcomeUnknown.
        """
        request = self._api_request(
            method, path, query, body, content_type, base=base, before_send=before_send
        )
        return self._perform(
            request, lambda response: decode(request, response, expected, empty_allowed)
        )

    def open(self, path: str) -> Response:
        """Open a GET to the API and return its response, unread.

        Redirects to other origins are followed, without the key.
        """
        request = self._api_request("GET", path, accept="*/*")
        return self._perform(request, check_whole, cross_origin=True)

    def open_stream(self, path: str, read_seconds: float) -> EventStream:
        """Open an EventStream; it may be silent for `read_seconds`."""
        request = self._api_request(
            "GET",
            path,
            accept=EVENT_STREAM,
            read_seconds=read_seconds,
            response_class=EventStream,
        )
        request.headers["Cache-Control"] = "no-cache"
        return self._perform(request, check_stream)

    def open_signed(self, url: str) -> Response:
        """Open a signed download address: no key, no redirects."""
        return self._perform(self._signed_request("GET", url), check_whole)

    def put_signed(
        self,
        url: str,
        source: FileBody,
        content_type: str,
    ) -> None:
        """Put bytes to a signed upload address: fixed headers, no key, no redirects.

        It is sent again from byte 0 where that may help.
        """
        request = self._signed_request("PUT", url, source)
        request.headers["Content-Type"] = content_type
        request.headers["Content-Length"] = str(source.length)
        self._perform(request, Response.close)

    def close(self) -> None:
        """Close the kept connections, for all views of this transport."""
        self._pool.close()

    def __repr__(self) -> str:
        return "<Transport {} {!r}>".format(self.base_url, self._pool)

    # Building the request...

    def _api_request(
        self,
        method: str,
        path: str,
        query: Query = None,
        body: RequestBody = None,
        content_type: str = "",
        *,
        accept: str = "application/json",
        base: str | None = None,
        read_seconds: float = READ_TIMEOUT_SECONDS,
        before_send: Callable[[], object] | None = None,
        response_class: type[Response] | None = None,
    ) -> Request:
        """Describe a call to the API itself, with the key."""
        headers = {
            "User-Agent": USER_AGENT,
            "Accept": accept,
            redirects.KEY_HEADER: self._key,
        }
        content: Any = body
        if body is not None and not hasattr(body, "chunks"):
            content = encode(body)
        if content is not None:
            headers["Content-Type"] = content_type
            headers["Content-Length"] = str(length_of(content))
        elif method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = "0"
        return Request(
            method,
            (base or self.base_url) + path_with_query(path, query),
            headers,
            content,
            deadline=self.deadline,
            read_seconds=read_seconds,
            kind=retry.kind_of_start(method, path),
            idempotent=retry.is_idempotent(method, path),
            before_send=before_send,
            response_class=response_class,
        )

    def _signed_request(
        self,
        method: str,
        url: str,
        body: FileBody | None = None,
    ) -> Request:
        """Describe a call to a signed address, which must be public if the API is."""
        check_signed(url, self.is_loopback)
        return Request(
            method,
            url,
            {},
            body,
            deadline=self.deadline,
            idempotent=True,
            reject_private_peer=not self.is_loopback,
        )

    # Sending it...

    def _perform(
        self,
        request: Request,
        receive: Callable[[Any], object],
        cross_origin: bool = False,
    ) -> Any:
        """Try until there is an answer, the failure is final, or waiting outlasts the deadline."""
        tried = 0
        may_have_acted = False
        while True:
            tried += 1
            try:
                return receive(self._exchange(request, cross_origin))
            except RebyteError as error:
                if (
                    error.http_status == 404
                    and request.method == "DELETE"
                    and may_have_acted
                ):
                    return None
                failure = classify(request, error)
            delay = self._delay_before_retry(request, failure, tried)
            if delay is None:
                raise failure
            may_have_acted = may_have_acted or request.sent
            self.sleep(delay)

    def _delay_before_retry(
        self,
        request: Request,
        failure: RebyteError,
        tried: int,
    ) -> float | None:
        """Return how many seconds to wait before the next try, None if there is none."""
        # Who follows a stream has better to do than to wait for the same silence again.
        is_silent = (
            failure.code == "read_timeout" and request.response_class is EventStream
        )
        if is_silent or not retry.may_retry(failure, request.idempotent, tried):
            return None
        delay = retry.delay_before(tried, self._rng, failure.retry_after)
        left = self.deadline.left()
        if left is not None and delay >= left:
            return None
        return delay

    def _exchange(self, request: Request, cross_origin: bool) -> Response:
        """Send a request and follow its redirects; return the 2xx response or raise its error."""
        for hops in range(redirects.MAX_REDIRECTS + 1):
            response = self._pool.handle_request(request)
            self._note_peer(request, response)
            if 200 <= response.status < 300:
                return response
            is_redirect = 300 <= response.status < 400
            if redirects.KEY_HEADER not in request.headers and not (
                is_redirect and hops
            ):
                raise error_from_storage(response)
            if not is_redirect:
                break
            response.close()
            request = self._redirected(request, response, hops, cross_origin)
        raise error_from_response(response, self._key, self._now())

    def _redirected(
        self,
        request: Request,
        response: Response,
        hops: int,
        cross_origin: bool,
    ) -> Request:
        """Return the request that a redirect asks for, or raise NetworkError(redirect_refused)."""
        url = redirects.next_address(
            response.status,
            response.headers.get("Location"),
            request.url,
            method=request.method,
            hops=hops,
            cross_origin=cross_origin,
            api_is_loopback=self.is_loopback,
        )
        return Request(
            "GET",
            url,
            redirects.headers_for(request.headers, request.url, url),
            deadline=request.deadline,
            idempotent=True,
            read_seconds=request.read_seconds,
            response_class=request.response_class,
            reject_private_peer=not self.is_loopback and origin_of(url) != self.origin,
        )

    def _note_peer(self, request: Request, response: Response) -> None:
        """Remember what the API's answer tells of its clock and its software."""
        if redirects.KEY_HEADER not in request.headers:
            return
        moment = retry.moment_of(response.headers.get("Date"))
        if moment is not None:
            self._peer.clock_skew = moment - self._now()
        self._peer.software = response.headers.get("Server") or ""


def path_with_query(path: str, query: Query) -> str:
    """Return a path with the names and values of a query that are not None, as they are sent."""
    pairs = query.items() if isinstance(query, Mapping) else query or ()
    words = urlencode([(name, value) for name, value in pairs if value is not None])
    return path + ("&" if "?" in path else "?") + words if words else path


def decode(
    request: Request,
    response: Response,
    expected: Any,
    empty_allowed: bool,
) -> Any:
    """Return the JSON of a response; for an empty one that may be, {} or (any JSON) None.

    Only an answer to DELETE, or a 204, may be empty. OutcomeUnknown for a start without an id.
    """
    may_be_empty = empty_allowed and (
        request.method == "DELETE" or response.status == 204
    )
    value = read_json(response, expected, may_be_empty)
    if request.kind:
        check_started(value, request.kind, response.status)
    return {} if value is None and expected is dict else value


def check_started(
    value: object,
    kind: str,
    status: int,
) -> None:
    """Raise OutcomeUnknown unless the answer to a paid start has a usable id of what it made."""
    field = "promptId" if kind == "follow-up" else "id"
    if not isinstance(value, dict) or not is_id(value.get(field)):
        raise OutcomeUnknown(
            "The service said HTTP {} but gave no usable id of what it started.".format(
                status
            ),
            http_status=status,
        )


def classify(request: Request, error: RebyteError) -> RebyteError:
    """Return what a failed try means; of a paid start only a sure refusal is told as one."""
    if not request.billable or error.outcome:
        return error
    if not request.sent:
        error.outcome = "not_sent"
        return error
    if (
        retry.outcome_of_start(error.http_status, error.retry_after is not None)
        == "refused"
    ):
        error.outcome = "refused"
        return error
    unknown = OutcomeUnknown(
        "The start was sent, but whether it was made is unknown. " + error.message,
        http_status=error.http_status,
        retry_after=error.retry_after,
    )
    unknown.__cause__ = error
    return unknown


def length_of(body: bytes | Body) -> int:
    """Return how many bytes a body has."""
    return len(body) if isinstance(body, bytes) else body.length
