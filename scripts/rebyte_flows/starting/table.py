"""The table of starts in a ledger: its rows looked up, counted and forgotten."""

from __future__ import annotations

import time

from rebyte_flows.starting.kinds import COUNTED, REPLY
from rebyte_flows.starting.rows import (
    COLUMNS,
    NEVER_STARTED,
    NOT_SENT,
    OPEN,
    SENT,
    UNKNOWN,
    Row,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from rebyte_flows.starting.database import Database
    from rebyte_flows.starting.requests import StartRequest

DAY_SECONDS = 86_400
# Clocks that agree differ by less; a row further in the future was written under a wrong clock.
CLOCK_TOLERANCE_SECONDS = 60


class StartTable:
    """The paid starts that one file knows, seen from one origin and account.

    `holder` is the name under which this process holds rows, None while it holds none.
    """

    def __init__(
        self,
        database: Database,
        origin: str | None,
        account: str | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.origin = origin
        self.account = account
        self.clock = clock
        self.holder: str | None = None
        self._database = database

    def __repr__(self) -> str:
        return "StartTable(%r for %s)" % (self._database, self.origin)

    # Looking

    def rows(
        self, where: str = "1", values: Sequence[Any] = (), *, newest: int | None = None
    ) -> list[Row]:
        """Return rows that fit a condition, oldest first; `newest` keeps that many of them."""
        order = "id" if newest is None else "id DESC LIMIT %d" % newest
        sql = "SELECT %s FROM starts WHERE %s ORDER BY %s"
        found = self._database.query(sql % (", ".join(COLUMNS), where, order), values)
        rows = [Row(columns) for columns in found]
        return rows if newest is None else rows[::-1]

    def latest(self, **columns: Any) -> Row | None:
        """Return the latest row with these values, or None."""
        where = " AND ".join("%s = ?" % column for column in columns)
        found = self.rows(where, tuple(map(storable, columns.values())), newest=1)
        return found[0] if found else None

    def row(self, number: int) -> Row:
        """Return one row by its number, which exists."""
        row = self.latest(id=number)
        assert row is not None
        return row

    def find_previous(
        self, request: StartRequest, name: str | None = None
    ) -> Row | None:
        """Return the latest row of the same line here (by name when one is given) that may have
        started something.
        """
        if name:
            return self.named(name)
        return self._started_here(
            "digest = ? AND ordinal = ?", request.digest(), request.ordinal
        )

    def named(self, name: str) -> Row | None:
        """Return the latest row that `--once NAME` made here and that may have started something,
        or None.
        """
        return self._started_here("name = ?", name)

    def _started_here(self, condition: str, *values: Any) -> Row | None:
        marks = ", ".join("?" * len(NEVER_STARTED))
        found = self._here(
            "%s AND state NOT IN (%s)" % (condition, marks),
            *values,
            *NEVER_STARTED,
        )
        # A row that was taken over from another folder is not the latest for its number.
        return max(found, key=lambda row: (row.attempt, row.id)) if found else None

    def _here(
        self, condition: str, *values: Any, newest: int | None = None
    ) -> list[Row]:
        where = condition + " AND origin = ? AND account = ?"
        found: list[Row] = self.rows(
            where, (*values, self.origin, self.account), newest=newest
        )
        return found

    def find_task(self, task_id: str) -> Row | None:
        """Return the row that started this task, or None."""
        return self.latest(task_id=task_id, kind="task")

    def find_computer(self, computer_id: str) -> Row | None:
        """Return the row that started this computer, or None."""
        return self.latest(task_id=computer_id, kind="computer")

    def find_start(self, id: str) -> Row | None:
        """Return the row that started this task or computer, or None."""
        return self.find_task(id) or self.find_computer(id)

    def find_prompt(self, task_id: str, prompt_id: str) -> Row | None:
        """Return the row that started this turn of a task, or None."""
        found = self.rows(
            "task_id = ? AND prompt_id = ? AND kind != ?",
            (task_id, prompt_id, REPLY.name),
            newest=1,
        )
        return found[0] if found else None

    def answered(self, task_id: str) -> set[str]:
        """Return the message ids of the questions of a task that were surely answered from here."""
        rows = self.rows(
            "task_id = ? AND kind = ? AND state NOT IN (?, ?)",
            (task_id, REPLY.name, SENT, NOT_SENT),
        )
        return {row.message_id for row in rows if row.message_id}

    def started_tasks(self) -> list[Row]:
        """Return the rows of this origin and account whose task is known, oldest first."""
        return self._here("kind = 'task' AND task_id IS NOT NULL")

    def with_prefix(self, prefix: str) -> list[str]:
        """Return the ids of tasks in this ledger that begin with a prefix."""
        sql = "SELECT DISTINCT task_id FROM starts WHERE substr(task_id, 1, ?) = ?"
        return [
            id for (id,) in self._database.query(sql, (len(prefix), prefix.lower()))
        ]

    def known_ids(self) -> set[str]:
        """Return every task id and prompt id that belongs to a start of known outcome."""
        sql = "SELECT task_id, prompt_id FROM starts WHERE state != ? AND kind != ?"
        pairs = self._database.query(sql, (UNKNOWN, REPLY.name))
        return {id for pair in pairs for id in pair if id}

    # Counting and forgetting

    def count_today(self) -> int:
        """Return how many new tasks and computers may have been started at this origin in 24 hours.

        Those of unknown outcome count; those that were surely not started do not.
        """
        now = self.clock()
        return self._count(
            "claimed_at BETWEEN ? AND ? AND origin = ?",
            now - DAY_SECONDS,
            now + CLOCK_TOLERANCE_SECONDS,
            self.origin,
        )

    def count_own(self) -> int:
        """Return how many new tasks and computers this process may have started."""
        return 0 if self.holder is None else self._count("holder = ?", self.holder)

    def _count(self, condition: str, *values: Any) -> int:
        sql = "SELECT count(*) FROM starts WHERE %s AND kind IN (%s) AND state NOT IN (%s)"
        kinds = ", ".join("?" * len(COUNTED))
        states = ", ".join("?" * len(NEVER_STARTED))
        found = self._database.query(
            sql % (condition, kinds, states), (*values, *COUNTED, *NEVER_STARTED)
        )
        return int(found[0][0])

    def count_all(self) -> int:
        """Return how many starts the ledger has, replies left out."""
        sql = "SELECT count(*) FROM starts WHERE kind != ?"
        return int(self._database.query(sql, (REPLY.name,))[0][0])

    def forget(self, numbers: Iterable[int]) -> int:
        """Remove rows for good, and the replies to their tasks; return how many went.

        Open ones stay.
        """
        return sum(self._forget("id = ?", number) for number in numbers)

    def forget_copies(self, rows: Iterable[Row]) -> None:
        """Remove the copies of rows of another ledger for good; open ones stay."""
        for row in rows:
            self._forget("uid = ?", row.uid or "")

    def forget_before(self, moment: float) -> int:
        """Remove the rows older than a moment, and the replies to their tasks; return how many
        went.
        """
        return self._forget("claimed_at < ?", moment)

    def _forget(self, condition: str, value: float | str) -> int:
        closed = "%s AND kind != 'reply' AND state NOT IN ('%s')" % (
            condition,
            "', '".join(OPEN),
        )
        replies = (
            "DELETE FROM starts WHERE kind = 'reply' AND task_id IN "
            "(SELECT task_id FROM starts WHERE %s)" % closed
        )
        what = "forget rows of the ledger"
        with self._database.transaction(what):
            self._database.execute(what, replies, (value,))
            gone = self._database.execute(
                what, "DELETE FROM starts WHERE " + closed, (value,)
            )
            return gone.rowcount


def storable(value: Any) -> Any:
    """Return a value that SQLite takes: a text without half surrogates."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return value
