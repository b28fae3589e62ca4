"""webhooks create, list, get, delete, public-key: an https address that is told when a task begins, runs or ends."""

from __future__ import annotations

from rebyte_commands.arguments import read_text
from rebyte_wire.errors import InputError, RequestRefused

EXAMPLES = """examples:
  rebyte_cli.py webhooks create https://hooks.example.com/rebyte --event task.completed --event task.failed --secret-file secret
  rebyte_cli.py webhooks list
  rebyte_cli.py webhooks delete ID
"""
ACTIONS = ("create", "list", "get", "delete", "public-key")
EVENTS = ("task.created", "task.running", "task.completed", "task.failed", "task.canceled")
TEXT_LIMIT_CHARACTERS = 500


def flags(parser):
    """Declare the flags of webhooks."""
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument(
        "id",
        nargs="?",
        metavar="URL_OR_ID",
        help="create: the address; get and delete: the id of a webhook",
    )
    parser.add_argument(
        "--event",
        action="append",
        default=[],
        metavar="E",
        help="create: %s; again for more" % ", ".join(EVENTS),
    )
    parser.add_argument("--description", metavar="TEXT", help="create: what it is for")
    parser.add_argument(
        "--secret-file",
        metavar="F",
        help="create: sent as X-Webhook-Secret with each event; read from a file, - for stdin",
    )


def webhooks(context, options):
    """Do one of create, list, get, delete, public-key."""
    needs = options.action in ("create", "get", "delete")
    if needs != bool(options.id):
        raise InputError(
            "webhooks %s %s"
            % (
                options.action,
                ("needs the " + ("URL" if options.action == "create" else "ID"))
                if needs
                else "takes no ID",
            ),
            code="usage",
            hint="see: %s" % context.line("webhooks", "list"),
        )
    return {
        "create": create,
        "list": list_,
        "get": get,
        "delete": delete,
        "public-key": public_key,
    }[options.action](context, options)


def create(context, options):
    """Have an address told of events, unless one is told already: then that webhook is reported, and no second one made."""
    if not options.event:
        raise InputError(
            "webhooks create needs --event; there are: %s" % ", ".join(EVENTS), code="usage"
        )
    secret = read_secret(options.secret_file, context.stdin) if options.secret_file else None
    if len(options.description or "") > TEXT_LIMIT_CHARACTERS:
        raise InputError(
            "--description has %d characters; the service takes %d"
            % (len(options.description), TEXT_LIMIT_CHARACTERS)
        )
    known = [
        hook
        for hook in context.client.list_webhooks()["data"]
        if isinstance(hook, dict) and hook.get("url") == options.id
    ]
    if known:
        return _report_existing(context, known[0], options, secret)
    context.emit(
        context.client.create_webhook(
            options.id, list(dict.fromkeys(options.event)), options.description, secret
        )
    )
    return 0


def read_secret(path, stdin):
    """Return a webhook's secret from a file or stdin, less its last line end: it has to travel in a header."""
    text = read_text(path, "the secret", stdin, TEXT_LIMIT_CHARACTERS * 4).rstrip("\r\n")
    if not 0 < len(text) <= TEXT_LIMIT_CHARACTERS or not all(
        " " <= letter <= "~" for letter in text
    ):
        raise InputError(
            "the secret must be 1 to %d printable ASCII characters on one line"
            % TEXT_LIMIT_CHARACTERS
        )
    return text


def _report_existing(context, hook, options, secret):
    """Report the webhook of this address; it is an error when it does less than what was asked for."""
    lacking = [
        "it is not told of " + event
        for event in options.event
        if event not in (hook.get("events") if isinstance(hook.get("events"), list) else ())
    ]
    if hook.get("isActive") is False:
        lacking.append("it is switched off after %s failures" % hook.get("failureCount", "many"))
    if secret and hook.get("hasSecret") is False:
        lacking.append("it has no secret")
    drop = {
        "why": "this removes it, so that it can be made anew",
        "run": context.line("webhooks", "delete", hook.get("id")),
    }
    if lacking:
        problem = RequestRefused(
            "there is a webhook for this address, and %s" % ", ".join(lacking),
            code="webhook_exists",
            hint="a second one would be told twice; delete it, then create it anew",
            details={"webhook": hook},
        )
        problem.next = [drop]
        raise problem
    warnings = ["its secret cannot be compared: the service never tells it"] if secret else []
    context.emit(
        dict(hook, reused=True, next=[drop], **({"warnings": warnings} if warnings else {}))
    )
    return 0


def list_(context, options):
    """Print the webhooks."""
    context.emit(context.client.list_webhooks())
    return 0


def get(context, options):
    """Print one webhook with its count of failures."""
    context.emit(context.client.get_webhook(options.id))
    return 0


def delete(context, options):
    """Delete a webhook."""
    context.client.delete_webhook(options.id)
    context.emit({"id": options.id, "deleted": True})
    return 0


def public_key(context, options):
    """Print the key that signatures are checked with."""
    context.emit(context.client.get_webhook_key())
    return 0


COMMANDS = {"webhooks": (flags, webhooks, EXAMPLES)}
