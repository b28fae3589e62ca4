"""How far one host can be reached: the client's own connect, through its own proxy and certificates, and not a byte more."""

from __future__ import annotations

import threading
from collections import namedtuple
from urllib.request import getproxies, proxy_bypass

from rebyte_wire.addresses import is_loopback, origin_of
from rebyte_wire.connections import ConnectionPool
from rebyte_wire.errors import NetworkError, RebyteError
from rebyte_wire.requests import Request

STEPS = ("name", "connection", "proxy", "tls")
# What a code says of the step that failed; steps before it went well.
FAILED_STEPS = {
    "dns_failed": "name",
    "proxy_refused": "proxy",
    "proxy_unreachable": "proxy",
    "tls_failed": "tls",
}

Met = namedtuple("Met", "peer proxy version issuer")


class Probe(ConnectionPool):
    """Connections that take every step before the first byte (name, TCP, CONNECT, TLS), note whom they met, and hang up."""

    def speak(self, line, request):
        """Connect, look, and hang up; nothing is sent."""
        line.call = request.call
        try:
            line.connect()
            return Met(
                line.sock.getpeername()[0], line.proxy and "%s:%d" % line.proxy, *_tls_of(line.sock)
            )
        finally:
            line.close()


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
    probe = Probe(environ)
    try:
        return probe.exchange(Request("GET", url, {}, deadline=deadline, public_only=False)), None
    except RebyteError as problem:
        return None, problem
    finally:
        probe.close()


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


def proxy_for(url):
    """Return host and port of the proxy that the environment names for an address, without its password; None if none."""
    host = origin_of(url).host
    address = getproxies().get(origin_of(url).scheme)
    if not address or is_loopback(host) or proxy_bypass(host):
        return None
    return address.split("://")[-1].rpartition("@")[2].strip("/") or "an unusable address"


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
