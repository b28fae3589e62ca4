"""Following one task to its document: slices, interrupts, progress on stderr, the next line, delivery, exit code."""
from __future__ import annotations

import json
import time

from rebyte_commands import output
from rebyte_commands.interrupts import Interrupted
from rebyte_commands.progress import Progress
from rebyte_flows.job import Job
from rebyte_flows.result import exit_name, task_document
from rebyte_flows.stream import words_of
from rebyte_wire.errors import EXIT_CODES, DeadlineReached, NotFound, RebyteError, RouteMissing

EXIT_BY_NAME = {name: number for number, name, _ in EXIT_CODES}
AFTER_CANCEL_SECONDS = 15
TEXT_CHARACTERS = 200
REPLIES_SHOWN = 4
MEND = "That failed. Find out why, mend it, and finish the job."
NAME_CHARACTERS = 80


def finish(session, row, options, *, order=None, reused=False, answered=(), rehearsal=False, with_events=False):
    """Follow a started row, print its document and return the exit code."""
    seen = [] if with_events else None
    progress = Progress(session, seen)
    job = Job(session.client, row, state=session.state, out=getattr(options, "out", None), want=getattr(options, "want", ()),
              order=order, reused=reused, service=session.service, rehearsal=rehearsal, answered=answered, on_event=progress)
    go_on = go_on_line(session, row, options)
    ended_by = None
    try:
        document = _follow_with_limits(session, job, options)
    except Interrupted as interrupt:
        document, ended_by = _interrupted(session, job, options), interrupt.exit_code
    except RebyteError as problem:
        if isinstance(problem, NotFound) and not isinstance(problem, RouteMissing):
            raise
        document, ended_by = _broken(session, job, problem), problem.exit_code
    finally:
        progress.close()
    if seen:
        document = task_document(**dict(document, events=[compact(event) for event in seen]))
    document = with_next(session, document, row, options, go_on)
    session.emit(document, output.task_text)
    if document["status"] not in ("running", "question") and ended_by is None:
        # The line again gives this very turn, also after a follow-up.
        turn = {"prompt_id": document.get("promptId")} if order and row.delivered_at is None else {}
        session.deliver(row, status=document["status"], **turn)
    return ended_by or EXIT_BY_NAME[exit_name(document)]


def go_on_line(session, row, options):
    """Return the line that goes on with a row: short, whatever the prompt was and wherever it came from."""
    words = ["result", row.task_id, "--wait"]
    if row.prompt_id:
        words += ["--prompt", row.prompt_id]
    return session.line(*words, *_out_words(options), *[word for name in getattr(options, "want", ()) for word in ("--want", name)])


def _out_words(options):
    """Return --out DIR if this line has it, so that the next one brings its files to the same place."""
    return ("--out", options.out) if getattr(options, "out", None) else ()


def _follow_with_limits(session, job, options):
    """Follow within the slice; --cancel-after ends the task itself when its time comes first."""
    if session.flight.pending:
        raise session.flight.pending
    limit = getattr(options, "cancel_after", None)
    if limit is None:
        return job.follow()
    left = max(0.0, job.row.claimed_at + limit - time.time())
    whole = session.client.deadline
    session.client.deadline = whole.within(left)
    document = job.follow()
    session.client.deadline = whole
    if document["status"] != "running" or time.time() < job.row.claimed_at + limit:
        return document
    session.say("--cancel-after: %g seconds are over; canceling" % limit)
    session.client.cancel_task(job.row.task_id)
    session.client.deadline = whole.within(AFTER_CANCEL_SECONDS)
    try:
        return job.follow()
    finally:
        session.client.deadline = whole


def _interrupted(session, job, options):
    if getattr(options, "cancel_on_interrupt", False):
        try:
            session.client.cancel_task(job.row.task_id)
        except RebyteError as problem:
            return _broken(session, job, problem)
        session.say("interrupted; the task was canceled")
        return job.document_now("canceled")
    session.say("interrupted; the task runs on")
    return job.document_now("running")


def _broken(session, job, problem):
    """The task is known, but the service cannot be reached just now: the document says both."""
    if isinstance(problem, DeadlineReached):
        return job.document_now("running")
    session.complain(problem.message + (". " + problem.hint if problem.hint else ""))
    return dict(job.document_now("running"), error=problem.as_dict())


def with_next(session, document, row, options, go_on):
    """Return the document with the lines that go on from here, in the place where they belong."""
    steps = next_steps(session, document, row, options, go_on)
    return task_document(**dict(document, next=steps)) if steps else document


def next_steps(session, document, row, options, go_on):
    """Return what to do next, as lines to paste or a sentence for the caller's human; never foreign text."""
    status, steps = document["status"], []
    if status == "running":
        steps.append({"why": "it still runs; this goes on with the same task", "run": go_on})
    elif status == "question":
        steps += reply_steps(session, row.task_id, document["question"], "--wait", *_out_words(options))
    # A rehearsal reads no words: what it can do about a failure or a missing file stands in the code of its prompt.
    elif status == "failed" and not document.get("rehearsal"):
        steps.append({"why": "one more turn on the same machine, paid, once you know what to mend",
                      "run": session.line("follow-up", row.task_id, MEND, "--wait", *_out_words(options),
                                          *[word for name in getattr(options, "want", ()) for word in ("--want", name)])})
    if document.get("missing") and not document.get("rehearsal"):
        steps.append({"why": "these files did not come; this asks for them once more, in a paid turn",
                      "run": session.line("follow-up", row.task_id, "Publish these as artifacts: %s" % ", ".join(options.want), "--wait",
                                          *_out_words(options), *[word for name in options.want for word in ("--want", name)])})
    if document.get("refused") and getattr(options, "out", None):
        steps.append({"why": "what was refused did not come; once the reason is gone, this brings it", "run": go_on})
    if document.get("files") and not getattr(options, "out", None) and status in ("completed", "failed", "canceled"):
        steps.append({"why": "this brings its files", "run": session.line("artifacts", "get", row.task_id, "--out", "result")})
    if document.get("reused") and status in ("completed", "failed", "canceled") and row.delivered_at:
        steps.append({"why": "this is the first answer again; a second paid task needs --again", "run": session.same_line() + " --again"})
    return steps


def reply_steps(session, task_id, question, *words):
    """Return one line for each answer that a question takes, so that no choice is made for the reader; labels are foreign text."""
    many = question.get("options") or []
    if not many:
        return [{"why": "it waits for an answer in words", "run": session.line("reply", task_id, "--say", "YOUR ANSWER", *words)}]
    return [{"why": "it waits for an answer; this one chooses option %d of %d" % (option["n"], len(many)),
             "run": session.line("reply", task_id, "--option", option["n"], *words)} for option in many[:REPLIES_SHOWN]]


def compact(event):
    """Return an event in the few fields a caller reads: type, text (200 characters), tool, error, parent."""
    payload = event.get("payload") if isinstance(event.get("payload"), dict) else {}
    told = (("type", event.get("eventType"), NAME_CHARACTERS),
            ("tool", payload.get("name") or payload.get("tool_name"), NAME_CHARACTERS),
            ("text", words_of(payload) or payload.get("output") or payload.get("question") or payload.get("thinking"), TEXT_CHARACTERS),
            ("parent", event.get("parent"), NAME_CHARACTERS))
    small = {key: brief_text(value, most) for key, value, most in told if value}
    if payload.get("is_error"):
        small["isError"] = True
    return small


def brief_text(value, most):
    """Return foreign words cut to so many characters; what is no text is written as JSON."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:most] + "..." if len(text) > most else text
