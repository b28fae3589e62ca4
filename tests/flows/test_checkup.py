"""doctor without a network: the state, and whom to ask for which host."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing

import pytest

from measure import ROOT
from rebyte_flows.diagnosis import checkup
from rebyte_flows.diagnosis.asks import ASKS, HOSTS, STORAGE_HOST, ask_for
from rebyte_flows.diagnosis.checkup import bad, check_state, host_checks
from rebyte_flows.diagnosis.probe import STEPS, Peer
from rebyte_flows.state import StateFolder
from rebyte_wire.errors import AuthError, LedgerUnwritable, NetworkError, RebyteError

BASE = "https://api.example.test:8443/v1"


@pytest.fixture
def state(tmp_path):
    os.mkdir(str(tmp_path / "state"), 0o700)
    return StateFolder(str(tmp_path / "state"))


def refused(message, code="connection_refused"):
    return NetworkError(
        message, code=code, outcome="not_sent", hint="look at the network"
    )


def test_what_helps_is_the_hint_of_the_error():
    assert bad("x", refused("no")).remedy == "look at the network"
    assert bad("x", AuthError("no")).remedy == AuthError.default_hint
    assert "references/errors.md" in bad("x", RebyteError("no", code="odd")).remedy
    assert bad("x", refused("no"), "other").remedy == "other"


def test_the_host_that_was_not_reached_is_the_one_to_ask_for():
    problem = refused("no")
    assert HOSTS in ask_for(problem) and "443" in ask_for(problem)
    text = ask_for(problem, BASE, "api.connection")
    assert "api.example.test" in text and "8443" in text and STORAGE_HOST not in text
    text = ask_for(problem, BASE, "storage.connection")
    assert STORAGE_HOST in text and "443" in text and "example.test" not in text
    assert ask_for(RebyteError("no", code="odd")) is None
    assert "{" not in "".join(ask_for(RebyteError("no", code=code)) for code in ASKS)


def test_steps_before_the_one_that_failed_went_well_and_later_ones_were_not_tried():
    problem = refused("no way", "tls_failed")
    found = host_checks("api", BASE, problem, {})
    assert [check.ok for check in found] == [True, True, True, False]
    problem = refused("no name", "dns_failed")
    found = host_checks("api", BASE, problem, {})
    assert [check.ok for check in found] == [False, None, None, None]
    found = host_checks("api", BASE, Peer("192.0.2.1", "TLSv1.3", "somebody"), {})
    assert [check.name for check in found] == ["api." + step for step in STEPS]
    assert "signed by somebody" in found[-1].detail and "192.0.2.1" in found[1].detail


def test_the_ledger_itself_is_tried(state):
    assert check_state(lambda: state).ok
    assert os.path.exists(state.file("ledger.db"))
    assert (
        "may not last"
        in check_state(lambda: StateFolder(state.path, lasting=False)).detail
    )
    os.chmod(state.path, 0o755)
    assert "chmod 700" in check_state(lambda: state).remedy


def test_a_ledger_that_another_program_holds_is_told_and_not_waited_for(
    state, monkeypatch
):
    monkeypatch.setattr(checkup, "LOCK_SECONDS", 0.1)
    check_state(lambda: state)
    with closing(sqlite3.connect(state.file("ledger.db"), isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        check = check_state(lambda: state)
    assert time.monotonic() - began < 5
    assert check.ok is False and "locked" in check.detail and "holds" in check.remedy


@pytest.mark.parametrize(
    "problem, words",
    [
        (PermissionError(1, "Operation not permitted"), "takes no modes"),
        (OSError(5, "disk I/O error"), "journal"),
        (
            sqlite3.OperationalError("attempt to write a readonly database"),
            "only be read",
        ),
        (sqlite3.DatabaseError("file is not a database"), "move it away"),
        (sqlite3.OperationalError("something new"), "local disk"),
    ],
)
def test_what_is_wrong_with_the_ledgers_place_is_named(
    state, monkeypatch, problem, words
):
    check_state(lambda: state)

    def fail(*_, **__):
        raise problem

    monkeypatch.setattr(checkup.os, "chmod", fail)
    check = check_state(lambda: state)
    assert check.ok is False and words in check.remedy


def test_no_folder_at_all_is_a_finding_and_no_crash():
    def refuse():
        raise LedgerUnwritable("no folder", hint="set REBYTE_STATE_DIR")

    check = check_state(refuse)
    assert check.ok is False and check.remedy == "set REBYTE_STATE_DIR"


def test_each_code_that_a_human_is_asked_about_stands_in_the_reference():
    with open(os.path.join(ROOT, "references", "errors.md")) as file:
        rows = [line for line in file if line.startswith("| `")]
    assert [
        code for code in ASKS if not any("`%s`" % code in row for row in rows)
    ] == []
