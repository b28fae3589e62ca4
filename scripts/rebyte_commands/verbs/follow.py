"""result, wait, watch: a task's document as it stands or at its end, several at once, and every event as it comes."""

from __future__ import annotations

from rebyte_commands.interrupts import Interrupted
from rebyte_commands.jobs import EXIT_BY_NAME, exit_code_of_many, finish, reply_steps
from rebyte_commands.output import (
    BUDGET_BYTES,
    cut_to,
    escape_controls,
    fit,
    next_lines,
    task_text,
    to_json,
)
from rebyte_commands.progress import brief
from rebyte_commands.verbs.conversation import with_task
from rebyte_flows.following.ending import Outcome
from rebyte_flows.following.events import event_line
from rebyte_flows.following.result import exit_name, task_document
from rebyte_flows.following.stream import watch as events_of
from rebyte_flows.following.waiting import wait as wait_for
from rebyte_wire.errors import EXIT_RUNNING, DeadlineReached, InputError, RebyteError
from rebyte_wire.status import FINAL

LOOK_SECONDS = 3
LINE_LIMIT_BYTES = BUDGET_BYTES // 2 - 200
RESULT_EXAMPLES = """examples:
  rebyte_cli.py result ID
  rebyte_cli.py result ID --wait --out result
"""
WAIT_EXAMPLES = """examples:
  rebyte_cli.py wait ID1 ID2 --all
  rebyte_cli.py wait ID1 ID2 ID3 --any --max-wait 60
"""
ROOM_PER_TASK_BYTES = 700
WATCH_EXAMPLES = """examples:
  rebyte_cli.py watch ID
  rebyte_cli.py watch ID --raw --max-wait 600
"""


def result_flags(parser):
    """Declare the flags of result."""
    parser.add_argument("id", metavar="ID")
    parser.add_argument("--wait", action="store_true", help="go on to the end of the task")
    parser.add_argument(
        "--prompt", dest="prompt_id", metavar="ID", help="that very turn instead of the latest"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="bring the answer, the transcript and the files into this folder",
    )
    parser.add_argument(
        "--want",
        action="append",
        default=[],
        metavar="NAME",
        help="name what is missing if it did not come",
    )
    parser.add_argument(
        "--events",
        action="store_true",
        help="with its events in the document, as watch prints them",
    )
    parser.add_argument(
        "--workspace", metavar="ID", help="the workspace of a task that was made elsewhere"
    )


def result(context, options):
    """Print the document of a task."""
    task_id = context.resolve(options.id)
    row = with_task(context, context.row_of(task_id, options.prompt_id))
    row.prompt_id = options.prompt_id
    if options.workspace:
        row.workspace_id = context.workspace_of(options.workspace)
    return finish(
        context,
        row,
        options,
        answered=context.ledger.replies(task_id),
        with_events=options.events,
        watch_seconds=None if options.wait else LOOK_SECONDS,
    )


def wait_flags(parser):
    """Declare the flags of wait."""
    parser.add_argument("id", nargs="+", metavar="ID")
    parser.add_argument(
        "--all", action="store_true", help="until every one has ended (the default)"
    )
    parser.add_argument("--any", action="store_true", help="until one has ended")


def wait(context, options):
    """Wait for tasks and print the documents of those that ended, with what still runs."""
    ids = list(dict.fromkeys(context.resolve(word) for word in options.id))
    ended, ended_by, error = [], None, None
    try:
        for end in wait_for(
            context.client, ids, any_of=options.any, answered=context.ledger.replies
        ):
            ended.append(end)
            context.say("%s: %s (%d of %d)" % (end.id, end.status, len(ended), len(ids)))
    except DeadlineReached:
        ended_by = EXIT_RUNNING
    except Interrupted as interrupt:
        ended_by = interrupt.exit_code
    except RebyteError as problem:
        context.complain(problem.message)
        ended_by, error = problem.exit_code, problem.as_dict()
    documents = [_document(context, end, len(ids)) for end in ended]
    running = [task_id for task_id in ids if task_id not in {end.id for end in ended}]
    report = {
        "tasks": documents + [{"id": task_id, "status": "running"} for task_id in running],
        "counts": _counts(ended, running),
    }
    if running and not options.any or not ended:
        why, line = (
            "these still run; this goes on waiting",
            context.line("wait", *running, *(["--any"] if options.any else [])),
        )
        report["next"] = [
            {"why": why, "run": line} if len(line) < LINE_LIMIT_BYTES else context.same_step(why)
        ]
    if error:
        report["error"] = error
    context.emit(report, _wait_text)
    for end in ended:
        if end.status in FINAL:
            context.deliver_turn(context.row_of(end.id), end.prompt_id, end.status)
        if end.status in FINAL or end.status == "question":
            context.deliver_replies(end.id)
    # Without --all the first end is enough, and the others are not left.
    return exit_code_of_many(
        [end.status for end in ended] + ["running"] * bool(running and not (options.any and ended)),
        ended_by,
    )


def _document(context, end, share):
    row = context.row_of(end.id)
    answer = end.answer if end.status in ("completed", "failed") else ""
    room = max(BUDGET_BYTES // share - ROOM_PER_TASK_BYTES, 120)
    question = end.question.as_dict() if end.question else None
    steps = None
    if question:
        steps = [
            {
                "why": "it asks; this shows the line for each answer",
                "run": context.line("result", end.id),
            }
        ]
    elif end.status == "failed":
        steps = [
            {"why": "why it failed, and what can be done", "run": context.line("result", end.id)}
        ]
    elif answer and (
        cut_to(answer, room) != answer or end.answer_bytes > len(answer.encode("utf-8", "replace"))
    ):
        steps = [{"why": "the whole answer", "run": context.line("result", end.id)}]
    return task_document(
        id=end.id,
        workspaceId=row.workspace_id,
        url=row.url or end.task.get("url"),
        once=row.name,
        status=end.status,
        next=steps,
        answer=cut_to(answer, room) if answer else None,
        answerBytes=end.answer_bytes,
        question=question,
        service=context.service,
        rehearsal=end.task.get("rehearsal") is True,
        error=end.error.as_dict() if end.error else None,
    )


def _counts(ended, running):
    counts = {}
    for status in [end.status for end in ended] + ["running"] * len(running):
        counts[status] = counts.get(status, 0) + 1
    return counts


def _wait_text(report):
    parts = [task_text(document) for document in report["tasks"]]
    parts.append("  ".join("%s %d" % pair for pair in report["counts"].items()))
    return "\n\n".join(parts + next_lines(report))


def watch_flags(parser):
    """Declare the flags of watch."""
    parser.add_argument("id", metavar="ID")
    parser.add_argument(
        "--raw", action="store_true", help="each event whole, as the service sent it"
    )
    parser.add_argument(
        "--prompt", dest="prompt_id", metavar="ID", help="that very turn instead of the latest"
    )


def watch(context, options):
    """Print a task's events until it ends, asks, or the time is over."""
    if options.field:
        raise InputError(
            "watch prints a line for each event; --field is for a document",
            code="usage",
            hint="result ID prints one",
        )
    task_id = context.resolve(options.id)
    written, end, code, error, as_text = 0, None, None, None, context.form == "text"
    try:
        for seen in events_of(
            context.client,
            task_id,
            prompt_id=options.prompt_id,
            answered=context.ledger.replies(task_id),
        ):
            if isinstance(seen, Outcome):
                end = seen
                break
            if not (as_text and seen.get("eventType") == "init"):
                context.write(_line(seen, options.raw, as_text))
            context.printed = True
            written += 1
    except DeadlineReached:
        code = EXIT_RUNNING
    except Interrupted as interrupt:
        code = interrupt.exit_code
        context.say("interrupted; the task runs on")
    except RebyteError as problem:
        if not written:
            raise
        context.complain(problem.message)
        code, error = problem.exit_code, problem.as_dict()
    done = {"id": task_id, "status": end.status if end else "running", "events": written}
    if end and end.question:
        done["question"] = end.question.as_dict()
        done["next"] = reply_steps(context, task_id, done["question"], "--wait")
    if error:
        done["error"] = error
    if not end:
        words = ["--raw"] * options.raw + (
            ["--prompt", options.prompt_id] if options.prompt_id else []
        )
        done["next"] = [
            {
                "why": "this goes on watching" if error else "it still runs",
                "run": context.line("watch", task_id, *words),
            }
        ]
    if end:
        context.deliver_replies(task_id)
    done = fit(done, context.keep)
    context.write(_end_text(done) if as_text else to_json({"done": done}))
    return code if end is None else EXIT_BY_NAME[exit_name({"status": end.status})]


def _line(event, raw, as_text):
    if raw:
        return to_json(event)
    if as_text:
        return ("    " if "parent" in event else "") + escape_controls(brief(event))
    return to_json(event_line(event))


def _end_text(done):
    lines = ["-- %s, %d events" % (done["status"], done["events"])]
    if "question" in done:
        lines += [escape_controls("it asks: " + done["question"]["text"])]
        lines += [
            escape_controls("  %(n)d  %(label)s" % option) for option in done["question"]["options"]
        ]
    return "\n".join(lines + next_lines(done))


COMMANDS = {
    "result": (result_flags, result, RESULT_EXAMPLES),
    "wait": (wait_flags, wait, WAIT_EXAMPLES),
    "watch": (watch_flags, watch, WATCH_EXAMPLES),
}
