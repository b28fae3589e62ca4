"""Agent programs behind the API: what goes in, what their streams become, how they end."""

from __future__ import annotations

import os

import pytest

from agent_programs import calls, make_programs, plan


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Put programs of ours before PATH; gives what was set."""
    environ = make_programs(tmp_path / "programs")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return environ


def latest(api, task):
    """The newest turn of a task, as the API tells it."""
    return api.get("/tasks/" + task["id"])["prompts"][0]


def test_a_named_program_works_in_the_workspace_and_its_stream_becomes_events(
    start, programs
):
    api = start(agents="claude")
    order = plan(run=["echo 3 > artifacts/n.csv; echo done"], say="There are 3.")
    task, events, done = api.run("count them " + order, executor="claude")
    kinds = [event["eventType"] for event in events]
    assert kinds == [
        "init",
        "init",
        "tool_use",
        "tool_result",
        "text",
        "files_changed",
        "result",
    ]
    assert (done["status"], done["finalResult"]) == ("succeeded", "There are 3.")
    assert events[1]["payload"]["model"] == "fake-opus"
    assert events[3]["payload"]["output"] == "done\n"
    assert events[5]["payload"]["files"] == [
        {"path": "artifacts/n.csv", "kind": "added"}
    ]
    turn = latest(api, task)
    assert turn["usage"] == {"inputTokens": 100, "outputTokens": 7}
    assert turn["costUsd"] == 0.25 and turn["warnings"] == []
    assert "rehearsal" not in task
    names = api.get("/workspaces/%s/artifacts" % task["workspaceId"])["data"]
    assert [one["name"] for one in names] == ["n.csv"]


def test_a_follow_up_goes_on_with_the_conversation_and_costs_its_own_share(
    start, programs
):
    api = start(agents="claude")
    task, _, _ = api.run(plan(say="turn TURN"), executor="claude")
    api.server.close()
    api = start(agents="claude")
    api.follow_up(task["id"], plan(say="turn TURN"))
    done = api.stream(task["id"])[1]
    assert done["finalResult"] == "turn 2"
    assert latest(api, task)["costUsd"] == 0.25
    first, second = calls(programs)
    assert "--resume" not in first["argv"] and "--resume" in second["argv"]
    assert first["cwd"] == second["cwd"]


def test_nothing_of_ours_and_of_an_outer_harness_reaches_a_program(
    start, programs, monkeypatch
):
    monkeypatch.setenv("REBYTE_API_KEY", "rbk_secret")
    monkeypatch.setenv("CLAUDECODE", "1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "the owner's")
    start(agents="claude").run(plan(say="x"), executor="claude")
    env = calls(programs)[0]["env"]
    assert not [name for name in env if name.startswith("REBYTE_")]
    assert "CLAUDECODE" not in env
    assert env["ANTHROPIC_API_KEY"] == "the owner's"
    assert env["HOME"] == programs["HOME"]


def test_without_agents_a_named_executor_is_rehearsed_and_the_turn_says_so(
    start, programs
):
    api = start()
    task, _, _ = api.run("x", executor="claude")
    assert "local start --agents claude" in latest(api, task)["warnings"][0]
    assert task["rehearsal"] is True
    assert not os.path.exists(programs["FAKE_LOG"])
