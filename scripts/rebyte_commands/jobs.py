"""Following one task to its document: slices, interrupts, progress on stderr, the next line, delivery, exit code."""

from __future__ import annotations

import time

from rebyte_commands import output
from rebyte_commands.interrupts import Interrupted
from rebyte_commands.progress import Progress
from rebyte_flows.following.events import event_line
from rebyte_flows.following.follower import Follower
from rebyte_flows.following.result import exit_name, task_document
from rebyte_wire.errors import (
    EXIT_CODES,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_QUESTION,
    EXIT_RUNNING,
    EXIT_SOME_FAILED,
    EXIT_TERMINATED,
    EXIT_UNKNOWN,
    DeadlineReached,
    NotFound,
    RebyteError,
    RouteMissing,
)
from rebyte_wire.requests import Deadline
from rebyte_wire.status import FINAL

EXIT_BY_NAME = {name: number for number, name, _ in EXIT_CODES}
AFTER_CANCEL_SECONDS, LEAST_CANCEL_SECONDS = 15, 3
CANCEL_GRACE_SECONDS = 1
REPLIES_SHOWN = 4
MEND = "That failed. Find out why, mend it, and finish the job."


def finish(
    context,
    row,
    options,
    *,
    order=None,
    reused=False,
    answered=(),
    rehearsal=False,
    with_events=False,
    watch_seconds=None,
):
    """Follow a started row, print its document and return the exit code."""
    seen = [] if with_events else None
    progress = Progress(context, seen)
    job = Follower(
        context.client,
        row,
        state=context.state,
        out=getattr(options, "out", None),
        want=getattr(options, "want", ()),
        order=order,
        reused=reused,
        service=context.service,
        rehearsal=rehearsal,
        answered=answered,
        on_event=progress,
        watch_seconds=watch_seconds,
    )
    ended_by = None
    try:
        document = _follow_with_limits(context, job, options)
    except Interrupted as interrupt:
        document, ended_by = _interrupted(context, job, options), interrupt.exit_code
    except RebyteError as problem:
        if isinstance(problem, NotFound) and not isinstance(problem, RouteMissing):
            raise _gone(context, row, order, problem)
        document, ended_by = _broken(context, job, problem), problem.exit_code
    except OSError as problem:
        problem = RebyteError("the system says: %s" % problem, code="system_error")
        document, ended_by = _broken(context, job, problem), problem.exit_code
    finally:
        progress.close()
    if seen:
        document = task_document(**dict(document, events=[event_line(event) for event in seen]))
    steps = next_steps(context, document, row, options, ended_by)
    context.emit(task_document(**dict(document, next=steps)), output.task_text)
    if document["status"] not in ("running", "question") and ended_by is None:
        if order is None:
            context.deliver_turn(row, document.get("promptId"), document["status"])
        else:
            # The line again gives this very turn, also after a follow-up.
            turn = {"prompt_id": document.get("promptId")} if row.delivered_at is None else {}
            context.deliver(row, status=document["status"], **turn)
    if document["status"] in FINAL + ("question",) and ended_by is None:
        context.deliver_replies(row.task_id)
    return ended_by or EXIT_BY_NAME[exit_name(document)]


def exit_code_of_many(statuses, ended_by=None, may_go_on=True):
    """Return the exit code of several tasks by how each stands: of the table in errors.md the first that applies.

    `ended_by` is the code of what ended the command early, if anything; without `may_go_on` what is left was given up.
    """
    statuses, interrupted = set(statuses), ended_by in (EXIT_INTERRUPTED, EXIT_TERMINATED)
    left = statuses & {"running", "waiting"}
    if "unknown" in statuses:
        return EXIT_UNKNOWN
    if "question" in statuses:
        return EXIT_QUESTION
    if ended_by and not interrupted:
        return ended_by
    if not interrupted and ("running" in left or left and may_go_on):
        return EXIT_RUNNING
    if statuses - left - {"completed"} or left and not interrupted:
        return EXIT_SOME_FAILED
    return ended_by if left else EXIT_DONE


def go_on_line(context, row, options):
    """Return the line that goes on with a row: short, whatever the prompt was and wherever it came from."""
    words = ["result", row.task_id, "--wait"]
    if row.prompt_id:
        words += ["--prompt", row.prompt_id]
    if options.verb == "result" and options.workspace:
        words += ["--workspace", options.workspace]
    return context.line(*words, *_out_words(options), *_want_words(options))


def _out_words(options):
    """Return --out DIR if this line has it, so that the next one brings its files to the same place."""
    return ("--out", options.out) if getattr(options, "out", None) else ()


def _want_words(options):
    """Return the --want NAMEs of this line."""
    return [word for name in getattr(options, "want", ()) for word in ("--want", name)]


def _follow_with_limits(context, job, options):
    """Follow within the slice; --cancel-after ends a turn that nobody has seen the end of, when its time comes first."""
    if context.flight.pending:
        raise context.flight.pending
    limit = getattr(options, "cancel_after", None)
    if limit is None or job.row.delivered_at is not None:
        return job.follow()
    whole, moment = context.client.deadline, job.row.claimed_at + limit
    try:
        job.watch_seconds = max(0.0, moment - time.time())
        document = job.follow()
        left = moment - time.time()
        if document["status"] != "running" or left > CANCEL_GRACE_SECONDS:
            return document
        time.sleep(max(left, 0))
        job.watch_seconds, left = AFTER_CANCEL_SECONDS, whole.left()
        if left is not None and left < LEAST_CANCEL_SECONDS:
            context.client.deadline = Deadline(LEAST_CANCEL_SECONDS)
        if job.cancel():
            context.say("--cancel-after: %g seconds are over; canceled" % limit)
        return job.follow()
    finally:
        context.client.deadline = whole


def _interrupted(context, job, options):
    if getattr(options, "cancel_on_interrupt", False):
        try:
            if job.cancel():
                context.say("interrupted; the task was canceled")
                return job.document_now("canceled")
        except RebyteError as problem:
            return _broken(context, job, problem)
    context.say("interrupted; the task runs on" if job.status == "running" else "interrupted")
    return job.document_now()


def _gone(context, row, order, problem):
    """Return the error for a task that is not there any more; the line that had started it may start another one."""
    if order is not None:
        problem.message = "this line started the task %s before, and it is gone" % row.task_id
        problem.hint = "--again starts a second one knowingly"
        problem.next = [
            context.same_step("a second paid task, knowingly", "--again", without="--again")
        ]
    return problem


def _broken(context, job, problem):
    """The task is known, but the service cannot be reached just now: the document says both."""
    if isinstance(problem, DeadlineReached):
        return job.document_now()
    context.complain(problem.message + (". " + problem.hint if problem.hint else ""))
    return dict(job.document_now(), error=problem.as_dict())


def next_steps(context, document, row, options, ended_by=None):
    """Return what to do next, as lines to paste or a sentence for the caller's human; never foreign text."""
    status, steps, go_on = document["status"], [], go_on_line(context, row, options)
    if status == "running" and getattr(options, "cancel_after", None) is not None:
        steps.append(
            context.same_step(
                "it still runs; this goes on with the same task, and cancels it when its time comes",
                without="--again",
            )
        )
    elif status == "running":
        steps.append({"why": "it still runs; this goes on with the same task", "run": go_on})
    elif ended_by is not None and status != "question":
        steps.append(
            {"why": "it has ended, and not everything was brought; this goes on", "run": go_on}
        )
    elif status == "question":
        steps += reply_steps(
            context,
            row.task_id,
            document["question"],
            "--wait",
            *_out_words(options),
            *_want_words(options),
        )
    # A rehearsal reads no words: what it can do about a failure or a missing file stands in the code of its prompt.
    elif status == "failed" and not document.get("rehearsal"):
        steps.append(
            {
                "why": "one more turn on the same machine, paid, once you know what to mend",
                "run": context.line(
                    "follow-up",
                    row.task_id,
                    MEND,
                    "--wait",
                    *_out_words(options),
                    *_want_words(options),
                ),
            }
        )
    if (
        (document.get("missing") or getattr(options, "out", None))
        and not row.workspace_id
        and status in FINAL
    ):
        steps.append(
            {
                "why": "its files lie in a workspace that is not known here; result ID --workspace WORKSPACE brings them",
                "ask": "Which workspace does the task %s have? Its id was told when the task was created."
                % row.task_id,
            }
        )
    elif document.get("missing") and not document.get("rehearsal"):
        steps.append(
            {
                "why": "these files did not come; this asks for them once more, in a paid turn",
                "run": context.line(
                    "follow-up",
                    row.task_id,
                    "Publish these as artifacts: %s" % ", ".join(options.want),
                    "--wait",
                    *_out_words(options),
                    *_want_words(options),
                ),
            }
        )
    if document.get("refused") and getattr(options, "out", None):
        steps.append(
            {
                "why": "what was refused did not come; once the reason is gone, this brings it",
                "run": go_on,
            }
        )
    if document.get("files") and not getattr(options, "out", None) and status in FINAL:
        steps.append(
            {
                "why": "this brings its files",
                "run": context.line("artifacts", "get", row.task_id, "--out", "result"),
            }
        )
    if (
        document.get("reused")
        and hasattr(options, "again")
        and status in FINAL
        and row.delivered_at
    ):
        steps.append(
            context.same_step(
                "this is the first answer again; a second paid task needs --again",
                "--again",
                without="--again",
            )
        )
    return steps


def reply_steps(context, task_id, question, *words):
    """Return one line for each answer that a question takes, so that no choice is made for the reader; labels are foreign text."""
    many = question.get("options") or []
    if question.get("id"):
        # So the line can be typed again, and never answers another question.
        words += ("--question", question["id"])
    if not many:
        return [
            {
                "why": "it waits for an answer in words",
                "run": context.line("reply", task_id, "--say", "YOUR ANSWER", *words),
            }
        ]
    return [
        {
            "why": "it waits for an answer; this one chooses option %d of %d"
            % (option["n"], len(many)),
            "run": context.line("reply", task_id, "--option", option["n"], *words),
        }
        for option in many[:REPLIES_SHOWN]
    ]
