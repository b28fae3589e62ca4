"""A question that a prompt asks its caller, and waits for."""

from __future__ import annotations

import uuid
from concurrent.futures import Future, InvalidStateError

from rebyte_local.json_types import JsonObject

TYPE_CHECKING = False
if TYPE_CHECKING:
    AnswerFuture = Future[str | None]
else:
    AnswerFuture = Future


class Question(AnswerFuture):
    """Its result is the answer, or None when the run was stopped; the first answer counts."""

    def __init__(self, action_id: int, options: list[str]) -> None:
        super().__init__()
        self.action_id = action_id
        self.message_id = str(uuid.uuid4())
        self.options = options

    def is_meant_by(self, reply: JsonObject) -> bool:
        """Return True when a reply names this question."""
        given = (str(reply.get("messageId")), str(reply.get("actionId")))
        return given == (self.message_id, str(self.action_id))

    def resolve(self, answer: str | None) -> bool:
        """Give the answer; return False when there was one before."""
        try:
            self.set_result(answer)
        except InvalidStateError:
            return False
        return True
