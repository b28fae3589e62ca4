"""wait: several tasks to their ends, and what they came to in one folder and one table."""

from __future__ import annotations

from rebyte_commands.jobs.code import add_no_code_flag, bring_home, look_step
from rebyte_commands.jobs.exit_codes import (
    exit_code_of,
    exit_code_of_many,
    standing_for_exit,
)
from rebyte_commands.jobs.follow import deliver_replies, deliver_turn
from rebyte_commands.jobs.gathering import gathering_of
from rebyte_commands.jobs.pages import write_page
from rebyte_commands.jobs.shape import add_value_flags, read_shape
from rebyte_commands.shell.identifiers import resolve, row_of
from rebyte_commands.shell.interrupts import Interrupted
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.shell.output import (
    BUDGET_BYTES,
    cut_text,
    next_lines,
    task_text,
)
from rebyte_commands.verb_table import Command
from rebyte_flows.following.ending import Outcome as Ending
from rebyte_flows.following.result import cut_off_error, task_document
from rebyte_flows.following.stream import TOLD_NOTHING
from rebyte_flows.following.waiting import wait as wait_for
from rebyte_flows.values.table import standing_of
from rebyte_wire.errors import (
    EXIT_DONE,
    EXIT_RUNNING,
    EXIT_SOME_FAILED,
    DeadlineReached,
    RebyteError,
)
from rebyte_wire.status import FINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Collection, Sequence
    from typing import Any

    from rebyte_commands.jobs.gathering import Gathering
    from rebyte_commands.shell.context import Context
    from rebyte_types import Json, Step, TaskDocument

LINE_LIMIT_BYTES = BUDGET_BYTES // 2 - 200
ROOM_PER_TASK_BYTES = 700
LEAST_ANSWER_BYTES = 120
EXAMPLES = """examples:
  rebyte_cli.py wait ID1 ID2 --all
  rebyte_cli.py wait ID1 ID2 ID3 --any --max-wait 60
  rebyte_cli.py wait @a @b @c --schema shape.json --out results

One ID ends as result does (3 failed, 6 canceled, 13 asks); several end with 9 when some did
not complete.
"""


def add_wait_flags(parser: ArgumentParser) -> None:
    """Declare the flags of wait."""
    parser.add_argument("id", nargs="+", metavar="ID")
    until = parser.add_mutually_exclusive_group()
    until.add_argument(
        "--all", action="store_true", help="until every one has ended (the default)"
    )
    until.add_argument("--any", action="store_true", help="until one has ended")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="a folder per task and results.jsonl; with a schema also table.csv",
    )
    add_no_code_flag(parser)
    add_value_flags(parser)


def wait(context: Context, options: Namespace) -> Outcome:
    """Wait for tasks and return the documents of those that ended, with what still runs."""
    schema = read_shape(context, options)
    ids = list(dict.fromkeys(resolve(context, word) for word in options.id))
    gathering = gathering_of(context, options, ids, schema)
    ended: list[Ending] = []
    told: set[str] = set()
    ended_by, error = _collect(context, ids, options, ended, gathering, told)
    running = sorted(set(ids) - {end.id for end in ended}, key=ids.index)
    # Without --all the first end is enough, and the others are not left.
    waits_on = [] if options.any and ended else running
    tasks: list[Any] = [_document(context, end, len(ids), gathering) for end in ended]
    tasks += [_still_running(task_id, told) for task_id in running]
    report: Json = {"tasks": tasks, "counts": _counts(tasks)}
    if gathering:
        report.update(gathering.told())
        report["report"] = write_page(context, gathering.folder)
    if waits_on or ended_by == EXIT_RUNNING:
        report["next"] = [_go_on_step(context, waits_on, options, gathering)]
    if error:
        report["error"] = error.as_dict()
    code = _exit_code(ids, ended, tasks, waits_on, ended_by)
    return Outcome(
        report,
        text=_wait_text,
        code=_with_folder(code, gathering),
        on_printed=lambda: _deliver(context, ended),
    )


def _collect(
    context: Context,
    ids: Sequence[str],
    options: Namespace,
    ended: list[Ending],
    gathering: Gathering | None,
    told: set[str],
) -> tuple[int | None, RebyteError | None]:
    """Add each task to `ended` as it ends; return the exit code and error of what came first.

    `told` gets the ids of all that the service told anything of.
    """
    try:
        for end in wait_for(
            context.client,
            ids,
            any_of=options.any,
            answered=context.answered,
            on_told=told.add,
        ):
            ended.append(end)
            context.info(
                "%s: %s (%d of %d)" % (end.id, end.status, len(ended), len(ids))
            )
            if gathering:
                gathering.bring(end)
    except DeadlineReached:
        return EXIT_RUNNING, None
    except Interrupted as interrupt:
        return interrupt.exit_code, None
    except RebyteError as problem:
        context.error(problem.message)
        return problem.exit_code, problem
    return None, None


def _still_running(task_id: str, told: Collection[str]) -> Json:
    """Return the row of a task that has not ended, as far as is known."""
    row: Json = {"id": task_id, "status": "running"}
    return row if task_id in told else {**row, "warnings": [TOLD_NOTHING]}


def _exit_code(
    ids: Sequence[str],
    ended: Sequence[Ending],
    tasks: Sequence[Any],
    waits_on: Sequence[str],
    ended_by: int | None,
) -> int:
    """Return the exit code of a wait; one task ends as `result` does."""
    if len(ids) == 1 and ended:
        error = _error_of(ended[0])
        if error:
            return error.exit_code
        return ended_by or exit_code_of(tasks[0])
    statuses = [standing_for_exit(task) for task in tasks[: len(ended)]]
    return exit_code_of_many(statuses + ["running"] * len(waits_on), ended_by)


def _with_folder(code: int, gathering: Gathering | None) -> int:
    """Return the exit code, or that what the folder was named for did not come."""
    is_whole = gathering is None or gathering.is_written
    return code if is_whole or code != EXIT_DONE else EXIT_SOME_FAILED


def _deliver(context: Context, ended: Sequence[Ending]) -> None:
    for end in ended:
        if end.status in FINAL:
            deliver_turn(context, end.id, end.prompt_id, end.status)
        if end.status in (*FINAL, "question"):
            deliver_replies(context, end.id)


def _go_on_step(
    context: Context,
    running: Sequence[str],
    options: Namespace,
    gathering: Gathering | None,
) -> Step:
    if not running:
        why = "all have ended, and not everything was brought; this goes on"
        return context.rerun_step(why)
    why = "these still run; this goes on waiting"
    flags = ["--any"] if options.any else []
    line = context.command_line("wait", *running, *flags)
    # The folder tells of all tasks of the line, those that have ended too.
    if gathering is None and len(line) < LINE_LIMIT_BYTES:
        return {"why": why, "run": line}
    return context.rerun_step(why)


def _document(
    context: Context, end: Ending, share: int, gathering: Gathering | None
) -> TaskDocument:
    """Return the document of an ended task, its answer cut to its share of the budget."""
    row = row_of(context, end.id)
    room = max(BUDGET_BYTES // share - ROOM_PER_TASK_BYTES, LEAST_ANSWER_BYTES)
    answer = cut_text(end.answer, room) if end.status in ("completed", "failed") else ""
    error = _error_of(end)
    steps: list[Step] = []
    found: Json = {}
    if error is None:
        found = _brought(context, end, gathering, room)
        # The folder has all of what completed.
        if gathering is None or end.status != "completed":
            steps = _look_steps(context, end, answer)
    if found.get("changes", {}).get("files"):
        steps += look_step(context, end.id)
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


def _look_steps(context: Context, end: Ending, answer: str) -> list[Step]:
    why = _why_look(end, answer)
    line = context.command_line("result", end.id)
    return [{"why": why, "run": line}] if why else []


def _brought(
    context: Context, end: Ending, gathering: Gathering | None, room: int
) -> Json:
    """Return what was brought home of an ended task: into the folder, or its code alone."""
    if gathering:
        return gathering.keys_of(end.id, room)
    if end.status not in FINAL:
        return {}
    workspace_id = row_of(context, end.id).workspace_id
    found = bring_home(context, end.id, workspace_id, end.prompt_id)
    if found.get("missing") and end.status != "completed":
        return {}
    return found


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
        # What the service does not know any more is told as it was found.
        word = task["status"] if "error" in task else standing_of(task)
        counts[word] = counts.get(word, 0) + 1
    return counts


def _wait_text(report: Json) -> str:
    parts = [task_text(document) for document in report["tasks"]]
    parts.append("  ".join("%s %d" % pair for pair in report["counts"].items()))
    return "\n\n".join(parts + next_lines(report))


COMMANDS = {"wait": Command(wait, add_wait_flags, examples=EXAMPLES)}
