"""ledger list, show, settle, forget."""
from __future__ import annotations

import pytest

from rebyte_flows import settling


@pytest.fixture
def unknown(rebyte, server, monkeypatch):
    """A start whose answer was lost and that looks like another task."""
    monkeypatch.setattr(settling, "LOOKS_AFTER_SECONDS", (0.1, 0.2))
    rebyte("api", "POST", "/tasks", "--body", '{"prompt":"alike"}')
    rebyte("ledger", "forget", "1", "--yes")
    server.faults.enable("drop-after-accept")
    ran = rebyte("create", "alike")
    server.faults.clear()
    assert ran.code == 8 and len(ran.document["details"]["candidates"]) == 2
    return ran


def test_list_and_show_tell_what_was_started(rebyte):
    made = rebyte("create", "hello", "--once", "n", "--executor", "codex").document
    row = rebyte("ledger", "list").document["rows"][0]
    assert row["id"] == made["id"] and row["once"] == "n" and row["state"] == "created" and "hello" not in str(row)
    assert rebyte("ledger", "show", made["id"]).document == row and rebyte("ledger", "show", "1").document == row
    assert "created" in rebyte("ledger", "list", "--text").out


def test_what_looks_alike_is_named_and_never_guessed(rebyte, unknown):
    ran = rebyte("ledger", "settle")
    assert ran.code == 8 and len(ran.document["unknown"][0]["candidates"]) == 2
    assert any("--adopt ID" in step["run"] for step in ran.document["next"])


def test_a_person_may_adopt_a_candidate(rebyte, unknown):
    number, choice = unknown.document["details"]["row"], unknown.document["details"]["candidates"][0]["id"]
    assert rebyte("ledger", "settle", str(number), "--adopt", choice).document["state"] == "settled"
    assert rebyte("create", "alike").document["id"] == choice
    assert rebyte("ledger", "settle").code == 0


def test_an_abandoned_row_lets_the_line_start_anew(rebyte, unknown):
    number = str(unknown.document["details"]["row"])
    assert rebyte("ledger", "settle", number, "--abandon").document["state"] == "abandoned"
    ran = rebyte("create", "alike")
    assert ran.code == 0 and "reused" not in ran.document


def test_forget_needs_yes_and_leaves_open_rows(rebyte, unknown):
    rebyte("create", "other")
    assert rebyte("ledger", "forget", "--older-than", "0").code == 7
    rebyte("ledger", "forget", "--older-than", "0", "--yes")
    assert [row["state"] for row in rebyte("ledger", "list").document["rows"]] == ["unknown"]


def test_a_row_that_is_not_there_is_not_found(rebyte):
    assert rebyte("ledger", "show", "999").code == 5
