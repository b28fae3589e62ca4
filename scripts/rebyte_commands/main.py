"""The command line's first step: help and version answer here; everything else is handed to running.py."""

from __future__ import annotations

import sys

from rebyte_commands.verb_table import VERBS
from rebyte_wire.errors import EXIT_CODES, EXIT_UNEXPECTED

PROGRAM = "rebyte_cli.py"
VERSION = "0.1.0"
SEE_HELP = ("-h", "--help", "help")


def main(words, started):
    """Run one command line and return its exit code; `started` is when the process began, in seconds since 1970."""
    if not words or words[0] in SEE_HELP and len(words) == 1:
        return _print_help(0 if words else 2)
    if words == ["--version"]:
        return _print("%s %s\n" % (PROGRAM, VERSION))
    # First lazy seam: help and version load nothing that a command needs.
    from rebyte_commands.runner import run_line

    return run_line(words[1:] + ["--help"] if words[0] == "help" else words, PROGRAM, started)


def _print_help(code):
    from rebyte_commands.environment import VARIABLES

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
    lines += ["  %s  %s" % (verb.ljust(width), summary) for verb, (_, summary) in VERBS.items()]
    lines += [
        "",
        "VERB --help tells more. Flags stand before or after the verb: --local --base-url --api-key-file --json --text",
        "--field PATH --quiet --debug --max-wait S. --version tells the version.",
        "",
        "exit codes:",
    ]
    lines += ["  %3d  %s" % (number, meaning) for number, _, _, meaning in EXIT_CODES]
    lines += ["", "environment:"] + ["  %s: %s" % pair for pair in VARIABLES]
    return _print("\n".join(lines) + "\n", code)


def _print(text, code=0):
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        from rebyte_commands.output import silence_stdout

        silence_stdout()
        return EXIT_UNEXPECTED
    return code
