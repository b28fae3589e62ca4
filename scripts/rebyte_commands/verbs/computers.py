"""computers create, list, get, update, delete, wait: machines that last, to be passed to --workspace."""

from __future__ import annotations

from rebyte_commands.arguments import count
from rebyte_commands.interrupts import Interrupted
from rebyte_commands.starting import once_name
from rebyte_commands.verbs.run import begin
from rebyte_flows.following.waiting import computer_status, provision_error, wait_until_usable
from rebyte_flows.starting.orders import Order
from rebyte_services import SECRET_FIELDS
from rebyte_wire.errors import (
    EXIT_TASK_FAILED,
    DeadlineReached,
    GuardRefused,
    InputError,
    NotFound,
    RouteMissing,
)
from rebyte_wire.status import dict_items

EXAMPLES = """examples:
  rebyte_cli.py computers create --name builder --once builder
  rebyte_cli.py computers wait @builder
  rebyte_cli.py run --workspace @builder 'Install the tools of this project'
  rebyte_cli.py computers update @builder --instructions 'Answer in German' --view ask_user_question=off
  rebyte_cli.py computers delete @builder --yes
"""
ACTIONS = ("create", "list", "get", "update", "delete", "wait")
NAME_LIMIT_CHARACTERS, ICON_LIMIT_CHARACTERS = 200, 50


def flags(parser):
    """Declare the flags of computers."""
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument(
        "id", nargs="?", metavar="ID", help="a computer: its UUID, its address, or @NAME"
    )
    parser.add_argument(
        "--name", metavar="TEXT", help="create: what it is called; cannot be changed later"
    )
    parser.add_argument("--icon", metavar="TEXT", help="create: its icon")
    parser.add_argument("--once", metavar="NAME", help="create: at most once under this name")
    parser.add_argument(
        "--again", action="store_true", help="create: a second one, knowingly; it is paid for"
    )
    parser.add_argument(
        "--max-tasks",
        type=count,
        metavar="N",
        help="create: how many starts this command may make (default 20)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="create: show what would be sent and send nothing"
    )
    parser.add_argument("--limit", type=count, metavar="N", help="list: how many, at most 100")
    parser.add_argument(
        "--offset", type=count, metavar="N", help="list: how many of the newest to pass over"
    )
    parser.add_argument(
        "--instructions", metavar="TEXT", help="update: standing instructions for its agents"
    )
    parser.add_argument(
        "--view",
        action="append",
        default=[],
        metavar="ID=on|off",
        help="update: switch one of its views; again for more",
    )
    parser.add_argument(
        "--yes", action="store_true", help="needed to delete: what lies on the machine is gone"
    )


def computers(context, options):
    """Do one of create, list, get, update, delete, wait."""
    if options.action in ("get", "update", "delete", "wait"):
        if not options.id:
            raise InputError(
                "computers %s needs the ID of a computer" % options.action,
                code="usage",
                hint="see: %s" % context.line("computers", "list"),
            )
        options.id = context.resolve(options.id)
    elif options.id:
        raise InputError(
            "computers %s takes no ID" % options.action,
            code="usage",
            hint="a name is passed with --name",
        )
    return {
        "create": create,
        "list": list_,
        "get": get,
        "update": update,
        "delete": delete,
        "wait": wait,
    }[options.action](context, options)


def create(context, options):
    """Start one computer, at most once, and print the service's answer with what helps to go on."""
    order, name = _order(options), once_name(options)
    if options.dry_run:
        context.emit(
            {
                "dryRun": True,
                "method": "POST",
                "path": "/agent-computers",
                "once": name,
                "body": order.fields,
            }
        )
        return 0
    started = begin(context, order, name, options)
    row = started.row
    answer = dict(started.answer or _earlier(context, row), service=context.service)
    if row.name:
        answer["once"] = row.name
    answer["next"] = [
        {
            "why": "this waits until it can be used",
            "run": context.line("computers", "wait", row.task_id),
        }
    ]
    if started.reused:
        answer["reused"] = True
        answer["next"].append(
            context.same_step(
                "this is the first one again; a second paid one needs --again",
                "--again",
                without="--again",
            )
        )
    context.emit(answer)
    context.deliver(row)
    return context.flight.pending.exit_code if context.flight.pending else 0


def _earlier(context, row):
    """Return the computer that the same line made before, as it stands now."""
    try:
        return context.client.get_computer(row.task_id)
    except RouteMissing:
        raise
    except NotFound as problem:
        problem.message = "this line made the computer %s before, and it is gone" % row.task_id
        problem.hint = "--again makes a second one knowingly"
        problem.next = [
            context.same_step("a second one, which is paid for", "--again", without="--again")
        ]
        raise


def _order(options):
    for what, limit in (("name", NAME_LIMIT_CHARACTERS), ("icon", ICON_LIMIT_CHARACTERS)):
        text = getattr(options, what)
        if text is not None and not 0 < len(text) <= limit:
            raise InputError(
                "--%s has %d characters; 1 to %d were expected" % (what, len(text), limit)
            )
    return Order(None, kind="computer", name=options.name, icon=options.icon)


def list_(context, options):
    """Print a page of computers, newest first, as the service lists them."""
    context.emit(context.client.list_computers(options.limit, options.offset), _list_text)
    return 0


def _list_text(page):
    lines = [
        "%s  %-12s  %s" % (item.get("id"), item.get("status"), item.get("name"))
        for item in dict_items(page)
    ]
    return "\n".join(lines + ["%d of %s" % (len(lines), page.get("total", "?"))])


def get(context, options):
    """Print one computer; its sandbox's key is shown to `--field sandboxApiKey` and nothing else."""
    asked = options.field if options.field in SECRET_FIELDS else None
    context.emit(context.client.get_computer(options.id, reveal=(asked,)))
    return 0


def update(context, options):
    """Change the standing instructions or switch views."""
    views = dict(_view(word) for word in options.view)
    if options.instructions is None and not views:
        raise InputError(
            "computers update needs --instructions TEXT or --view ID=on|off", code="usage"
        )
    context.emit(
        context.client.update_computer(
            options.id, instructions=options.instructions, views=views or None
        )
    )
    return 0


def _view(word):
    name, _, state = word.rpartition("=")
    if not name or state not in ("on", "off"):
        raise InputError("--view is %r; ID=on or ID=off was expected" % word)
    return name, state == "on"


def delete(context, options):
    """Delete a computer with all that lies on it."""
    if not options.yes:
        raise GuardRefused(
            "the computer and all that lies on it would be gone",
            code="needs_yes",
            hint="the same line with --yes deletes it",
        )
    context.client.delete_computer(options.id)
    context.emit({"id": options.id, "deleted": True})
    return 0


def wait(context, options):
    """Wait until a computer is ready, has a sandbox id, or is in error; its document, with the reason if there is one."""
    seen = {"id": options.id, "status": "provisioning"}
    try:
        seen = wait_until_usable(context.client, options.id, on_poll=seen.update)
    except (DeadlineReached, Interrupted) as end:
        context.emit(
            dict(
                seen,
                next=[
                    {
                        "why": "it is still being provisioned; this goes on waiting",
                        "run": context.line("computers", "wait", options.id),
                    }
                ],
            )
        )
        return end.exit_code
    if computer_status(seen) == "error":
        context.emit(dict(seen, failure={"reason": provision_error(seen)}))
        return EXIT_TASK_FAILED
    context.emit(seen)
    return 0


COMMANDS = {"computers": (flags, computers, EXAMPLES)}
