"""Pure: may this be tried again, and after how long. Tables are data; clock and rng arguments."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timezone
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

from rebyte_wire.errors import RebyteError

MAX_RETRIES = 3
BASE_DELAY_SECONDS = 0.5
MAX_DELAY_SECONDS = 8.0
MAX_RETRY_AFTER_SECONDS = 120
# More than a year is not a time to come back at but a mistake.
RUBBISH_RETRY_AFTER_SECONDS = 366 * 86400

# What costs money: the kind of start, and where it is posted.
PAID_POSTS = {
    "task": r"/tasks",
    "follow-up": r"/tasks/[^/]+/prompts",
    "computer": r"/agent-computers",
}
IDEMPOTENT_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
IDEMPOTENT_ROUTES = {
    "POST": r"/tasks/[^/]+/cancel|/files|/workspaces/[^/]+/artifacts(/upload-url)?",
    "PATCH": r"/tasks/[^/]+/visibility",
}

# A paid start that is answered so was surely not made; any other status but 2xx leaves it unknown.
REFUSED = frozenset(
    (
        400,
        401,
        402,
        403,
        404,
        405,
        406,
        409,
        410,
        411,
        413,
        414,
        415,
        416,
        417,
        421,
        422,
        425,
        426,
        428,
        429,
        431,
        451,
        301,
        302,
        307,
        308,
    )
)
# These say "not now": the service did not begin, so that even a paid start may be sent again.
NOT_BEGUN = frozenset((425, 429))
PASSING = frozenset((408, 425, 429))
# What storage answers when a signed address has expired.
EXPIRED_STATUSES = (400, 403)

# The first of several where a proxy joined them: "3, 3".
NUMBER = r"([0-9]+(\.[0-9]*)?)\s*(,|$)"
# The three forms that a recipient must take (RFC 9110 5.6.7).
HTTP_DATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT"
    r"|(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, [0-9]{2}-[A-Z][a-z]{2}-[0-9]{2} [0-9:]{8} GMT"
    r"|(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [0-9 ][0-9] [0-9:]{8} [0-9]{4}"
)


def parts_of(path: str) -> list[str]:
    """Return the words of a path below /v1 as typed; servers forgive slashes and escapes."""
    return [
        part
        for part in unquote(path.partition("?")[0]).split("/")
        if part not in ("", ".")
    ]


def route_of(path: str) -> str:
    """Return a path below /v1 in the one spelling that the tables use: servers forgive case too."""
    return "/" + "/".join(parts_of(path)).lower()


def kind_of_start(method: str, path: str) -> str | None:
    """Return task, follow-up or computer for a call that starts something that costs money."""
    if method.upper() != "POST":
        return None
    route = route_of(path)
    return next(
        (kind for kind, form in PAID_POSTS.items() if re.fullmatch(form, route)), None
    )


def is_idempotent(method: str, path: str) -> bool:
    """Say whether sending a call twice leaves the same state as sending it once."""
    method = method.upper()
    if method in IDEMPOTENT_METHODS:
        return True
    return bool(re.fullmatch(IDEMPOTENT_ROUTES.get(method, "never"), route_of(path)))


def is_passing(status: int) -> bool:
    """Say whether a status speaks of the moment and not of the request."""
    return status in PASSING or status >= 500


def outcome_of_start(status: int | None, has_retry_after: bool) -> str:
    """Return "refused" for a paid start that was surely not made, else "unknown"."""
    if status in REFUSED or (status == 503 and has_retry_after):
        return "refused"
    return "unknown"


def may_retry(
    failure: RebyteError,
    idempotent: bool,
    tried: int,
) -> bool:
    """Say whether a call that failed so may be sent again after `tried` tries, asking nobody."""
    if tried > MAX_RETRIES or not failure.retryable:
        return False
    if (failure.retry_after or 0) > MAX_RETRY_AFTER_SECONDS:
        return False
    if idempotent or failure.outcome == "not_sent":
        return True
    if failure.http_status == 503:
        return failure.retry_after is not None
    return failure.http_status in NOT_BEGUN


def delay_before(
    tried: int,
    rng: Callable[[], float],
    retry_after: float | None = None,
) -> float:
    """Return the seconds to wait after `tried` tries: what the service asked, else full jitter."""
    if retry_after:
        return retry_after
    return rng() * min(
        MAX_DELAY_SECONDS, BASE_DELAY_SECONDS * 2.0 ** min(tried - 1, 10)
    )


def retry_after_seconds(
    value: str | None,
    date: str | None,
    now: float,
) -> float | None:
    """Return what Retry-After asks for, or None for anything unusable.

    A date counts from the answer's own Date, or from `now` where it has none.
    """
    value = (value or "").strip()
    number = re.match(NUMBER, value)
    moment = moment_of(value)
    if number:
        seconds = float(number.group(1))
    elif moment is not None:
        sent = moment_of(date)
        seconds = max(0.0, moment - (now if sent is None else sent))
    else:
        return None
    return seconds if seconds <= RUBBISH_RETRY_AFTER_SECONDS else None


def moment_of(date: str | None) -> float | None:
    """Return an HTTP date as seconds since 1970, or None."""
    date = (date or "").strip()
    if not HTTP_DATE.fullmatch(date):
        return None
    try:
        # One form names no zone, and Python would take it for the local one.
        return parsedate_to_datetime(date).replace(tzinfo=timezone.utc).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
