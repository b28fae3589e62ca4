"""How far one host can be reached: the client's own connect, by its own rules, and no byte more."""

from __future__ import annotations

import threading
from collections import namedtuple

from rebyte_wire import proxies
from rebyte_wire.addresses import origin_of
from rebyte_wire.errors import NetworkError, RebyteError
from rebyte_wire.requests import Request
from rebyte_wire.sockets import open_socket
from rebyte_wire.tls import build_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from rebyte_wire.requests import Deadline

STEPS = ("name", "connection", "proxy", "tls")
# What a code says of the step that failed; steps before it went well.
FAILED_STEPS = {
    "dns_failed": "name",
    "proxy_refused": "proxy",
    "proxy_auth_required": "proxy",
    "proxy_unreachable": "proxy",
    "tls_failed": "tls",
}
# After its time a name look-up that never returns is left behind.
GRACE_SECONDS = 1

Peer = namedtuple("Peer", "address version issuer")


def peer_of(sock: Any) -> Peer:
    """Return address, TLS version and signer of the peer of a socket, None where it has none."""
    address = sock.getpeername()[0]
    if not hasattr(sock, "getpeercert"):
        return Peer(address, None, None)
    issuer = (sock.getpeercert() or {}).get("issuer", ())
    names = dict(pair for part in issuer for pair in part)
    signer = names.get("organizationName") or names.get("commonName")
    return Peer(address, sock.version(), signer or "an unnamed authority")


def reach(
    url: str,
    environ: Mapping[str, str],
    deadline: Deadline,
) -> Peer | RebyteError:
    """Return the Peer of a host that was reached, else the error that says why not."""
    origin = origin_of(url)
    request = Request("GET", url, {}, deadline=deadline)
    try:
        context = build_context(environ) if origin.scheme == "https" else None
        sock = open_socket(origin, proxies.proxy_for(origin, environ), context, request)
    except RebyteError as problem:
        return problem
    with sock:
        return peer_of(sock)


def reach_all(
    urls: Sequence[str], environ: Mapping[str, str], deadline: Deadline
) -> list[Peer | RebyteError]:
    """Reach several hosts at once; returns what reach() does, in order."""
    found: dict[str, Peer | RebyteError] = {}

    def note(url: str) -> None:
        """Reach one host, and keep what came of it."""
        found[url] = reach(url, environ, deadline)

    threads = [threading.Thread(target=note, args=(url,), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        left = deadline.left()
        thread.join(None if left is None else left + GRACE_SECONDS)
    return [found.get(url) or _hanging(url) for url in urls]


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """Return host and port of the proxy that the environment names for an address, or None."""
    try:
        proxy = proxies.proxy_for(origin_of(url), environ)
    except NetworkError:
        return "an unusable address"
    return str(proxy) if proxy else None


def failed_step(problem: RebyteError) -> str:
    """Return which of STEPS an error of `reach` belongs to."""
    if problem.code in FAILED_STEPS:
        return FAILED_STEPS[problem.code]
    return "tls" if "TLS" in problem.message else "connection"


def _hanging(url: str) -> NetworkError:
    return NetworkError(
        "No answer to the name %s for too long." % origin_of(url).host,
        code="dns_failed",
        outcome="not_sent",
        hint="The name service does not answer.",
    )
