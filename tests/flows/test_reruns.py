"""What typing the same line again means: the table, row by row."""
from __future__ import annotations

import pytest

from rebyte_flows.rows import HOLD, RESUME, REUSE, SETTLE, START, foreign_row, next_move

NOW = 1_000_000.0
MINUTE, HOUR = 60, 3600


def row(state, *, claimed=NOW - 60, delivered=None, kind="task"):
    made = foreign_row("id")
    made.state, made.claimed_at, made.delivered_at, made.kind = state, claimed, delivered, kind
    return made


@pytest.mark.parametrize("earlier, unnamed, named", [
    (None, START, START),
    (row("created", delivered=NOW - 14 * MINUTE), REUSE, REUSE),
    (row("created", delivered=NOW - 16 * MINUTE), START, REUSE),
    (row("settled", delivered=NOW - 1), REUSE, REUSE),
    (row("created"), RESUME, RESUME),
    (row("created", claimed=NOW - 23 * HOUR), RESUME, RESUME),
    (row("created", claimed=NOW - 25 * HOUR), START, RESUME),
    (row("not_sent"), START, START),
    (row("refused"), START, START),
    (row("abandoned"), START, START),
    (row("unknown"), SETTLE, SETTLE),
    (row("unknown", claimed=NOW - 48 * HOUR), SETTLE, SETTLE),
    (row("intent"), SETTLE, SETTLE),
    (row("created", delivered=NOW - 1, kind="follow-up"), START, REUSE),
    (row("created", kind="follow-up"), RESUME, RESUME)])
def test_the_table(earlier, unnamed, named):
    assert next_move(earlier, named=False, again=False, held=False, now=NOW) == unnamed
    assert next_move(earlier, named=True, again=False, held=False, now=NOW) == named
    assert next_move(earlier, named=True, again=True, held=False, now=NOW) == START


def test_an_intent_of_a_live_run_is_waited_for():
    assert next_move(row("intent"), named=False, again=False, held=True, now=NOW) == HOLD
