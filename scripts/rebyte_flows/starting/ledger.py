"""The ledger: a row for each paid start before its first byte leaves, and what came back.

States: intent -> created | not_sent | refused | unknown;  unknown -> settled | abandoned.
No key, no signed address and no prompt text is ever kept. One SQLite file, shared by all processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from contextlib import contextmanager

try:
    import sqlite3
except ImportError:  # some small Pythons are built without it
    sqlite3 = None

from rebyte_flows.starting.rows import COLUMNS, NEVER_STARTED, Row
from rebyte_flows.state import Owner, is_alive
from rebyte_wire.errors import LedgerUnwritable

BUSY_SECONDS = 30
SCHEMA_VERSION = 2
DAY_SECONDS = 86_400
DAMAGE = ("malformed", "not a database", "no such table", "no such column")
SCHEMA = """
CREATE TABLE IF NOT EXISTS starts (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, origin TEXT NOT NULL, account TEXT NOT NULL, digest TEXT NOT NULL,
  ordinal INTEGER NOT NULL, attempt INTEGER NOT NULL, name TEXT, parts TEXT NOT NULL, prompt_digest TEXT, state TEXT NOT NULL,
  holder TEXT, claimed_at REAL NOT NULL, answered_at REAL, delivered_at REAL, task_id TEXT, workspace_id TEXT, prompt_id TEXT,
  url TEXT, executor TEXT, model TEXT, known TEXT, reason TEXT, status TEXT,
  again INTEGER);
CREATE INDEX IF NOT EXISTS by_digest ON starts (digest, ordinal);
CREATE INDEX IF NOT EXISTS by_name ON starts (name) WHERE name IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_task ON starts (task_id);
CREATE INDEX IF NOT EXISTS by_time ON starts (claimed_at);
CREATE INDEX IF NOT EXISTS open_rows ON starts (state) WHERE state IN ('intent', 'unknown');
CREATE TABLE IF NOT EXISTS replies (task_id TEXT, message_id TEXT, digest TEXT, prompt_id TEXT, delivered_at REAL,
  open INTEGER, PRIMARY KEY (task_id, message_id));
"""
# What version 1 lacked.
ADDED_COLUMNS = (
    "ALTER TABLE starts ADD COLUMN again INTEGER",
    "ALTER TABLE replies ADD COLUMN digest TEXT",
    "ALTER TABLE replies ADD COLUMN prompt_id TEXT",
    "ALTER TABLE replies ADD COLUMN delivered_at REAL",
    "ALTER TABLE replies ADD COLUMN open INTEGER",
)
STARTED = " AND state NOT IN (%s)" % ", ".join(map(repr, NEVER_STARTED))


def account_fingerprint(key):
    """Return a mark that tells accounts apart without telling anything of the key."""
    return hashlib.sha256(
        b"rebyte ledger account:" + (key or "").encode("utf-8", "replace")
    ).hexdigest()[:12]


def open_ledger(client, state):
    """Return the ledger of a client's origin and account in a state folder."""
    return Ledger(state, client.base_url[: -len("/v1")], account_fingerprint(client.api_key))


class Ledger:
    """The book of paid starts in one state folder, seen from one origin and account."""

    def __init__(self, state, origin, account, *, clock=time.time):
        if sqlite3 is None:
            raise LedgerUnwritable(
                "this Python (%s) has no sqlite3, so a paid start could not be recorded"
                % sys.executable,
                hint="use a Python with sqlite3; Debian: the python3 package has it",
            )
        self.state, self.origin, self.account, self.clock = state, origin, account, clock
        self._owner, self._in_air = None, set()
        # One connection, many threads of a batch: a transaction must not be cut into by a neighbour.
        self._lock = threading.RLock()
        with _map_exceptions("open the ledger"):
            self._db = sqlite3.connect(
                state.file("ledger.db"),
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._prepare_patiently()
            except BaseException:
                self._db.close()
                raise

    def __repr__(self):
        return "Ledger(%s for %s)" % (self.state.path, self.origin)

    def _prepare_patiently(self):
        """Two runs may make the file at the same moment; switching to WAL does not wait by itself."""
        until = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return self._prepare()
            except sqlite3.OperationalError as problem:
                if "locked" not in str(problem) or time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def _prepare(self):
        os.chmod(self.state.file("ledger.db"), 0o600)
        # WAL with FULL syncs each commit, so an intent outlives a power cut.
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        version = self._version()
        if version > SCHEMA_VERSION:
            raise LedgerUnwritable(
                "the ledger was written by a newer version of this bundle (%d > %d)"
                % (version, SCHEMA_VERSION),
                hint="update this bundle, or point REBYTE_STATE_DIR at another folder",
            )
        if version < SCHEMA_VERSION:
            with self._transaction():
                # Another run may have been faster.
                version = self._version()
                for line in SCHEMA.split(";") + list(ADDED_COLUMNS if version == 1 else ()):
                    self._db.execute(line)
                self._db.execute("PRAGMA user_version=%d" % SCHEMA_VERSION)

    def _version(self):
        return self._db.execute("PRAGMA user_version").fetchone()[0]

    @contextmanager
    def _transaction(self):
        """Commit what is done inside, or nothing of it; no other process writes meanwhile."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def close(self):
        """Close the file; a run that still holds rows gives up its owner lock."""
        if self._owner:
            self._owner.close()
        self._db.close()

    def owner(self):
        """Return the name this process holds rows under, taking the lock when first asked."""
        with self._lock, _map_exceptions("record in the ledger who runs"):
            if self._owner is None:
                self._owner = Owner(self.state)
            return self._owner.name

    def rows(self, where="1", values=(), *, newest=None):
        """Return rows that fit a condition, oldest first; `newest` keeps that many of the latest."""
        text = "SELECT %s FROM starts WHERE %s ORDER BY id%s" % (
            ", ".join(COLUMNS),
            where,
            "" if newest is None else " DESC LIMIT %d" % newest,
        )
        found = [Row(values) for values in self.ask(text, values)]
        return found if newest is None else found[::-1]

    def ask(self, text, values=()):
        """Return the rows that a query finds."""
        with self._lock, _map_exceptions("read the ledger"):
            return self._db.execute(text, values).fetchall()

    def row(self, number):
        """Return one row by its number, or None."""
        return self._latest("id = ?", number)

    def _latest(self, condition, *values):
        found = self.rows(condition, values, newest=1)
        return found[0] if found else None

    def earlier(self, order, name=None):
        """Return the latest row of the same line here (by name when one is given) that may have started something, or None."""
        if name:
            return self.named(name)
        return self._latest(
            "digest = ? AND ordinal = ? AND origin = ? AND account = ?" + STARTED,
            order.digest(),
            order.ordinal,
            self.origin,
            self.account,
        )

    def claim(self, order, name, *, prompt_digest, known=(), again=False, may_start, limits):
        """Commit the intent to start, in one transaction with the look at earlier rows and the guards.

        `may_start(row or None)` decides on the latest row; `limits(count)` raises when this day's count is spent.
        Returns the number of the new row, or None when `may_start` said no. Raises LedgerUnwritable.
        """
        holder = self.owner()
        with self._lock, _map_exceptions("record the start in the ledger"), self._transaction():
            row = self.earlier(order, name)
            if not may_start(row):
                return None
            limits(self.count_today())
            number = self._insert(order, name, row, prompt_digest, known, holder, again)
            self._in_air.add(number)
        return number

    def _insert(self, order, name, row, prompt_digest, known, holder, again):
        values = dict(
            kind=order.kind,
            origin=self.origin,
            account=self.account,
            digest=order.digest(),
            ordinal=order.ordinal,
            attempt=row.attempt + 1 if row else 1,
            name=name,
            parts=json.dumps(order.parts()),
            prompt_digest=prompt_digest,
            state="intent",
            holder=holder,
            claimed_at=self.clock(),
            task_id=order.task_id,
            workspace_id=order.fields.get("workspace_id"),
            executor=order.fields.get("executor"),
            model=order.fields.get("model"),
            known=json.dumps(list(known)),
            again=1 if again else None,
        )
        text = "INSERT INTO starts (%s) VALUES (%s)" % (
            ", ".join(values),
            ", ".join("?" * len(values)),
        )
        return self._db.execute(text, tuple(values.values())).lastrowid

    def note(self, number, **values):
        """Write columns of one row, durably; raises LedgerUnwritable."""
        text = "UPDATE starts SET %s WHERE id = ?" % ", ".join(
            "%s = ?" % column for column in values
        )
        self.write("record the answer in the ledger", text, tuple(values.values()) + (number,))

    def write(self, what, text, values):
        """Do one thing to the file, durably; `what` is for the message of the LedgerUnwritable that a refusal raises."""
        with self._lock, _map_exceptions(what):
            self._db.execute(text, values)

    def count_today(self):
        """Return how many new tasks and computers may have been started at this origin in 24 hours, unknown ones included."""
        return self.ask(
            "SELECT count(*) FROM starts WHERE claimed_at >= ? AND origin = ? AND kind IN ('task', 'computer') "
            "AND state IN ('intent', 'created', 'unknown', 'settled')",
            (self.clock() - DAY_SECONDS, self.origin),
        )[0][0]

    def count_all(self):
        """Return how many rows the ledger has."""
        return self.ask("SELECT count(*) FROM starts")[0][0]

    def is_held(self, row):
        """Tell whether a live run is at this row just now; of our own rows, only those that are in the air."""
        if self._owner is not None and row.holder == self._owner.name:
            return row.id in self._in_air
        return row.holder is not None and is_alive(self.state, row.holder)

    def land(self, number):
        """Note that nothing of this row is in the air any more, whatever could be recorded of it."""
        with self._lock:
            self._in_air.discard(number)

    def expire_orphans(self):
        """Turn intents whose run died into unknown ones; return every open row of this origin and account."""
        for row in self._here("state = 'intent'"):
            if not self.is_held(row):
                self.note(
                    row.id,
                    state="unknown",
                    reason="the run ended before the answer came",
                    holder=None,
                )
        return self._here("state = 'unknown'")

    def _here(self, condition):
        return self.rows(
            "%s AND origin = ? AND account = ?" % condition, (self.origin, self.account)
        )

    def known_ids(self):
        """Return every task id and prompt id this ledger holds, as a set."""
        return {
            word
            for pair in self.ask("SELECT task_id, prompt_id FROM starts WHERE state != 'unknown'")
            for word in pair
            if word
        }

    def find_task(self, task_id):
        """Return the row that started this task, or None."""
        return self._latest("task_id = ? AND kind = 'task'", task_id)

    def find_computer(self, computer_id):
        """Return the row that started this computer, or None."""
        return self._latest("task_id = ? AND kind = 'computer'", computer_id)

    def find_start(self, id):
        """Return the row that started this task or computer, or None."""
        return self.find_task(id) or self.find_computer(id)

    def started_tasks(self):
        """Return the rows of this origin and account whose task is known, oldest first."""
        return self._here("kind = 'task' AND task_id IS NOT NULL")

    def find_prompt(self, task_id, prompt_id):
        """Return the row that started this turn of a task, or None."""
        return self._latest("task_id = ? AND prompt_id = ?", task_id, prompt_id)

    def named(self, name):
        """Return the latest row that `--once NAME` made here and that may have started something, or None."""
        return self._latest(
            "name = ? AND origin = ? AND account = ?" + STARTED, name, self.origin, self.account
        )

    def with_prefix(self, prefix):
        """Return the ids of tasks in this ledger that begin with a prefix of six or more characters."""
        found = self.ask(
            "SELECT DISTINCT task_id FROM starts WHERE substr(task_id, 1, ?) = ?",
            (len(prefix), prefix.lower()),
        )
        return [word for (word,) in found]

    def forget(self, numbers):
        """Remove rows for good, and the replies to their tasks; return how many went. Open ones stay."""
        return sum(self._forget("id = ?", number) for number in numbers)

    def forget_before(self, moment):
        """Remove the rows older than a moment for good, and the replies to their tasks; return how many went. Open ones stay."""
        return self._forget("claimed_at < ?", moment)

    def _forget(self, condition, value):
        closed = "%s AND state NOT IN ('intent', 'unknown')" % condition
        with self._lock, _map_exceptions("forget rows of the ledger"), self._transaction():
            self._db.execute(
                "DELETE FROM replies WHERE task_id IN (SELECT task_id FROM starts WHERE %s)"
                % closed,
                (value,),
            )
            return self._db.execute("DELETE FROM starts WHERE " + closed, (value,)).rowcount

    def replies(self, task_id):
        """Return the message ids of questions of this task that were surely answered from here."""
        return {
            word
            for (word,) in self.ask(
                "SELECT message_id FROM replies WHERE task_id = ? AND open IS NULL", (task_id,)
            )
        }


@contextmanager
def _map_exceptions(what):
    """Translate what SQLite and the disk say into one error that a caller can act on."""
    try:
        yield
    except (OSError, ValueError, OverflowError, getattr(sqlite3, "Error", OSError)) as problem:
        damaged = any(word in str(problem) for word in DAMAGE)
        raise LedgerUnwritable(
            "cannot %s: %s" % (what, problem),
            hint="it is damaged: move ledger.db away from the state folder, and what it knew with it"
            if damaged
            else "free some space or point REBYTE_STATE_DIR at a folder that can be written",
        ) from problem
