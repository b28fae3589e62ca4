"""Tasks and credits of the local server."""
from __future__ import annotations

import http.client
import json
import re
import threading

import pytest

from rebyte_local import credits
from rebyte_local.store import Store

ABSENT = "550e8400-e29b-41d4-a716-446655440000"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def test_create_answers_with_the_documented_fields(api):
    reply = api.api("POST", "/tasks", {"prompt": "Build a REST API", "executor": "claude", "skills": ["deep-research"]})
    task = reply.json
    assert reply.status == 201
    assert set(task) == {"id", "workspaceId", "url", "status", "createdAt", "rehearsal"}
    assert UUID.fullmatch(task["id"]) and UUID.fullmatch(task["workspaceId"]) and task["id"] != task["workspaceId"]
    assert task["url"] == "%s/run/%s" % (api.url, task["id"])
    assert task["status"] == "running" and task["rehearsal"] is True
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", task["createdAt"])


def test_get_has_the_documented_fields_and_no_workspace(api):
    task, _, _ = api.run("Say hello\nand more")
    seen = api.get("/tasks/" + task["id"])
    assert set(seen) == {"id", "url", "status", "title", "executor", "model", "createdAt", "completedAt", "prompts",
                         "rehearsal"}
    assert seen["status"] == "completed" and seen["title"] == "Say hello"
    assert set(seen["prompts"][0]) == {"id", "status", "submittedAt", "completedAt"}
    assert seen["prompts"][0]["status"] == "succeeded"
    for moment in (seen["createdAt"], seen["completedAt"], seen["prompts"][0]["submittedAt"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", moment)
    assert seen["createdAt"][:23] == task["createdAt"][:23]


def test_executor_and_model_are_told_as_they_were_asked_for_and_null_when_not(api):
    asked = api.create("x", executor="codex", model="any-name-at-all")
    plain = api.create("x")
    assert [api.get("/tasks/" + asked["id"])[k] for k in ("executor", "model")] == ["codex",
                                                                                                "any-name-at-all"]
    assert [api.get("/tasks/" + plain["id"])[k] for k in ("executor", "model")] == [None, None]


def test_the_list_is_newest_first_with_neither_status_nor_workspace(api):
    ids = [api.create("task %d" % n)["id"] for n in range(5)]
    for task_id in ids:
        api.stream(task_id)
    answer = api.get("/tasks?limit=2&offset=1")
    assert set(answer) == {"data", "total", "limit", "offset"}
    assert (answer["total"], answer["limit"], answer["offset"]) == (5, 2, 1)
    assert [item["id"] for item in answer["data"]] == [ids[3], ids[2]]
    assert set(answer["data"][0]) == {"id", "url", "title", "executor", "model", "createdAt", "completedAt",
                                      "rehearsal"}
    assert api.get("/tasks")["limit"] == 50


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=-1", "offset=-1", "limit=",
                                   "limit=%D9%A1"])
def test_a_page_beyond_the_limits_is_refused(steady, query):
    reply = steady.api("GET", "/tasks?" + query)
    assert (reply.status, reply.code) == (400, "validation_error")


@pytest.mark.parametrize("body", [
    {}, {"prompt": ""}, {"prompt": "  "}, {"prompt": 7}, {"prompt": None}, {"prompt": "x" * 100001}, [], "not json", "",
    {"prompt": "x", "workspaceId": "nope"}, {"prompt": "x", "executor": "nobody"}, {"prompt": "x", "skills": "pdf"},
    {"prompt": "x", "skills": [1]}, {"prompt": "x", "files": [{"id": "x"}]}, {"prompt": "x", "files": {}},
    {"prompt": "x", "files": [{"id": ABSENT, "filename": "a.csv"}]}, {"prompt": "x", "githubUrl": "https://x/y"},
    {"prompt": "x", "githubUrl": "../.."}, {"prompt": "x", "githubUrl": "-x/y"}, {"prompt": "x", "githubUrl": "a/.."},
    {"prompt": "x", "githubUrl": "a/b", "branchName": "--upload-pack=x"}, {"prompt": "x", "model": ""},
    "[" * 100000])
def test_a_create_that_says_something_wrong_is_refused_and_makes_nothing(steady, body):
    before = steady.get("/tasks")["total"]
    reply = steady.api("POST", "/tasks", body)
    assert (reply.status, reply.code) == (400, "validation_error")
    assert reply.json["error"]["message"]
    assert steady.get("/tasks")["total"] == before


def test_a_prompt_of_exactly_the_limit_is_taken_whatever_its_letters(api):
    task = api.create("\U0001f600" * 100000)
    assert api.finish(task["id"])["status"] == "completed"


def test_a_lone_surrogate_in_a_prompt_survives(api):
    task = api.create("half \ud83d emoji")
    assert api.get("/tasks/%s/content" % task["id"])["prompts"][0]["userPrompt"] == "half \ud83d emoji"


@pytest.mark.parametrize("path", ["/tasks/" + ABSENT, "/tasks/nope", "/tasks/" + ABSENT + "/events",
                                  "/tasks/" + ABSENT + "/content", "/workspaces/%s/artifacts" % ABSENT])
def test_what_is_not_there_is_not_found(steady, path):
    reply = steady.api("GET", path)
    assert (reply.status, reply.code) == (404, "not_found")


def test_an_unknown_workspace_is_not_found(steady):
    assert steady.api("POST", "/tasks", {"prompt": "x", "workspaceId": ABSENT}).status == 404


def test_follow_ups_run_in_order_in_the_same_workspace(api):
    task = api.create(api.fence("sh", "sleep 0.2; echo one >> log; cat log"))
    answers = [api.follow_up(task["id"], api.fence("sh", "echo %s >> log; cat log" % w))
               for w in ("two", "three")]
    assert [a.status for a in answers] == [201, 201] and answers[0].json["rehearsal"] is True and set(answers[0].json) == {"promptId", "rehearsal"}
    _, done, _ = api.stream(task["id"])
    assert done["finalResult"] == "one\ntwo\nthree"
    seen = api.get("/tasks/" + task["id"])
    assert [p["id"] for p in seen["prompts"]][:2] == [answers[1].json["promptId"], answers[0].json["promptId"]]
    content = api.get("/tasks/%s/content" % task["id"])
    assert [p["response"] for p in content["prompts"]] == ["one", "one\ntwo", "one\ntwo\nthree"]


def test_a_task_in_the_workspace_of_another_sees_its_files_and_a_new_one_does_not(api):
    first, _, _ = api.run(api.fence("sh", "echo kept > note.txt"))
    _, _, done = api.run(api.fence("sh", "cat note.txt"), workspaceId=first["workspaceId"])
    assert done["finalResult"] == "kept"
    other, _, done = api.run(api.fence("sh", "ls"))
    assert other["workspaceId"] != first["workspaceId"] and "note.txt" not in done["finalResult"]


def test_the_status_follows_from_the_prompts(api):
    task, _, done = api.run(api.fence("sh", "exit 3"))
    assert done["status"] == "failed"
    assert api.get("/tasks/" + task["id"])["status"] == "failed"
    api.follow_up(task["id"], "fine")
    assert api.finish(task["id"])["status"] == "completed"
    api.follow_up(task["id"], api.fence("sh", "sleep 30"))
    running = api.get("/tasks/" + task["id"])
    assert running["status"] == "running" and running["completedAt"] is None
    assert running["prompts"][0]["completedAt"] is None
    assert api.cancel(task["id"]).json == {
        "id": task["id"], "status": "canceled", "canceledPrompts": 1}
    assert api.finish(task["id"])["status"] == "canceled"


def test_cancel_ends_every_open_prompt_and_again_changes_nothing(api):
    task = api.create(api.fence("sh", "sleep 30"))
    api.follow_up(task["id"], "never runs")
    assert api.cancel(task["id"]).json["canceledPrompts"] == 2
    events, done, _ = api.stream(task["id"])
    assert (events, done["status"], done["lastSeq"]) == ([], "canceled", -1)
    assert api.cancel(task["id"]).json["canceledPrompts"] == 0
    api.follow_up(task["id"], "goes on")
    assert api.finish(task["id"])["status"] == "completed"


def test_cancel_of_a_completed_task_says_what_it_is(api):
    task, _, _ = api.run("x")
    assert api.cancel(task["id"]).json == {
        "id": task["id"], "status": "completed", "canceledPrompts": 0}


def test_a_deleted_task_is_gone_from_everywhere(api):
    kept, gone = api.create("kept"), api.create("gone")
    api.api("PATCH", "/tasks/%s/visibility" % gone["id"], {"visibility": "public"})
    reply = api.api("DELETE", "/tasks/" + gone["id"])
    assert (reply.status, reply.body) == (204, b"")
    for path in ("", "/events", "/content"):
        assert api.api("GET", "/tasks/%s%s" % (gone["id"], path)).status == 404
    assert api.api("DELETE", "/tasks/" + gone["id"]).status == 404
    assert api.follow_up(gone["id"], "x").status == 404
    assert api.send("GET", "/share/" + gone["id"]).status == 404
    assert [t["id"] for t in api.get("/tasks")["data"]] == [kept["id"]]


def test_deleting_a_running_task_cancels_it(api, tmp_path):
    mark = tmp_path / "ended"
    task = api.create(api.fence("bash", "trap 'touch %s; exit 1' TERM" % mark, "echo ready",
                                "while :; do sleep 0.05; done"))
    connection, response = api.open_stream(task["id"])
    for line in response:
        if b'"ready"' in line:
            break
    assert api.api("DELETE", "/tasks/" + task["id"]).status == 204
    assert b'"canceled"' in response.read()
    connection.close()
    assert mark.exists()


def test_visibility_takes_three_words_and_public_has_an_address(api):
    task = api.create("x")
    path = "/tasks/%s/visibility" % task["id"]
    assert api.api("PATCH", path, {"visibility": "public"}).json == {
        "visibility": "public", "shareUrl": "%s/share/%s" % (api.url, task["id"])}
    assert api.api("PATCH", path, {"visibility": "shared"}).json == {"visibility": "shared"}
    assert api.api("PATCH", path, {"visibility": "private"}).json == {"visibility": "private"}
    assert api.api("PATCH", path, {"visibility": "secret"}).code == "validation_error"


def test_two_hundred_creates_at_once_all_succeed(api):
    gate, answers = threading.Barrier(200), []

    def create(number):
        connection = http.client.HTTPConnection(api.url[7:], timeout=30)
        gate.wait()
        connection.request("POST", "/v1/tasks", json.dumps({"prompt": "task %d" % number}), {"API_KEY": api.key})
        response = connection.getresponse()
        answers.append((response.status, json.loads(response.read().decode())["id"]))
        connection.close()
    threads = [threading.Thread(target=create, args=(n,)) for n in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {status for status, _ in answers} == {201}
    assert len({task_id for _, task_id in answers}) == 200
    assert api.get("/tasks")["total"] == 200


# Credits of the local server: each start and each further minute costs one, and without any nothing starts.


def left(api):
    return api.get("/billing/credits")["totalAvailable"]


def test_credits_go_down_as_tasks_run_and_at_zero_a_start_is_refused(start):
    api = start(credits=3)
    task = api.create("x")["id"]
    api.finish(task)
    assert left(api) == 2
    api.follow_up(task, "x")
    api.api("POST", "/agent-computers", {})
    told = api.get("/billing/credits")
    assert (told["balance"], told["lifetimeUsed"], told["lifetimePurchased"]) == (0, 3, 3)
    for path, body in (("/tasks", {"prompt": "x"}), ("/tasks/%s/prompts" % task, {"prompt": "x"}), ("/agent-computers", {})):
        reply = api.api("POST", path, body)
        assert (reply.status, reply.code) == (402, "insufficient_credits")
    assert api.get("/tasks")["total"] == 1
    assert api.api("POST", "/tasks", {"prompt": ""}).code == "validation_error"


def test_credits_outlive_a_restart_and_can_be_set_anew(start):
    first = start(credits=5)
    first.create("x")
    first.server.close()
    again = start()
    assert left(again) == 4
    again.server.close()
    assert left(start(credits=9)) == 9


def test_each_further_minute_costs_one_as_far_as_they_go(tmp_path):
    store = Store(str(tmp_path))
    credits.fill(store, 3)
    credits.pay_work(store, 59)
    assert credits.show(store)["balance"] == 3
    credits.pay_work(store, 130)
    assert credits.show(store)["balance"] == 1
    credits.pay_work(store, 3600)
    assert (credits.show(store)["balance"], credits.show(store)["lifetimeUsed"]) == (0, 3)
    store.close()
