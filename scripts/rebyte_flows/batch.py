"""Many tasks at once, resumable: each line of the input is one task, started at most once however often the batch is typed."""

from __future__ import annotations

import json
import os
import threading
import time

from rebyte_flows.files.atomic import open_folder
from rebyte_flows.following.result import task_document
from rebyte_flows.following.follower import Follower
from rebyte_flows.starting.rows import START
from rebyte_flows.state import open_private
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

RESULTS = "results.jsonl"
ALLOWANCE, RETRY_COST, SUCCESS_GAIN = 500, 14, 1
SLOW_DOWN_SECONDS = 2.0
FOLDER_NAME_CHARACTERS = 40


class Entry:
    """One line of a batch: its order and name, and what became of it as `document`."""

    def __init__(self, index, order, name=None):
        self.index, self.order, self.name = index, order, name
        self.document, self.row, self.reused = None, None, False

    def __repr__(self):
        return "Entry(%d %s)" % (self.index, self.status)

    @property
    def status(self):
        """completed, failed, canceled, question, running, unknown, error or waiting."""
        if self.document is None:
            return "waiting"
        if "status" in self.document:
            return self.document["status"]
        return "unknown" if self.document["error"].get("code") == "outcome_unknown" else "error"

    @property
    def folder_name(self):
        """A folder name of this entry's own: its place, and its name where that is harmless."""
        plain = "".join(
            letter if letter.isalnum() and letter.isascii() or letter in "-_." else "-"
            for letter in self.name or ""
        )
        return "%04d%s" % (
            self.index,
            "-" + plain[:FOLDER_NAME_CHARACTERS].strip("-.") if plain.strip("-.") else "",
        )


class Batch:
    """Runs entries through one Starter, so many at once; `changed(entry)` is told of each change."""

    def __init__(
        self,
        starter,
        entries,
        out,
        *,
        state,
        concurrency=8,
        max_failures=None,
        retry_failed=False,
        again=False,
        cancel_after=None,
        service="cloud",
        changed=None,
        sleep=time.sleep,
    ):
        self.starter, self.entries, self.out, self.state = starter, entries, out, state
        self.concurrency, self.max_failures, self.retry_failed = (
            max(1, concurrency),
            max_failures,
            retry_failed,
        )
        self.again, self.cancel_after = again, cancel_after
        self.service, self.changed, self.sleep = service, changed or (lambda entry: None), sleep
        self.stopped = None
        self._lock, self._allowance, self._pause_until = threading.Lock(), ALLOWANCE, 0.0
        self._queue, self._threads = [], []

    def __repr__(self):
        return "Batch(%d entries, %s)" % (len(self.entries), self.counts())

    def counts(self):
        """Return how many entries stand how."""
        found = {}
        for entry in self.entries:
            found[entry.status] = found.get(entry.status, 0) + 1
        return found

    def run(self):
        """Run until every entry has ended or the client's deadline is over; raises GuardRefused before anything is sent."""
        open_folder(self.out)
        self._recall()
        self._queue = [entry for entry in self.entries if entry.document is None][::-1]
        self._check_guards()
        self._threads = [
            threading.Thread(target=self._work, name="rebyte-batch-%d" % n, daemon=True)
            for n in range(min(self.concurrency, len(self._queue)))
        ]
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            while thread.is_alive():
                # A wait with a limit lets signals through on every platform.
                thread.join(0.2)

    def stop(self, reason):
        """Start nothing more."""
        self.stopped = self.stopped or reason

    def write_results(self):
        """Write results.jsonl in the order of the input and return its path; entries that never began stand there too."""
        path = os.path.join(self.out, RESULTS)
        # Another batch may write to the same folder.
        temporary = "%s.%s.part" % (path, os.urandom(4).hex())
        with open_private(temporary) as file:
            for entry in self.entries:
                line = dict({"index": entry.index}, **(entry.document or {"status": "waiting"}))
                file.write(json.dumps(line) + "\n")
        os.replace(temporary, path)
        return os.path.abspath(path)

    def _recall(self):
        """Take over what an earlier call brought to its end, so that nothing is asked or fetched twice."""
        kept = self._kept_documents()
        for entry in self.entries:
            row = entry.row = self.starter.ledger.earlier(entry.order, entry.name)
            found = kept.get(row.task_id) if row is not None and row.is_started() else None
            if found is not None and found.get("status") in FINAL and not self._starts_anew(entry):
                entry.document = found

    def _starts_anew(self, entry):
        """Tell whether this line starts anew by the table of reruns."""
        return (
            self.starter.next_move(entry.row, entry.order, entry.name, self._again(entry)) == START
        )

    def _kept_documents(self):
        kept = {}
        try:
            with open(os.path.join(self.out, RESULTS), encoding="utf-8") as file:
                for line in file:
                    found = json.loads(line)
                    found.pop("index", None)
                    kept[found.get("id")] = found
        except (OSError, ValueError, AttributeError):
            pass
        return kept

    def _check_guards(self):
        """Refuse the whole batch before a byte is sent when it cannot be started within the guards."""
        new = sum(1 for entry in self._queue if self._starts_anew(entry))
        self.starter.guards.check_many(new, self.starter.ledger.count_today())

    def _again(self, entry):
        return (
            self.again
            or self.retry_failed
            and entry.row is not None
            and entry.row.status == "failed"
        )

    def _work(self):
        while True:
            with self._lock:
                if self.stopped or not self._queue or self._is_late():
                    return
                entry = self._queue.pop()
            try:
                entry.document = self._one(entry)
            except (AuthError, LedgerUnwritable) as problem:
                # Every other line would end the same way.
                entry.document = self._failed(entry, problem)
                self.stop(problem)
            except DeadlineReached:
                entry.document = self.running_document(entry)
            except Exception as problem:
                entry.document = self._failed(entry, problem)
            self.changed(entry)
            self._count_failures()

    def _is_late(self):
        return self.starter.client.deadline.expired

    def _one(self, entry):
        """Start one entry (or go on with it) and follow it to its document."""
        started = self._start(entry)
        row = entry.row = started.row
        entry.reused = started.reused
        self.changed(entry)
        job = Follower(
            self.starter.client,
            row,
            state=self.state,
            out=os.path.join(self.out, entry.folder_name),
            want=entry.order.want,
            order=entry.order,
            reused=started.reused,
            service=self.service,
            answered=self.starter.ledger.replies(row.task_id),
            sleep=self.sleep,
        )
        timer = self._timer(job)
        try:
            document = job.follow()
        finally:
            timer.cancel()
        if document["status"] in FINAL:
            self.starter.ledger.note(
                row.id,
                status=document["status"],
                prompt_id=row.prompt_id or document.get("promptId"),
            )
        return document

    def _timer(self, job):
        """Return the timer that cancels a job whose end nobody has seen when its time comes; one without a limit never does."""
        timer = threading.Timer(0, self._cancel, [job])
        timer.daemon = True
        if self.cancel_after is not None and job.row.delivered_at is None:
            timer.interval = max(0.0, job.row.claimed_at + self.cancel_after - time.time())
            timer.start()
        return timer

    def _cancel(self, job):
        try:
            job.cancel()
        except RebyteError as problem:
            self.starter.say("--cancel-after: %s" % problem.message)

    def _start(self, entry):
        while True:
            self._wait_for_calm()
            try:
                started = self.starter.start(entry.order, name=entry.name, again=self._again(entry))
                self._allowance = min(ALLOWANCE, self._allowance + SUCCESS_GAIN)
                return started
            except RateLimited as problem:
                self._slow_down(problem)

    def _wait_for_calm(self):
        while not self._is_late() and time.monotonic() < self._pause_until:
            self.sleep(0.05)

    def _slow_down(self, problem):
        """All starts wait after a 429; the allowance is shared, so a sick service is not asked by every thread in turn."""
        with self._lock:
            self._allowance -= RETRY_COST
            spent = self._allowance < 0
            self._pause_until = max(
                self._pause_until, time.monotonic() + (problem.retry_after or SLOW_DOWN_SECONDS)
            )
        left = self.starter.client.deadline.left()
        most = MAX_RETRY_AFTER_SECONDS if left is None else min(left, MAX_RETRY_AFTER_SECONDS)
        if (problem.retry_after or 0) > most:
            # No line can be started in this slice.
            self.stop(problem)
        if spent or self.stopped or self._is_late():
            raise problem

    def _count_failures(self):
        failures = sum(1 for entry in self.entries if entry.status in ("failed", "error"))
        if self.max_failures is not None and failures > self.max_failures:
            self.stop("more than %d failures" % self.max_failures)

    def _failed(self, entry, problem):
        error = (
            problem.as_dict()
            if isinstance(problem, RebyteError)
            else {"code": "unexpected", "message": str(problem)[:300]}
        )
        details = getattr(problem, "details", None) or {}
        known = {key: details[key] for key in ("id", "workspaceId", "url") if details.get(key)}
        # The row of an earlier attempt is not that of the start which failed.
        if entry.row is not None and entry.row.is_started() and not self._starts_anew(entry):
            known = {
                "id": entry.row.task_id,
                "workspaceId": entry.row.workspace_id,
                "url": entry.row.url,
            }
        found = dict(task_document(once=entry.name, service=self.service, **known), error=error)
        if isinstance(problem, OutcomeUnknown) and details.get("row"):
            found["row"] = details["row"]
        return found

    def running_document(self, entry):
        """Return the document of an entry whose task was started and may still run, None for one that has none (yet)."""
        row = entry.row
        if row is None or not row.is_started() or row.status in FINAL or self._starts_anew(entry):
            return None
        return task_document(
            id=row.task_id,
            workspaceId=row.workspace_id,
            url=row.url,
            once=row.name,
            status="running",
            service=self.service,
        )


def number_equals(entries):
    """Tell equal lines apart by an ordinal among equals, so that they are as many tasks as there are lines."""
    seen = {}
    for entry in entries:
        if entry.name is None:
            digest = entry.order.digest()
            entry.order.ordinal = seen.get(digest, 0)
            seen[digest] = entry.order.ordinal + 1
    names = [entry.name for entry in entries if entry.name is not None]
    twice = (
        sorted({name for name in names if names.count(name) > 1})
        if len(set(names)) != len(names)
        else []
    )
    if twice:
        raise InputError(
            "two lines have the name %s" % ", ".join(twice[:5]),
            hint="a name stands for one task; rename one of them",
        )
