"""api METHOD PATH: the raw door to the service, with the same key rules, ledger and guards as everything else."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qsl

from rebyte_commands.arguments import read_text
from rebyte_commands.output import without_signed
from rebyte_commands.starting import once_name
from rebyte_commands.verbs.run import begin
from rebyte_flows.starting.orders import RawOrder
from rebyte_wire.errors import GuardRefused, InputError
from rebyte_wire.retry import kind_of_start, route_of

ALL_ARTIFACTS = r"/workspaces/[^/]+/artifacts"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
EXAMPLES = """examples:
  rebyte_cli.py api GET /tasks?limit=3
  rebyte_cli.py api PATCH /tasks/ID/visibility --body '{"visibility":"private"}'
"""


def flags(parser):
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
        "--body", metavar="JSON", help="the JSON body; @FILE reads it from a file, - from stdin"
    )
    parser.add_argument(
        "--once", metavar="NAME", help="for paid starts: at most once under this name"
    )
    parser.add_argument(
        "--again", action="store_true", help="for paid starts: a second one, knowingly"
    )
    parser.add_argument(
        "--urls", action="store_true", help="show signed addresses, which are secrets"
    )
    parser.add_argument(
        "--yes", action="store_true", help="needed to delete all artifacts of a workspace"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be sent and send nothing"
    )


def api(context, options):
    """Send one request and print the answer as sent."""
    path, query = _split(options.path)
    body = _body(options.body, context.stdin)
    if kind_of_start(options.method, path) and not isinstance(body, dict):
        raise InputError("a paid start needs --body with a JSON object", code="usage")
    if options.dry_run:
        context.emit(
            {"dryRun": True, "method": options.method, "path": path, "query": query, "body": body}
        )
        return 0
    if (
        options.method == "DELETE"
        and re.fullmatch(ALL_ARTIFACTS, route_of(path))
        and not options.yes
    ):
        raise GuardRefused(
            "every artifact of the workspace would be deleted",
            code="needs_yes",
            hint="the same line with --yes",
        )
    if (options.method, path) == ("GET", "/health"):
        # The one path that lies beside /v1.
        answer = context.client.get_health()
    elif kind_of_start(options.method, path):
        return _start(context, options, RawOrder(path, body, query))
    else:
        answer = context.client.request(options.method, path, query=query or None, body=body)
    if answer is None:
        answer = {"done": True}
    context.emit(answer if options.urls else without_signed(answer))
    return 0


def _start(context, options, order):
    """A paid start goes through the ledger and the guards like any other."""
    started = begin(context, order, once_name(options), options)
    row, answer = started.row, started.answer
    if answer is None:
        answer = {
            "id": row.task_id,
            "workspaceId": row.workspace_id,
            "promptId": row.prompt_id,
            "url": row.url,
            "reused": started.reused,
        }
    context.emit(answer if options.urls else without_signed(answer))
    context.deliver(row)
    return context.flight.pending.exit_code if context.flight.pending else 0


def _split(path):
    path, _, query = path.partition("?")
    path = "/" + path.strip("/")
    if path == "/v1" or path.startswith("/v1/"):
        path = path[3:] or "/"
    pairs = parse_qsl(query, keep_blank_values=True)
    # Pairs only where a name comes again, as in ?status=a&status=b.
    return path, dict(pairs) if len(dict(pairs)) == len(pairs) else pairs


def _body(text, stdin):
    if text is None:
        return None
    try:
        return json.loads(
            read_text(text[text.startswith("@") :], "the body", stdin)
            if text == "-" or text.startswith("@")
            else text
        )
    except (ValueError, RecursionError) as problem:
        raise InputError(
            "the body is no JSON: %s" % problem, hint="quote it for the shell, or pass --body @FILE"
        )


COMMANDS = {"api": (flags, api, EXAMPLES)}
