"""Pure: may this be tried again, and after how long. The tables are data; clock and dice are arguments."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

MAX_RETRIES = 3
BASE_DELAY_SECONDS, MAX_DELAY_SECONDS = 0.5, 8.0
MAX_RETRY_AFTER_SECONDS = 120
# More than a year is not a time to come back at but a mistake.
RUBBISH_RETRY_AFTER_SECONDS = 366 * 86400

# What costs money: the kind of start, and where it is posted.
PAID_POSTS = (
    ("task", r"/tasks"),
    ("follow-up", r"/tasks/[^/]+/prompts"),
    ("computer", r"/agent-computers"),
)
REPEATABLE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
REPEATABLE_ROUTES = {
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
# So storage answers when a signed address is too old.
EXPIRED_STATUSES = (400, 403)

NUMBER = r"[0-9]+(\.[0-9]*)?"
HTTP_DATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
)


def parts_of(path: str) -> list:
    """Return the words of a path below /v1 as they were typed; servers forgive slashes and escapes."""
    return [part for part in unquote(path.partition("?")[0]).split("/") if part not in ("", ".")]


def route_of(path: str) -> str:
    """Return a path below /v1 in the one spelling that the tables use: servers forgive case too."""
    return "/" + "/".join(parts_of(path)).lower()


def kind_of_start(method: str, path: str):
    """Return task, follow-up or computer for a call that starts something that costs money, None for any other."""
    format_path = route_of(path)
    return next(
        (
            kind
            for kind, form in PAID_POSTS
            if method.upper() == "POST" and re.fullmatch(form, format_path)
        ),
        None,
    )


def is_repeatable(method: str, path: str) -> bool:
    """Say whether sending a call twice leaves the same state as sending it once."""
    format_path = REPEATABLE_ROUTES.get(method.upper())
    return method.upper() in REPEATABLE_METHODS or bool(
        format_path and re.fullmatch(format_path, route_of(path))
    )


def is_passing(status: int) -> bool:
    """Say whether a status speaks of the moment and not of the request."""
    return status in PASSING or status >= 500


def outcome_of_start(status, has_retry_after: bool) -> str:
    """Return "refused" for a paid start that was surely not made, else "unknown"."""
    return "refused" if status in REFUSED or status == 503 and has_retry_after else "unknown"


def may_retry(failure, repeatable: bool, tried: int) -> bool:
    """Say whether a call that failed so, after `tried` tries, may be sent again without asking anyone."""
    if (
        tried > MAX_RETRIES
        or not failure.retryable
        or (failure.retry_after or 0) > MAX_RETRY_AFTER_SECONDS
    ):
        return False
    if repeatable or failure.outcome == "not_sent":
        return True
    return (
        failure.http_status in NOT_BEGUN
        or failure.http_status == 503
        and failure.retry_after is not None
    )


def delay_before(tried: int, rng, retry_after=None) -> float:
    """Return the seconds to wait after `tried` tries: what the service asked for, else full jitter."""
    if retry_after:
        return retry_after
    return rng() * min(MAX_DELAY_SECONDS, BASE_DELAY_SECONDS * 2 ** min(tried - 1, 10))


def retry_after_seconds(value, date, now: float):
    """Return what Retry-After asks for, against the answer's own Date (else `now`); None for anything unusable."""
    value = (value or "").strip()
    if re.fullmatch(NUMBER, value):
        seconds = float(value)
    else:
        moment, sent = moment_of(value), moment_of(date)
        if moment is None:
            return None
        seconds = max(0.0, moment - (now if sent is None else sent))
    return seconds if seconds <= RUBBISH_RETRY_AFTER_SECONDS else None


def moment_of(date):
    """Return an HTTP date as seconds since 1970, or None."""
    try:
        return (
            parsedate_to_datetime(date).timestamp()
            if HTTP_DATE.fullmatch((date or "").strip())
            else None
        )
    except (TypeError, ValueError, OverflowError):
        return None
