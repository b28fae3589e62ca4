"""webhooks create, list, get, delete, public-key: an https address that is told how tasks go."""

from __future__ import annotations

from rebyte_commands.jobs.start import add_list_flag
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.shell.stdin import read_text
from rebyte_commands.verb_table import Command
from rebyte_wire.errors import InputError, RequestRefused
from rebyte_wire.status import dict_items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from rebyte_commands.shell.context import Context
    from rebyte_commands.shell.stdin import Stdin
    from rebyte_types import Json, Step

EXAMPLES = """examples:
  rebyte_cli.py webhooks create https://hooks.example.com/rebyte --event task.completed \\
      --event task.failed --secret-file secret
  rebyte_cli.py webhooks list
  rebyte_cli.py webhooks delete ID
"""
EVENTS = (
    "task.created",
    "task.running",
    "task.completed",
    "task.failed",
    "task.canceled",
)
TEXT_LIMIT_CHARACTERS = 500


def add_create_flags(parser: ArgumentParser) -> None:
    """Declare the flags of webhooks create."""
    parser.add_argument("url", metavar="URL", help="the https address to tell")
    add_list_flag(parser, "--event", "E", "%s; again for more" % ", ".join(EVENTS))
    parser.add_argument("--description", metavar="TEXT", help="what it is for")
    parser.add_argument(
        "--secret-file",
        metavar="F",
        help="sent as X-Webhook-Secret with each event; read from a file, - for stdin",
    )


def create(context: Context, options: Namespace) -> Outcome:
    """Have an address told of events; one that is told already is reported, and no second webhook
    made.
    """
    if not options.event:
        raise InputError(
            "webhooks create needs --event; there are: %s" % ", ".join(EVENTS),
            code="usage",
        )
    secret = (
        read_secret(options.secret_file, context.stdin) if options.secret_file else None
    )
    length = len(options.description or "")
    if length > TEXT_LIMIT_CHARACTERS:
        raise InputError(
            "--description has %d characters; the service takes %d"
            % (length, TEXT_LIMIT_CHARACTERS)
        )
    for hook in dict_items(context.client.list_webhooks()):
        if hook.get("url") == options.url:
            return _existing_outcome(context, hook, options.event, secret)
    events = list(dict.fromkeys(options.event))
    answer = context.client.create_webhook(
        options.url, events, options.description, secret
    )
    return Outcome(answer)


def read_secret(path: str, stdin: Stdin) -> str:
    """Return a webhook's secret from a file or stdin, less its last line end: it has to travel in
    a header.
    """
    text = read_text(path, "the secret", stdin, TEXT_LIMIT_CHARACTERS * 4).rstrip(
        "\r\n"
    )
    is_printable = text.isascii() and text.isprintable()
    if not is_printable or not 0 < len(text) <= TEXT_LIMIT_CHARACTERS:
        raise InputError(
            "the secret must be 1 to %d printable ASCII characters on one line"
            % TEXT_LIMIT_CHARACTERS
        )
    return text


def _existing_outcome(
    context: Context, hook: Json, events: Sequence[str], secret: str | None
) -> Outcome:
    """Report the webhook of this address; it is an error when it does less than what was asked
    for.
    """
    line = context.command_line("webhooks", "delete", hook.get("id"))
    step: Step = {"why": "this removes it, so that it can be made anew", "run": line}
    lacking = _lacking(hook, events, secret)
    if lacking:
        problem = RequestRefused(
            "there is a webhook for this address, and %s" % ", ".join(lacking),
            code="webhook_exists",
            hint="a second one would be told twice; delete it, then create it anew",
            details={"webhook": hook},
        )
        problem.next = [step]
        raise problem
    document = dict(hook, reused=True, next=[step])
    if secret:
        document["warnings"] = [
            "its secret cannot be compared: the service never tells it"
        ]
    return Outcome(document)


def _lacking(hook: Json, events: Sequence[str], secret: str | None) -> list[str]:
    """Return what a webhook does not do of what was asked for."""
    told = hook.get("events")
    known = told if isinstance(told, list) else []
    lacking = ["it is not told of " + event for event in events if event not in known]
    if hook.get("isActive") is False:
        lacking.append(
            "it is switched off after %s failures" % hook.get("failureCount", "many")
        )
    if secret and hook.get("hasSecret") is False:
        lacking.append("it has no secret")
    return lacking


def list_(context: Context, options: Namespace) -> Outcome:
    """Return the webhooks."""
    return Outcome(context.client.list_webhooks())


def _add_id(parser: ArgumentParser) -> None:
    parser.add_argument(
        "id", metavar="ID", help="the id of a webhook; see: webhooks list"
    )


def get(context: Context, options: Namespace) -> Outcome:
    """Return one webhook with its count of failures."""
    return Outcome(context.client.get_webhook(options.id))


def delete(context: Context, options: Namespace) -> Outcome:
    """Delete a webhook."""
    context.client.delete_webhook(options.id)
    return Outcome({"id": options.id, "deleted": True})


def public_key(context: Context, options: Namespace) -> Outcome:
    """Return the key that signatures are checked with."""
    return Outcome(context.client.get_webhook_key())


COMMANDS = {
    "webhooks create": Command(create, add_create_flags, examples=EXAMPLES),
    "webhooks list": Command(list_, examples=EXAMPLES),
    "webhooks get": Command(get, _add_id, examples=EXAMPLES),
    "webhooks delete": Command(delete, _add_id, examples=EXAMPLES),
    "webhooks public-key": Command(public_key, examples=EXAMPLES),
}
