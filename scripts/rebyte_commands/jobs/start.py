"""A paid start on the command line: its flags, its request, and sending it at most once."""

from __future__ import annotations

import re

from rebyte_commands.jobs.attachments import (
    attach_all,
    attach_skill,
    is_local_skill,
    tell_links,
)
from rebyte_commands.jobs.code import add_code_flags, code_attachments, code_preview
from rebyte_commands.jobs.record_place import tell_place
from rebyte_commands.jobs.shape import add_shape_flags, lines_for
from rebyte_commands.shell.arguments import count, seconds
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.shell.progress import Meter
from rebyte_commands.shell.stdin import read_text
from rebyte_flows.files.uploads import STREAM, Uploads
from rebyte_flows.starting.guards import Guards, owners_limit
from rebyte_flows.starting.requests import PROMPT_LIMIT_CHARACTERS, task_request
from rebyte_flows.starting.rows import RECOVERED, check_name
from rebyte_flows.starting.submitter import Submitter
from rebyte_wire.errors import (
    InputError,
    NotFound,
    NotRecorded,
    OutcomeUnknown,
    RebyteError,
    RouteMissing,
)
from rebyte_wire.status import is_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Sequence
    from typing import Any

    from rebyte_commands.shell.context import Context
    from rebyte_commands.shell.stdin import Stdin
    from rebyte_flows.starting.requests import StartRequest
    from rebyte_flows.starting.submitter import Submission
    from rebyte_flows.values.schema import Schema
    from rebyte_types import FileReference, Json, Shape, Step

# owner/repo, as people paste it: with https://github.com/, git@github.com:, a token, or .git
# behind.
REPOSITORY = re.compile(
    r"(?:(?:https?://|ssh://|git://)?(?:[^@/\s]+@)?(?:www\.)?github\.com[:/])?"
    r"(?!\.+/)([\w.-]+/(?!\.+/?$)[\w.-]+?)(?:\.git)?/?$",
    re.I,
)


def add_prompt_flags(parser: ArgumentParser) -> None:
    """Add the ways to pass a prompt: one argument, --prompt, or --prompt-file (- for stdin)."""
    parser.add_argument(
        "prompt", nargs="?", metavar="PROMPT", help="what the task is to do"
    )
    parser.add_argument(
        "--prompt", dest="prompt_flag", metavar="TEXT", help="the same, as a flag"
    )
    parser.add_argument(
        "--prompt-file", metavar="F", help="read it from a file, - for stdin"
    )


def add_list_flag(parser: ArgumentParser, flag: str, metavar: str, text: str) -> None:
    """Add a flag that can be given again for more values."""
    parser.add_argument(flag, action="append", default=[], metavar=metavar, help=text)


def add_turn_flags(parser: ArgumentParser) -> None:
    """Add what every line of a batch, a first turn and a later one have in common."""
    add_list_flag(
        parser,
        "--skill",
        "S",
        "a skill for the task, or ./FOLDER of one here; again for more",
    )
    parser.add_argument(
        "--skills",
        nargs="+",
        default=[],
        metavar="S",
        help="several skills; takes every word after it",
    )
    add_list_flag(
        parser,
        "--file",
        "PATH",
        "attach a file; -=NAME reads stdin and calls it NAME; again for more",
    )
    parser.add_argument(
        "--zip",
        action="store_true",
        help="pack folders named by --file; links, .git and __pycache__ are left out",
    )
    add_list_flag(parser, "--file-id", "ID=NAME", "attach a file uploaded before")
    add_list_flag(
        parser, "--want", "NAME", "ask for this file as an artifact; again for more"
    )
    parser.add_argument(
        "--no-questions",
        action="store_true",
        help="ask the agent to decide instead of asking",
    )
    parser.add_argument("--bare", action="store_true", help="add no line to the prompt")
    add_shape_flags(parser)
    add_code_flags(parser)
    add_rerun_flags(parser)


def add_rerun_flags(parser: ArgumentParser) -> None:
    """Add the flags that say whether a paid start is really sent."""
    parser.add_argument(
        "--again", action="store_true", help="a second paid start, knowingly"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show what would be sent and send nothing",
    )


def add_once_flag(parser: ArgumentParser) -> None:
    """Add the flag that names a start."""
    parser.add_argument(
        "--once", metavar="NAME", help="start at most once under this name"
    )


def add_task_flags(parser: ArgumentParser) -> None:
    """Add the flags that say who works, where, and how much is allowed."""
    parser.add_argument(
        "--executor",
        metavar="E",
        help="claude, gemini, codex, opencode, ... (the service decides when not given)",
    )
    parser.add_argument("--model", metavar="M", help="a model of that executor")
    parser.add_argument(
        "--repo",
        "--github-url",
        metavar="OWNER/REPO",
        help="a GitHub repository to clone",
    )
    parser.add_argument("--branch", metavar="B", help="its branch")
    parser.add_argument(
        "--workspace",
        "--workspace-id",
        metavar="ID",
        help="reuse a machine: a workspace, a task or @NAME",
    )
    parser.add_argument(
        "--max-tasks",
        type=count,
        metavar="N",
        help="how many tasks this command may start (default 20)",
    )
    parser.add_argument(
        "--cancel-after",
        type=seconds,
        metavar="S",
        help="cancel what still runs S seconds after its start",
    )


def read_prompt(context: Context, options: Namespace) -> str:
    """Return the prompt from the one place it was given in; InputError for none or several."""
    given = [options.prompt, options.prompt_flag, options.prompt_file]
    texts = [text for text in given if text is not None]
    if len(texts) != 1:
        raise _prompt_error(options, texts)
    # Nobody asks an agent for a dash: everywhere it means stdin.
    if options.prompt_file is not None or texts == ["-"]:
        return read_prompt_file(texts[0], context.stdin)
    prompt: str = texts[0]
    return prompt


def _prompt_error(options: Namespace, texts: Sequence[str]) -> InputError:
    message = "more than one prompt was given" if texts else "no prompt was given"
    hint = "pass it as one argument, as --prompt TEXT or as --prompt-file FILE (- for stdin)"
    if not texts and options.skills:
        message += "; --skills took every word after it"
    elif not texts and isinstance(getattr(options, "code", None), str):
        message += "; --code took %r for its folder" % options.code[:40]
        hint = "put the prompt before --code, or another flag between them"
    return InputError(message, code="usage", hint=hint)


def read_prompt_file(path: str, stdin: Stdin) -> str:
    """Return the prompt in a file, - for `stdin`; its lines end as everywhere."""
    text = read_text(path, "the prompt", stdin, PROMPT_LIMIT_CHARACTERS * 4 + 8)
    # One character more than the limit says that it is too long; nobody has read how long.
    return text.replace("\r\n", "\n")[: PROMPT_LIMIT_CHARACTERS + 1]


def request_from(
    context: Context, options: Namespace, schema: Schema | None
) -> StartRequest:
    """Return the request for a new task from the flags; nothing has been sent."""
    prompt = read_prompt(context, options)
    place = place_fields(context, options)
    return task_request(prompt, **place, **turn_parts(context, options, schema))


def place_fields(context: Context, options: Namespace) -> dict[str, Any]:
    """Return the fields of a new task that say who works, and where.

    `options` has executor, model, repo, branch and workspace, None where one is left to the
    service.
    """
    if options.branch is not None and options.repo is None:
        raise InputError(
            "a branch is named, and no repository whose branch it could be",
            hint="add --repo OWNER/REPO",
        )
    workspace = options.workspace
    if workspace is not None:
        from rebyte_commands.shell.identifiers import workspace_of

        workspace = workspace_of(context, workspace)
    return {
        "executor": options.executor,
        "model": options.model,
        "github_url": repository_of(options.repo),
        "branch_name": options.branch,
        "workspace_id": workspace,
    }


def repository_of(text: str | None) -> str | None:
    """Return owner/repo from how people write it; a token in an address is never repeated in the
    error.
    """
    if text is None:
        return None
    match = REPOSITORY.match(text.strip())
    if not match:
        shown = re.sub(r"[^@/\s]+@", "***@", text)
        raise InputError(
            "the repository is %r; OWNER/REPO on GitHub was expected" % shown
        )
    return match.group(1)


def turn_parts(
    context: Context, options: Namespace, schema: Schema | None
) -> dict[str, Any]:
    """Return what flags of any turn say of skills, files, wants and added lines."""
    if options.prompt_file == "-" and any(
        word.startswith(STREAM) for word in options.file
    ):
        raise InputError(
            "stdin was named twice, for the prompt and for a file; it can be read only once",
            code="usage",
        )
    words = options.skill + options.skills
    attachments = attach_all(options.file, context.stdin, options.zip)
    attachments += [attach_skill(word) for word in words if is_local_skill(word)]
    tell_links(context, attachments)
    attachments += code_attachments(context, options)
    return {
        "skills": [word for word in words if not is_local_skill(word)],
        "attachments": attachments,
        "file_ids": [file_id(text) for text in options.file_id],
        "want": options.want,
        "no_questions": options.no_questions,
        "lines": lines_for(schema),
        "bare": options.bare,
    }


def file_id(text: str) -> FileReference:
    """Return the entry of `files` that ID=NAME stands for."""
    identifier, _, name = text.partition("=")
    if not identifier or not name:
        raise InputError(
            "--file-id is %r; ID=NAME was expected, as upload prints them" % text
        )
    return {"id": identifier, "filename": name}


def once_name(options: Namespace) -> str | None:
    """Return the checked name of --once, or None."""
    if options.once is None:
        return None
    return check_name(options.once)


def dry_run(request: StartRequest, name: str | None) -> Outcome:
    """Return what would be sent, without the key."""
    uploads = [
        {
            "path": item.path,
            "name": item.name,
            "bytes": item.bytes,
            "sha256": item.sha256,
        }
        for item in request.attachments
    ]
    document: Json = {
        "dryRun": True,
        "method": "POST",
        "path": request.path,
        "once": name,
        "body": request.preview(),
        "uploads": uploads,
    }
    if request.query:
        document["query"] = query_view(request.query)
    code = code_preview(request)
    if code:
        document["code"] = code
    return Outcome(document)


def query_view(query: Sequence[tuple[str, str]]) -> Json:
    """Return the names of a query with their values: a list where a name stands there again."""
    shown: Json = {}
    for name, _ in query:
        values = [value for other, value in query if other == name]
        shown[name] = values if len(values) > 1 else values[0]
    return shown


def submitter_for(
    context: Context,
    options: Namespace,
    on_progress: Callable[[int], object] | None = None,
) -> Submitter:
    """Return the Submitter of this command, with the guards that hold for it.

    `on_progress(bytes)` is told of what is uploaded.
    """
    per_command = getattr(options, "max_tasks", None)
    state = context.state
    guards = Guards(
        owners_limit(context.environ), per_command, state.lasting, state.is_found
    )
    return Submitter(
        context.client,
        context.ledger,
        guards=guards,
        info=context.info,
        uploads=Uploads(context.client, on_progress),
    )


def submit(
    context: Context, request: StartRequest, name: str | None, options: Namespace
) -> Submission:
    """Start a request, or go on with it; an error carries the lines that go on."""
    if getattr(options, "out", None):
        # Before it is paid for: what comes must have a place.
        from rebyte_flows.files.atomic import open_folder

        open_folder(options.out)
    total = sum(item.bytes for item in request.attachments)
    try:
        with Meter(context, "uploading", total) as meter:
            submitter = submitter_for(context, options, meter)
            return submitter.submit(request, name=name, again=options.again)
    except RebyteError as problem:
        _add_steps(context, request, options, problem)
        raise


def _add_steps(
    context: Context, request: StartRequest, options: Namespace, problem: RebyteError
) -> None:
    """Say in the error of a start how to go on."""
    if isinstance(problem, OutcomeUnknown):
        problem.next = _steps_when_unknown(context, problem)
    elif isinstance(problem, NotRecorded):
        words = ["computers", "get"] if request.kind.name == "computer" else ["get"]
        id = (problem.details or {}).get("id") or request.task_id
        line = context.command_line(*words, id)
        problem.next = [{"why": "it was started; this reads it", "run": line}]
    elif problem.code == "name_in_use" and problem.details:
        words = ["result", problem.details["taskId"], "--wait"]
        line = context.command_line(*words)
        problem.next = [{"why": "this goes on with the task of that name", "run": line}]
    elif isinstance(problem, RouteMissing):
        return
    elif isinstance(problem, NotFound) and getattr(options, "workspace", None):
        problem.hint = (
            "if %s is a task made elsewhere, pass the workspaceId that its create printed"
            % options.workspace
        )


def _steps_when_unknown(context: Context, problem: OutcomeUnknown) -> list[Step]:
    """Return how to go on with a start of unknown outcome; one candidate can be taken."""
    steps = [
        context.rerun_step(
            "this looks once more and starts nothing while it is unknown",
            without="--again",
        )
    ]
    details = problem.details or {}
    candidates = details.get("candidates") or []
    if len(candidates) == 1 and is_id(candidates[0].get("id")):
        line = context.command_line(
            "ledger", "settle", details["row"], "--adopt", candidates[0]["id"]
        )
        why = "if you know the one candidate for yours, this takes it"
        steps.append({"why": why, "run": line})
    return [*steps, context.again_step("a second paid task, knowingly")]


def started_outcome(
    context: Context,
    submission: Submission,
    answer: Shape,
    *,
    steps: Sequence[Step] = (),
    again: str | None = None,
) -> Outcome:
    """Return the service's answer to a start with what helps to go on.

    `again` says why a second one needs --again; it is told where the start was made before.
    """
    row = submission.row
    document: Json = {key: value for key, value in answer.items() if value is not None}
    document["service"] = context.service
    document["next"] = list(steps)
    if row.name:
        document["once"] = row.name
    if submission.reused:
        document["reused"] = True
        if again:
            document["next"].append(context.again_step(again))
    if row.is_recovered():
        document["recovered"] = True
        document["warnings"] = [RECOVERED]
    tell_place(context, document)
    return Outcome(document, on_printed=lambda: context.deliver(row))
