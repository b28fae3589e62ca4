"""report: the page of results that a folder of --out holds, written anew."""

from __future__ import annotations

import os

from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.verb_table import Command
from rebyte_flows.files.names import expand_user
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from rebyte_commands.shell.context import Context
    from rebyte_types import Json

EXAMPLES = """examples:
  rebyte_cli.py report results
  rebyte_cli.py report results/0001 --field report
"""


def add_report_flags(parser: ArgumentParser) -> None:
    """Declare the arguments of report."""
    parser.add_argument("folder", metavar="DIR", help="a folder that --out made")


def report(context: Context, options: Namespace) -> Outcome:
    """Write report.html into a folder of --out; asks no service and needs no key."""
    from rebyte_flows.report.folder import read_folder
    from rebyte_flows.report.page import write_page
    from rebyte_flows.results import RESULTS

    folder = os.path.abspath(expand_user(options.folder))
    if not os.path.isdir(folder):
        raise InputError(
            "there is no folder %s" % folder, hint="pass the DIR of an earlier --out"
        )
    view = read_folder(folder)
    if not view.tasks:
        raise InputError(
            "%s holds nothing that a task came to" % folder,
            hint="pass the DIR of an earlier --out, with results.jsonl or answer.md in it",
        )
    document: Json = {
        "report": write_page(view),
        "tasks": len(view.tasks),
        "counts": view.counts(),
    }
    if view.unread:
        words = "%d of the lines of %s could not be read; the page is without them"
        document["warnings"] = [words % (view.unread, RESULTS)]
    return Outcome(document)


COMMANDS = {"report": Command(report, add_report_flags, examples=EXAMPLES)}
