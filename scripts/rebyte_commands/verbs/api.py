"""api METHOD PATH: the raw door to the service, with the same key rules, ledger and guards as
everything else.
"""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qsl

from rebyte_commands.jobs.start import (
    add_once_flag,
    add_rerun_flags,
    dry_run,
    once_name,
    query_view,
    submit,
)
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.shell.output import without_signed
from rebyte_commands.shell.stdin import read_text
from rebyte_commands.verb_table import Command
from rebyte_flows.starting.kinds import kind_for
from rebyte_flows.starting.requests import StartRequest
from rebyte_wire.errors import GuardRefused, InputError
from rebyte_wire.retry import route_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Any

    from rebyte_commands.shell.context import Context
    from rebyte_commands.shell.stdin import Stdin
    from rebyte_types import Json

ALL_ARTIFACTS = r"/workspaces/[^/]+/artifacts"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
EXAMPLES = """examples:
  rebyte_cli.py api GET /tasks?limit=3
  rebyte_cli.py api PATCH /tasks/ID/visibility --body '{"visibility":"private"}'
"""


def add_flags(parser: ArgumentParser) -> None:
    """Declare the flags of api."""
    parser.add_argument(
        "method",
        metavar="METHOD",
        type=str.upper,
        choices=METHODS,
        help="GET, POST, PUT, PATCH or DELETE",
    )
    parser.add_argument("path", metavar="PATH", help="below /v1, with its query")
    parser.add_argument(
        "--body",
        metavar="JSON",
        help="the JSON body; @FILE reads it from a file, - from stdin",
    )
    add_once_flag(parser)
    add_rerun_flags(parser)
    parser.add_argument(
        "--urls", action="store_true", help="show signed addresses, which are secrets"
    )
    parser.add_argument(
        "--yes",
        action="store_true",
        help="needed to delete all artifacts of a workspace",
    )


def api(context: Context, options: Namespace) -> Outcome:
    """Send one request and return the answer as sent."""
    method = options.method
    path, query = split_path(options.path)
    body = _body(options.body, context.stdin)
    if kind_for(method, path):
        return _start(context, options, path, query, body)
    if options.dry_run:
        document = {
            "dryRun": True,
            "method": method,
            "path": path,
            "query": query_view(query),
            "body": body,
        }
        return Outcome(document)
    is_all_artifacts = re.fullmatch(ALL_ARTIFACTS, route_of(path))
    if method == "DELETE" and is_all_artifacts and not options.yes:
        raise GuardRefused(
            "every artifact of the workspace would be deleted",
            code="needs_yes",
            hint="the same line with --yes",
        )
    if (method, path) == ("GET", "/health"):
        # The one path that lies beside /v1.
        answer: Any = context.client.get_health()
    else:
        answer = context.client.request(method, path, query=query or None, body=body)
    if answer is None:
        answer = {"done": True}
    return Outcome(answer if options.urls else without_signed(answer))


def _start(
    context: Context,
    options: Namespace,
    path: str,
    query: list[tuple[str, str]],
    body: Any,
) -> Outcome:
    """A paid start goes through the ledger and the guards like any other."""
    if not isinstance(body, dict):
        raise InputError("a paid start needs --body with a JSON object", code="usage")
    request = StartRequest(path, body, query=query, bare=True)
    name = once_name(options)
    if options.dry_run:
        return dry_run(request, name)
    started = submit(context, request, name, options)
    row = started.row
    answer: Json | None = started.answer
    if answer is None:
        answer = {
            "id": row.task_id,
            "workspaceId": row.workspace_id,
            "promptId": row.prompt_id,
            "url": row.url,
            "reused": started.reused,
        }
    shown = answer if options.urls else without_signed(answer)
    return Outcome(shown, on_printed=lambda: context.deliver(row))


def split_path(path: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the path below /v1 in one spelling, and its query as pairs."""
    path, _, query = path.partition("?")
    path = "/" + path.strip("/")
    if path == "/v1" or path.startswith("/v1/"):
        path = path[len("/v1") :] or "/"
    return path, parse_qsl(query, keep_blank_values=True)


def _body(text: str | None, stdin: Stdin) -> Any:
    """Return the body that --body names, None for none."""
    if text is None:
        return None
    if text == "-" or text.startswith("@"):
        text = read_text(text[text.startswith("@") :], "the body", stdin)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise InputError(
            "the body is no JSON: %s" % problem,
            hint="quote it for the shell, or pass --body @FILE",
        ) from None


COMMANDS = {"api": Command(api, add_flags, examples=EXAMPLES)}
