"""What the service tells of the credit that is left: the reason behind many a refused or failed
start.
"""

from __future__ import annotations

from rebyte_wire.errors import RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_client import RebyteClient
    from rebyte_types import Json

LOW_CREDITS = 100
# A field that is wrong is wrong with any credit; these statuses may hide that none is left.
TELLING_STATUSES = frozenset((400, 402, 403, 409, 422))


def credits_left(answer: Json) -> float | None:
    """Return how many credits an answer of GET /billing/credits tells, None for none."""
    for name in ("totalAvailable", "balance"):
        value = answer.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
    return None


def note_of(left: float | None) -> str | None:
    """Return one sentence about credit that is low or spent, None when there is enough or nothing
    is known.
    """
    if left is None or left >= LOW_CREDITS:
        return None
    word = "spent" if left <= 0 else "low"
    return "the organization's credit is %s (%g left)" % (word, left)


def credit_note(client: RebyteClient) -> str | None:
    """Ask what is left and return the sentence about it; a look that fails tells nothing."""
    try:
        return note_of(credits_left(client.get_credits()))
    except RebyteError:
        return None


def may_be_about_credit(problem: RebyteError) -> bool:
    """Tell whether a refused start could have been refused for want of credit."""
    return (
        problem.http_status in TELLING_STATUSES and problem.code != "validation_error"
    )
