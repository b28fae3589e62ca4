"""upload, and what starts take along: words such as data.csv, photos (with --zip), -=NAME and --skill ./FOLDER."""

from __future__ import annotations

import os

from rebyte_commands.progress import Meter
from rebyte_flows.files.uploads import STREAM, Attachment, Uploads
from rebyte_wire.errors import EXIT_SOME_FAILED, InputError, RebyteError
from rebyte_wire.multipart import MAX_UPLOAD_BYTES

LOCAL_STARTS = ("./", "../", "/", "~/", ".\\", "..\\")
EXAMPLES = """examples:
  rebyte_cli.py upload data.csv --field files.0.id
  rebyte_cli.py upload photos --zip
  sort big.csv | rebyte_cli.py upload -=sorted.csv
"""


def attach(word, stdin, pack_folders=False, limit=MAX_UPLOAD_BYTES):
    """Return what --file or upload names: a path, a folder with --zip, or -=NAME for stdin."""
    if word == "-":
        raise InputError(
            "stdin needs a name in the task", hint="pass -=NAME, for example -=data.csv"
        )
    if not word.startswith(STREAM) and not (pack_folders and os.path.isdir(word)):
        return Attachment(word, limit)
    # Second lazy seam: only what is packed or piped pays for zipfile.
    from rebyte_flows.files.packing import Packed, Stream

    return Stream(word, stdin, limit) if word.startswith(STREAM) else Packed(word, limit)


def attach_all(words, stdin, pack_folders=False):
    """Return what several words name; stdin can be read only once."""
    if sum(word.startswith(STREAM) for word in words) > 1:
        raise InputError("stdin was named twice; it can be read only once", code="usage")
    return [attach(word, stdin, pack_folders) for word in words]


def attach_artifact(word, stdin, pack):
    """Return what artifacts put names: of any size, and with --zip a file of a type that the store refuses is packed too."""
    from rebyte_flows.starting.orders import type_of

    if pack and os.path.isfile(word) and not type_of(word):
        from rebyte_flows.files.packing import Packed

        return Packed(word, None)
    return attach(word, stdin, pack, None)


def attach_skill(word):
    """Return a skill's folder on this machine, packed."""
    from rebyte_flows.files.packing import LocalSkill

    return LocalSkill(word)


def is_local_skill(word):
    """Say whether --skill names a folder of this machine: it begins with ./ ../ / or ~/, or is . itself."""
    return word in (".", "..") or word.startswith(LOCAL_STARTS)


def tell_links(context, attachments):
    """Say which links were left out of what was packed."""
    for item in attachments:
        links = getattr(item, "links", ())
        if links:
            context.say(
                "%s holds links, which are not packed: %s%s"
                % (item.path, ", ".join(links[:3]), " ..." * (len(links) > 3))
            )


def upload_flags(parser):
    """Declare the flags of upload."""
    parser.add_argument(
        "path", nargs="*", metavar="PATH", help="a file; -=NAME reads stdin and calls it NAME"
    )
    parser.add_argument(
        "--zip", action="store_true", help="pack folders; links, .git and __pycache__ are left out"
    )
    parser.add_argument(
        "--skill",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a skill on this machine, packed; again for more",
    )


def upload(context, options):
    """Upload files; each gets an id that tasks can name with --file-id ID=NAME for as long as the service keeps it."""
    items = attach_all(options.path, context.stdin, options.zip) + [
        attach_skill(path) for path in options.skill
    ]
    if not items:
        raise InputError("upload needs the path of a file", code="usage")
    tell_links(context, items)
    with Meter(context, "uploading", sum(item.bytes for item in items)) as meter:
        outcomes = Uploads(context.client, meter).try_each(items)
    done, failed = [], []
    for item, outcome in zip(items, outcomes):
        if not isinstance(outcome, Exception):
            done.append(dict(outcome, bytes=item.bytes))
        elif len(items) == 1 or not isinstance(outcome, RebyteError):
            raise outcome
        else:
            failed.append({"path": item.path, "error": outcome.as_dict()})
    document = {
        "files": done,
        "flags": ["--file-id=%s=%s" % (item["id"], item["filename"]) for item in done],
    }
    if failed:
        document["failed"] = failed
    context.emit(document)
    return EXIT_SOME_FAILED if failed else 0


COMMANDS = {"upload": (upload_flags, upload, EXAMPLES)}
