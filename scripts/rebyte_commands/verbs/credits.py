"""credits: what the organization has left to spend."""

from __future__ import annotations

from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.verb_table import Command
from rebyte_flows.starting.credit import credits_left, note_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from rebyte_commands.shell.context import Context

EXAMPLES = """examples:
  rebyte_cli.py credits
  rebyte_cli.py credits --field totalAvailable
"""


def credits(context: Context, options: Namespace) -> Outcome:
    """Return the credits as the service tells them, with a warning when they are low."""
    answer = context.client.get_credits()
    note = note_of(credits_left(answer))
    return Outcome(dict(answer, warnings=[note]) if note else answer)


COMMANDS = {"credits": Command(credits, examples=EXAMPLES)}
