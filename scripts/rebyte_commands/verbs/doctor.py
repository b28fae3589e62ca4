"""doctor: what stands between this machine and a task, each with its remedy.

The exit code is that of the first cause.
"""

from __future__ import annotations

from rebyte_commands.shell.local_server import ensure_running, running_server
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.shell.output import next_lines
from rebyte_commands.shell.sandbox import can_listen, sandbox_ask, sandbox_name
from rebyte_commands.verb_table import Command
from rebyte_wire.addresses import is_loopback, origin_of
from rebyte_wire.credentials import DEFAULT_BASE_URL, find_base, find_key_for
from rebyte_wire.errors import EXIT_DONE, EXIT_NETWORK, LedgerUnwritable, RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from rebyte_client import RebyteClient
    from rebyte_commands.shell.context import Context
    from rebyte_flows.diagnosis.checkup import Check
    from rebyte_flows.state import StateFolder
    from rebyte_types import Json, Step

EXAMPLES = """examples:
  rebyte_cli.py doctor
  rebyte_cli.py doctor --local        (only the server on this machine)
"""
MARKS = {True: "ok", False: "FAILS", None: "-"}


class Parts:
    """How this command line finds its state, key, address and client; each may raise what stands
    in its way.
    """

    def __init__(self, context: Context) -> None:
        self.context = context

    def __repr__(self) -> str:
        return "Parts(%r)" % self.context

    def state(self) -> StateFolder:
        """Return the state folder."""
        return self.context.state

    def base(self) -> str:
        """Return the base address of this command line."""
        return find_base(self.context.environ, self.context.options.base_url)

    def key(self) -> tuple[str | None, str | None]:
        """Return (key, source); the environment's key is not for another address."""
        options = self.context.options
        context = self.context
        return find_key_for(
            context.environ, self.base(), options.api_key_file, context.deadline
        )

    def client(self, key: str, base: str) -> RebyteClient:
        """Return a client for what was found."""
        # Lazy: a first step that failed loads nothing more.
        from rebyte_client import RebyteClient

        context = self.context
        return RebyteClient(
            key, base, deadline=context.deadline, environ=context.environ
        )


class LocalParts(Parts):
    """The same for the server on this machine."""

    def __init__(self, context: Context, server: Json) -> None:
        super().__init__(context)
        self.server = server

    def base(self) -> str:
        """Return the address of the server."""
        address: str = self.server["baseUrl"]
        return address

    def key(self) -> tuple[str | None, str | None]:
        """Return the key of the server."""
        return self.server["key"], "the local server's folder"


def doctor(context: Context, options: Namespace) -> Outcome:
    """Check everything and return what was found."""
    checks = _checks(context)
    causes = [check for check in checks if check.ok is False]
    document: Json = {"ok": not causes, "service": _service(context)}
    sandbox = sandbox_name(context.environ)
    if sandbox:
        document["sandbox"] = sandbox
    code = EXIT_DONE
    if causes:
        first = causes[0]
        code = first.problem.exit_code
        document["cause"] = dict(first.problem.as_dict(), check=first.name)
        context.error(
            "%s: %s. %s" % (first.name, first.detail.rstrip("."), first.remedy)
        )
    document["checks"] = [_shown(check) for check in checks]
    steps = _next(context, causes)
    if steps:
        document["next"] = steps
    return Outcome(document, text=_text, code=code)


def _service(context: Context) -> str:
    """Return who would answer, by the address alone."""
    base = _base(context)
    if context.options.local or is_loopback(origin_of(base).host):
        return "local"
    return "cloud" if base == DEFAULT_BASE_URL else "other"


def _checks(context: Context) -> list[Check]:
    # Lazy: help loads no network.
    from rebyte_flows.diagnosis.checkup import bad, check_up

    parts = Parts(context)
    if context.options.local:
        try:
            parts = LocalParts(context, ensure_running(context))
        except RebyteError as problem:
            return [bad("local", problem, problem.hint)]
    checks = check_up(parts, context.environ, context.deadline)
    try:
        server = running_server(context)
    except LedgerUnwritable:
        # The check of the state folder has said why.
        server = None
    return checks + _program_checks(server)


def _program_checks(server: Json | None) -> list[Check]:
    """Return a check of each agent program that the local server found, if one runs."""
    from rebyte_flows.diagnosis.checkup import good, skipped

    checks = []
    for program in (server or {}).get("programs") or []:
        name = "agent " + program["name"]
        version = program.get("version") or "of an unknown version"
        if not program.get("level"):
            checks.append(skipped(name, "%s, not switched on" % version))
            continue
        fences = ", ".join(program["notKeptFrom"])
        detail = "%s, %s; not kept from: %s" % (version, program["level"], fences)
        checks.append(good(name, detail, program.get("problem")))
    return checks


def _base(context: Context) -> str:
    """Return the base address that is spoken to, the usual one where none can be used."""
    try:
        return find_base(context.environ, context.options.base_url)
    except RebyteError:
        return DEFAULT_BASE_URL


def _shown(check: Check) -> Json:
    shown = {"name": check.name, "ok": check.ok, "detail": check.detail}
    if check.remedy:
        shown["remedy"] = check.remedy
    return shown


def _next(context: Context, causes: Sequence[Check]) -> list[Step]:
    """Return what to ask the human, once each, and the line that needs neither key nor network."""
    from rebyte_flows.diagnosis.asks import ask_for

    base = _base(context)
    steps = _sandbox_steps(context, causes)
    for cause in causes:
        ask = ask_for(cause.problem, base, cause.name)
        if ask and ask not in [step["ask"] for step in steps]:
            steps.append(
                {"why": "%s: %s" % (cause.name, cause.problem.code), "ask": ask}
            )
    if causes and not context.options.local and _can_rehearse(causes):
        why = "this needs neither key nor network, and no model answers"
        steps.append({"why": why, "run": context.command_line("doctor", "--local")})
    return steps


def _sandbox_steps(context: Context, causes: Sequence[Check]) -> list[Step]:
    """Return what to ask for where a harness's sandbox explains a cause."""
    name = sandbox_name(context.environ)
    fenced = [
        cause
        for cause in causes
        if cause.problem.exit_code == EXIT_NETWORK or cause.name == "state"
    ]
    if not name or not fenced:
        return []
    names = ", ".join(cause.name for cause in fenced)
    return [{"why": "the sandbox of %s: %s" % (name, names), "ask": sandbox_ask(name)}]


def _can_rehearse(causes: Sequence[Check]) -> bool:
    """Tell whether --local would work: it needs a state folder and a socket."""
    return can_listen() and "state" not in [cause.name for cause in causes]


def _text(document: Json) -> str:
    lines = []
    for check in document["checks"]:
        lines.append(
            "%-6s %-18s %s" % (MARKS[check["ok"]], check["name"], check["detail"])
        )
        if check.get("remedy"):
            lines.append("%26s%s" % ("", check["remedy"]))
    last = "all is well"
    if not document["ok"]:
        last = "the first cause: %(check)s (%(code)s)" % document["cause"]
    return "\n".join([*lines, last, *next_lines(document)])


COMMANDS = {"doctor": Command(doctor, examples=EXAMPLES)}
