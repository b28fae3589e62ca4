"""The ledger: a row for each paid start before its first byte leaves, and what came back.

States: claimed -> sent -> created | not_sent | refused | unknown;  unknown -> settled | abandoned.
No key, no signed address and no prompt text is ever kept. One SQLite file, shared by all processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
import time
from contextlib import closing

from rebyte_flows.starting.database import RECORD_SECONDS, Database
from rebyte_flows.starting.kinds import REPLY
from rebyte_flows.starting.merging import rows_to_take
from rebyte_flows.starting.other_ledgers import open_others
from rebyte_flows.starting.rows import (
    CLAIMED,
    COLUMNS,
    NEVER_STARTED,
    NOT_SENT,
    SENT,
    START,
    UNKNOWN,
    Row,
    check_same,
    next_move,
)
from rebyte_flows.starting.table import StartTable, storable
from rebyte_flows.state import Owner, StateFolder, is_alive
from rebyte_wire.errors import GuardRefused, LedgerUnwritable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from rebyte_client import RebyteClient
    from rebyte_flows.starting.guards import Guards
    from rebyte_flows.starting.other_ledgers import OtherLedger
    from rebyte_flows.starting.requests import StartRequest
    from rebyte_wire.requests import Deadline

# Two runs that claimed one line in two ledgers at the same moment try again after a part of this.
RIVAL_PAUSE_SECONDS = 0.3
# A clock does not tell rows apart: some stand still for 16 ms.
UID_BYTES = 12
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


class Ledger(StartTable):
    """The paid starts of one user, seen from one origin and account.

    Written in one state folder; what runs of this user have written in other folders is taken over
    from there. `in_flight` holds the rows that this process is at: False while a start is being
    prepared, True once its bytes may have left. It is the one place that says so.
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
        super().__init__(
            Database(state.file("ledger.db"), deadline), origin, account, clock
        )
        self.state = state
        self.in_flight: dict[int, bool] = {}
        # Folders whose ledger could not be read, with the reason.
        self.unread: dict[str, str] = {}
        self._owner: Owner | None = None
        self._others = open_others(state)
        self._looking = threading.Lock()
        self.take_over()

    def __repr__(self) -> str:
        return "Ledger(%s for %s)" % (self.state.path, self.origin)

    def close(self) -> None:
        """Close the file; a process that still holds rows gives up its owner lock."""
        if self._owner:
            self._owner.close()
        for other in self._others:
            other.close()
        self._database.close()

    # The ledgers in other folders

    def take_over(self) -> None:
        """Take what other runs of this user have written in other folders since the last look.

        A ledger that cannot be read is named in `unread`.
        """
        # The other threads of a batch wait until the news are in this ledger.
        with self._looking:
            for other in self._others:
                self._take_from(other)

    def _take_from(self, other: OtherLedger) -> None:
        self.unread.pop(other.folder, None)
        try:
            rows = other.news()
        except LedgerUnwritable as problem:
            self.unread[other.folder] = problem.message
            return
        if other.is_hidden:
            self.unread[other.folder] = "it may not be read from here"
        try:
            if rows and rows_to_take(self._known(), rows):
                self._merge(rows)
        except BaseException:
            other.forget_look()
            raise

    def _known(self) -> dict[str | None, Row]:
        return {row.uid: row for row in self.rows()}

    def _merge(self, theirs: list[Row]) -> None:
        with self._database.transaction("take over what other folders hold"):
            # Looked at once more: another run may have taken the same rows meanwhile.
            for row, mine in rows_to_take(self._known(), theirs):
                values = {column: getattr(row, column) for column in COLUMNS[1:]}
                if mine is None:
                    self.insert(values)
                else:
                    self.update(mine.id, **values)

    def forget(self, numbers: Iterable[int]) -> int:
        """Remove rows for good, in every folder that can be written, and the replies to their
        tasks; return how many went.

        Open ones stay.
        """
        # Another run may have forgotten some meanwhile.
        found = [self.latest(id=number) for number in numbers]
        rows = [row for row in found if row is not None]
        gone = super().forget(row.id for row in rows)
        for table in self._writable_tables():
            table.forget_copies(rows)
        return gone

    def forget_before(self, moment: float) -> int:
        """Remove the rows older than a moment, in every folder that can be written; return how
        many went.
        """
        gone = super().forget_before(moment)
        for table in self._writable_tables():
            table.forget_before(moment)
        return gone

    def _writable_tables(self) -> Iterator[StartTable]:
        """Yield the ledgers of other folders to remove rows from; those that cannot be written are
        named in `unread`.
        """
        for other in self._others:
            try:
                database = other.open_to_write()
            except LedgerUnwritable as problem:
                self.unread[other.folder] = problem.message
                continue
            if database is not None:
                with closing(database):
                    yield StartTable(database, self.origin, self.account, self.clock)

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
        (the name stands for something else), GuardRefused and LedgerUnwritable; then nothing may
        be started.
        """
        # First: this reads the attached files, which no other run has to wait for.
        request.digest()
        while True:
            self.take_over()
            row, move = self._claim_here(request, name, again, guards)
            if move != START or not self._others:
                return row, move
            try:
                if self._may_go_on(row, guards, request):
                    return row, move
            except BaseException:
                # Nothing was sent: the next try must not wait for this claim.
                self.release(row.id)
                raise
            time.sleep(random.random() * RIVAL_PAUSE_SECONDS)

    def _may_go_on(
        self, row: Row, guards: Guards | None, request: StartRequest
    ) -> bool:
        """Tell whether a claim that stands here is the only one in all folders; if not, withdraw
        it: whoever sees another's gives way.
        """
        self.take_over()
        if self._has_rival(row):
            self._withdraw(row, "another run claimed the same line")
            return False
        self._check_guards_again(row, guards, request)
        return True

    def _claim_here(
        self,
        request: StartRequest,
        name: str | None,
        again: bool,
        guards: Guards | None,
    ) -> tuple[Row, str]:
        with self._database.transaction("record the start in the ledger"):
            earlier = self._drop_stale_claims(request, name)
            if earlier is not None and name and not again:
                check_same(earlier, request, name)
            move = self.move_for(earlier, request, name=name, again=again)
            if move != START and earlier is not None:
                return earlier, move
            if guards is not None:
                guards.check_name(name)
            if guards is not None and request.kind.counts:
                guards.check(1, self.count_today(), self.count_own())
            number = self._insert(request, name, earlier, again)
            self.in_flight[number] = False
            return self.row(number), START

    def _has_rival(self, row: Row) -> bool:
        """Tell whether a claim of the same line came from another folder after this one stood."""
        same = "(digest = ? AND ordinal = ? OR name = ?) AND id > ?"
        found = self._here(same, row.digest, row.ordinal, row.name, row.id)
        return any(other.state not in NEVER_STARTED for other in found)

    def _check_guards_again(
        self, row: Row, guards: Guards | None, request: StartRequest
    ) -> None:
        """Raise GuardRefused when runs in several folders together have passed the limit."""
        if guards is None or not request.kind.counts:
            return
        try:
            guards.check(1, self.count_today() - 1, self.count_own() - 1)
        except GuardRefused:
            self._withdraw(row, "a guard refused it")
            raise

    def _withdraw(self, row: Row, reason: str) -> None:
        self.update(row.id, state=NOT_SENT, reason=reason)
        self.release(row.id)

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
        values = dict(values, uid=values.get("uid") or os.urandom(UID_BYTES).hex())
        sql = "INSERT INTO starts (%s) VALUES (%s)"
        marks = ", ".join("?" * len(values))
        cursor = self._database.execute(
            "record the start in the ledger",
            sql % (", ".join(values), marks),
            tuple(map(storable, values.values())),
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
            (*map(storable, values.values()), number),
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
            self.holder = self._owner.name
        return self._owner.name

    def is_held(self, row: Row) -> bool:
        """Tell whether a live run is at this row; of our own rows, only those in flight."""
        if row.state not in (CLAIMED, SENT) or row.holder is None:
            return False
        # Where no lock can tell, a process of another program may have the number of a dead run.
        is_recent = abs(self.clock() - row.claimed_at) < HOLD_SECONDS
        if self._owner is not None and row.holder == self._owner.name:
            return row.id in self.in_flight
        folders = [self.state, *map(StateFolder, self.state.others)]
        return any(
            is_alive(folder, row.holder, only_by_lock=not is_recent)
            for folder in folders
        )

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
