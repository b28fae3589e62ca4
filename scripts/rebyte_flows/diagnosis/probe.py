"""How far one host can be reached: the client's own connect, through its own proxy and certificates, and not a byte more."""

from __future__ import annotations

import threading
from collections import namedtuple

from rebyte_wire import proxies
from rebyte_wire.addresses import origin_of
from rebyte_wire.errors import NetworkError, RebyteError
from rebyte_wire.requests import Request
from rebyte_wire.sockets import open_socket
from rebyte_wire.tls import build_context

STEPS = ("name", "connection", "proxy", "tls")
# What a code says of the step that failed; steps before it went well.
FAILED_STEPS = {
    "dns_failed": "name",
    "proxy_refused": "proxy",
    "proxy_auth_required": "proxy",
    "proxy_unreachable": "proxy",
    "tls_failed": "tls",
}

Met = namedtuple("Met", "peer proxy version issuer")


def _tls_of(sock):
    """Return (version, who signed the certificate) of a TLS socket, (None, None) of a plain one."""
    if not hasattr(sock, "getpeercert"):
        return None, None
    names = dict(pair for part in (sock.getpeercert() or {}).get("issuer", ()) for pair in part)
    return sock.version(), names.get("organizationName") or names.get(
        "commonName"
    ) or "an unnamed authority"


def reach(url, environ, deadline):
    """Return (Met, None) for a host that was reached, else (None, the RebyteError that says why not)."""
    try:
        origin = origin_of(url)
        proxy = proxies.proxy_for(origin, environ)
        context = build_context(environ) if origin.scheme == "https" else None
        sock = open_socket(origin, proxy, context, Request("GET", url, {}, deadline=deadline))
    except RebyteError as problem:
        return None, problem
    with sock:
        return Met(sock.getpeername()[0], proxy and str(proxy), *_tls_of(sock)), None


def reach_all(urls, environ, deadline, grace_seconds=1):
    """Reach several hosts at once; a name look-up that never returns is left behind when the time is over."""
    found = {}

    def note(url):
        """Reach one host, and keep what came of it."""
        found[url] = reach(url, environ, deadline)

    threads = [threading.Thread(target=note, args=(url,), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        left = deadline.left()
        thread.join(None if left is None else left + grace_seconds)
    return [found.get(url) or (None, _hanging(url)) for url in urls]


def proxy_for(url, environ):
    """Return host and port of the proxy that the environment names for an address, without its password; None if none."""
    try:
        proxy = proxies.proxy_for(origin_of(url), environ)
    except NetworkError:
        return "an unusable address"
    return proxy and str(proxy)


def failed_step(problem):
    """Return which of STEPS an error of `reach` belongs to."""
    return FAILED_STEPS.get(problem.code) or ("tls" if "TLS" in problem.message else "connection")


def _hanging(url):
    return NetworkError(
        "No answer to the name %s for too long." % origin_of(url).host,
        code="dns_failed",
        outcome="not_sent",
        hint="The name service does not answer.",
    )
