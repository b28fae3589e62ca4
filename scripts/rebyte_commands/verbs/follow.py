"""result, wait, watch: a task's document as it stands or at its end, several at once, and every
event as it comes.
"""

from __future__ import annotations

import time
from functools import partial

from rebyte_commands.jobs.code import bring_home
from rebyte_commands.jobs.exit_codes import STATUS_CODES, exit_code_of_many
from rebyte_commands.jobs.follow import deliver_replies, deliver_turn, follow
from rebyte_commands.jobs.next_steps import reply_steps
from rebyte_commands.jobs.shape import add_shape_flags, read_shape
from rebyte_commands.jobs.start import add_list_flag
from rebyte_commands.shell.identifiers import resolve, row_of, workspace_of
from rebyte_commands.shell.interrupts import Interrupted
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.shell.output import (
    BUDGET_BYTES,
    cut_text,
    escape_controls,
    next_lines,
    task_text,
    to_json,
    truncate,
)
from rebyte_commands.shell.progress import one_line
from rebyte_commands.verb_table import Command
from rebyte_flows.files.atomic import open_folder
from rebyte_flows.following.ending import Outcome as Ending
from rebyte_flows.following.events import event_line
from rebyte_flows.following.result import cut_off_error, task_document
from rebyte_flows.following.stream import Watch
from rebyte_flows.following.waiting import wait as wait_for
from rebyte_wire.errors import (
    EXIT_DONE,
    EXIT_RUNNING,
    EXIT_SOME_FAILED,
    DeadlineReached,
    InputError,
    RebyteError,
)
from rebyte_wire.status import FINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence
    from typing import Any

    from rebyte_commands.shell.context import Context
    from rebyte_types import Event, Json, Step, TaskDocument

# `result` without --wait watches so long for what is there already.
WATCH_SECONDS = 3
LINE_LIMIT_BYTES = BUDGET_BYTES // 2 - 200
ROOM_PER_TASK_BYTES = 700
LEAST_ANSWER_BYTES = 120
RESULT_EXAMPLES = """examples:
  rebyte_cli.py result ID
  rebyte_cli.py result ID --wait --out result
"""
WAIT_EXAMPLES = """examples:
  rebyte_cli.py wait ID1 ID2 --all
  rebyte_cli.py wait ID1 ID2 ID3 --any --max-wait 60

One ID ends as result does (3 failed, 6 canceled, 13 asks); several end with 9 when some did
not complete.
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


def result(context: Context, options: Namespace) -> Outcome:
    """Return the document of a task."""
    if options.out:
        open_folder(options.out)
    schema = read_shape(context, options)
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


def add_wait_flags(parser: ArgumentParser) -> None:
    """Declare the flags of wait."""
    parser.add_argument("id", nargs="+", metavar="ID")
    until = parser.add_mutually_exclusive_group()
    until.add_argument(
        "--all", action="store_true", help="until every one has ended (the default)"
    )
    until.add_argument("--any", action="store_true", help="until one has ended")


def wait(context: Context, options: Namespace) -> Outcome:
    """Wait for tasks and return the documents of those that ended, with what still runs."""
    ids = list(dict.fromkeys(resolve(context, word) for word in options.id))
    ended: list[Ending] = []
    ended_by, error = _collect(context, ids, options, ended)
    running = sorted(set(ids) - {end.id for end in ended}, key=ids.index)
    # Without --all the first end is enough, and the others are not left.
    waits_on = [] if options.any and ended else running
    tasks: list[Any] = [_document(context, end, len(ids)) for end in ended]
    tasks += [{"id": task_id, "status": "running"} for task_id in running]
    report: Json = {"tasks": tasks, "counts": _counts(tasks)}
    if waits_on:
        report["next"] = [_go_on_step(context, running, options)]
    if error:
        report["error"] = error.as_dict()
    return Outcome(
        report,
        text=_wait_text,
        code=_with_tasks(_exit_code(ids, ended, waits_on, ended_by), tasks),
        on_printed=lambda: _deliver(context, ended),
    )


def _collect(
    context: Context, ids: Sequence[str], options: Namespace, ended: list[Ending]
) -> tuple[int | None, RebyteError | None]:
    """Add each task to `ended` as it ends; return the exit code and error of what came first."""
    try:
        for end in wait_for(
            context.client, ids, any_of=options.any, answered=context.answered
        ):
            ended.append(end)
            context.info(
                "%s: %s (%d of %d)" % (end.id, end.status, len(ended), len(ids))
            )
    except DeadlineReached:
        return EXIT_RUNNING, None
    except Interrupted as interrupt:
        return interrupt.exit_code, None
    except RebyteError as problem:
        context.error(problem.message)
        return problem.exit_code, problem
    return None, None


def _exit_code(
    ids: Sequence[str],
    ended: Sequence[Ending],
    waits_on: Sequence[str],
    ended_by: int | None,
) -> int:
    """Return the exit code of a wait; one task ends as `result` does."""
    if len(ids) == 1 and ended:
        error = _error_of(ended[0])
        return error.exit_code if error else STATUS_CODES[ended[0].status]
    statuses = [end.status for end in ended] + ["running"] * len(waits_on)
    return exit_code_of_many(statuses, ended_by)


def _with_tasks(code: int, tasks: Sequence[Any]) -> int:
    """Return the exit code, or that some of what was awaited did not come."""
    lacks = any(task.get("missing") or task.get("refused") for task in tasks)
    return EXIT_SOME_FAILED if code == EXIT_DONE and lacks else code


def _deliver(context: Context, ended: Sequence[Ending]) -> None:
    for end in ended:
        if end.status in FINAL:
            deliver_turn(context, end.id, end.prompt_id, end.status)
        if end.status in (*FINAL, "question"):
            deliver_replies(context, end.id)


def _go_on_step(context: Context, running: Sequence[str], options: Namespace) -> Step:
    why = "these still run; this goes on waiting"
    flags = ["--any"] if options.any else []
    line = context.command_line("wait", *running, *flags)
    if len(line) < LINE_LIMIT_BYTES:
        return {"why": why, "run": line}
    return context.rerun_step(why)


def _document(context: Context, end: Ending, share: int) -> TaskDocument:
    """Return the document of an ended task, its answer cut to its share of the budget."""
    row = row_of(context, end.id)
    room = max(BUDGET_BYTES // share - ROOM_PER_TASK_BYTES, LEAST_ANSWER_BYTES)
    answer = cut_text(end.answer, room) if end.status in ("completed", "failed") else ""
    error = _error_of(end)
    why = "" if error else _why_look(end, answer)
    steps = (
        [{"why": why, "run": context.command_line("result", end.id)}] if why else None
    )
    found: Json = {}
    if end.status in FINAL and error is None:
        found = bring_home(context, end.id, row.workspace_id, end.prompt_id)
    if found.get("missing") and end.status != "completed":
        found = {}
    return task_document(
        **found,
        id=end.id,
        workspaceId=row.workspace_id,
        url=row.url or end.task.get("url"),
        once=row.name,
        status=end.status,
        next=steps,
        answer=answer,
        answerBytes=end.answer_bytes,
        question=end.question.as_dict() if end.question else None,
        service=context.service,
        rehearsal=end.task.get("rehearsal") is True,
        recovered=row.is_recovered() and row.id is not None,
        error=error.as_dict() if error else None,
    )


def _error_of(end: Ending) -> RebyteError | None:
    """Return why a task is gone, or that the server of a rehearsal is."""
    if isinstance(end.error, RebyteError):
        return end.error
    is_rehearsal = end.task.get("rehearsal") is True
    return cut_off_error(end.answer) if is_rehearsal else None


def _why_look(end: Ending, answer: str) -> str:
    """Return why to look at the whole document of an ended task, "" where all was shown."""
    if end.question:
        return "it asks; this shows the line for each answer"
    if end.status == "failed":
        return "why it failed, and what can be done"
    is_whole = end.answer_bytes == len(answer.encode("utf-8", "replace"))
    return "" if is_whole or not answer else "the whole answer"


def _counts(tasks: Sequence[Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for task in tasks:
        counts[task["status"]] = counts.get(task["status"], 0) + 1
    return counts


def _wait_text(report: Json) -> str:
    parts = [task_text(document) for document in report["tasks"]]
    parts.append("  ".join("%s %d" % pair for pair in report["counts"].items()))
    return "\n\n".join(parts + next_lines(report))


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
    "wait": Command(wait, add_wait_flags, examples=WAIT_EXAMPLES),
    "watch": Command(watch, add_watch_flags, examples=WATCH_EXAMPLES),
}
