"""One paid start, at most once: look, claim between connecting and sending, send, record, and settle what is unknown."""

from __future__ import annotations

import threading
import time

from rebyte_flows.files.uploads import Uploads
from rebyte_flows.starting.credit import credit_note, may_be_about_credit, name_credit
from rebyte_flows.starting.flight import Flight
from rebyte_flows.starting.orders import digest_of_prompt
from rebyte_flows.starting.reconciliation import reconcile_row, still_unknown
from rebyte_flows.starting.rows import RECONCILE, START, WAIT, check_same, next_move
from rebyte_wire.errors import (
    DeadlineReached,
    GuardRefused,
    InputError,
    LedgerUnwritable,
    NotRecorded,
    OutcomeUnknown,
    RebyteError,
)
from rebyte_wire.status import dict_items, str_field

HOLD_LOOK_SECONDS = 0.25
TASKS_PER_COMMAND = 20


def owners_limit(environ):
    """Return REBYTE_MAX_TASKS_PER_DAY as a whole number, None when it is not set; InputError when it is neither."""
    text = (environ.get("REBYTE_MAX_TASKS_PER_DAY") or "").strip()
    if text and not (text.isascii() and text.isdigit()):
        raise InputError(
            "REBYTE_MAX_TASKS_PER_DAY is %r; a whole number of 0 or more was expected" % text,
            hint="unset it or correct it",
        )
    return int(text) if text else None


class Guards:
    """The smallest wins: the owner's tasks per day, and the caller's tasks per command (20 when nothing is said)."""

    def __init__(self, per_day=None, per_command=None, lasting=True):
        self.per_day, self.lasting = per_day, lasting
        self.per_command = TASKS_PER_COMMAND if per_command is None else per_command
        self.started, self._lock = 0, threading.Lock()

    def __repr__(self):
        return "Guards(%s a day, %s a command, %d started)" % (
            self.per_day,
            self.per_command,
            self.started,
        )

    def check(self, count_today, kind="task"):
        """Count one more start, or raise GuardRefused when it is too many; a follow-up is no new task."""
        if kind == "follow-up":
            return
        with self._lock:
            self.check_many(1, count_today)
            self.started += 1

    def check_many(self, new, count_today):
        """Raise GuardRefused when so many new starts are too many; counts nothing."""
        if new and self.per_day is not None and not self.lasting:
            raise GuardRefused(
                "REBYTE_MAX_TASKS_PER_DAY is set, but there is no lasting ledger to count in",
                hint="set REBYTE_STATE_DIR to a folder that lasts",
                code="guard_no_ledger",
            )
        if self.per_day is not None and new and count_today + new > self.per_day:
            raise GuardRefused(
                "this would start %d more; REBYTE_MAX_TASKS_PER_DAY is %d, and %d were started in the last 24 hours"
                % (new, self.per_day, count_today),
                code="guard_tasks_per_day",
                hint="start fewer, or ask the owner of this key; only the owner raises it",
            )
        if self.started + new > self.per_command:
            raise GuardRefused(
                "this would start %d more; this command may start %d and has started %d"
                % (new, self.per_command, self.started),
                code="guard_tasks_per_command",
                hint="allow it knowingly: the same line with --max-tasks %d" % (self.started + new),
            )

    def give_back(self, kind="task"):
        """Uncount a start that was surely not made."""
        with self._lock:
            self.started -= kind != "follow-up"


class Submission:
    """What a start came to: the ledger's row, the service's answer (None when it was found by looking), and
    `reused`: nothing was sent because the same line had been started before."""

    def __init__(self, row, answer=None, reused=False):
        self.row, self.answer, self.reused = row, answer, reused

    def __repr__(self):
        return "Started(%r%s)" % (self.row, ", reused" if self.reused else "")


class Submitter:
    """Starts orders through one client and one ledger; safe to share by the threads of a batch."""

    def __init__(
        self,
        client,
        ledger,
        *,
        guards=None,
        flight=None,
        say=None,
        uploads=None,
        clock=time.time,
        sleep=time.sleep,
    ):
        self.client, self.ledger = client, ledger
        self.guards, self.flight = guards or Guards(), flight or Flight()
        self.say, self.clock, self.sleep = say or (lambda text: None), clock, sleep
        self.uploads, self._credit = uploads or Uploads(client), None

    def __repr__(self):
        return "Starter(%r, %r)" % (self.client, self.guards)

    def start(self, order, *, name=None, again=False):
        """Start an order, or go on with the earlier start of the same line; returns Started.

        Raises InputError (a name in use), GuardRefused, LedgerUnwritable, OutcomeUnknown, DeadlineReached (another run
        holds it), NotRecorded, and what the service or the network said.
        """
        while True:
            row = self.ledger.earlier(order, name)
            if row is not None and name and not again:
                check_same(row, order, name)
            move = self.next_move(row, order, name, again)
            if move == START:
                started = self._send_or_settle(order, name, again)
                if started is not None:
                    return started
            elif move == WAIT:
                self._wait_for_other(row)
            elif move == RECONCILE:
                return Submission(self._settle(row), reused=True)
            else:
                return Submission(row, reused=True)

    def next_move(self, row, order, name=None, again=False):
        """Return what `start` would do now, given the earlier row of its line (see rows.next_move); sends nothing."""
        held = row is not None and row.state == "intent" and self.ledger.is_held(row)
        same = row is not None and row.digest == order.digest()
        return next_move(row, named=bool(name), again=again, held=held, now=self.clock(), same=same)

    def _send_or_settle(self, order, name, again):
        """Send; an unknown outcome is looked into at once. None when another run was faster."""
        try:
            number, answer = self._send(order, name, again)
        except OutcomeUnknown as problem:
            number = (problem.details or {}).get("row")
            # Who interrupts wants to leave: the next line looks.
            if (
                number is None
                or isinstance(problem.__cause__, BaseException)
                and not isinstance(problem.__cause__, Exception)
            ):
                raise
            self.say("%s; looking whether the service has it" % problem.message)
            return Submission(self._settle(self.ledger.row(number)))
        return None if number is None else Submission(self.ledger.row(number), answer)

    def _settle(self, row):
        try:
            return reconcile_row(
                self.client, self.ledger, row, say=self.say, sleep=self.sleep, clock=self.clock
            )
        except Exception:
            raise
        except BaseException as interrupt:
            # An interrupt does not make an unknown start any less unknown.
            raise still_unknown(row) from interrupt

    def _wait_for_other(self, row):
        """Wait while another live run is at this row; the slice ends the wait."""
        self.say("another run is starting this very task; waiting for it")
        while self.ledger.is_held(row) and self.ledger.row(row.id).state == "intent":
            if self.client.deadline.expired:
                raise DeadlineReached(
                    "another run is still starting this task", hint="type the same line again"
                )
            self.sleep(HOLD_LOOK_SECONDS)

    def _send(self, order, name, again):
        """Upload, connect, claim, send; returns (row number, answer), or (None, None) when another run was faster."""
        files = self.uploads.send(order.attachments) + [dict(item) for item in order.file_ids]
        prompt = order.prompt_with([item["filename"] for item in files]) if order.prompt else ""
        claim = _Claim(self, order, name, again, prompt, self._prompts_before(order))
        notice = self._notice_when_late()
        try:
            answer = order.send(self.client, prompt, files, claim)
            return claim.number, self._record(claim.number, order, answer)
        except _Taken:
            return None, None
        except NotRecorded:
            raise
        except BaseException as problem:
            outcome = self._record_failure(claim, problem)
            if outcome == "unknown" and not isinstance(problem, Exception):
                raise still_unknown(self.ledger.row(claim.number)) from problem
            raise
        finally:
            if notice:
                notice.cancel()
            if claim.number is not None:
                self.ledger.land(claim.number)
            if claim.flying:
                self.flight.change(-1)

    def _prompts_before(self, order):
        if order.kind != "follow-up":
            return ()
        return [
            prompt.get("id")
            for prompt in dict_items(self.client.get_task(order.task_id), "prompts")
        ]

    def _notice_when_late(self):
        left = self.client.deadline.left()
        if left is None:
            return None
        timer = threading.Timer(
            left,
            self.say,
            ["the time is over, but a paid start is on its way; waiting for its answer"],
        )
        timer.daemon = True
        timer.start()
        return timer

    def _record(self, number, order, answer):
        try:
            if order.kind == "follow-up":
                self.ledger.note(
                    number,
                    state="created",
                    holder=None,
                    answered_at=self.clock(),
                    prompt_id=answer.get("promptId"),
                )
            else:
                # A computer is its own workspace.
                workspace = (
                    answer["id"] if order.kind == "computer" else str_field(answer, "workspaceId")
                )
                self.ledger.note(
                    number,
                    state="created",
                    holder=None,
                    answered_at=self.clock(),
                    task_id=answer["id"],
                    workspace_id=workspace,
                    url=str_field(answer, "url"),
                )
        except LedgerUnwritable as problem:
            raise NotRecorded(
                "the start was accepted but could not be recorded: %s" % problem.message,
                hint="keep these ids; a rerun of the same line would not know of them",
                details=dict(answer),
            ) from problem
        return answer

    def _record_failure(self, claim, problem):
        """Write down what is known and return it; the problem itself goes on to the caller."""
        if claim.number is None:
            return "not_sent"
        outcome = getattr(problem, "outcome", None) or ("unknown" if claim.sent else "not_sent")
        reason = problem.message if isinstance(problem, RebyteError) else type(problem).__name__
        try:
            self.ledger.note(
                claim.number,
                state=outcome,
                holder=None,
                answered_at=self.clock(),
                reason=reason[:300],
            )
        except LedgerUnwritable:
            # The row stays an intent of a run that is gone: the next look finds it and settles it.
            pass
        if outcome == "refused" and may_be_about_credit(problem):
            name_credit(problem, self._credit_note())
        if outcome != "unknown":
            self.guards.give_back(claim.order.kind)
        if isinstance(problem, OutcomeUnknown):
            problem.details = dict(problem.details or {}, row=claim.number)
        return outcome

    def _credit_note(self):
        """Ask once for all starts of this command how credit stands."""
        if self._credit is None:
            self._credit = credit_note(self.client) or ""
        return self._credit


class _Taken(Exception):
    """Another run claimed the same line between our look and our send."""


class _Claim:
    """Runs between connecting and sending: commits the intent, once, or stops the send."""

    def __init__(self, starter, order, name, again, prompt, known):
        self.starter, self.order, self.name, self.again = starter, order, name, again
        self.prompt_digest, self.known = digest_of_prompt(prompt), known
        self.number, self.sent, self.flying = None, False, False

    def __call__(self):
        starter = self.starter
        if self.number is not None:
            # A repeat after a certain "not executed": the same row, open again.
            starter.ledger.note(self.number, state="intent", holder=starter.ledger.owner())
            return
        # In the air from here on: an interrupt between the commit and the first byte would leave a row nobody can settle.
        starter.flight.change(1)
        self.flying = True
        number = starter.ledger.claim(
            self.order,
            self.name,
            prompt_digest=self.prompt_digest,
            known=self.known,
            again=self.again,
            may_start=lambda row: (
                starter.next_move(row, self.order, self.name, self.again) == START
            ),
            limits=lambda count: starter.guards.check(count, self.order.kind),
        )
        if number is None:
            raise _Taken()
        self.number, self.sent = number, True
