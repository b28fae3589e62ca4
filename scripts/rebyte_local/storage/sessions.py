"""The conversations of agent programs: which one a task goes on with, and what it cost so far."""

from __future__ import annotations

import json

from rebyte_local.formats import JsonObject
from rebyte_local.storage.database import Database


class SessionTable:
    """One row per task and program: the id of the conversation, and its totals."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, task_id: str, program: str) -> str | None:
        """Return the id of the conversation that the task goes on with, or None."""
        row = self._row(task_id, program)
        return str(row["session"]) if row else None

    def keep(self, task_id: str, program: str, session: str) -> None:
        """Keep the id of a conversation; the totals of another one are forgotten."""
        if self.find(task_id, program) != session:
            self._write(task_id, program, session, {})

    def forget(self, task_id: str, program: str) -> None:
        """Forget a conversation that is gone."""
        self._database.write(
            "DELETE FROM sessions WHERE task=? AND program=?", task_id, program
        )

    def share(self, task_id: str, program: str, totals: JsonObject) -> JsonObject:
        """Return what a turn adds to the conversation's totals, which are kept.

        A total below the last one means that the program counts from zero again.
        """
        row = self._row(task_id, program)
        if row is None:
            return totals
        before = json.loads(row["totals"])
        self._write(task_id, program, row["session"], dict(before, **totals))
        shares = {}
        for name, total in totals.items():
            known = before.get(name, 0)
            shares[name] = total - known if total >= known else total
        return shares

    def _row(self, task_id: str, program: str) -> JsonObject | None:
        return self._database.row(
            "SELECT * FROM sessions WHERE task=? AND program=?", task_id, program
        )

    def _write(
        self, task_id: str, program: str, session: str, totals: JsonObject
    ) -> None:
        self._database.write(
            "INSERT OR REPLACE INTO sessions VALUES(?,?,?,?)",
            task_id,
            program,
            session,
            json.dumps(totals),
        )
