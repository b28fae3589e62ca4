"""One task's events, each exactly once, up to an end that can be trusted.

The service replays them from the start on each connection, may renumber them, may say `done`
before anything ran, and may let the last words come after the status has flipped. So a connection
is only a source of events, and the status, asked on a clock of its own, says when it is over.
"""

from __future__ import annotations

import time

from rebyte_flows.following.deduplication import EventDeduplicator
from rebyte_flows.following.delegation import Delegation
from rebyte_flows.following.ending import Connect, Outcome, is_stuck, may_end, pause_before_next
from rebyte_flows.following.events import SPOKEN, event_text, parse_object
from rebyte_flows.following.questions import ASKING, Question, question_of, standing
from rebyte_flows.following.reader import DONE, BackgroundReader, frames
from rebyte_flows.following.turns import (
    ended_at,
    find_turn,
    latest_id,
    status_of,
    turns_of,
    undocumented_word,
)
from rebyte_wire.errors import (
    AuthError,
    DeadlineReached,
    NetworkError,
    NotFound,
    RebyteError,
    RouteMissing,
)
from rebyte_wire.status import terminal_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator

    from rebyte_client import RebyteClient
    from rebyte_types import Event, Json, Shape

# The status is asked when nothing new has come for so long, whatever the stream does.
POLL_SECONDS = 12
LEAST_POLL_SECONDS = 1
QUESTION_GRACE_SECONDS = 1.5
DRAIN_POLL_SECONDS = 5
NEW_TASK_GRACE_SECONDS = 5
FAILURES_AT_MOST = 8
WORDS = SPOKEN + ("result",)


def watch(
    client: RebyteClient,
    task_id: str,
    *,
    prompt_id: str | None = None,
    answered: Collection[str] = (),
    age: float = 0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Event | Outcome]:
    """Yield one task's events (the service's envelopes, as dictionaries) and at last an Outcome.

    `prompt_id` follows that very turn; else the task's latest. `answered` are the message ids of
    questions that were answered already. A task younger than 5 s (`age` in seconds) may not be
    visible yet. Raises DeadlineReached when the client's deadline comes first, AuthError,
    NotFound, and NetworkError or ServerError when the service stays away.
    """
    return Watch(client, task_id, prompt_id, answered, age, clock, sleep).events()


class Watch:
    """One task being watched."""

    def __init__(
        self,
        client: RebyteClient,
        task_id: str,
        prompt_id: str | None = None,
        answered: Collection[str] = (),
        age: float = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.client = client
        self.task_id = task_id
        self.prompt_id = prompt_id
        self.answered = {str(word) for word in answered}
        self.clock = clock
        self.sleep = sleep
        self.seen = EventDeduplicator()
        self.delegation = Delegation(client, task_id, clock)
        self.visible_at = clock() - age + NEW_TASK_GRACE_SECONDS
        # The moments of the last new event and of the last look at the status.
        self.news_at = self.polled_at = clock()
        self.failures = 0
        # False while the service answers with no stream; then /content has to tell a question.
        self.streaming = True
        self.spoken = False
        self.question: Question | None = None
        self.final: str | None = None
        self.task: Shape = {}
        # The status as the service says it, if no source documents the word.
        self.word: str | None = None
        # What `done` called the end, and when anything changed last.
        self.last_word: str | None = None
        self.changed_at = clock()
        self.status: str | None = None
        self.over_at: float | None = None

    def __repr__(self) -> str:
        return "Watch(%s, %s)" % (self.task_id, self.word)

    def events(self) -> Iterator[Event | Outcome]:
        """Yield events, connection after connection, and at last the Outcome."""
        idle = 0
        while True:
            before = self.news_at
            connect = yield from self._read_connect()
            was_over = self.status is not None
            self._poll()
            if self.question and self.status is None:
                yield self._outcome("question")
                return
            waited = None if self.over_at is None else self.clock() - self.over_at
            if may_end(connect, was_over=was_over, waited=waited, spoken=self.spoken):
                yield from self.delegation.rest()
                yield self._outcome(str(self.status))
                return
            if self.word and is_stuck(connect, unchanged=self.clock() - self.changed_at):
                yield self._outcome(self.last_word or "failed")
                return
            self._check_deadline()
            idle = 0 if self.news_at > before else idle + 1
            self.sleep(self._bounded(pause_before_next(connect, idle, waited is not None)))
            self._check_deadline()

    def _outcome(self, status: str) -> Outcome:
        return Outcome(
            self.task_id,
            status,
            task=self.task,
            prompt_id=self.prompt_id or latest_id(self.task),
            final=self.final,
            question=self.question if status == "question" else None,
        )

    def _read_connect(self) -> Generator[Event, None, Connect]:
        """Yield what one connection brings that is new; return what it was like."""
        self.seen.begin_connect()
        reader = BackgroundReader(lambda: self.client.stream_events(self.task_id))
        done = None
        self.streaming = True
        try:
            for frame in frames(reader, self._seconds_to_poll):
                self._check_deadline()
                if frame is None:
                    self.streaming = reader.opened
                    yield from self.delegation.news()
                    self._poll()
                    if self.question or self.status:
                        break
                elif frame.event == DONE:
                    done = parse_object(frame.data) or {}
                    break
                else:
                    yield from self._take(parse_object(frame.data))
        finally:
            reader.close()
        self.streaming = reader.opened
        if isinstance(reader.problem, (AuthError, DeadlineReached)):
            raise reader.problem
        return self._connect(reader, done)

    def _connect(
        self,
        reader: BackgroundReader,
        done: Json | None,
    ) -> Connect:
        last = done.get("lastSeq") if done else None
        if done and done.get("finalResult"):
            self.final = done["finalResult"]
        if done:
            self.last_word = terminal_status(done.get("status"))
        return Connect(
            came=self.seen.came,
            cut=reader.opened and reader.problem is not None,
            done=done is not None,
            behind=isinstance(last, int) and last > self.seen.highest_seq,
        )

    def _take(self, event: Event | None) -> Iterator[Event]:
        if event is None or not self._is_ours(event) or not self.seen.is_new(event):
            return
        self.news_at = self.changed_at = self.clock()
        self._note(event)
        yield event
        yield from self.delegation.news()

    def _is_ours(self, event: Event) -> bool:
        return self.prompt_id is None or event.get("promptId") in (None, self.prompt_id)

    def _note(self, event: Event) -> None:
        """Note whether words, a question or delegated work stand last."""
        kind = event.get("eventType")
        if kind in ("tool_use", ASKING):
            self.spoken = False
        elif kind in WORDS and event_text(event):
            self.spoken = True
        if kind != "stderr":
            self.question = question_of(event, self.answered)
        self.delegation.note(event)

    def _poll(self) -> None:
        """Ask for the status, the only word about the end that counts; single failures may pass."""
        self.polled_at = self.clock()
        try:
            task = self.client.get_task(self.task_id)
            self._check_turn(task)
        except RebyteError as problem:
            self._count_failure(problem)
            return
        self.failures = 0
        self.task = task
        if not self.streaming:
            self.question = standing(self.client, self.task_id, self.answered, stream=False)
        word = undocumented_word(task, self.prompt_id)
        if word != self.word:
            self.word = word
            self.changed_at = self.clock()
        self.status = status_of(task, self.prompt_id)
        if self.status is None:
            self.over_at = None
        elif self.over_at is None:
            self.over_at = self.clock() - self._seconds_since(ended_at(task, self.prompt_id))

    def _check_turn(self, task: Shape) -> None:
        if turns_of(task) and find_turn(task, self.prompt_id) is None:
            raise NotFound("the task %s has no turn %s" % (self.task_id, self.prompt_id))

    def _seconds_since(self, moment: float | None) -> float:
        """Return how long ago a moment of the service's clock was, 0 when it tells none."""
        if moment is None:
            return 0
        return max(0.0, time.time() + (self.client.clock_skew or 0) - moment)

    def _count_failure(self, problem: RebyteError) -> None:
        """Let a failure pass, unless waiting cannot mend it or it was one of many."""
        if isinstance(problem, NotFound) and not isinstance(problem, RouteMissing):
            if self.clock() > self.visible_at:
                raise problem
            return
        self.failures += 1
        passing = problem.retryable or isinstance(problem, NetworkError)
        if isinstance(problem, DeadlineReached) or not passing or self.failures > FAILURES_AT_MOST:
            raise problem

    def _seconds_to_poll(self) -> float:
        """Return the seconds until the status is due: sooner when this may be the last word."""
        wait: float = POLL_SECONDS
        if self.status is not None:
            wait = DRAIN_POLL_SECONDS
        if self.question:
            wait = QUESTION_GRACE_SECONDS
        left = self.client.deadline.left()
        if left is not None:
            # Of a short watch the end should be seen as well.
            wait = min(wait, max(left / 2, LEAST_POLL_SECONDS))
        return self._bounded(wait - (self.clock() - max(self.news_at, self.polled_at)))

    def _bounded(self, seconds: float) -> float:
        return self.client.deadline.within(seconds).left() or 0.0

    def _check_deadline(self) -> None:
        if self.client.deadline.expired:
            raise DeadlineReached(
                "the time is over and the task is still running",
                hint="type the same line again to go on",
            )
