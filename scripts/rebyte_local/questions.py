"""A question a task asks, and its answer."""
from __future__ import annotations

import threading


class Question:
    """A question that waits for its answer; the first answer counts."""

    def __init__(self, action_id, text, options):
        self.action_id = action_id
        self.message_id = "message-%d" % action_id
        self.text = text
        self.options = options
        self._answer = None
        self._settled = threading.Event()

    def __repr__(self):
        return "Question(%r, settled=%r)" % (self.text, self._settled.is_set())

    def settle(self, answer):
        """Give the answer, None to give up; False when it was settled before."""
        if self._settled.is_set():
            return False
        self._answer = answer
        self._settled.set()
        return True

    def wait(self):
        """Block until settled; gives the answer or None."""
        self._settled.wait()
        return self._answer
