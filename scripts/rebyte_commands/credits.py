"""credits: what the organization has left to spend."""

from __future__ import annotations

from rebyte_flows.credit import credits_left, note_of

EXAMPLES = """examples:
  rebyte_cli.py credits
  rebyte_cli.py credits --field totalAvailable
"""


def flags(parser):
    """Declare the flags of credits: none of its own."""


def credits(session, options):
    """Print the credits as the service tells them, with a warning when they are low."""
    answer = session.client.get_credits()
    note = note_of(credits_left(answer))
    session.emit(dict(answer, warnings=[note]) if note else answer)
    return 0


COMMANDS = {"credits": (flags, credits, EXAMPLES)}
