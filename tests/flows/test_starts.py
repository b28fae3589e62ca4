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

from rebyte_client import RebyteClient
from rebyte_flows.ledger import Ledger, account_mark
from rebyte_flows.orders import Order
from rebyte_flows.rows import HOLD, RESUME, REUSE, SETTLE, START, next_move
from rebyte_flows.rows import foreign_row
from rebyte_flows.starts import Guards, Starter
from rebyte_flows.state import Owner, StateFolder, find_state, is_alive, prune
from rebyte_wire.errors import GuardRefused, InputError, LedgerUnwritable, NetworkError, NotRecorded, OutcomeUnknown


@pytest.fixture
def client(server):
    with RebyteClient(server.key, server.base_url) as made:
        yield made


@pytest.fixture
def book(server, tmp_path, impatient):
    ledger = Ledger(StateFolder(str(tmp_path / "state")), server.url, account_mark(server.key))
    yield ledger
    ledger.close()


def made(server):
    return [seen for seen in server.requests if seen["method"] == "POST" and seen["path"] == "/v1/tasks"]


def test_a_dropped_answer_is_found_by_its_prompt(server, client, book):
    server.faults.enable("drop-after-accept")
    started = Starter(client, book).start(Order("hello there"))
    assert started.row.state == "settled" and client.get_task(started.row.task_id)["id"] == started.row.task_id
    assert not started.reused and len(made(server)) == 1


def test_a_cut_answer_is_found_by_its_prompt(server, client, book):
    server.faults.enable("cut-answer")
    assert Starter(client, book).start(Order("hello there")).row.state == "settled" and len(made(server)) == 1


def test_where_two_candidates_look_alike_nothing_is_guessed(server, client, book):
    client.create_task("the same words")
    server.faults.enable("drop-after-accept")
    with pytest.raises(OutcomeUnknown) as caught:
        Starter(client, book).start(Order("the same words"))
    assert len(caught.value.details["candidates"]) == 2
    server.faults.clear()
    with pytest.raises(OutcomeUnknown):
        Starter(client, book).start(Order("the same words"))
    assert len(made(server)) == 2
    Starter(client, book).start(Order("the same words"), again=True)
    assert len(made(server)) == 3


def test_a_refused_start_is_sent_again_by_the_next_line(server, client, book):
    server.faults.enable("server-error", only="POST /v1/tasks")
    with pytest.raises(OutcomeUnknown):
        Starter(client, book).start(Order("hello"))
    assert book.rows()[0].state == "unknown"


def test_a_slow_answer_is_a_created_one_and_too_many_is_repeated(server, client, book):
    server.faults.enable("slow-create", seconds=0.3)
    server.faults.enable("too-many-retry-after", seconds=0, only="POST /v1/tasks")
    assert Starter(client, book).start(Order("hello")).row.state == "created"
    assert len([seen for seen in made(server) if seen["status"] == 201]) == 1


def test_a_service_that_is_not_there_was_never_sent_anything(book, server):
    # Bound and not listening: refused, and nobody else can take the port meanwhile.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with RebyteClient(server.key, "http://127.0.0.1:%d" % taken.getsockname()[1]) as client, pytest.raises(NetworkError):
            Starter(client, book).start(Order("hello"))
    assert [row.state for row in book.rows()] in ([], ["not_sent"])


def test_two_runs_of_one_line_at_once_start_one_task(server, client, book):
    server.faults.enable("slow-create", seconds=0.5)
    starters, ids = [Starter(client, book) for _ in range(4)], []
    threads = [threading.Thread(target=lambda starter=starter: ids.append(starter.start(Order("same")).row.task_id)) for starter in starters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 4 and len(set(ids)) == 1 and len(made(server)) == 1


def test_guards_refuse_before_a_byte_is_sent(server, client, book):
    starter = Starter(client, book, guards=Guards(per_day=2))
    for n in range(2):
        starter.start(Order("task %d" % n))
    with pytest.raises(GuardRefused, match="PER_DAY"):
        starter.start(Order("task 3"))
    with pytest.raises(GuardRefused, match="this command"):
        Starter(client, book, guards=Guards(per_command=0)).start(Order("x"))
    assert len(made(server)) == 2


def test_a_name_holds_one_line(server, client, book):
    first = Starter(client, book).start(Order("one"), name="n")
    assert Starter(client, book).start(Order("one"), name="n").row.task_id == first.row.task_id
    with pytest.raises(InputError, match="prompt"):
        Starter(client, book).start(Order("two"), name="n")
    assert Starter(client, book).start(Order("two"), name="n", again=True).row.task_id != first.row.task_id


def test_a_follow_up_whose_answer_was_lost_is_found_by_its_prompt_id(server, client, book):
    task = client.create_task("hello")["id"]
    order = Order("one more", kind="follow-up", task_id=task)

    def cut(*words, **more):
        client.__class__.follow_up(client, task, "one more", before_send=more["before_send"])
        raise OutcomeUnknown("the answer was lost", outcome="unknown")
    order.send = lambda through, prompt, files, claim: cut(before_send=claim)
    started = Starter(client, book).start(order)
    assert started.row.state == "settled" and started.row.prompt_id in [prompt["id"] for prompt in client.get_task(task)["prompts"]]


def test_equal_files_go_up_once(server, client, book, tmp_path):
    from rebyte_flows.uploads import Attachment
    (tmp_path / "a.csv").write_text("1")
    starter = Starter(client, book)
    for n in range(3):
        starter.start(Order("task %d" % n, attachments=[Attachment(str(tmp_path / "a.csv"))]))
    assert len([seen for seen in server.requests if seen["path"] == "/v1/files"]) == 1


def test_an_unknown_start_counts_and_time_goes_on(server, client, book):
    began = time.monotonic()
    server.faults.enable("html-error", only="POST /v1/tasks")
    with pytest.raises(OutcomeUnknown):
        Starter(client, book, guards=Guards(per_day=1)).start(Order("a"))
    with pytest.raises(GuardRefused):
        Starter(client, book, guards=Guards(per_day=1)).start(Order("b"))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("words", ["database or disk is full", "disk I/O error", "attempt to write a readonly database"])
def test_a_ledger_that_cannot_be_written_before_the_send_means_nothing_is_sent(server, client, book, monkeypatch, words):
    def fail(*_):
        raise sqlite3.OperationalError(words)
    monkeypatch.setattr(book, "_insert", fail)
    with pytest.raises(LedgerUnwritable, match=words):
        Starter(client, book).start(Order("hello"))
    assert made(server) == []


def test_a_ledger_that_fills_up_after_the_answer_still_tells_the_ids(server, client, book, monkeypatch):
    whole = book.note

    def fail(number, **values):
        if values.get("state") == "created":
            raise LedgerUnwritable("cannot record the answer in the ledger: disk full")
        whole(number, **values)
    with monkeypatch.context() as patch, pytest.raises(NotRecorded) as caught:
        patch.setattr(book, "note", fail)
        Starter(client, book).start(Order("hello"))
    assert caught.value.details["id"] == client.list_tasks()["data"][0]["id"] and caught.value.details["workspaceId"]
    assert Starter(client, book).start(Order("hello")).row.task_id == caught.value.details["id"] and len(made(server)) == 1


# What typing the same line again means: the table, row by row.

NOW = 1_000_000.0
MINUTE, HOUR = 60, 3600


def row(state, *, claimed=NOW - 60, delivered=None, kind="task"):
    made = foreign_row("id")
    made.state, made.claimed_at, made.delivered_at, made.kind = state, claimed, delivered, kind
    return made


@pytest.mark.parametrize("earlier, unnamed, named", [
    (None, START, START),
    (row("created", delivered=NOW - 14 * MINUTE), REUSE, REUSE),
    (row("created", delivered=NOW - 16 * MINUTE), START, REUSE),
    (row("settled", delivered=NOW - 1), REUSE, REUSE),
    (row("created"), RESUME, RESUME),
    (row("created", claimed=NOW - 23 * HOUR), RESUME, RESUME),
    (row("created", claimed=NOW - 25 * HOUR), START, RESUME),
    (row("not_sent"), START, START),
    (row("refused"), START, START),
    (row("abandoned"), START, START),
    (row("unknown"), SETTLE, SETTLE),
    (row("unknown", claimed=NOW - 48 * HOUR), SETTLE, SETTLE),
    (row("intent"), SETTLE, SETTLE),
    (row("created", delivered=NOW - 1, kind="follow-up"), START, REUSE),
    (row("created", kind="follow-up"), RESUME, RESUME)])
def test_the_table(earlier, unnamed, named):
    assert next_move(earlier, named=False, again=False, held=False, now=NOW) == unnamed
    assert next_move(earlier, named=True, again=False, held=False, now=NOW) == named
    assert next_move(earlier, named=True, again=True, held=False, now=NOW) == START


def test_an_intent_of_a_live_run_is_waited_for():
    assert next_move(row("intent"), named=False, again=False, held=True, now=NOW) == HOLD


# The ledger: at most one row per line and attempt, durable, shared, and silent about secrets.

SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "scripts")


@pytest.fixture
def state(tmp_path):
    return StateFolder(str(tmp_path / "state"))


@pytest.fixture
def ledger(state):
    made = Ledger(state, "https://api.example", "account")
    yield made
    made.close()


def claim(ledger, order, name=None, **more):
    values = dict(prompt_digest="p", may_start=lambda row: row is None, limits=lambda count: None)
    return ledger.claim(order, name, **dict(values, **more))


def test_a_claim_is_made_once_whoever_asks(ledger, state):
    other = Ledger(state, "https://api.example", "account")
    order = Order("hello")
    assert claim(ledger, order) is not None and claim(other, order) is None
    assert len(other.rows()) == 1
    other.close()


def test_threads_that_claim_the_same_line_at_once_make_one_row(ledger):
    made = []
    threads = [threading.Thread(target=lambda: made.append(claim(ledger, Order("same")))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number is None for number in made) == [False] + [True] * 15


def test_another_account_or_origin_is_another_book(ledger, state):
    claim(ledger, Order("hello"), "n")
    for origin, account in (("https://api.example", "other"), ("http://127.0.0.1:1", "account")):
        other = Ledger(state, origin, account)
        assert other.earlier(Order("hello")) is None and other.named("n") is None
        other.close()


def test_a_guard_that_raises_leaves_no_row(ledger):
    def refuse(count):
        raise GuardRefused("no")
    with pytest.raises(GuardRefused):
        claim(ledger, Order("hello"), limits=refuse)
    assert ledger.rows() == []


def test_unknown_starts_count_against_the_day_and_refused_ones_do_not(ledger):
    numbers = [claim(ledger, Order("task %d" % n)) for n in range(4)]
    ledger.note(numbers[0], state="refused")
    ledger.note(numbers[1], state="unknown")
    seen = []
    claim(ledger, Order("more"), limits=seen.append)
    assert seen == [3]


def test_an_intent_of_a_dead_run_becomes_unknown_and_of_a_live_one_stays(ledger, state):
    number = claim(ledger, Order("hello"))
    assert ledger.sweep() == [] and ledger.row(number).state == "intent"
    ledger.note(number, holder="12345-dead")
    assert [row.id for row in ledger.sweep()] == [number] and ledger.row(number).state == "unknown"


def test_an_owner_is_alive_until_its_process_dies(state):
    owner = Owner(state)
    assert is_alive(state, owner.name)
    owner.close()
    assert not is_alive(state, owner.name)
    code = ("import sys; sys.path.insert(0, %r); from rebyte_flows.state import *; o = Owner(StateFolder(%r)); "
            "print(o.name, flush=True); sys.stdin.read()" % (SCRIPTS, state.path))
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    name = child.stdout.readline().decode().strip()
    assert is_alive(state, name)
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    assert not is_alive(state, name)


def test_nothing_secret_is_kept(ledger, state):
    claim(ledger, Order("a very private prompt", executor="codex"), "name")
    ledger.close()
    kept = b"".join(path.read_bytes() for path in map(_path, _files(state.path)))
    assert b"private" not in kept and b"codex" in kept
    assert account_mark("rbk_secret") != account_mark("rbk_other") and "secret" not in account_mark("rbk_secret")


def _files(folder):
    return [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names]


def _path(text):
    import pathlib
    return pathlib.Path(text)


def test_files_are_private_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        state = StateFolder(str(tmp_path / "s"))
        Ledger(state, "o", "a").close()
    finally:
        os.umask(before)
    assert oct(os.stat(state.path).st_mode)[-3:] == "700"
    assert {oct(os.stat(path).st_mode)[-3:] for path in _files(state.path)} == {"600"}


def test_a_newer_ledger_is_left_alone(state):
    with sqlite3.connect(state.file("ledger.db")) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(LedgerUnwritable, match="newer"):
        Ledger(state, "o", "a")


def test_a_broken_ledger_is_refused_and_not_replaced(state):
    with open(state.file("ledger.db"), "w") as file:
        file.write("this is no database" * 100)
    with pytest.raises(LedgerUnwritable):
        Ledger(state, "o", "a")
    with open(state.file("ledger.db")) as file:
        assert file.read().startswith("this is no database")


def test_the_state_folder_is_found_in_order(tmp_path):
    home, xdg, own = (str(tmp_path / name) for name in ("home", "xdg", "own"))
    assert find_state({"HOME": home, "XDG_STATE_HOME": xdg, "REBYTE_STATE_DIR": own}).path == own
    assert find_state({"HOME": home, "XDG_STATE_HOME": xdg}).path == os.path.join(xdg, "rebyte")
    assert find_state({"HOME": home}).path == os.path.join(home, ".local", "state", "rebyte")


@pytest.mark.parametrize("change", [dict(prompt="other"), dict(executor="codex"), dict(want=["x.pdf"]), dict(skills=["a"]), dict(ordinal=1)])
def test_orders_that_differ_are_told_apart(change):
    base, other = Order(prompt="p"), Order(**dict(dict(prompt="p"), **change))
    assert (base.digest(), base.ordinal) != (other.digest(), other.ordinal)


def test_an_order_is_checked_before_anything_leaves():
    for prompt in ("", "  \n", None, "x" * 100_001):
        with pytest.raises(InputError):
            Order(prompt)


def test_old_transcripts_and_marks_of_dead_runs_go_once_a_day(state):
    import time
    now, day = time.time(), 86_400
    for kind, name, age in (("transcripts", "old", 31), ("transcripts", "new", 29), ("answers", "old", 40), ("owners", "1-dead", 3)):
        path = state.file(kind, name)
        open(path, "w").close()
        os.utime(path, (now - age * day, now - age * day))
    owner = Owner(state)
    prune(state, now)
    assert sorted(os.path.relpath(path, state.path) for path in _files(state.path)) == sorted(
        ["transcripts/new", "pruned", os.path.join("owners", owner.name)])
    owner.close()
    late = state.file("transcripts", "late")
    open(late, "w").close()
    os.utime(late, (now - 50 * day, now - 50 * day))
    prune(state, now + 3600)
    assert os.path.exists(late)
    prune(state, now + 25 * 3600)
    assert not os.path.exists(late)
