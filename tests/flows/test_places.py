"""One user, one ledger: what a sandbox wrote in its own folder is known outside, and the other way
round.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing

import pytest

from rebyte_flows import places
from rebyte_flows.starting import other_ledgers
from rebyte_flows.starting.guards import Guards
from rebyte_flows.starting.ledger import Ledger
from rebyte_flows.starting.requests import task_request
from rebyte_flows.starting.rows import CREATED, NOT_SENT, REUSE, START, WAIT
from rebyte_flows.state import StateFolder, find_state
from rebyte_wire.errors import GuardRefused, LedgerUnwritable

ORIGIN, ACCOUNT = "https://api.example", "a"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """(the usual folder, the folder of a sandbox), each private."""
    usual, sandbox = tmp_path / "usual", tmp_path / "sandbox"
    for folder in (usual, sandbox):
        folder.mkdir(mode=0o700)
    return str(usual), str(sandbox)


@pytest.fixture
def open_at():
    """open_at(folder, *others) -> a ledger written there that looks at the others."""
    opened = []

    def open_(folder, *others):
        ledger = Ledger(StateFolder(folder, others=others), ORIGIN, ACCOUNT)
        opened.append(ledger)
        return ledger

    yield open_
    for ledger in opened:
        ledger.close()


def start(ledger, prompt="hello", **more):
    """Start a prompt as a run does, up to its recorded answer; return its row."""
    row, move = ledger.claim(task_request(prompt), **more)
    assert move == START, (row, move)
    ledger.mark_sent(row.id, prompt_digest="d")
    row = ledger.record(row.id, state=CREATED, task_id="task-%d" % row.id)
    ledger.release(row.id)
    return row


@pytest.mark.parametrize("name", [None, "weekly"])
@pytest.mark.parametrize("outside_first", [True, False])
def test_a_line_started_on_one_side_is_gone_on_with_on_the_other(
    folders, open_at, name, outside_first
):
    here, there = folders if outside_first else folders[::-1]
    first = start(open_at(here, there), name=name)
    second, move = open_at(there, here).claim(task_request("hello"), name=name)
    assert (second.task_id, move) == (first.task_id, "resume")
    third, _ = open_at(here, there).claim(task_request("hello"), name=name)
    assert third.task_id == first.task_id


def test_a_delivered_answer_is_known_on_the_other_side_while_both_run(folders, open_at):
    inside, outside = open_at(folders[1], folders[0]), open_at(*folders)
    row = start(inside)
    copy, _ = outside.claim(task_request("hello"))
    outside.update(copy.id, delivered_at=outside.clock(), status="completed")
    again, move = inside.claim(task_request("hello"))
    assert (again.id, move, again.status) == (row.id, REUSE, "completed")


def test_a_look_that_fails_after_the_claim_holds_up_no_later_try(
    folders, open_at, monkeypatch
):
    ledger = open_at(*folders)
    looks = iter([None, LedgerUnwritable("locked")])

    def take_over():
        problem = next(looks, None)
        if problem:
            raise problem

    monkeypatch.setattr(ledger, "take_over", take_over)
    with pytest.raises(LedgerUnwritable):
        ledger.claim(task_request("hello"))
    assert ledger.claim(task_request("hello"))[1] == START


def test_the_limit_of_a_day_counts_over_all_folders(folders, open_at):
    guards = Guards(per_day=3)
    inside, outside = open_at(folders[1], folders[0]), open_at(*folders)
    start(inside, "one", guards=guards)
    start(outside, "two", guards=guards)
    start(inside, "three", guards=guards)
    for ledger in (inside, outside):
        with pytest.raises(GuardRefused):
            ledger.claim(task_request("four"), guards=guards)


def test_a_start_under_way_on_one_side_is_waited_for_on_the_other(folders, open_at):
    inside, outside = open_at(folders[1], folders[0]), open_at(*folders)
    row, _ = inside.claim(task_request("hello"))
    copy, move = outside.claim(task_request("hello"))
    assert move == WAIT and outside.is_held(copy)
    inside.mark_sent(row.id, prompt_digest="d")
    inside.record(row.id, state=CREATED, task_id="t")
    inside.release(row.id)
    inside.close()
    outside.take_over()
    assert not outside.is_held(copy) and outside.row(copy.id).task_id == "t"


def test_claims_made_at_the_same_moment_give_way_until_one_is_left(
    folders, open_at, monkeypatch
):
    """Both insert before either looks at the other, in the same microsecond: the worst moment."""
    inside, outside = open_at(folders[1], folders[0]), open_at(*folders)
    moment = inside.clock()
    inside.clock = outside.clock = lambda: moment
    both = threading.Barrier(2)
    met = []

    def meet(ledger):
        claim_here = ledger._claim_here

        def claim(*words):
            if ledger in met:
                return claim_here(*words)
            met.append(ledger)
            both.wait(10)
            found = claim_here(*words)
            both.wait(10)
            return found

        ledger._claim_here = claim

    ends = {}

    def run(ledger):
        ends[ledger] = ledger.claim(task_request("hello"))[1]

    threads = []
    for ledger in (inside, outside):
        meet(ledger)
        threads.append(threading.Thread(target=run, args=(ledger,)))
        threads[-1].start()
    for thread in threads:
        thread.join(20)
    assert sorted(ends.values()) == [START, WAIT]
    outside.take_over()
    states = [row.state for row in outside.rows()]
    assert states.count("claimed") == 1 and NOT_SENT in states


def test_a_thread_waits_for_the_news_that_another_thread_is_taking_over(
    folders, open_at, monkeypatch
):
    inside, outside = open_at(folders[1], folders[0]), open_at(*folders)
    start(inside, "hello")
    is_read, may_merge = threading.Event(), threading.Event()
    merge = outside._merge

    def slow_merge(rows):
        is_read.set()
        may_merge.wait(10)
        merge(rows)

    monkeypatch.setattr(outside, "_merge", slow_merge)
    taking = threading.Thread(target=outside.take_over)
    taking.start()
    assert is_read.wait(10)
    moves = []
    claiming = threading.Thread(
        target=lambda: moves.append(outside.claim(task_request("hello"))[1])
    )
    claiming.start()
    claiming.join(0.2)
    may_merge.set()
    taking.join(10)
    claiming.join(10)
    assert moves != [START] and len(outside.rows()) == 1


@pytest.mark.parametrize("is_copied", [False, True])
def test_news_that_could_not_be_written_down_are_read_again(
    folders, open_at, monkeypatch, is_copied
):
    if is_copied:
        monkeypatch.setattr(other_ledgers, "open_to_read", no_way_in)
    inside, outside = open_at(folders[1], folders[0]), open_at(*folders)
    start(inside, "hello")
    with monkeypatch.context() as patch:
        patch.setattr(outside, "_merge", no_way_in)
        with pytest.raises(LedgerUnwritable):
            outside.take_over()
    assert outside.claim(task_request("hello"))[1] != START


def no_way_in(*words):
    raise LedgerUnwritable("the disk is full")


def test_what_the_owner_of_a_row_wrote_outranks_what_others_thought_of_it(
    folders, open_at
):
    inside, outside = open_at(folders[1], folders[0]), open_at(*folders)
    row, _ = inside.claim(task_request("hello"))
    inside.mark_sent(row.id, prompt_digest="d")
    outside.take_over()
    for state in ("unknown", "unknown", "unknown"):
        outside.update(outside.rows()[0].id, state=state)
    inside.record(row.id, state=CREATED, task_id="t")
    outside.take_over()
    inside.take_over()
    assert [book.rows()[0].state for book in (inside, outside)] == [CREATED] * 2


def test_a_folder_that_cannot_be_written_is_read_by_way_of_a_copy(
    folders, open_at, monkeypatch
):
    start(open_at(folders[0]), name="weekly")

    def refuse(path):
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(other_ledgers, "open_to_read", refuse)
    inside = open_at(folders[1], folders[0])
    assert inside.named("weekly").task_id == "task-1" and not inside.unread
    assert os.listdir(os.path.join(folders[1], "copies")) == []
    start(open_at(folders[0]), "later")
    inside.take_over()
    assert len(inside.rows()) == 2


def test_a_ledger_of_an_older_version_is_read_too(folders, open_at):
    start(open_at(folders[0]), name="weekly")
    with closing(sqlite3.connect(os.path.join(folders[0], "ledger.db"))) as book:
        book.execute("DROP TRIGGER count_revisions")
        book.execute("ALTER TABLE starts RENAME TO old")
        columns = [row[1] for row in book.execute("PRAGMA table_info(old)")][:-2]
        book.execute("CREATE TABLE starts AS SELECT %s FROM old" % ", ".join(columns))
        book.execute("DROP TABLE old")
        book.execute("PRAGMA user_version=3")
        book.commit()
    assert open_at(folders[1], folders[0]).named("weekly").task_id == "task-1"


@pytest.mark.parametrize("spoil", ["link", "mode", "owner", "folder"])
def test_what_others_could_have_written_is_not_believed(
    folders, open_at, monkeypatch, tmp_path, spoil
):
    start(open_at(folders[1]), name="weekly")
    if spoil == "mode":
        os.chmod(folders[1], 0o777)
    elif spoil == "link":
        moved = str(tmp_path / "moved")
        os.rename(folders[1], moved)
        os.symlink(moved, folders[1])
    elif spoil == "owner":
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    else:
        path = os.path.join(folders[1], "ledger.db")
        os.rename(path, path + "2")
        os.symlink(path + "2", path)
    assert open_at(*folders).rows() == []


def test_a_damaged_or_hidden_ledger_is_named_and_stops_nothing(
    folders, open_at, monkeypatch
):
    with open(os.path.join(folders[1], "ledger.db"), "w") as file:
        file.write("no database at all, " * 100)
    ledger = open_at(*folders)
    start(ledger)
    assert list(ledger.unread) == [folders[1]]
    os.unlink(os.path.join(folders[1], "ledger.db"))
    ledger.take_over()
    assert not ledger.unread


def test_forgotten_rows_are_gone_from_every_folder(folders, open_at):
    start(open_at(folders[1], folders[0]), "one")
    start(open_at(folders[1], folders[0]), "two")
    outside = open_at(*folders)
    assert outside.forget([outside.rows()[0].id]) == 1
    assert len(open_at(folders[1]).rows()) == 1
    assert outside.forget_before(outside.clock() + 1) == 1
    assert open_at(folders[1]).rows() == [] == open_at(*folders).rows()


def test_a_row_that_another_run_forgot_meanwhile_is_no_crash(folders, open_at):
    outside = open_at(*folders)
    number = start(outside).id
    assert open_at(*folders).forget([number]) == 1
    assert outside.forget([number]) == 0


def test_rows_that_were_taken_over_do_not_count_as_the_latest(folders, open_at):
    outside = open_at(folders[0])
    start(outside, name="weekly")
    inside = open_at(folders[1], folders[0])
    row, move = inside.claim(task_request("hello"), name="weekly", again=True)
    assert move == START and row.attempt == 2
    inside.mark_sent(row.id, prompt_digest="d")
    inside.record(row.id, state=CREATED, task_id="second")
    both = open_at(*folders)
    assert both.named("weekly").task_id == "second"


@pytest.fixture
def without_home(tmp_path, monkeypatch):
    """without_home() -> the state folder of a run whose home cannot be written; (shared, own) are
    the temp directory of all programs and its own one.
    """
    shared, own = tmp_path / "shared", tmp_path / "own"
    own.mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(places, "SHARED_ROOTS", (str(shared),))
    monkeypatch.setattr("tempfile.tempdir", str(own))
    environ = {"HOME": str(tmp_path / "file"), "TMPDIR": str(own)}
    return lambda: find_state(environ), shared, own


def test_a_folder_that_every_run_finds_is_taken_before_ones_own(without_home):
    find, shared, own = without_home
    shared.write_text("in the way: it cannot be written")
    first = find()
    assert first.path == str(own / places.folder_name()) and not first.is_found
    shared.unlink()
    # The one that is there is gone on with.
    assert find().path == first.path
    os.rmdir(first.path)
    second = find()
    assert second.path == str(shared / places.folder_name()) and second.is_found
    assert first.path in second.others and not second.lasting


def test_the_usual_folder_looks_at_every_place_that_a_sandbox_falls_back_to(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(places, "SHARED_ROOTS", (str(tmp_path),))
    state = find_state({"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "t")})
    name = places.folder_name()
    user = name.partition("-")[2]
    expected = {
        str(tmp_path / name),
        str(tmp_path / ("claude-" + user) / name),
        str(tmp_path / "t" / name),
    }
    assert expected <= set(state.others)
    asked = find_state({"REBYTE_STATE_DIR": str(tmp_path / "mine")})
    assert asked.others == []
