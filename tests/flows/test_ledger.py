"""The ledger: at most one row per line and attempt, durable, shared, and silent about secrets."""
from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading

import pytest

from rebyte_flows.ledger import Ledger, account_mark
from rebyte_flows.orders import Order
from rebyte_flows.state import Owner, StateFolder, find_state, is_alive, prune
from rebyte_wire.errors import GuardRefused, InputError, LedgerUnwritable

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
