"""The flags of a paid start and how they become an order; shared by run, create and follow-up."""

from __future__ import annotations

import os
import re

from rebyte_commands.arguments import count, read_text, seconds
from rebyte_commands.progress import Meter
from rebyte_commands.verbs.files import attach_all, attach_skill, is_local_skill, tell_links
from rebyte_flows.files.uploads import STREAM, Uploads
from rebyte_flows.starting.orders import PROMPT_LIMIT_CHARACTERS, Order
from rebyte_flows.starting.rows import check_name
from rebyte_flows.starting.submitter import Guards, Submitter, owners_limit
from rebyte_wire.errors import InputError

REPOSITORY = re.compile(r"(?:https://github\.com/)?([\w.-]+/[\w.-]+?)(?:\.git)?/?$")


def add_prompt_flags(parser):
    """Add the ways to pass a prompt: one argument, --prompt, or --prompt-file (- for stdin)."""
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="what the task is to do")
    parser.add_argument("--prompt", dest="prompt_flag", metavar="TEXT", help="the same, as a flag")
    parser.add_argument("--prompt-file", metavar="F", help="read it from a file, - for stdin")


def add_turn_flags(parser):
    """Add what a first turn and a later one have in common."""
    parser.add_argument(
        "--skill",
        action="append",
        default=[],
        metavar="S",
        help="a skill for the task, or ./FOLDER of one here; again for more",
    )
    parser.add_argument(
        "--skills",
        nargs="+",
        default=[],
        metavar="S",
        help="several skills; takes every word after it",
    )
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="PATH",
        help="attach a file; -=NAME reads stdin and calls it NAME; again for more",
    )
    parser.add_argument(
        "--zip",
        action="store_true",
        help="pack folders named by --file; links, .git and __pycache__ are left out",
    )
    parser.add_argument(
        "--file-id",
        action="append",
        default=[],
        metavar="ID=NAME",
        help="attach a file uploaded before",
    )
    parser.add_argument(
        "--want",
        action="append",
        default=[],
        metavar="NAME",
        help="ask for this file as an artifact; again for more",
    )
    parser.add_argument("--once", metavar="NAME", help="start at most once under this name")
    parser.add_argument("--again", action="store_true", help="a second paid task, knowingly")
    parser.add_argument(
        "--no-questions", action="store_true", help="ask the agent to decide instead of asking"
    )
    parser.add_argument("--bare", action="store_true", help="add no line to the prompt")
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be sent and send nothing"
    )


def add_start_flags(parser):
    """Add the flags of run and create."""
    add_prompt_flags(parser)
    add_turn_flags(parser)
    parser.add_argument(
        "--executor",
        metavar="E",
        help="claude, gemini, codex, opencode, ... (the service decides when not given)",
    )
    parser.add_argument("--model", metavar="M", help="a model of that executor")
    parser.add_argument(
        "--repo", "--github-url", metavar="OWNER/REPO", help="a GitHub repository to clone"
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
    parser.add_argument(
        "--cancel-on-interrupt",
        action="store_true",
        help="cancel the task when this command is interrupted",
    )


def read_prompt(context, options):
    """Return the prompt from the one place it was given in; raises InputError for none or several."""
    omit_none = [
        text
        for text in (options.prompt, options.prompt_flag, options.prompt_file)
        if text is not None
    ]
    if len(omit_none) != 1:
        stolen = "; --skills took every word after it" if not omit_none and options.skills else ""
        raise InputError(
            "%s prompt was given%s" % ("no" if not omit_none else "more than one", stolen),
            code="usage",
            hint="pass it as one argument, as --prompt TEXT or as --prompt-file FILE (- for stdin)",
        )
    # Nobody asks an agent for a dash: everywhere it means stdin.
    file = "-" if omit_none == ["-"] else options.prompt_file
    if file is not None:
        omit_none = [read_prompt_file(file, context.stdin)]
    # Under LC_ALL=C words arrive with surrogates; the bytes behind them are what was meant.
    return (
        os.fsencode(omit_none[0]).decode("utf-8", "replace")
        if _has_surrogates(omit_none[0])
        else omit_none[0]
    )


def _has_surrogates(text):
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def read_prompt_file(path, stdin):
    """Return the prompt in a file, - for `stdin`; its lines end as everywhere."""
    text = read_text(path, "the prompt", stdin, PROMPT_LIMIT_CHARACTERS * 4 + 8).replace(
        "\r\n", "\n"
    )
    # One more says that it is too long, and not how long, which nobody has read.
    return text[: PROMPT_LIMIT_CHARACTERS + 1]


def task_order(context, options):
    """Return the Order of a new task from the flags; nothing has been sent."""
    place = {
        name: getattr(options, name)
        for name in ("executor", "model", "repo", "branch", "workspace")
    }
    return Order(
        read_prompt(context, options),
        **place_fields(context, **place),
        **turn_parts(context, options),
    )


def place_fields(context, *, executor, model, repo, branch, workspace):
    """Return the fields of a new task that say who works, and where; what is None is left out of it."""
    if branch is not None and repo is None:
        raise InputError(
            "a branch is named, and no repository whose branch it could be",
            hint="add --repo OWNER/REPO",
        )
    match = None if repo is None else REPOSITORY.match(repo)
    if repo is not None and not match:
        raise InputError("the repository is %r; OWNER/REPO on GitHub was expected" % repo)
    return {
        "executor": executor,
        "model": model,
        "github_url": match and match.group(1),
        "branch_name": branch,
        "workspace_id": None if workspace is None else context.workspace_of(workspace),
    }


def turn_parts(context, options):
    """Return what flags of any turn say of skills, files, wants and added lines."""
    if options.prompt_file == "-" and any(word.startswith(STREAM) for word in options.file):
        raise InputError(
            "stdin was named twice, for the prompt and for a file; it can be read only once",
            code="usage",
        )
    words = options.skill + options.skills
    attachments = attach_all(options.file, context.stdin, options.zip) + [
        attach_skill(word) for word in words if is_local_skill(word)
    ]
    tell_links(context, attachments)
    return dict(
        skills=[word for word in words if not is_local_skill(word)],
        attachments=attachments,
        file_ids=[file_id(text) for text in options.file_id],
        want=options.want,
        no_questions=options.no_questions,
        bare=options.bare,
    )


def file_id(text):
    """Return the entry of `files` that ID=NAME stands for."""
    identifier, sign, name = text.partition("=")
    if not sign or not identifier or not name:
        raise InputError("--file-id is %r; ID=NAME was expected, as upload prints them" % text)
    return {"id": identifier, "filename": name}


def starter_for(context, options, expected_bytes=None):
    """Return the Starter of this command, with the guards that hold for it; its uploads are told on stderr."""
    guards = Guards(
        owners_limit(context.environ), getattr(options, "max_tasks", None), context.state.lasting
    )
    uploads = Uploads(context.client, Meter(context, "uploading", expected_bytes))
    return Submitter(
        context.client,
        context.ledger,
        guards=guards,
        flight=context.flight,
        say=context.say,
        uploads=uploads,
    )


def once_name(options):
    """Return the checked name of --once, or None."""
    return check_name(options.once) if options.once is not None else None


def dry_run(context, order, name):
    """Print what would be sent, without the key, and send nothing."""
    body = dict(order.fields, prompt=order.prompt_with([item.name for item in order.attachments]))
    if order.attachments or order.file_ids:
        body["files"] = [
            {"id": "(told by the upload)", "filename": item.name} for item in order.attachments
        ] + order.file_ids
    path = "/tasks" if order.kind == "task" else "/tasks/%s/prompts" % order.task_id
    wire_names = {
        "workspace_id": "workspaceId",
        "github_url": "githubUrl",
        "branch_name": "branchName",
    }
    context.emit(
        {
            "dryRun": True,
            "method": "POST",
            "path": path,
            "once": name,
            "body": {wire_names.get(key, key): value for key, value in body.items()},
            "uploads": [
                {"path": item.path, "name": item.name, "bytes": item.bytes, "sha256": item.sha256}
                for item in order.attachments
            ],
        }
    )
    return 0
