"""The door to the local server: who starts it, and what it is started with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from agent_programs import make_programs, plan
from measure import SCRIPTS, run_quietly
from rebyte_commands.shell import local_server
from rebyte_commands.verbs import local
from rebyte_wire.errors import NetworkError

LINE = [sys.executable, os.path.join(SCRIPTS, "rebyte_cli.py")]


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state folder of its own; the server in it is ended with the test."""
    monkeypatch.setenv("REBYTE_STATE_DIR", str(tmp_path / "state"))
    yield str(tmp_path / "state")
    run_quietly(LINE + ["local", "stop"])


def test_a_prompt_does_not_find_the_key_of_the_cloud_in_the_servers_environment(
    state, monkeypatch, tmp_path
):
    if not os.path.exists("/proc/self/environ"):
        pytest.skip("this system has no /proc")
    monkeypatch.setenv("REBYTE_API_KEY", "rbk_cloud_secret")
    monkeypatch.setenv("REBYTE_API_KEY_FILE", str(tmp_path / "key"))
    fence = "```sh run\ntr '\\0' '\\n' < /proc/$PPID/environ; echo end\n```\n"
    ran = run_quietly(LINE + ["run", "--local", fence])
    assert b"HOME=" in ran.stdout and b"end" in ran.stdout
    assert b"rbk_cloud_secret" not in ran.stdout and b"API_KEY" not in ran.stdout


def test_eight_first_commands_at_once_start_one_server_and_all_succeed(state):
    quiet = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    started = [subprocess.Popen(LINE + ["list", "--local"], **quiet) for _ in range(8)]
    ended = [
        process.communicate(timeout=60) + (process.returncode,) for process in started
    ]
    assert [code for _, _, code in ended] == [0] * 8, ended
    assert [json.loads(out.decode())["total"] for out, _, _ in ended] == [0] * 8


def test_the_status_tells_the_page_of_all_tasks(state):
    run_quietly(LINE + ["local", "start"])
    told = json.loads(run_quietly(LINE + ["local", "status"]).stdout.decode())
    assert told["pageUrl"].startswith(told["url"] + "/?token=")


@pytest.mark.parametrize(
    "started, asked, lacks",
    [
        (["--fault", "slow-create=1", "--width", "2"], [], None),
        (["--fault", "slow-create=1"], ["--fault", "slow-create=1"], None),
        (["--width", "2", "--idle", "60"], ["--idle", "60"], None),
        (
            ["--width", "2"],
            ["--width", "3"],
            "--width 3; it was started with --width 2",
        ),
        ([], ["--credits", "5"], "without --credits 5; it was started with no flag"),
    ],
)
def test_a_start_with_the_settings_of_the_running_server_says_that_it_runs(
    state, started, asked, lacks
):
    first = json.loads(run_quietly(LINE + ["local", "start", *started]).stdout)
    ran = run_quietly(LINE + ["local", "start", *asked])
    again = json.loads(ran.stdout)
    if lacks:
        assert ran.returncode == 2 and lacks in again["error"]["message"]
        return
    assert ran.returncode == 0 and b"already with these settings" in ran.stderr
    assert again["reused"] and again["pid"] == first["pid"] and "reused" not in first


def test_a_server_that_ends_by_itself_while_it_is_stopped_is_stopped(monkeypatch):
    child = subprocess.Popen(["true"])
    child.wait()
    found = iter([{"pid": child.pid}, None])
    monkeypatch.setattr(local, "running_server", lambda context: next(found))
    assert local.stop(None, None).document == {"running": False, "stopped": True}


def test_a_start_that_another_one_overtakes_does_not_say_that_its_settings_hold(
    state, monkeypatch
):
    first = subprocess.Popen(
        LINE + ["local", "start", "--width", "2"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    ran = run_quietly(LINE + ["local", "start", "--width", "3"])
    first.communicate(timeout=60)
    assert sorted((ran.returncode, first.returncode)) == [0, 2]


def test_a_program_that_the_owner_switched_on_answers_the_named_executor(
    state, monkeypatch, tmp_path
):
    for name, value in make_programs(tmp_path / "programs").items():
        monkeypatch.setenv(name, value)
    started = json.loads(run_quietly(LINE + ["local", "start", "--agents"]).stdout)
    assert started["agents"] == ["claude", "codex"] and "rehearsal" not in started
    order = "Count. " + plan(run=["echo 3 > artifacts/n.csv"], say="There are 3.")
    ran = run_quietly(LINE + ["run", "--local", "--executor", "claude", order])
    document = json.loads(ran.stdout)
    assert ran.returncode == 0, document
    told = ("status", "answer", "executor", "model", "service", "usage", "costUsd")
    assert [document[name] for name in told] == [
        "completed",
        "There are 3.",
        "claude",
        "fake-opus",
        "local",
        {"inputTokens": 100, "outputTokens": 7},
        0.25,
    ]
    assert [file["name"] for file in document["files"]] == ["n.csv"]
    assert "rehearsal" not in document and "warnings" not in document


def test_the_variable_switches_programs_on_for_the_server_that_a_line_starts(
    state, monkeypatch, tmp_path
):
    for name, value in make_programs(tmp_path / "programs").items():
        monkeypatch.setenv(name, value)
    run_quietly(LINE + ["local", "start"])
    monkeypatch.setenv("REBYTE_LOCAL_AGENTS", "claude")
    ran = run_quietly(LINE + ["list", "--local"])
    assert b"was started without it" in ran.stderr
    run_quietly(LINE + ["local", "stop"])
    document = json.loads(run_quietly(LINE + ["run", "--local", "hi"]).stdout)
    assert (document["executor"], document["answer"]) == ("claude", "hello")
    run_quietly(LINE + ["local", "stop"])
    monkeypatch.setenv("REBYTE_LOCAL_AGENTS", "nobody")
    ran = run_quietly(LINE + ["list", "--local"])
    assert ran.returncode == 2 and b"REBYTE_LOCAL_AGENTS is 'nobody'" in ran.stderr


def test_a_server_that_finds_no_room_is_told_as_that(monkeypatch, tmp_path):
    class Child:
        def poll(self):
            return 1

    log = tmp_path / "server.log"
    log.write_text("")
    monkeypatch.setattr(local_server, "running_server", lambda context: None)
    monkeypatch.setattr(local_server, "LEAST_ROOM_BYTES", 1 << 60)
    with pytest.raises(NetworkError, match="disk of its folder is full"):
        local_server._other_server(None, Child(), time.monotonic() + 5, str(log), 0)
    monkeypatch.setattr(local_server, "LEAST_ROOM_BYTES", 0)
    with pytest.raises(NetworkError, match="no reason was given"):
        local_server._other_server(None, Child(), time.monotonic() + 5, str(log), 0)
