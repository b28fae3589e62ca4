"""Pure: which proxy the environment names for an origin. The one rule, for calls and for doctor."""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from collections import namedtuple
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes, urlsplit

from rebyte_wire.addresses import Origin, bracketed, is_loopback, parse_literal
from rebyte_wire.errors import NetworkError
from rebyte_wire.failures import not_sent

# The first that is set decides; an empty https_proxy means: no proxy.
PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
DEFAULT_PROXY_PORT = 80


class Proxy(namedtuple("Proxy", "host port headers")):
    """An HTTP proxy: where it listens, and the (name, value) headers that it alone is sent."""

    __slots__ = ()

    def __repr__(self) -> str:
        # Without the headers, which may hold a password.
        return "{}:{}".format(bracketed(self.host), self.port)


def proxy_for(origin: Origin, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for an origin, None where the way is direct, as to this machine always.

    Raises NetworkError(proxy_refused) for a setting that is no address of an HTTP proxy.
    """
    if is_loopback(origin.host):
        return None
    address = proxy_address(environ)
    if not address or is_excluded(origin, environ):
        return None
    if "://" not in address:
        address = "http://" + address.lstrip("/")
    try:
        parts = urlsplit(address)
        port = parts.port or DEFAULT_PROXY_PORT
    except ValueError:
        raise unusable() from None
    if parts.scheme != "http" or not parts.hostname:
        raise unusable()
    return Proxy(parts.hostname, port, authorization(parts.netloc))


def proxy_address(environ: Mapping[str, str]) -> str:
    """Return what the environment names as the proxy for https, "" for none."""
    if environ.get("https_proxy") == "":
        return ""
    named = [environ.get(name, "").strip() for name in PROXY_VARIABLES]
    return next(filter(None, named), "")


def authorization(netloc: str) -> tuple[tuple[str, str], ...]:
    """Return the header for the user name and password in a proxy's address, if there are any."""
    user, separator, _ = netloc.rpartition("@")
    if not separator:
        return ()
    name, _, password = user.partition(":")
    credentials = unquote_to_bytes(name) + b":" + unquote_to_bytes(password)
    return (("Proxy-Authorization", "Basic " + b64encode(credentials).decode("ascii")),)


def is_excluded(origin: Origin, environ: Mapping[str, str]) -> bool:
    """Say whether NO_PROXY lists an origin; its entries are parted by commas or blanks."""
    listed = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return any(covers(entry, origin) for entry in re.split(r"[\s,]+", listed.lower()))


def covers(entry: str, origin: Origin) -> bool:
    """Say whether an entry of NO_PROXY means an origin.

    It is "*", a name that the host is or ends in (also as .name or *.name), an address or a
    network (10.0.0.0/8); each may be followed by a port.
    """
    name, _, port = entry.rpartition(":")
    if not port.isdigit() or (":" in name and not name.endswith("]")):
        # There is no port: the last colon, if any, is one of an IPv6 address.
        name = entry
        port = str(origin.port)
    if port != str(origin.port):
        return False
    if name == "*":
        return True
    host = origin.host.rstrip(".")
    address = parse_literal(host)
    try:
        network = ipaddress.ip_network(name.strip("[]"), strict=False)
    except ValueError:
        name = name.lstrip("*.")
        return host == name or (address is None and host.endswith("." + name))
    return address is not None and address in network


def unusable() -> NetworkError:
    """Return the error for a proxy setting that cannot be used; it may hold a password.

    An https:// proxy is one of them: its user name and password would leave without TLS.
    """
    return not_sent(
        "The proxy set in the environment is not the address of an HTTP proxy.",
        "proxy_refused",
        retryable=False,
        hint="Expected something like HTTPS_PROXY=http://proxy.example.com:3128;"
        " socks:// and https:// proxies are not spoken to.",
    )
