"""run and create: one paid start, at most once, and what comes of it."""

from __future__ import annotations

from rebyte_commands.jobs import finish, go_on_line
from rebyte_commands.starting import add_start_flags, dry_run, once_name, starter_for, task_order
from rebyte_flows.files.atomic import open_folder
from rebyte_wire.errors import InputError, NotFound, NotRecorded, OutcomeUnknown, RouteMissing
from rebyte_wire.status import is_id

RUN_EXAMPLES = """examples:
  rebyte_cli.py run 'Summarize /code/data.csv in a chart' --file data.csv --want chart.png --out result
  rebyte_cli.py run --prompt-file job.md --repo owner/name --once nightly-review

Type the same line again after a kill, a cut or exit 75: it goes on with the same task.
"""
CREATE_EXAMPLES = """examples:
  rebyte_cli.py create 'Write a changelog' --repo owner/name
  rebyte_cli.py create --prompt-file - --once changelog --field url < job.md
"""


def run_flags(parser):
    """Declare the flags of run."""
    add_start_flags(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="bring the answer, the transcript and the files into this folder",
    )


def create_flags(parser):
    """Declare the flags of create."""
    run_flags(parser)
    parser.add_argument("--wait", action="store_true", help="follow it to its end, as run does")


def run(context, options):
    """Start one task (or go on with it), follow it, and print its document."""
    order, name = task_order(context, options), once_name(options)
    if options.dry_run:
        return dry_run(context, order, name)
    started = begin(context, order, name, options)
    row = started.row
    if row.url and not started.reused:
        context.say("live: %s" % row.url)
    return finish(
        context,
        row,
        options,
        order=order,
        reused=started.reused,
        answered=context.ledger.replies(row.task_id),
        rehearsal=bool((started.answer or {}).get("rehearsal")),
    )


def create(context, options):
    """Start one task and print the service's answer with what helps to go on."""
    if options.wait:
        return run(context, options)
    if options.cancel_after is not None or options.cancel_on_interrupt:
        raise InputError(
            "--cancel-after and --cancel-on-interrupt need --wait: nobody stays to cancel",
            code="usage",
        )
    order, name = task_order(context, options), once_name(options)
    if options.dry_run:
        return dry_run(context, order, name)
    started = begin(context, order, name, options)
    row = started.row
    answer = dict(
        started.answer or {"id": row.task_id, "workspaceId": row.workspace_id, "url": row.url}
    )
    answer = {key: value for key, value in answer.items() if value is not None}
    answer.update(
        service=context.service,
        next=[
            {
                "why": "this follows it to its end and prints the answer",
                "run": go_on_line(context, row, options),
            }
        ],
    )
    if row.name:
        answer["once"] = row.name
    if started.reused:
        answer["reused"] = True
        if row.delivered_at:
            answer["next"].append(
                context.same_step(
                    "this is the first start again; a second paid task needs --again",
                    "--again",
                    without="--again",
                )
            )
    context.emit(answer)
    context.deliver(row)
    return context.flight.pending.exit_code if context.flight.pending else 0


def begin(context, order, name, options):
    """Start an order; an unknown outcome and an unrecorded one end with the lines that go on."""
    if getattr(options, "out", None):
        # Before it is paid for: what comes must have a place.
        open_folder(options.out)
    starter = starter_for(context, options, sum(item.bytes for item in order.attachments))
    try:
        started = starter.start(order, name=name, again=options.again)
    except OutcomeUnknown as problem:
        details = problem.details or {}
        candidates = details.get("candidates") or []
        problem.next = [
            context.same_step(
                "this looks once more and starts nothing while it is unknown", without="--again"
            ),
            context.same_step("a second paid task, knowingly", "--again", without="--again"),
        ]
        if len(candidates) == 1 and is_id(candidates[0].get("id")):
            problem.next.insert(
                1,
                {
                    "why": "if you know the one candidate for yours, this takes it",
                    "run": context.line(
                        "ledger", "settle", details["row"], "--adopt", candidates[0]["id"]
                    ),
                },
            )
        raise
    except NotFound as problem:
        if getattr(options, "workspace", None) and not isinstance(problem, RouteMissing):
            problem.hint = (
                "if %s is a task made elsewhere, pass the workspaceId that its create printed"
                % options.workspace
            )
        raise
    except NotRecorded as problem:
        words = ("computers", "get") if order.kind == "computer" else ("get",)
        problem.next = [
            {
                "why": "it was started; this reads it",
                "run": context.line(*words, problem.details.get("id") or order.task_id),
            }
        ]
        raise
    finally:
        starter.uploads.on_progress.end()
    return started


COMMANDS = {
    "run": (run_flags, run, RUN_EXAMPLES),
    "create": (create_flags, create, CREATE_EXAMPLES),
}
