"""Which of two copies of one start, kept in two ledgers, is the one to believe."""

from __future__ import annotations

from rebyte_flows.starting.rows import STARTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Dict, Optional

    from rebyte_flows.starting.rows import Row

    # By the mark that every copy of a row has.
    Known = Dict[Optional[str], Row]


def is_newer(theirs: Row, mine: Row) -> bool:
    """Tell whether another ledger's copy knows more: that the start was made, else more changes."""
    if theirs.is_started() != mine.is_started():
        return theirs.state in STARTED
    return theirs.revision > mine.revision


def rows_to_take(known: Known, theirs: Iterable[Row]) -> list[tuple[Row, Row | None]]:
    """Return the rows of another ledger that know more, each with the copy that it replaces."""
    pairs = ((row, known.get(row.uid)) for row in theirs)
    return [(row, mine) for row, mine in pairs if mine is None or is_newer(row, mine)]
