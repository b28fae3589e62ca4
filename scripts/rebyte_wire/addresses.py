"""Pure questions about addresses: where does one lead, and may signed bytes go there."""

from __future__ import annotations

import ipaddress
import re
from collections import namedtuple
from socket import inet_aton
from urllib.parse import urlsplit

from rebyte_wire.errors import InputError, NetworkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    IPAddress = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

Origin = namedtuple("Origin", "scheme host port")

DEFAULT_PORTS = {"https": 443, "http": 80}
PLAIN = re.compile("[\x21-\x7e]+")
HOST_AND_PORT = re.compile(
    r"(\[[a-z0-9.:]+(%[a-z0-9]+)?\]|[a-z0-9_.-]+(%[a-z0-9]+)?)(:(0*[1-9][0-9]*)?)?"
)
LOOPBACK = re.compile(r"localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1")
PRIVATE_NAME = re.compile(r"(.*\.)?(localhost|local|internal)")
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def origin_of(address: str) -> Origin:
    """Return scheme, host and port of an http(s) address; InputError for anything dubious in it."""
    try:
        if not PLAIN.fullmatch(address):
            raise ValueError("blank or non-ASCII characters")
        parts = urlsplit(address)
        port = parts.port
    except (ValueError, TypeError):
        raise InputError("The address is not a valid http(s) address.") from None
    scheme = parts.scheme.lower()
    host = str(parts.hostname)
    if scheme not in DEFAULT_PORTS:
        raise InputError(
            "The address is not https (nor http to this machine) but {!r}.".format(
                scheme[:20]
            )
        )
    if re.search(r"[@\\]", parts.netloc):
        raise InputError(
            "The address holds a user name or password; that is never sent."
        )
    if not HOST_AND_PORT.fullmatch(parts.netloc.lower()):
        raise InputError("The address names no usable host and port.")
    if scheme == "http" and not is_loopback(host):
        raise InputError(
            "The address is plain http; only this machine is spoken to without TLS."
        )
    return Origin(scheme, host, port or DEFAULT_PORTS[scheme])


def bracketed(host: str) -> str:
    """Return a host as it stands before a port: an IPv6 address in brackets."""
    return "[{}]".format(host) if ":" in host else host


def is_loopback(host: str) -> bool:
    """Say whether a host name or literal plainly means this machine."""
    return bool(LOOPBACK.fullmatch(host))


def check_signed(address: str, api_is_loopback: bool) -> Origin:
    """Return the origin of a signed address; NetworkError(address_refused) if it is not safe."""
    try:
        origin = origin_of(address)
    except InputError as error:
        raise refused(error.message) from None
    if api_is_loopback:
        return origin
    if origin.scheme == "http":
        raise refused("It is plain http.")
    if is_private(origin.host):
        raise refused("It leads into a private network, and the API is public.")
    return origin


def refused(why: str) -> NetworkError:
    """Return the error for a signed address that is not used; it hides the address, a secret."""
    return NetworkError(
        "The service gave an address for a file that is not safe to use. " + why,
        code="address_refused",
        retryable=False,
        outcome="not_sent",
        hint="Expected a public https address. Tell the service's operator.",
    )


def is_private(host: str) -> bool:
    """Say whether a literal, in any spelling a system would accept, is no public unicast address.

    A name is not a literal and gives False: it is judged by the peer's address once connected.
    """
    host = host.rstrip(".")
    address = parse_literal(host)
    if address is None:
        return bool(PRIVATE_NAME.fullmatch(host))
    address = embedded_ipv4(address) or address
    return not address.is_global or address.is_multicast


def embedded_ipv4(address: IPAddress) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address inside a mapped, 6to4 or NAT64 one, or None."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in NAT64 or int(address) >> 32 == 0:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def parse_literal(host: str) -> IPAddress | None:
    """Return the IP address a literal means, or None.

    inet_aton knows the decimal, hexadecimal, octal and short spellings of IPv4.
    """
    try:
        if ":" in host:
            return ipaddress.ip_address(host.partition("%")[0].strip("[]"))
        return ipaddress.ip_address(inet_aton(host))
    except (OSError, ValueError):
        return None
