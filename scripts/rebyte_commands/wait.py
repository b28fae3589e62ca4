"""wait: many tasks in one process; the documents of those that ended."""
from __future__ import annotations

from rebyte_commands.interrupts import Interrupted
from rebyte_commands.output import BUDGET_BYTES, cut_to, task_text
from rebyte_flows.document import task_document
from rebyte_flows.result import shown
from rebyte_flows.waiting import wait as wait_for
from rebyte_wire.errors import EXIT_DONE, EXIT_QUESTION, EXIT_RUNNING, EXIT_SOME_FAILED, DeadlineReached, RebyteError

EXAMPLES = """examples:
  rebyte_cli.py wait ID1 ID2 --all
  rebyte_cli.py wait ID1 ID2 ID3 --any --max-wait 60
"""
ROOM_PER_TASK_BYTES = 700


def flags(parser):
    """Declare the flags of wait."""
    parser.add_argument("id", nargs="+", metavar="ID")
    parser.add_argument("--all", action="store_true", help="until every one has ended (the default)")
    parser.add_argument("--any", action="store_true", help="until one has ended")


def wait(session, options):
    """Wait for tasks and print the documents of those that ended, with what still runs."""
    ids = list(dict.fromkeys(session.resolve(word) for word in options.id))
    ended, ended_by, error = [], None, None
    try:
        for end in wait_for(session.client, ids, any_of=options.any, answered=session.ledger.replies):
            ended.append(end)
            session.say("%s: %s (%d of %d)" % (end.id, end.status, len(ended), len(ids)))
    except DeadlineReached:
        ended_by = EXIT_RUNNING
    except Interrupted as interrupt:
        ended_by = interrupt.exit_code
    except RebyteError as problem:
        session.complain(problem.message)
        ended_by, error = problem.exit_code, problem.as_dict()
    documents = [_document(session, end, len(ids)) for end in ended]
    running = [task_id for task_id in ids if task_id not in {end.id for end in ended}]
    report = {"tasks": documents + [{"id": task_id, "status": "running"} for task_id in running], "counts": _counts(ended, running)}
    if running and not options.any or not ended:
        report["next"] = [{"why": "these still run; this goes on waiting", "run": session.line("wait", *running, *(["--any"] if options.any else []))}]
    if error:
        report["error"] = error
    session.emit(report, _text)
    for end in ended:
        if end.status in ("completed", "failed", "canceled"):
            session.deliver(session.row_of(end.id), status=end.status)
    return _exit_code(ended, ended_by)


def _document(session, end, share):
    row = session.row_of(end.id)
    answer = end.answer if end.status in ("completed", "failed") else ""
    room = max(BUDGET_BYTES // share - ROOM_PER_TASK_BYTES, 120)
    question = shown(end.question) if end.question else None
    steps = [{"why": "it waits for an answer", "run": session.line("reply", end.id, "--option", "1", "--wait")}] if question else None
    if answer and (cut_to(answer, room) != answer or end.answer_bytes > len(answer.encode("utf-8", "replace"))):
        steps = [{"why": "the whole answer", "run": session.line("result", end.id)}]
    return task_document(id=end.id, workspaceId=row.workspace_id, url=row.url or end.task.get("url"), once=row.name, status=end.status,
                         next=steps, answer=cut_to(answer, room) if answer else None, answerBytes=end.answer_bytes,
                         question=question, service=session.service, rehearsal=end.task.get("rehearsal") is True,
                         error=end.error.as_dict() if end.error else None)


def _counts(ended, running):
    counts = {}
    for status in [end.status for end in ended] + ["running"] * len(running):
        counts[status] = counts.get(status, 0) + 1
    return counts


def _text(report):
    parts = [task_text(document) for document in report["tasks"]]
    parts.append("  ".join("%s %d" % pair for pair in report["counts"].items()))
    return "\n\n".join(parts + ["next: " + step["run"] for step in report.get("next", [])])


def _exit_code(ended, ended_by):
    """For many the first that applies: question, still running, some failed, interrupted, done."""
    statuses = {end.status for end in ended}
    if "question" in statuses:
        return EXIT_QUESTION
    if ended_by == EXIT_RUNNING:
        return EXIT_RUNNING
    if statuses - {"completed"}:
        return EXIT_SOME_FAILED
    return ended_by or EXIT_DONE


COMMANDS = {"wait": (flags, wait, EXAMPLES)}
