"""run and create: one paid start, at most once, and what comes of it."""

from __future__ import annotations

from rebyte_commands.jobs.follow import follow
from rebyte_commands.jobs.next_steps import go_on_line
from rebyte_commands.jobs.shape import check_new_start, read_shape
from rebyte_commands.jobs.start import (
    add_once_flag,
    add_prompt_flags,
    add_task_flags,
    add_turn_flags,
    dry_run,
    once_name,
    request_from,
    started_outcome,
    submit,
)
from rebyte_commands.verb_table import Command
from rebyte_flows.following.result import KEYS
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from rebyte_commands.shell.context import Context
    from rebyte_commands.shell.outcome import Outcome

RUN_EXAMPLES = """examples:
  rebyte_cli.py run 'Summarize /code/data.csv in a chart' --file data.csv --want chart.png \\
      --out result
  rebyte_cli.py run --prompt-file job.md --repo owner/name --once nightly-review

Type the same line again after a kill, a cut or exit 75: it goes on with the same task.
"""
CREATE_EXAMPLES = """examples:
  rebyte_cli.py create 'Write a changelog' --repo owner/name
  rebyte_cli.py create --prompt-file - --once changelog --field url < job.md
"""


def add_run_flags(parser: ArgumentParser) -> None:
    """Declare the flags of run."""
    add_prompt_flags(parser)
    add_turn_flags(parser)
    add_once_flag(parser)
    add_task_flags(parser)
    parser.add_argument(
        "--cancel-on-interrupt",
        action="store_true",
        help="cancel the task when this command is interrupted",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="bring the answer, the transcript and the files into this folder",
    )


def add_create_flags(parser: ArgumentParser) -> None:
    """Declare the flags of create."""
    add_run_flags(parser)
    parser.add_argument(
        "--wait", action="store_true", help="follow it to its end, as run does"
    )


def run(context: Context, options: Namespace) -> Outcome:
    """Start one task (or go on with it), follow it, and return its document."""
    schema = read_shape(context, options)
    request = request_from(context, options, schema)
    name = once_name(options)
    check_new_start(context, options, request, name, schema)
    if options.dry_run:
        return dry_run(request, name)
    _check_field(options.field)
    started = submit(context, request, name, options)
    row = started.row
    if row.url and not started.reused:
        context.info("live: %s" % row.url)
    answer = started.answer or {}
    return follow(
        context,
        row,
        options,
        request=request,
        reused=started.reused,
        rehearsal=bool(answer.get("rehearsal")),
        schema=schema,
    )


def _check_field(path: str | None) -> None:
    """Raise InputError for a --field that no document has, before anything is paid for."""
    if path and path.split(".")[0] not in KEYS:
        raise InputError(
            "--field %s: a document has no such field" % path,
            code="no_such_field",
            hint="it may have: %s" % ", ".join(KEYS),
        )


def create(context: Context, options: Namespace) -> Outcome:
    """Start one task and return the service's answer with what helps to go on."""
    if options.wait:
        return run(context, options)
    if options.cancel_after is not None or options.cancel_on_interrupt:
        raise InputError(
            "--cancel-after and --cancel-on-interrupt need --wait: nobody stays to cancel",
            code="usage",
        )
    schema = read_shape(context, options)
    request = request_from(context, options, schema)
    name = once_name(options)
    check_new_start(context, options, request, name, schema)
    if options.dry_run:
        return dry_run(request, name)
    started = submit(context, request, name, options)
    row = started.row
    answer = started.answer or {
        "id": row.task_id,
        "workspaceId": row.workspace_id,
        "url": row.url,
    }
    why = "this follows it to its end and prints the answer"
    again = "this is the first start again; only if your human wants a second paid task"
    return started_outcome(
        context,
        started,
        answer,
        steps=[{"why": why, "run": go_on_line(context, row, options)}],
        again=again if row.delivered_at else None,
    )


COMMANDS = {
    "run": Command(run, add_run_flags, examples=RUN_EXAMPLES),
    "create": Command(create, add_create_flags, examples=CREATE_EXAMPLES),
}
