"""mcp: the same jobs for a host without a shell, as a server of the Model Context Protocol."""

from __future__ import annotations

import os
import sys

from rebyte_commands.shell.arguments import count
from rebyte_commands.verb_table import Command
from rebyte_flows.starting.guards import owners_limit
from rebyte_wire.errors import EXIT_DONE, InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import IO, NoReturn

    from rebyte_commands.shell.context import Context

EXAMPLES = """examples:
  rebyte_cli.py mcp --max-tasks 5 --root ~/work
  rebyte_cli.py --local mcp --max-tasks 5 --root ~/work

A host runs this line and speaks to it over stdin and stdout; the key comes from where it always
comes from. Nothing is started unless REBYTE_MAX_TASKS_PER_DAY or --max-tasks sets a limit.
"""


def add_flags(parser: ArgumentParser) -> None:
    """Declare the flags of mcp."""
    parser.add_argument(
        "--max-tasks",
        type=count,
        metavar="N",
        help="how many tasks this server may start in all",
    )
    parser.add_argument(
        "--root",
        nargs="+",
        action="extend",
        default=[],
        metavar="DIR",
        help="folders that files may come from and go to; again for more",
    )


def mcp(context: Context, options: Namespace) -> NoReturn:
    """Serve a host until its end of the input closes; exit 0."""
    # Lazy: no other command needs the server.
    from rebyte_commands.main import VERSION
    from rebyte_commands.mcp.calls import Starts
    from rebyte_commands.mcp.roots import Roots
    from rebyte_commands.mcp.server import McpServer, Settings

    # A stream that was closed before the start is None, whatever its type says.
    streams: list[IO[str] | None] = [sys.stdin, sys.stdout]
    if None in streams:
        raise InputError(
            "a host has to speak to mcp over stdin and stdout; one is closed"
        )
    for folder in options.root:
        if not os.path.isdir(os.path.expanduser(folder)):
            raise InputError("--root %s: there is no such folder" % folder)
    per_day = owners_limit(context.environ)
    settings = Settings(
        _flags(options),
        dict(context.environ),
        may_start=per_day is not None or options.max_tasks is not None,
    )
    server = McpServer(
        settings,
        Roots([os.path.expanduser(folder) for folder in options.root]),
        Starts(options.max_tasks),
        _own_stdout(),
        context.info,
        VERSION,
    )
    server.serve(sys.stdin.buffer)
    # Threads that still wait are not waited for: their tasks run on, and so do starts.
    os._exit(EXIT_DONE)


def _flags(options: Namespace) -> list[str]:
    """Return the flags of this line that each command of a call gets as well."""
    flags = ["--local"] if options.local else []
    if options.base_url:
        flags.append("--base-url=" + options.base_url)
    if options.api_key_file:
        flags.append("--api-key-file=" + options.api_key_file)
    return flags


def _own_stdout() -> IO[bytes]:
    """Return stdout for the protocol alone; whatever else might be printed goes to stderr, or
    nowhere if that is closed.
    """
    own = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    stderr: IO[str] | None = sys.stderr
    elsewhere = os.open(os.devnull, os.O_WRONLY) if stderr is None else stderr.fileno()
    os.dup2(elsewhere, sys.stdout.fileno())
    return own


COMMANDS = {"mcp": Command(mcp, add_flags, examples=EXAMPLES)}
