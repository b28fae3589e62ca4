"""Inside the sandboxes of harnesses: named, explained, and nothing recommended that cannot work."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

import pytest

from measure import SCRIPTS, run_quietly
from rebyte_commands.jobs.rehearsals import ENDS_WITH_CALL
from rebyte_commands.shell import environment, sandbox
from rebyte_flows.following.result import CUT_OFF
from rebyte_local.execution.lifecycle import INTERRUPTED


def no_names(*_, **__):
    raise socket.gaierror(-3, "Temporary failure in name resolution")


@pytest.fixture
def fenced(rebyte, monkeypatch):
    """A command line in a sandbox without names, at the usual address."""
    monkeypatch.setattr(socket, "getaddrinfo", no_names)
    monkeypatch.delenv("REBYTE_BASE_URL")
    return lambda *words: rebyte(*words, "--max-wait", "10")


@pytest.mark.parametrize(
    "marker, name, words",
    [
        ("CODEX_SANDBOX", "Codex", "prefix_rule(pattern=["),
        ("SANDBOX_RUNTIME", "Claude Code", "sandbox.network.allowedDomains"),
    ],
)
def test_doctor_names_the_sandbox_and_asks_for_the_way_out_first(
    fenced, monkeypatch, marker, name, words
):
    monkeypatch.setenv(marker, "1")
    ran = fenced("doctor")
    assert (ran.code, ran["sandbox"]) == (10, name)
    assert words in ran["next"][0]["ask"] and name in ran["next"][0]["why"]


def test_doctor_speaks_of_no_sandbox_where_there_is_none(fenced, monkeypatch):
    monkeypatch.setattr(sandbox, "FIRST_PROCESSES", {})
    assert "sandbox" not in fenced("doctor").document


def test_doctor_tells_a_machine_without_any_folder_and_everything_else(
    fenced, monkeypatch, tmp_path
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REBYTE_STATE_DIR", str(tmp_path / "file"))
    checks = {check["name"]: check["ok"] for check in fenced("doctor")["checks"]}
    assert checks["state"] is False and checks["python"] and "api.name" in checks


@pytest.mark.parametrize("may_listen, name", [(True, None), (False, "Codex")])
def test_a_command_that_codex_let_out_by_a_rule_is_in_no_sandbox(
    monkeypatch, may_listen, name
):
    monkeypatch.setattr(sandbox, "FIRST_PROCESSES", {})
    monkeypatch.setattr(sandbox, "can_listen", lambda: may_listen)
    assert sandbox.sandbox_name({"CODEX_SANDBOX_NETWORK_DISABLED": "1"}) == name


@pytest.mark.parametrize("may_listen", [True, False])
def test_doctor_recommends_the_rehearsal_only_where_a_socket_can_be_made(
    fenced, monkeypatch, may_listen
):
    monkeypatch.setattr("rebyte_commands.verbs.doctor.can_listen", lambda: may_listen)
    lines = [step.get("run", "") for step in fenced("doctor")["next"]]
    assert any("doctor --local" in line for line in lines) == may_listen


def test_the_rehearsal_says_what_it_needs_where_no_socket_can_be_made(
    rebyte, monkeypatch
):
    monkeypatch.delenv("REBYTE_BASE_URL")
    monkeypatch.setenv("CODEX_SANDBOX", "seatbelt")
    monkeypatch.setattr("rebyte_commands.shell.local_server.can_listen", lambda: False)
    ran = rebyte("run", "--local", "hello")
    assert (ran.code, ran.error["code"]) == (10, "local_not_started")
    assert ran.error["retryable"] is False
    assert "the sandbox of Codex" in ran.error["message"]


def test_where_a_socket_is_refused_nothing_can_listen(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    assert sandbox.can_listen()
    monkeypatch.setattr(sandbox.socket, "socket", refuse)
    assert not sandbox.can_listen()


@pytest.fixture
def local(rebyte, monkeypatch):
    """A command line of this process with the server on this machine, ended with the test."""
    monkeypatch.delenv("REBYTE_BASE_URL")
    yield rebyte
    rebyte("local", "stop")


def test_where_the_call_ends_the_server_the_document_says_so(
    local, monkeypatch, tmp_path
):
    first = tmp_path / "comm"
    first.write_text("bwrap\n")
    monkeypatch.setattr(sandbox, "FIRST_PROCESS_FILE", str(first))
    assert ENDS_WITH_CALL in local("run", "--local", "hello")["warnings"]
    first.write_text("systemd\n")
    ran = local("run", "--local", "another")
    assert ENDS_WITH_CALL not in ran["warnings"]


def test_a_rehearsal_whose_server_went_away_is_told_as_that_and_can_be_run_again(
    local,
):
    line = ["run", "--local", "```sh run\nsleep 60\n```", "--max-wait", "2"]
    ran = local(*line)
    assert ran.code == 75
    os.kill(json.loads(local("local", "status").out)["pid"], signal.SIGKILL)
    while local("local", "status").code == 0:
        pass
    ran = local(*line)
    assert (ran.code, ran.error["code"]) == (10, "local_server_gone"), ran
    assert "failure" not in ran.document and "--again" in ran["next"][0]["run"]
    made = ran["id"]
    ran = local("result", "--local", made)
    assert (ran.code, ran.error["code"]) == (10, "local_server_gone")
    assert "next" not in ran.document
    assert local("wait", "--local", made).code == 10
    both = local("wait", "--local", made, local("run", "--local", "hello")["id"])
    assert both["tasks"][0]["error"]["code"] == "local_server_gone"


def test_both_sides_know_the_words_for_a_prompt_that_was_cut_off():
    assert INTERRUPTED.startswith(CUT_OFF)


def test_a_line_to_paste_names_the_path_the_command_was_called_through(tmp_path):
    link = tmp_path / "skill"
    link.symlink_to(os.path.dirname(SCRIPTS))
    door = str(link / "scripts" / environment.CLI_NAME)
    done = run_quietly([sys.executable, door, "local", "status"])
    step = json.loads(done.stdout.decode())["next"][0]
    assert door in step["run"]


def test_who_switches_agents_on_where_there_is_none_is_told(
    local, monkeypatch, tmp_path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = local("local", "start", "--agents")
    assert ran.code == 0 and "no agent program was found" in ran["warnings"][0]
