"""follow-up and reply: one more turn, or the answer to what a task asks."""

from __future__ import annotations

from rebyte_commands.jobs import finish, go_on_line, reply_steps
from rebyte_commands.starting import (
    add_prompt_flags,
    add_turn_flags,
    dry_run,
    once_name,
    read_prompt,
    turn_parts,
)
from rebyte_commands.verbs.run import begin
from rebyte_flows.files.atomic import open_folder
from rebyte_flows.following.questions import standing
from rebyte_flows.starting.orders import Order, part_digest
from rebyte_flows.starting.replies import Replies
from rebyte_wire.errors import (
    EXIT_DONE,
    EXIT_QUESTION,
    InputError,
    NotFound,
    RebyteError,
    RequestRefused,
    RouteMissing,
)
from rebyte_wire.status import is_id

FOLLOW_UP_EXAMPLES = """examples:
  rebyte_cli.py follow-up ID 'Now add tests' --wait
  rebyte_cli.py follow-up ID --prompt-file more.md --once tests
"""
REPLY_EXAMPLES = """examples:
  rebyte_cli.py reply ID --option 2 --wait
  rebyte_cli.py reply ID --say 'Use the second sheet' --wait
"""


def follow_up_flags(parser):
    """Declare the flags of follow-up."""
    parser.add_argument("id", metavar="ID")
    add_prompt_flags(parser)
    add_turn_flags(parser)
    parser.add_argument(
        "--wait",
        action="store_true",
        help="follow this very turn to its end and print the document",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="bring the answer, the transcript and the files into this folder at the end",
    )
    parser.add_argument(
        "--anyway", action="store_true", help="send although the task asks a question"
    )


def follow_up(context, options):
    """Send one more prompt to a task; with --wait print that turn's document."""
    task_id = context.resolve(options.id)
    order = Order(
        read_prompt(context, options),
        kind="follow-up",
        task_id=task_id,
        **turn_parts(context, options),
    )
    name = once_name(options)
    if options.dry_run:
        return dry_run(context, order, name)
    if not options.anyway:
        asked = standing(context.client, task_id, context.ledger.replies(task_id))
        if asked:
            return _show_question(
                context,
                task_id,
                asked,
                "the task waits for an answer; a follow-up would leave its question open (--anyway sends it)",
            )
    started = begin(context, order, name, options)
    row = started.row
    if options.wait:
        return finish(
            context,
            with_task(context, row),
            options,
            order=order,
            reused=started.reused,
            answered=context.ledger.replies(task_id),
        )
    answer = dict(started.answer or {"promptId": row.prompt_id}, taskId=task_id)
    if started.reused:
        answer["reused"] = True
    answer["next"] = [
        {"why": "this waits for that very turn", "run": go_on_line(context, row, options)}
    ]
    context.emit(answer)
    context.deliver(row)
    return context.flight.pending.exit_code if context.flight.pending else 0


def _show_question(context, task_id, asked, why):
    context.complain(why)
    context.emit(
        {
            "id": task_id,
            "status": "question",
            "question": asked.as_dict(),
            "next": reply_steps(context, task_id, asked.as_dict(), "--wait"),
        }
    )
    return EXIT_QUESTION


def with_task(context, row):
    """Return a row that also knows workspace and address, from the row of the task itself."""
    task = context.ledger.find_task(row.task_id)
    if task is not None:
        row.workspace_id = row.workspace_id or task.workspace_id
        row.url = row.url or task.url
    return row


def reply_flags(parser):
    """Declare the flags of reply."""
    parser.add_argument("id", metavar="ID")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="N",
        help="the number or the label of an option; again for several",
    )
    parser.add_argument("--say", metavar="TEXT", help="an answer in words")
    parser.add_argument("--question", metavar="ID", help="answer this very question and no other")
    parser.add_argument(
        "--want",
        action="append",
        default=[],
        metavar="NAME",
        help="name what is missing if it did not come",
    )
    parser.add_argument(
        "--wait", action="store_true", help="follow the turn to its end and print the document"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="bring the answer, the transcript and the files into this folder at the end",
    )


def reply(context, options):
    """Answer the question a task asks; with --wait print the document of the turn."""
    task_id = context.resolve(options.id)
    if not options.option and options.say is None:
        raise InputError("a reply needs --option N or --say TEXT", code="usage")
    if options.out:
        open_folder(options.out)
    replies, digest = Replies(context.ledger, task_id), part_digest([options.option, options.say])
    asked = standing(context.client, task_id, context.ledger.replies(task_id))
    earlier = _earlier_reply(context, replies, options, digest, asked)
    row = with_task(context, context.row_of(task_id))
    row.prompt_id = (
        earlier.prompt_id if earlier else _answer(context, task_id, replies, asked, options, digest)
    )
    if options.wait:
        return finish(
            context, row, options, reused=bool(earlier), answered=context.ledger.replies(task_id)
        )
    if earlier and asked:
        code = _show_question(
            context, task_id, asked, "the reply was taken, and the task asks another question now"
        )
    else:
        document = {
            "id": task_id,
            "answered": True,
            "next": [
                {"why": "this waits for the turn to end", "run": go_on_line(context, row, options)}
            ],
        }
        context.emit(dict(document, reused=True) if earlier else document)
        code = EXIT_DONE
    context.deliver_replies(task_id)
    return code


def _earlier_reply(context, replies, options, digest, asked):
    """Return the reply that this line gave before and that the service has, or None when the open question is to be answered."""
    earlier = replies.to(options.question) if options.question else replies.unseen(digest)
    wanted = options.question or earlier and earlier.message_id
    if asked and wanted in (None, str(asked.message_id)):
        return None
    if earlier is None:
        raise InputError(
            "the task asks %s just now" % ("another question" if asked else "nothing"),
            code="no_question",
            hint="see how it stands: %s" % context.line("result", replies.task_id),
        )
    if earlier.digest != digest:
        raise InputError(
            "that question was answered from here in another way",
            code="no_question",
            hint="see what came of it: %s" % context.line("result", replies.task_id),
        )
    replies.confirm(earlier.message_id)
    return earlier


def _answer(context, task_id, replies, asked, options, digest):
    """Answer the open question and return the id of its prompt."""
    prompt_id = asked.prompt_id if is_id(asked.prompt_id) else None
    body = asked.answer(options.option, options.say)
    replies.begin(asked.message_id, prompt_id, digest)
    try:
        context.client.answer_question(task_id, body)
    except RebyteError as problem:
        # 409: nothing is blocked any more, somebody else has answered.
        if problem.http_status != 409:
            if problem.outcome == "not_sent" or isinstance(problem, (RequestRefused, NotFound)):
                replies.drop(asked.message_id)
            if isinstance(problem, RouteMissing):
                problem.hint = "this deployment takes no replies; answer in a browser at the task's address, or send a follow-up with --anyway"
            raise
    replies.confirm(asked.message_id)
    return prompt_id


COMMANDS = {
    "follow-up": (follow_up_flags, follow_up, FOLLOW_UP_EXAMPLES),
    "reply": (reply_flags, reply, REPLY_EXAMPLES),
}
