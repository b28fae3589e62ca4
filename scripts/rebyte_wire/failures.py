"""What sockets, ssl and http.client raise becomes one of our errors; the cause stays chained."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rebyte_wire.errors import AnswerUnreadable, DeadlineReached, NetworkError
from rebyte_wire.tls import CLOCK_HINT, hint_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rebyte_wire.proxies import Proxy
    from rebyte_wire.requests import Request

TIMEOUTS = (socket.timeout, TimeoutError)
# Of the errors of a handshake these say that the peer hung up, not that it cannot be trusted.
HANG_UPS = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
CONNECT_CODES = (
    ((socket.gaierror, UnicodeError), "dns_failed"),
    (TIMEOUTS, "connect_timeout"),
    (ConnectionRefusedError, "connection_refused"),
)
CONNECT_HINT = "Check the address and the network; in a sandbox, whether HTTPS_PROXY has to be set."
SHORT_HINT = (
    "Nothing is wrong with the network: this process may open no more files (ulimit -n),"
    " or memory is short."
)
SHORT_OF = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))
PROXY_HINT = (
    "The proxy or sandbox must allow this host (api.rebyte.ai and storage.googleapis.com);"
    " ask who runs it."
)
PROXY_SICK_HINT = (
    "The proxy itself cannot reach this host; run the same line again later,"
    " or ask who runs it."
)
NO_PROXY_HINT = "Perhaps no HTTP proxy listens there: check HTTPS_PROXY (or ALL_PROXY)."
CREDENTIALS_HINT = (
    "The proxy wants a user name and a password: put them into the variable that names it, as in"
    " HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT (special characters percent-encoded)."
)
CREDENTIALS_REFUSED_HINT = (
    "The proxy does not take the user name and password that HTTPS_PROXY (or ALL_PROXY) holds:"
    " correct them (special characters percent-encoded)."
)
UNREACHABLE_HINT = (
    "HTTPS_PROXY (or https_proxy, ALL_PROXY) names it:"
    " correct it, or unset it where the way is free."
)


@contextmanager
def map_exceptions(
    request: Request, short_code: str = "connection_cut"
) -> Iterator[None]:
    """Translate what goes wrong once a request may have left.

    `short_code` is the code of the error for a body that ends too early.
    """
    try:
        yield
    except TIMEOUTS as error:
        if request.deadline.expired:
            raise DeadlineReached(
                "The time for this call is over, and the service has not answered in full."
            ) from error
        raise NetworkError(
            "Nothing came for {:g} s, although the connection is open.".format(
                request.read_seconds
            ),
            code="read_timeout",
        ) from error
    except http.client.IncompleteRead as error:
        raise NetworkError(
            "The connection ended before the answer was complete.", code=short_code
        ) from error
    except ValueError as error:
        raise AnswerUnreadable(
            "What came back cannot be read as HTTP ({}).".format(reason_of(error))
        ) from error
    except OSError as error:
        raise NetworkError(
            "The connection broke ({}).".format(reason_of(error)), code="connection_cut"
        ) from error
    except http.client.HTTPException as error:
        raise AnswerUnreadable(
            "What came back is not HTTP ({}).".format(type(error).__name__)
        ) from error


def connect_failure(
    host: str,
    port: int,
    proxy: Proxy | None,
    error: Exception,
) -> NetworkError:
    """Return the error for a host, or the proxy before it, that could not be reached."""
    reason = reason_of(error)
    if getattr(error, "errno", None) in SHORT_OF:
        return not_sent(
            "No connection to {} port {} ({}).".format(host, port, reason),
            NetworkError.default_code,
            hint=SHORT_HINT,
        )
    if proxy:
        return not_sent(
            "No connection to the proxy {} port {} that the environment names ({}).".format(
                host, port, reason
            ),
            "proxy_unreachable",
            hint=UNREACHABLE_HINT,
        )
    codes = [code for kinds, code in CONNECT_CODES if isinstance(error, kinds)]
    return not_sent(
        "No connection to {} port {} ({}).".format(host, port, reason),
        codes[0] if codes else "connect_failed",
        hint=CONNECT_HINT,
    )


def tunnel_failure(
    proxy: Proxy, reason: str, status: int | None = None
) -> NetworkError:
    """Return the error for a proxy that opens no tunnel; all but its 4xx may pass."""
    code = "proxy_refused"
    hint = PROXY_HINT
    if status is None:
        hint = NO_PROXY_HINT
    elif status >= 500:
        hint = PROXY_SICK_HINT
    elif status == 407:
        code = "proxy_auth_required"
        hint = CREDENTIALS_REFUSED_HINT if proxy.headers else CREDENTIALS_HINT
    return not_sent(
        "The proxy {} port {} does not open a tunnel ({}).".format(
            proxy.host, proxy.port, reason
        ),
        code,
        retryable=status is None or status >= 500,
        hint=hint,
    )


def tls_failure(
    host: str,
    error: Exception,
    context: ssl.SSLContext,
) -> NetworkError:
    """Return the error for a failed handshake: the configuration, unless the peer just hung up."""
    if isinstance(error, TIMEOUTS):
        return not_sent(
            "The TLS handshake with {} took too long.".format(host), "connect_timeout"
        )
    if isinstance(error, HANG_UPS) or not isinstance(error, (ssl.SSLError, ValueError)):
        return not_sent(
            "{} hung up during the TLS handshake.".format(host), "connect_failed"
        )
    reason = getattr(error, "verify_message", None) or reason_of(error)
    hint = hint_for(error, context)
    if hint == CLOCK_HINT:
        reason += time.strftime(
            "; this machine's clock says %Y-%m-%d %H:%M UTC", time.gmtime()
        )
    return not_sent(
        "The TLS connection to {} cannot be trusted ({}).".format(host, reason),
        "tls_failed",
        retryable=False,
        hint=hint,
    )


def not_sent(message: str, code: str, **more: Any) -> NetworkError:
    """Return a network error from before the first byte."""
    return NetworkError(message, code=code, outcome="not_sent", **more)


def reason_of(error: Exception) -> str:
    """Return the short reason inside an exception, on one line."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(reason).split())[:160]
