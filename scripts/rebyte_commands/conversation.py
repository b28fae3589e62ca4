"""follow-up and reply: one more turn, or the answer to what a task asks."""

from __future__ import annotations

from rebyte_commands.jobs import finish, go_on_line, reply_steps
from rebyte_commands.run import begin
from rebyte_commands.starting import (
    add_prompt_flags,
    add_turn_flags,
    dry_run,
    once_name,
    read_prompt,
    turn_parts,
)
from rebyte_flows.downloads import open_folder
from rebyte_flows.orders import Order, part_digest
from rebyte_flows.replies import Replies
from rebyte_flows.result import answer_body, open_question, shown
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


def follow_up(session, options):
    """Send one more prompt to a task; with --wait print that turn's document."""
    task_id = session.resolve(options.id)
    order = Order(
        read_prompt(session, options),
        kind="follow-up",
        task_id=task_id,
        **turn_parts(session, options),
    )
    name = once_name(options)
    if options.dry_run:
        return dry_run(session, order, name)
    if not options.anyway:
        asked = open_question(session.client, task_id, session.ledger.replies(task_id))
        if asked:
            return _show_question(
                session,
                task_id,
                asked,
                "the task waits for an answer; a follow-up would leave its question open (--anyway sends it)",
            )
    started = begin(session, order, name, options)
    row = started.row
    if options.wait:
        return finish(
            session,
            with_task(session, row),
            options,
            order=order,
            reused=started.reused,
            answered=session.ledger.replies(task_id),
        )
    answer = dict(started.answer or {"promptId": row.prompt_id}, taskId=task_id)
    if started.reused:
        answer["reused"] = True
    answer["next"] = [
        {"why": "this waits for that very turn", "run": go_on_line(session, row, options)}
    ]
    session.emit(answer)
    session.deliver(row)
    return session.flight.pending.exit_code if session.flight.pending else 0


def _show_question(session, task_id, asked, why):
    session.complain(why)
    session.emit(
        {
            "id": task_id,
            "status": "question",
            "question": shown(asked),
            "next": reply_steps(session, task_id, shown(asked), "--wait"),
        }
    )
    return EXIT_QUESTION


def with_task(session, row):
    """Return a row that also knows workspace and address, from the row of the task itself."""
    task = session.ledger.find_task(row.task_id)
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


def reply(session, options):
    """Answer the question a task asks; with --wait print the document of the turn."""
    task_id = session.resolve(options.id)
    if not options.option and options.say is None:
        raise InputError("a reply needs --option N or --say TEXT", code="usage")
    if options.out:
        open_folder(options.out)
    replies, digest = Replies(session.ledger, task_id), part_digest([options.option, options.say])
    asked = open_question(session.client, task_id, session.ledger.replies(task_id))
    earlier = _earlier_reply(session, replies, options, digest, asked)
    row = with_task(session, session.row_of(task_id))
    row.prompt_id = (
        earlier.prompt_id if earlier else _answer(session, task_id, replies, asked, options, digest)
    )
    if options.wait:
        return finish(
            session, row, options, reused=bool(earlier), answered=session.ledger.replies(task_id)
        )
    if earlier and asked:
        code = _show_question(
            session, task_id, asked, "the reply was taken, and the task asks another question now"
        )
    else:
        document = {
            "id": task_id,
            "answered": True,
            "next": [
                {"why": "this waits for the turn to end", "run": go_on_line(session, row, options)}
            ],
        }
        session.emit(dict(document, reused=True) if earlier else document)
        code = EXIT_DONE
    session.deliver_replies(task_id)
    return code


def _earlier_reply(session, replies, options, digest, asked):
    """Return the reply that this line gave before and that the service has, or None when the open question is to be answered."""
    earlier = replies.to(options.question) if options.question else replies.unseen(digest)
    wanted = options.question or earlier and earlier.message_id
    if asked and wanted in (None, str(asked["messageId"])):
        return None
    if earlier is None:
        raise InputError(
            "the task asks %s just now" % ("another question" if asked else "nothing"),
            code="no_question",
            hint="see how it stands: %s" % session.line("result", replies.task_id),
        )
    if earlier.digest != digest:
        raise InputError(
            "that question was answered from here in another way",
            code="no_question",
            hint="see what came of it: %s" % session.line("result", replies.task_id),
        )
    replies.confirm(earlier.message_id)
    return earlier


def _answer(session, task_id, replies, asked, options, digest):
    """Answer the open question and return the id of its prompt."""
    prompt_id = asked["promptId"] if is_id(asked.get("promptId")) else None
    body = answer_body(asked, options.option, options.say)
    replies.begin(asked["messageId"], prompt_id, digest)
    try:
        session.client.answer_question(task_id, body)
    except RebyteError as problem:
        # 409: nothing is blocked any more, somebody else has answered.
        if problem.http_status != 409:
            if problem.outcome == "not_sent" or isinstance(problem, (RequestRefused, NotFound)):
                replies.drop(asked["messageId"])
            if isinstance(problem, RouteMissing):
                problem.hint = "this deployment takes no replies; answer in a browser at the task's address, or send a follow-up with --anyway"
            raise
    replies.confirm(asked["messageId"])
    return prompt_id


COMMANDS = {
    "follow-up": (follow_up_flags, follow_up, FOLLOW_UP_EXAMPLES),
    "reply": (reply_flags, reply, REPLY_EXAMPLES),
}
