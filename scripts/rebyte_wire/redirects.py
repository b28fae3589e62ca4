"""Pure: may a redirect be followed, where does it lead, and with which headers."""

from __future__ import annotations

from urllib.parse import urljoin

from rebyte_wire.addresses import check_signed, origin_of
from rebyte_wire.errors import InputError, NetworkError

MAX_REDIRECTS = 5
FOLLOWED = frozenset((301, 302, 303, 307, 308))
KEY_HEADER = "API_KEY"


def next_address(
    status: int,
    location: str | None,
    url: str,
    *,
    method: str,
    hops: int,
    cross_origin: bool,
    api_is_loopback: bool,
) -> str:
    """Return where a redirect leads, or raise NetworkError(redirect_refused).

    Only GET is ever followed, to its own origin; with `cross_origin` to any other over https.
    """
    if status not in FOLLOWED or not location:
        raise refused(status, "it names no place to go to")
    if method != "GET":
        raise refused(status, "a {} is never sent on".format(method))
    if hops >= MAX_REDIRECTS:
        raise refused(status, "it is the {}th in a row".format(hops + 1))
    here = origin_of(url)
    try:
        target = urljoin(url, location).partition("#")[0]
        there = origin_of(target)
    except (InputError, ValueError):
        raise refused(status, "its target is no address that may be used") from None
    if there == here:
        return target
    if here.scheme == "https" and there.scheme == "http":
        raise refused(status, "it leaves https")
    if not cross_origin:
        raise refused(
            status,
            "it leads to another origin ({}://{})".format(there.scheme, there.host),
        )
    check_signed(target, api_is_loopback)
    return target


def headers_for(
    headers: dict[str, str],
    url: str,
    target: str,
) -> dict[str, str]:
    """Return the headers for the next hop: off the origin the key stays behind."""
    if origin_of(url) == origin_of(target):
        return headers
    return {name: value for name, value in headers.items() if name != KEY_HEADER}


def refused(status: int, why: str) -> NetworkError:
    """Return the error for a redirect that is not followed."""
    return NetworkError(
        "The answer is a redirect (HTTP {}) that is not followed: {}.".format(
            status, why
        ),
        code="redirect_refused",
        http_status=status,
        retryable=False,
        hint="Check the base address: a portal or proxy may be answering in the API's place.",
    )
