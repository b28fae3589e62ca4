"""Tasks and prompts as rows: what is known of them and how a task's status follows from its prompts."""
from __future__ import annotations

import json
import uuid

from rebyte_local.store import now_us

OPEN = ("pending", "running")
TITLE_CHARS = 80
TASK_WORDS = {"succeeded": "completed", "failed": "failed", "canceled": "canceled"}


def _title(prompt):
    line = prompt.strip().splitlines()[0] if prompt.strip() else ""
    return line if len(line) <= TITLE_CHARS else line[:TITLE_CHARS - 1] + "\u2026"


def _read(row):
    record = dict(row)
    for name in ("facts", "outcome"):
        if name in record:
            record.update(json.loads(record.pop(name)))  # JSON text, because a lone surrogate is no SQLite text
    return record


class Records:
    """Rows in, dictionaries out."""

    def __init__(self, store):
        self._store = store

    def __repr__(self):
        return "Records(%r)" % (self._store,)

    def add_task(self, prompt, setup, executor, model, workspace, rehearsal):
        """Insert a task, its first prompt and, if new, its workspace; gives (task, prompt)."""
        now = now_us()
        task_id = str(uuid.uuid4())
        facts = json.dumps({"title": _title(prompt), "executor": executor, "model": model})
        fresh = workspace is None
        workspace = str(uuid.uuid4()) if fresh else workspace
        prompt_id, insert_prompt = self._prompt_statement(task_id, prompt, setup, now)
        statements = [("INSERT INTO workspaces VALUES(?,?)", (workspace, now))] if fresh else []
        statements.append(("INSERT INTO tasks(id,workspace,created,visibility,rehearsal,facts) VALUES(?,?,?,?,?,?)",
                           (task_id, workspace, now, "shared", int(rehearsal), facts)))
        self._store.write(*(statements + [insert_prompt]))
        return self.task(task_id), self.prompt(prompt_id)

    def _prompt_statement(self, task_id, text, setup, now):
        prompt_id = str(uuid.uuid4())
        facts = json.dumps({"text": text, "setup": setup})
        return prompt_id, ("INSERT INTO prompts(id,task,status,submitted,facts) VALUES(?,?,'pending',?,?)",
                           (prompt_id, task_id, now, facts))

    def add_prompt(self, task_id, text, setup):
        """Insert a follow-up; gives the prompt."""
        prompt_id, statement = self._prompt_statement(task_id, text, setup, now_us())
        self._store.write(statement)
        return self.prompt(prompt_id)

    def task(self, task_id):
        """The task, or None when it is absent or deleted."""
        row = self._store.row("SELECT * FROM tasks WHERE id=? AND deleted=0", task_id)
        return _read(row) if row else None

    def tasks(self, limit, offset):
        """(tasks newest first, how many there are)."""
        rows = self._store.rows(
            "SELECT * FROM tasks WHERE deleted=0 ORDER BY number DESC LIMIT ? OFFSET ?", limit, offset)
        total = self._store.row("SELECT count(*) AS n FROM tasks WHERE deleted=0")["n"]
        return [_read(row) for row in rows], total

    def tasks_of(self, workspace):
        """The ids of the tasks of a workspace."""
        return [row["id"] for row in self._store.rows("SELECT id FROM tasks WHERE workspace=? AND deleted=0", workspace)]

    def workspace_exists(self, workspace):
        """True when the workspace was ever made."""
        return self._store.row("SELECT 1 FROM workspaces WHERE id=?", workspace) is not None

    def prompt(self, prompt_id):
        """The prompt, or None."""
        row = self._store.row("SELECT * FROM prompts WHERE id=?", prompt_id)
        return _read(row) if row else None

    def prompts(self, task_id):
        """The task's prompts, oldest first."""
        return [_read(row) for row in self._store.rows("SELECT * FROM prompts WHERE task=? ORDER BY number", task_id)]

    def latest_prompt(self, task_id):
        """The task's newest prompt."""
        return _read(self._store.row("SELECT * FROM prompts WHERE task=? ORDER BY number DESC LIMIT 1", task_id))

    def open_prompts(self):
        """Every prompt of the folder that has not ended, oldest first."""
        return [_read(row) for row in self._store.rows(
            "SELECT * FROM prompts WHERE status IN ('pending','running') ORDER BY number")]

    def ends(self, task_ids):
        """task id -> (status, completed or None), derived from the prompts, in one query."""
        marks = ",".join("?" * len(task_ids))
        rows = self._store.rows("SELECT task,status,completed FROM prompts WHERE task IN (%s) ORDER BY number" % marks,
                                *task_ids)
        grouped = {}
        for row in rows:
            grouped.setdefault(row["task"], []).append((row["status"], row["completed"]))
        return {task_id: derive_end(pairs) for task_id, pairs in grouped.items()}

    def end(self, task_id):
        """(status, completed or None) of one task."""
        return self.ends([task_id]).get(task_id, ("running", None))

    def start_prompt(self, prompt_id):
        """pending -> running; False when it was canceled meanwhile."""
        counts = self._store.write(
            ("UPDATE prompts SET status='running' WHERE id=? AND status='pending'", (prompt_id,)))
        return counts == [1]

    def finish_prompt(self, prompt_id, status, outcome):
        """running -> an end, with the outcome's texts; an earlier cancel wins the status and keeps the texts."""
        text = json.dumps(outcome)
        self._store.write(
            ("UPDATE prompts SET outcome=? WHERE id=?", (text, prompt_id)),
            ("UPDATE prompts SET status=?, completed=? WHERE id=? AND status IN ('pending','running')",
             (status, now_us(), prompt_id)))

    def cancel_prompts(self, task_id):
        """Mark every open prompt of the task canceled; gives their ids."""
        ids = [r["id"] for r in self._store.rows(
            "SELECT id FROM prompts WHERE task=? AND status IN ('pending','running') ORDER BY number", task_id)]
        counts = self._store.write(*[("UPDATE prompts SET status='canceled', completed=? WHERE id=? AND status IN "
                                      "('pending','running')", (now_us(), prompt_id)) for prompt_id in ids])
        return [prompt_id for prompt_id, count in zip(ids, counts) if count]

    def set_visibility(self, task_id, visibility):
        """Who may look at the task."""
        self._store.write(("UPDATE tasks SET visibility=? WHERE id=?", (visibility, task_id)))

    def delete_task(self, task_id):
        """Soft-delete: the rows stay, nobody finds them."""
        self._store.write(("UPDATE tasks SET deleted=1 WHERE id=?", (task_id,)))


def derive_end(pairs):
    """(status, completed) of a task from its prompts' (status, completed), oldest first."""
    if not pairs or any(status in OPEN for status, _ in pairs):
        return "running", None
    status, completed = pairs[-1]
    return TASK_WORDS[status], completed
