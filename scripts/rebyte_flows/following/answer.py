"""What the sub-agent finally said, wherever the service put it."""

from __future__ import annotations

from collections import deque

from rebyte_flows.following.costs import costs_in
from rebyte_flows.following.events import SPOKEN, event_line, event_text, payload_of
from rebyte_flows.following.turns import find_turn, latest_turn
from rebyte_wire.errors import (
    AnswerUnreadable,
    AuthError,
    DeadlineReached,
    RebyteError,
)
from rebyte_wire.status import is_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_client import RebyteClient
    from rebyte_types import Event, EventLine, Json, Shape

LAST_EVENTS = 5
REASON_CHARACTERS = 300
# A text is looked for in the last few paragraphs, and in so much of each, to stay linear.
RECENT_PARAGRAPHS = 4
RECENT_CHARACTERS = 4000


class Paragraph:
    """Text that was said in one piece, or in deltas that are joined when they are needed."""

    def __init__(
        self,
        text: str,
        is_delta: bool = False,
    ) -> None:
        self.is_delta = is_delta
        self._pieces: list[str] = []
        self.size = 0
        self.end = ""
        self.add(text)

    def add(self, text: str) -> None:
        """Add a delta; `size` and `end` are without blanks."""
        short = squeezed(text)
        self._pieces.append(text)
        self.size += len(short)
        self.end = (self.end + short)[-RECENT_CHARACTERS:]

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self._pieces)


class AnswerBuilder:
    """Collects the answer from events in order: the words after the last tool use.

    Where there are none, what the `result` event said. Takes time linear in what comes.
    """

    def __init__(self) -> None:
        self._paragraphs: list[Paragraph] = []
        self._said: set[str] = set()
        self._result = ""
        self.events = 0
        self.tools = 0
        self.prompt_id: str | None = None
        self.model: str | None = None
        self.rehearsal = False
        self.costs: Json = {}
        self._last: deque[Event] = deque(maxlen=LAST_EVENTS)

    def __repr__(self) -> str:
        return "AnswerBuilder(%d events, %d tools)" % (self.events, self.tools)

    def take(self, event: Event) -> None:
        """Take one event; those of delegated work count as use of tools only."""
        kind = event.get("eventType")
        self.events += 1
        self.tools += kind == "tool_use"
        if kind not in ("init", "thinking"):
            self._last.append(event)
        if "parent" in event:
            return
        if is_id(event.get("promptId")):
            self.prompt_id = event["promptId"]
        if kind == "tool_use":
            self._paragraphs.clear()
            self._said.clear()
        elif kind == "init":
            self.model = payload_of(event).get("model") or self.model
            self.rehearsal = payload_of(event).get("rehearsal") is True
        elif kind in SPOKEN:
            self._say(event_text(event), bool(payload_of(event).get("is_delta")))
        elif kind == "result":
            self._result = event_text(event) or self._result
            self.costs.update(costs_in(payload_of(event)))

    def _say(
        self,
        text: str,
        is_delta: bool,
    ) -> None:
        if not text:
            return
        if not is_delta:
            self._say_whole(text)
            return
        if self._paragraphs and self._paragraphs[-1].is_delta:
            self._paragraphs[-1].add(text)
        else:
            self._paragraphs.append(Paragraph(text, is_delta=True))

    def _say_whole(self, text: str) -> None:
        """Let a text replace what it repeats or continues; else it is a paragraph of its own."""
        short = squeezed(text)
        before = len(self._paragraphs)
        while self._paragraphs and self._is_within(self._paragraphs[-1], short):
            self._paragraphs.pop()
        recent = self._paragraphs[-RECENT_PARAGRAPHS:]
        if any(short in paragraph.end for paragraph in recent):
            return
        if short in self._said and len(self._paragraphs) == before:
            return
        self._said.add(short)
        self._paragraphs.append(Paragraph(text))

    def _is_within(
        self,
        paragraph: Paragraph,
        short: str,
    ) -> bool:
        return paragraph.size <= len(short) and squeezed(paragraph.text) in short

    @property
    def words(self) -> str:
        """The text after the last tool use."""
        texts = (paragraph.text for paragraph in self._paragraphs)
        return "\n\n".join(text.strip("\n") for text in texts if text.strip())

    def answer(
        self,
        task: Shape | None = None,
        final: str | None = None,
    ) -> str:
        """Return what was said: words, `result`, `done.finalResult`, the task's own fields."""
        fields = task or {}
        found = (
            self.words,
            self._result,
            final,
            fields.get("finalResult"),
            fields.get("result"),
        )
        return next(
            (text for text in found if isinstance(text, str) and text.strip()), ""
        )

    def last_events(self) -> list[EventLine]:
        """Return what was seen last, briefly, for the account of a failure."""
        lines = [event_line(event, REASON_CHARACTERS) for event in self._last]
        return [line for line in lines if line.get("text") or line.get("tool")]


def squeezed(text: str) -> str:
    """Return a text without its blanks, which two tellings of it may set differently."""
    return "".join(text.split())


def last_words(answer: str) -> str:
    """Return the end of a failed task's answer, whole lines if they fit: errors come last."""
    lines = answer.strip().split("\n")
    kept = lines[-1][:REASON_CHARACTERS]
    for line in lines[-2::-1]:
        if len(line) + 1 + len(kept) > REASON_CHARACTERS:
            break
        kept = line + "\n" + kept
    return kept


def read_content(
    client: RebyteClient,
    task_id: str,
    events: bool = True,
) -> Shape | None:
    """Return what the undocumented /content tells, or None where it is not offered just now."""
    try:
        return client.task_content(task_id, events=events)
    except (AuthError, DeadlineReached):
        raise
    except RebyteError:
        return None


def response_of(
    client: RebyteClient,
    task_id: str,
    prompt_id: str | None = None,
) -> str:
    """Return the answer that /content holds for a turn (the latest when none is named), or "".

    Raises where it is offered and cannot be read just now: silence is no empty answer.
    """
    try:
        return response_in(client.task_content(task_id), prompt_id)
    except RebyteError as problem:
        if problem.retryable or isinstance(problem, (AuthError, AnswerUnreadable)):
            raise
        return ""


def response_in(content: Shape, prompt_id: str | None = None) -> str:
    """Return the response in a content, of a turn or of the latest one, or ""."""
    turn = latest_turn(content)
    if prompt_id:
        turn = find_turn(content, prompt_id) or {}
    text = turn.get("response")
    return text if isinstance(text, str) else ""
