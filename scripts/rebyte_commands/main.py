"""The command line's first step: help and version answer here; everything else is the runner's."""

from __future__ import annotations

import sys

from rebyte_commands.verb_table import VERBS
from rebyte_wire.errors import EXIT_CODES, EXIT_UNEXPECTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "rebyte_cli.py"
VERSION = "0.1.0"
SEE_HELP = ("-h", "--help", "help")


def main(words: Sequence[str], started: float) -> int:
    """Run one command line and return its exit code.

    `started` is when the process began, in seconds since 1970.
    """
    if not words:
        return _print(_help_text(), 2)
    if len(words) == 1 and words[0] in SEE_HELP:
        return _print(_help_text())
    if list(words) == ["--version"]:
        return _print("%s %s\n" % (PROGRAM, VERSION))
    # Lazy: help and version load nothing that a command needs.
    from rebyte_commands.runner import run_line

    if words[0] == "help":
        words = [*words[1:], "--help"]
    return run_line(words, PROGRAM, started)


def _help_text() -> str:
    from rebyte_commands.shell.environment import VARIABLES

    width = max(map(len, VERBS))
    lines = [
        "Hand work to coding agents in the cloud, watch it, steer it, and carry the result home.",
        "",
        "  %s run 'Summarize /code/data.csv' --file data.csv --out result" % PROGRAM,
        "  %s run 'Reply with one line' --local        (no account: this machine, no model)"
        % PROGRAM,
        "",
        "verbs:",
    ]
    lines += ["  %s  %s" % (verb.ljust(width), row[1]) for verb, row in VERBS.items()]
    lines += [
        "",
        "VERB --help tells more. Flags stand before or after the verb: --local --base-url",
        "--api-key-file --json --text --field PATH --quiet --debug --max-wait S.",
        "--version tells the version.",
        "",
        "exit codes:",
    ]
    lines += ["  %3d  %s" % (row.number, row.meaning) for row in EXIT_CODES]
    lines += ["", "environment:"]
    lines += ["  %s: %s" % pair for pair in VARIABLES]
    return "\n".join(lines) + "\n"


def _print(text: str, code: int = 0) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        from rebyte_commands.shell.console import silence_stdout

        silence_stdout()
        return EXIT_UNEXPECTED
    return code
