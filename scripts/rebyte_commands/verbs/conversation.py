"""follow-up and reply: one more turn, or the answer to what a task asks."""

from __future__ import annotations

import time

from rebyte_commands.jobs.code import go_on_lines
from rebyte_commands.jobs.follow import deliver_replies, follow
from rebyte_commands.jobs.next_steps import go_on_line, label_text, reply_steps
from rebyte_commands.jobs.shape import (
    add_shape_flags,
    check_new_start,
    check_payable,
    read_shape,
)
from rebyte_commands.jobs.start import (
    add_list_flag,
    add_once_flag,
    add_prompt_flags,
    add_turn_flags,
    dry_run,
    once_name,
    read_prompt,
    started_outcome,
    submit,
    turn_parts,
)
from rebyte_commands.shell.identifiers import resolve, row_of
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.verb_table import Command
from rebyte_flows.files.atomic import open_folder
from rebyte_flows.following.questions import standing
from rebyte_flows.starting.kinds import REPLY
from rebyte_flows.starting.requests import digest_of_part, follow_up_request
from rebyte_flows.starting.rows import CREATED, NOT_SENT, SENT
from rebyte_wire.errors import (
    EXIT_QUESTION,
    InputError,
    NotFound,
    RebyteError,
    RequestRefused,
    RouteMissing,
)
from rebyte_wire.status import is_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from rebyte_commands.shell.context import Context
    from rebyte_flows.following.questions import Question
    from rebyte_flows.starting.rows import Row
    from rebyte_types import Json, Step

HTTP_CONFLICT = 409
FOLLOW_UP_EXAMPLES = """examples:
  rebyte_cli.py follow-up ID 'Now add tests' --wait
  rebyte_cli.py follow-up ID --prompt-file more.md --once tests
"""
REPLY_EXAMPLES = """examples:
  rebyte_cli.py reply ID --option 2 --wait
  rebyte_cli.py reply ID --say 'Use the second sheet' --wait
"""


def _add_result_flags(parser: ArgumentParser, wait_help: str) -> None:
    parser.add_argument("--wait", action="store_true", help=wait_help)
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="bring the answer, the transcript and the files into this folder at the end",
    )


def add_follow_up_flags(parser: ArgumentParser) -> None:
    """Declare the flags of follow-up."""
    parser.add_argument("id", metavar="ID")
    add_prompt_flags(parser)
    add_turn_flags(parser)
    add_once_flag(parser)
    _add_result_flags(parser, "follow this very turn to its end and print the document")
    parser.add_argument(
        "--anyway", action="store_true", help="send although the task asks a question"
    )


def follow_up(context: Context, options: Namespace) -> Outcome:
    """Send one more prompt to a task; with --wait return that turn's document."""
    task_id = resolve(context, options.id)
    prompt = read_prompt(context, options)
    schema = read_shape(context, options)
    parts = turn_parts(context, options, schema)
    if options.code is None:
        parts["lines"] = [*parts["lines"], *go_on_lines(context, task_id)]
    request = follow_up_request(task_id, prompt, **parts)
    name = once_name(options)
    check_new_start(context, options, request, name, schema)
    if options.dry_run:
        return dry_run(request, name)
    if not options.anyway:
        question = standing(context.client, task_id, context.ledger.answered(task_id))
        if question:
            why = "the task waits for an answer; a follow-up would leave its question open"
            return _question_outcome(
                context, task_id, question, why + " (--anyway sends it)"
            )
    started = submit(context, request, name, options)
    row = started.row
    if options.wait:
        return follow(
            context,
            _with_task(context, row),
            options,
            request=request,
            reused=started.reused,
            schema=schema,
        )
    answer = dict(started.answer or {"promptId": row.prompt_id}, taskId=task_id)
    step: Step = {
        "why": "this waits for that very turn",
        "run": go_on_line(context, row, options),
    }
    return started_outcome(context, started, answer, steps=[step])


def _with_task(context: Context, row: Row) -> Row:
    """Return the row of a turn that also knows workspace and address, from the row of the task
    itself.
    """
    task = context.ledger.find_task(row.task_id)
    if task is not None:
        row.workspace_id = row.workspace_id or task.workspace_id
        row.url = row.url or task.url
    return row


def _question_outcome(
    context: Context, task_id: str, question: Question, why: str
) -> Outcome:
    """Return what a task asks instead of what was to be done."""
    context.error(why)
    shown = question.as_dict()
    document = {
        "id": task_id,
        "status": "question",
        "question": shown,
        "next": reply_steps(context, task_id, shown, ["--wait"]),
    }
    return Outcome(document, code=EXIT_QUESTION)


def add_reply_flags(parser: ArgumentParser) -> None:
    """Declare the flags of reply."""
    parser.add_argument("id", metavar="ID")
    add_list_flag(
        parser,
        "--option",
        "N",
        "the number or the label of an option; again for several",
    )
    parser.add_argument("--say", metavar="TEXT", help="an answer in words")
    parser.add_argument(
        "--question", metavar="ID", help="answer this very question and no other"
    )
    add_list_flag(parser, "--want", "NAME", "name what is missing if it did not come")
    add_shape_flags(parser)
    _add_result_flags(parser, "follow the turn to its end and print the document")


def reply(context: Context, options: Namespace) -> Outcome:
    """Answer the question a task asks; with --wait return the document of the turn."""
    task_id = resolve(context, options.id)
    if not options.option and options.say is None:
        raise InputError("a reply needs --option N or --say TEXT", code="usage")
    if options.out:
        open_folder(options.out)
    schema = read_shape(context, options)
    digest = digest_of_part([options.option, options.say])
    if not _replies(context, task_id, "digest = ?", digest):
        check_payable(schema)
    question = standing(context.client, task_id, context.ledger.answered(task_id))
    earlier = _earlier_reply(context, task_id, options, digest, question)
    prompt_id = earlier.prompt_id if earlier else None
    if earlier is None and question is not None:
        check_payable(schema)
        prompt_id = _send_answer(context, task_id, question, options, digest)
    row = row_of(context, task_id)
    row.prompt_id = prompt_id
    if options.wait:
        return follow(context, row, options, reused=bool(earlier), schema=schema)
    outcome = _answered_outcome(context, row, options, question, earlier)
    outcome.on_printed = lambda: deliver_replies(context, task_id)
    return outcome


def _answered_outcome(
    context: Context,
    row: Row,
    options: Namespace,
    question: Question | None,
    earlier: Row | None,
) -> Outcome:
    if earlier and question:
        why = "the reply was taken, and the task asks another question now"
        return _question_outcome(context, row.task_id, question, why)
    line = go_on_line(context, row, options)
    document: Json = {"id": row.task_id, "answered": True}
    if earlier:
        document["reused"] = True
    elif question:
        labels = question.chosen_labels(options.option)
        if labels:
            document["chose"] = labels
    document["next"] = [{"why": "this waits for the turn to end", "run": line}]
    return Outcome(document)


def _earlier_reply(
    context: Context,
    task_id: str,
    options: Namespace,
    digest: str,
    question: Question | None,
) -> Row | None:
    """Return the reply that this line gave before and that the service has, None to answer the
    open question.
    """
    ledger = context.ledger
    if options.question:
        found = _replies(context, task_id, "message_id = ?", options.question)
    else:
        found = _replies(
            context, task_id, "digest = ? AND delivered_at IS NULL", digest
        )
    earlier = found[0] if found else None
    wanted = options.question or (earlier.message_id if earlier else None)
    if question and wanted in (None, str(question.message_id)):
        return None
    if earlier is None or earlier.digest != digest:
        message = "that question was answered from here in another way"
        if earlier is None:
            message = "the task asks %s just now" % (
                "another question" if question else "nothing"
            )
        raise InputError(
            message,
            code="no_question",
            hint="see how it stands: %s" % context.command_line("result", task_id),
        )
    ledger.update(earlier.id, state=CREATED)
    return earlier


def _replies(context: Context, task_id: str, condition: str, value: str) -> list[Row]:
    """Return the latest reply to a task that fits a condition, and that the service may have."""
    return context.ledger.rows(
        "kind = ? AND task_id = ? AND state != ? AND " + condition,
        (REPLY.name, task_id, NOT_SENT, value),
        newest=1,
    )


def _send_answer(
    context: Context, task_id: str, question: Question, options: Namespace, digest: str
) -> str | None:
    """Answer the open question and return the id of its prompt; the reply is written down before
    it leaves.
    """
    prompt_id = question.prompt_id if is_id(question.prompt_id) else None
    body = question.answer(options.option, options.say)
    for label in question.chosen_labels(options.option):
        context.info("the reply chooses %s" % label_text(label))
    ledger = context.ledger
    number = ledger.insert(
        {
            "kind": REPLY.name,
            "origin": ledger.origin,
            "account": ledger.account,
            "digest": digest,
            "ordinal": 0,
            "attempt": 1,
            "parts": "{}",
            "state": SENT,
            "claimed_at": time.time(),
            "task_id": task_id,
            "prompt_id": prompt_id,
            "message_id": str(question.message_id),
        }
    )
    try:
        context.client.answer_question(task_id, body)
    except RebyteError as problem:
        # 409: nothing is asked any more, somebody else has answered.
        if problem.http_status != HTTP_CONFLICT:
            if problem.outcome == "not_sent" or isinstance(
                problem, (RequestRefused, NotFound)
            ):
                ledger.update(number, state=NOT_SENT)
            if isinstance(problem, RouteMissing):
                problem.hint = (
                    "this deployment takes no replies; answer in a browser at the task's "
                    "address, or send a follow-up with --anyway"
                )
            raise
    ledger.update(number, state=CREATED)
    return prompt_id


COMMANDS = {
    "follow-up": Command(follow_up, add_follow_up_flags, examples=FOLLOW_UP_EXAMPLES),
    "reply": Command(reply, add_reply_flags, examples=REPLY_EXAMPLES),
}
