"""What stands between this machine and a task: checks, each with what was seen and what helps.

What helps against an error is its own hint.
"""

from __future__ import annotations

import os
import platform
import stat
import sys
from collections import namedtuple
from contextlib import closing

try:
    import sqlite3
except ImportError:
    sqlite3 = None  # type: ignore[assignment]
try:
    import ssl
except ImportError:
    ssl = None  # type: ignore[assignment]

from rebyte_flows.diagnosis.asks import STORAGE_HOST
from rebyte_flows.diagnosis.probe import STEPS, failed_step, proxy_for, reach_all
from rebyte_flows.starting.credit import credits_left, note_of
from rebyte_flows.starting.ledger import Ledger
from rebyte_wire.addresses import origin_of
from rebyte_wire.credentials import DEFAULT_BASE_URL
from rebyte_wire.errors import (
    AuthError,
    InputError,
    LedgerUnwritable,
    RateLimited,
    RebyteError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from rebyte_client import RebyteClient
    from rebyte_flows.diagnosis.probe import Peer
    from rebyte_flows.state import StateFolder
    from rebyte_wire.requests import Deadline

STORAGE_URL = "https://" + STORAGE_HOST
REACH_SECONDS = 20
READ_SECONDS = 20
SKEW_SECONDS_MOST = 300
OTHERS = stat.S_IRWXG | stat.S_IRWXO

PROXIED = {
    "name": "left to the proxy",
    "connection": "PROXY answers",
    "proxy": "PROXY opens the tunnel",
}

LOCK_SECONDS = 1
LASTING_ADVICE = (
    "set REBYTE_STATE_DIR to a folder that stays, so that the same line again"
    " still knows its task"
)
OTHER_FOLDER = "Point REBYTE_STATE_DIR at a folder on a local disk."
# What SQLite or the system says of the ledger, and what helps.
LEDGER_HINTS = (
    (
        "locked",
        "Another program holds the ledger; the same line again when it is done.",
    ),
    ("readonly", "The ledger may only be read here: make it writable. " + OTHER_FOLDER),
    ("not permitted", "This file system takes no modes. " + OTHER_FOLDER),
    ("disk i/o", "This file system does not carry SQLite's journal. " + OTHER_FOLDER),
    ("malformed", "The ledger is damaged: move it away and keep it for your human."),
    ("not a database", "Something else has the ledger's name: move it away."),
)

# `ok` is None for what could not be looked at; `problem` is the error behind a failure; `remedy`
# may stand beside an ok as a piece of advice.
Check = namedtuple("Check", "name ok detail remedy problem")


def good(
    name: str,
    detail: str,
    remedy: str | None = None,
) -> Check:
    """Return a check that went well; a remedy is then a piece of advice."""
    return Check(name, True, detail, remedy, None)


def bad(
    name: str,
    problem: RebyteError,
    remedy: str | None = None,
) -> Check:
    """Return a check that failed with an error; its hint is the remedy unless one is given."""
    remedy = remedy or problem.hint or "see %s in references/errors.md" % problem.code
    return Check(name, False, problem.message, remedy, problem)


def skipped(name: str, why: str) -> Check:
    """Return a check that could not be made, or that does not apply."""
    return Check(name, None, "not checked: " + why, None, None)


def check_up(
    parts: Any,
    environ: Mapping[str, str],
    deadline: Deadline,
) -> list[Check]:
    """Return all checks in order; `parts` has functions that find state, key, base and client."""
    checks = [check_python(), check_state(parts.state)]
    try:
        base = parts.base()
    except RebyteError as problem:
        return checks + [bad("address", problem)]
    key, checked = check_key(parts.key)
    hosts = check_hosts(base, environ, deadline)
    checks += [checked, check_address(base)] + hosts
    stopped = [
        check.name for check in hosts if check.ok is False and check.name[:4] == "api."
    ]
    if not key or stopped:
        why = stopped[0] + " failed" if key else "there is no key to read with"
        return checks + [
            skipped(name, why) for name in ("header", "service", "clock", "credits")
        ]
    client = parts.client(key, base)
    try:
        return checks + check_service(client.within(READ_SECONDS))
    finally:
        client.close()


def check_python() -> Check:
    """Check this Python: version, sqlite3 for the ledger, ssl."""
    where = "%s at %s" % (
        platform.python_version(),
        sys.executable or "an unknown place",
    )
    for name, module in (("sqlite3", sqlite3), ("ssl", ssl)):
        if module is None:
            problem = LedgerUnwritable(
                "%s lacks the module %s" % (where, name),
                code="python_incomplete",
                hint="Run it with another Python, 3.8 or newer, that has sqlite3 and ssl.",
            )
            return bad("python", problem)
    versions = "sqlite3 %s, %s" % (sqlite3.sqlite_version, ssl.OPENSSL_VERSION)
    return good("python", "%s, %s" % (where, versions))


def check_state(find: Callable[[], StateFolder]) -> Check:
    """Check the state folder that `find()` returns or refuses."""
    try:
        state = find()
        mode = try_ledger(state)
    except LedgerUnwritable as problem:
        return bad("state", problem)
    detail = "%s can be written, and the ledger there" % state.path
    if mode != "wal":
        detail += " (journal %s: this file system maps no index)" % mode
    if not state.lasting:
        return good("state", detail + ", but it may not last", LASTING_ADVICE)
    shared = os.name == "posix" and os.stat(state.path).st_mode & OTHERS
    advice = "other users of this machine can read it: chmod 700 %s" % state.path
    return good("state", detail, advice if shared else None)


def try_ledger(state: StateFolder) -> str:
    """Open the ledger as a start would and return its journal's mode; LedgerUnwritable says why.

    One that another program has locked is not waited for.
    """
    path = state.file("ledger.db")
    if os.path.exists(path):
        _check_unlocked(path)
    Ledger(state, "", "").close()
    with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as db:
        return str(db.execute("PRAGMA journal_mode").fetchone()[0])


def _check_unlocked(path: str) -> None:
    try:
        os.chmod(path, stat.S_IMODE(os.stat(path).st_mode))
        with closing(
            sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
        ) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
    except (OSError, sqlite3.Error) as problem:
        reason = str(problem)
        hint = next(
            (hint for word, hint in LEDGER_HINTS if word in reason.lower()), None
        )
        raise LedgerUnwritable(
            "%s: %s" % (path, reason), hint=hint or OTHER_FOLDER
        ) from problem


def check_key(find: Callable[[], tuple[str | None, str]]) -> tuple[str | None, Check]:
    """Return (key or None, check) of what `find()` gives as (key, source), never showing it."""
    try:
        key, source = find()
    except (AuthError, InputError) as problem:
        return None, bad("key", problem)
    if not key:
        return None, bad("key", AuthError("no key was found", code="missing_api_key"))
    return key, good("key", "present, from %s" % source, _key_file_advice(source))


def _key_file_advice(source: str) -> str | None:
    """Return advice for a key file that others can read, or have put there."""
    try:
        found = os.stat(source)
    except OSError:
        return None
    if os.name != "posix" or os.sep not in source:
        return None
    if found.st_uid not in (os.getuid(), 0):
        return "the file belongs to another user, who may have put any key there"
    if found.st_mode & OTHERS:
        return "other users of this machine can read it: chmod 600 %s" % source
    return None


def check_address(base: str) -> Check:
    """Check which service is spoken to."""
    if base == DEFAULT_BASE_URL:
        return good("address", base)
    return good("address", "%s, not the usual %s" % (base, DEFAULT_BASE_URL))


def check_hosts(
    base: str,
    environ: Mapping[str, str],
    deadline: Deadline,
) -> list[Check]:
    """Check name, connection, proxy and TLS of the API's host and of the storage's, at once."""
    urls = {"api": base, "storage": STORAGE_URL}
    is_local = origin_of(base).scheme == "http"
    if is_local:
        del urls["storage"]
    reached = reach_all(list(urls.values()), environ, deadline.within(REACH_SECONDS))
    checks = []
    for (label, url), outcome in zip(urls.items(), reached):
        checks += host_checks(label, url, outcome, environ)
    if is_local:
        checks.append(
            skipped("storage", "the API is on this machine, and so are its files")
        )
    return checks


def host_checks(
    label: str, url: str, outcome: Peer | RebyteError, environ: Mapping[str, str]
) -> list[Check]:
    """Return one check for each of STEPS of one host."""
    if not isinstance(outcome, RebyteError):
        return [
            good("%s.%s" % (label, step), _step_detail(step, url, outcome, environ))
            for step in STEPS
        ]
    failed = STEPS.index(failed_step(outcome))
    checks = []
    for index, step in enumerate(STEPS):
        name = "%s.%s" % (label, step)
        if index < failed:
            checks.append(good(name, _step_detail(step, url, None, environ)))
        elif index == failed:
            checks.append(bad(name, outcome))
        else:
            checks.append(skipped(name, "%s.%s failed" % (label, STEPS[failed])))
    return checks


def _step_detail(
    step: str,
    url: str,
    peer: Peer | None,
    environ: Mapping[str, str],
) -> str:
    if step == "tls":
        return _tls_detail(peer, environ)
    origin = origin_of(url)
    proxy = proxy_for(url, environ)
    if proxy:
        return PROXIED[step].replace("PROXY", proxy)
    if step == "name":
        return "%s is known" % origin.host
    if step == "connection":
        where = " at %s" % peer.address if peer else ""
        return "port %d answers%s" % (origin.port, where)
    return "none is set for this host"


def _tls_detail(peer: Peer | None, environ: Mapping[str, str]) -> str:
    if peer is None or peer.version is None:
        return "none: plain http on this machine"
    return "%s, certificate signed by %s, trusted by %s; strict check %s" % (
        peer.version,
        peer.issuer,
        _trusted(environ),
        "on" if _is_strict(environ) else "off",
    )


def _trusted(environ: Mapping[str, str]) -> str:
    """Return whose certificates are trusted."""
    if environ.get("REBYTE_CA_BUNDLE"):
        return "REBYTE_CA_BUNDLE"
    named = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if environ.get(name)]
    added = [
        name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if environ.get(name)
    ]
    return " and ".join((named or ["the system's store"]) + added)


def _is_strict(environ: Mapping[str, str]) -> bool:
    flag = getattr(ssl, "VERIFY_X509_STRICT", 0)
    is_on = ssl.create_default_context().verify_flags & flag
    return bool(is_on) and environ.get("REBYTE_TLS_STRICT") != "0"


def check_service(client: RebyteClient) -> list[Check]:
    """Check one cheap authorised read, and what it tells of header, clock and credits."""
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


def _read_failed(problem: RebyteError) -> list[Check]:
    """Tell a header that was dropped from a key that was refused and a service that is down."""
    if problem.http_status == 401 and problem.code == "missing_api_key":
        dropped = AuthError(
            "the service says that no key came, although one was sent in the header API_KEY",
            code="header_dropped",
            http_status=401,
            hint="A proxy on the way drops header names with an underscore, as nginx does unless"
            " underscores_in_headers is on.",
        )
        return [bad("header", dropped), skipped("service", "header failed")]
    header = skipped("header", "the read failed")
    if isinstance(problem, AuthError):
        header = good("header", "API_KEY arrives")
    advice = None
    if isinstance(problem, RateLimited):
        advice = "wait as long as the service says; everything else is in order"
    return [header, bad("service", problem, advice)]


def _clock(client: RebyteClient) -> Check:
    skew = client.clock_skew
    if skew is None:
        return skipped("clock", "the service told no time")
    if abs(skew) <= SKEW_SECONDS_MOST:
        return good("clock", "within %d s of the service's" % SKEW_SECONDS_MOST)
    where = "behind" if skew > 0 else "ahead of"
    problem = RebyteError(
        "this machine's clock is %d s %s the service's" % (abs(skew), where),
        code="clock_wrong",
        hint="Set this machine's clock; certificates and signed addresses depend on it.",
    )
    return bad("clock", problem)


def _credits(client: RebyteClient) -> Check:
    """Tell the credits where the service does; a service that does not is no failure."""
    try:
        left = credits_left(client.get_credits())
    except RebyteError as problem:
        return skipped("credits", "the service does not tell (%s)" % problem.code)
    if left is None:
        return skipped("credits", "the service's answer names no balance")
    note = note_of(left)
    advice = note and note + ": ask your human to look at it at https://app.rebyte.ai"
    return good("credits", "%g available" % left, advice)
