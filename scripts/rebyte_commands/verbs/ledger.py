"""ledger list, show, settle, forget: what was started from here, and what became of it."""

from __future__ import annotations

import time

from rebyte_commands.shell.arguments import count
from rebyte_commands.shell.identifiers import resolve
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.verb_table import Command
from rebyte_flows.starting.guards import owners_limit
from rebyte_flows.starting.kinds import COMPUTER, FOLLOW_UP
from rebyte_flows.starting.reconciliation import adopt, prompts_of, reconcile
from rebyte_flows.starting.rows import ABANDONED, OPEN, SETTLED, UNKNOWN, check_name
from rebyte_flows.starting.table import DAY_SECONDS
from rebyte_wire.errors import (
    EXIT_DONE,
    EXIT_UNKNOWN,
    GuardRefused,
    InputError,
    NotFound,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from rebyte_commands.shell.context import Context
    from rebyte_flows.starting.rows import Row
    from rebyte_types import Json, Step

NUMBER_DIGITS = 9
SHOWN_ROWS = 20
CANDIDATES_SHOWN = 4
# What other hands have left in a cell besides is not shown.
PRINTED_TYPES = (str, int, float)
LIST_EXAMPLES = "examples:\n  rebyte_cli.py ledger list --limit 20"
SHOW_EXAMPLES = "examples:\n  rebyte_cli.py ledger show 12"
SETTLE_EXAMPLES = """examples:
  rebyte_cli.py ledger settle
  rebyte_cli.py ledger settle 12 --adopt ID
"""
FORGET_EXAMPLES = "examples:\n  rebyte_cli.py ledger forget --older-than 90 --yes"


def add_list_flags(parser: ArgumentParser) -> None:
    """Declare the flags of ledger list."""
    parser.add_argument(
        "--limit",
        type=count,
        default=SHOWN_ROWS,
        metavar="N",
        help="the newest N (default 20)",
    )


def list_(context: Context, options: Namespace) -> Outcome:
    """Return the newest rows, newest first, and how many there are."""
    context.read_whole_ledger()
    rows = context.ledger.rows("kind != 'reply'", newest=options.limit)[::-1]
    document = {
        "rows": [as_dict(row) for row in rows],
        "total": context.ledger.count_all(),
    }
    return Outcome(document, text=_list_text)


def as_dict(row: Row) -> Json:
    """Return a row as the commands print it, empty fields left out."""
    shown = {
        "row": row.id,
        "kind": row.kind,
        "state": row.state,
        "id": row.task_id,
        "promptId": row.prompt_id,
        "workspaceId": row.workspace_id,
        "once": row.name,
        "url": row.url,
        "status": row.status,
        "startedAt": _time(row.claimed_at),
        "deliveredAt": _time(row.delivered_at),
        "attempt": row.attempt if row.attempt > 1 else None,
        "origin": row.origin,
        "executor": row.executor,
        "model": row.model,
        "reason": row.reason,
    }
    return {
        key: value for key, value in shown.items() if isinstance(value, PRINTED_TYPES)
    }


def _time(moment: float | None) -> str | None:
    if moment is None:
        return None
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    except (TypeError, ValueError, OverflowError, OSError):
        # A cell that other hands have changed.
        return str(moment)


def _list_text(document: Json) -> str:
    lines = [_list_line(row) for row in document["rows"]]
    return "\n".join([*lines, "%d of %d" % (len(lines), document["total"])])


def _list_line(row: Json) -> str:
    status = row.get("status") or row["state"]
    label = row.get("once") or row.get("id") or ""
    return "%5d  %-9s %-9s %s  %s" % (
        row["row"],
        row["kind"],
        status,
        row["startedAt"],
        label,
    )


def _row_of(context: Context, word: str) -> Row:
    """Return the row that a number or an ID names."""
    row = None
    if word.isascii() and word.isdigit():
        # A longer number is none of ours, and more than SQLite takes.
        row = (
            context.ledger.latest(id=int(word)) if len(word) <= NUMBER_DIGITS else None
        )
    elif word.startswith("@"):
        row = _named(context, word)
    else:
        row = context.ledger.find_start(resolve(context, word))
    if row is None:
        raise NotFound(
            "the ledger has no row %s" % word,
            hint="see: %s" % context.command_line("ledger", "list"),
        )
    return row


def _named(context: Context, word: str) -> Row | None:
    """Return the latest row of a name; InputError when several services know it."""
    rows = context.ledger.rows("name = ?", (check_name(word[1:]),))
    if len({row.origin for row in rows}) > 1:
        numbers = ", ".join(str(row.id) for row in rows)
        raise InputError(
            "%s names rows of several services: %s" % (word, numbers),
            hint="give the number of a row",
        )
    return rows[-1] if rows else None


def add_show_flags(parser: ArgumentParser) -> None:
    """Declare the flags of ledger show."""
    parser.add_argument("row", metavar="ROW", help="the number of a row, or an ID")


def show(context: Context, options: Namespace) -> Outcome:
    """Return one row."""
    context.read_whole_ledger()
    return Outcome(as_dict(_row_of(context, options.row)))


def add_settle_flags(parser: ArgumentParser) -> None:
    """Declare the flags of ledger settle."""
    parser.add_argument(
        "row", nargs="?", metavar="ROW", help="the number of a row, or an ID"
    )
    parser.add_argument(
        "--adopt", metavar="ID", help="this task is the one that the row started"
    )
    parser.add_argument(
        "--abandon",
        action="store_true",
        help="give the row up; the same line may start anew",
    )


def settle(context: Context, options: Namespace) -> Outcome:
    """Look for what is unknown and adopt what is proven; --adopt and --abandon decide about one
    row.
    """
    if options.adopt or options.abandon:
        return _decide(context, options)
    if options.row:
        raise InputError(
            "ledger settle takes no ROW without --adopt ID or --abandon", code="usage"
        )
    before = {row.id for row in context.ledger.expire_orphans()}
    unproven = reconcile(context.client, context.ledger) if before else []
    unknown = [
        dict(as_dict(row), candidates=[match.as_dict() for match in matches])
        for row, matches in unproven
    ]
    settled = before - {row.id for row, _ in unproven}
    found = [as_dict(context.ledger.row(number)) for number in sorted(settled)]
    document: Json = {
        "settled": found,
        "unknown": unknown,
        "counts": {"settled": len(found), "unknown": len(unknown)},
    }
    if not unknown:
        return Outcome(document)
    document["next"] = _decisions(context, unknown[0])
    return Outcome(document, code=EXIT_UNKNOWN)


def _decisions(context: Context, row: Json) -> list[Step]:
    """Return the lines that settle a row by the caller's word, one for each candidate."""
    words = ("ledger", "settle", row["row"])
    candidates = row.get("candidates", [])[:CANDIDATES_SHOWN]
    adopting: list[Step] = [
        {
            "why": "if you know this candidate for the one that the row started",
            "run": context.command_line(*words, "--adopt", candidate["id"]),
        }
        for candidate in candidates
    ]
    return [
        *adopting,
        {
            "why": "it was never started; the same line may start it anew",
            "run": context.command_line(*words, "--abandon"),
        },
    ]


def _decide(context: Context, options: Namespace) -> Outcome:
    """Settle one row by the caller's word."""
    if not options.row or (options.adopt and options.abandon):
        raise InputError(
            "name one ROW, and one of --adopt ID and --abandon", code="usage"
        )
    row = _row_of(context, options.row)
    if row.state in OPEN and not context.ledger.is_held(row):
        context.ledger.expire_orphans()
        row = context.ledger.row(row.id)
    if row.state != UNKNOWN:
        raise InputError("row %d is %s, not unknown" % (row.id, row.state))
    if options.abandon:
        context.ledger.update(row.id, state=ABANDONED)
    elif row.kind == FOLLOW_UP.name:
        _adopt_prompt(context, row, options.adopt)
    else:
        _adopt(context, row, options.adopt)
    return Outcome(as_dict(context.ledger.row(row.id)), code=EXIT_DONE)


def _adopt_prompt(context: Context, row: Row, prompt_id: str) -> None:
    """Take a prompt of its task for the one that a follow-up started."""
    prompts = prompts_of(context.client.get_task(row.task_id))
    is_there = prompt_id in [prompt["id"] for prompt in prompts]
    if not is_there or context.ledger.find_prompt(row.task_id, prompt_id):
        raise InputError(
            "the task %s has no prompt %s that is nobody's" % (row.task_id, prompt_id),
            hint="--adopt takes the id of a candidate",
        )
    context.ledger.update(row.id, state=SETTLED, prompt_id=prompt_id)


def _adopt(context: Context, row: Row, word: str) -> None:
    """Take a task or a computer for the one that a row started."""
    id = resolve(context, word)
    if context.ledger.latest(task_id=id, kind=row.kind) is not None:
        raise InputError("%s %s belongs to another row" % (row.kind, id))
    is_computer = row.kind == COMPUTER.name
    read = context.client.get_computer if is_computer else context.client.get_task
    adopt(context.client, context.ledger, row, read(id))


def add_forget_flags(parser: ArgumentParser) -> None:
    """Declare the flags of ledger forget."""
    parser.add_argument(
        "row", nargs="*", metavar="ROW", help="the number of a row, or an ID"
    )
    parser.add_argument(
        "--older-than", type=count, metavar="DAYS", help="rows older than so many days"
    )
    parser.add_argument("--yes", action="store_true", help="needed to forget")


def forget(context: Context, options: Namespace) -> Outcome:
    """Remove rows for good: those named, or those older than some days; open ones stay."""
    if bool(options.row) == (options.older_than is not None):
        raise InputError("name the rows to forget, or --older-than DAYS", code="usage")
    if not options.yes:
        raise GuardRefused(
            "rows of the ledger would be removed; reruns of their lines would start anew",
            code="needs_yes",
            hint="the same line with --yes",
        )
    context.read_whole_ledger()
    rows = [_row_of(context, word) for word in options.row]
    _check_closed(context, rows)
    newest = time.time() - DAY_SECONDS * (options.older_than or 0)
    if rows:
        newest = max(row.claimed_at for row in rows)
    _check_not_counted(context, newest)
    if rows:
        gone = context.ledger.forget([row.id for row in rows])
    else:
        gone = context.ledger.forget_before(newest)
    document: Json = {"forgotten": gone}
    kept = [
        "%s keeps its copies, and they come back: %s" % pair
        for pair in context.ledger.unread.items()
    ]
    if kept:
        document["warnings"] = kept
    return Outcome(document)


def _check_closed(context: Context, rows: list[Row]) -> None:
    """Raise GuardRefused for rows whose outcome is not known yet."""
    still_open = [str(row.id) for row in rows if row.state in OPEN]
    if still_open:
        raise GuardRefused(
            "nobody knows yet what became of row %s" % ", ".join(still_open),
            hint="settle it first: %s" % context.command_line("ledger", "settle"),
        )


def _check_not_counted(context: Context, newest: float) -> None:
    """Raise GuardRefused for rows that the owner's daily limit counts."""
    has_limit = owners_limit(context.environ) is not None
    if has_limit and newest > time.time() - DAY_SECONDS:
        raise GuardRefused(
            "REBYTE_MAX_TASKS_PER_DAY counts what was started in the last 24 hours, "
            "so that has to stay",
            hint="forget what is older: --older-than 1",
        )


COMMANDS = {
    "ledger list": Command(list_, add_list_flags, examples=LIST_EXAMPLES),
    "ledger show": Command(show, add_show_flags, examples=SHOW_EXAMPLES),
    "ledger settle": Command(settle, add_settle_flags, examples=SETTLE_EXAMPLES),
    "ledger forget": Command(forget, add_forget_flags, examples=FORGET_EXAMPLES),
}
