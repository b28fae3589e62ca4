"""Pure questions about addresses: where does one lead, is that this machine, and may signed bytes go there."""

from __future__ import annotations

import ipaddress
import re
from collections import namedtuple
from socket import inet_aton
from urllib.parse import urlsplit

from rebyte_wire.errors import InputError, NetworkError

Origin = namedtuple("Origin", "scheme host port")

DEFAULT_PORTS = {"https": 443, "http": 80}
PLAIN = re.compile("[\x21-\x7e]+")
HOST = re.compile(r"[a-z0-9_.:-]+(%[a-z0-9]+)?")
LOOPBACK = re.compile(r"localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1")
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def origin_of(address) -> Origin:
    """Return scheme, host and port of an http(s) address; anything dubious in it raises InputError."""
    try:
        if not PLAIN.fullmatch(address):
            raise ValueError("blank or non-ASCII characters")
        parts = urlsplit(address)
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").lower(), parts.port
    except (ValueError, TypeError):
        raise InputError("The address is not a valid http(s) address.") from None
    if scheme not in DEFAULT_PORTS:
        raise InputError(
            "The address is not https (nor http to this machine) but {!r}.".format(scheme[:20])
        )
    if parts.username is not None or parts.password is not None or "\\" in parts.netloc:
        raise InputError("The address holds a user name or password; that is never sent.")
    if not HOST.fullmatch(host) or port == 0:
        raise InputError("The address names no usable host and port.")
    if scheme == "http" and not is_loopback(host):
        raise InputError("The address is plain http; only this machine is spoken to without TLS.")
    return Origin(scheme, host, port or DEFAULT_PORTS[scheme])


def is_loopback(host: str) -> bool:
    """Say whether a host name or literal plainly means this machine."""
    return bool(LOOPBACK.fullmatch(host))


def check_signed(address, api_is_loopback: bool) -> Origin:
    """Return the origin of a signed address, or raise NetworkError(address_refused) if no bytes may go there."""
    try:
        origin = origin_of(address)
    except InputError as error:
        raise refused(error.message) from None
    if origin.scheme == "http" and not api_is_loopback:
        raise refused("It is plain http.")
    if not api_is_loopback and (is_loopback(origin.host.rstrip(".")) or is_private(origin.host)):
        raise refused("It leads into a private network, and the API is public.")
    return origin


def refused(why: str) -> NetworkError:
    """Return the error for a signed address that is not used; it never shows the address, which is a secret."""
    return NetworkError(
        "The service gave an address for a file that is not safe to use. " + why,
        code="address_refused",
        retryable=False,
        outcome="not_sent",
        hint="Expected a public https address. Tell the service's operator.",
    )


def is_private(host: str) -> bool:
    """Say whether a literal, in any spelling an operating system would accept, is not a public unicast address.

    A name is not a literal and gives False: it is judged by the peer's address once connected.
    """
    address = parse_literal(host.rstrip("."))
    if address is None:
        return bool(re.fullmatch(r"(.*\.)?(localhost|local|internal)", host.rstrip(".")))
    address = embedded_ipv4(address) or address
    return not address.is_global or address.is_multicast


def embedded_ipv4(address):
    """Return the IPv4 address inside a mapped, 6to4 or NAT64 one, or None."""
    if address.version == 4:
        return None
    if address in NAT64 or int(address) >> 32 == 0:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def parse_literal(host: str):
    """Return the IP address a literal means, or None; inet_aton knows the decimal, hex, octal and short spellings."""
    try:
        return ipaddress.ip_address(
            host.partition("%")[0].strip("[]") if ":" in host else inet_aton(host)
        )
    except (OSError, ValueError):
        return None
