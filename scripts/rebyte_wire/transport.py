"""One logical call: build it, send it (again where that is safe), and return what it answered or raise."""

from __future__ import annotations

import json
import random
import time
from urllib.parse import urlencode

from rebyte_wire import redirects, retry
from rebyte_wire.addresses import check_signed, is_loopback, origin_of
from rebyte_wire.connections import ConnectionPool
from rebyte_wire.errors import InputError, OutcomeUnknown, RebyteError
from rebyte_wire.requests import Deadline, Request
from rebyte_wire.responses import (
    EVENT_STREAM,
    EventStream,
    Response,
    check_encoding,
    check_stream,
    error_from_response,
    error_from_storage,
    read_json,
)
from rebyte_wire.status import is_id

VERSION = "0.1.0"
# What the raw door takes: an object, a list, or nothing.
ANY_JSON = (dict, list, type(None))
USER_AGENT = "skill-as-a-service/" + VERSION


class Transport:
    """Knows the service's address and the key, and carries calls there. Clock, sleep, dice and time are arguments."""

    def __init__(
        self,
        base_url,
        key,
        environ,
        *,
        deadline=None,
        sleep=time.sleep,
        rng=random.random,
        now=time.time,
    ):
        """Connect nothing yet; `deadline` bounds every call and can be set again later."""
        self.base_url, self.origin = base_url, origin_of(base_url)
        self.is_loopback = is_loopback(self.origin.host)
        self.deadline, self.clock_skew, self.sleep = deadline or Deadline(), None, sleep
        self._key, self._rng, self._now, self._connections = key, rng, now, ConnectionPool(environ)

    def fetch(
        self,
        method,
        path,
        *,
        query=None,
        body=None,
        content_type="application/json",
        expected=dict,
        before_send=None,
        base=None,
    ):
        """Make an API call and return its JSON (None for an empty answer to DELETE); a paid start that gives no id raises OutcomeUnknown."""
        call, kind = (
            self._api_call(
                method, path, query, body, content_type, base=base, before_send=before_send
            ),
            retry.kind_of_start(method, path),
        )

        def receive(answer):
            value = read_json(
                answer, expected, may_be_empty=may_be_empty(call, answer.status, expected)
            )
            if call.paid:
                check_started(value, kind, answer.status)
            return {} if value is None and expected is dict and method != "DELETE" else value

        return self._perform(call, receive)

    def open(self, path):
        """Open a GET to the API and return its Answer, unread; redirects to other origins go without the key."""
        return self._perform(
            self._api_call("GET", path, accept="*/*"), check_encoding, may_leave=True
        )

    def open_stream(self, path, read_seconds):
        """Open an EventStream; it may be silent for `read_seconds`."""
        call = self._api_call(
            "GET", path, accept=EVENT_STREAM, read_seconds=read_seconds, answer_type=EventStream
        )
        call.headers["Cache-Control"] = "no-cache"
        return self._perform(call, check_stream)

    def open_signed(self, url):
        """Open a signed download address: no key, no redirects."""
        return self._perform(self._signed_call("GET", url, {}), check_encoding)

    def put_signed(self, url, source, content_type):
        """Put bytes to a signed upload address: fixed headers, no key, no redirects; again from byte 0 if that helps."""
        headers = {"Content-Type": content_type, "Content-Length": str(source.length)}
        self._perform(self._signed_call("PUT", url, headers, source), lambda answer: answer.close())

    def close(self):
        """Close the kept connections."""
        self._connections.close()

    def __repr__(self):
        return "<Transport {} {!r}>".format(self.base_url, self._connections)

    # Building the request...

    def _api_call(
        self,
        method,
        path,
        query=None,
        body=None,
        content_type=None,
        accept="application/json",
        base=None,
        answer_type=Response,
        **more,
    ) -> Request:
        """Describe a call to the API itself, with the key."""
        headers = {"User-Agent": USER_AGENT, "Accept": accept, redirects.KEY_HEADER: self._key}
        if isinstance(body, (dict, list)):
            body = encode(body)
        if body is not None:
            headers.update(
                {
                    "Content-Type": content_type,
                    "Content-Length": str(getattr(body, "length", None) or len(body)),
                }
            )
        elif method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = "0"
        query = urlencode(
            {name: value for name, value in (query or {}).items() if value is not None}
        )
        return Request(
            method,
            (base or self.base_url) + path + ("?" + query if query else ""),
            headers,
            body,
            deadline=self.deadline,
            paid=retry.kind_of_start(method, path) is not None,
            repeatable=retry.is_repeatable(method, path),
            answer_type=answer_type,
            **more,
        )

    def _signed_call(self, method, url, headers, body=None) -> Request:
        """Describe a call to a signed address, which must be public if the API is."""
        check_signed(url, self.is_loopback)
        return Request(
            method,
            url,
            headers,
            body,
            deadline=self.deadline,
            repeatable=True,
            public_only=not self.is_loopback,
            answer_type=Response,
        )

    # Sending it...

    def _perform(self, call, receive, may_leave=False):
        """Try a call until it is answered, its failure is final, or waiting would outlast the deadline."""
        tried, may_have_acted = 0, False
        while True:
            tried += 1
            try:
                return receive(self._follow(call, may_leave))
            except RebyteError as error:
                if error.http_status == 404 and call.method == "DELETE" and may_have_acted:
                    return None
                failure = classify_failure(call, error)
            wait, left = (
                retry.delay_before(tried, self._rng, failure.retry_after),
                self.deadline.left(),
            )
            if (
                not retry.may_retry(failure, call.repeatable, tried)
                or left is not None
                and wait >= left
            ):
                raise failure
            may_have_acted = may_have_acted or call.sent
            self.sleep(wait)

    def _follow(self, call, may_leave):
        """Exchange a call, following what may be followed; return the successful answer or raise what it says."""
        for hops in range(redirects.MAX_REDIRECTS + 1):
            answer = self._connections.exchange(call)
            self._note_clock(call, answer)
            if 200 <= answer.status < 300:
                return answer
            is_redirect = 300 <= answer.status < 400
            if redirects.KEY_HEADER not in call.headers and not (is_redirect and hops):
                raise error_from_storage(answer)
            if not is_redirect:
                raise error_from_response(answer, self._key, self._now())
            answer.close()
            url = redirects.next_address(
                answer.status,
                answer.headers.get("Location"),
                call.url,
                method=call.method,
                hops=hops,
                may_leave=may_leave,
                api_is_loopback=self.is_loopback,
            )
            call = Request(
                "GET",
                url,
                redirects.headers_for(call.headers, call.url, url),
                deadline=call.deadline,
                repeatable=True,
                read_seconds=call.read_seconds,
                answer_type=call.answer_type,
                public_only=not self.is_loopback and origin_of(url) != self.origin,
            )

    def _note_clock(self, call, answer):
        """Remember how far the API's clock is ahead of ours."""
        moment = retry.moment_of(answer.headers.get("Date"))
        if moment is not None and redirects.KEY_HEADER in call.headers:
            self.clock_skew = moment - self._now()


def may_be_empty(call, status, expected) -> bool:
    """Say whether an answer may have no body: 204 is none to a question, but it may be one to an order."""
    return (
        call.method == "DELETE"
        or status == 204
        and (expected is ANY_JSON or call.method != "GET" and not call.paid)
    )


def check_started(value, kind, status):
    """Raise OutcomeUnknown unless the answer to a paid start has a usable id of what was started."""
    if not (
        isinstance(value, dict) and is_id(value.get("promptId" if kind == "follow-up" else "id"))
    ):
        raise OutcomeUnknown(
            "The service said HTTP {} but gave no usable id of what it started.".format(status),
            http_status=status,
        )


def classify_failure(call, error):
    """Return what a failed try means; of a paid start only a sure refusal is told as one."""
    if not call.paid or error.outcome:
        return error
    if not call.sent:
        error.outcome = "not_sent"
    elif retry.outcome_of_start(error.http_status, error.retry_after is not None) == "refused":
        error.outcome = "refused"
    else:
        unknown = OutcomeUnknown(
            "The start was sent, but whether it was made is unknown. " + error.message,
            http_status=error.http_status,
            retry_after=error.retry_after,
        )
        unknown.__cause__ = error
        return unknown
    return error


def encode(value) -> bytes:
    """Return a value as JSON bytes; what JSON cannot say raises InputError."""
    try:
        return json.dumps(value, allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError("The request cannot be written as JSON ({}).".format(error)) from None
