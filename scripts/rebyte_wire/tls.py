"""Whom to trust: one TLS context that always verifies, 1.2 or newer."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping

from rebyte_wire.errors import NetworkError

USUAL_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/opt/homebrew/etc/ca-certificates/cert.pem",
)
ADDED_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# X509_V_ERR_*: not valid yet, expired, self-signed (2), no issuer (2), untrusted, host, address.
EVERYDAY_FAILURES = frozenset((9, 10, 18, 19, 20, 21, 27, 62, 64))
CA_HINT = (
    "Behind a proxy that inspects TLS,"
    " set REBYTE_CA_BUNDLE (or SSL_CERT_FILE) to a file with its CA certificate."
)
STRICT_HINT = (
    "Python 3.13 checks certificates more strictly, and those of many proxies fail that. Ask for a"
    " proper one, or set REBYTE_TLS_STRICT=0 to leave out that one check; everything else stays"
    " verified."
)


def build_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return the context that the environment asks for; NetworkError for an unreadable bundle."""
    own = environ.get("REBYTE_CA_BUNDLE")
    cert_file = environ.get("SSL_CERT_FILE")
    cert_dir = environ.get("SSL_CERT_DIR")
    try:
        if own:
            context = trusting(own)
        elif cert_file or cert_dir:
            context = ssl.create_default_context(cafile=cert_file, capath=cert_dir)
        else:
            context = system_context(environ)
    except (OSError, ValueError) as error:
        raise NetworkError(
            "The CA certificates cannot be read: {}.".format(error),
            code="tls_failed",
            retryable=False,
            outcome="not_sent",
            hint="Check REBYTE_CA_BUNDLE, SSL_CERT_FILE and SSL_CERT_DIR.",
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if environ.get("REBYTE_TLS_STRICT") == "0":
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def trusting(path: str) -> ssl.SSLContext:
    """Return a context that trusts the certificates of one file or folder and no others."""
    if os.path.isdir(path):
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


def system_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return a context with the system's store and what other tools were told to trust.

    Where Python has no store of the system, it is looked for in the usual places.
    """
    context = ssl.create_default_context()
    bundles = [environ.get(name, "") for name in ADDED_BUNDLES]
    if not context.cert_store_stats()["x509_ca"]:
        bundles += [path for path in USUAL_BUNDLES if os.path.isfile(path)][:1]
    for path in bundles:
        if os.path.isdir(path):
            context.load_verify_locations(capath=path)
        elif os.path.exists(path):
            context.load_verify_locations(cafile=path)
    return context


def hint_for(error: Exception, context: ssl.SSLContext) -> str:
    """Return what to try after a failed handshake."""
    code = getattr(error, "verify_code", None)
    strict = context.verify_flags & ssl.VERIFY_X509_STRICT
    if strict and code and code not in EVERYDAY_FAILURES:
        return STRICT_HINT
    return CA_HINT
