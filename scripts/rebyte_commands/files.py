"""upload: files for a later task, printed as --file-id takes them."""
from __future__ import annotations

from rebyte_flows.orders import Attachment
from rebyte_wire.errors import EXIT_SOME_FAILED, RebyteError


def upload_flags(parser):
    """Declare the flags of upload."""
    parser.add_argument("path", nargs="+", metavar="PATH")


def upload(session, options):
    """Upload files; each gets an id that tasks can name with --file-id ID=NAME for as long as the service keeps it."""
    items = [Attachment(path) for path in options.path]
    done, failed = [], []
    for item in items:
        try:
            answer = session.client.upload_file(item.path, item.name)
        except RebyteError as problem:
            if len(items) == 1 or problem.exit_code == 4:
                raise
            failed.append({"path": item.path, "error": problem.as_dict()})
            continue
        done.append({"id": answer["id"], "filename": answer.get("filename") or item.name, "bytes": item.bytes, "sha256": item.sha256})
    document = {"files": done, "flags": ["--file-id=%s=%s" % (item["id"], item["filename"]) for item in done]}
    if failed:
        document["failed"] = failed
    session.emit(document)
    return EXIT_SOME_FAILED if failed else 0


COMMANDS = {"upload": (upload_flags, upload, "example:\n  rebyte_cli.py upload data.csv --field files.0.id")}
