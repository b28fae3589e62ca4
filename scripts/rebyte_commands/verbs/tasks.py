"""The service's own words on tasks: get, list, cancel, share, delete.

Answers are printed as sent.
"""

from __future__ import annotations

from functools import partial

from rebyte_commands.jobs.next_steps import reply_steps
from rebyte_commands.shell.arguments import count
from rebyte_commands.shell.identifiers import resolve
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.verb_table import Command
from rebyte_wire.errors import (
    EXIT_KEY,
    EXIT_SOME_FAILED,
    GuardRefused,
    InputError,
    NotFound,
    RebyteError,
)
from rebyte_wire.status import dict_items, items_with_id, terminal_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Sequence
    from typing import Any

    from rebyte_commands.shell.context import Context
    from rebyte_flows.starting.rows import Row
    from rebyte_types import Json

PAGE_ROWS = 100
MAX_PAGES = 10
MINE_SHOWN = 50
TITLE_CHARACTERS = 80
LEVELS = {
    "private": "only the owner of the key",
    "shared": "every member of the organization",
    "public": "anyone who has the link, without logging in",
}


def add_get_flags(parser: ArgumentParser) -> None:
    """Declare the flags of get."""
    parser.add_argument(
        "id", metavar="ID", help="a UUID, a task's address, @NAME or a prefix"
    )


def get(context: Context, options: Namespace) -> Outcome:
    """Return one task as the service tells it; for people, with the question it waits with."""
    task_id = resolve(context, options.id)
    task: Any = context.client.get_task(task_id)
    is_text = context.console.form == "text" and not options.field
    if is_text and terminal_status(task.get("status")) is None:
        task = _with_question(context, task_id, task)
    return Outcome(task)


def _with_question(context: Context, task_id: str, task: Json) -> Json:
    # Lazy: JSON needs no look at the conversation.
    from rebyte_flows.following.questions import standing

    question = standing(
        context.client, task_id, context.answered(task_id), stream=False
    )
    if question is None:
        return task
    return dict(
        task,
        status="question",
        question=question.text,
        options=["%d %s" % pair for pair in enumerate(question.labels, 1)],
        next=reply_steps(context, task_id, question.as_dict(), ["--wait"]),
    )


def add_list_flags(parser: ArgumentParser) -> None:
    """Declare the flags of list."""
    parser.add_argument(
        "--limit", type=count, metavar="N", help="how many, at most 100"
    )
    parser.add_argument(
        "--offset", type=count, metavar="N", help="how many of the newest to pass over"
    )
    parser.add_argument(
        "--mine",
        action="store_true",
        help="what was started from here, with names and workspaces",
    )
    parser.add_argument(
        "--status", action="store_true", help="ask for the status of each one shown"
    )


def list_tasks(context: Context, options: Namespace) -> Outcome:
    """Return a page of tasks, newest first; --mine those of the ledger."""
    if options.mine:
        return _list_mine(context, options)
    page: Any = context.client.list_tasks(options.limit, options.offset)
    if options.status:
        page = dict(page, data=_with_status(context, items_with_id(page)))
    return Outcome(page, text=_list_text)


def _with_status(context: Context, tasks: Sequence[Json]) -> list[Json]:
    return [dict(task, status=_status_of(context, task["id"])) for task in tasks]


def _status_of(context: Context, task_id: str) -> str:
    """Return completed, failed, canceled, question, running or gone for a task, by one or two
    requests.
    """
    from rebyte_flows.following.questions import standing

    try:
        task = context.client.get_task(task_id)
    except NotFound:
        return "gone"
    status = terminal_status(task.get("status"))
    if status:
        return status
    question = standing(
        context.client, task_id, context.answered(task_id), stream=False
    )
    return "question" if question else "running"


def _list_mine(context: Context, options: Namespace) -> Outcome:
    """Return the tasks of the ledger, newest first, with what the service lists of them."""
    rows = context.ledger.started_tasks()[::-1]
    begin = options.offset or 0
    limit = MINE_SHOWN if options.limit is None else options.limit
    shown = rows[begin : begin + limit]
    listed = _listed(context, {row.task_id for row in shown}) if shown else {}
    tasks = [_merged(row, listed.get(row.task_id, {})) for row in shown]
    if options.status:
        tasks = _with_status(context, tasks)
    return Outcome({"tasks": tasks, "total": len(rows)}, text=_list_text)


def _listed(context: Context, wanted: set[str]) -> dict[str, Json]:
    """Return the service's list items of these tasks, page by page until all are seen."""
    found: dict[str, Json] = {}
    for page in range(MAX_PAGES):
        items = items_with_id(context.client.list_tasks(PAGE_ROWS, page * PAGE_ROWS))
        found.update((item["id"], item) for item in items if item["id"] in wanted)
        if len(items) < PAGE_ROWS or len(found) == len(wanted):
            break
    return found


def _merged(row: Row, item: Json) -> Json:
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


def _list_text(page: Json) -> str:
    tasks = dict_items(page, "tasks" if "tasks" in page else "data")
    lines = [_list_line(task) for task in tasks]
    return "\n".join([*lines, "%d of %s" % (len(lines), page.get("total", "?"))])


def _list_line(task: Json) -> str:
    created = str(task.get("createdAt") or "")[:16]
    status = task.get("status") or ("ended" if task.get("completedAt") else "")
    title = " ".join(str(task.get("once") or task.get("title") or "").split())
    return "%s  %s  %-9s  %s" % (
        task.get("id"),
        created,
        status,
        title[:TITLE_CHARACTERS],
    )


def add_cancel_flags(parser: ArgumentParser) -> None:
    """Declare the flags of cancel."""
    parser.add_argument("id", nargs="+", metavar="ID")


def cancel(context: Context, options: Namespace) -> Outcome:
    """Stop tasks; one answer for one ID, a list for several."""
    ids = [resolve(context, word) for word in options.id]
    return _each_task(ids, context.client.cancel_task)


def _each_task(ids: Sequence[str], act: Callable[[str], Any]) -> Outcome:
    """Do one thing to each task; with several, a failure does not hide the rest."""
    if len(ids) == 1:
        return Outcome(act(ids[0]) or {"id": ids[0]})
    done = []
    failed = []
    for task_id in ids:
        try:
            done.append(act(task_id) or {"id": task_id})
        except RebyteError as problem:
            if problem.exit_code == EXIT_KEY:
                raise
            failed.append({"id": task_id, "error": problem.as_dict()})
    document: Json = {
        "tasks": done,
        "counts": {"done": len(done), "failed": len(failed)},
    }
    if not failed:
        return Outcome(document)
    return Outcome(dict(document, failed=failed), code=EXIT_SOME_FAILED)


def add_share_flags(parser: ArgumentParser) -> None:
    """Declare the flags of share."""
    parser.add_argument("id", metavar="ID")
    parser.add_argument(
        "level", nargs="?", metavar="LEVEL", help="private, shared or public"
    )
    for level, meaning in LEVELS.items():
        parser.add_argument(
            "--" + level,
            dest="level_flag",
            action="store_const",
            const=level,
            help=meaning,
        )


def share(context: Context, options: Namespace) -> Outcome:
    """Set who may see a task; the answer carries the line that undoes it."""
    task_id = resolve(context, options.id)
    level = options.level or options.level_flag
    if level not in LEVELS:
        problem = InputError(
            "share needs a level: %s"
            % "; ".join("%s (%s)" % pair for pair in LEVELS.items()),
            code="usage",
            hint="name one of the three after the ID",
        )
        problem.next = [
            {"why": meaning, "run": context.command_line("share", task_id, name)}
            for name, meaning in LEVELS.items()
        ]
        raise problem
    answer = dict(context.client.set_visibility(task_id, level))
    if level != "private" and answer.get("shareUrl"):
        context.info("the address to hand on: %s" % answer["shareUrl"])
    steps: list[Json] = []
    for other in ("shared", "private"):
        if other != level:
            line = context.command_line("share", task_id, other)
            steps.append({"why": "this takes it back: " + LEVELS[other], "run": line})
    return Outcome(dict(answer, next=steps))


def add_delete_flags(parser: ArgumentParser) -> None:
    """Declare the flags of delete."""
    parser.add_argument("id", nargs="+", metavar="ID")
    parser.add_argument(
        "--yes",
        action="store_true",
        help="needed for several, and for one that still runs",
    )


def delete(context: Context, options: Namespace) -> Outcome:
    """Delete tasks; several, or one that still runs, need --yes."""
    ids = [resolve(context, word) for word in options.id]
    if not options.yes:
        _check_harmless(context, ids)
    return _each_task(ids, partial(_delete_task, context))


def _delete_task(context: Context, task_id: str) -> Json:
    context.client.delete_task(task_id)
    return {"id": task_id, "deleted": True}


def _check_harmless(context: Context, ids: Sequence[str]) -> None:
    """Raise GuardRefused unless it is one task, and that has ended."""
    if len(ids) > 1:
        raise GuardRefused(
            "%d tasks would be deleted" % len(ids),
            code="needs_yes",
            hint="the same line with --yes deletes them",
        )
    task = context.client.get_task(ids[0])
    if terminal_status(task.get("status")) is None:
        raise GuardRefused(
            "the task still runs",
            code="needs_yes",
            hint="cancel it first: %s; or the same line with --yes"
            % context.command_line("cancel", ids[0]),
        )


COMMANDS = {
    "get": Command(
        get,
        add_get_flags,
        examples="examples:\n  rebyte_cli.py get ID --field status\n"
        "  rebyte_cli.py get @NAME --text",
    ),
    "list": Command(
        list_tasks,
        add_list_flags,
        examples="examples:\n  rebyte_cli.py list --limit 10\n  rebyte_cli.py list --mine --text",
    ),
    "cancel": Command(
        cancel,
        add_cancel_flags,
        examples="examples:\n  rebyte_cli.py cancel ID\n  rebyte_cli.py cancel @ONE @TWO",
    ),
    "share": Command(
        share,
        add_share_flags,
        examples="examples:\n  rebyte_cli.py share ID public --field shareUrl\n"
        "  rebyte_cli.py share ID private",
    ),
    "delete": Command(
        delete,
        add_delete_flags,
        examples="examples:\n  rebyte_cli.py delete ID\n  rebyte_cli.py delete @ONE @TWO --yes",
    ),
}
