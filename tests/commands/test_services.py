"""computers, webhooks and credits from the shell."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from .conftest import DOOR, posts, sh, wait_until

SECRET = "sandboxApiKey"


def test_a_computer_is_created_awaited_used_and_deleted(rebyte, server):
    made = rebyte(
        "computers", "create", "--name", "box", "--icon", "B", "--once", "box"
    )
    assert made.code == 0 and made["status"] == "provisioning" and made["once"] == "box"
    assert made["service"] == "local" and "computers wait" in made["next"][0]["run"]
    computer = made["id"]
    ready = rebyte("computers", "wait", "@box")
    assert ready.code == 0 and ready["status"] == "ready" and ready["id"] == computer
    first = rebyte("run", sh("echo kept > /code/note"), "--workspace", "@box").document
    again = rebyte("run", sh("cat /code/note"), "--workspace", made["url"]).document
    assert first["workspaceId"] == computer and again["answer"].strip() == "kept"
    assert rebyte("computers", "get", computer)["name"] == "box"
    assert [
        item["id"] for item in rebyte("computers", "list", "--limit", "5")["data"]
    ] == [computer]
    assert rebyte("computers", "delete", "@box").error["code"] == "needs_yes"
    assert rebyte("computers", "delete", "@box", "--yes")["deleted"] is True
    assert rebyte("computers", "get", computer).error["code"] == "not_found"
    gone = rebyte(
        "computers", "create", "--name", "box", "--icon", "B", "--once", "box"
    )
    assert (
        gone.code == 5
        and "is gone" in gone.error["message"]
        and gone["next"][0]["run"].endswith("--again")
    )


def test_the_same_line_makes_no_second_computer(rebyte, server):
    first, again = (
        rebyte("computers", "create", "--name", "box"),
        rebyte("computers", "create", "--name", "box"),
    )
    assert again["id"] == first["id"] and again["reused"] is True
    assert (
        rebyte("computers", "create", "--name", "box", "--again")["id"] != first["id"]
    )
    assert rebyte("computers", "create", "--name", "other")["id"] != first["id"]
    assert len(posts(server, "/v1/agent-computers")) == 3
    rows = rebyte("ledger", "list")["rows"]
    assert [row["kind"] for row in rows] == ["computer"] * 3 and all(
        row["state"] == "created" for row in rows
    )
    assert rebyte("ledger", "show", first["id"])["kind"] == "computer"


def test_a_computer_counts_for_the_guards_and_a_dry_run_sends_nothing(
    rebyte, server, monkeypatch
):
    assert rebyte("computers", "create", "--name", "a", "--dry-run")["body"] == {
        "name": "a"
    }
    assert (
        rebyte("computers", "create", "--max-tasks", "0").error["code"]
        == "guard_tasks_per_command"
    )
    monkeypatch.setenv("REBYTE_MAX_TASKS_PER_DAY", "1")
    assert rebyte("computers", "create", "--name", "a").code == 0
    assert (
        rebyte("computers", "create", "--name", "b").error["code"]
        == "guard_tasks_per_day"
    )
    assert (
        rebyte("api", "POST", "/agent-computers", "--body", "{}").error["code"]
        == "guard_tasks_per_day"
    )
    assert len(posts(server, "/v1/agent-computers")) == 1


def test_a_computer_of_unknown_outcome_is_found_by_its_own_name(rebyte, server):
    server.faults.enable("drop-after-accept", only="POST /v1/agent-computers")
    ran = rebyte("computers", "create", "--name", "box")
    assert (
        ran.code == 0
        and ran["name"] == "box"
        and len(posts(server, "/v1/agent-computers")) == 1
    )
    assert rebyte("ledger", "list")["rows"][0]["state"] == "settled"
    assert rebyte("run", "x", "--workspace", ran["id"])["workspaceId"] == ran["id"]


@pytest.mark.parametrize("words", [(), ("--icon", "B"), ("--name", "twin")])
def test_what_is_not_proven_is_not_adopted(rebyte, server, words):
    if "twin" in words:
        rebyte("api", "POST", "/agent-computers", "--body", '{"name": "twin"}')
        rebyte("ledger", "forget", "1", "--yes")
    server.faults.enable("drop-after-accept", only="POST /v1/agent-computers")
    ran = rebyte("computers", "create", *words)
    assert ran.code == 8 and ran.error["code"] == "outcome_unknown"
    candidates = ran["details"]["candidates"]
    assert len(candidates) == (2 if "twin" in words else 1)
    assert rebyte("computers", "create", *words).code == 8 and len(
        posts(server, "/v1/agent-computers")
    ) == 1 + ("twin" in words)
    row = rebyte("ledger", "list")["rows"][0]["row"]
    settled = rebyte("ledger", "settle", str(row), "--adopt", candidates[0]["id"])
    assert (
        settled["state"] == "settled" and settled["workspaceId"] == candidates[0]["id"]
    )


def test_the_wait_ends_on_a_sandbox_id_and_on_an_error_with_its_reason(rebyte, server):
    server.faults.enable("sandbox-first")
    early = rebyte("computers", "wait", rebyte("computers", "create")["id"])
    assert early.code == 0 and early["status"] == "provisioning" and early["sandboxId"]
    server.faults.enable("computer-error")
    ran = rebyte("computers", "wait", rebyte("computers", "create", "--again")["id"])
    assert ran.code == 3 and "provisioned" in ran["failure"]["reason"]


def test_the_wait_goes_in_slices(rebyte, server):
    server.faults.enable("slow-computer", seconds=30)
    ran = rebyte(
        "computers", "wait", rebyte("computers", "create")["id"], "--max-wait", "0.5"
    )
    assert (
        ran.code == 75
        and ran["status"] == "provisioning"
        and "computers wait" in ran["next"][0]["run"]
    )


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_wait_says_how_it_stands_and_how_to_go_on(
    shell, rebyte, server, number, code, world
):
    server.faults.enable("slow-computer", seconds=30)
    computer = rebyte("computers", "create")["id"]
    asked = "/v1/agent-computers/" + computer
    child = subprocess.Popen(
        [sys.executable, DOOR, "computers", "wait", computer],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        universal_newlines=True,
    )
    wait_until(lambda: [seen for seen in server.requests if seen["path"] == asked])
    child.send_signal(number)
    out, _ = child.communicate(timeout=20)
    document = json.loads(out)
    assert (
        child.returncode == code
        and document["status"] == "provisioning"
        and "computers wait" in document["next"][0]["run"]
    )


def test_the_key_of_a_sandbox_is_shown_only_when_asked_for_by_name(rebyte, server):
    computer = rebyte("computers", "create")["id"]
    rebyte("computers", "wait", computer)
    shown = rebyte("computers", "get", computer, "--field", SECRET).out.strip()
    assert shown.startswith("sbx_local_")
    for words in (
        ("computers", "get", computer),
        ("computers", "wait", computer),
        ("computers", "list"),
        ("computers", "get", computer, "--text"),
        ("api", "GET", "/agent-computers/" + computer, "--urls"),
        ("computers", "update", computer, "--instructions", "x"),
        ("computers", "create"),
        ("api", "GET", "/agent-computers/" + computer, "--field", SECRET),
    ):
        assert shown not in rebyte(*words).out


def test_update_changes_instructions_and_views(rebyte):
    computer = rebyte("computers", "create")["id"]
    told = rebyte(
        "computers",
        "update",
        computer,
        "--instructions",
        "brief",
        "--view",
        "skills=off",
    ).document
    assert told["agentInstructions"] == "brief" and [
        view["id"] for view in told["views"] if not view["enabled"]
    ] == ["skills"]
    assert rebyte("computers", "update", computer).error["code"] == "usage"
    assert rebyte("computers", "update", computer, "--view", "skills").code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("computers", "get"),
        ("computers", "create", "box"),
        ("computers", "create", "--name", "x" * 201),
        ("webhooks", "create"),
        ("webhooks", "list", "x"),
        ("webhooks", "create", "https://a.example/"),
    ],
)
def test_a_wrong_line_is_refused_before_anything_is_sent(rebyte, server, words):
    assert rebyte(*words).code == 2 and server.requests == []


def test_a_webhook_is_made_once_and_reported_the_second_time(rebyte, server, world):
    (world / "secret").write_text("only we know\n")
    words = (
        "webhooks",
        "create",
        "https://a.example/x",
        "--event",
        "task.completed",
        "--secret-file",
        "secret",
        "--description",
        "poke",
    )
    made = rebyte(*words)
    assert (
        made.code == 0
        and made["hasSecret"] is True
        and "only we know" not in made.out + made.err
    )
    again = rebyte(*words)
    assert again.code == 0 and again["id"] == made["id"] and again["reused"] is True
    assert "cannot be compared" in again["warnings"][0]
    assert len(posts(server, "/v1/webhooks")) == 1
    assert [hook["id"] for hook in rebyte("webhooks", "list")["data"]] == [made["id"]]
    assert rebyte("webhooks", "get", made["id"])["failureCount"] == 0
    assert "PUBLIC KEY" in rebyte("webhooks", "public-key")["publicKey"]


def test_a_webhook_that_does_less_than_asked_is_an_error_with_the_line_that_removes_it(
    rebyte, server
):
    made = rebyte(
        "webhooks", "create", "https://a.example/x", "--event", "task.completed"
    ).document
    ran = rebyte("webhooks", "create", "https://a.example/x", "--event", "task.failed")
    assert (
        ran.code == 2
        and ran.error["code"] == "webhook_exists"
        and "task.failed" in ran.error["message"]
    )
    assert made["id"] in ran["next"][0]["run"]
    assert rebyte("webhooks", "delete", made["id"])["deleted"] is True
    assert (
        rebyte(
            "webhooks", "create", "https://a.example/x", "--event", "task.failed"
        ).code
        == 0
    )


@pytest.mark.parametrize("text", ["", "a\nb", "x" * 501, "\u00e9"])
def test_a_secret_that_cannot_travel_is_refused(rebyte, server, world, text):
    (world / "secret").write_text(text, encoding="utf-8")
    assert (
        rebyte(
            "webhooks",
            "create",
            "https://a.example/x",
            "--event",
            "task.failed",
            "--secret-file",
            "secret",
        ).code
        == 2
    )
    assert server.requests == []


def test_a_fourth_webhook_is_refused_by_the_service(rebyte):
    for number in range(3):
        rebyte(
            "webhooks",
            "create",
            "https://a.example/%d" % number,
            "--event",
            "task.failed",
        )
    assert (
        rebyte(
            "webhooks", "create", "https://a.example/3", "--event", "task.failed"
        ).error["code"]
        == "limit_exceeded"
    )


def spend(server, left):
    server._service.credits.reset(left)


def test_credits_are_told_and_low_ones_with_a_warning(rebyte, server):
    assert (
        rebyte("credits")["totalAvailable"] == 10000
        and "warnings" not in rebyte("credits").document
    )
    spend(server, 7)
    assert rebyte("credits")["warnings"] == [
        "the organization's credit is low (7 left)"
    ]
    assert rebyte("credits", "--field", "balance").out == "7\n"


@pytest.mark.parametrize(
    "words",
    [
        ("run", "x"),
        ("create", "x"),
        ("computers", "create"),
        ("api", "POST", "/tasks", "--body", '{"prompt": "x"}'),
    ],
)
def test_spent_credit_is_named_when_a_start_is_refused(rebyte, server, words):
    spend(server, 0)
    ran = rebyte(*words)
    assert (
        ran.code == 2
        and ran.error["code"] == "insufficient_credits"
        and "credit is spent (0 left)" in ran.error["message"]
    )
    assert ran["warnings"] == ["the organization's credit is spent (0 left)"]
    assert rebyte("ledger", "list")["rows"][0]["state"] == "refused"


def test_spent_credit_is_named_for_each_line_of_a_batch_and_asked_for_once(
    rebyte, server
):
    spend(server, 1)
    ran = rebyte(
        "batch", "--prompt", "a", "--prompt", "b", "--prompt", "c", "--concurrency", "1"
    )
    assert ran.code == 9 and "credit is spent (0 left)" in ran.out
    assert (
        len([seen for seen in server.requests if seen["path"] == "/v1/billing/credits"])
        == 1
    )


def test_low_credit_is_named_when_a_task_fails(rebyte, server):
    failing = sh("false")
    assert "credit" not in str(rebyte("run", failing).document.get("warnings"))
    spend(server, 5)
    ran = rebyte("run", failing, "--again")
    assert (
        ran.code == 3 and "the organization's credit is low (4 left)" in ran["warnings"]
    )


def test_the_health_of_the_service_lies_beside_the_rest(rebyte, server):
    assert (
        rebyte("api", "GET", "/health")["status"] == "ok"
        and server.requests[0]["path"] == "/health"
    )


def test_a_route_that_is_missing_is_told_apart_from_a_service_that_is_gone(
    rebyte, server, monkeypatch
):
    from rebyte_local.api import routes

    gone = [entry for entry in routes.TABLE if "billing" not in entry[1].pattern]
    monkeypatch.setattr(routes, "TABLE", gone)
    ran = rebyte("credits")
    assert (
        ran.code == 5
        and ran.error["code"] == "no_such_route"
        and "no such route" in ran.error["message"]
    )
    assert "changed" not in ran.error["message"]
    monkeypatch.setattr(routes, "TABLE", [])
    ran = rebyte("credits")
    assert (
        ran.code == 5
        and "the service or its address has changed" in ran.error["message"]
    )
    assert (
        json.loads(rebyte("get", "0" * 8 + "-0000-4000-8000-" + "0" * 12).out)["error"][
            "code"
        ]
        == "no_such_route"
    )
