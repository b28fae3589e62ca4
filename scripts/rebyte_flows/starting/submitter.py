"""One paid start, at most once: claim its line in the ledger, send it, record the answer, look for
a lost one.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial

from rebyte_flows.files.uploads import Uploads
from rebyte_flows.starting.credit import credit_note, may_be_about_credit
from rebyte_flows.starting.guards import Guards
from rebyte_flows.starting.reconciliation import (
    prompts_of,
    reconcile_row,
    still_unknown,
)
from rebyte_flows.starting.requests import digest_of_prompt, is_follow_up
from rebyte_flows.starting.rows import (
    CREATED,
    NEVER_STARTED,
    NOT_SENT,
    OPEN,
    RECONCILE,
    REFUSED,
    SENT,
    START,
    UNKNOWN,
    WAIT,
)
from rebyte_wire.errors import (
    DeadlineReached,
    LedgerUnwritable,
    NotRecorded,
    OutcomeUnknown,
    RebyteError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rebyte_client import RebyteClient
    from rebyte_flows.starting.ledger import Ledger
    from rebyte_flows.starting.requests import StartRequest
    from rebyte_flows.starting.rows import Row
    from rebyte_types import Json

POLL_SECONDS = 0.25
REASON_CHARACTERS = 300


class Submission:
    """What a start came to: the ledger's row, the service's answer (None when it was not this call
    that got it), and `reused`: nothing was sent because the same line had been started before.
    """

    def __init__(
        self, row: Row, answer: Json | None = None, reused: bool = False
    ) -> None:
        self.row = row
        self.answer = answer
        self.reused = reused

    def __repr__(self) -> str:
        return "Submission(%r%s)" % (self.row, ", reused" if self.reused else "")


class Submitter:
    """Starts requests through one client and one ledger; safe to share by the threads of a batch.

    `info` is told in one line what is waited for.
    """

    def __init__(
        self,
        client: RebyteClient,
        ledger: Ledger,
        *,
        guards: Guards | None = None,
        info: Callable[[str], None] | None = None,
        uploads: Uploads | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client = client
        self.ledger = ledger
        self.guards = guards or Guards()
        self.info = info or _discard
        self.uploads = uploads or Uploads(client)
        self.clock = clock
        self.sleep = sleep
        self._credit: str | None = None

    def __repr__(self) -> str:
        return "Submitter(%r, %r)" % (self.client, self.guards)

    def submit(
        self, request: StartRequest, *, name: str | None = None, again: bool = False
    ) -> Submission:
        """Start a request, or go on with the earlier start of the same line.

        Raises InputError (a name in use), GuardRefused, LedgerUnwritable, OutcomeUnknown,
        DeadlineReached (another run holds it), NotRecorded, and what the service or the network
        said.
        """
        for item in request.attachments:
            item.note_start(self.ledger.state, request.digest())
        while True:
            row, move = self.ledger.claim(
                request, name=name, again=again, guards=self.guards
            )
            if move == START:
                return self._send(request, row)
            if move == WAIT:
                # What was waited for is what is gone on with, a follow-up too; unless it never
                # started.
                row = self._wait_for_other(row)
                if row.state in NEVER_STARTED:
                    continue
            if move == RECONCILE or row.state in OPEN:
                return Submission(self._reconcile(row), reused=True)
            return Submission(row, reused=True)

    def move_for(self, request: StartRequest, *, name: str | None, again: bool) -> str:
        """Return what `submit` would do now (see rows.next_move); sends and writes nothing."""
        earlier = self.ledger.find_previous(request, name)
        return self.ledger.move_for(earlier, request, name=name, again=again)

    def starts_anew(
        self, request: StartRequest, *, name: str | None, again: bool
    ) -> bool:
        """Tell whether `submit` would pay for a new start now."""
        return self.move_for(request, name=name, again=again) == START

    def check_guards(self, new: int) -> None:
        """Raise GuardRefused when `new` starts are too many; counts nothing."""
        self.guards.check(new, self.ledger.count_today(), self.ledger.count_own())

    def _wait_for_other(self, row: Row) -> Row:
        """Wait while another live run is at this row, and return it as it is then; the deadline
        ends the wait.
        """
        self.info("another run is starting this very task; waiting for it")
        while self.ledger.is_held(row):
            if self.client.deadline.expired:
                raise DeadlineReached(
                    "another run is still starting this task",
                    hint="type the same line again",
                )
            self.sleep(POLL_SECONDS)
            row = self._looked_at(row)
        # What it wrote last may have come after the last look.
        row = self._looked_at(row)
        if row.state == SENT:
            self.ledger.update(
                row.id, state=UNKNOWN, reason="the run ended before the answer came"
            )
        elif row.state in OPEN and row.state != UNKNOWN:
            self.ledger.update(row.id, state=NOT_SENT)
        return self.ledger.row(row.id)

    def _looked_at(self, row: Row) -> Row:
        """Return a row as it is now, also where another folder has the newer copy."""
        self.ledger.take_over()
        return self.ledger.row(row.id)

    def _send(self, request: StartRequest, row: Row) -> Submission:
        """Upload and post what was claimed; an unknown outcome is looked into at once."""
        try:
            answer = self._post(request, row)
            return Submission(self._record(request, row, answer), answer)
        except OutcomeUnknown as problem:
            problem.details = dict(problem.details or {}, row=row.id)
            if problem.interrupted:
                # Who interrupts wants to leave: the next line looks.
                raise
            self.info("%s; looking whether the service has it" % problem.message)
        finally:
            self.ledger.release(row.id)
        return Submission(self._reconcile(self.ledger.row(row.id)))

    def _post(self, request: StartRequest, row: Row) -> Json:
        """Upload the attachments and post the body; a failure is recorded and raised."""
        notice = self._notice_when_late(row)
        try:
            files = self.uploads.send(request.attachments)
            body = request.body_with(files)
            known = self._prompts_before(request)
            mark_sent = partial(
                self.ledger.mark_sent,
                row.id,
                prompt_digest=digest_of_prompt(body.get("prompt") or ""),
                known=known,
            )
            answer: Any = self.client.request(
                "POST",
                request.path,
                query=request.query or None,
                body=body,
                before_send=mark_sent,
            )
            started: Json = answer
            return started
        except BaseException as problem:
            self._record_failure(row, problem)
            raise
        finally:
            notice.cancel()

    def _prompts_before(self, request: StartRequest) -> list[str]:
        """Return the prompts that a follow-up's task has already, so that a lost one can be told
        from them.
        """
        if not is_follow_up(request):
            return []
        task = self.client.get_task(request.task_id or "")
        return [prompt["id"] for prompt in prompts_of(task)]

    def _notice_when_late(self, row: Row) -> threading.Timer:
        """Return a timer that says once that the deadline has passed while a sent start is waited
        for.
        """
        left = self.client.deadline.left()
        timer = threading.Timer(left or 0, self._tell_late, (row,))
        timer.daemon = True
        if left is not None:
            timer.start()
        return timer

    def _tell_late(self, row: Row) -> None:
        if self.ledger.in_flight.get(row.id):
            self.info(
                "the time is over, but a paid start is on its way; waiting for its answer"
            )

    def _record(self, request: StartRequest, row: Row, answer: Json) -> Row:
        try:
            return self.ledger.record(
                row.id, state=CREATED, **request.kind.columns(answer)
            )
        except LedgerUnwritable as problem:
            raise NotRecorded(
                "the start was accepted but could not be recorded: %s"
                % problem.message,
                hint="keep these ids; a rerun of the same line would not know of them",
                details=dict(answer),
            ) from problem

    def _record_failure(self, row: Row, problem: BaseException) -> None:
        """Write down what is known of a start that failed; an interrupted one whose bytes left
        becomes OutcomeUnknown.
        """
        sent = self.ledger.in_flight.get(row.id, False)
        outcome = NOT_SENT
        if sent:
            outcome = getattr(problem, "outcome", None) or UNKNOWN
        reason = (
            problem.message
            if isinstance(problem, RebyteError)
            else type(problem).__name__
        )
        # A row that cannot be written stays open, held by nobody: the next look reconciles it.
        write = self.ledger.record if sent else self.ledger.update
        with suppress(LedgerUnwritable):
            write(row.id, state=outcome, reason=reason[:REASON_CHARACTERS])
        if outcome == REFUSED and isinstance(problem, RebyteError):
            self._name_credit(problem)
        if outcome == UNKNOWN and not isinstance(problem, Exception):
            unknown = still_unknown(row, looked=False)
            unknown.interrupted = True
            raise unknown from problem

    def _name_credit(self, problem: RebyteError) -> None:
        """Say in a refusal how credit stands, asked for once for all starts of this command."""
        if not may_be_about_credit(problem):
            return
        if self._credit is None:
            self._credit = credit_note(self.client) or ""
        if self._credit:
            problem.message = "%s; %s" % (problem.message.rstrip("."), self._credit)
            problem.warnings = [self._credit]

    def _reconcile(self, row: Row) -> Row:
        try:
            return reconcile_row(
                self.client,
                self.ledger,
                row,
                info=self.info,
                sleep=self.sleep,
                clock=self.clock,
            )
        except Exception:
            raise
        except BaseException as interrupt:
            # An interrupt does not make an unknown start any less unknown.
            unknown: Any = still_unknown(row)
            unknown.interrupted = True
            raise unknown from interrupt


def _discard(text: str) -> None:
    """Tell nobody."""
