"""The page of a folder of --out, and what it needs beside answer, transcript and files."""

from __future__ import annotations

import os

from rebyte_commands.jobs.code import record_of
from rebyte_commands.shell.output import to_json
from rebyte_flows.files.atomic import write_whole
from rebyte_flows.files.names import expand_user
from rebyte_flows.files.out_folder import DOCUMENT_FILE
from rebyte_wire.errors import RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_commands.shell.context import Context
    from rebyte_types import Shape


def write_task_page(context: Context, out: str | None, document: Shape) -> str | None:
    """Write the document of a task into the folder of --out, and the page; return its path.

    None without a folder, and where the disk refuses it, which is told on stderr: the document is
    printed all the same.
    """
    if not out:
        return None
    folder = os.path.abspath(expand_user(out))
    try:
        write_whole(os.path.join(folder, DOCUMENT_FILE), to_json(document) + "\n")
        keep_diff(context, folder, document)
    except OSError as problem:
        context.error("the page was not written: %s" % problem)
        return None
    return write_page(context, folder)


def write_page(context: Context, folder: str) -> str | None:
    """Write the page of a folder anew and return its path; None where the disk refuses it."""
    # Lazy: only who has a folder pays for its page.
    from rebyte_flows.report.page import write_report

    try:
        return write_report(folder)
    except OSError as problem:
        context.error("the page was not written: %s" % problem)
        return None


def keep_diff(context: Context, folder: str, document: Shape) -> None:
    """Write what a task changed in the code as a diff beside its answer; OSError when refused."""
    if not document.get("changes") or not os.path.isdir(folder):
        return
    record = record_of(context, document["id"])
    if record is None or not record.result:
        return
    # Lazy: only a task with code pays for git.
    from rebyte_flows.code.git import open_repository
    from rebyte_flows.report.folder import DIFF_FILE

    words = ["diff-tree", "-p", "-r", "--no-ext-diff", "--no-textconv"]
    try:
        repository = open_repository(record.repository)
        text = repository.run(*words, record.base, record.result)
    except RebyteError as problem:
        context.info("the diff is not in the page: %s" % problem.message)
        return
    write_whole(os.path.join(folder, DIFF_FILE), text.decode("utf-8", "replace"))
