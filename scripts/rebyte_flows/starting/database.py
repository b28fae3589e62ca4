"""The SQLite file behind the ledger: made private, migrated, and patient with other writers up to
a limit.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
import urllib.parse
from contextlib import contextmanager, suppress

try:
    import sqlite3
except ImportError:  # some small Pythons are built without it
    sqlite3 = None  # type: ignore[assignment]

from rebyte_wire.errors import LedgerUnwritable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TypeVar

    from rebyte_wire.requests import Deadline

    T = TypeVar("T")

SCHEMA_VERSION = 4
BUSY_SECONDS = 30
BUSY_PAUSE_SECONDS = 0.05
READ_TIMEOUT_SECONDS = 1
# An answer that was paid for is written down even when the slice is over.
RECORD_SECONDS = 20
FILE_MODE = 0o600
DAMAGE = ("malformed", "not a database", "no such table", "no such column")
LOCKED = ("locked", "busy")
# How SQLite says that a mount cannot map the shared memory that WAL needs.
NO_WAL = ("disk i/o error", "unable to open", "locking protocol", "not supported")
SCHEMA = """
CREATE TABLE IF NOT EXISTS starts (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, origin TEXT NOT NULL, account TEXT NOT NULL,
  digest TEXT NOT NULL, ordinal INTEGER NOT NULL, attempt INTEGER NOT NULL, name TEXT,
  parts TEXT NOT NULL, prompt_digest TEXT, state TEXT NOT NULL, holder TEXT,
  claimed_at REAL NOT NULL, answered_at REAL, delivered_at REAL, task_id TEXT,
  workspace_id TEXT, prompt_id TEXT, url TEXT, executor TEXT, model TEXT, known TEXT,
  reason TEXT, status TEXT, again INTEGER, message_id TEXT,
  revision INTEGER NOT NULL DEFAULT 1, uid TEXT);
CREATE INDEX IF NOT EXISTS by_digest ON starts (digest, ordinal);
CREATE INDEX IF NOT EXISTS by_name ON starts (name) WHERE name IS NOT NULL;
CREATE INDEX IF NOT EXISTS by_task ON starts (task_id);
CREATE INDEX IF NOT EXISTS by_time ON starts (claimed_at);
DROP INDEX IF EXISTS open_rows;
CREATE INDEX IF NOT EXISTS by_open_state ON starts (state)
  WHERE state IN ('claimed', 'sent', 'unknown')
"""
# Copies of a row in the ledgers of several folders are told apart by how often each was changed.
COUNT_REVISIONS = """
CREATE TRIGGER IF NOT EXISTS count_revisions AFTER UPDATE ON starts
WHEN NEW.revision = OLD.revision BEGIN
  UPDATE starts SET revision = OLD.revision + 1 WHERE id = OLD.id;
END
"""
# What turns a file of an older version into one of the next: version -> statements.
MIGRATIONS = {
    1: (
        "ALTER TABLE starts ADD COLUMN again INTEGER",
        "ALTER TABLE replies ADD COLUMN digest TEXT",
        "ALTER TABLE replies ADD COLUMN prompt_id TEXT",
        "ALTER TABLE replies ADD COLUMN delivered_at REAL",
        "ALTER TABLE replies ADD COLUMN open INTEGER",
    ),
    2: (
        "ALTER TABLE starts ADD COLUMN message_id TEXT",
        "UPDATE starts SET state = 'sent' WHERE state = 'intent'",
        "INSERT INTO starts (kind, origin, account, digest, ordinal, attempt, parts, state, "
        "claimed_at, delivered_at, task_id, prompt_id, message_id) "
        "SELECT 'reply', '', '', coalesce(digest, ''), 0, 1, '{}', "
        "CASE WHEN open IS NULL THEN 'created' ELSE 'sent' END, "
        "0, delivered_at, task_id, prompt_id, message_id FROM replies",
        "DROP TABLE replies",
    ),
    3: (
        "ALTER TABLE starts ADD COLUMN revision INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE starts ADD COLUMN uid TEXT",
        # Not by chance: each copy of the file gives its rows the same ones.
        "UPDATE starts SET uid = kind || ' ' || digest || ' ' || ordinal || ' ' || claimed_at "
        "|| ' ' || coalesce(holder, '') || ' ' || coalesce(message_id, '')",
    ),
}


class Database:
    """One SQLite file, shared by the threads of this process and by other processes.

    Waiting for another writer ends with the deadline and can be interrupted; every failure is
    LedgerUnwritable.
    """

    def __init__(self, path: str, deadline: Deadline | None = None) -> None:
        if sqlite3 is None:
            raise LedgerUnwritable(
                "this Python (%s) has no sqlite3, so a paid start could not be recorded"
                % sys.executable,
                hint="use a Python with sqlite3; Debian: the python3 package has it",
            )
        self.path = path
        self.deadline = deadline
        # A transaction of one thread must not be cut into by another one's statement.
        self._lock = threading.RLock()
        with map_exceptions("open the ledger"):
            _create_private(path)
            self._connection = sqlite3.connect(
                path, timeout=0, isolation_level=None, check_same_thread=False
            )
        try:
            self._patiently("open the ledger", self._prepare)
        except BaseException:
            self._connection.close()
            raise

    def __repr__(self) -> str:
        return "Database(%r)" % self.path

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows that a SELECT finds."""
        return self._patiently(
            "read the ledger", lambda: self._connection.execute(sql, values).fetchall()
        )

    def execute(
        self,
        what: str,
        sql: str,
        values: Sequence[Any] = (),
        *,
        least_seconds: float = 0,
    ) -> sqlite3.Cursor:
        """Run one statement durably; `what` says in a failure's message what could not be done.

        Another writer is waited for until the deadline, and for `least_seconds` in any case.
        """
        return self._patiently(
            what,
            lambda: self._connection.execute(sql, values),
            least_seconds=least_seconds,
        )

    @contextmanager
    def transaction(self, what: str) -> Iterator[None]:
        """Commit what is done inside, or nothing of it; no other process writes meanwhile."""
        with self._lock, map_exceptions(what):
            self._patiently(what, lambda: self._connection.execute("BEGIN IMMEDIATE"))
            try:
                yield
                self._patiently(what, lambda: self._connection.execute("COMMIT"))
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _patiently(
        self, what: str, work: Callable[[], T], *, least_seconds: float = 0
    ) -> T:
        """Do something that another writer may be in the way of; it is tried until the time is
        over.
        """
        until = time.monotonic() + max(self._patience(), least_seconds)
        while True:
            try:
                with self._lock, map_exceptions(what):
                    return work()
            except LedgerUnwritable as problem:
                if problem.code != "ledger_locked" or time.monotonic() >= until:
                    raise
            time.sleep(BUSY_PAUSE_SECONDS)

    def _patience(self) -> float:
        left = self.deadline.left() if self.deadline else None
        return BUSY_SECONDS if left is None else min(left, BUSY_SECONDS)

    def _prepare(self) -> None:
        """Choose the journal, and bring the tables to this version."""
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError as problem:
            if not _says(problem, NO_WAL):
                raise
            self._connection.execute("PRAGMA journal_mode=DELETE")
        # Each commit reaches the disk, so a start that was sent outlives a power cut.
        self._connection.execute("PRAGMA synchronous=FULL")
        if self._version() != SCHEMA_VERSION:
            with self.transaction("open the ledger"):
                self._migrate()

    def _version(self) -> int:
        found: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        return found

    def _migrate(self) -> None:
        # Asked again inside the transaction: another process may have been faster.
        version = self._version()
        if version > SCHEMA_VERSION:
            raise LedgerUnwritable(
                "the ledger was written by a newer version of this bundle (%d > %d)"
                % (version, SCHEMA_VERSION),
                hint="update this bundle",
            )
        # A new file has version 0 and gets its tables as they are now.
        for older in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
            for statement in MIGRATIONS[older]:
                self._connection.execute(statement)
        for statement in (*SCHEMA.split(";"), COUNT_REVISIONS):
            self._connection.execute(statement)
        self._connection.execute("PRAGMA user_version=%d" % SCHEMA_VERSION)


def open_to_read(path: str) -> sqlite3.Connection:
    """Return a connection that only reads, to a file that is there; raises what SQLite raises."""
    return sqlite3.connect(
        "file:%s?mode=ro" % urllib.parse.quote(path),
        timeout=READ_TIMEOUT_SECONDS,
        uri=True,
        check_same_thread=False,
    )


@contextmanager
def map_exceptions(what: str) -> Iterator[None]:
    """Turn what SQLite and the disk say into a LedgerUnwritable that a caller can act on."""
    try:
        yield
    except (
        OSError,
        ValueError,
        OverflowError,
        getattr(sqlite3, "Error", OSError),
    ) as problem:
        raise _unwritable(what, problem) from problem


def _unwritable(what: str, problem: Exception) -> LedgerUnwritable:
    """Return the error for a problem, with the remedy that fits it."""
    message = "cannot %s: %s" % (what, problem)
    if _says(problem, LOCKED):
        return LedgerUnwritable(
            message,
            code="ledger_locked",
            retryable=True,
            hint="another program holds the ledger's file; end it, or type the same line again",
        )
    if _says(problem, DAMAGE):
        return LedgerUnwritable(
            message,
            hint="it is damaged: move ledger.db away from the state folder, "
            "and what it knew with it",
        )
    return LedgerUnwritable(
        message,
        hint="free some space or point REBYTE_STATE_DIR at a folder that can be written",
    )


def _says(problem: Exception, words: Sequence[str]) -> bool:
    """Tell whether an error's message holds one of some words; SQLite has no better way before
    3.11.
    """
    text = str(problem).lower()
    return any(word in text for word in words)


def _create_private(path: str) -> None:
    """Make the file for its owner alone, whatever the umask is; refuse one that is a link to
    elsewhere.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
    except FileExistsError:
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            raise LedgerUnwritable(
                "cannot open the ledger: %s is a link or no plain file" % path,
                hint="move it away from the state folder",
            ) from None
        if stat.S_IMODE(mode) != FILE_MODE:
            # Some mounts know no modes and refuse to change them.
            with suppress(OSError):
                os.chmod(path, FILE_MODE)
