"""The ledger: a row for each paid start before its first byte leaves, and what came back.

States: claimed -> sent -> created | not_sent | refused | unknown;  unknown -> settled | abandoned.
No key, no signed address and no prompt text is ever kept. One SQLite file, shared by all processes.
"""

from __future__ import annotations

import hashlib
import json
import time

from rebyte_flows.starting.database import RECORD_SECONDS, Database
from rebyte_flows.starting.kinds import COUNTED, REPLY
from rebyte_flows.starting.rows import (
    CLAIMED,
    COLUMNS,
    NEVER_STARTED,
    NOT_SENT,
    OPEN,
    SENT,
    START,
    UNKNOWN,
    Row,
    check_same,
    next_move,
)
from rebyte_flows.state import Owner, is_alive
from rebyte_wire.errors import LedgerUnwritable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from rebyte_client import RebyteClient
    from rebyte_flows.starting.guards import Guards
    from rebyte_flows.starting.requests import StartRequest
    from rebyte_flows.state import StateFolder
    from rebyte_wire.requests import Deadline

DAY_SECONDS = 86_400
# Clocks that agree differ by less; a row further in the future was written under a wrong clock.
CLOCK_TOLERANCE_SECONDS = 60
# No start is prepared and answered for longer.
HOLD_SECONDS = 3600


def account_fingerprint(key: str | None) -> str:
    """Return a mark that tells accounts apart without telling anything of the key."""
    text = "rebyte ledger account:" + (key or "")
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def open_ledger(client: RebyteClient, state: StateFolder) -> Ledger:
    """Return the ledger of a client's origin and account in a state folder."""
    origin = client.base_url[: -len("/v1")]
    return Ledger(
        state, origin, account_fingerprint(client.api_key), deadline=client.deadline
    )


class Ledger:
    """The paid starts that one state folder knows, seen from one origin and account.

    `in_flight` holds the rows that this process is at: False while a start is being prepared, True
    once its bytes may have left. It is the one place that says so.
    """

    def __init__(
        self,
        state: StateFolder,
        origin: str | None,
        account: str | None,
        *,
        deadline: Deadline | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.state = state
        self.origin = origin
        self.account = account
        self.clock = clock
        self.in_flight: dict[int, bool] = {}
        self._owner: Owner | None = None
        self._database = Database(state.file("ledger.db"), deadline)

    def __repr__(self) -> str:
        return "Ledger(%s for %s)" % (self.state.path, self.origin)

    def close(self) -> None:
        """Close the file; a process that still holds rows gives up its owner lock."""
        if self._owner:
            self._owner.close()
        self._database.close()

    # Claiming, sending, recording: one paid start

    def claim(
        self,
        request: StartRequest,
        *,
        name: str | None = None,
        again: bool = False,
        guards: Guards | None = None,
    ) -> tuple[Row, str]:
        """Look at the earlier row of this line and, if it may start, write down the claim, in one
        transaction.

        Returns (the new row, START), or (the earlier row, what to do with it). Raises InputError
        (the name stands for something else), GuardRefused and LedgerUnwritable; then there is no
        new row.
        """
        # First: this reads the attached files, which no other run has to wait for.
        request.digest()
        with self._database.transaction("record the start in the ledger"):
            earlier = self._drop_stale_claims(request, name)
            if earlier is not None and name and not again:
                check_same(earlier, request, name)
            move = self.move_for(earlier, request, name=name, again=again)
            if move != START and earlier is not None:
                return earlier, move
            if guards is not None and request.kind.counts:
                guards.check(1, self.count_today(), self.count_own())
            number = self._insert(request, name, earlier, again)
            self.in_flight[number] = False
            return self.row(number), START

    def move_for(
        self,
        earlier: Row | None,
        request: StartRequest,
        *,
        name: str | None = None,
        again: bool = False,
    ) -> str:
        """Return what typing a line means now, given its earlier row; see rows.next_move.

        Sends nothing.
        """
        return next_move(
            earlier,
            named=bool(name),
            again=again,
            held=earlier is not None and self.is_held(earlier),
            now=self.clock(),
            same=earlier is not None and earlier.digest == request.digest(),
        )

    def _drop_stale_claims(self, request: StartRequest, name: str | None) -> Row | None:
        """Return the earlier row of a line; claims whose run died before a byte left started
        nothing.
        """
        while True:
            row = self.find_previous(request, name)
            if row is None or row.state != CLAIMED or self.is_held(row):
                return row
            self.update(
                row.id, state=NOT_SENT, reason="the run ended before anything was sent"
            )

    def _insert(
        self, request: StartRequest, name: str | None, earlier: Row | None, again: bool
    ) -> int:
        body = request.body
        values = {
            "kind": request.kind.name,
            "origin": self.origin,
            "account": self.account,
            "digest": request.digest(),
            "ordinal": request.ordinal,
            "attempt": earlier.attempt + 1 if earlier else 1,
            "name": name,
            "parts": json.dumps(request.parts()),
            "state": CLAIMED,
            "holder": self.owner(),
            "claimed_at": self.clock(),
            "task_id": request.task_id,
            "workspace_id": body.get("workspaceId"),
            "executor": body.get("executor"),
            "model": body.get("model"),
            "again": 1 if again else None,
        }
        return self.insert(values)

    def insert(self, values: dict[str, Any]) -> int:
        """Write a new row durably and return its number."""
        sql = "INSERT INTO starts (%s) VALUES (%s)"
        marks = ", ".join("?" * len(values))
        cursor = self._database.execute(
            "record the start in the ledger",
            sql % (", ".join(values), marks),
            tuple(map(_storable, values.values())),
        )
        return int(cursor.lastrowid or 0)

    def mark_sent(
        self, number: int, *, prompt_digest: str, known: Iterable[str] = ()
    ) -> None:
        """Write down, durably, that the bytes of a start leave now.

        Raises LedgerUnwritable when they must not: another run took this one for dead.
        """
        cursor = self._database.execute(
            "record the start in the ledger",
            "UPDATE starts SET state = ?, prompt_digest = ?, known = ? "
            "WHERE id = ? AND state IN (?, ?)",
            (SENT, prompt_digest, json.dumps(list(known)), number, CLAIMED, SENT),
        )
        if not cursor.rowcount:
            raise LedgerUnwritable(
                "this run took so long that another one took its start over",
                hint="type the same line again to go on with that",
            )
        # Not before: while the ledger is locked nothing is on its way.
        self.in_flight[number] = True

    def release(self, number: int) -> None:
        """Note that nothing of this row is under way in this process, whatever could be recorded
        of it.
        """
        self.in_flight.pop(number, None)

    @property
    def is_busy(self) -> bool:
        """True while the bytes of at least one start have left and its answer is not in."""
        return any(self.in_flight.copy().values())

    def update(self, number: int, *, least_seconds: float = 0, **values: Any) -> None:
        """Write columns of one row, durably; raises LedgerUnwritable."""
        assignments = ", ".join("%s = ?" % column for column in values)
        self._database.execute(
            "record the answer in the ledger",
            "UPDATE starts SET %s WHERE id = ?" % assignments,
            (*map(_storable, values.values()), number),
            least_seconds=least_seconds,
        )

    def record(self, number: int, **values: Any) -> Row:
        """Write down the outcome of a start, also past the deadline, and return the row."""
        self.update(
            number, least_seconds=RECORD_SECONDS, answered_at=self.clock(), **values
        )
        return self.row(number)

    def owner(self) -> str:
        """Return the name this process holds rows under, taking its lock when first asked."""
        if self._owner is None:
            self._owner = Owner(self.state)
        return self._owner.name

    def is_held(self, row: Row) -> bool:
        """Tell whether a live run is at this row; of our own rows, only those in flight."""
        if row.state not in (CLAIMED, SENT) or row.holder is None:
            return False
        # Where no lock can tell, a process of another program may have the number of a dead run.
        is_recent = abs(self.clock() - row.claimed_at) < HOLD_SECONDS
        if self._owner is not None and row.holder == self._owner.name:
            return row.id in self.in_flight
        return is_recent and is_alive(self.state, row.holder)

    def expire_orphans(self) -> list[Row]:
        """Note what the death of a run left behind; return every row of this account whose outcome
        is unknown.
        """
        for row in self._here(
            "state IN (?, ?) AND kind != ?", CLAIMED, SENT, REPLY.name
        ):
            if not self.is_held(row):
                state = NOT_SENT if row.state == CLAIMED else UNKNOWN
                self.update(
                    row.id, state=state, reason="the run ended before the answer came"
                )
        return self._here("state = ?", UNKNOWN)

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
        found = self.rows(where, tuple(map(_storable, columns.values())), newest=1)
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
            newest=1,
        )
        return found[0] if found else None

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
        return 0 if self._owner is None else self._count("holder = ?", self._owner.name)

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

    def forget_before(self, moment: float) -> int:
        """Remove the rows older than a moment, and the replies to their tasks; return how many
        went.
        """
        return self._forget("claimed_at < ?", moment)

    def _forget(self, condition: str, value: float) -> int:
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


def _storable(value: Any) -> Any:
    """Return a value that SQLite takes: a text without half surrogates."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    return value
