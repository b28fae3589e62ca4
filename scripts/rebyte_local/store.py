"""State in SQLite: one connection, one lock, committed before anything is answered; and times as the service writes them."""
from __future__ import annotations

import os
import sqlite3
import threading
import time

MICROSECONDS = 1000000
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS workspaces(id TEXT PRIMARY KEY, created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS tasks(number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  workspace TEXT NOT NULL, created INTEGER NOT NULL, visibility TEXT NOT NULL, deleted INTEGER NOT NULL DEFAULT 0,
  rehearsal INTEGER NOT NULL, facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS prompts(number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  task TEXT NOT NULL, status TEXT NOT NULL, submitted INTEGER NOT NULL, completed INTEGER, facts TEXT NOT NULL,
  outcome TEXT NOT NULL DEFAULT '{}');
CREATE INDEX IF NOT EXISTS prompts_of_task ON prompts(task, number);
CREATE TABLE IF NOT EXISTS files(id TEXT PRIMARY KEY, filename TEXT NOT NULL, content_type TEXT NOT NULL, size INTEGER);
CREATE TABLE IF NOT EXISTS artifacts(workspace TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
  content_type TEXT NOT NULL, blob TEXT NOT NULL, source TEXT, PRIMARY KEY(workspace, name));
CREATE TABLE IF NOT EXISTS computers(number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  created INTEGER NOT NULL, updated INTEGER NOT NULL, facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS webhooks(number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, url TEXT NOT NULL,
  created INTEGER NOT NULL, active INTEGER NOT NULL DEFAULT 1, failures INTEGER NOT NULL DEFAULT 0, triggered INTEGER,
  facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS processes(pid INTEGER PRIMARY KEY, born TEXT NOT NULL);
"""


def now_us():
    """The present, in microseconds since 1970."""
    return time.time_ns() // 1000


def _seconds_text(moment_us):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment_us // MICROSECONDS))


def short_form(moment_us):
    """The form of create's answer: 2026-01-28T12:00:00.000Z."""
    return "%s.%03dZ" % (_seconds_text(moment_us), moment_us % MICROSECONDS // 1000)


def long_form(moment_us):
    """The form of everything read later: 2026-01-28T12:00:00.000000+00:00, or None."""
    if moment_us is None:
        return None
    return "%s.%06d+00:00" % (_seconds_text(moment_us), moment_us % MICROSECONDS)


class Store:
    """The database of one folder; safe across threads, since every statement holds the one lock."""

    def __init__(self, folder):
        path = os.path.join(folder, "state.sqlite")
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        # In WAL mode a commit is in the file before it is answered, so kill -9 loses nothing; NORMAL leaves out the
        # disk flush per commit, so a power cut may lose the last moments of a rehearsal, and only those.
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(SCHEMA)
        except sqlite3.Error:
            self._connection.close()
            raise

    def __repr__(self):
        return "Store()"

    def close(self):
        """Close the database; every later call fails."""
        with self._lock:
            self._connection.close()

    def write(self, *statements):
        """Run (sql, arguments) pairs as one transaction; gives the row counts."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                counts = [self._connection.execute(sql, arguments).rowcount for sql, arguments in statements]
                self._connection.execute("COMMIT")
                return counts
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    def rows(self, sql, *arguments):
        """All rows of a query."""
        with self._lock:
            return self._connection.execute(sql, arguments).fetchall()

    def row(self, sql, *arguments):
        """The first row of a query, or None."""
        with self._lock:
            return self._connection.execute(sql, arguments).fetchone()

    def remember(self, name, value):
        """Keep one small setting of the folder."""
        self.write(("INSERT OR REPLACE INTO meta VALUES(?,?)", (name, str(value))))

    def recall(self, name, make=None):
        """A setting; when it is missing and `make` is given, what that makes is kept."""
        row = self.row("SELECT value FROM meta WHERE name=?", name)
        if row is None and make is not None:
            self.remember(name, make())
            return self.recall(name)
        return row["value"] if row else None
