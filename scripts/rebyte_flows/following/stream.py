"""One task's events, each exactly once, up to an end that can be trusted.

The service replays from the start on each connect, may renumber, may say `done` before anything ran, and may let the last
words come after the status has flipped. So: a connection is only a source of events; the truth about the end is the status.
"""

from __future__ import annotations

import json
import time

from rebyte_flows.concurrency import EOF, ERROR, TIMEOUT, BackgroundReader
from rebyte_flows.following.deduplication import EventDeduplicator
from rebyte_wire.errors import (
    AuthError,
    DeadlineReached,
    NetworkError,
    NotFound,
    RebyteError,
    RouteMissing,
)
from rebyte_wire.sse import Decoder
from rebyte_wire.status import dict_items, parse_timestamp, terminal_status

QUIET_LOOK_SECONDS = 15
QUESTION_GRACE_SECONDS = 1.5
NEW_TASK_GRACE_SECONDS = 5
BACK_OFF_SECONDS = (0.2, 0.5, 1, 2, 4, 8)
EMPTY_DONE_PAUSE_SECONDS = 0.8
FAILURES_AT_MOST = 8
DRAIN_AT_LEAST_SECONDS = 5
DRAIN_AT_MOST_SECONDS = 10
WORDS = ("text", "assistant", "message", "response", "result")


class End:
    """How a watch ended: status completed, failed, canceled or question; `final` is what `done` said last, if anything.

    `task` is what the service told with that status, empty with a question.
    """

    def __init__(self, status, final=None, question=None, task=None):
        self.status, self.final, self.question, self.task = status, final, question, task or {}

    def __repr__(self):
        return "End(%s)" % self.status


def watch(
    client, task_id, *, prompt_id=None, answered=(), age=0, clock=time.monotonic, sleep=time.sleep
):
    """Yield one task's events (the service's envelopes, as dictionaries) and at last an End.

    `prompt_id` follows that very prompt; else the task's latest. `answered` names the message ids of questions that were
    answered already. A task younger than 5 s (`age` in seconds) may not be visible yet. Raises DeadlineReached when the
    client's deadline comes first, AuthError, NotFound, and NetworkError or ServerError when the service cannot be reached
    several times running.
    """
    return _Watch(client, task_id, prompt_id, answered, age, clock, sleep).events()


class _Watch:
    def __init__(self, client, task_id, prompt_id, answered, age, clock, sleep):
        self.client, self.task_id, self.prompt_id = client, task_id, prompt_id
        self.clock, self.sleep = clock, sleep
        self.answered = {str(word) for word in answered}
        self.sightings = EventDeduplicator()
        self.nested = {}
        self.born, self.failures, self.status, self.ended_at = clock() - age, 0, None, None
        self.spoken = self.cut = self.done = self.behind = False
        self.question = self.final = self.task = None

    def events(self):
        """Yield events, connect after connect, and at last the End."""
        while True:
            came = False
            for event in self._one_connect():
                came = True
                yield event
            if self.question:
                # A task that was canceled while it asked asks no more.
                self._look()
            if self.question and not self._is_over():
                yield End("question", question=self.question)
                return
            if self._may_end():
                yield from self._nested_events()
                yield End(self.status, self.final, task=self.task)
                return
            self._pause(came)

    def _one_connect(self):
        """Yield what one connection brings that was not told before; leaves by itself when the connection ends."""
        self.done = self.cut = self.behind = False
        try:
            stream = self.client.stream_events(self.task_id)
        except RebyteError as problem:
            self._forgive(problem)
            return
        pump, decoder = BackgroundReader(stream), Decoder()
        self.sightings.begin_connect()
        try:
            while not self.done:
                chunk = pump.get(self._patience())
                if chunk is TIMEOUT:
                    if self._quiet_means_stop():
                        return
                    continue
                if chunk is EOF or chunk is ERROR:
                    self.cut = chunk is ERROR
                    break
                for frame in decoder.feed(chunk):
                    yield from self._take(frame)
        finally:
            pump.close()
        if self.sightings.on_this_connect:
            self.failures = 0

    def _patience(self):
        """Return how long to wait for the next bytes: short when a question may be the last thing said."""
        wait = QUESTION_GRACE_SECONDS if self.question else QUIET_LOOK_SECONDS
        if self._is_over():
            wait = min(wait, DRAIN_AT_LEAST_SECONDS)
        left = self._left()
        return wait if left is None else min(wait, left)

    def _quiet_means_stop(self):
        self._check_deadline()
        self._look()
        return bool(self.question) or self._is_over()

    def _take(self, frame):
        if frame.event == "done":
            self.done = True
            self._note_done(object_in(frame.data))
            return
        event = object_in(frame.data)
        if event is None or not self._is_ours(event) or not self.sightings.is_new(event):
            return
        self._learn(event)
        yield event
        if self.nested:
            yield from self._nested_events()

    def _is_ours(self, event):
        return self.prompt_id is None or event.get("promptId") in (None, self.prompt_id)

    def _learn(self, event):
        kind, payload = event.get("eventType"), event.get("payload")
        payload = payload if isinstance(payload, dict) else {}
        if kind in ("tool_use", "ask_user_question"):
            self.spoken = False
        elif kind in WORDS and event_text(payload):
            self.spoken = True
        if kind == "ask_user_question":
            self.question = None if str(payload.get("messageId")) in self.answered else payload
        elif kind != "stderr":
            self.question = None
        if kind in ("tool_use", "tool_result") and isinstance(payload.get("subPromptId"), str):
            self.nested.setdefault(
                payload["subPromptId"], [0, payload.get("id") or payload.get("tool_id")]
            )

    def _note_done(self, payload):
        payload = payload or {}
        if payload.get("finalResult"):
            self.final = payload["finalResult"]
        last = payload.get("lastSeq")
        self.behind = isinstance(last, int) and last > self.sightings.highest_seq

    def _nested_events(self):
        """Yield the events of delegated work that are new, each marked with its parent; forgiven where not offered."""
        for prompt_id, state in list(self.nested.items()):
            try:
                found = dict_items(self.client.prompt_events(self.task_id, prompt_id), "events")
            except (AuthError, DeadlineReached):
                raise
            except RebyteError:
                del self.nested[prompt_id]
                continue
            for event in found[state[0] :]:
                yield dict(event, parent=state[1], subPromptId=prompt_id)
            state[0] = len(found)

    def _look(self):
        """Ask for the status: the only word about the end that counts."""
        try:
            task = self.client.get_task(self.task_id)
        except RebyteError as problem:
            self._forgive(problem)
            return
        self.failures, self.task = 0, task
        turns = [prompt.get("id") for prompt in dict_items(task, "prompts")]
        if (
            self.prompt_id
            and turns
            and self.prompt_id not in turns
            and self.clock() - self.born > NEW_TASK_GRACE_SECONDS
        ):
            raise NotFound("the task %s has no turn %s" % (self.task_id, self.prompt_id))
        self.status = status_of(task, self.prompt_id)
        if self.status and self.ended_at is None:
            self.ended_at = self.clock() - self._since(ended_at(task, self.prompt_id))
        if not self.status:
            self.ended_at = None

    def _since(self, moment):
        """Return how many seconds ago a moment of the service's clock was, 0 when it tells none."""
        return (
            0
            if moment is None
            else max(0.0, time.time() + (getattr(self.client, "clock_skew", None) or 0) - moment)
        )

    def _is_over(self):
        return self.status is not None

    def _may_end(self):
        """Tell whether the end can be trusted: the status says so, and the last words are in or were waited for."""
        was_over = self._is_over()
        self._look()
        if not self._is_over():
            return False
        waited = self.clock() - self.ended_at
        if waited >= DRAIN_AT_MOST_SECONDS:
            return True
        whole = (
            not self.cut
            and not self.behind
            and (self.done or was_over)
            and self.sightings.on_this_connect > 0
        )
        if whole and self.spoken:
            return True
        return waited >= DRAIN_AT_LEAST_SECONDS and not self.cut and was_over

    def _pause(self, came):
        self._check_deadline()
        tries = 0 if came else min(self.failures, len(BACK_OFF_SECONDS) - 1)
        wait = max(
            BACK_OFF_SECONDS[tries], EMPTY_DONE_PAUSE_SECONDS if self.done and not came else 0
        )
        left = self._left()
        self.sleep(wait if left is None else min(wait, left))
        self._check_deadline()

    def _forgive(self, problem):
        """Let single failures pass; raise what waiting cannot mend."""
        if isinstance(problem, (AuthError, DeadlineReached, RouteMissing)):
            raise problem
        if isinstance(problem, NotFound):
            if self.clock() - self.born > NEW_TASK_GRACE_SECONDS:
                raise problem
            return
        self.failures += 1
        if self.failures > FAILURES_AT_MOST or not (
            problem.retryable or isinstance(problem, NetworkError)
        ):
            raise problem

    def _left(self):
        return self.client.deadline.left()

    def _check_deadline(self):
        if self._left() == 0:
            raise DeadlineReached(
                "the time is over and the task is still running",
                hint="type the same line again to go on",
            )


def status_of(task, prompt_id=None):
    """Return completed, failed or canceled for a prompt of a task (else the whole task), or None while it runs."""
    if prompt_id is None:
        return terminal_status(task.get("status"))
    for prompt in dict_items(task, "prompts"):
        if prompt.get("id") == prompt_id:
            return terminal_status(prompt.get("status"))
    return None


def ended_at(task, prompt_id=None):
    """Return when a prompt of a task (else the whole task) ended, in seconds since 1970 by the service's clock, or None."""
    told = next(
        (prompt for prompt in dict_items(task, "prompts") if prompt.get("id") == prompt_id), task
    )
    return parse_timestamp(told.get("completedAt"))


def event_text(payload):
    """Return the text an event's payload carries, under whichever key, or an empty text."""
    for key in ("content", "text", "result", "message"):
        if isinstance(payload.get(key), str) and payload[key]:
            return payload[key]
    return ""


def object_in(text):
    """Return the JSON object a frame's data holds, or None."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
