"""list --mine: what was started from here, the ledger's knowledge and the service's merged."""

from __future__ import annotations

import re
import time

from rebyte_flows.following.questions import standing
from rebyte_wire.errors import EXIT_DONE, InputError, NotFound
from rebyte_wire.status import items_with_id, parse_timestamp, terminal_status

PAGE_ROWS = 100
PAGES_AT_MOST = 10
SPAN = re.compile(r"(\d+)([mhd])$")
SPAN_SECONDS = {"m": 60, "h": 3600, "d": 86_400}


def add_mine_flags(parser):
    """Declare the flags of list that look into the ledger."""
    parser.add_argument(
        "--mine", action="store_true", help="what was started from here, with names and workspaces"
    )
    parser.add_argument(
        "--status", action="store_true", help="ask for the status of each one shown"
    )
    parser.add_argument(
        "--since", metavar="WHEN", help="--mine: not older than 30m, 2h, 7d or a time"
    )
    parser.add_argument("--running", action="store_true", help="--mine: those that have not ended")
    parser.add_argument(
        "--grep", metavar="TEXT", help="--mine: those with this in their name or title"
    )


def list_mine(context, options):
    """Print the tasks of the ledger, newest first, with what the service tells of them."""
    since = moment_of(options.since) if options.since else 0
    rows = [row for row in context.ledger.started_tasks() if row.claimed_at >= since][::-1]
    listed = _listed(context, {row.task_id for row in rows}) if rows else {}
    found = [_merged(row, listed.get(row.task_id) or {}) for row in rows]
    if options.grep:
        found = [
            task
            for task in found
            if options.grep.casefold()
            in (task.get("once", "") + " " + str(task.get("title", ""))).casefold()
        ]
    if options.running:
        found = [task for task in found if not task.get("completedAt")]
    shown = found[options.offset or 0 :][: 50 if options.limit is None else options.limit]
    if options.status or options.running:
        shown = [dict(task, status=status_of(context, task["id"])) for task in shown]
    if options.running:
        shown = [task for task in shown if task["status"] in ("running", "question")]
    context.emit({"tasks": shown, "total": len(found)}, _text)
    return EXIT_DONE


def moment_of(text):
    """Return the moment that 30m, 2h, 7d (ago) or a time names; raises InputError."""
    span = SPAN.match(text)
    moment = (
        time.time() - int(span.group(1)) * SPAN_SECONDS[span.group(2)]
        if span
        else parse_timestamp(text if "T" in text else text + "T00:00:00Z")
    )
    if moment is None:
        raise InputError(
            "--since is %r; 30m, 2h, 7d or a time such as 2026-01-28 was expected" % text
        )
    return moment


def status_of(context, task_id):
    """Return completed, failed, canceled, question, running or gone for a task, by one or two requests."""
    try:
        task = context.client.get_task(task_id)
    except NotFound:
        return "gone"
    outcome = terminal_status(task.get("status"))
    if outcome:
        return outcome
    return (
        "question"
        if standing(context.client, task_id, context.ledger.replies(task_id), stream=False)
        else "running"
    )


def _listed(context, wanted):
    """Return the service's list items of these tasks, page by page until all are seen."""
    found = {}
    for page in range(PAGES_AT_MOST):
        items = items_with_id(context.client.list_tasks(PAGE_ROWS, page * PAGE_ROWS))
        found.update({item["id"]: item for item in items if item["id"] in wanted})
        if len(items) < PAGE_ROWS or len(found) == len(wanted):
            break
    return found


def _merged(row, item):
    task = {
        "id": row.task_id,
        "once": row.name,
        "status": row.status,
        "title": item.get("title"),
        "createdAt": item.get("createdAt"),
        "completedAt": item.get("completedAt"),
        "workspaceId": row.workspace_id,
        "url": row.url,
    }
    return {key: value for key, value in task.items() if value is not None}


def _text(document):
    lines = [
        "%s  %-9s  %s"
        % (
            task["id"],
            task.get("status", ""),
            task.get("once") or " ".join(str(task.get("title") or "").split())[:80],
        )
        for task in document["tasks"]
    ]
    return "\n".join(lines + ["%d of %d" % (len(lines), document["total"])])
