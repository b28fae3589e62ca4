"""computers create, list, get, update, delete, wait: machines that last, to be passed to
--workspace.
"""

from __future__ import annotations

from rebyte_commands.jobs.start import (
    add_list_flag,
    add_once_flag,
    add_rerun_flags,
    dry_run,
    once_name,
    started_outcome,
    submit,
)
from rebyte_commands.shell.arguments import count
from rebyte_commands.shell.identifiers import resolve
from rebyte_commands.shell.interrupts import Interrupted
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.verb_table import Command
from rebyte_flows.following.waiting import (
    computer_status,
    provision_error,
    wait_until_usable,
)
from rebyte_flows.starting.requests import computer_request
from rebyte_wire.errors import (
    EXIT_TASK_FAILED,
    DeadlineReached,
    GuardRefused,
    InputError,
    NotFound,
    RouteMissing,
)
from rebyte_wire.payloads import SECRET_FIELDS
from rebyte_wire.status import dict_items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from rebyte_commands.shell.context import Context
    from rebyte_flows.starting.requests import StartRequest
    from rebyte_flows.starting.rows import Row
    from rebyte_types import Json, Shape

EXAMPLES = """examples:
  rebyte_cli.py computers create --name builder --once builder
  rebyte_cli.py computers wait @builder
  rebyte_cli.py run --workspace @builder 'Install the tools of this project'
  rebyte_cli.py computers update @builder --instructions 'Answer in German' \\
      --view ask_user_question=off
  rebyte_cli.py computers delete @builder --yes
"""
NAME_LIMIT_CHARACTERS = 200
ICON_LIMIT_CHARACTERS = 50


def add_create_flags(parser: ArgumentParser) -> None:
    """Declare the flags of computers create."""
    parser.add_argument(
        "--name", metavar="TEXT", help="what it is called; cannot be changed later"
    )
    parser.add_argument("--icon", metavar="TEXT", help="its icon")
    add_once_flag(parser)
    add_rerun_flags(parser)
    parser.add_argument(
        "--max-tasks",
        type=count,
        metavar="N",
        help="how many starts this command may make (default 20)",
    )


def create(context: Context, options: Namespace) -> Outcome:
    """Start one computer, at most once, and return the service's answer."""
    request = _request(options)
    name = once_name(options)
    if options.dry_run:
        return dry_run(request, name)
    started = submit(context, request, name, options)
    row = started.row
    line = context.command_line("computers", "wait", row.task_id)
    return started_outcome(
        context,
        started,
        started.answer or _earlier(context, row),
        steps=[{"why": "this waits until it can be used", "run": line}],
        again="this is the first one again; a second paid one needs --again",
    )


def _earlier(context: Context, row: Row) -> Shape:
    """Return the computer that the same line made before, as it stands now."""
    try:
        return context.client.get_computer(row.task_id)
    except RouteMissing:
        raise
    except NotFound as problem:
        gone = NotFound(
            "this line made the computer %s before, and it is gone" % row.task_id,
            hint="--again makes a second one knowingly",
            http_status=problem.http_status,
        )
        gone.next = [context.again_step("a second one, which is paid for")]
        raise gone from problem


def _request(options: Namespace) -> StartRequest:
    limits = {"name": NAME_LIMIT_CHARACTERS, "icon": ICON_LIMIT_CHARACTERS}
    for what, limit in limits.items():
        text = getattr(options, what)
        if text is not None and not 0 < len(text) <= limit:
            raise InputError(
                "--%s has %d characters; 1 to %d were expected"
                % (what, len(text), limit)
            )
    return computer_request(options.name, options.icon)


def add_list_flags(parser: ArgumentParser) -> None:
    """Declare the flags of computers list."""
    parser.add_argument(
        "--limit", type=count, metavar="N", help="how many, at most 100"
    )
    parser.add_argument(
        "--offset", type=count, metavar="N", help="how many of the newest to pass over"
    )


def list_(context: Context, options: Namespace) -> Outcome:
    """Return a page of computers, newest first, as the service lists them."""
    page = context.client.list_computers(options.limit, options.offset)
    return Outcome(page, text=_list_text)


def _list_text(page: Json) -> str:
    lines = [
        "%s  %-12s  %s" % (item.get("id"), item.get("status"), item.get("name"))
        for item in dict_items(page)
    ]
    return "\n".join([*lines, "%d of %s" % (len(lines), page.get("total", "?"))])


def _add_id(parser: ArgumentParser) -> None:
    parser.add_argument(
        "id", metavar="ID", help="a computer: its UUID, its address, or @NAME"
    )


def get(context: Context, options: Namespace) -> Outcome:
    """Return one computer; its secret key is shown to `--field sandboxApiKey` and nothing else."""
    revealed = [options.field] if options.field in SECRET_FIELDS else []
    computer = context.client.get_computer(
        resolve(context, options.id), reveal=revealed
    )
    return Outcome(computer)


def add_update_flags(parser: ArgumentParser) -> None:
    """Declare the flags of computers update."""
    _add_id(parser)
    parser.add_argument(
        "--instructions", metavar="TEXT", help="standing instructions for its agents"
    )
    add_list_flag(
        parser, "--view", "ID=on|off", "switch one of its views; again for more"
    )


def update(context: Context, options: Namespace) -> Outcome:
    """Change the standing instructions or switch views."""
    views = dict(_view(word) for word in options.view)
    if options.instructions is None and not views:
        raise InputError(
            "computers update needs --instructions TEXT or --view ID=on|off",
            code="usage",
        )
    answer = context.client.update_computer(
        resolve(context, options.id),
        instructions=options.instructions,
        views=views or None,
    )
    return Outcome(answer)


def _view(word: str) -> tuple[str, bool]:
    name, _, state = word.rpartition("=")
    if not name or state not in ("on", "off"):
        raise InputError("--view is %r; ID=on or ID=off was expected" % word)
    return name, state == "on"


def add_delete_flags(parser: ArgumentParser) -> None:
    """Declare the flags of computers delete."""
    _add_id(parser)
    parser.add_argument(
        "--yes", action="store_true", help="needed: what lies on the machine is gone"
    )


def delete(context: Context, options: Namespace) -> Outcome:
    """Delete a computer with all that lies on it."""
    computer_id = resolve(context, options.id)
    if not options.yes:
        raise GuardRefused(
            "the computer and all that lies on it would be gone",
            code="needs_yes",
            hint="the same line with --yes deletes it",
        )
    context.client.delete_computer(computer_id)
    return Outcome({"id": computer_id, "deleted": True})


def wait(context: Context, options: Namespace) -> Outcome:
    """Wait until a computer is ready, has a sandbox id, or is in error; its document, with the
    reason.
    """
    computer_id = resolve(context, options.id)
    known: Json = {"id": computer_id, "status": "provisioning"}
    try:
        seen = wait_until_usable(context.client, computer_id, on_poll=known.update)
    except (DeadlineReached, Interrupted) as end:
        line = context.command_line("computers", "wait", computer_id)
        why = "it is still being provisioned; this goes on waiting"
        return Outcome(
            dict(known, next=[{"why": why, "run": line}]), code=end.exit_code
        )
    if computer_status(seen) == "error":
        failure = {"reason": provision_error(seen)}
        return Outcome(dict(seen, failure=failure), code=EXIT_TASK_FAILED)
    return Outcome(seen)


COMMANDS = {
    "computers create": Command(create, add_create_flags, examples=EXAMPLES),
    "computers list": Command(list_, add_list_flags, examples=EXAMPLES),
    "computers get": Command(get, _add_id, examples=EXAMPLES),
    "computers update": Command(update, add_update_flags, examples=EXAMPLES),
    "computers delete": Command(delete, add_delete_flags, examples=EXAMPLES),
    "computers wait": Command(wait, _add_id, examples=EXAMPLES),
}
