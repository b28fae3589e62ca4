"""result and watch: a task's document as it stands or at its end, and every event as it comes."""

from __future__ import annotations

import time
from functools import partial

from rebyte_commands.jobs.code import add_no_code_flag
from rebyte_commands.jobs.exit_codes import STATUS_CODES
from rebyte_commands.jobs.follow import deliver_replies, follow
from rebyte_commands.jobs.next_steps import reply_steps
from rebyte_commands.jobs.shape import add_shape_flags, check_payable, read_shape
from rebyte_commands.jobs.start import add_list_flag
from rebyte_commands.shell.identifiers import resolve, row_of, workspace_of
from rebyte_commands.shell.interrupts import Interrupted
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.shell.output import (
    escape_controls,
    next_lines,
    to_json,
    truncate,
)
from rebyte_commands.shell.progress import one_line
from rebyte_commands.verb_table import Command
from rebyte_flows.files.atomic import open_folder
from rebyte_flows.following.ending import Outcome as Ending
from rebyte_flows.following.events import event_line
from rebyte_flows.following.stream import Watch
from rebyte_wire.errors import (
    EXIT_DONE,
    EXIT_RUNNING,
    DeadlineReached,
    InputError,
    RebyteError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from rebyte_commands.shell.context import Context
    from rebyte_types import Event, Json

# `result` without --wait watches so long for what is there already.
WATCH_SECONDS = 3
RESULT_EXAMPLES = """examples:
  rebyte_cli.py result ID
  rebyte_cli.py result ID --wait --out result
"""
WATCH_EXAMPLES = """examples:
  rebyte_cli.py watch ID
  rebyte_cli.py watch ID --raw --max-wait 600
"""


def _add_turn_flag(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--prompt",
        dest="prompt_id",
        metavar="ID",
        help="that very turn instead of the latest",
    )


def add_result_flags(parser: ArgumentParser) -> None:
    """Declare the flags of result."""
    parser.add_argument("id", metavar="ID")
    parser.add_argument(
        "--wait", action="store_true", help="go on to the end of the task"
    )
    _add_turn_flag(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="bring the answer, the transcript and the files into this folder",
    )
    add_list_flag(parser, "--want", "NAME", "name what is missing if it did not come")
    add_shape_flags(parser)
    parser.add_argument(
        "--events",
        action="store_true",
        help="with its events in the document, as watch prints them",
    )
    parser.add_argument(
        "--workspace",
        metavar="ID",
        help="the workspace of a task that was made elsewhere",
    )
    add_no_code_flag(parser)


def result(context: Context, options: Namespace) -> Outcome:
    """Return the document of a task."""
    if options.out:
        open_folder(options.out)
    schema = read_shape(context, options)
    if options.repair:
        check_payable(schema)
    task_id = resolve(context, options.id)
    row = row_of(context, task_id, options.prompt_id)
    row.prompt_id = options.prompt_id
    if options.workspace:
        row.workspace_id = workspace_of(context, options.workspace)
    return follow(
        context,
        row,
        options,
        with_events=options.events,
        watch_seconds=None if options.wait else WATCH_SECONDS,
        schema=schema,
    )


def add_watch_flags(parser: ArgumentParser) -> None:
    """Declare the flags of watch."""
    parser.add_argument("id", metavar="ID")
    parser.add_argument(
        "--raw", action="store_true", help="each event whole, as the service sent it"
    )
    _add_turn_flag(parser)


class Watched:
    """What became of a watch: how many events were written, and how it ended."""

    def __init__(self) -> None:
        self.count = 0
        self.end: Ending | None = None
        self.code = EXIT_RUNNING
        self.error: Json | None = None

    def __repr__(self) -> str:
        return "Watched(%d events, %s)" % (self.count, self.end)


def watch(context: Context, options: Namespace) -> Outcome:
    """Print a task's events until it ends, asks, or the time is over; the last line tells how it
    ended.
    """
    if options.field:
        raise InputError(
            "watch prints a line for each event; --field is for a document",
            code="usage",
            hint="result ID prints one",
        )
    task_id = resolve(context, options.id)
    watched = Watched()
    try:
        _write_events(context, task_id, options, watched)
    except DeadlineReached:
        watched.code = EXIT_RUNNING
    except Interrupted as interrupt:
        watched.code = interrupt.exit_code
        context.info("interrupted; the task runs on")
    except RebyteError as problem:
        if not watched.count:
            raise
        context.error(problem.message)
        watched.code = problem.exit_code
        watched.error = problem.as_dict()
    done = truncate(_done(context, task_id, options, watched), context.save_overflow)
    deliver = partial(deliver_replies, context, task_id)
    return Outcome(
        {"done": done},
        text=lambda document: _end_text(document["done"]),
        code=watched.code,
        on_printed=deliver if watched.end else None,
    )


def _write_events(
    context: Context, task_id: str, options: Namespace, watched: Watched
) -> None:
    """Write a line for each event, and note how the watch ended."""
    as_text = context.console.form == "text"
    answered = context.answered(task_id)
    # What this machine did not start just now has to be there.
    watch = Watch(
        context.client,
        task_id,
        prompt_id=options.prompt_id,
        answered=answered,
        age=time.time() - (row_of(context, task_id).claimed_at or 0),
    )
    for event in watch.events():
        if isinstance(event, Ending):
            watched.end = event
            watched.code = STATUS_CODES.get(event.status, EXIT_DONE)
            return
        if not (as_text and event.get("eventType") == "init"):
            context.console.write_line(_line(event, options.raw, as_text))
        watched.count += 1


def _done(context: Context, task_id: str, options: Namespace, watched: Watched) -> Json:
    """Return the last line of a watch: how it ended, and what is next."""
    end = watched.end
    done: Json = {
        "id": task_id,
        "status": end.status if end else "running",
        "events": watched.count,
    }
    if end and end.question:
        done["question"] = end.question.as_dict()
        done["next"] = reply_steps(context, task_id, done["question"], ["--wait"])
    if watched.error:
        done["error"] = watched.error
    if not end:
        words = ["--raw"] if options.raw else []
        words += ["--prompt", options.prompt_id] if options.prompt_id else []
        why = "this goes on watching" if watched.error else "it still runs"
        done["next"] = [
            {"why": why, "run": context.command_line("watch", task_id, *words)}
        ]
    return done


def _line(event: Event, raw: bool, as_text: bool) -> str:
    if raw:
        return to_json(event)
    if not as_text:
        return to_json(event_line(event))
    indent = "    " if "parent" in event else ""
    return indent + escape_controls(one_line(event))


def _end_text(done: Json) -> str:
    lines = ["-- %s, %d events" % (done["status"], done["events"])]
    if "question" in done:
        lines.append("it asks: " + done["question"]["text"])
        lines += [
            "  %(n)d  %(label)s" % option for option in done["question"]["options"]
        ]
    return "\n".join(lines + next_lines(done))


COMMANDS = {
    "result": Command(result, add_result_flags, examples=RESULT_EXAMPLES),
    "watch": Command(watch, add_watch_flags, examples=WATCH_EXAMPLES),
}
