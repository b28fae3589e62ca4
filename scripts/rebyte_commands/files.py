"""upload: files for a later task, printed as --file-id takes them."""
from __future__ import annotations

from rebyte_commands.attaching import attach_all, attach_skill, tell_links
from rebyte_commands.progress import Meter
from rebyte_flows.uploads import Uploads
from rebyte_wire.errors import EXIT_SOME_FAILED, InputError, RebyteError

EXAMPLES = """examples:
  rebyte_cli.py upload data.csv --field files.0.id
  rebyte_cli.py upload photos --zip
  sort big.csv | rebyte_cli.py upload -=sorted.csv
"""


def upload_flags(parser):
    """Declare the flags of upload."""
    parser.add_argument("path", nargs="*", metavar="PATH", help="a file; -=NAME reads stdin and calls it NAME")
    parser.add_argument("--zip", action="store_true", help="pack folders; links, .git and __pycache__ are left out")
    parser.add_argument("--skill", action="append", default=[], metavar="FOLDER", help="a skill on this machine, packed; again for more")


def upload(session, options):
    """Upload files; each gets an id that tasks can name with --file-id ID=NAME for as long as the service keeps it."""
    items = attach_all(options.path, options.zip) + [attach_skill(path) for path in options.skill]
    if not items:
        raise InputError("upload needs the path of a file", code="usage")
    tell_links(session, items)
    with Meter(session, "uploading", sum(item.bytes for item in items)) as meter:
        outcomes = Uploads(session.client, meter).try_each(items)
    done, failed = [], []
    for item, outcome in zip(items, outcomes):
        if not isinstance(outcome, Exception):
            done.append(dict(outcome, bytes=item.bytes))
        elif len(items) == 1 or not isinstance(outcome, RebyteError):
            raise outcome
        else:
            failed.append({"path": item.path, "error": outcome.as_dict()})
    document = {"files": done, "flags": ["--file-id=%s=%s" % (item["id"], item["filename"]) for item in done]}
    if failed:
        document["failed"] = failed
    session.emit(document)
    return EXIT_SOME_FAILED if failed else 0


COMMANDS = {"upload": (upload_flags, upload, EXAMPLES)}
