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
# A folder that holds no certificate, for a context that trusts nobody yet.
NOWHERE = os.devnull
CA_HINT = (
    "Behind a proxy that inspects TLS,"
    " set REBYTE_CA_BUNDLE (or SSL_CERT_FILE) to a file with its CA certificate."
)
STRICT_HINT = (
    "Python 3.13 checks certificates more strictly, and those of many proxies fail that. Ask for a"
    " proper one, or set REBYTE_TLS_STRICT=0 to leave out that one check; everything else stays"
    " verified."
)
CLOCK_HINT = (
    "Compare that time with a clock: if it is wrong, set this machine's clock;"
    " if it is right, whoever runs the host has to renew the certificate."
)
HOST_HINT = (
    "Another server answers at this address: check the base address, and whether a proxy, a"
    " portal or a line in the hosts file leads elsewhere."
)
NO_TLS_HINT = (
    "What answers there speaks no TLS that is known here: check the address and its port, and"
    " whether a portal or a proxy answers in its place."
)
# By OpenSSL's X509_V_ERR_*: not valid yet, expired; of another host, of another address;
# self-signed (2), no issuer (2), untrusted.
HINTS = {
    9: CLOCK_HINT,
    10: CLOCK_HINT,
    62: HOST_HINT,
    64: HOST_HINT,
    18: CA_HINT,
    19: CA_HINT,
    20: CA_HINT,
    21: CA_HINT,
    27: CA_HINT,
}


def build_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return the context that the environment asks for; NetworkError for an unreadable bundle.

    REBYTE_CA_BUNDLE is trusted alone. Else, as OpenSSL has it, SSL_CERT_FILE stands for the
    system's file and SSL_CERT_DIR for its folder, and what other tools were told is added.
    """
    own = path_in(environ, "REBYTE_CA_BUNDLE")
    if own:
        context = ssl.create_default_context(capath=NOWHERE)
        load(context, "REBYTE_CA_BUNDLE", own)
    else:
        context = system_context(environ)
        for name in ADDED_BUNDLES:
            if os.path.exists(path_in(environ, name)):
                load(context, name, path_in(environ, name))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if environ.get("REBYTE_TLS_STRICT") == "0":
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def system_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return a context with the system's store, or what SSL_CERT_FILE and SSL_CERT_DIR name.

    Where Python has no store of the system, it is looked for in the usual places.
    """
    file = path_in(environ, "SSL_CERT_FILE")
    folder = path_in(environ, "SSL_CERT_DIR")
    if file or folder:
        usual = ssl.get_default_verify_paths()
        context = ssl.create_default_context(capath=folder or usual.openssl_capath)
        if file:
            load(context, "SSL_CERT_FILE", file)
        elif os.path.exists(usual.openssl_cafile):
            load(context, "the system's file", usual.openssl_cafile)
        return context
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        path = next(filter(os.path.isfile, USUAL_BUNDLES), None)
        if path:
            load(context, "the system's file", path)
    return context


def path_in(environ: Mapping[str, str], name: str) -> str:
    """Return the path in a variable, "" where there is none; ~ is the home folder."""
    return os.path.expanduser(environ.get(name, ""))


def load(context: ssl.SSLContext, name: str, path: str) -> None:
    """Trust the certificates in a file or folder; NetworkError names whose it is if it fails."""
    try:
        if os.path.isdir(path):
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except (OSError, ValueError) as error:
        raise NetworkError(
            "The CA certificates of {} cannot be read ({}): {}.".format(
                name, path, getattr(error, "strerror", None) or error
            ),
            code="tls_failed",
            retryable=False,
            outcome="not_sent",
            hint="Correct or unset {}.".format(name),
        ) from error


def hint_for(error: Exception, context: ssl.SSLContext) -> str:
    """Return what to try after a failed handshake."""
    code = getattr(error, "verify_code", None)
    if not code:
        return NO_TLS_HINT
    strict = context.verify_flags & ssl.VERIFY_X509_STRICT
    return HINTS.get(code, STRICT_HINT if strict else CA_HINT)
