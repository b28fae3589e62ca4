"""What an ID on the command line means: a UUID, a pasted address, @NAME, or a prefix that the
ledger knows.
"""

from __future__ import annotations

import re

from rebyte_flows.starting.rows import check_name
from rebyte_wire.errors import InputError, LedgerUnwritable, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_commands.shell.context import Context
    from rebyte_flows.starting.rows import Row

UUID = re.compile(r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
ADDRESS = r"https?://[^/\s]+/(?:run|share|agent/computer)/([0-9A-Za-z-]+)/?(?:[?#].*)?$"
PREFIX = r"(?i)[0-9a-f-]{6,35}$"


def resolve(context: Context, word: str) -> str:
    """Return the task or computer id that a word stands for; InputError or NotFound if it stands
    for none.
    """
    if UUID.match(word):
        return word.lower()
    address = re.match(ADDRESS, word)
    if address:
        return resolve(context, address.group(1))
    if word.startswith("@"):
        return _resolve_name(context, word[1:])
    if re.match(PREFIX, word):
        return _resolve_prefix(context, word)
    raise InputError(
        "%r is no task id" % word[:80],
        hint="an id is a UUID, a task's address, @NAME, or 6 or more characters of an id",
    )


def _resolve_name(context: Context, name: str) -> str:
    row = context.ledger.named(check_name(name))
    if row is None or not row.task_id:
        raise NotFound(
            "nothing was started under the name %s here" % name,
            hint="names belong to one service and account; see: %s"
            % context.command_line("ledger", "list"),
        )
    return row.task_id


def _resolve_prefix(context: Context, prefix: str) -> str:
    found = context.ledger.with_prefix(prefix)
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            "%d tasks in the ledger begin with %s" % (len(found), prefix),
            hint="give more characters of the id",
        )
    raise NotFound(
        "no task in the ledger begins with %s" % prefix,
        hint="pass the whole id or the task's address",
    )


def row_of(context: Context, task_id: str, prompt_id: str | None = None) -> Row:
    """Return the ledger's row of a task, or of one of its turns, with what the task's own row
    knows.

    What was started elsewhere, or stands in a ledger that cannot be read, gets a row that knows
    its id alone.
    """
    from rebyte_flows.starting.rows import untracked_row

    try:
        ledger = context.ledger
        turn = ledger.find_prompt(task_id, prompt_id) if prompt_id else None
        task = ledger.find_task(task_id)
    except LedgerUnwritable as problem:
        context.info("%s; going on without it" % problem.message)
        turn = task = None
    row = turn or task
    if row is None or (prompt_id and turn is None):
        row = untracked_row(task_id)
        row.prompt_id = prompt_id
    if task is not None:
        row.workspace_id = row.workspace_id or task.workspace_id
        row.url = row.url or task.url
    return row


def workspace_of(context: Context, word: str) -> str:
    """Return the workspace that a task or workspace id stands for, found through the ledger."""
    task_id = resolve(context, word)
    try:
        row = context.ledger.find_start(task_id)
    except LedgerUnwritable:
        row = None
    if row is None:
        if UUID.match(word):
            return word.lower()
        raise InputError(
            "the workspace of task %s is not known here; create told it once" % task_id,
            hint="pass the workspaceId that create printed",
        )
    if not row.workspace_id:
        raise InputError(
            "the service did not tell the workspace of task %s" % task_id,
            hint="pass a workspaceId instead",
        )
    return row.workspace_id
