"""State in SQLite, committed before anything is answered: tasks and prompts as rows, and times as the service writes them."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import uuid

MICROSECONDS = 1000000
TITLE_CHARS = 80
OPEN = ("pending", "running")
TASK_WORDS = {"succeeded": "completed", "failed": "failed", "canceled": "canceled"}
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
    return (
        None
        if moment_us is None
        else "%s.%06d+00:00" % (_seconds_text(moment_us), moment_us % MICROSECONDS)
    )


def derive_end(pairs):
    """(status, completed) of a task from its prompts' (status, completed), oldest first."""
    if any(status in OPEN for status, _ in pairs):
        return "running", None
    status, completed = pairs[-1]
    return TASK_WORDS[status], completed


def _title(prompt):
    line = prompt.strip().splitlines()[0]
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1] + "\u2026"


def _read(row):
    record = dict(row)
    for name in ("facts", "outcome"):
        record.update(
            json.loads(record.pop(name, "{}"))
        )  # JSON text, because a lone surrogate is no SQLite text
    return record


PAGES = {  # noun -> a page of its rows, and how many there are
    "tasks": (
        "SELECT * FROM tasks WHERE deleted=0 ORDER BY number DESC LIMIT ? OFFSET ?",
        "SELECT count(*) AS total FROM tasks WHERE deleted=0",
    ),
    "computers": (
        "SELECT * FROM computers ORDER BY number DESC LIMIT ? OFFSET ?",
        "SELECT count(*) AS total FROM computers",
    ),
}


class Store:
    """The database of one folder, rows as dictionaries; safe across threads, since every statement holds the one lock."""

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

    def close(self):
        """Close the database; every later call fails."""
        with self._lock:
            self._connection.close()

    def write(self, *statements):
        """Run (sql, arguments...) tuples as one transaction; gives the row counts."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                counts = [
                    self._connection.execute(sql, arguments).rowcount
                    for sql, *arguments in statements
                ]
                self._connection.execute("COMMIT")
                return counts
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    def rows(self, sql, *arguments):
        """All rows of a query."""
        with self._lock:
            return [_read(row) for row in self._connection.execute(sql, arguments)]

    def row(self, sql, *arguments):
        """The first row of a query, or None."""
        return next(iter(self.rows(sql, *arguments)), None)

    def page(self, noun, limit, offset):
        """(rows newest first, how many there are) of the tasks or computers."""
        rows, total = PAGES[noun]
        return self.rows(rows, limit, offset), self.row(total)["total"]

    def remember(self, name, value):
        """Keep one small setting of the folder."""
        self.write(("INSERT OR REPLACE INTO meta VALUES(?,?)", name, str(value)))

    def recall(self, name, make=None):
        """A setting; when it is missing and `make` is given, what that makes is kept."""
        row = self.row("SELECT value FROM meta WHERE name=?", name)
        if row is None and make is not None:
            self.remember(name, make())
            return self.recall(name)
        return row["value"] if row else None

    def add_task(self, prompt, setup, executor, model, workspace, rehearsal):
        """Insert a task, its first prompt and, if new, its workspace; gives (task, prompt)."""
        now, task_id, workspace = now_us(), str(uuid.uuid4()), workspace or str(uuid.uuid4())
        facts = json.dumps({"title": _title(prompt), "executor": executor, "model": model})
        first = self.add_prompt(
            task_id,
            prompt,
            setup,
            ("INSERT OR IGNORE INTO workspaces VALUES(?,?)", workspace, now),
            (
                "INSERT INTO tasks(id,workspace,created,visibility,rehearsal,facts) VALUES(?,?,?,'shared',?,?)",
                task_id,
                workspace,
                now,
                int(rehearsal),
                facts,
            ),
        )
        return self.task(task_id), first

    def add_prompt(self, task_id, text, setup, *together):
        """Insert a prompt, in one transaction with other statements; gives its row."""
        prompt_id, facts = str(uuid.uuid4()), json.dumps({"text": text, "setup": setup})
        self.write(
            *together,
            (
                "INSERT INTO prompts(id,task,status,submitted,facts) VALUES(?,?,'pending',?,?)",
                prompt_id,
                task_id,
                now_us(),
                facts,
            ),
        )
        return self.prompt(prompt_id)

    def task(self, task_id):
        """The task, or None when it is absent or deleted."""
        return self.row("SELECT * FROM tasks WHERE id=? AND deleted=0", task_id)

    def tasks_of(self, workspace):
        """The tasks of a workspace, newest first."""
        return self.rows(
            "SELECT * FROM tasks WHERE workspace=? AND deleted=0 ORDER BY number DESC", workspace
        )

    def workspace_exists(self, workspace):
        """True when the workspace was made and not removed."""
        return self.row("SELECT 1 FROM workspaces WHERE id=?", workspace) is not None

    def prompt(self, prompt_id):
        """The prompt, or None."""
        return self.row("SELECT * FROM prompts WHERE id=?", prompt_id)

    def prompts(self, task_id):
        """The task's prompts, oldest first."""
        return self.rows("SELECT * FROM prompts WHERE task=? ORDER BY number", task_id)

    def ends(self, task_ids):
        """task id -> (status, completed or None), derived from the prompts, in one query."""
        grouped = {}
        for row in self.rows(
            "SELECT task,status,completed FROM prompts WHERE task IN (%s) ORDER BY number"
            % ",".join("?" * len(task_ids)),
            *task_ids,
        ):
            grouped.setdefault(row["task"], []).append((row["status"], row["completed"]))
        return {task_id: derive_end(pairs) for task_id, pairs in grouped.items()}

    def end(self, task_id):
        """(status, completed or None) of one task."""
        return self.ends([task_id])[task_id]

    def start_prompt(self, prompt_id):
        """pending -> running; False when it was canceled meanwhile."""
        return self.write(
            ("UPDATE prompts SET status='running' WHERE id=? AND status='pending'", prompt_id)
        ) == [1]

    def finish_prompt(self, prompt_id, status, **outcome):
        """Tell an open prompt's end and its texts; an earlier cancel wins the status and keeps the texts."""
        self.write(
            ("UPDATE prompts SET outcome=? WHERE id=?", json.dumps(outcome), prompt_id),
            (
                "UPDATE prompts SET status=?, completed=? WHERE id=? AND status IN ('pending','running')",
                status,
                now_us(),
                prompt_id,
            ),
        )

    def cancel_prompts(self, task_id):
        """Mark every open prompt of the task canceled; gives their ids."""
        ids = [row["id"] for row in self.prompts(task_id) if row["status"] in OPEN]
        counts = self.write(
            *[
                (
                    "UPDATE prompts SET status='canceled', completed=? WHERE id=? AND status IN "
                    "('pending','running')",
                    now_us(),
                    prompt_id,
                )
                for prompt_id in ids
            ]
        )
        return [prompt_id for prompt_id, count in zip(ids, counts) if count]
