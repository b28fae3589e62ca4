"""The ledger on odd disks, under other programs' locks, beside dead runs and under wrong clocks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import threading
import time

import pytest

from rebyte_flows.files.uploads import Attachment
from rebyte_flows.starting.database import Database
from rebyte_flows.starting.guards import Guards, owners_limit
from rebyte_flows.starting.ledger import HOLD_SECONDS, Ledger
from rebyte_flows.starting.requests import follow_up_request, task_request
from rebyte_flows.starting.rows import (
    RESUME,
    REUSE,
    START,
    WAIT,
    next_move,
    untracked_row,
)
from rebyte_flows.starting.submitter import Submitter
from rebyte_flows.state import StateFolder
from rebyte_wire.errors import (
    DeadlineReached,
    GuardRefused,
    InputError,
    LedgerUnwritable,
    NetworkError,
    OutcomeUnknown,
)
from rebyte_wire.requests import Deadline

NOW = 1_000_000.0
DAY = 86_400
DEAD = "999999999-0123456789ab"


@pytest.fixture
def state(tmp_path):
    return StateFolder(str(tmp_path / "state"))


@pytest.fixture
def open_ledger(state):
    """open_ledger(seconds=, clock=) -> a ledger in the one state folder."""
    with contextlib.ExitStack() as stack:

        def make(seconds=None, clock=time.time):
            made = Ledger(state, "o", "a", deadline=Deadline(seconds), clock=clock)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def locked(state):
    """Hold the ledger's file as another program does, until `locked()` is called."""
    Ledger(state, "o", "a").close()
    other = sqlite3.connect(
        state.file("ledger.db"), isolation_level=None, check_same_thread=False
    )
    other.execute("BEGIN IMMEDIATE")
    yield lambda: other.execute("COMMIT")
    other.close()


class Service:
    """A client whose starts take their time, or fail."""

    clock_skew = 0

    def __init__(self, seconds=None, *, during=None, fails=None):
        self.deadline = Deadline(seconds)
        self.during = during
        self.fails = fails
        self.sent = []

    def request(self, method, path, *, query, body, before_send):
        before_send()
        if self.during:
            self.during()
        self.sent.append(path)
        if self.fails:
            raise self.fails
        return {"id": "t%d" % len(self.sent), "promptId": "p%d" % len(self.sent)}

    def get_task(self, task_id):
        return {"id": task_id, "prompts": []}


# Another program's lock


def test_a_locked_ledger_ends_the_start_in_its_slice_and_says_so(locked, open_ledger):
    service = Service(0.4)
    told = []
    began = time.monotonic()
    with pytest.raises(LedgerUnwritable) as caught:
        Submitter(service, open_ledger(0.4), info=told.append).submit(task_request("x"))
    assert time.monotonic() - began < 3
    problem = caught.value
    assert (problem.code, problem.retryable) == ("ledger_locked", True)
    assert "another program" in problem.hint and "REBYTE_STATE_DIR" not in problem.hint
    assert service.sent == [] and told == []


def test_a_ledger_locked_before_the_send_never_tells_of_a_start_on_its_way(
    open_ledger, state
):
    ledger = open_ledger(0.6)
    service = Service(0.6)
    whole = ledger.mark_sent

    other = sqlite3.connect(state.file("ledger.db"), isolation_level=None)

    def lock_first(number, **more):
        other.execute("BEGIN IMMEDIATE")
        assert not ledger.is_busy
        whole(number, **more)

    ledger.mark_sent = lock_first
    told = []
    began = time.monotonic()
    with pytest.raises(LedgerUnwritable):
        Submitter(service, ledger, info=told.append).submit(task_request("x"))
    assert time.monotonic() - began < 3
    other.close()
    assert (told, service.sent, ledger.is_busy) == ([], [], False)
    assert ledger.claim(task_request("x"))[1] == START


def test_a_lock_that_ends_in_time_is_waited_for(locked, open_ledger):
    timer = threading.Timer(0.2, locked)
    timer.start()
    assert open_ledger(10).claim(task_request("x"))[1] == START
    timer.join()


def test_reading_needs_no_lock(locked, open_ledger):
    assert open_ledger(0.1).rows() == []


def test_the_answer_to_a_paid_start_is_recorded_past_the_slice(open_ledger, state):
    ledger = open_ledger(0.2)
    timers = []

    def lock_meanwhile():
        other = sqlite3.connect(
            state.file("ledger.db"), isolation_level=None, check_same_thread=False
        )
        other.execute("BEGIN IMMEDIATE")
        timers.append(threading.Timer(0.5, other.close))
        timers[0].start()

    told = []
    service = Service(0.2, during=lock_meanwhile)
    row = Submitter(service, ledger, info=told.append).submit(task_request("x")).row
    timers[0].join()
    assert (row.state, row.task_id) == ("created", "t1")


# Starts in the air


def test_a_paid_start_that_outlasts_the_slice_says_so_once(open_ledger):
    told = []
    service = Service(0.1, during=lambda: time.sleep(0.3))
    Submitter(service, open_ledger(), info=told.append).submit(task_request("x"))
    assert len(told) == 1 and "a paid start is on its way" in told[0]


def test_a_follow_up_typed_twice_while_the_first_is_in_the_air_is_sent_once(
    open_ledger,
):
    request = follow_up_request("t", "go on")
    went = threading.Event()
    service = Service(during=lambda: went.wait(10))
    first = threading.Thread(
        target=Submitter(service, open_ledger()).submit, args=(request,)
    )
    first.start()
    ledger = open_ledger()
    while not ledger.rows("state = 'sent'"):
        time.sleep(0.01)

    def deliver_first(_):
        went.set()
        first.join()
        ledger.update(ledger.rows()[0].id, delivered_at=time.time())

    second = Submitter(service, ledger, sleep=deliver_first)
    found = second.submit(follow_up_request("t", "go on"))
    assert found.reused and found.row.prompt_id == "p1" and len(service.sent) == 1
    # Once that is over, saying it again is a second turn.
    assert not second.submit(follow_up_request("t", "go on")).reused


def test_a_start_that_another_run_holds_is_waited_for_in_the_slice_alone(open_ledger):
    ledger = open_ledger()
    ledger.claim(task_request("x"))
    with pytest.raises(DeadlineReached):
        Submitter(Service(0), open_ledger()).submit(task_request("x"))


def test_what_was_waited_for_and_never_left_is_started_by_who_waited(open_ledger):
    first, second = open_ledger(), open_ledger()
    row, _ = first.claim(task_request("x"))

    def give_up(_):
        first.update(row.id, state="not_sent")

    service = Service(5)
    found = Submitter(service, second, sleep=give_up).submit(task_request("x"))
    assert not found.reused and found.row.id != row.id and len(service.sent) == 1


def test_an_interrupt_while_a_start_is_in_the_air_leaves_it_unknown(open_ledger):
    ledger = open_ledger()
    with pytest.raises(OutcomeUnknown) as caught:
        Submitter(Service(fails=KeyboardInterrupt()), ledger).submit(task_request("x"))
    assert caught.value.interrupted and ledger.rows()[0].state == "unknown"


# Guards


def test_a_follow_up_passes_a_spent_daily_limit(open_ledger):
    submitter = Submitter(Service(), open_ledger(), guards=Guards(per_day=1))
    submitter.submit(task_request("x"))
    with pytest.raises(GuardRefused):
        submitter.submit(task_request("y"))
    assert submitter.submit(follow_up_request("t", "more")).row.prompt_id


def test_a_start_of_unknown_outcome_uses_up_the_commands_limit(open_ledger, impatient):
    lost = Service(0, fails=OutcomeUnknown("cut", outcome="unknown"))
    ledger = open_ledger()
    with pytest.raises(OutcomeUnknown):
        Submitter(lost, ledger).submit(task_request("x"))
    with pytest.raises(GuardRefused):
        Submitter(Service(), ledger, guards=Guards(per_command=1)).submit(
            task_request("y")
        )


@pytest.mark.parametrize("days, counted", [(-10, 0), (0, 1), (0.99, 1), (1.01, 0)])
def test_what_was_started_under_a_clock_that_ran_ahead_is_no_start_of_today(
    open_ledger, days, counted
):
    now = [NOW]
    ledger = open_ledger(clock=lambda: now[0])
    ledger.claim(task_request("x"))
    now[0] += days * DAY
    assert ledger.count_today() == counted


# What typing a line again means, beyond the table in test_starts.py


def delivered(age, *, claimed=None, kind="task", again=None):
    row = untracked_row("t")
    row.__dict__.update(kind=kind, again=again, claimed_at=NOW - (claimed or age))
    row.delivered_at = None if age is None else NOW - age
    return row


@pytest.mark.parametrize(
    "age, unnamed, named",
    [(0, REUSE, REUSE), (-1, START, REUSE), (-10 * DAY, START, REUSE)],
)
def test_an_age_below_zero_is_never_fresh(age, unnamed, named):
    row = delivered(age)
    assert next_move(row, named=False, again=False, held=False, now=NOW) == unnamed
    assert next_move(row, named=True, again=False, held=False, now=NOW) == named


@pytest.mark.parametrize(
    "age, same, move",
    [(None, True, RESUME), (None, False, START), (5, True, START)],
    ids=[
        "what --again started is gone on with by the same line",
        "words that were changed start anew",
        "once it was seen, --again starts one more",
    ],
)
def test_again_typed_again(age, same, move):
    row = delivered(age, claimed=60, again=1)
    found = next_move(row, named=True, again=True, held=False, now=NOW, same=same)
    assert found == move


def test_what_again_started_is_gone_on_with_until_it_was_seen(open_ledger):
    ledger = open_ledger()
    submitter = Submitter(Service(), ledger)
    first = submitter.submit(task_request("x")).row
    second = submitter.submit(task_request("x"), again=True).row
    assert submitter.submit(task_request("x"), again=True).row.id == second.id
    ledger.update(second.id, delivered_at=time.time())
    third = submitter.submit(task_request("x"), again=True).row
    assert len({first.id, second.id, third.id}) == 3


def test_a_file_that_cannot_be_read_is_no_fault_of_the_ledger(open_ledger, tmp_path):
    (tmp_path / "a.csv").write_text("1")
    request = task_request("x", attachments=[Attachment(str(tmp_path / "a.csv"))])
    (tmp_path / "a.csv").unlink()
    ledger = open_ledger()
    with pytest.raises(InputError, match="cannot be read"):
        Submitter(Service(), ledger).submit(request)
    assert ledger.rows() == []


@pytest.mark.parametrize("text", ["\u00b2", "9" * 5000, "-1", "1.5", "many"])
def test_a_daily_limit_that_is_no_number_is_refused(text):
    with pytest.raises(InputError) as caught:
        owners_limit({"REBYTE_MAX_TASKS_PER_DAY": text})
    assert len(caught.value.message) < 200


# Runs that died, and file systems without locks


@pytest.fixture
def no_locks(monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.parametrize("name", [DEAD, "no-name", "", None])
@pytest.mark.parametrize("sent", [False, True])
def test_the_row_of_a_killed_start_is_held_by_nobody_where_there_are_no_locks(
    open_ledger, state, no_locks, name, sent
):
    ledger = open_ledger()
    row, _ = ledger.claim(task_request("x"))
    if sent:
        ledger.mark_sent(row.id, prompt_digest="d")
    ledger.release(row.id)
    if name:
        open(state.file("owners", name), "w").close()
    ledger.update(row.id, holder=name)
    assert [found.state for found in ledger.expire_orphans()] == ["unknown"] * sent
    ledger.update(row.id, state="abandoned")
    assert ledger.forget([row.id]) == 1


def test_a_live_run_holds_its_row_where_there_are_no_locks(open_ledger, no_locks):
    first, second = open_ledger(), open_ledger()
    row, _ = first.claim(task_request("x"))
    assert second.is_held(row)
    assert second.claim(task_request("x"))[1] == WAIT


@pytest.mark.parametrize("seconds", [HOLD_SECONDS + 1, -HOLD_SECONDS - 1])
def test_a_process_that_got_the_number_of_a_dead_run_holds_nothing_for_ever(
    open_ledger, no_locks, seconds
):
    first = open_ledger()
    row, _ = first.claim(task_request("x"))
    second = open_ledger(clock=lambda: time.time() + seconds)
    assert not second.is_held(row)
    assert second.claim(task_request("x"))[1] == START
    # Should it live after all, it sends nothing any more.
    with pytest.raises(LedgerUnwritable, match="took its start over"):
        first.mark_sent(row.id, prompt_digest="d")


@pytest.mark.parametrize("seconds", [HOLD_SECONDS + 1, -HOLD_SECONDS - 1])
def test_a_run_that_holds_its_lock_holds_its_row_however_long_it_slept(
    open_ledger, seconds
):
    row, _ = open_ledger().claim(task_request("x"))
    second = open_ledger(clock=lambda: time.time() + seconds)
    assert second.is_held(row) and second.claim(task_request("x"))[1] == WAIT


# Odd disks and odd files


def test_a_mount_without_modes_keeps_a_ledger(open_ledger, monkeypatch):
    open_ledger()

    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr("rebyte_flows.starting.database.FILE_MODE", 0o640)
    assert open_ledger().claim(task_request("x"))[1] == START


@pytest.mark.parametrize("words", ["disk I/O error", "unable to open database file"])
def test_a_mount_that_maps_no_memory_keeps_a_ledger_with_another_journal(
    tmp_path, monkeypatch, words
):
    class Connection(sqlite3.Connection):
        def execute(self, sql, *values):
            if "journal_mode=WAL" in sql:
                raise sqlite3.OperationalError(words)
            return super().execute(sql, *values)

    whole = sqlite3.connect
    monkeypatch.setattr(
        "rebyte_flows.starting.database.sqlite3.connect",
        lambda *args, **more: whole(*args, factory=Connection, **more),
    )
    database = Database(str(tmp_path / "ledger.db"))
    assert database.query("PRAGMA journal_mode") == [("delete",)]
    assert database.query("SELECT count(*) FROM starts") == [(0,)]
    database.close()


def test_a_ledger_that_is_a_link_is_refused_and_its_target_left_alone(
    open_ledger, state, tmp_path
):
    target = tmp_path / "theirs"
    target.write_text("theirs")
    target.chmod(0o644)
    os.symlink(str(target), state.file("ledger.db"))
    with pytest.raises(LedgerUnwritable, match="is a link"):
        open_ledger()
    assert target.read_text() == "theirs"
    assert target.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("cell", ["{no json", "[1]", "", "null", "7", "[" * 2000])
def test_a_cell_that_other_hands_have_changed_is_no_crash(open_ledger, cell):
    ledger = open_ledger()
    row, _ = ledger.claim(task_request("x"), name="n")
    ledger.update(row.id, parts=cell, known=cell, state="created", task_id="t")
    row = ledger.row(row.id)
    assert row.parts_sent() == {} and row.known_before() in ([], [1])
    assert ledger.claim(task_request("x"), name="n")[1] == RESUME


# What is refused before anything leaves


@pytest.mark.parametrize("text", ["half \ud83d", "nul \0"])
@pytest.mark.parametrize("field", ["prompt", "model", "want", "skills", "file_ids"])
def test_what_is_no_text_is_refused_in_every_part_of_a_start(text, field):
    value = {"want": [text], "skills": [text], "file_ids": [{"id": text}]}
    with pytest.raises(InputError):
        task_request(**{"prompt": "x", field: value.get(field, text)})


def test_a_refused_connection_leaves_a_row_that_started_nothing(open_ledger):
    class Nobody(Service):
        def request(self, *_, **__):
            raise NetworkError("refused", outcome="not_sent")

    ledger = open_ledger()
    with pytest.raises(NetworkError):
        Submitter(Nobody(), ledger).submit(task_request("x"))
    assert [row.state for row in ledger.rows()] == ["not_sent"]


@pytest.mark.parametrize(
    "trouble", [ValueError("odd"), KeyboardInterrupt(), NetworkError("cut")]
)
def test_what_fails_before_a_byte_left_started_nothing(open_ledger, trouble):
    class Uploads:
        def send(self, attachments):
            raise trouble

    ledger = open_ledger()
    with pytest.raises(type(trouble)):
        Submitter(Service(), ledger, uploads=Uploads()).submit(task_request("x"))
    assert [row.state for row in ledger.rows()] == ["not_sent"]
    assert Submitter(Service(), ledger).submit(task_request("x")).row.attempt == 1
