"""doctor: what stands between this machine and a task, each with its remedy; the exit code is that of the first cause."""

from __future__ import annotations

from collections import namedtuple

from rebyte_commands.output import next_lines
from rebyte_wire.addresses import is_loopback, origin_of
from rebyte_wire.credentials import DEFAULT_BASE_URL, find_base, find_key_for
from rebyte_wire.errors import EXIT_DONE, RebyteError

EXAMPLE = """examples:
  rebyte_cli.py doctor
  rebyte_cli.py doctor --local        (only the server on this machine)
"""
MARKS = {True: "ok", False: "FAILS", None: "-"}

Parts = namedtuple("Parts", "state key base client")


def flags(parser):
    """Declare the flags of doctor: none but those that stand everywhere."""


def doctor(context, options):
    """Check everything, print one document, and end with the exit code of the first cause."""
    # Second lazy seam: help loads no network.
    from rebyte_flows.diagnosis.checkup import check_up

    checks = (
        _local_checks(context)
        if options.local
        else check_up(_parts(context), context.environ, context.deadline)
    )
    causes = [check for check in checks if check.ok is False]
    document = {
        "ok": not causes,
        "service": "local"
        if options.local or is_loopback(origin_of(_base(context)).host)
        else "cloud",
    }
    if causes:
        document["cause"] = dict(causes[0].problem.as_dict(), check=causes[0].name)
    document["checks"] = [_shown(check) for check in checks]
    steps = _next(context, causes)
    if steps:
        document["next"] = steps
    context.emit(document, _text)
    for cause in causes[:1]:
        context.complain("%s: %s. %s" % (cause.name, cause.detail.rstrip("."), cause.remedy))
    return causes[0].problem.exit_code if causes else EXIT_DONE


def _base(context):
    """Return the base address that is spoken to, the usual one where none can be used."""
    try:
        return find_base(context.environ, context.options.base_url)
    except RebyteError:
        return DEFAULT_BASE_URL


def _parts(context):
    """Return how this command line finds its state, key, address and client."""

    def base():
        """Return the base address of this command line."""
        return find_base(context.environ, context.options.base_url)

    def key():
        """Return (key, source); the environment's key is not for another address."""
        return find_key_for(
            context.environ, base(), context.options.api_key_file, context.deadline
        )

    def client(found, address):
        """Return a client for what was found."""
        # The client only where the way to the service is open: a first step that failed loads nothing more.
        from rebyte_client import RebyteClient

        return RebyteClient(found, address, deadline=context.deadline, environ=context.environ)

    return Parts(lambda: context.state, key, base, client)


def _local_checks(context):
    """Check the server on this machine, started if need be; nothing else is contacted."""
    from rebyte_commands.verbs.local import ensure_running
    from rebyte_flows.diagnosis.checkup import bad, check_up

    parts = _parts(context)
    try:
        server = ensure_running(context)
    except RebyteError as problem:
        return [bad("local", problem, problem.hint)]
    return check_up(
        parts._replace(
            base=lambda: server["baseUrl"], key=lambda: (server["key"], "the local server's folder")
        ),
        context.environ,
        context.deadline,
    )


def _shown(check):
    shown = {"name": check.name, "ok": check.ok, "detail": check.detail}
    return dict(shown, remedy=check.remedy) if check.remedy else shown


def _next(context, causes):
    """Return what to ask the human, once each, and the line that needs neither key nor network."""
    from rebyte_flows.diagnosis.checkup import ask_for

    steps, base = [], _base(context)
    for cause in causes:
        ask = ask_for(cause.problem, base)
        if ask and ask not in [step["ask"] for step in steps]:
            steps.append({"why": "%s: %s" % (cause.name, cause.problem.code), "ask": ask})
    if causes and not context.options.local:
        steps.append(
            {
                "why": "this needs neither key nor network, and no model answers",
                "run": context.line("doctor", "--local"),
            }
        )
    return steps


def _text(document):
    lines = [
        "%-6s %-18s %s" % (MARKS[check["ok"]], check["name"], check["detail"])
        + ("\n%26s%s" % ("", check["remedy"]) if check.get("remedy") else "")
        for check in document["checks"]
    ]
    lines.append(
        "all is well"
        if document["ok"]
        else "the first cause: %(check)s (%(code)s)" % document["cause"]
    )
    return "\n".join(lines + next_lines(document))


COMMANDS = {"doctor": (flags, doctor, EXAMPLE)}
