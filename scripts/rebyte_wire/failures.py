"""The edge where what sockets, ssl and http.client raise becomes one of our errors; the cause stays chained."""

from __future__ import annotations

import http.client
import socket
import ssl
from contextlib import contextmanager

from rebyte_wire.errors import AnswerUnreadable, DeadlineReached, NetworkError
from rebyte_wire.tls import hint_for

TIMEOUTS = (socket.timeout, TimeoutError)
CONNECT_CODES = (
    ((socket.gaierror, UnicodeError), "dns_failed"),
    (TIMEOUTS, "connect_timeout"),
    (ConnectionRefusedError, "connection_refused"),
)
PROXY_HINT = "The proxy or sandbox must allow this host (api.rebyte.ai and storage.googleapis.com); ask who runs it."


@contextmanager
def map_exceptions(call, cut="connection_cut"):
    """Translate what goes wrong once a call may have left; `cut` is the code for a body that ends too early."""
    try:
        yield
    except TIMEOUTS as error:
        if call.deadline.expired:
            raise DeadlineReached(
                "The time for this call is over, and the service has not answered in full."
            ) from error
        raise NetworkError(
            "Nothing came for {:g} s, although the connection is open.".format(call.read_seconds),
            code="read_timeout",
        ) from error
    except http.client.IncompleteRead as error:
        raise NetworkError(
            "The connection ended before the answer was complete.", code=cut
        ) from error
    except OSError as error:
        raise NetworkError(
            "The connection broke ({}).".format(reason_of(error)), code="connection_cut"
        ) from error
    except http.client.HTTPException as error:
        raise AnswerUnreadable(
            "What came back is not HTTP ({}).".format(type(error).__name__)
        ) from error


def connect_failure(place, error) -> NetworkError:
    """Return the error for a host whose name is unknown or that could not be reached."""
    code = next(
        (code for kinds, code in CONNECT_CODES if isinstance(error, kinds)), "connect_failed"
    )
    return not_sent(
        "No connection to {} port {} ({}).".format(place[0], place[1], reason_of(error)),
        code,
        hint="Check the address and the network; in a sandbox, whether HTTPS_PROXY has to be set.",
    )


def proxy_unreachable(place, error) -> NetworkError:
    """Return the error for a proxy that is set and cannot be reached itself."""
    return not_sent(
        "No connection to the proxy {} port {} that the environment names ({}).".format(
            place[0], place[1], reason_of(error)
        ),
        "proxy_unreachable",
        hint="HTTPS_PROXY (or https_proxy, ALL_PROXY) names it: correct it, or unset it where the way is free.",
    )


def proxy_failure(place, error) -> NetworkError:
    """Return the error for a proxy that does not open the tunnel; its own failures (5xx, cuts) may pass."""
    passing = " 4" not in str(error).partition("failed:")[2][:2]
    return not_sent(
        "The proxy {} port {} does not open a tunnel ({}).".format(
            place[0], place[1], reason_of(error)
        ),
        "proxy_refused",
        retryable=passing,
        hint=PROXY_HINT,
    )


def tls_failure(host, error, context) -> NetworkError:
    """Return the error for a failed handshake: a matter of configuration, unless the peer simply hung up."""
    if isinstance(error, TIMEOUTS):
        return not_sent("The TLS handshake with {} took too long.".format(host), "connect_timeout")
    if not isinstance(error, (ssl.SSLError, ValueError)) or isinstance(
        error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)
    ):
        return not_sent("{} hung up during the TLS handshake.".format(host), "connect_failed")
    why = getattr(error, "verify_message", None) or reason_of(error)
    return not_sent(
        "The TLS connection to {} cannot be trusted ({}).".format(host, why),
        "tls_failed",
        retryable=False,
        hint=hint_for(error, context),
    )


def not_sent(message, code, **more) -> NetworkError:
    """Return a network error from before the first byte."""
    return NetworkError(message, code=code, outcome="not_sent", **more)


def reason_of(error) -> str:
    """Return the short reason inside an exception, on one line."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(reason).split())[:160]
