"""Which of two copies of one start, kept in two ledgers, is the one to believe."""

from __future__ import annotations

from rebyte_flows.starting.rows import STARTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Dict, Tuple

    from rebyte_flows.starting.rows import Row

    Identity = Tuple[Any, ...]
    Known = Dict[Identity, Row]

# What no change of a row ever touches. The time of the claim alone is not enough: two runs can
# claim in the same microsecond.
IDENTITY_COLUMNS = (
    "kind",
    "origin",
    "account",
    "digest",
    "ordinal",
    "claimed_at",
    "holder",
    "message_id",
)


def identity_of(row: Row) -> Identity:
    """Return what makes rows of several ledgers copies of one start."""
    return tuple(getattr(row, column) for column in IDENTITY_COLUMNS)


def is_newer(theirs: Row, mine: Row) -> bool:
    """Tell whether another ledger's copy knows more: that the start was made, else more changes."""
    if theirs.is_started() != mine.is_started():
        return theirs.state in STARTED
    return theirs.revision > mine.revision


def rows_to_take(known: Known, theirs: Iterable[Row]) -> list[tuple[Row, Row | None]]:
    """Return the rows of another ledger that know more, each with the copy that it replaces."""
    pairs = ((row, known.get(identity_of(row))) for row in theirs)
    return [(row, mine) for row, mine in pairs if mine is None or is_newer(row, mine)]
