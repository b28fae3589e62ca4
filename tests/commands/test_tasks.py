"""create, get, list, cancel, share, delete, and what an ID may be."""
from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import creates


def test_create_prints_the_answer_as_sent_and_how_to_go_on(rebyte):
    ran = rebyte("create", "hello", "--once", "first")
    document = ran.document
    assert ran.code == 0 and set(document) >= {"id", "workspaceId", "url", "status", "createdAt", "service", "once", "next"}
    assert "--wait" in document["next"][0]["run"] and document["id"] in document["next"][0]["run"]


def test_create_again_within_minutes_gives_the_first(rebyte, server):
    first, second = rebyte("create", "hello").document, rebyte("create", "hello").document
    assert second["id"] == first["id"] and second["reused"] is True and "--again" in json.dumps(second["next"])
    assert second["workspaceId"] == first["workspaceId"] and len(creates(server)) == 1


def test_an_id_may_be_a_uuid_an_address_a_name_or_a_prefix(rebyte):
    made = rebyte("create", "hello", "--once", "greeting").document
    for word in (made["id"], made["id"].upper(), made["url"], made["url"] + "?x=1", "@greeting", made["id"][:8]):
        assert rebyte("get", word).document["id"] == made["id"]


@pytest.mark.parametrize("word, code", [("@nobody", 5), ("zz", 2), ("../tasks", 2), ("", 2), ("abcdef0123", 5), ("550e8400-e29b-41d4-a716-446655440000", 5)])
def test_an_id_that_fits_nothing_is_an_error_with_a_hint(rebyte, word, code):
    ran = rebyte("get", word)
    assert ran.code == code and ran.error["hint"]


def test_a_name_used_for_something_else_is_refused_and_says_what_differs(rebyte, server):
    rebyte("create", "hello", "--once", "n")
    ran = rebyte("create", "hello", "--once", "n", "--executor", "codex")
    assert (ran.code, ran.error["code"]) == (2, "name_in_use") and "executor" in ran.error["message"]
    assert len(creates(server)) == 1


def test_list_is_newest_first_and_takes_limit_and_offset(rebyte):
    ids = [rebyte("create", "task %d" % n).document["id"] for n in range(3)]
    assert [item["id"] for item in rebyte("list").document["data"]] == ids[::-1]
    page = rebyte("list", "--limit", "1", "--offset", "1").document
    assert [item["id"] for item in page["data"]] == [ids[1]] and page["total"] == 3
    assert ids[2] in rebyte("list", "--text").out


def test_a_long_list_is_cut_to_the_budget_and_kept_whole(rebyte):
    for n in range(60):
        rebyte("create", "task %d %s" % (n, "x" * 300))
    ran = rebyte("list")
    assert len(ran.out) <= 8001 and ran.document["cut"]["bytes"] > 8000
    assert json.loads(Path(ran.document["cut"]["path"]).read_text())["total"] == 60


def test_cancel_of_several_tells_each_and_ends_with_nine_when_one_failed(rebyte):
    running = rebyte("create", "```bash run\nsleep 30\n```").document["id"]
    ran = rebyte("cancel", running, "550e8400-e29b-41d4-a716-446655440000")
    assert ran.code == 9 and ran.document["counts"] == {"done": 1, "failed": 1}
    assert ran.document["tasks"][0]["status"] == "canceled"


def test_share_needs_a_level_and_shows_how_to_take_it_back(rebyte):
    made = rebyte("create", "hello").document["id"]
    ran = rebyte("share", made)
    assert ran.code == 2 and all(level in ran.error["message"] for level in ("private", "shared", "public"))
    shared = rebyte("share", made, "public").document
    assert "/share/" in shared["shareUrl"] and shared["next"][0]["run"].endswith("share %s private" % made)
    assert "shareUrl" not in rebyte("share", made, "--private").document


def test_delete_of_a_running_task_or_of_several_needs_yes(rebyte):
    running = rebyte("create", "```bash run\nsleep 30\n```").document["id"]
    other = rebyte("create", "hello").document["id"]
    assert rebyte("delete", running).code == 7
    assert rebyte("delete", running, other).code == 7
    assert rebyte("delete", running, other, "--yes").code == 0
    assert rebyte("get", running).code == 5


def test_a_follow_up_runs_in_the_same_workspace_and_waits_for_its_own_turn(rebyte):
    made = rebyte("run", "```bash run\necho first > /code/note.txt; echo one\n```").document
    ran = rebyte("follow-up", made["id"], "```bash run\nsleep 0.5; cat /code/note.txt\n```", "--wait")
    assert (ran.code, ran.document["answer"]) == (0, "first") and ran.document["promptId"] != made["promptId"]
    assert ran.document["workspaceId"] == made["workspaceId"]


def test_saying_go_on_twice_is_two_turns_and_once_makes_it_one(rebyte, server):
    made = rebyte("run", "hello").document["id"]
    first, second = rebyte("follow-up", made, "go on").document, rebyte("follow-up", made, "go on").document
    assert first["promptId"] != second["promptId"]
    named = [rebyte("follow-up", made, "and more", "--once", "more").document["promptId"] for _ in range(2)]
    assert named[0] == named[1]


def test_a_follow_up_to_a_question_shows_the_reply_line_instead(rebyte, server):
    asked = rebyte("run", "```ask run\nWhich?\n- a\n- b\n```", "--max-wait", "20").document["id"]
    ran = rebyte("follow-up", asked, "take a")
    assert ran.code == 13 and " reply %s --option 1" % asked in ran.document["next"][0]["run"]
    assert not [seen for seen in server.requests if seen["path"].endswith("/prompts")]


def test_wait_for_all_tells_each_and_what_still_runs(rebyte, world):
    done = rebyte("create", "```bash run\necho yes\n```").document["id"]
    slow = rebyte("create", "```bash run\nwhile [ ! -e %s ]; do sleep 0.1; done\n```" % (world / "go")).document["id"]
    ran = rebyte("wait", done, slow, "--all", "--max-wait", "2")
    assert ran.code == 75 and ran.document["counts"] == {"completed": 1, "running": 1}
    assert ran.document["tasks"][0]["answer"] == "yes" and slow in ran.document["next"][0]["run"]
    assert rebyte("wait", slow, done, "--any").document["counts"]["completed"] == 1
    (world / "go").touch()
    assert rebyte("wait", done, slow).code == 0


def test_wait_counts_a_question_as_ended(rebyte):
    asked = rebyte("create", "```ask run\nWhich?\n- a\n```").document["id"]
    ran = rebyte("wait", asked, "--max-wait", "20")
    assert ran.code == 13 and ran.document["tasks"][0]["question"]["text"] == "Which?"


def test_watch_prints_a_line_per_event_and_how_it_ended(rebyte):
    made = rebyte("create", "```bash run\necho one; echo two\n```").document["id"]
    ran = rebyte("watch", made)
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == 0 and [line["text"] for line in lines if line.get("type") == "stdout"] == ["one", "two"]
    assert lines[-1]["done"]["status"] == "completed" and lines[-1]["done"]["events"] == len(lines) - 1
    raw = [json.loads(line) for line in rebyte("watch", made, "--raw").out.splitlines()]
    assert raw[0]["eventType"] == "init" and "payload" in raw[0]


def test_result_of_a_task_made_elsewhere_needs_its_workspace_for_files(rebyte, monkeypatch, tmp_path):
    made = rebyte("run", "hello").document
    monkeypatch.setenv("REBYTE_STATE_DIR", str(tmp_path / "other"))
    ran = rebyte("result", made["id"], "--out", "r")
    assert ran.code == 0 and any("--workspace" in text for text in ran.document["warnings"])
    told = rebyte("result", made["id"], "--workspace", made["workspaceId"], "--out", "r").document["warnings"]
    assert not any("--workspace" in text for text in told)


def test_the_raw_door_goes_through_the_same_ledger(rebyte, server):
    body = json.dumps({"prompt": "raw"})
    first, second = (rebyte("api", "POST", "/v1/tasks", "--body", body) for _ in range(2))
    assert first.code == 0 and second.document["id"] == first.document["id"] and len(creates(server)) == 1
    assert rebyte("api", "GET", "/tasks?limit=1").document["limit"] == 1
    assert rebyte("api", "DELETE", "/tasks/" + first.document["id"]).code == 0


def test_a_misspelt_verb_or_flag_names_the_nearest(rebyte):
    assert "did you mean create?" in rebyte("creat", "x").error["hint"]
    assert "did you mean --executor?" in rebyte("create", "x", "--exeutor", "codex").error["hint"]
    assert "--skills took every word" in rebyte("create", "--skills", "a", "b", "prompt").error["message"]


def test_a_key_on_the_command_line_is_refused_and_not_repeated(rebyte):
    ran = rebyte("create", "x", "--api-key-file", "rbk_not_a_real_one")
    assert ran.code == 2 and "rbk_" not in ran.out + ran.err
