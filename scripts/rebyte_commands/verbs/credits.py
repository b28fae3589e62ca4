"""credits: what the organization has left to spend."""

from __future__ import annotations

from rebyte_flows.starting.credit import credits_left, note_of

EXAMPLES = """examples:
  rebyte_cli.py credits
  rebyte_cli.py credits --field totalAvailable
"""


def flags(parser):
    """Declare the flags of credits: none of its own."""


def credits(context, options):
    """Print the credits as the service tells them, with a warning when they are low."""
    answer = context.client.get_credits()
    note = note_of(credits_left(answer))
    context.emit(dict(answer, warnings=[note]) if note else answer)
    return 0


COMMANDS = {"credits": (flags, credits, EXAMPLES)}
