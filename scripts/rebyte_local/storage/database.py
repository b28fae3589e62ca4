"""One SQLite database per folder; what an answer tells is committed before the answer is sent."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator

from rebyte_local.formats import JsonObject
from rebyte_local.private_files import private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

RESERVE_BYTES = 1024 * 1024
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS workspaces(id TEXT PRIMARY KEY, created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS tasks(number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  workspace TEXT NOT NULL, created INTEGER NOT NULL, visibility TEXT NOT NULL,
  deleted INTEGER NOT NULL DEFAULT 0, rehearsal INTEGER NOT NULL, facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS prompts(number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE, task TEXT NOT NULL, status TEXT NOT NULL, submitted INTEGER NOT NULL,
  completed INTEGER, facts TEXT NOT NULL, outcome TEXT NOT NULL DEFAULT '{}');
CREATE INDEX IF NOT EXISTS prompts_of_task ON prompts(task, number);
CREATE TABLE IF NOT EXISTS events(prompt TEXT NOT NULL, seq INTEGER NOT NULL, line TEXT NOT NULL,
  PRIMARY KEY(prompt, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files(id TEXT PRIMARY KEY, filename TEXT NOT NULL,
  content_type TEXT NOT NULL, size INTEGER);
CREATE TABLE IF NOT EXISTS artifacts(workspace TEXT NOT NULL, name TEXT NOT NULL,
  size INTEGER NOT NULL, content_type TEXT NOT NULL, blob TEXT NOT NULL, source TEXT,
  PRIMARY KEY(workspace, name));
CREATE TABLE IF NOT EXISTS computers(number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL, updated INTEGER NOT NULL,
  facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS webhooks(number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE, url TEXT NOT NULL, created INTEGER NOT NULL,
  active INTEGER NOT NULL DEFAULT 1, failures INTEGER NOT NULL DEFAULT 0, triggered INTEGER,
  facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sessions(task TEXT NOT NULL, program TEXT NOT NULL,
  session TEXT NOT NULL, totals TEXT NOT NULL, PRIMARY KEY(task, program));
"""
# JSON text, because a lone surrogate is valid JSON but no SQLite text.
JSON_COLUMNS = ("facts", "outcome")


class Database:
    """The tables of one folder; rows are dictionaries, JSON columns are merged into them.

    Safe across threads: every statement holds the one lock.
    """

    def __init__(self, folder: str) -> None:
        path = os.path.join(folder, "state.sqlite")
        with open(path, "ab", opener=private):
            pass  # SQLite would make it readable for others
        self._reserve = os.path.join(folder, "reserve")
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            path, check_same_thread=False, isolation_level=None
        )
        self._connection.row_factory = sqlite3.Row
        try:
            # In WAL mode a commit is in the file when it returns, so kill -9 loses nothing.
            # NORMAL leaves out the flush per commit: only a power cut may lose the last moments.
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(SCHEMA)
        except sqlite3.Error:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the database; every later call fails."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock and commit at the end of the block; an exception rolls back."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if (
                    self._connection.in_transaction
                ):  # some errors of SQLite roll back themselves
                    self._connection.execute("ROLLBACK")
                raise

    def write(self, sql: str, *arguments: object) -> int:
        """Run one statement as a transaction; return the number of rows that it changed."""
        with self.transaction() as connection:
            return connection.execute(sql, arguments).rowcount

    def refill_reserve(self) -> None:
        """Hold some of the disk back for `must_write`; a disk that is full already is no error."""
        with contextlib.suppress(OSError), open(
            self._reserve, "xb", opener=private
        ) as file:
            file.write(bytes(RESERVE_BYTES))

    def must_write(self, write: Callable[[], T]) -> T:
        """Call `write`, and once more with the reserve given up when it fails on a full disk."""
        try:
            return write()
        except sqlite3.OperationalError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._reserve)
            return write()

    def rows(self, sql: str, *arguments: object) -> list[JsonObject]:
        """Return all rows of a query."""
        with self._lock:
            return [_record(row) for row in self._connection.execute(sql, arguments)]

    def row(self, sql: str, *arguments: object) -> JsonObject | None:
        """Return the first row of a query, or None."""
        with self._lock:
            row = self._connection.execute(sql, arguments).fetchone()
        return _record(row) if row else None

    def find(self, table: str, row_id: str) -> JsonObject | None:
        """Return the row with this id, or None."""
        return self.row("SELECT * FROM %s WHERE id=?" % table, row_id)

    def page(
        self, selection: str, limit: int, offset: int
    ) -> tuple[list[JsonObject], int]:
        """Return (rows newest first, how many there are) of a table, with its condition if any."""
        query = "SELECT * FROM %s ORDER BY number DESC LIMIT ? OFFSET ?" % selection
        with self._lock:
            counted = self._connection.execute(
                "SELECT count(*) FROM %s" % selection
            ).fetchone()
            return self.rows(query, limit, offset), counted[0]

    def texts(self, limit: int, sql: str, *arguments: object) -> list[str]:
        """Return the first column of a query, until the texts hold more than `limit` characters."""
        texts: list[str] = []
        size = 0
        with self._lock, contextlib.closing(
            self._connection.execute(sql, arguments)
        ) as cursor:
            for row in cursor:
                texts.append(row[0])
                size += len(row[0])
                if size > limit:
                    break
        return texts

    def set_setting(self, name: str, value: object) -> str:
        """Keep one small setting of the folder; return it as the text that is kept."""
        self.write("INSERT OR REPLACE INTO meta VALUES(?,?)", name, str(value))
        return str(value)

    def setting(self, name: str) -> str:
        """Return a setting, "" when it was never set."""
        row = self.row("SELECT value FROM meta WHERE name=?", name)
        return str(row["value"]) if row else ""


def _record(row: sqlite3.Row) -> JsonObject:
    record = dict(row)
    for name in JSON_COLUMNS:
        record.update(json.loads(record.pop(name, "{}")))
    return record
