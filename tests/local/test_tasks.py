"""Tasks and credits of the local server."""

from __future__ import annotations

import re
import threading

import pytest

from rebyte_local.formats import iso_microseconds, iso_milliseconds
from rebyte_local.storage import credits
from rebyte_local.storage.credits import BALANCE, USED, CreditAccount
from rebyte_local.storage.database import Database
from rebyte_local.storage.task_table import TaskTable, task_status

ABSENT = "550e8400-e29b-41d4-a716-446655440000"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LISTED = {
    "id",
    "url",
    "title",
    "executor",
    "model",
    "createdAt",
    "completedAt",
    "rehearsal",
}


def test_create_answers_with_the_documented_fields(api):
    reply = api.post(
        "/tasks",
        {
            "prompt": "Build a REST API",
            "executor": "claude",
            "skills": ["deep-research"],
        },
    )
    task = reply.json
    assert reply.status == 201 and set(task) == {
        "id",
        "workspaceId",
        "url",
        "status",
        "createdAt",
        "rehearsal",
    }
    assert (
        UUID.fullmatch(task["id"])
        and UUID.fullmatch(task["workspaceId"])
        and task["id"] != task["workspaceId"]
    )
    assert task["url"].startswith("%s/run/%s?token=" % (api.url, task["id"]))
    assert task["status"] == "running" and task["rehearsal"] is True
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", task["createdAt"])


def test_get_has_the_documented_fields_and_no_workspace(api):
    task, _, _ = api.run("Say hello\nand more")
    seen = api.get("/tasks/" + task["id"])
    assert set(seen) == LISTED | {"status", "prompts"}
    assert seen["status"] == "completed" and seen["title"] == "Say hello"
    assert set(seen["prompts"][0]) == {"id", "status", "submittedAt", "completedAt"}
    assert seen["prompts"][0]["status"] == "succeeded"
    for moment in (
        seen["createdAt"],
        seen["completedAt"],
        seen["prompts"][0]["submittedAt"],
    ):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", moment)
    assert seen["createdAt"][:23] == task["createdAt"][:23]


@pytest.mark.parametrize(
    "told", [{"executor": "codex", "model": "any-name-at-all"}, {}]
)
def test_executor_and_model_are_told_as_they_were_asked_for_and_null_when_not(
    api, told
):
    seen = api.get("/tasks/" + api.create("x", **told)["id"])
    assert (seen["executor"], seen["model"]) == (
        told.get("executor"),
        told.get("model"),
    )


def test_the_list_is_newest_first_with_neither_status_nor_workspace(api):
    ids = [api.run("task %d" % number)[0]["id"] for number in range(5)]
    answer = api.get("/tasks?limit=2&offset=1")
    assert (
        set(answer) == {"data", "total", "limit", "offset"}
        and set(answer["data"][0]) == LISTED
    )
    assert (answer["total"], answer["limit"], answer["offset"]) == (5, 2, 1)
    assert [item["id"] for item in answer["data"]] == [ids[3], ids[2]]
    assert api.get("/tasks")["limit"] == 50


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=-1",
        "offset=-1",
        "limit=",
        "limit=%D9%A1",
    ],
)
def test_a_page_beyond_the_limits_is_refused(steady, query):
    assert steady.api("GET", "/tasks?" + query).refusal == (400, "validation_error")


@pytest.mark.parametrize(
    "body",
    [{}, [], "not json", "", "[" * 100000]
    + [{"prompt": prompt} for prompt in ("", "  ", 7, None, "x" * 100001)]
    + [
        dict(more, prompt="x")
        for more in (
            {"workspaceId": "nope"},
            {"executor": "nobody"},
            {"skills": "pdf"},
            {"skills": [1]},
            {"files": [{"id": "x"}]},
            {"files": {}},
            {"files": [{"id": ABSENT, "filename": "a.csv"}]},
            {"githubUrl": "https://x/y"},
            {"githubUrl": "../.."},
            {"githubUrl": "-x/y"},
            {"githubUrl": "a/.."},
            {"githubUrl": "a/b", "branchName": "--upload-pack=x"},
            {"model": ""},
        )
    ],
)
def test_a_create_that_says_something_wrong_is_refused_and_makes_nothing(steady, body):
    before = steady.get("/tasks")["total"]
    reply = steady.post("/tasks", body)
    assert reply.refusal == (400, "validation_error") and reply.json["error"]["message"]
    assert steady.get("/tasks")["total"] == before


def test_a_prompt_of_exactly_the_limit_is_taken_whatever_its_letters(api):
    assert api.finish(api.create("\U0001f600" * 100000)["id"])["status"] == "completed"


def test_a_lone_surrogate_in_a_prompt_survives(api):
    task = api.create("half \ud83d emoji")
    assert (
        api.get("/tasks/%s/content" % task["id"])["prompts"][0]["userPrompt"]
        == "half \ud83d emoji"
    )


@pytest.mark.parametrize(
    "path",
    [
        "/tasks/" + ABSENT,
        "/tasks/nope",
        "/tasks/" + ABSENT + "/events",
        "/tasks/" + ABSENT + "/content",
        "/workspaces/%s/artifacts" % ABSENT,
    ],
)
def test_what_is_not_there_is_not_found(steady, path):
    assert steady.api("GET", path).refusal == (404, "not_found")


def test_an_unknown_workspace_is_not_found(steady):
    assert steady.post("/tasks", {"prompt": "x", "workspaceId": ABSENT}).status == 404


def test_follow_ups_run_in_order_in_the_same_workspace(api):
    task = api.create(api.sh("sleep 0.2; echo one >> log; cat log"))
    answers = [
        api.follow_up(task["id"], api.sh("echo %s >> log; cat log" % word))
        for word in ("two", "three")
    ]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].json["rehearsal"] is True and set(answers[0].json) == {
        "promptId",
        "rehearsal",
    }
    assert api.stream(task["id"])[1]["finalResult"] == "one\ntwo\nthree"
    seen = [prompt["id"] for prompt in api.get("/tasks/" + task["id"])["prompts"]]
    assert seen[:2] == [answers[1].json["promptId"], answers[0].json["promptId"]]
    content = api.get("/tasks/%s/content" % task["id"])
    assert [prompt["response"] for prompt in content["prompts"]] == [
        "one",
        "one\ntwo",
        "one\ntwo\nthree",
    ]


def test_a_task_in_the_workspace_of_another_sees_its_files_and_a_new_one_does_not(api):
    first, _, _ = api.run(api.sh("echo kept > note.txt"))
    assert (
        api.result(api.sh("cat note.txt"), workspaceId=first["workspaceId"]) == "kept"
    )
    other, _, done = api.run(api.sh("ls"))
    assert (
        other["workspaceId"] != first["workspaceId"]
        and "note.txt" not in done["finalResult"]
    )


def test_the_status_follows_from_the_prompts(api):
    task, _, done = api.run(api.sh("exit 3"))
    task_id = task["id"]
    assert done["status"] == api.get("/tasks/" + task_id)["status"] == "failed"
    api.follow_up(task_id, "fine")
    assert api.finish(task_id)["status"] == "completed"
    assert api.cancel(task_id) == {
        "id": task_id,
        "status": "completed",
        "canceledPrompts": 0,
    }
    api.follow_up(task_id, api.sh("sleep 30"))
    running = api.get("/tasks/" + task_id)
    assert running["status"] == "running" and running["completedAt"] is None
    assert running["prompts"][0]["completedAt"] is None
    assert api.cancel(task_id) == {
        "id": task_id,
        "status": "canceled",
        "canceledPrompts": 1,
    }
    assert api.finish(task_id)["status"] == "canceled"


@pytest.mark.parametrize(
    "pairs,wanted",
    [
        ([("succeeded", 1)], ("completed", 1)),
        ([("failed", 1), ("succeeded", 2)], ("completed", 2)),
        ([("succeeded", 1), ("failed", 2)], ("failed", 2)),
        ([("succeeded", 1), ("canceled", 2)], ("canceled", 2)),
        ([("running", None), ("canceled", 2)], ("running", None)),
        ([("succeeded", 1), ("pending", None)], ("running", None)),
    ],
)
def test_a_tasks_status_is_that_of_its_last_prompt_unless_one_is_open(pairs, wanted):
    prompts = [
        {"status": status, "completed": completed} for status, completed in pairs
    ]
    assert task_status(prompts) == wanted


def test_times_have_the_two_spellings_of_the_documents():
    assert iso_milliseconds(1769601600000000) == "2026-01-28T12:00:00.000Z"
    assert iso_microseconds(1769601600000001) == "2026-01-28T12:00:00.000001+00:00"
    assert iso_microseconds(None) is None


@pytest.fixture
def database(tmp_path):
    """A database without a server."""
    database = Database(str(tmp_path))
    yield database
    database.close()


def test_a_cancel_that_came_first_stays_though_the_work_was_done(database):
    tasks = TaskTable(database)
    task, prompt_id = tasks.add(
        "x", {}, None, executor=None, model=None, rehearsal=True
    )
    assert tasks.start_prompt(prompt_id) and not tasks.start_prompt(prompt_id)
    assert tasks.cancel_prompts(task["id"]) == [prompt_id]
    assert tasks.cancel_prompts(task["id"]) == []
    tasks.finish_prompt(prompt_id, "succeeded", final="too late")
    assert tasks.prompt(prompt_id)["status"] == "canceled"
    assert tasks.status(task["id"])[0] == "canceled"


def test_cancel_ends_every_open_prompt_and_again_changes_nothing(api):
    task = api.create(api.sh("sleep 30"))
    api.follow_up(task["id"], "never runs")
    assert api.cancel(task["id"])["canceledPrompts"] == 2
    events, done, _ = api.stream(task["id"])
    assert (events, done["status"], done["lastSeq"]) == ([], "canceled", -1)
    assert api.cancel(task["id"])["canceledPrompts"] == 0
    api.follow_up(task["id"], "goes on")
    assert api.finish(task["id"])["status"] == "completed"


def test_a_deleted_task_is_gone_from_everywhere(api):
    kept, gone = api.create("kept"), api.create("gone")
    api.show_to(gone["id"], "public")
    reply = api.api("DELETE", "/tasks/" + gone["id"])
    assert (reply.status, reply.body) == (204, b"")
    for path in ("", "/events", "/content"):
        assert api.api("GET", "/tasks/%s%s" % (gone["id"], path)).status == 404
    assert (
        api.delete("/tasks/" + gone["id"])
        == api.follow_up(gone["id"], "x").status
        == 404
    )
    assert api.send("GET", "/share/" + gone["id"]).status == 404
    assert [task["id"] for task in api.get("/tasks")["data"]] == [kept["id"]]


def test_deleting_a_running_task_cancels_it(api, tmp_path):
    mark = tmp_path / "ended"
    task = api.create(
        api.fence(
            "bash",
            "trap 'touch %s; exit 1' TERM" % mark,
            "echo ready",
            "while :; do sleep 0.05; done",
        )
    )
    events, response = api.until(task["id"])
    assert api.words(events, "stdout") == ["ready"]
    assert api.delete("/tasks/" + task["id"]) == 204
    assert b'"canceled"' in response.read() and mark.exists()


def test_visibility_takes_three_words_and_public_has_an_address(api):
    task_id = api.create("x")["id"]
    assert api.show_to(task_id, "public").json == {
        "visibility": "public",
        "shareUrl": "%s/share/%s" % (api.url, task_id),
    }
    for word in ("shared", "private"):
        assert api.show_to(task_id, word).json == {"visibility": word}
    assert api.show_to(task_id, "secret").code == "validation_error"


def test_two_hundred_creates_at_once_all_succeed(api):
    gate, ids = threading.Barrier(200), []

    def create(number):
        gate.wait()
        ids.append(api.create("task %d" % number)["id"])

    threads = [threading.Thread(target=create, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == api.get("/tasks")["total"] == 200


# Credits: each start and each further minute costs one, and without any nothing starts.


def left(api):
    return api.get("/billing/credits")["totalAvailable"]


def test_the_minutes_that_a_task_works_are_paid_for(start, monkeypatch):
    monkeypatch.setattr(credits, "MINUTE_SECONDS", 0.1)
    api = start(credits=5)
    api.run(api.sh("sleep 0.15"))
    assert left(api) <= 3


def test_credits_go_down_as_tasks_run_and_at_zero_a_start_is_refused(start):
    api = start(credits=3)
    task, _, _ = api.run("x")
    assert left(api) == 2
    api.follow_up(task["id"], "x")
    api.post("/agent-computers", {})
    told = api.get("/billing/credits")
    assert (told["balance"], told["lifetimeUsed"], told["lifetimePurchased"]) == (
        0,
        3,
        3,
    )
    for path, body in (
        ("/tasks", {"prompt": "x"}),
        ("/tasks/%s/prompts" % task["id"], {"prompt": "x"}),
        ("/agent-computers", {}),
    ):
        assert api.post(path, body).refusal == (402, "insufficient_credits")
    assert api.get("/tasks")["total"] == 1
    assert api.post("/tasks", {"prompt": ""}).code == "validation_error"


def test_credits_outlive_a_restart_and_can_be_set_anew(start):
    first = start(credits=5)
    first.create("x")
    first.server.close()
    again = start()
    assert left(again) == 4
    again.server.close()
    assert left(start(credits=9)) == 9


def test_each_further_minute_costs_one_as_far_as_they_go(database):
    account = CreditAccount(database)
    account.init_credits(3)
    for seconds, balance in ((59, 3), (130, 1), (3600, 0)):
        account.take_for_work(seconds)
        assert account.get(BALANCE) == balance
    assert account.get(USED) == 3
