"""ledger list, show, settle, forget: what was started from here, and what became of it."""

from __future__ import annotations

import time

from rebyte_commands.arguments import count
from rebyte_flows.starting.ledger import DAY_SECONDS
from rebyte_flows.starting.reconciliation import adopt, settle
from rebyte_flows.starting.submitter import owners_limit
from rebyte_wire.errors import EXIT_UNKNOWN, GuardRefused, InputError, NotFound
from rebyte_wire.status import dict_items

EXAMPLES = """examples:
  rebyte_cli.py ledger list --limit 20
  rebyte_cli.py ledger settle
  rebyte_cli.py ledger settle 12 --adopt ID
  rebyte_cli.py ledger forget --older-than 90 --yes
"""
ACTIONS = ("list", "show", "settle", "forget")


def flags(parser):
    """Declare the flags of ledger."""
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("row", nargs="*", metavar="ROW", help="the number of a row, or an ID")
    parser.add_argument(
        "--limit", type=count, default=20, metavar="N", help="list: the newest N (default 20)"
    )
    parser.add_argument(
        "--adopt", metavar="ID", help="settle: this task is the one that the row started"
    )
    parser.add_argument(
        "--abandon",
        action="store_true",
        help="settle: give the row up; the same line may start anew",
    )
    parser.add_argument(
        "--older-than", type=count, metavar="DAYS", help="forget: rows older than so many days"
    )
    parser.add_argument("--yes", action="store_true", help="needed to forget")


def ledger(context, options):
    """Do one of list, show, settle, forget."""
    if options.row and (
        options.action == "list"
        or options.action == "settle"
        and not (options.adopt or options.abandon)
    ):
        raise InputError(
            "ledger %s takes no ROW%s"
            % (
                options.action,
                "" if options.action == "list" else " without --adopt ID or --abandon",
            ),
            code="usage",
        )
    # Only a look at the service, and names, which belong to one, need to know which one.
    if options.action != "settle" and not any(word.startswith("@") for word in options.row):
        context.read_whole_ledger()
    return {"list": list_, "show": show, "settle": settle_, "forget": forget}[options.action](
        context, options
    )


def as_dict(row):
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
    return {key: value for key, value in shown.items() if value is not None}


def _time(moment):
    return None if moment is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def list_(context, options):
    """Print the newest rows, newest first, and how many there are."""
    rows = context.ledger.rows(newest=options.limit)[::-1]
    context.emit(
        {"rows": [as_dict(row) for row in rows], "total": context.ledger.count_all()}, _list_text
    )
    return 0


def _list_text(document):
    lines = [
        "%5d  %-9s %-9s %s  %s"
        % (
            row["row"],
            row["kind"],
            row.get("status") or row["state"],
            row["startedAt"],
            row.get("once") or row.get("id") or "",
        )
        for row in document["rows"]
    ]
    return "\n".join(lines + ["%d of %d" % (len(lines), document["total"])])


def _row_of(context, word):
    row = (
        context.ledger.row(int(word))
        if word.isdigit() and len(word) < 10
        else context.ledger.find_start(context.resolve(word))
    )
    if row is None:
        raise NotFound(
            "the ledger has no row %s" % word, hint="see: %s" % context.line("ledger", "list")
        )
    return row


def show(context, options):
    """Print one row."""
    if len(options.row) != 1:
        raise InputError("ledger show takes one ROW", code="usage")
    context.emit(as_dict(_row_of(context, options.row[0])))
    return 0


def settle_(context, options):
    """Look for what is unknown and adopt what is proven; --adopt and --abandon decide about one row. Starts nothing."""
    if options.adopt or options.abandon:
        return _decide(context, options)
    before = {row.id for row in context.ledger.expire_orphans()}
    left = settle(context.client, context.ledger) if before else []
    unknown = [
        dict(as_dict(row), candidates=[candidate.as_dict() for candidate in candidates])
        for row, candidates in left
    ]
    found = [
        as_dict(context.ledger.row(number))
        for number in sorted(before - {row.id for row, _ in left})
    ]
    document = {
        "settled": found,
        "unknown": unknown,
        "counts": {"settled": len(found), "unknown": len(unknown)},
    }
    if unknown:
        number = unknown[0]["row"]
        document["next"] = [
            {
                "why": "a candidate is the one that the row started",
                "run": context.line("ledger", "settle", number, "--adopt", "ID"),
            },
            {
                "why": "it was never started; the same line may start it anew",
                "run": context.line("ledger", "settle", number, "--abandon"),
            },
        ]
    context.emit(document)
    return EXIT_UNKNOWN if unknown else 0


def _decide(context, options):
    if len(options.row) != 1 or options.adopt and options.abandon:
        raise InputError("name one ROW, and one of --adopt ID and --abandon", code="usage")
    row = _row_of(context, options.row[0])
    if row.state == "intent" and not context.ledger.is_held(row):
        context.ledger.expire_orphans()
        row = context.ledger.row(row.id)
    if row.state != "unknown":
        raise InputError("row %d is %s, not unknown" % (row.id, row.state))
    if options.abandon:
        context.ledger.note(row.id, state="abandoned", holder=None)
    else:
        _adopt(context, row, options.adopt)
    context.emit(as_dict(context.ledger.row(row.id)))
    return 0


def _adopt(context, row, word):
    """Take a task, a computer or, for a follow-up, a prompt of its task for the one that a row started."""
    if row.kind == "follow-up":
        prompts = dict_items(context.client.get_task(row.task_id), "prompts")
        if word not in [prompt.get("id") for prompt in prompts] or context.ledger.find_prompt(
            row.task_id, word
        ):
            raise InputError(
                "the task %s has no prompt %s that is nobody's" % (row.task_id, word),
                hint="--adopt takes the id of a candidate",
            )
        context.ledger.note(row.id, state="settled", prompt_id=word, holder=None)
        return
    id, is_computer = context.resolve(word), row.kind == "computer"
    known = context.ledger.find_computer if is_computer else context.ledger.find_task
    if known(id) is not None:
        raise InputError("%s %s belongs to another row" % (row.kind, id))
    adopt(
        context.ledger,
        row,
        (context.client.get_computer if is_computer else context.client.get_task)(id),
    )


def forget(context, options):
    """Remove rows for good: those named, or those older than some days; open ones stay."""
    if bool(options.row) == (options.older_than is not None):
        raise InputError("name the rows to forget, or --older-than DAYS", code="usage")
    if not options.yes:
        raise GuardRefused(
            "rows of the ledger would be removed; reruns of their lines would start anew",
            code="needs_yes",
            hint="the same line with --yes",
        )
    rows = [_row_of(context, word) for word in options.row]
    still_open = [str(row.id) for row in rows if row.state in ("intent", "unknown")]
    if still_open:
        raise GuardRefused(
            "nobody knows yet what became of row %s" % ", ".join(still_open),
            hint="settle it first: %s" % context.line("ledger", "settle"),
        )
    now = time.time()
    newest = max(
        [row.claimed_at for row in rows], default=now - DAY_SECONDS * (options.older_than or 0)
    )
    if owners_limit(context.environ) is not None and newest > now - DAY_SECONDS:
        raise GuardRefused(
            "REBYTE_MAX_TASKS_PER_DAY counts what was started in the last 24 hours, so that has to stay",
            hint="forget what is older: --older-than 1",
        )
    gone = (
        context.ledger.forget([row.id for row in rows])
        if rows
        else context.ledger.forget_before(newest)
    )
    context.emit({"forgotten": gone})
    return 0


COMMANDS = {"ledger": (flags, ledger, EXAMPLES)}
