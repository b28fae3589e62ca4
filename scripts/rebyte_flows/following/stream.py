"""One task's events, each exactly once, up to an end that can be trusted.

The service replays them from the start on each connection, may renumber them, may say `done`
before anything ran, and may let the last words come after the status has flipped. So a connection
is only a source of events, and the status, asked on a clock of its own, says when it is over.
"""

from __future__ import annotations

import time

from rebyte_flows.following.deduplication import EventDeduplicator
from rebyte_flows.following.delegation import Delegation
from rebyte_flows.following.ending import (
    DRAIN_AT_MOST_SECONDS,
    Connect,
    Outcome,
    is_stuck,
    may_end,
    pause_before_next,
)
from rebyte_flows.following.events import SPOKEN, event_text, parse_object
from rebyte_flows.following.polling import StatusPoller
from rebyte_flows.following.questions import ASKING, Question, question_of, standing
from rebyte_flows.following.reader import DONE, BackgroundReader, frames
from rebyte_flows.following.turns import latest_id
from rebyte_wire.errors import (
    AnswerUnreadable,
    AuthError,
    DeadlineReached,
    RebyteError,
)
from rebyte_wire.status import terminal_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator

    from rebyte_client import RebyteClient
    from rebyte_types import Event, Json

# The status is asked when nothing new has come for so long, whatever the stream does.
POLL_SECONDS = 12
LEAST_POLL_SECONDS = 1
QUESTION_GRACE_SECONDS = 1.5
DRAIN_POLL_SECONDS = 5
UNREACHED = "how it stands could not be asked just now: %s"
TOLD_NOTHING = UNREACHED % "the time was over before the service told anything of it"
UNDOCUMENTED = "the service says %s, which is not documented"
QUESTION = "question"
WORDS = SPOKEN + ("result",)


class Watch:
    """One task being watched; `events()` yields the service's envelopes, and at last an Outcome.

    `prompt_id` follows that very turn; else the task's latest. `answered` are the message ids of
    questions that were answered already. A task younger than 5 s (`age` in seconds) may not be
    visible yet. Raises DeadlineReached when the client's deadline comes first, AuthError,
    NotFound, and NetworkError or ServerError when the service stays away.
    """

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
        self.state = StatusPoller(client, task_id, prompt_id, age, clock)
        self.news_at = clock()
        # When the stream got on at last: by news, or by telling again what was told before.
        self.progress_at = clock()
        # False while the service answers with no stream; then /content has to tell a question.
        self.streaming = True
        self.spoken = False
        self.question: Question | None = None
        # What `done` said at last: the result, and how it ended.
        self.final: str | None = None
        self.done_status: str | None = None

    def __repr__(self) -> str:
        return "Watch(%r)" % self.state

    def events(self) -> Iterator[Event | Outcome]:
        """Yield events, connection after connection, and at last the Outcome."""
        idle = 0
        while True:
            before = self.news_at
            connect = yield from self._read_connect()
            was_over = self.state.status is not None
            self._poll()
            news = self.news_at > before
            status = self._status_to_end_with(connect, was_over)
            if status:
                if status != QUESTION:
                    yield from self.delegation.rest()
                yield self._outcome(status)
                return
            self._check_deadline()
            idle = 0 if news else idle + 1
            pause = pause_before_next(connect, idle, self.state.waited is not None)
            self.sleep(self._bounded(pause))
            self._check_deadline()

    def warnings(self) -> list[str]:
        """Return what looks at the status leave to be said: an odd word, or of a task whose end is
        not known that the last one failed or none told anything.
        """
        state = self.state
        if state.word:
            return [UNDOCUMENTED % state.word]
        if state.problem and state.status is None:
            return [UNREACHED % state.problem.message]
        has_told = self.streaming or state.task
        return [] if has_told else [TOLD_NOTHING]

    def _status_to_end_with(
        self,
        connect: Connect,
        was_over: bool,
    ) -> str | None:
        """Return the status of the Outcome once it can be trusted, None to go on."""
        state = self.state
        if self.question and state.status is None:
            return QUESTION
        # Of what was canceled no last words are owed.
        spoken = self.spoken or state.status == "canceled"
        if may_end(
            connect,
            was_over=was_over,
            waited=state.waited,
            quiet=self.clock() - self.news_at,
            spoken=spoken,
            patience=self._of_a_short_watch(DRAIN_AT_MOST_SECONDS),
        ):
            return state.status
        changed_at = max(state.changed_at, self.news_at)
        if state.word and is_stuck(connect, unchanged=self.clock() - changed_at):
            return self.done_status or "failed"
        return None

    def _outcome(self, status: str) -> Outcome:
        return Outcome(
            self.task_id,
            status,
            task=self.state.task,
            prompt_id=self.prompt_id or latest_id(self.state.task),
            final=self.final,
            question=self.question if status == QUESTION else None,
        )

    def _read_connect(self) -> Generator[Event, None, Connect]:
        """Yield what one connection brings that is new; return what it was like."""
        self.seen.begin_connect()
        reader = BackgroundReader(lambda: self.client.stream_events(self.task_id))
        done = None
        was_left = False
        self.streaming = True
        try:
            for frame in frames(reader, self._seconds_to_poll):
                self._check_deadline()
                if frame is None:
                    self.streaming = reader.opened
                    # Before the question: what comes while it is asked still has to be read.
                    silent = self.clock() - self.progress_at
                    yield from self.delegation.news()
                    self._poll()
                    if self.question or self._may_leave(silent):
                        was_left = True
                        break
                elif frame.event == DONE:
                    done = parse_object(frame.data) or {}
                    break
                else:
                    highest = self.seen.highest_seq
                    yield from self._take(parse_object(frame.data))
                    if self.seen.highest_seq > highest:
                        self.progress_at = self.clock()
        finally:
            self.streaming = reader.opened
            reader.close()
        if isinstance(reader.problem, (AuthError, DeadlineReached)):
            raise reader.problem
        return self._connect(reader, done, was_left)

    def _may_leave(self, silent: float) -> bool:
        """Tell whether an open connection may be left: the task is over, and the stream has not
        got on for `silent` seconds.

        A long stream is told again from its start, and the last words stand at its end.
        """
        long_enough = self._of_a_short_watch(DRAIN_POLL_SECONDS)
        return self.state.status is not None and silent >= long_enough

    def _connect(
        self,
        reader: BackgroundReader,
        done: Json | None,
        was_left: bool,
    ) -> Connect:
        problem = reader.problem
        last = done.get("lastSeq") if done else None
        if done and done.get("finalResult"):
            self.final = done["finalResult"]
        if done:
            self.done_status = terminal_status(done.get("status"))
        return Connect(
            came=self.seen.came,
            cut=problem is not None and (reader.opened or _may_pass(problem)),
            done=done is not None,
            behind=isinstance(last, int) and last > self.seen.highest_seq,
            left=was_left,
        )

    def _take(self, event: Event | None) -> Iterator[Event]:
        if event is None or not self._is_ours(event) or not self.seen.is_new(event):
            return
        self.news_at = self.clock()
        self.progress_at = self.news_at
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
        self.state.poll()
        if not self.streaming and self.state.status is None:
            self.question = standing(
                self.client, self.task_id, self.answered, stream=False
            )

    def _seconds_to_poll(self) -> float:
        """Return the seconds until the status is due: sooner when this may be the last word."""
        wait: float = POLL_SECONDS
        if self.state.status is not None:
            wait = DRAIN_POLL_SECONDS
        if self.question:
            wait = QUESTION_GRACE_SECONDS
        since = max(self.news_at, self.state.polled_at)
        return self._bounded(self._of_a_short_watch(wait) - (self.clock() - since))

    def _of_a_short_watch(self, wait: float) -> float:
        """Return a wait, shorter where little time is left: its end should be seen as well."""
        left = self.client.deadline.left()
        return wait if left is None else min(wait, max(left / 2, LEAST_POLL_SECONDS))

    def _bounded(self, seconds: float) -> float:
        return self.client.deadline.within(seconds).left() or 0.0

    def _check_deadline(self) -> None:
        if self.client.deadline.expired:
            raise DeadlineReached(
                "the time is over and the task is still running",
                hint="type the same line again to go on",
            )


def _may_pass(problem: Exception) -> bool:
    """Tell whether what kept a stream from opening may be gone at the next attempt."""
    # A web page in place of a stream is a proxy's word, not the service's.
    is_page = isinstance(problem, AnswerUnreadable)
    return is_page or (isinstance(problem, RebyteError) and problem.retryable)
