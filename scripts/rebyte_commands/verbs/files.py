"""upload: files for a later task."""

from __future__ import annotations

from rebyte_commands.jobs.attachments import attach_all, attach_skill, tell_links
from rebyte_commands.jobs.start import add_list_flag
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.shell.progress import Meter
from rebyte_commands.verb_table import Command
from rebyte_flows.files.uploads import Uploads
from rebyte_wire.errors import EXIT_SOME_FAILED, InputError, RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from rebyte_commands.shell.context import Context
    from rebyte_types import Json

EXAMPLES = """examples:
  rebyte_cli.py upload data.csv --field files.0.id
  rebyte_cli.py upload photos --zip
  sort big.csv | rebyte_cli.py upload -=sorted.csv
"""


def add_flags(parser: ArgumentParser) -> None:
    """Declare the flags of upload."""
    parser.add_argument(
        "path",
        nargs="*",
        metavar="PATH",
        help="a file; -=NAME reads stdin and calls it NAME",
    )
    parser.add_argument(
        "--zip",
        action="store_true",
        help="pack folders; links, .git and __pycache__ are left out",
    )
    add_list_flag(
        parser, "--skill", "FOLDER", "a skill on this machine, packed; again for more"
    )


def upload(context: Context, options: Namespace) -> Outcome:
    """Upload files; each gets an id that tasks can name with --file-id ID=NAME."""
    items = attach_all(options.path, context.stdin, options.zip)
    items += [attach_skill(path) for path in options.skill]
    if not items:
        raise InputError("upload needs the path of a file", code="usage")
    tell_links(context, items)
    with Meter(context, "uploading", sum(item.bytes for item in items)) as meter:
        outcomes = Uploads(context.client, meter).try_each(items)
    done: list[Json] = []
    failed: list[Json] = []
    for item, outcome in zip(items, outcomes):
        if not isinstance(outcome, Exception):
            done.append(dict(outcome, bytes=item.bytes))
        elif len(items) == 1 or not isinstance(outcome, RebyteError):
            raise outcome
        else:
            failed.append({"path": item.path, "error": outcome.as_dict()})
    return _uploaded_outcome(done, failed)


def _uploaded_outcome(done: list[Json], failed: list[Json]) -> Outcome:
    # A file named twice went up once.
    flags = list(dict.fromkeys("--file-id=%(id)s=%(filename)s" % item for item in done))
    document: Json = {"files": done, "flags": flags}
    if not failed:
        return Outcome(document)
    return Outcome(dict(document, failed=failed), code=EXIT_SOME_FAILED)


COMMANDS = {"upload": Command(upload, add_flags, examples=EXAMPLES)}
