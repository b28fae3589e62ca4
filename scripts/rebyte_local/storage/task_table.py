"""Tasks and their prompts. A task has no status of its own: it follows from its prompts."""

from __future__ import annotations

import json
import sqlite3
import uuid
from functools import partial

from rebyte_local.formats import JsonObject, now_us
from rebyte_local.storage.database import Database

TITLE_CHARS = 80
OPEN_STATUSES = ("pending", "running")
IS_OPEN = "status IN ('pending','running')"
TASK_STATUSES = {"succeeded": "completed", "failed": "failed", "canceled": "canceled"}


def task_status(prompts: list[JsonObject]) -> tuple[str, int | None]:
    """Return (status, completed) of a task from its prompts, oldest first."""
    if any(prompt["status"] in OPEN_STATUSES for prompt in prompts):
        return "running", None
    return TASK_STATUSES[prompts[-1]["status"]], prompts[-1]["completed"]


def _title(prompt: str) -> str:
    line = prompt.strip().splitlines()[0]
    if len(line) <= TITLE_CHARS:
        return line
    return line[: TITLE_CHARS - 1] + "\u2026"


class TaskTable:
    """The rows of tasks, prompts and workspaces in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, prompt: str, setup: JsonObject, workspace: str | None, **facts: object
    ) -> tuple[JsonObject, str]:
        """Insert a task, its first prompt and, if it is new, its workspace.

        `facts` are executor, model, program and rehearsal. Return (task, id of the prompt).
        """
        now = now_us()
        task_id = str(uuid.uuid4())
        workspace = workspace or str(uuid.uuid4())
        rehearsal = facts.pop("rehearsal")
        described = json.dumps(dict(facts, title=_title(prompt)))
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO workspaces VALUES(?,?)", (workspace, now)
            )
            connection.execute(
                "INSERT INTO tasks(id,workspace,created,visibility,rehearsal,facts)"
                " VALUES(?,?,?,'shared',?,?)",
                (task_id, workspace, now, rehearsal, described),
            )
            prompt_id = _insert_prompt(connection, task_id, prompt, setup)
            return self.get_with_deleted(task_id), prompt_id

    def add_prompt(self, task_id: str, text: str, setup: JsonObject) -> str:
        """Insert a further prompt; return its id."""
        with self._database.transaction() as connection:
            return _insert_prompt(connection, task_id, text, setup)

    def get(self, task_id: str) -> JsonObject | None:
        """Return the task, or None when it is absent or deleted."""
        return self._database.row(
            "SELECT * FROM tasks WHERE id=? AND deleted=0", task_id
        )

    def get_with_deleted(self, task_id: str) -> JsonObject:
        """Return a task that exists, though it may be deleted."""
        return self._database.rows("SELECT * FROM tasks WHERE id=?", task_id)[0]

    def page(self, limit: int, offset: int) -> tuple[list[JsonObject], int]:
        """Return (tasks newest first, how many there are)."""
        return self._database.page("tasks WHERE deleted=0", limit, offset)

    def in_workspace(self, workspace: str) -> list[JsonObject]:
        """Return the tasks of a workspace, newest first."""
        return self._database.rows(
            "SELECT * FROM tasks WHERE workspace=? AND deleted=0 ORDER BY number DESC",
            workspace,
        )

    def prompt(self, prompt_id: str) -> JsonObject:
        """Return a prompt that exists."""
        return self._database.rows("SELECT * FROM prompts WHERE id=?", prompt_id)[0]

    def prompts(self, task_id: str) -> list[JsonObject]:
        """Return the task's prompts, oldest first."""
        return self._database.rows(
            "SELECT * FROM prompts WHERE task=? ORDER BY number", task_id
        )

    def open_prompts(self) -> list[JsonObject]:
        """Return every prompt that has not ended, oldest first."""
        return self._database.rows(
            "SELECT * FROM prompts WHERE %s ORDER BY number" % IS_OPEN
        )

    def statuses(self, task_ids: list[str]) -> dict[str, tuple[str, int | None]]:
        """Return {task id: (status, completed or None)}, with one query."""
        marks = ",".join("?" * len(task_ids))
        sql = (
            "SELECT task,status,completed FROM prompts WHERE task IN (%s) ORDER BY number"
            % marks
        )
        prompts: dict[str, list[JsonObject]] = {}
        for row in self._database.rows(sql, *task_ids):
            prompts.setdefault(row["task"], []).append(row)
        return {task_id: task_status(rows) for task_id, rows in prompts.items()}

    def status(self, task_id: str) -> tuple[str, int | None]:
        """Return (status, completed or None) of one task."""
        return self.statuses([task_id])[task_id]

    def start_prompt(self, prompt_id: str) -> bool:
        """Make a pending prompt running; return False when it was canceled meanwhile."""
        return (
            self._database.write(
                "UPDATE prompts SET status='running' WHERE id=? AND status='pending'",
                prompt_id,
            )
            == 1
        )

    def finish_prompt(self, prompt_id: str, status: str, **outcome: object) -> None:
        """Keep a prompt's end, texts and account; a cancel that came first keeps the status."""
        self._database.must_write(
            partial(self._finish, prompt_id, status, json.dumps(outcome))
        )

    def _finish(self, prompt_id: str, status: str, outcome: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE prompts SET outcome=? WHERE id=?", (outcome, prompt_id)
            )
            connection.execute(
                "UPDATE prompts SET status=?, completed=? WHERE id=? AND %s" % IS_OPEN,
                (status, now_us(), prompt_id),
            )

    def cancel_prompts(self, task_id: str) -> list[str]:
        """Mark every open prompt of the task canceled; return their ids."""
        return self._database.must_write(partial(self._cancel, task_id))

    def _cancel(self, task_id: str) -> list[str]:
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT id FROM prompts WHERE task=? AND %s ORDER BY number" % IS_OPEN,
                (task_id,),
            ).fetchall()
            connection.execute(
                "UPDATE prompts SET status='canceled', completed=? WHERE task=? AND %s"
                % IS_OPEN,
                (now_us(), task_id),
            )
        return [row["id"] for row in rows]

    def delete(self, task_id: str) -> None:
        """Hide a task; its rows stay, but nothing finds them. Its conversations are forgotten."""
        self._database.write("UPDATE tasks SET deleted=1 WHERE id=?", task_id)
        self._database.write("DELETE FROM sessions WHERE task=?", task_id)


def _insert_prompt(
    connection: sqlite3.Connection, task_id: str, text: str, setup: JsonObject
) -> str:
    prompt_id = str(uuid.uuid4())
    connection.execute(
        "INSERT INTO prompts(id,task,status,submitted,facts) VALUES(?,?,'pending',?,?)",
        (prompt_id, task_id, now_us(), json.dumps({"text": text, "setup": setup})),
    )
    return prompt_id
