"""A paid start happens at most once, and the ledger says so."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from measure import SCRIPTS, files_under
from rebyte_client import RebyteClient
from rebyte_flows.job import run
from rebyte_flows.starting.guards import Guards
from rebyte_flows.starting.ledger import Ledger, account_fingerprint
from rebyte_flows.starting.requests import follow_up_request, task_request
from rebyte_flows.starting.rows import (
    RECONCILE,
    RESUME,
    REUSE,
    START,
    WAIT,
    next_move,
    untracked_row,
)
from rebyte_flows.starting.submitter import Submitter
from rebyte_flows.state import Owner, StateFolder, find_state, is_alive, prune
from rebyte_wire.errors import (
    GuardRefused,
    InputError,
    LedgerUnwritable,
    NetworkError,
    NotRecorded,
    OutcomeUnknown,
    RateLimited,
)


@pytest.fixture
def client(server):
    with RebyteClient(server.key, server.base_url) as made:
        yield made


@pytest.fixture
def state(tmp_path):
    return StateFolder(str(tmp_path / "state"))


@pytest.fixture
def book(server, state, impatient):
    ledger = Ledger(state, server.url, account_fingerprint(server.key))
    yield ledger
    ledger.close()


@pytest.fixture
def start(client, book):
    """Start a prompt or an order: start("hello", per_day=1, name="n") -> what came of it."""

    def run(order, per_day=None, **more):
        return Submitter(client, book, guards=Guards(per_day=per_day)).submit(
            task_request(order) if isinstance(order, str) else order, **more
        )

    return run


def made(server):
    """Return the requests that started a task."""
    return [
        seen
        for seen in server.requests
        if seen["method"] == "POST" and seen["path"] == "/v1/tasks"
    ]


def at_once(work, count):
    """Run something in so many threads and return what each gave."""
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(work())) for _ in range(count)
    ]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return found


@pytest.mark.parametrize("fault", ["drop-after-accept", "cut-answer"])
def test_an_answer_that_was_lost_is_found_by_its_prompt(server, client, start, fault):
    server.faults.enable(fault)
    started = start("hello there")
    assert (
        started.row.state == "settled"
        and client.get_task(started.row.task_id)["id"] == started.row.task_id
    )
    assert not started.reused and len(made(server)) == 1


def test_where_two_candidates_look_alike_nothing_is_guessed(server, client, start):
    client.create_task("the same words")
    server.faults.enable("drop-after-accept")
    with pytest.raises(OutcomeUnknown) as caught:
        start("the same words")
    assert len(caught.value.details["candidates"]) == 2
    server.faults.clear()
    with pytest.raises(OutcomeUnknown):
        start("the same words")
    assert len(made(server)) == 2
    start("the same words", again=True)
    assert len(made(server)) == 3


def test_a_server_error_leaves_it_unknown_which_counts_and_time_goes_on(
    server, book, start
):
    began = time.monotonic()
    for fault in ("server-error", "html-error"):
        server.faults.clear()
        server.faults.enable(fault, only="POST /v1/tasks")
        with pytest.raises(OutcomeUnknown):
            start(fault)
    assert [row.state for row in book.rows()] == ["unknown"] * 2
    with pytest.raises(GuardRefused):
        start("b", per_day=2)
    assert time.monotonic() - began < 10


def test_a_slow_answer_is_a_created_one_and_too_many_is_repeated(server, start):
    server.faults.enable("slow-create", seconds=0.3)
    server.faults.enable("too-many-retry-after", seconds=0, only="POST /v1/tasks")
    assert start("hello").row.state == "created"
    assert len([seen for seen in made(server) if seen["status"] == 201]) == 1


def test_a_service_that_is_not_there_was_never_sent_anything(book, server):
    # Bound and not listening: refused, and nobody else can take the port meanwhile.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with RebyteClient(
            server.key, "http://127.0.0.1:%d" % taken.getsockname()[1]
        ) as client, pytest.raises(NetworkError):
            Submitter(client, book).submit(task_request("hello"))
    assert [row.state for row in book.rows()] in ([], ["not_sent"])


def test_runs_of_one_line_at_once_start_one_task(server, start):
    server.faults.enable("slow-create", seconds=0.5)
    ids = at_once(lambda: start("same").row.task_id, 4)
    assert len(ids) == 4 and len(set(ids)) == 1 and len(made(server)) == 1


def test_guards_refuse_before_a_byte_is_sent(server, client, book, start):
    for n in range(2):
        start("task %d" % n, per_day=2)
    with pytest.raises(GuardRefused, match="PER_DAY"):
        start("task 3", per_day=2)
    with pytest.raises(GuardRefused, match="this command"):
        Submitter(client, book, guards=Guards(per_command=0)).submit(task_request("x"))
    assert len(made(server)) == 2


def test_a_name_holds_one_line(start):
    first = start("one", name="n").row.task_id
    assert start("one", name="n").row.task_id == first
    with pytest.raises(InputError, match="prompt"):
        start("two", name="n")
    assert start("two", name="n", again=True).row.task_id != first


@pytest.mark.parametrize("times", [1, 2])
def test_a_follow_up_whose_answer_was_lost_is_found_by_its_prompt_id_but_never_guessed_among_two(
    client, start, times, monkeypatch
):
    task = client.create_task("hello")["id"]
    order = follow_up_request(task, "one more")

    def cut(method, path, *, query, body, before_send):
        client.follow_up(task, "one more", before_send=before_send)
        for _ in range(times - 1):
            client.follow_up(task, "one more")
        raise OutcomeUnknown("the answer was lost", outcome="unknown")

    monkeypatch.setattr(client, "request", cut)
    if times == 1:
        started = start(order)
        assert started.row.state == "settled" and started.row.prompt_id in [
            prompt["id"] for prompt in client.get_task(task)["prompts"]
        ]
    else:
        with pytest.raises(OutcomeUnknown) as caught:
            start(order)
        assert len(caught.value.details["candidates"]) == 2


@pytest.mark.parametrize(
    "words",
    [
        "database or disk is full",
        "disk I/O error",
        "attempt to write a readonly database",
    ],
)
def test_a_ledger_that_cannot_be_written_before_the_send_means_nothing_is_sent(
    server, book, start, monkeypatch, words
):
    def fail(*_):
        raise sqlite3.OperationalError(words)

    monkeypatch.setattr(book, "_insert", fail)
    with pytest.raises(LedgerUnwritable, match=words):
        start("hello")
    assert made(server) == []


def test_a_ledger_that_fills_up_after_the_answer_still_tells_the_ids(
    server, client, book, start, monkeypatch
):
    whole = book.update

    def fail(number, **values):
        if values.get("state") == "created":
            raise LedgerUnwritable("cannot record the answer in the ledger: disk full")
        whole(number, **values)

    with monkeypatch.context() as patch, pytest.raises(NotRecorded) as caught:
        patch.setattr(book, "update", fail)
        start("hello")
    assert (
        caught.value.details["id"] == client.list_tasks()["data"][0]["id"]
        and caught.value.details["workspaceId"]
    )
    assert (
        start("hello").row.task_id == caught.value.details["id"]
        and len(made(server)) == 1
    )


def test_a_start_that_was_surely_not_made_uses_up_no_guard(server, client, book):
    starter = Submitter(client, book, guards=Guards(per_command=1))
    server.faults.enable("too-many-retry-after", seconds=300, only="POST /v1/tasks")
    with pytest.raises(RateLimited):
        starter.submit(task_request("hello"))
    server.faults.clear()
    assert starter.submit(task_request("hello")).row.state == "created"
    with pytest.raises(GuardRefused):
        starter.submit(task_request("one more"))


def test_the_owners_limit_holds_for_python_programs_too(
    server, client, state, monkeypatch
):
    monkeypatch.setenv("REBYTE_MAX_TASKS_PER_DAY", "1")
    first = run(client, "hello", state=state, once="n")
    assert (
        first["status"] == "completed"
        and run(client, "hello", state=state, once="n")["reused"]
    )
    with pytest.raises(GuardRefused, match="PER_DAY"):
        run(client, "another", state=state)
    monkeypatch.setenv("REBYTE_MAX_TASKS_PER_DAY", "many")
    with pytest.raises(InputError, match="whole number"):
        run(client, "hello", state=state)


def test_a_start_in_python_is_refused_and_one_that_was_made_goes_on(
    server, client, state, monkeypatch
):
    schema = {"type": "string", "const": 3}
    with monkeypatch.context() as patch:
        # As an earlier version, which did not look yet.
        find = "rebyte_flows.values.contradictions._Finder.find"
        patch.setattr(find, lambda *schema: None)
        first = run(client, "Sum it.", schema=schema, state=state)
    assert run(client, "Sum it.", schema=schema, state=state)["id"] == first["id"]
    seen = len(server.requests)
    with pytest.raises(InputError, match="no value can fit"):
        run(client, "Sum that.", schema=schema, state=state)
    assert len(server.requests) == seen


# What typing the same line again means: the table, row by row.

NOW = 1_000_000.0
MINUTE, HOUR = 60, 3600


def row(state, *, claimed=60, delivered=None, kind="task"):
    """Return a row that was claimed, and perhaps delivered, so many seconds ago."""
    found = untracked_row("id")
    found.state, found.claimed_at, found.kind = state, NOW - claimed, kind
    found.delivered_at = None if delivered is None else NOW - delivered
    return found


@pytest.mark.parametrize(
    "earlier, unnamed, named",
    [
        (None, START, START),
        (row("created", delivered=14 * MINUTE), REUSE, REUSE),
        (row("created", delivered=16 * MINUTE), START, REUSE),
        (row("settled", delivered=1), REUSE, REUSE),
        (row("created"), RESUME, RESUME),
        (row("created", claimed=23 * HOUR), RESUME, RESUME),
        (row("created", claimed=25 * HOUR), START, RESUME),
        (row("not_sent"), START, START),
        (row("refused"), START, START),
        (row("abandoned"), START, START),
        (row("unknown"), RECONCILE, RECONCILE),
        (row("unknown", claimed=48 * HOUR), RECONCILE, RECONCILE),
        (row("sent"), RECONCILE, RECONCILE),
        (row("claimed"), START, START),
        (row("created", delivered=1, kind="follow-up"), START, REUSE),
        (row("created", kind="follow-up"), RESUME, RESUME),
    ],
)
def test_the_table(earlier, unnamed, named):
    assert next_move(earlier, named=False, again=False, held=False, now=NOW) == unnamed
    assert next_move(earlier, named=True, again=False, held=False, now=NOW) == named
    assert next_move(earlier, named=True, again=True, held=False, now=NOW) == START


def test_an_intent_of_a_live_run_is_waited_for():
    assert next_move(row("sent"), named=False, again=False, held=True, now=NOW) == WAIT


# The ledger: at most one row per line and attempt, durable, shared, and silent about secrets.


@pytest.fixture
def open_book(state):
    """open_book(origin, account) -> a ledger in the one state folder, closed with the test."""
    opened = []

    def make(origin="https://api.example", account="account"):
        opened.append(Ledger(state, origin, account))
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_book):
    return open_book()


class Counted(Guards):
    """Guards that only note what was counted."""

    def __init__(self):
        self.today = []

    def check(self, new, today, by_this_command):
        """Note how many were started today."""
        self.today.append(today)


def claim(ledger, prompt="hello", name=None, **more):
    """Claim a prompt and return (the row, the move)."""
    return ledger.claim(task_request(prompt, executor="codex"), name=name, **more)


def test_a_claim_is_made_once_whoever_asks(ledger, open_book):
    other = open_book()
    row, move = claim(ledger)
    assert move == START
    assert claim(other)[1] == WAIT and [found.id for found in other.rows()] == [row.id]


def test_threads_that_claim_the_same_line_at_once_make_one_row(ledger):
    moves = at_once(lambda: claim(ledger)[1], 16)
    assert sorted(moves) == [START] + [WAIT] * 15


@pytest.mark.parametrize(
    "origin, account",
    [("https://api.example", "other"), ("http://127.0.0.1:1", "account")],
)
def test_another_account_or_origin_is_another_book(ledger, open_book, origin, account):
    claim(ledger, "hello", "n")
    assert ledger.named("n") is not None
    other = open_book(origin, account)
    assert other.find_previous(task_request("hello", executor="codex")) is None
    assert other.named("n") is None


def test_a_guard_that_raises_leaves_no_row(ledger):
    with pytest.raises(GuardRefused):
        claim(ledger, guards=Guards(per_command=0))
    assert ledger.rows() == []


def test_unknown_starts_count_against_the_day_and_refused_ones_do_not(ledger):
    rows = [claim(ledger, "task %d" % n)[0] for n in range(4)]
    ledger.update(rows[0].id, state="refused")
    ledger.update(rows[1].id, state="unknown")
    counted = Counted()
    claim(ledger, "more", guards=counted)
    assert counted.today == [3]


def test_a_sent_start_of_a_dead_run_becomes_unknown_and_of_a_live_one_stays(ledger):
    row, _ = claim(ledger)
    ledger.mark_sent(row.id, prompt_digest="p")
    assert ledger.expire_orphans() == [] and ledger.row(row.id).state == "sent"
    ledger.update(row.id, holder="12345-dead")
    assert [found.id for found in ledger.expire_orphans()] == [row.id]
    assert ledger.row(row.id).state == "unknown"


def test_a_claim_whose_run_died_before_a_byte_left_started_nothing(ledger):
    row, _ = claim(ledger, name="n")
    ledger.update(row.id, holder="12345-dead")
    again, move = claim(ledger, prompt="another", name="n")
    assert (
        move == START and again.id != row.id and ledger.row(row.id).state == "not_sent"
    )


def test_an_owner_is_alive_until_its_process_dies(state):
    owner = Owner(state)
    assert is_alive(state, owner.name)
    owner.close()
    assert not is_alive(state, owner.name)
    code = (
        "import sys; sys.path.insert(0, %r); from rebyte_flows.state import *; o = Owner(StateFolder(%r)); "
        "print(o.name, flush=True); sys.stdin.read()" % (SCRIPTS, state.path)
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        name = child.stdout.readline().decode().strip()
        assert is_alive(state, name)
        child.kill()
    assert not is_alive(state, name)


def test_nothing_secret_is_kept(ledger, state):
    claim(ledger, "a very private prompt", "name")
    ledger.close()
    kept = b""
    for path in files_under(state.path):
        with open(path, "rb") as file:
            kept += file.read()
    assert b"private" not in kept and b"codex" in kept
    assert account_fingerprint("rbk_secret") != account_fingerprint(
        "rbk_other"
    ) and "secret" not in account_fingerprint("rbk_secret")


def test_files_are_private_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        state = StateFolder(str(tmp_path / "s"))
        Ledger(state, "o", "a").close()
    finally:
        os.umask(before)
    assert oct(os.stat(state.path).st_mode)[-3:] == "700"
    assert {oct(os.stat(path).st_mode)[-3:] for path in files_under(state.path)} == {
        "600"
    }


def test_a_newer_or_broken_ledger_is_refused_and_left_alone(state):
    with sqlite3.connect(state.file("ledger.db")) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(LedgerUnwritable, match="newer"):
        Ledger(state, "o", "a")
    rubbish = "this is no database" * 100
    with open(state.file("ledger.db"), "w") as file:
        file.write(rubbish)
    with pytest.raises(LedgerUnwritable):
        Ledger(state, "o", "a")
    with open(state.file("ledger.db")) as file:
        assert file.read() == rubbish


def test_the_state_folder_is_found_in_order(tmp_path):
    home, xdg, own = (str(tmp_path / name) for name in ("home", "xdg", "own"))
    assert (
        find_state({"HOME": home, "XDG_STATE_HOME": xdg, "REBYTE_STATE_DIR": own}).path
        == own
    )
    assert find_state({"HOME": home, "XDG_STATE_HOME": xdg}).path == os.path.join(
        xdg, "rebyte"
    )
    assert find_state({"HOME": home}).path == os.path.join(
        home, ".local", "state", "rebyte"
    )


@pytest.mark.parametrize(
    "change",
    [
        dict(prompt="other"),
        dict(executor="codex"),
        dict(want=["x.pdf"]),
        dict(skills=["a"]),
    ],
)
def test_orders_that_differ_are_told_apart(change):
    base, other = task_request("p"), task_request(**dict(dict(prompt="p"), **change))
    assert base.digest() != other.digest()


@pytest.mark.parametrize("prompt", ["", "  \n", None, "x" * 100_001])
def test_an_order_is_checked_before_anything_leaves(prompt):
    with pytest.raises(InputError):
        task_request(prompt)


def test_old_transcripts_and_marks_of_dead_runs_go_once_a_day(state):
    now, day = time.time(), 86_400

    def leave(kind, name, age):
        path = state.file(kind, name)
        open(path, "w").close()
        os.utime(path, (now - age * day, now - age * day))
        return path

    for kind, name, age in (
        ("transcripts", "old.jsonl", 31),
        ("transcripts", "new.jsonl", 29),
        ("answers", "result-0123456789ab.txt", 40),
        ("owners", "1-0123456789ab", 3),
    ):
        leave(kind, name, age)
    owner = Owner(state)
    prune(state, now)
    assert [
        os.path.relpath(path, state.path) for path in files_under(state.path)
    ] == sorted(["transcripts/new.jsonl", "pruned", os.path.join("owners", owner.name)])
    owner.close()
    late = leave("transcripts", "late.jsonl", 50)
    prune(state, now + 3600)
    assert os.path.exists(late)
    prune(state, now + 25 * 3600)
    assert not os.path.exists(late)
