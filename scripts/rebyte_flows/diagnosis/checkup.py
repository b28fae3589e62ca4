"""What stands between this machine and a task: a list of checks, each with what was seen and what helps."""

from __future__ import annotations

import os
import platform
import stat
import sys
from collections import namedtuple

try:
    import sqlite3
except ImportError:
    sqlite3 = None
try:
    import ssl
except ImportError:
    ssl = None

from rebyte_flows.diagnosis.probe import STEPS, failed_step, proxy_for, reach_all
from rebyte_flows.starting.credit import credits_left, note_of
from rebyte_wire.addresses import origin_of
from rebyte_wire.credentials import DEFAULT_BASE_URL, is_of_another_user
from rebyte_wire.errors import AuthError, InputError, LedgerUnwritable, RateLimited, RebyteError
from rebyte_wire.tls import CLOCK_HINT, HOST_HINT, NO_TLS_HINT, STRICT_HINT

STORAGE_URL = "https://storage.googleapis.com"
REACH_SECONDS, READ_SECONDS = 20, 20
SKEW_SECONDS_MOST = 300

# `ok` is None for what could not be looked at; `problem` is the error behind a failure; a remedy may stand beside an ok.
Check = namedtuple("Check", "name ok detail remedy problem")

HOSTS = "api.rebyte.ai and storage.googleapis.com"
KEYS = "https://app.rebyte.ai/settings/api-keys"

# code -> (what helps, the sentence to ask; None where there is nobody to ask).
REMEDIES = {
    "python_incomplete": (
        "run it with another Python, 3.8 or newer, that has sqlite3 and ssl",
        "Please install a Python 3.8 or newer that has the modules sqlite3 and ssl where I run.",
    ),
    "ledger_unwritable": (
        "point REBYTE_STATE_DIR at a folder that can be written and that stays",
        "Please name a folder that I may write to and that stays, for REBYTE_STATE_DIR.",
    ),
    "missing_api_key": (
        "set REBYTE_API_KEY, or write the key to ~/.config/rebyte/api_key; --local needs none",
        "I need a Rebyte API key. You can make one at " + KEYS + "; please put it in the file "
        "~/.config/rebyte/api_key, or set REBYTE_API_KEY. Do not paste it into this conversation.",
    ),
    "invalid_api_key": (
        "the service does not take this key: make a new one",
        "The service refuses the Rebyte API key. Please make a new one at "
        + KEYS
        + " and put it where the old one is.",
    ),
    "insufficient_scopes": (
        "the key may not read tasks: make one that may",
        "The Rebyte API key lacks the right to read tasks. Please make one that has it at "
        + KEYS
        + ".",
    ),
    "header_dropped": (
        "a proxy on the way drops header names with an underscore, as nginx does unless underscores_in_headers is on",
        "A proxy on the way drops the header API_KEY, because its name has an underscore. Please have it passed on "
        "to api.rebyte.ai (nginx: underscores_in_headers on), or let me go there directly.",
    ),
    "dns_failed": (
        "no name is resolved from here; in a sandbox the network is probably off, or HTTPS_PROXY has to be set",
        "Please allow network access to "
        + HOSTS
        + " where I run: their names are not resolved here.",
    ),
    "proxy_unreachable": (
        "the proxy that HTTPS_PROXY names cannot be reached: correct it, or unset it where the way is free",
        "The proxy that HTTPS_PROXY names where I run cannot be reached. Is its address right?",
    ),
    "proxy_auth_required": (
        "the proxy wants a user name and password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT",
        "The proxy of my sandbox wants a user name and a password. Please put them into HTTPS_PROXY"
        " where I run, as http://USER:PASSWORD@HOST:PORT. Do not paste them into this conversation.",
    ),
    "proxy_refused": (
        "the proxy's list of allowed hosts lacks this one",
        "Please put " + HOSTS + " on the list of hosts that the proxy of my sandbox allows.",
    ),
    "connection_refused": (
        "nothing listens there: check the address, and whether HTTPS_PROXY has to be set",
        "Please check that I may reach " + HOSTS + " on port 443, or tell me which proxy to use.",
    ),
    "connect_timeout": (
        "a firewall drops what is sent there; a proxy may be the only way out",
        "Please let me reach " + HOSTS + " on port 443; a firewall seems to drop what I send.",
    ),
    "connect_failed": (
        "the network is not there, or something on the way hangs up",
        "Please let me reach " + HOSTS + " on port 443; connections there break off.",
    ),
    "server_error": ("the service is in trouble: the same line later; nothing is wrong here", None),
    "no_such_route": (
        "the address answers but has no such part: check REBYTE_BASE_URL; else the endpoint is gone, and this bundle is too old",
        "The service no longer has the endpoint that this skill uses. Is there a newer version of the skill?",
    ),
    "bad_answer": (
        "something else answers at this address, such as a login page of the network; or REBYTE_BASE_URL is wrong",
        "Something other than the API answers at its address, perhaps a login page. Please let me out of that network.",
    ),
    "clock_wrong": (
        "set this machine's clock; certificates and signed addresses depend on it",
        "The clock of the machine where I run is wrong. Please set it.",
    ),
    "credits_low": ("ask your human to look at the balance at https://app.rebyte.ai", None),
}
TLS_ASK = (
    "A proxy between me and "
    + HOSTS
    + " reads TLS, and its certificate is not trusted. Please give me the file with its CA "
    "certificate for REBYTE_CA_BUNDLE."
)
STRICT_ASK = (
    "The certificate of the proxy between me and "
    + HOSTS
    + " fails the strict check of Python 3.13. Please have it made "
    "properly, or allow me to set REBYTE_TLS_STRICT=0, which leaves out that one check."
)
# What a handshake failed of -> the sentence to ask.
TLS_ASKS = {
    STRICT_HINT: STRICT_ASK,
    CLOCK_HINT: REMEDIES["clock_wrong"][1],
    HOST_HINT: REMEDIES["bad_answer"][1],
    NO_TLS_HINT: REMEDIES["bad_answer"][1],
}


def remedy_for(problem):
    """Return what helps against an error, in one or two sentences."""
    if problem.code == "tls_failed" or problem.code not in REMEDIES:
        return problem.hint or "see the row of %s in references/errors.md" % problem.code
    return REMEDIES[problem.code][0]


def remedy_of(code):
    """Return what helps against a cause that is known by its code alone."""
    return REMEDIES[code][0]


def ask_for(problem, base=DEFAULT_BASE_URL):
    """Return the sentence to ask the human with, or None where asking does not help; another base address is named in it."""
    if problem.code == "tls_failed":
        text = TLS_ASKS.get(problem.hint, TLS_ASK)
    else:
        text = REMEDIES.get(problem.code, (None, None))[1]
    if not text or base == DEFAULT_BASE_URL or HOSTS not in text:
        return text
    _, host, port = origin_of(base)
    return (
        "%s That is the address that REBYTE_BASE_URL or --base-url names: is it right?"
        % text.replace(HOSTS, host).replace("443", str(port))
    )


def good(name, detail, remedy=None):
    """Return a check that went well; a remedy is then a piece of advice."""
    return Check(name, True, detail, remedy, None)


def bad(name, problem, remedy=None):
    """Return a check that failed with an error, which has the remedy unless another one is given."""
    return Check(name, False, problem.message, remedy or remedy_for(problem), problem)


def skipped(name, why):
    """Return a check that could not be made, or that does not apply."""
    return Check(name, None, "not checked: " + why, None, None)


def check_python():
    """Check this Python: version, sqlite3 for the ledger, ssl."""
    detail = "%s at %s" % (platform.python_version(), sys.executable or "an unknown place")
    for name, module in (("sqlite3", sqlite3), ("ssl", ssl)):
        if module is None:
            return bad(
                "python",
                LedgerUnwritable(
                    "%s lacks the module %s" % (detail, name), code="python_incomplete"
                ),
            )
    return good(
        "python", "%s, sqlite3 %s, %s" % (detail, sqlite3.sqlite_version, ssl.OPENSSL_VERSION)
    )


def check_state(find):
    """Check the state folder that `find()` returns or refuses."""
    try:
        state = find()
    except LedgerUnwritable as problem:
        return bad("state", problem)
    if state.lasting:
        return good("state", "%s can be written" % state.path)
    return good(
        "state",
        "%s can be written, but may not last" % state.path,
        "set REBYTE_STATE_DIR to a folder that stays, so that the same line again still knows its task",
    )


def check_key(find):
    """Return (key or None, check) of the key that `find()` gives as (key, source); the key itself is never shown."""
    try:
        key, source = find()
    except (AuthError, InputError) as problem:
        return None, bad("key", problem)
    if not key:
        return None, bad("key", AuthError("no key was found", code="missing_api_key"))
    return key, good("key", "present, from %s" % source, _exposed(source))


def _exposed(source):
    """Return advice for a key file that others can read, or that belongs to another user."""
    if os.sep in source and is_of_another_user(source):
        return "it belongs to another user: write the key to a file of your own"
    try:
        shared = (
            os.name == "posix"
            and os.sep in source
            and os.stat(source).st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        )
    except OSError:
        return None
    return "other users of this machine can read it: chmod 600 %s" % source if shared else None


def check_address(base):
    """Check which service is spoken to."""
    usual = base == DEFAULT_BASE_URL
    return good("address", base if usual else "%s, not the usual %s" % (base, DEFAULT_BASE_URL))


def check_hosts(base, environ, deadline):
    """Check name, connection, proxy and certificate of the API's host and of the storage's, both at once."""
    local = origin_of(base).scheme == "http"
    urls = [base] if local else [base, STORAGE_URL]
    checks = []
    for label, url, (met, problem) in zip(
        ("api", "storage"), urls, reach_all(urls, environ, deadline.within(REACH_SECONDS))
    ):
        checks += host_checks(label, url, met, problem, environ)
    if local:
        checks.append(skipped("storage", "the API is on this machine, and so are its files"))
    return checks


def host_checks(label, url, met, problem, environ):
    """Return one check for each of STEPS of one host."""
    failed = failed_step(problem) if problem else None
    checks = []
    for step in STEPS:
        name = "%s.%s" % (label, step)
        if step == failed:
            checks.append(bad(name, problem))
        elif failed and STEPS.index(step) > STEPS.index(failed):
            checks.append(skipped(name, "%s.%s failed" % (label, failed)))
        else:
            checks.append(good(name, _step_detail(step, url, met, environ)))
    return checks


def _step_detail(step, url, met, environ):
    origin, proxy = origin_of(url), proxy_for(url, environ)
    if step == "name":
        return "left to the proxy" if proxy else "%s is known" % origin.host
    if step == "connection":
        return "%s answers%s" % (
            proxy or "port %d" % origin.port,
            " at %s" % met.peer if met and not proxy else "",
        )
    if step == "proxy":
        return "%s opens the tunnel" % proxy if proxy else "none is set for this host"
    if origin.scheme == "http":
        return "none: plain http on this machine"
    return "%s, certificate signed by %s, trusted by %s; strict check %s" % (
        met.version,
        met.issuer,
        *_trust(environ),
    )


def _trust(environ):
    """Return (whose certificates are trusted, whether Python's strict check is on)."""
    named = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if environ.get(name)]
    added = [name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if environ.get(name)]
    names = (named or ["the system's store"]) + added
    if environ.get("REBYTE_CA_BUNDLE"):
        names = ["REBYTE_CA_BUNDLE"]
    strict = ssl.create_default_context().verify_flags & getattr(ssl, "VERIFY_X509_STRICT", 0)
    return " and ".join(names), "off" if environ.get(
        "REBYTE_TLS_STRICT"
    ) == "0" or not strict else "on"


def check_service(client, deadline):
    """Check one cheap authorised read, what it tells of the key's header and of the clock, and the credits if they are told."""
    client.deadline = deadline.within(READ_SECONDS)
    try:
        client.list_tasks(limit=1)
    except RebyteError as problem:
        return _read_failed(problem) + [_clock(client)]
    return [
        good("header", "API_KEY arrives"),
        good("service", "GET /tasks answers, the key is taken"),
        _clock(client),
        _credits(client),
    ]


def _read_failed(problem):
    """Tell a header that was dropped on the way from a key that was refused, and both from a service that is down."""
    if problem.http_status == 401 and problem.code == "missing_api_key":
        dropped = AuthError(
            "the service says that no key came, although one was sent in the header API_KEY",
            code="header_dropped",
            http_status=401,
        )
        return [bad("header", dropped), skipped("service", "header failed")]
    seen = (
        good("header", "API_KEY arrives")
        if isinstance(problem, AuthError)
        else skipped("header", "the read failed")
    )
    if isinstance(problem, RateLimited):
        return [
            seen,
            bad(
                "service", problem, "wait as long as the service says; everything else is in order"
            ),
        ]
    return [seen, bad("service", problem)]


def _clock(client):
    skew = client.clock_skew
    if skew is None:
        return skipped("clock", "the service told no time")
    if abs(skew) <= SKEW_SECONDS_MOST:
        return good("clock", "within %d s of the service's" % SKEW_SECONDS_MOST)
    return bad(
        "clock",
        RebyteError(
            "this machine's clock is %d s %s the service's"
            % (abs(skew), "behind" if skew > 0 else "ahead of"),
            code="clock_wrong",
        ),
    )


def _credits(client):
    """Tell the credits where the service does; a service that does not is no failure."""
    try:
        left = credits_left(client.get_credits())
    except RebyteError as problem:
        return skipped("credits", "the service does not tell (%s)" % problem.code)
    if left is None:
        return skipped("credits", "the service's answer names no balance")
    note = note_of(left)
    return good(
        "credits", "%g available" % left, note and "%s: %s" % (note, remedy_of("credits_low"))
    )


def check_up(session_parts, environ, deadline):
    """Return all checks in order; `session_parts` are the functions that find state, key, base address and client."""
    checks = [check_python(), check_state(session_parts.state)]
    try:
        base = session_parts.base()
    except RebyteError as problem:
        return checks + [bad("address", problem)]
    key, checked = check_key(session_parts.key)
    checks += [checked, check_address(base)]
    hosts = check_hosts(base, environ, deadline)
    checks += hosts
    stopped = next(
        (check.name for check in hosts if check.ok is False and check.name.startswith("api.")), None
    )
    if not key or stopped:
        why = "there is no key to read with" if not key else stopped + " failed"
        return checks + [skipped(name, why) for name in ("header", "service", "clock", "credits")]
    client = session_parts.client(key, base)
    try:
        return checks + check_service(client, deadline)
    finally:
        client.close()
