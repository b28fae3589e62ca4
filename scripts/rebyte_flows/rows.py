"""One paid start as the ledger knows it."""
from __future__ import annotations

import json

COLUMNS = ("id", "kind", "origin", "account", "digest", "ordinal", "attempt", "name", "parts", "prompt_digest", "state", "holder",
           "claimed_at", "answered_at", "delivered_at", "task_id", "workspace_id", "prompt_id", "url", "executor", "model",
           "known", "reason", "status")


class Row:
    """One paid start as the ledger knows it: the columns as attributes, times in seconds since 1970."""

    def __init__(self, values):
        self.__dict__.update(zip(COLUMNS, values))

    def __repr__(self):
        return "Row(%d %s %s%s)" % (self.id, self.kind, self.state, " " + self.task_id if self.task_id else "")

    def parts_sent(self):
        """Return the parts that were sent as short digests, by name; see Order.parts."""
        return json.loads(self.parts)

    def known_before(self):
        """Return the prompt ids that a task had before this follow-up."""
        return json.loads(self.known) if self.known else []

    def is_started(self):
        """Tell whether the service is known to have started it."""
        return self.state in ("created", "settled")


def foreign_row(task_id):
    """Return a row for a task that was started elsewhere: it stands in no ledger, and most of it is unknown."""
    row = Row([None] * COLUMNS.index("parts") + ["{}"] + [None] * (len(COLUMNS) - COLUMNS.index("parts") - 1))
    row.task_id, row.kind, row.state = task_id, "task", "created"
    return row
