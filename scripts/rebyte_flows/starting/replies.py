"""The replies to the questions of one task: written down before they are sent, so that the same line never answers another question."""

from __future__ import annotations

from collections import namedtuple

Reply = namedtuple("Reply", "message_id prompt_id digest")


class Replies:
    """The replies from here to one task; a line is known by its digest, a question by its message id."""

    def __init__(self, ledger, task_id):
        self.ledger, self.task_id = ledger, task_id

    def __repr__(self):
        return "Replies(to %s)" % self.task_id

    def to(self, message_id):
        """Return the reply to a question, or None."""
        return self._find("message_id = ?", str(message_id))

    def unseen(self, digest):
        """Return the reply that the same line gave and whose outcome was not yet shown, or None."""
        return self._find("digest = ? AND delivered_at IS NULL", digest)

    def _find(self, condition, value):
        found = self.ledger.ask(
            "SELECT message_id, prompt_id, digest FROM replies WHERE task_id = ? AND " + condition,
            (self.task_id, value),
        )
        return Reply(*found[-1]) if found else None

    def begin(self, message_id, prompt_id, digest):
        """Write down that a reply is about to leave; it is open until it is known to have arrived."""
        self._write(
            "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, NULL, 1)",
            self.task_id,
            str(message_id),
            digest,
            prompt_id,
        )

    def confirm(self, message_id):
        """Write down that the service has it: a replay of the question is not asked again."""
        self._write(
            "UPDATE replies SET open = NULL WHERE task_id = ? AND message_id = ?",
            self.task_id,
            str(message_id),
        )

    def drop(self, message_id):
        """Forget a reply that the service surely did not take."""
        self._write(
            "DELETE FROM replies WHERE task_id = ? AND message_id = ?",
            self.task_id,
            str(message_id),
        )

    def deliver(self):
        """Write down that what the replies led to was shown."""
        self._write(
            "UPDATE replies SET delivered_at = ? WHERE task_id = ? AND delivered_at IS NULL",
            self.ledger.clock(),
            self.task_id,
        )

    def _write(self, text, *values):
        self.ledger.write("record the reply in the ledger", text, values)
