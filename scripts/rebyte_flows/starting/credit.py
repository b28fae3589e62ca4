"""What the service tells of the credit that is left: the reason behind many a refused or failed start."""

from __future__ import annotations

from rebyte_wire.errors import RebyteError

LOW_CREDITS = 100
# A field that is wrong is wrong with any credit; these statuses may hide that none is left.
TELLING_STATUSES = frozenset((400, 402, 403, 409, 422))


def credits_left(answer):
    """Return how many credits an answer of GET /billing/credits tells, None when it does not tell."""
    for name in ("totalAvailable", "balance"):
        value = answer.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
    return None


def note_of(left):
    """Return one sentence about credit that is low or spent, None when there is enough or nothing is known."""
    if left is None or left >= LOW_CREDITS:
        return None
    return "the organization's credit is %s (%g left)" % ("spent" if left <= 0 else "low", left)


def credit_note(client):
    """Ask what is left and return the sentence about it; a look that fails tells nothing."""
    try:
        return note_of(credits_left(client.get_credits()))
    except RebyteError:
        return None


def may_be_about_credit(problem):
    """Tell whether a refused start could have been refused for want of credit."""
    return problem.http_status in TELLING_STATUSES and problem.code != "validation_error"


def name_credit(problem, note):
    """Say in an error, and in what is printed beside it, how credit stands."""
    if note:
        problem.message = "%s; %s" % (problem.message.rstrip("."), note)
        problem.warnings = [note]
