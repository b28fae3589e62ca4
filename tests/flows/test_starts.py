"""A paid start happens at most once, whatever happens to its answer."""
from __future__ import annotations

import socket
import sqlite3
import threading
import time

import pytest

from rebyte_client import RebyteClient
from rebyte_flows import settling
from rebyte_flows.ledger import Ledger, account_mark
from rebyte_flows.orders import Order
from rebyte_flows.starts import Guards, Starter
from rebyte_flows.state import StateFolder
from rebyte_wire.errors import GuardRefused, InputError, LedgerUnwritable, NetworkError, NotRecorded, OutcomeUnknown


@pytest.fixture
def book(server, tmp_path, monkeypatch):
    monkeypatch.setattr(settling, "LOOKS_AFTER_SECONDS", (0.1, 0.3))
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
    monkeypatch.setattr(book, "note", fail)
    with pytest.raises(NotRecorded) as caught:
        Starter(client, book).start(Order("hello"))
    assert caught.value.details["id"] == client.list_tasks()["data"][0]["id"] and caught.value.details["workspaceId"]
    monkeypatch.undo()
    assert Starter(client, book).start(Order("hello")).row.task_id == caught.value.details["id"] and len(made(server)) == 1
