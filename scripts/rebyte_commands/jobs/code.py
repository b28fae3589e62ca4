"""Code there and back on the command line: its flags, what a start takes along, and what a task
brings home.
"""

from __future__ import annotations

import os
from contextlib import suppress

from rebyte_flows.code.prompts import HOME_ENDING, go_on_line
from rebyte_flows.code.records import record_of_task, seen_archive
from rebyte_wire.credentials import key_file_path, read_key
from rebyte_wire.errors import InputError, LedgerUnwritable, RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from rebyte_commands.shell.context import Context
    from rebyte_flows.code.home.homecoming import Homecoming
    from rebyte_flows.code.records import CodeRecord
    from rebyte_flows.code.sending.attachment import CodeTree
    from rebyte_flows.files.uploads import Attachment
    from rebyte_flows.starting.requests import StartRequest
    from rebyte_types import Json, Step, TaskDocument

LEFT_OUT_SHOWN = 5
MOVING_TREE = (
    "while it runs, a change in the code makes the same line another task: go on with the line of"
    " next, or give it a name with --once"
)
UNKNOWN_TREE = (
    "no branch was made of %r: which tree was sent is not known here, as on another machine or when"
    " the state folder is another one or lost; fetch it (%s) and unpack it over the code, or send"
    " the code anew: follow-up ID --code"
)


def add_code_flags(parser: ArgumentParser) -> None:
    """Add the flags that send the code of a git repository along."""
    parser.add_argument(
        "--code",
        nargs="?",
        const=True,
        metavar="DIR",
        help="send the working tree of this repository, and bring its changes home as a branch",
    )
    for flag, text in (
        ("--send-secret", "send this path although it looks like a secret"),
        ("--leave", "keep this path at home"),
    ):
        parser.add_argument(
            flag,
            action="append",
            default=[],
            metavar="PATH",
            help="with --code: %s; again for more" % text,
        )


def add_no_code_flag(parser: ArgumentParser) -> None:
    """Add the flag that only looks."""
    parser.add_argument(
        "--no-code",
        action="store_true",
        help="leave the code of the task where it is: no branch is made or moved",
    )


def code_attachments(context: Context, options: Namespace) -> list[Attachment]:
    """Return the working tree that --code names and its script, nothing without --code."""
    if options.code is None:
        if options.send_secret or options.leave:
            raise InputError(
                "--send-secret and --leave are about --code, which is not there",
                code="usage",
            )
        return []
    # Lazy: only who sends code pays for git, tarfile and gzip.
    from rebyte_flows.code.git import open_repository
    from rebyte_flows.code.sending.attachment import CodeTree
    from rebyte_flows.code.sending.script import CodeScript
    from rebyte_flows.files.names import expand_user

    folder = None if options.code is True else expand_user(options.code)
    tree = CodeTree(
        open_repository(folder),
        send_secret=options.send_secret,
        leave=options.leave,
        own_keys=_own_keys(context),
    )
    _tell_left_out(context, tree)
    return [tree, CodeScript(tree.code_name)]


def code_preview(request: StartRequest) -> Json | None:
    """Return what --dry-run shows of the code that a start takes along, None for none."""
    shown = (item.preview() for item in request.attachments)
    return next((one for one in shown if one), None)


def _own_keys(context: Context) -> list[bytes]:
    """Return the caller's own keys as far as they lie here, to find them in the code."""
    keys = [context.environ.get("REBYTE_API_KEY", "").strip()]
    path = key_file_path(context.environ, context.options.api_key_file)
    # A pipe can be read only once.
    if path is not None and os.path.isfile(path):
        with suppress(RebyteError):
            keys.append(read_key(path))
    return [key.encode("utf-8", "replace") for key in keys if key]


def _tell_left_out(context: Context, tree: CodeTree) -> None:
    left_out = sorted(tree.tree.left_out.items())
    if left_out:
        shown = ", ".join("%r: %s" % pair for pair in left_out[:LEFT_OUT_SHOWN])
        more = " ..." if len(left_out) > LEFT_OUT_SHOWN else ""
        context.info("not sent: %s%s" % (shown, more))


def record_of(context: Context, task_id: str) -> CodeRecord | None:
    """Return what is known of the code of a task, None where it took none along from here."""
    try:
        return record_of_task(context.ledger, context.state, task_id)
    except LedgerUnwritable:
        return None


def homecoming_for(context: Context, task_id: str) -> Homecoming | None:
    """Return what brings the code of a task home, None where it took none along from here or is
    only looked at.
    """
    if getattr(context.options, "no_code", False):
        return None
    record = record_of(context, task_id)
    if record is None:
        return None
    # Lazy: only a task with code pays for zipfile and subprocess.
    from rebyte_flows.code.home.homecoming import Homecoming

    return Homecoming(context.state, record, task_id)


def bring_home(
    context: Context, task_id: str, workspace_id: str | None, turn: str | None
) -> Json:
    """Return what a document says of the code of a task that has ended: empty without --code.

    What the service or the network said is a warning: the line again tries once more.
    """
    home = homecoming_for(context, task_id)
    if home is None or not workspace_id:
        return {}
    # Lazy: the same.
    from rebyte_flows.files.downloads import list_files

    try:
        listing = list_files(context.client, workspace_id)
        return home.bring(context.client, workspace_id, listing, (), turn)
    except RebyteError as problem:
        return {"warnings": ["its code was not brought home: %s" % problem.message]}


def warn_of_unknown_tree(context: Context, document: TaskDocument) -> list[str]:
    """Return what is to be told of code that a task published and of which nothing is known here.

    An archive that another task of the same workspace brought home is none of this one's.
    """
    workspace_id = document.get("workspaceId") or ""
    is_looked_at = getattr(context.options, "no_code", False)
    if is_looked_at or seen_archive(context.state, workspace_id):
        return []
    names = [str(file["name"]) for file in document.get("files", [])]
    wanted = getattr(context.options, "want", None) or ()
    line = context.command_line("artifacts", "get", document["id"], "--out", "DIR")
    return [
        UNKNOWN_TREE % (name, line)
        for name in names
        if name.endswith(HOME_ENDING) and name not in wanted
    ]


def go_on_lines(context: Context, task_id: str) -> list[str]:
    """Return the lines that a follow-up's prompt gets where the task was sent with code."""
    record = record_of(context, task_id)
    return [go_on_line(record.name)] if record else []


def look_step(context: Context, task_id: str) -> list[Step]:
    """Return the steps after changes came home: to look at them, and to take them over."""
    return [
        {
            "why": "this shows what changed in the code",
            "run": context.command_line("diff", task_id),
        },
        {
            "why": "this brings the changes into the working tree, if they fit",
            "run": context.command_line("apply", task_id),
        },
    ]
