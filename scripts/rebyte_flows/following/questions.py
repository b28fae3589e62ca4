"""What a task asks: found in its /content, or where that is not offered in its stream."""

from __future__ import annotations

import time

from rebyte_flows.following.answer import read_content
from rebyte_flows.following.events import parse_object, payload_of
from rebyte_flows.following.reader import DONE, BackgroundReader, frames
from rebyte_flows.following.turns import latest_turn
from rebyte_wire.errors import AuthError, InputError
from rebyte_wire.status import dict_items, is_id, terminal_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

    from rebyte_client import RebyteClient
    from rebyte_types import Event, Json, QuestionView, Shape

ASKING = "ask_user_question"
# A question is standing when nothing came after it for so long.
GRACE_SECONDS = 1.0
LOOK_SECONDS = 5.0
# A longer number is no option's.
NUMBER_DIGITS = 6


class Question:
    """A question of a task: `text`, `labels` of its options, `multi` where several may be chosen.

    Several questions asked at once stand in one text with the options of the first; `count` tells.
    """

    def __init__(
        self,
        payload: Json,
        prompt_id: str | None = None,
    ) -> None:
        parts = dict_items(payload, "questions") or [payload]
        options = parts[0].get("options")
        self.text = "\n".join(str(part.get("question") or "") for part in parts)
        self.count = len(parts)
        self.multi = bool(parts[0].get("multiSelect"))
        self.labels: list[str] = []
        if isinstance(options, list):
            self.labels = [_label(option) for option in options]
        self.message_id = payload.get("messageId")
        self.action_id = payload.get("actionId")
        self.prompt_id = prompt_id

    def __repr__(self) -> str:
        return "Question(%r, %d options)" % (self.text[:40], len(self.labels))

    def as_dict(self) -> QuestionView:
        """Return the question as documents show it; its options count from 1."""
        shown: QuestionView = {
            "text": self.text,
            "multi": self.multi,
            "options": [
                {"n": n, "label": label} for n, label in enumerate(self.labels, 1)
            ],
        }
        if is_id(self.message_id):
            shown["id"] = str(self.message_id)
        return shown

    def answer(
        self,
        options: Sequence[str],
        say: str | None = None,
    ) -> Json:
        """Return the body that answers with options (numbers from 1, or labels) or words.

        Raises InputError for an option that is not there, and where several questions are asked.
        """
        if self.count > 1:
            raise InputError(
                "it asks %d questions at once, and no source says how several are answered"
                % self.count,
                code="several_questions",
                hint="answer in a browser at the task's address, or send a follow-up with --anyway",
            )
        chosen = [self._index_of(word) for word in options]
        if len(chosen) > 1 and not self.multi:
            raise InputError(
                "the question takes one option, and %d were given" % len(chosen)
            )
        answer: Json = {"selectedOptions": chosen}
        if say is not None:
            answer["customResponse"] = say
        return {
            "messageId": self.message_id,
            "actionId": self.action_id,
            "answer": answer,
        }

    def chosen_labels(self, options: Sequence[str]) -> list[str]:
        """Return the labels of the options that some words stand for."""
        return [self.labels[self._index_of(word)] for word in options]

    def _index_of(self, word: str) -> int:
        """Return the index from 0 that the wire wants."""
        wanted = word.strip().casefold()
        same = [
            n
            for n, label in enumerate(self.labels)
            if label.strip().casefold() == wanted
        ]
        if len(same) == 1:
            return same[0]
        is_number = len(word) < NUMBER_DIGITS and word.isascii() and word.isdigit()
        if is_number and 1 <= int(word) <= len(self.labels):
            return int(word) - 1
        hint = "it takes words: --say TEXT"
        if self.labels:
            listed = ["%d %s" % (n, label) for n, label in enumerate(self.labels, 1)]
            hint = "the options are: %s" % "; ".join(listed)
        raise InputError("there is no option %r" % word, hint=hint)


def question_of(event: Event, answered: Collection[str] = ()) -> Question | None:
    """Return what an event asks, None if nothing, or if its message id is among the answered."""
    if event.get("eventType") != ASKING or not isinstance(event.get("payload"), dict):
        return None
    question = Question(payload_of(event), event.get("promptId"))
    return None if str(question.message_id) in answered else question


def question_in(content: Shape, answered: Collection[str] = ()) -> Question | None:
    """Return the question that the last event of a content asks, or None."""
    events: list[Any] = dict_items(latest_turn(content), "events")
    return question_of(events[-1], answered) if events else None


def standing(
    client: RebyteClient,
    task_id: str,
    answered: Collection[str] = (),
    *,
    stream: bool = True,
) -> Question | None:
    """Return the question that a task waits with, or None.

    Asks /content; where that is not offered, reads the stream until it falls silent, for
    LOOK_SECONDS at most (not with `stream=False`). `answered` are message ids to pass over.
    """
    if stream and terminal_status(client.get_task(task_id).get("status")):
        return None
    content = read_content(client, task_id)
    if content is None and stream:
        return question_in_stream(client, task_id, answered)
    return question_in(content or {}, answered)


def question_in_stream(
    client: RebyteClient, task_id: str, answered: Collection[str] = ()
) -> Question | None:
    """Return the question that a stream falls silent with; a task that keeps talking asks none."""
    reader = BackgroundReader(lambda: client.stream_events(task_id))
    until = time.monotonic() + LOOK_SECONDS
    silent_at = [until]
    question = None
    try:
        for frame in frames(reader, lambda: silent_at[0] - time.monotonic()):
            if frame is None or frame.event == DONE:
                return question
            if time.monotonic() > until:
                return None
            event = parse_object(frame.data)
            if event is not None:
                question = question_of(event, answered)
                silent_at[0] = time.monotonic() + GRACE_SECONDS
    finally:
        reader.close()
    if isinstance(reader.problem, AuthError):
        raise reader.problem
    return question


def _label(option: Any) -> str:
    if isinstance(option, dict):
        option = option.get("label")
    return str(option)
