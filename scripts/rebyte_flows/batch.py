"""Many tasks at once, resumable: each line is one task, started at most once however often it is
typed.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

from rebyte_flows.entries import Entry
from rebyte_flows.files.atomic import open_folder, remove_stale
from rebyte_flows.following.follower import Follower
from rebyte_flows.following.result import task_document
from rebyte_flows.results import Results
from rebyte_flows.values.contradictions import check_possible
from rebyte_wire.errors import (
    AuthError,
    DeadlineReached,
    InputError,
    LedgerUnwritable,
    OutcomeUnknown,
    RateLimited,
    RebyteError,
)
from rebyte_wire.retry import MAX_RETRY_AFTER_SECONDS
from rebyte_wire.status import FINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from rebyte_flows.code.home.homecoming import Homecoming
    from rebyte_flows.following.expectation import Expectation
    from rebyte_flows.starting.submitter import Submission, Submitter
    from rebyte_flows.state import StateFolder
    from rebyte_types import Json

SLOW_DOWN_SECONDS = 2.0
POLL_SECONDS = 0.05
# A wait with a limit lets signals through on every platform.
JOIN_SECONDS = 0.2
# What tells of all tasks is written anew after an end, for a twentieth of the time at the most.
PAUSE_PER_WRITING = 20


class Batch:
    """Runs entries through one Submitter, so many at once.

    `code_of(task_id)` gives what brings a task's code home. `on_change(entry)` is told of each
    change; `on_tick()` is called now and then while it runs, and may raise to end it.
    """

    def __init__(
        self,
        submitter: Submitter,
        entries: Sequence[Entry],
        out: str,
        *,
        state: StateFolder,
        concurrency: int = 8,
        max_failures: int | None = None,
        retry_failed: bool = False,
        again: bool = False,
        cancel_after: float | None = None,
        service: str = "cloud",
        results: Results | None = None,
        expect: Callable[[], Expectation | None] | None = None,
        code_of: Callable[[str], Homecoming | None] | None = None,
        on_change: Callable[[Entry], object] | None = None,
        on_tick: Callable[[], object] | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.submitter = submitter
        self.entries = list(entries)
        self.out = out
        self.state = state
        self.concurrency = max(1, concurrency)
        self.max_failures = max_failures
        self.retry_failed = retry_failed
        self.again = again
        self.cancel_after = cancel_after
        self.service = service
        self.results = results or Results(out)
        self._written = 0
        self._write_after = 0.0
        self._expect = expect or _nothing
        self.code_of = code_of
        # Why nothing more is started: an error, or words; None while it goes on.
        self.stopped: RebyteError | str | None = None
        self._on_change = on_change or _discard
        self._on_tick = on_tick or _nothing
        self._sleep = sleep
        self._lock = threading.Lock()
        self._pause_until = 0.0
        self._queue: list[Entry] = []

    def __repr__(self) -> str:
        return "Batch(%d entries, %s)" % (len(self.entries), self.counts())

    def counts(self) -> dict[str, int]:
        """Return how many entries stand how; `invalid` ones lack the value asked for."""
        found: dict[str, int] = {}
        for entry in self.entries:
            found[entry.standing] = found.get(entry.standing, 0) + 1
        return found

    def run(self) -> None:
        """Run until every entry has ended or the client's deadline is over.

        Raises GuardRefused, and InputError for a schema that no value can fit, before anything is
        sent; lines that were all started before go on.
        """
        open_folder(self.out)
        remove_stale(self.out)
        self._recall()
        self._queue = [entry for entry in self.entries if entry.document is None][::-1]
        new = sum(1 for entry in self._queue if self._starts_anew(entry))
        if new and self.results.schema:
            check_possible(self.results.schema)
        self.submitter.check_guards(new)
        width = min(self.concurrency, len(self._queue))
        threads = [
            threading.Thread(target=self._work, daemon=True) for _ in range(width)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(JOIN_SECONDS)
                self._on_tick()
                self._write_progress()

    def stop(self, reason: RebyteError | str) -> None:
        """Start nothing more."""
        self.stopped = self.stopped or reason

    def write_results(self) -> dict[str, str]:
        """Write what tells of all tasks, in the order of the input; see Results.write."""
        return self.results.write([entry.record for entry in self.entries])

    def _write_progress(self) -> None:
        """Write it anew after an end, seldom enough to leave the time to the tasks."""
        ended = sum(entry.document is not None for entry in self.entries)
        if ended == self._written or time.monotonic() < self._write_after:
            return
        began = time.monotonic()
        # The last writing tells what the disk says.
        with suppress(OSError):
            self.write_results()
        self._written = ended
        now = time.monotonic()
        self._write_after = now + (now - began) * PAUSE_PER_WRITING

    def _recall(self) -> None:
        """Take over what an earlier call brought to its end, so that nothing is asked or fetched
        twice.
        """
        kept = self.results.kept()
        for entry in self.entries:
            entry.row = self.submitter.ledger.find_previous(entry.request, entry.name)
            if entry.row is None or not entry.row.is_started():
                continue
            found = kept.get(entry.row.task_id)
            if found and self.results.is_whole(found) and not self._starts_anew(entry):
                entry.document = found

    def _starts_anew(self, entry: Entry) -> bool:
        """Tell whether this line starts anew by the table of reruns."""
        return self.submitter.starts_anew(
            entry.request, name=entry.name, again=self._again(entry)
        )

    def _again(self, entry: Entry) -> bool:
        has_failed = entry.row is not None and entry.row.status == "failed"
        return self.again or (self.retry_failed and has_failed)

    def _work(self) -> None:
        """Take one entry after the other until none is left, the time is over, or the batch is
        stopped.
        """
        while True:
            with self._lock:
                if self.stopped or not self._queue or self._is_late():
                    return
                entry = self._queue.pop()
            try:
                entry.document = self._run_one(entry)
            except (AuthError, LedgerUnwritable) as problem:
                # Every other line would end the same way.
                entry.document = self._failed(entry, problem)
                self.stop(problem)
            except DeadlineReached:
                entry.document = self.running_document(entry)
            except Exception as problem:
                entry.document = self._failed(entry, problem)
            self._on_change(entry)
            self._count_failures()

    def _is_late(self) -> bool:
        return self.submitter.client.deadline.expired

    def _run_one(self, entry: Entry) -> Json:
        """Start one entry (or go on with it) and follow it to its document."""
        folder = os.path.join(self.out, entry.folder_name)
        if os.path.islink(folder):
            raise InputError(
                "%s is a link, which is not followed" % folder,
                hint="move it away or pass another --out",
            )
        submission = self._submit(entry)
        row = entry.row = submission.row
        entry.reused = submission.reused
        self._on_change(entry)
        ledger = self.submitter.ledger
        expectation = self._expect()
        follower = Follower(
            self.submitter.client,
            row,
            state=self.state,
            out=folder,
            want=entry.request.want,
            request=entry.request,
            reused=submission.reused,
            service=self.service,
            answered=ledger.answered(row.task_id),
            expectation=expectation,
            code=self._code_of(row.task_id),
            sleep=self._sleep,
        )
        timer = self._cancel_timer(follower)
        try:
            document: Any = follower.follow()
        except RebyteError as problem:
            if follower.status not in FINAL or isinstance(problem, DeadlineReached):
                raise
            # Its answer is here; what broke is the turn that was to mend its value.
            document = follower.document_now()
            document["error"] = problem.as_dict()
        finally:
            timer.cancel()
        if document["status"] in FINAL:
            first = (expectation and expectation.first) or document
            prompt_id = row.prompt_id or first.get("promptId")
            ledger.update(row.id, status=first["status"], prompt_id=prompt_id)
        found: Json = document
        return found

    def _code_of(self, task_id: str) -> Homecoming | None:
        return self.code_of(task_id) if self.code_of else None

    def _cancel_timer(self, follower: Follower) -> threading.Timer:
        """Return the timer that cancels a task whose end nobody has seen when its time comes."""
        timer = threading.Timer(0, self._cancel, [follower])
        timer.daemon = True
        row = follower.row
        if self.cancel_after is not None and row.delivered_at is None:
            # A start in the future comes from a clock that was put back: it counts from now.
            age = max(0.0, time.time() - row.claimed_at)
            timer.interval = max(0.0, self.cancel_after - age)
            timer.start()
        return timer

    def _cancel(self, follower: Follower) -> None:
        try:
            follower.cancel()
        except RebyteError as problem:
            self.submitter.info("--cancel-after: %s" % problem.message)

    def _submit(self, entry: Entry) -> Submission:
        while True:
            while not self._is_late() and time.monotonic() < self._pause_until:
                self._sleep(POLL_SECONDS)
            try:
                return self.submitter.submit(
                    entry.request, name=entry.name, again=self._again(entry)
                )
            except RateLimited as problem:
                self._slow_down(problem)

    def _slow_down(self, problem: RateLimited) -> None:
        """Let all starts wait after a 429; raises it where the wait would outlast the slice."""
        wait = problem.retry_after or SLOW_DOWN_SECONDS
        with self._lock:
            self._pause_until = max(self._pause_until, time.monotonic() + wait)
        left = self.submitter.client.deadline.left()
        limit = (
            MAX_RETRY_AFTER_SECONDS
            if left is None
            else min(left, MAX_RETRY_AFTER_SECONDS)
        )
        if wait > limit:
            # No line can be started in this slice.
            self.stop(problem)
        if self.stopped or self._is_late():
            raise problem

    def _count_failures(self) -> None:
        failures = sum(
            1 for entry in self.entries if entry.status in ("failed", "error")
        )
        if self.max_failures is not None and failures > self.max_failures:
            self.stop("more than %d failures" % self.max_failures)

    def _failed(self, entry: Entry, problem: Exception) -> Json:
        """Return the document of an entry that ended with an error, with the ids that are known."""
        error: Any = {"code": "unexpected", "message": str(problem)[:300]}
        details: Json = {}
        if isinstance(problem, RebyteError):
            error = problem.as_dict()
            details = problem.details or {}
        ids: Json = {key: details.get(key) for key in ("id", "workspaceId", "url")}
        row = entry.row
        # The row of an earlier attempt is not that of the start which failed.
        if row is not None and row.is_started() and not self._starts_anew(entry):
            ids = {"id": row.task_id, "workspaceId": row.workspace_id, "url": row.url}
        document: Any = task_document(once=entry.name, service=self.service, **ids)
        document["error"] = error
        if isinstance(problem, OutcomeUnknown) and details.get("row"):
            document["row"] = details["row"]
        found: Json = document
        return found

    def running_document(self, entry: Entry) -> Json | None:
        """Return the document of an entry whose task was started and may still run, None for any
        other.
        """
        row = entry.row
        if row is None or not row.is_started() or row.status in FINAL:
            return None
        if self._starts_anew(entry):
            return None
        document: Any = task_document(
            id=row.task_id,
            workspaceId=row.workspace_id,
            url=row.url,
            once=row.name,
            status="running",
            service=self.service,
        )
        found: Json = document
        return found


def _discard(entry: Entry) -> None:
    """Tell nobody."""


def _nothing() -> None:
    """Do nothing."""
