"""The service's own words on tasks: get, list, cancel, share, delete. Answers are printed as sent."""

from __future__ import annotations

from rebyte_commands.arguments import count
from rebyte_wire.errors import EXIT_KEY, EXIT_SOME_FAILED, GuardRefused, InputError, RebyteError
from rebyte_wire.status import dict_items, items_with_id, terminal_status

LEVELS = (
    ("private", "only the owner of the key"),
    ("shared", "every member of the organization"),
    ("public", "anyone who has the link, without logging in"),
)


def get_flags(parser):
    """Declare the flags of get."""
    parser.add_argument("id", metavar="ID", help="a UUID, a task's address, @NAME or a prefix")


def get(context, options):
    """Print one task as the service tells it; for people, with the question it waits with."""
    task_id = context.resolve(options.id)
    task = context.client.get_task(task_id)
    if (
        context.form == "text"
        and not context.options.field
        and terminal_status(task.get("status")) is None
    ):
        # Second lazy seam: JSON needs no look at the conversation.
        from rebyte_flows.following.questions import standing

        asked = standing(
            context.client, task_id, context.ledger.replies(task_id), stream=False
        )
        if asked:
            task = dict(
                task,
                status="question",
                question=asked.text,
                options=["%(n)d %(label)s" % option for option in asked.as_dict()["options"]],
                next=context.line("reply", task_id, "--option", "1", "--wait"),
            )
    context.emit(task)
    return 0


def list_flags(parser):
    """Declare the flags of list."""
    from rebyte_commands.mine import add_mine_flags

    parser.add_argument("--limit", type=count, metavar="N", help="how many, at most 100")
    parser.add_argument(
        "--offset", type=count, metavar="N", help="how many of the newest to pass over"
    )
    add_mine_flags(parser)


def list_tasks(context, options):
    """Print a page of tasks, newest first, as the service lists them; --mine asks the ledger too."""
    from rebyte_commands.mine import list_mine, status_of

    if options.mine or options.since or options.running or options.grep:
        return list_mine(context, options)
    page = context.client.list_tasks(options.limit, options.offset)
    if options.status:
        page = dict(
            page,
            data=[
                dict(item, status=status_of(context, item["id"])) for item in items_with_id(page)
            ],
        )
    context.emit(page, _list_text)
    return 0


def _list_text(page):
    lines = [
        "%s  %s  %-9s  %s"
        % (
            item.get("id"),
            str(item.get("createdAt") or "")[:16],
            item.get("status") or ("ended" if item.get("completedAt") else ""),
            " ".join(str(item.get("title") or "").split())[:80],
        )
        for item in dict_items(page)
    ]
    return "\n".join(lines + ["%d of %s" % (len(lines), page.get("total", "?"))])


def cancel_flags(parser):
    """Declare the flags of cancel."""
    parser.add_argument("id", nargs="+", metavar="ID")


def cancel(context, options):
    """Stop tasks; one answer for one ID, a list for several."""
    return for_each(context, options.id, context.client.cancel_task)


def for_each(context, words, act):
    """Do one thing to each of several tasks; a failure does not hide the rest. Prints what came of each."""
    ids = [context.resolve(word) for word in words]
    if len(ids) == 1:
        context.emit(act(ids[0]) or {"id": ids[0]})
        return 0
    done, failed = [], []
    for task_id in ids:
        try:
            done.append(act(task_id) or {"id": task_id})
        except RebyteError as problem:
            if problem.exit_code == EXIT_KEY:
                raise
            failed.append({"id": task_id, "error": problem.as_dict()})
    document = {"tasks": done, "counts": {"done": len(done), "failed": len(failed)}}
    if failed:
        document["failed"] = failed
    context.emit(document)
    return EXIT_SOME_FAILED if failed else 0


def share_flags(parser):
    """Declare the flags of share."""
    parser.add_argument("id", metavar="ID")
    parser.add_argument("level", nargs="?", metavar="LEVEL", help="private, shared or public")
    for level, meaning in LEVELS:
        parser.add_argument(
            "--" + level, dest="level_flag", action="store_const", const=level, help=meaning
        )


def share(context, options):
    """Set who may see a task; the answer carries the line that undoes it."""
    task_id, level = context.resolve(options.id), options.level or options.level_flag
    if level not in dict(LEVELS):
        problem = InputError(
            "share needs a level: %s" % "; ".join("%s (%s)" % pair for pair in LEVELS),
            code="usage",
            hint="name one of the three after the ID",
        )
        problem.next = [
            {"why": meaning, "run": context.line("share", task_id, name)}
            for name, meaning in LEVELS
        ]
        raise problem
    answer = dict(context.client.set_visibility(task_id, level))
    others = [other for other in ("shared", "private") if other != level]
    answer["next"] = [
        {
            "why": "this takes it back: " + dict(LEVELS)[other],
            "run": context.line("share", task_id, other),
        }
        for other in others
    ]
    context.emit(answer)
    return 0


def delete_flags(parser):
    """Declare the flags of delete."""
    parser.add_argument("id", nargs="+", metavar="ID")
    parser.add_argument(
        "--yes", action="store_true", help="needed for several, and for one that still runs"
    )


def delete(context, options):
    """Delete tasks; several, or one that still runs, need --yes."""
    ids = [context.resolve(word) for word in options.id]
    if not options.yes:
        _check_harmless(context, ids)

    def remove(task_id):
        """Delete one task and say so."""
        context.client.delete_task(task_id)
        return {"id": task_id, "deleted": True}

    return for_each(context, ids, remove)


def _check_harmless(context, ids):
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
            % context.line("cancel", ids[0]),
        )


COMMANDS = {
    "get": (
        get_flags,
        get,
        "examples:\n  rebyte_cli.py get ID --field status\n  rebyte_cli.py get @NAME --text",
    ),
    "list": (
        list_flags,
        list_tasks,
        "examples:\n  rebyte_cli.py list --limit 10\n  rebyte_cli.py list --mine --text",
    ),
    "cancel": (
        cancel_flags,
        cancel,
        "examples:\n  rebyte_cli.py cancel ID\n  rebyte_cli.py cancel @ONE @TWO",
    ),
    "share": (
        share_flags,
        share,
        "examples:\n  rebyte_cli.py share ID public --field shareUrl\n  rebyte_cli.py share ID private",
    ),
    "delete": (
        delete_flags,
        delete,
        "examples:\n  rebyte_cli.py delete ID\n  rebyte_cli.py delete @ONE @TWO --yes",
    ),
}
