"""local start, stop, status, serve: the server on this machine, one per state folder."""

from __future__ import annotations

import os
import shlex
import signal
import time
from contextlib import suppress
from urllib.parse import urlsplit

from rebyte_commands.jobs.start import add_list_flag
from rebyte_commands.shell.arguments import count
from rebyte_commands.shell.local_server import (
    is_process,
    running_server,
    server_folder,
    start_server,
)
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.verb_table import Command
from rebyte_wire.errors import EXIT_DONE, EXIT_NOT_FOUND, EXIT_UNEXPECTED, InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from rebyte_commands.shell.context import Context
    from rebyte_types import Json

IDLE_SECONDS = 30 * 60
STOP_SECONDS = 10
POLL_SECONDS = 0.02
MAX_PORT = 65535
WIDTH = 4
AGENTS_WIDTH = 3
NONE_FOUND = (
    "no agent program was found on the PATH (claude, codex, gemini, opencode, pi are looked for):"
    " this stays a rehearsal; install one, then local stop and start again"
)
RUNS_ALREADY = "the local server runs already with these settings"
EXAMPLES = """examples:
  rebyte_cli.py local start
  rebyte_cli.py local start --repos ~/src --fault slow-create=3
  rebyte_cli.py local stop

It runs what prompts ask for on this machine, with your rights, and holds no model.
"""


def add_serve_flags(parser: ArgumentParser) -> None:
    """Declare the flags of local start and local serve."""
    add_list_flag(
        parser, "--fault", "NAME[=VALUE]", "misbehave on purpose; again for more"
    )
    parser.add_argument(
        "--repos", metavar="DIR", help="serve owner/repo from DIR/owner/repo"
    )
    parser.add_argument(
        "--skills", metavar="DIR", help="where the folders of skills lie"
    )
    parser.add_argument(
        "--agent",
        metavar="CMD",
        help="a real agent program: the prompt on its stdin, words on its stdout",
    )
    parser.add_argument(
        "--agents",
        nargs="?",
        const="all",
        metavar="LIST",
        help="switch agent programs on: claude,codex:full; all that are found without LIST",
    )
    parser.add_argument(
        "--agent-silence",
        type=count,
        metavar="S",
        help="end a program that shows no progress for so long (default 1200)",
    )
    parser.add_argument(
        "--agent-limit",
        type=count,
        metavar="S",
        help="end a program's turn after so long (default 7200)",
    )
    parser.add_argument(
        "--port",
        type=count,
        default=0,
        metavar="N",
        help="a fixed port (default: a free one)",
    )
    parser.add_argument(
        "--width",
        type=count,
        metavar="N",
        help="prompts run at once (default 4; 3 with --agents)",
    )
    parser.add_argument(
        "--credits",
        type=count,
        metavar="N",
        help="begin with so many credits; a start costs one (default 10000)",
    )
    parser.add_argument(
        "--idle",
        type=count,
        default=IDLE_SECONDS,
        metavar="S",
        help="end after so many idle seconds (default 1800)",
    )


def _check(options: Namespace) -> None:
    """Raise InputError for settings that no server could have, before one is started."""
    _faults(options.fault)
    _agent(options.agent)
    _agents(options.agents)
    if options.port > MAX_PORT:
        raise InputError(
            "--port %d: there is no such port" % options.port,
            code="usage",
            hint="0 to %d; 0 takes a free one" % MAX_PORT,
        )


def start(context: Context, options: Namespace) -> Outcome:
    """Start the server unless it runs, and tell how to reach it."""
    _check(options)
    words = _serve_words(options)
    known = running_server(context)
    server = known or start_server(context, words)
    # Another command may have started one at the same moment.
    _check_same(context, server, words)
    document = _told(context, server)
    if known:
        context.info(RUNS_ALREADY)
        document["reused"] = True
    if options.agents and not document.get("agents"):
        document["warnings"] = [NONE_FOUND]
    return Outcome(document)


def _check_same(context: Context, server: Json, words: list[str]) -> None:
    """Raise InputError where a running server lacks a setting that is asked for."""
    started = server.get("flags") or []
    has = _settings(started)
    has.append(("--port", str(urlsplit(server["url"]).port)))
    lacking = [pair for pair in _settings(words) if pair not in has]
    if not lacking:
        return
    wanted = _quoted([word for pair in lacking for word in pair])
    raise InputError(
        "the local server runs already, without %s; it was started with %s"
        % (wanted, _quoted(started) or "no flag"),
        hint="%s, then start it again" % context.command_line("local", "stop"),
    )


def _quoted(words: list[str]) -> str:
    return " ".join(map(shlex.quote, words))


def _settings(words: list[str]) -> list[tuple[str, str]]:
    """Return flags and their values as pairs."""
    return list(zip(words[::2], words[1::2]))


def status(context: Context, options: Namespace) -> Outcome:
    """Tell whether the server runs; exit 5 when it does not."""
    server = running_server(context)
    if server:
        return Outcome(_told(context, server))
    from rebyte_local.agents.readiness import take_inventory

    step = {"why": "this starts it", "run": context.command_line("local", "start")}
    steps = [step]
    programs = take_inventory({})
    if programs:
        steps.append(_switch_on_step(context))
    told = {"running": False, "programs": programs or None, "next": steps}
    document = {key: value for key, value in told.items() if value is not None}
    return Outcome(document, code=EXIT_NOT_FOUND)


def _switch_on_step(context: Context) -> Json:
    """Return the line that lets the programs that are here answer."""
    why = "this lets the agent programs answer, each with your login and at your cost"
    return {"why": why, "run": context.command_line("local", "start", "--agents")}


def stop(context: Context, options: Namespace) -> Outcome:
    """End the server and what it runs."""
    server = running_server(context)
    if server:
        with suppress(ProcessLookupError):
            os.kill(server["pid"], signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while is_process(server["pid"]) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
    still = bool(running_server(context))
    document = {"running": still, "stopped": bool(server) and not still}
    return Outcome(document, code=EXIT_UNEXPECTED if still else EXIT_DONE)


def serve(context: Context, options: Namespace) -> Outcome:
    """Be the server, in the foreground, until a signal or the idle time ends it."""
    # Lazy: only this command may name the local server.
    from rebyte_local.server import serve as serve_here

    _check(options)
    extra: dict[str, Any] = {}
    if options.agent:
        extra["agent"] = _agent(options.agent)
    for name in ("agents", "agent_silence", "agent_limit", "credits"):
        if getattr(options, name) is not None:
            extra[name] = getattr(options, name)
    for name in ("repos", "skills"):
        if getattr(options, name):
            extra[name] = _folder(getattr(options, name))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = serve_here(
        server_folder(context),
        port=options.port,
        width=_width(options),
        idle_seconds=options.idle or None,
        faults=_faults(options.fault),
        flags=_serve_words(options),
        **extra,
    )
    os._exit(code)


def _folder(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _agent(words: str | None) -> list[str]:
    """Return the command of --agent as a list of words."""
    try:
        return shlex.split(words or "")
    except ValueError as problem:
        raise InputError(
            "--agent cannot be read as a command: %s" % problem,
            code="usage",
            hint="quote it as for a shell",
        ) from None


def _agents(words: str | None) -> None:
    """Raise InputError for words of --agents that name no program or level."""
    from rebyte_local.agents.roster import parse_agents

    try:
        parse_agents(words or "")
    except ValueError as problem:
        raise InputError(
            "--agents %s: %s" % (words, problem),
            code="usage",
            hint="for example --agents claude,codex; see references/local.md",
        ) from None


def _width(options: Namespace) -> int:
    if options.width is not None:
        return int(options.width)
    return AGENTS_WIDTH if options.agents else WIDTH


def _faults(words: list[str]) -> list[str]:
    """Return the words of --fault NAME[=VALUE], which a server could take; raises InputError."""
    from rebyte_local.faults import Faults

    try:
        Faults(words)
    except ValueError as problem:
        raise InputError(
            "--fault %s: %s" % (" ".join(words), problem),
            code="usage",
            hint="see references/local.md for what each means",
        ) from None
    return words


def _serve_words(options: Namespace) -> list[str]:
    """Return the flags that make a server other than the usual one."""
    words = [word for fault in options.fault for word in ("--fault", fault)]
    for name in ("repos", "skills"):
        if getattr(options, name):
            words += ["--" + name, _folder(getattr(options, name))]
    if options.agent:
        words += ["--agent", options.agent]
    usual = {"port": 0, "idle": IDLE_SECONDS}
    names = (
        "agents",
        "agent_silence",
        "agent_limit",
        "credits",
        "port",
        "width",
        "idle",
    )
    for name in names:
        value = getattr(options, name)
        if value not in (None, usual.get(name)):
            words += ["--" + name.replace("_", "-"), str(value)]
    return words


def _told(context: Context, server: Json) -> Json:
    """Return what a running server told of itself, without its key."""
    told = {
        "running": True,
        "url": server["url"],
        "baseUrl": server["baseUrl"],
        "pageUrl": server.get("pageUrl"),
        "pid": server["pid"],
        "faults": server.get("faults") or None,
        "stateFolder": server_folder(context),
        "agents": server.get("agents") or None,
        "programs": server.get("programs") or None,
        "rehearsal": not server.get("agents"),
        "next": [{"why": "this ends it", "run": context.command_line("local", "stop")}],
    }
    return {key: value for key, value in told.items() if value}


COMMANDS = {
    "local start": Command(start, add_serve_flags, examples=EXAMPLES),
    "local stop": Command(stop, examples=EXAMPLES),
    "local status": Command(status, examples=EXAMPLES),
    "local serve": Command(serve, add_serve_flags, examples=EXAMPLES),
}
