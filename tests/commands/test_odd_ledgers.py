"""A ledger that is damaged, locked or a link: reading goes on without it, starts say why not."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from rebyte_flows.job import run
from rebyte_flows.state import StateFolder
from scripted_server import Server, answer

from .conftest import DOOR, posts


def junk(path):
    path.write_bytes(b"no database at all" * 100)


def folder(path):
    path.unlink()
    path.mkdir()


def link(path):
    os.rename(str(path), str(path) + ".other")
    os.symlink(str(path) + ".other", str(path))


def newer(path):
    with contextlib.closing(sqlite3.connect(str(path))) as book:
        book.execute("PRAGMA user_version=99")


def columns(path):
    with contextlib.closing(sqlite3.connect(str(path))) as book:
        book.execute("ALTER TABLE starts RENAME COLUMN parts TO bits")


@pytest.fixture
def ledger_file(rebyte, tmp_path):
    """The ledger after one run, its log written back; the run's id is its `task_id`."""
    made = rebyte("run", "hello", "--once", "n")["id"]
    path = tmp_path / "state" / "ledger.db"
    with contextlib.closing(sqlite3.connect(str(path))) as book:
        book.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return made, path


@pytest.mark.parametrize("spoil", [junk, folder, link, newer, columns])
def test_a_task_can_be_read_without_the_ledger(rebyte, server, ledger_file, spoil):
    made, path = ledger_file
    spoil(path)
    assert rebyte("result", made)["status"] == "completed"
    assert rebyte("wait", made)["tasks"][0]["status"] == "completed"
    assert rebyte("watch", made).code == 0
    assert rebyte("get", made)["id"] == made
    ran = rebyte("run", "hello")
    assert (ran.code, ran.error["code"]) == (7, "ledger_unwritable")
    assert "another folder" not in ran.error["hint"] and len(posts(server)) == 1


def test_odd_cells_are_no_crash(rebyte, ledger_file):
    made, path = ledger_file
    with contextlib.closing(sqlite3.connect(str(path))) as book:
        book.execute(
            "UPDATE starts SET parts = '{no', known = 'x', claimed_at = 'then', "
            "holder = 7, status = x'00', executor = 5"
        )
        book.commit()
    assert rebyte("ledger", "list")["rows"][0]["id"] == made
    assert rebyte("ledger", "show", "1")["startedAt"] == "then"
    assert rebyte("result", made).code == 0
    assert rebyte("ledger", "settle").code == 0


@contextlib.contextmanager
def held(path):
    """Hold the ledger's file as another program does."""
    other = sqlite3.connect(str(path), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.close()


@pytest.mark.parametrize(
    "words",
    [
        ("create", "x"),
        ("run", "hello", "--once", "n"),
        ("batch", "--prompt", "a", "--prompt", "b"),
        ("api", "POST", "/tasks", "--body", '{"prompt":"x"}'),
    ],
)
def test_a_locked_ledger_ends_in_the_slice_and_is_told_by_its_name(
    rebyte, server, ledger_file, words
):
    began = time.monotonic()
    with held(ledger_file[1]):
        ran = rebyte(*words, "--max-wait", "0.5")
    assert time.monotonic() - began < 4
    error = ran.document.get("error") or ran["tasks"][0]["error"]
    assert (error["code"], error["retryable"], ran.code) == ("ledger_locked", True, 7)
    assert "REBYTE_STATE_DIR" not in ran.out and "on its way" not in ran.err
    assert len(posts(server)) == 1


def test_reading_goes_on_while_the_ledger_is_locked(rebyte, ledger_file):
    made, path = ledger_file
    with held(path):
        assert rebyte("result", made, "--max-wait", "1").code == 0
        assert rebyte("ledger", "list", "--max-wait", "1")["total"] == 1


def test_waiting_for_a_locked_ledger_can_be_interrupted(world, server, ledger_file):
    with held(ledger_file[1]):
        line = [sys.executable, DOOR, "create", "x", "--max-wait", "30"]
        child = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        # Once it has told where it speaks to, only the ledger is in the way.
        child.stderr.readline()
        time.sleep(0.2)
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=20)
    assert (
        child.returncode == 143
        and time.monotonic() - began < 3
        and out.count(b"\n") == 1
    )


def test_a_killed_start_can_be_given_up_and_forgotten(rebyte, server, ledger_file):
    with contextlib.closing(sqlite3.connect(str(ledger_file[1]))) as book:
        book.execute(
            "UPDATE starts SET state = 'sent', holder = '99999999-0123456789ab', "
            "delivered_at = NULL, task_id = NULL, prompt_digest = 'none'"
        )
        book.commit()
    assert rebyte("ledger", "forget", "1", "--yes").code == 7
    assert rebyte("ledger", "settle", "1", "--abandon")["state"] == "abandoned"
    assert rebyte("ledger", "forget", "1", "--yes")["forgotten"] == 1


# The same turn twice, and what was recovered


TASK = "11111111-2222-4333-8444-555555555555"


@pytest.mark.parametrize("raw", [False, True])
def test_a_follow_up_typed_twice_at_once_is_one_turn(rebyte, world, monkeypatch, raw):
    sent = []
    arrived = threading.Event()

    def reply(request):
        if not request[0].startswith("POST"):
            return answer(200, {"id": TASK, "status": "completed", "prompts": []})
        sent.append(request[0])
        arrived.set()
        said = answer(201, {"promptId": "p%d" % len(sent)})

        def say_late(sock):
            time.sleep(0.8)
            sock.sendall(said)

        return say_late

    words = ["follow-up", TASK, "go on"]
    if raw:
        path = "/tasks/%s/prompts" % TASK
        words = ["api", "POST", path, "--body", '{"prompt":"go on"}']
    line = [sys.executable, DOOR, *words]
    with Server(speaks=reply) as service:
        monkeypatch.setenv("REBYTE_BASE_URL", service.url)
        with subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as first:
            assert arrived.wait(10)
            second = rebyte(*words)
            first.communicate(timeout=20)
    assert (first.returncode, second.code) == (0, 0)
    assert second["promptId"] == "p1" and len(sent) == 1


def test_a_task_that_was_found_again_says_what_was_lost(rebyte, server, tmp_path):
    server.faults.enable("drop-after-accept")
    ran = rebyte("run", "hello", "--once", "n")
    assert ran.code == 0 and ran["recovered"] is True
    assert any("was lost" in text for text in ran["warnings"])
    for words in (["result", "@n"], ["run", "hello", "--once", "n"]):
        assert rebyte(*words)["recovered"] is True
    assert rebyte("wait", "@n")["tasks"][0]["recovered"] is True
    server.faults.clear()
    server.faults.enable("drop-after-accept")
    ran = rebyte("create", "another")
    assert ran["recovered"] is True and "was lost" in ran["warnings"][0]


def test_python_programs_are_told_what_was_recovered(server, tmp_path, impatient):
    from rebyte_client import RebyteClient

    server.faults.enable("drop-after-accept")
    with RebyteClient(server.key, server.base_url) as client:
        found = run(client, "hello", state=StateFolder(str(tmp_path / "s")))
    assert found["recovered"] and found["service"] == "local"
    assert any("was lost" in text for text in found["warnings"])


@pytest.mark.parametrize("size", [b"-5", b"-1", b"zz"])
def test_a_chunk_size_that_is_none_after_a_paid_start_is_unknown(
    rebyte, world, monkeypatch, size
):
    bad = (
        b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\n{}"
    )

    def reply(request):
        return bad if request[0].startswith("POST") else answer(200, {"data": []})

    with Server(speaks=reply) as odd:
        monkeypatch.setenv("REBYTE_BASE_URL", odd.url)
        ran = rebyte("create", "x", "--max-wait", "5")
    assert (ran.code, ran.error["code"]) == (8, "outcome_unknown")


def test_a_number_that_json_does_not_know_is_never_printed(rebyte, world, monkeypatch):
    for number in (b"1e999", b"-1e999", b"NaN", b"Infinity"):
        body = b'{"id":"11111111-2222-4333-8444-555555555555","n":%s}' % number
        with Server(answer(200, body)) as odd:
            monkeypatch.setenv("REBYTE_BASE_URL", odd.url)
            out = rebyte("api", "GET", "/tasks").out
        assert "Infinity" not in out and "NaN" not in out.replace("NaN)", "")
