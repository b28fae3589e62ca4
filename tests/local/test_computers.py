"""Agent computers of the local server: made, ready after a moment, worked on, changed, gone."""
from __future__ import annotations

import time

import pytest


def ready(api, computer_id, field="status", value="ready"):
    """Ask until a field has a value."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        computer = api.api("GET", "/agent-computers/" + computer_id).json
        if computer[field] == value or value is None and computer[field]:
            return computer
        time.sleep(0.02)
    raise AssertionError(computer)


def test_a_computer_is_provisioned_and_then_ready_with_a_sandbox(api):
    reply = api.api("POST", "/agent-computers", {"name": "box", "icon": "B"})
    made = reply.json
    assert reply.status == 201 and made["status"] == "provisioning" and made["sandboxId"] is None and made["provisionError"] is None
    assert made["url"].endswith("/agent/computer/" + made["id"]) and "sandboxApiKey" not in made
    seen = ready(api, made["id"])
    assert seen["sandboxId"] and seen["sandboxApiKey"].startswith("sbx_local_") and seen["name"] == "box"
    assert api.api("POST", "/agent-computers", {}).json["name"] == "Agent Computer"
    listed = api.api("GET", "/agent-computers?limit=1").json
    assert [item["name"] for item in listed["data"]] == ["Agent Computer"] and listed["total"] == 2
    assert "sandboxApiKey" not in listed["data"][0]


def test_tasks_share_the_files_of_a_computer(api):
    computer = api.api("POST", "/agent-computers", {}).json["id"]
    api.finish(api.create(api.fence("sh", "echo kept > /code/note"), workspaceId=computer)["id"])
    _, events, _ = api.run(api.fence("sh", "cat /code/note"), workspaceId=computer)
    assert "kept" in "".join(api.words(events))


def test_a_computer_outlives_a_restart_and_a_deleted_one_is_gone(start):
    first = start()
    computer = first.api("POST", "/agent-computers", {"name": "box"}).json["id"]
    first.server.close()
    again = start()
    assert ready(again, computer)["name"] == "box"
    task = again.create(again.fence("sh", "sleep 30"), workspaceId=computer)["id"]
    assert again.api("DELETE", "/agent-computers/" + computer).status == 204
    assert again.finish(task)["status"] == "canceled"
    assert again.api("GET", "/agent-computers/" + computer).code == "not_found"
    assert again.api("POST", "/tasks", {"prompt": "x", "workspaceId": computer}).status == 404


def test_instructions_and_views_change_snake_case_in_camel_case_out(api):
    computer = api.api("POST", "/agent-computers", {}).json["id"]
    answer = api.api("PATCH", "/agent-computers/" + computer, {"agent_instructions": "brief", "views": {"skills": False}}).json
    assert answer["agentInstructions"] == "brief"
    assert [view["id"] for view in answer["views"] if not view["enabled"]] == ["skills"]
    answer = api.api("PATCH", "/agent-computers/" + computer, {"views": {"skills": True}}).json
    assert answer["agentInstructions"] == "brief" and all(view["enabled"] for view in answer["views"])
    assert api.api("PATCH", "/agent-computers/" + computer, {"views": {"skills": 1}}).status == 400


def test_instructions_reach_an_agent_program_and_a_view_stops_questions(start, tmp_path):
    api = start()
    computer = api.api("POST", "/agent-computers", {}).json["id"]
    api.api("PATCH", "/agent-computers/" + computer, {"views": {"ask_user_question": False}})
    _, events, done = api.run(api.fence("ask", "Which?", "- this") + api.fence("sh", "echo went on"), workspaceId=computer)
    assert done["status"] == "succeeded" and "ask_user_question" not in [event["eventType"] for event in events]
    assert "went on" in done["finalResult"]
    agent = start(folder=str(tmp_path / "other"), agent=["cat"])
    computer = agent.api("POST", "/agent-computers", {}).json["id"]
    agent.api("PATCH", "/agent-computers/" + computer, {"agent_instructions": "Be brief."})
    assert agent.run("Say hello.", workspaceId=computer)[2]["finalResult"].split() == "Be brief. Say hello.".split()
    assert agent.run("Say hello.")[2]["finalResult"].split() == "Say hello.".split()


def test_the_address_of_a_computer_shows_how_it_stands_and_its_tasks(api):
    made = api.api("POST", "/agent-computers", {"name": "<b>box"}).json
    task = api.create("<i>work", workspaceId=made["id"])["id"]
    reply = api.send("GET", made["url"])
    page = reply.body.decode()
    assert reply.status == 200 and "&lt;b&gt;box" in page and "<b>" not in page and "/run/" + task in page and "&lt;i&gt;work" in page
    assert "sbx_local_" not in page
    assert api.send("GET", made["url"][:-1] + "x").status == 404


@pytest.mark.parametrize("body", [{"name": "x" * 201}, {"icon": "x" * 51}, {"name": 1}, {"name": ""}])
def test_limits_are_as_documented(steady, body):
    assert steady.api("POST", "/agent-computers", body).code == "validation_error"


def test_one_that_cannot_be_provisioned_says_why_and_takes_no_task(api):
    api.server.faults.enable("computer-error")
    computer = api.api("POST", "/agent-computers", {}).json["id"]
    assert ready(api, computer, "status", "error")["provisionError"]
    assert api.api("POST", "/tasks", {"prompt": "x", "workspaceId": computer}).code == "validation_error"


def test_the_sandbox_id_can_come_before_the_status(api):
    api.server.faults.enable("sandbox-first")
    computer = api.api("POST", "/agent-computers", {}).json["id"]
    assert ready(api, computer, "sandboxId", None)["status"] == "provisioning"
