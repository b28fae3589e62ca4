"""Following one task to its document: the slice, interrupts, progress on stderr, and what it ends
with.
"""

from __future__ import annotations

import time
from functools import partial

from rebyte_commands.jobs.code import (
    MOVING_TREE,
    homecoming_for,
    warn_of_unknown_tree,
)
from rebyte_commands.jobs.exit_codes import exit_code_of
from rebyte_commands.jobs.next_steps import Facts, next_steps
from rebyte_commands.jobs.pages import write_task_page
from rebyte_commands.jobs.record_place import tell_place
from rebyte_commands.jobs.rehearsals import explain_sandbox
from rebyte_commands.jobs.shape import expectation_of
from rebyte_commands.shell.interrupts import Interrupted
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.shell.output import task_text
from rebyte_commands.shell.progress import Progress
from rebyte_flows.following.events import event_line
from rebyte_flows.following.follower import Follower
from rebyte_flows.following.result import task_document
from rebyte_wire.errors import (
    DeadlineReached,
    LedgerUnwritable,
    NotFound,
    RebyteError,
    RouteMissing,
)
from rebyte_wire.requests import Deadline
from rebyte_wire.status import FINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from rebyte_commands.shell.context import Context
    from rebyte_flows.starting.requests import StartRequest
    from rebyte_flows.starting.rows import Row
    from rebyte_flows.values.schema import Schema
    from rebyte_types import TaskDocument

# After a cancel its end is watched for so long, also when the slice has less left.
AFTER_CANCEL_SECONDS = 15
LEAST_CANCEL_SECONDS = 3
CANCEL_GRACE_SECONDS = 1


def follow(
    context: Context,
    row: Row,
    options: Namespace,
    *,
    request: StartRequest | None = None,
    reused: bool = False,
    rehearsal: bool = False,
    with_events: bool = False,
    watch_seconds: float | None = None,
    schema: Schema | None = None,
) -> Outcome:
    """Follow a row's task within the slice and return its document.

    `request` is what this command asked for, if it started the task; `watch_seconds` is how long
    to watch at most, `schema` the shape that the answer was asked to have.
    """
    progress = Progress(context, keep=with_events)
    home = homecoming_for(context, row.task_id)
    follower = Follower(
        context.client,
        row,
        state=context.state,
        out=getattr(options, "out", None),
        want=getattr(options, "want", ()),
        request=request,
        reused=reused,
        service=context.service,
        rehearsal=rehearsal,
        answered=context.answered(row.task_id),
        on_event=progress,
        watch_seconds=watch_seconds,
        code=home,
        expectation=expectation_of(context, options, schema),
    )
    document, ended_by = _document_of(context, follower, options, request)
    progress.close()
    fields: dict[str, Any] = dict(document)
    # Known for sure once the service has answered.
    fields["service"] = context.service
    if progress.kept:
        fields["events"] = [event_line(event) for event in progress.kept]
    facts = Facts(context, document, row, options, ended_early=ended_by is not None)
    if home:
        facts.code_record = home.record
        facts.is_code_refused = home.is_refused
    if home is None:
        unknown = warn_of_unknown_tree(context, document)
        fields["warnings"] = [*fields.get("warnings", []), *unknown]
    if home and document["status"] == "running" and not row.name:
        fields["warnings"] = [*fields.get("warnings", []), MOVING_TREE]
    fields["next"] = next_steps(facts)
    if request is not None:
        tell_place(context, fields)
    code = explain_sandbox(context, fields) or ended_by or exit_code_of(document)
    whole = task_document(**fields)
    write_task_page(context, getattr(options, "out", None), whole)
    outcome = Outcome(whole, text=task_text, code=code)
    if ended_by is None:
        is_own = request is not None
        outcome.on_printed = partial(
            _deliver_all, context, row, follower, document, is_own=is_own
        )
    return outcome


def _deliver_all(
    context: Context,
    row: Row,
    follower: Follower,
    document: TaskDocument,
    *,
    is_own: bool,
) -> None:
    """Note that the turn of the line was shown, and those that mended its value."""
    _deliver(context, row, first_turn(follower, document), is_own=is_own)
    if follower.expectation and document["status"] in FINAL:
        for turn in follower.expectation.rows:
            context.deliver(turn, status=document["status"])


def first_turn(follower: Follower, document: TaskDocument) -> TaskDocument:
    """Return the document of the turn that the line itself asked for, repairs left aside.

    Until the last repair has ended, that turn is not told as ended either.
    """
    expectation = follower.expectation
    if expectation is None or expectation.first is None:
        return document
    if document["status"] not in FINAL:
        return document
    return expectation.first


def _document_of(
    context: Context,
    follower: Follower,
    options: Namespace,
    request: StartRequest | None,
) -> tuple[TaskDocument, int | None]:
    """Follow, and return the document and the exit code of what ended it early, if anything."""
    try:
        context.interrupts.raise_pending()
        return _follow_with_limits(context, follower, options), None
    except Interrupted as interrupt:
        return _interrupted(context, follower, options), interrupt.exit_code
    except DeadlineReached as problem:
        return follower.document_now(), problem.exit_code
    except RebyteError as problem:
        if isinstance(problem, NotFound) and not isinstance(problem, RouteMissing):
            raise _gone(context, follower.row, request, problem) from problem
        return _broken(context, follower, problem), problem.exit_code
    except OSError as problem:
        failure = RebyteError("the system says: %s" % problem, code="system_error")
        return _broken(context, follower, failure), failure.exit_code


def _follow_with_limits(
    context: Context, follower: Follower, options: Namespace
) -> TaskDocument:
    """Follow; --cancel-after ends a turn that nobody has seen the end of, when its time comes
    first.
    """
    limit = getattr(options, "cancel_after", None)
    row = follower.row
    if limit is None or row.delivered_at is not None:
        return follower.follow()
    # A start in the future comes from a clock that was put back: it counts from now.
    began = min(row.claimed_at, time.time())
    follower.watch_seconds = max(0.0, began + limit - time.time())
    document = follower.follow()
    left = began + limit - time.time()
    if document["status"] != "running" or left > CANCEL_GRACE_SECONDS:
        return document
    time.sleep(max(left, 0))
    # The task must not run on only because the slice is over.
    rest = context.deadline.left()
    if rest is not None and rest < LEAST_CANCEL_SECONDS:
        follower.client = context.client.with_deadline(Deadline(LEAST_CANCEL_SECONDS))
    follower.watch_seconds = AFTER_CANCEL_SECONDS
    if follower.cancel():
        context.info("--cancel-after: %g seconds are over; canceled" % limit)
    return follower.follow()


def _interrupted(
    context: Context, follower: Follower, options: Namespace
) -> TaskDocument:
    if getattr(options, "cancel_on_interrupt", False):
        try:
            if follower.cancel():
                context.info("interrupted; the task was canceled")
                return follower.document_now("canceled")
        except RebyteError as problem:
            return _broken(context, follower, problem)
    runs_on = "; the task runs on" if follower.status == "running" else ""
    context.info("interrupted" + runs_on)
    return follower.document_now()


def _gone(
    context: Context, row: Row, request: StartRequest | None, problem: NotFound
) -> NotFound:
    """Return the error for a task that is not there any more; the line that had started it may
    start another.
    """
    if request is None:
        return problem
    gone = NotFound(
        "this line started the task %s before, and it is gone" % row.task_id,
        hint="--again starts a second one knowingly",
        http_status=problem.http_status,
    )
    gone.next = [context.again_step("a second paid task, knowingly")]
    return gone


def _broken(context: Context, follower: Follower, problem: RebyteError) -> TaskDocument:
    """The task is known, but the service cannot be reached just now: the document says both."""
    hint = ". " + problem.hint if problem.hint else ""
    context.error(problem.message + hint)
    document = follower.document_now()
    document["error"] = problem.as_dict()  # type: ignore[typeddict-item]
    return document


def _deliver(
    context: Context, row: Row, document: TaskDocument, *, is_own: bool
) -> None:
    """Note in the ledger what was shown: the end of the turn, and what the replies to its
    questions led to.
    """
    status = document["status"]
    prompt_id = document.get("promptId")
    if status in FINAL and not is_own:
        deliver_turn(context, row.task_id, prompt_id, status)
    elif status in FINAL and row.delivered_at is None:
        # The line again gives this very turn, also after a follow-up.
        context.deliver(row, status=status, prompt_id=prompt_id)
    elif status in FINAL:
        context.deliver(row, status=status)
    if status in (*FINAL, "question"):
        deliver_replies(context, row.task_id)


def deliver_turn(
    context: Context, task_id: str, prompt_id: str | None, status: str
) -> None:
    """Remember what became of the turn that was shown, which need not be the one that started the
    task.
    """
    try:
        ledger = context.ledger
        turn = ledger.find_prompt(task_id, prompt_id) if prompt_id else None
        turn = turn or ledger.find_task(task_id)
    except LedgerUnwritable:
        return
    if turn is not None and turn.prompt_id in (None, prompt_id):
        context.deliver(turn, status=status)


def deliver_replies(context: Context, task_id: str) -> None:
    """Remember that what the replies to a task led to was shown."""
    try:
        rows = context.ledger.rows(
            "kind = 'reply' AND task_id = ? AND delivered_at IS NULL", (task_id,)
        )
    except LedgerUnwritable:
        return
    for row in rows:
        context.deliver(row)
