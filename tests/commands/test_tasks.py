"""run, create, wait and the other verbs of a task."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sqlite3
import time
from pathlib import Path

import pytest

from rebyte_client import RebyteClient
from rebyte_wire.errors import DeadlineReached, RequestRefused

from .conftest import DOOR, SUM, ask, posts, sh, with_agent


def test_a_file_goes_in_and_an_answer_and_a_file_come_out(rebyte, world):
    ran = rebyte(
        "run", SUM, "--file", "numbers.csv", "--out", "result", "--want", "total.csv"
    )
    document = ran.document
    assert (ran.code, document["status"], document["answer"]) == (
        0,
        "completed",
        "the total is 6",
    )
    assert (world / "result/files/total.csv").read_text() == "6"
    assert document["files"][0]["path"] == str(world / "result/files/total.csv")
    assert (
        "missing" not in document
        and document["rehearsal"] is True
        and document["service"] == "local"
    )
    assert (world / "result/answer.md").read_text() == "the total is 6\n"
    assert (
        json.loads((world / "result/manifest.json").read_text())["files"][0]["sha256"]
        == document["files"][0]["sha256"]
    )
    assert (
        json.loads(Path(document["transcriptPath"]).read_text().splitlines()[0])[
            "eventType"
        ]
        == "init"
    )


def test_flags_stand_before_or_after_the_verb(rebyte):
    assert rebyte("--field", "status", "run", "hello").out == "completed\n"
    assert rebyte("run", "hello", "--field", "status").out == "completed\n"


def test_the_same_line_again_gives_the_first_answer_and_sends_nothing(rebyte, server):
    first, second = rebyte("run", "hello").document, rebyte("run", "hello").document
    assert (
        second["id"] == first["id"]
        and second["reused"] is True
        and second["answer"] == first["answer"]
    )
    assert any(step["run"].endswith("--again") for step in second["next"])
    assert len(posts(server)) == 1


def test_again_means_a_second_task(rebyte, server):
    first, second = (
        rebyte("run", "hello").document,
        rebyte("run", "hello", "--again").document,
    )
    assert (
        first["id"] != second["id"]
        and "reused" not in second
        and len(posts(server)) == 2
    )


def test_another_file_content_is_another_line(rebyte, world, server):
    rebyte("run", "hello", "--file", "numbers.csv")
    (world / "numbers.csv").write_text("4\n")
    assert "reused" not in rebyte("run", "hello", "--file", "numbers.csv").document
    assert len(posts(server)) == 2


def test_a_failing_task_ends_with_three_and_says_why(rebyte):
    ran = rebyte("run", sh("echo broken >&2; exit 4"))
    assert (ran.code, ran["status"]) == (3, "failed")
    assert "broken" in json.dumps(ran["failure"])


def test_a_canceled_task_ends_with_six(rebyte, server):
    made = rebyte("create", sh("sleep 30")).document
    rebyte("cancel", made["id"])
    assert rebyte("result", made["id"], "--wait").code == 6


def test_the_slice_ends_with_75_and_the_line_that_goes_on(rebyte, shell, world):
    prompt = sh("while [ ! -e %s ]; do sleep 0.1; done; echo done" % (world / "go"))
    ran = rebyte("run", prompt, "--max-wait", "1")
    assert (ran.code, ran["status"]) == (75, "running")
    (world / "go").touch()
    again = rebyte("run", prompt)
    assert (again.code, again["id"], again["reused"]) == (0, ran["id"], True)
    assert ran["next"][0]["run"].endswith("result %s --wait" % again["id"])


@with_agent("cat > prompt; echo done")
def test_a_wanted_file_that_did_not_come_is_named_with_the_line_that_asks_again(rebyte):
    ran = rebyte("run", "hello", "--want", "report.pdf", "--out", "here")
    assert (
        ran.code == 9
        and ran["missing"] == ["report.pdf"]
        and "rehearsal" not in ran.document
    )
    (step,) = ran["next"]
    assert (
        " follow-up " in step["run"]
        and "--want report.pdf" in step["run"]
        and "--out here" in step["run"]
    )


def test_a_rehearsal_does_not_ask_again_for_a_file_with_words_that_nobody_reads(rebyte):
    ran = rebyte("run", "hello", "--want", "report.pdf")
    assert (
        ran.code == 9
        and ran["missing"] == ["report.pdf"]
        and "next" not in ran.document
    )
    assert any("/code/artifacts/" in text for text in ran["warnings"])


@with_agent("cat > prompt; echo 'no such column' >&2; exit 3")
def test_a_failure_shows_the_paid_turn_that_may_mend_it(rebyte):
    ran = rebyte("run", "hello", "--out", "here")
    assert ran.code == 3 and "no such column" in ran["failure"]["reason"]
    assert (
        " follow-up %s " % ran["id"] in ran["next"][0]["run"]
        and "--out here" in ran["next"][0]["run"]
    )
    assert "paid" in ran["next"][0]["why"]


def test_a_failure_is_told_once_and_named_a_rehearsal(rebyte):
    document = rebyte(
        "run", "```python run\nprint('at work')\nraise ValueError('bad column')\n```"
    ).document
    assert document["failure"]["reason"].endswith("ValueError: bad column")
    assert [event["text"] for event in document["failure"]["lastEvents"]] == ["at work"]
    assert (
        document["rehearsal"]
        and "no model" in document["warnings"][0]
        and "next" not in document
    )


def test_a_line_typed_again_after_a_follow_up_gives_its_own_answer(rebyte):
    line = ("run", sh("echo first"), "--once", "a", "--out", "here")
    first = rebyte(*line).document
    second = rebyte("follow-up", "@a", sh("echo second"), "--wait").document
    again = rebyte(*line).document
    assert (again["answer"], again["promptId"], again["reused"]) == (
        "first",
        first["promptId"],
        True,
    )
    assert Path("here/answer.md").read_text() == "first\n"
    latest = rebyte("result", "@a").document
    assert (latest["answer"], latest["promptId"]) == ("second", second["promptId"])


def test_how_long_a_task_took_does_not_grow_once_it_has_ended(rebyte, monkeypatch):
    task_id = rebyte("run", sh("sleep 0.4"))["id"]
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 500)
    assert 0.3 <= rebyte("result", task_id)["seconds"] < 5


@pytest.mark.parametrize("words", [("result",), ("result", "--wait"), ("get",)])
def test_a_task_that_is_not_there_is_not_found_instead_of_running(rebyte, words):
    task_id = rebyte("run", "hello")["id"]
    assert rebyte("delete", task_id).code == 0
    for gone in (task_id, "00000000-0000-4000-8000-000000000000"):
        ran = rebyte(words[0], gone, *words[1:])
        assert ran.code == 5 and ran.error["code"] == "not_found"


def test_a_prompt_with_nothing_to_run_is_told_as_such(rebyte):
    assert any("nothing to run" in text for text in rebyte("run", "hello")["warnings"])


def test_a_question_ends_with_thirteen_and_the_line_that_answers(rebyte):
    ran = rebyte(
        "run", ask("Which colour?", "red", "blue") + "\n" + sh("echo took $ANSWER")
    )
    document = ran.document
    assert ran.code == 13 and document["question"]["options"] == [
        {"n": 1, "label": "red"},
        {"n": 2, "label": "blue"},
    ]
    for n in (1, 2):
        assert (
            " reply %s --option %d --wait" % (document["id"], n)
            in document["next"][n - 1]["run"]
        )
    assert not any("red" in step["run"] for step in document["next"])
    replied = rebyte("reply", document["id"], "--option", "blue", "--wait")
    assert (replied.code, replied["answer"]) == (0, "took blue")


def test_a_long_answer_is_cut_and_kept_whole(rebyte):
    ran = rebyte("run", sh("seq 1 20000"))
    assert len(ran.out) <= 8001 and ran["answer"].endswith("characters in all]")
    whole = Path(ran["answerPath"]).read_text()
    assert whole.startswith("1\n2\n3\n") and len(whole) >= ran["answerBytes"]


def test_dry_run_shows_the_body_and_sends_nothing(rebyte, server):
    words = (
        "--file",
        "numbers.csv",
        "--want",
        "a.md",
        "--no-questions",
        "--executor",
        "codex",
    )
    document = rebyte("run", "hello", "--dry-run", *words).document
    assert document["body"]["executor"] == "codex" and "model" not in document["body"]
    assert (
        "/code/numbers.csv" in document["body"]["prompt"]
        and "a.zip" in document["body"]["prompt"]
    )
    assert server.requests == []


def test_bare_adds_nothing_to_the_prompt(rebyte):
    body = rebyte(
        "run",
        "hello",
        "--bare",
        "--dry-run",
        "--file",
        "numbers.csv",
        "--want",
        "a.csv",
        "--no-questions",
    )["body"]
    assert body["prompt"] == "hello"


def test_cancel_after_ends_a_task_that_still_runs(rebyte):
    ran = rebyte("run", sh("sleep 60"), "--cancel-after", "0.5")
    assert (ran.code, ran["status"]) == (6, "canceled")


def test_a_stdin_prompt_is_read_only_when_asked_for(rebyte, server):
    assert (
        rebyte("run", "--prompt-file", "-", stdin=sh("echo from stdin"))["answer"]
        == "from stdin"
    )
    ran = rebyte("run", stdin="never read")
    assert (ran.code, ran.error["code"]) == (2, "usage") and len(posts(server)) == 1


def test_text_for_people_still_carries_id_address_and_next_line(rebyte):
    rebyte("run", "hello")
    ran = rebyte("run", "hello", "--text")
    assert (
        "id:   " in ran.out
        and "live: http://127.0.0.1" in ran.out
        and "next: " in ran.out
    )


def test_the_live_address_is_a_page_at_once(rebyte):
    from urllib.request import urlopen

    with urlopen(rebyte("create", "hello")["url"]) as page:
        assert page.status == 200 and b"hello" in page.read()


def test_nothing_is_written_beside_the_scripts(shell, monkeypatch):
    monkeypatch.delenv("PYTHONPYCACHEPREFIX")
    assert shell("run", "hello").code == 0
    found = [
        name
        for _, folders, _ in os.walk(os.path.dirname(DOOR))
        for name in folders
        if name == "__pycache__"
    ]
    assert found == []


# create, get, list, cancel, share, delete, and what an ID may be.


def test_create_prints_the_answer_as_sent_and_how_to_go_on(rebyte):
    ran = rebyte("create", "hello", "--once", "first")
    document = ran.document
    assert ran.code == 0 and set(document) >= {
        "id",
        "workspaceId",
        "url",
        "status",
        "createdAt",
        "service",
        "once",
        "next",
    }
    assert (
        "--wait" in document["next"][0]["run"]
        and document["id"] in document["next"][0]["run"]
    )


def test_create_again_within_minutes_gives_the_first(rebyte, server):
    first, second = (
        rebyte("create", "hello").document,
        rebyte("create", "hello").document,
    )
    assert (
        second["id"] == first["id"]
        and second["reused"] is True
        and "--again" in json.dumps(second["next"])
    )
    assert second["workspaceId"] == first["workspaceId"] and len(posts(server)) == 1


def test_an_id_may_be_a_uuid_an_address_a_name_or_a_prefix(rebyte):
    made = rebyte("create", "hello", "--once", "greeting").document
    for word in (
        made["id"],
        made["id"].upper(),
        made["url"],
        made["url"] + "?x=1",
        "@greeting",
        made["id"][:8],
    ):
        assert rebyte("get", word)["id"] == made["id"]


@pytest.mark.parametrize(
    "word, code",
    [
        ("@nobody", 5),
        ("zz", 2),
        ("../tasks", 2),
        ("", 2),
        ("abcdef0123", 5),
        ("550e8400-e29b-41d4-a716-446655440000", 5),
    ],
)
def test_an_id_that_fits_nothing_is_an_error_with_a_hint(rebyte, word, code):
    ran = rebyte("get", word)
    assert ran.code == code and ran.error["hint"]


def test_a_name_used_for_something_else_is_refused_and_says_what_differs(
    rebyte, server
):
    rebyte("create", "hello", "--once", "n")
    ran = rebyte("create", "hello", "--once", "n", "--executor", "codex")
    assert (ran.code, ran.error["code"]) == (
        2,
        "name_in_use",
    ) and "executor" in ran.error["message"]
    assert len(posts(server)) == 1


def test_list_is_newest_first_and_takes_limit_and_offset(rebyte):
    ids = [rebyte("create", "task %d" % n)["id"] for n in range(3)]
    assert [item["id"] for item in rebyte("list")["data"]] == ids[::-1]
    page = rebyte("list", "--limit", "1", "--offset", "1").document
    assert [item["id"] for item in page["data"]] == [ids[1]] and page["total"] == 3
    assert ids[2] in rebyte("list", "--text").out


def test_a_long_list_is_cut_to_the_budget_and_kept_whole(rebyte):
    for n in range(60):
        rebyte("create", "task %d %s" % (n, "x" * 300))
    ran = rebyte("list")
    assert len(ran.out) <= 8001 and ran["cut"]["bytes"] > 8000
    assert json.loads(Path(ran["cut"]["path"]).read_text())["total"] == 60


def test_cancel_of_several_tells_each_and_ends_with_nine_when_one_failed(rebyte):
    running = rebyte("create", sh("sleep 30"))["id"]
    ran = rebyte("cancel", running, "550e8400-e29b-41d4-a716-446655440000")
    assert ran.code == 9 and ran["counts"] == {"done": 1, "failed": 1}
    assert ran["tasks"][0]["status"] == "canceled"


def test_a_slice_that_ends_before_anything_began_still_says_how_to_go_on(
    rebyte, server
):
    ran = rebyte("run", "hello", "--file", "numbers.csv", "--again", "--max-wait", "0")
    assert ran.code == 75 and not posts(server)
    line = shlex.split(ran["next"][0]["run"])[2:]
    assert (
        line[:4] == ["run", "hello", "--file", "numbers.csv"] and "--again" not in line
    )
    assert rebyte(*line).code == 0 and len(posts(server)) == 1


@pytest.mark.parametrize("words", [("-",), ("--prompt", "-"), ("--prompt-file", "-")])
def test_a_dash_is_stdin_and_never_a_paid_prompt(rebyte, words):
    assert (
        rebyte("run", *words, "--dry-run", stdin="the real prompt")["body"]["prompt"]
        == "the real prompt"
    )


def test_a_prompt_file_that_is_not_utf_8_is_refused_before_anything_is_lost(
    rebyte, world, server
):
    (world / "latin.txt").write_bytes(b"caf\xe9")
    ran = rebyte("run", "--prompt-file", "latin.txt")
    assert ran.code == 2 and "UTF-8" in ran.error["message"] and not posts(server)


@pytest.mark.parametrize("prompt", [sh("sleep 30"), sh("sleep 0.2; exit 3")])
def test_a_look_at_a_task_that_has_ended_says_so_at_once(rebyte, prompt):
    task_id = rebyte("create", prompt)["id"]
    rebyte("cancel", task_id) if "30" in prompt else rebyte("wait", task_id)
    began = time.time()
    while rebyte("result", task_id)["status"] == "running":
        assert time.time() - began < 20
    assert rebyte("result", task_id)["status"] in ("canceled", "failed")


@with_agent("echo one; echo two; sleep 30")
def test_a_task_that_is_canceled_by_its_time_says_its_words_once(rebyte):
    ran = rebyte("run", "hello", "--cancel-after", "1")
    assert ran.code == 6 and ran["status"] == "canceled"
    assert ran.document.get("answer", "").count("one") <= 1


def test_a_talkative_task_is_followed_up_without_waiting_for_silence(rebyte, server):
    made = rebyte("create", sh("for n in $(seq 100); do echo $n; sleep 0.1; done"))[
        "id"
    ]
    began = time.time()
    assert rebyte("follow-up", made, "and then?").code == 0 and time.time() - began < 6
    rebyte("cancel", made)


def test_share_needs_a_level_and_shows_how_to_take_it_back(rebyte):
    made = rebyte("create", "hello")["id"]
    ran = rebyte("share", made)
    assert ran.code == 2 and all(
        level in ran.error["message"] for level in ("private", "shared", "public")
    )
    shared = rebyte("share", made, "public").document
    assert "/share/" in shared["shareUrl"]
    assert [step["run"].rpartition("share ")[2] for step in shared["next"]] == [
        made + " shared",
        made + " private",
    ]
    assert "shareUrl" not in rebyte("share", made, "--private").document


def test_delete_of_a_running_task_or_of_several_needs_yes(rebyte):
    running = rebyte("create", sh("sleep 30"))["id"]
    other = rebyte("create", "hello")["id"]
    assert rebyte("delete", running).code == 7
    assert rebyte("delete", running, other).code == 7
    assert rebyte("delete", running, other, "--yes").code == 0
    assert rebyte("get", running).code == 5


def test_a_follow_up_runs_in_the_same_workspace_and_waits_for_its_own_turn(rebyte):
    made = rebyte("run", sh("echo first > /code/note.txt; echo one")).document
    ran = rebyte("follow-up", made["id"], sh("sleep 0.5; cat /code/note.txt"), "--wait")
    assert (ran.code, ran["answer"]) == (0, "first") and ran["promptId"] != made[
        "promptId"
    ]
    assert ran["workspaceId"] == made["workspaceId"]


def test_saying_go_on_twice_is_two_turns_and_once_makes_it_one(rebyte, server):
    made = rebyte("run", "hello")["id"]
    first, second = (
        rebyte("follow-up", made, "go on").document,
        rebyte("follow-up", made, "go on").document,
    )
    assert first["promptId"] != second["promptId"]
    named = [
        rebyte("follow-up", made, "and more", "--once", "more")["promptId"]
        for _ in range(2)
    ]
    assert named[0] == named[1]


def test_a_follow_up_to_a_question_shows_the_reply_line_instead(rebyte, server):
    asked = rebyte("run", ask("Which?", "a", "b"), "--max-wait", "20")["id"]
    ran = rebyte("follow-up", asked, "take a")
    assert ran.code == 13 and " reply %s --option 1" % asked in ran["next"][0]["run"]
    assert not [seen for seen in server.requests if seen["path"].endswith("/prompts")]


def test_wait_for_all_tells_each_and_what_still_runs(rebyte, world):
    done = rebyte("create", sh("echo yes"))["id"]
    slow = rebyte(
        "create", sh("while [ ! -e %s ]; do sleep 0.1; done" % (world / "go"))
    )["id"]
    ran = rebyte("wait", done, slow, "--all", "--max-wait", "1.2")
    assert ran.code == 75 and ran["counts"] == {"completed": 1, "running": 1}
    assert ran["tasks"][0]["rehearsal"] is True
    assert ran["tasks"][0]["answer"] == "yes" and slow in ran["next"][0]["run"]
    assert rebyte("wait", slow, done, "--any")["counts"]["completed"] == 1
    (world / "go").touch()
    assert rebyte("wait", done, slow).code == 0


def test_wait_counts_a_question_as_ended(rebyte):
    asked = rebyte("create", ask("Which?", "a"))["id"]
    ran = rebyte("wait", asked, "--max-wait", "20")
    assert ran.code == 13 and ran["tasks"][0]["question"]["text"] == "Which?"


def test_watch_prints_a_line_per_event_and_how_it_ended(rebyte):
    made = rebyte("create", sh("echo one; echo two"))["id"]
    ran = rebyte("watch", made)
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == 0 and [
        line["text"] for line in lines if line.get("type") == "stdout"
    ] == [
        "one",
        "two",
    ]
    assert (
        lines[-1]["done"]["status"] == "completed"
        and lines[-1]["done"]["events"] == len(lines) - 1
    )
    raw = [json.loads(line) for line in rebyte("watch", made, "--raw").out.splitlines()]
    assert raw[0]["eventType"] == "init" and "payload" in raw[0]


def test_result_of_a_task_made_elsewhere_needs_its_workspace_for_files(
    rebyte, monkeypatch, tmp_path
):
    made = rebyte("run", "hello").document
    monkeypatch.setenv("REBYTE_STATE_DIR", str(tmp_path / "other"))
    ran = rebyte("result", made["id"], "--out", "r")
    assert ran.code == 0 and any("--workspace" in text for text in ran["warnings"])
    told = rebyte(
        "result", made["id"], "--workspace", made["workspaceId"], "--out", "r"
    )["warnings"]
    assert not any("--workspace" in text for text in told)


def test_the_raw_door_goes_through_the_same_ledger(rebyte, server):
    body = json.dumps({"prompt": "raw"})
    first, second = (
        rebyte("api", "POST", "/v1/tasks", "--body", body) for _ in range(2)
    )
    assert first.code == 0 and second["id"] == first["id"] and len(posts(server)) == 1
    assert rebyte("api", "GET", "/tasks?limit=1")["limit"] == 1
    rebyte("api", "GET", "/tasks?limit=1&status=a&status=b")
    assert server.requests[-1]["path"].endswith("?limit=1&status=a&status=b")
    assert rebyte("api", "DELETE", "/tasks/" + first["id"]).code == 0


def test_a_flag_that_took_the_prompt_too_is_named(rebyte):
    assert (
        "--skills took every word"
        in rebyte("create", "--skills", "a", "b", "prompt").error["message"]
    )


def test_a_key_on_the_command_line_is_refused_and_not_repeated(rebyte):
    ran = rebyte("create", "x", "--api-key-file", "rbk_not_a_real_one")
    assert ran.code == 2 and "rbk_" not in ran.out + ran.err


def test_a_raw_turn_is_delivered_once_it_is_printed_so_that_the_same_words_are_a_turn_again(
    rebyte,
):
    task = rebyte("create", "hello")["id"]
    body = json.dumps({"prompt": "go on"})
    first, second = (
        rebyte("api", "POST", "/tasks/%s/prompts" % task, "--body", body).document
        for _ in range(2)
    )
    assert first["promptId"] != second["promptId"] and "reused" not in second


def test_an_answer_that_is_asked_for_again_and_again_does_not_stay_new_for_ever(
    rebyte, server, tmp_path
):
    first = rebyte("run", "hello")["id"]
    for minutes_more, same in ((10, True), (10, False)):
        with contextlib.closing(
            sqlite3.connect(str(tmp_path / "state" / "ledger.db"))
        ) as book, book:
            book.execute(
                "UPDATE starts SET delivered_at = delivered_at - 60 * ?",
                (minutes_more,),
            )
        assert (rebyte("run", "hello")["id"] == first) is same


@pytest.mark.parametrize(
    "words",
    [
        ["run", "x", flag, ""]
        for flag in ("--repo", "--workspace", "--out", "--base-url", "--prompt-file")
    ]
    + [["run", "x", "--api-key-file="], ["get", ""], ["run", "x", "--branch", "b"]],
)
def test_an_empty_value_is_refused_instead_of_taking_another_place(
    rebyte, server, words
):
    assert rebyte(*words).code == 2 and posts(server) == []


def test_a_folder_that_another_task_has_filled_is_told(rebyte):
    for words, is_told in (
        ((SUM, "--file", "numbers.csv"), False),
        ((SUM, "--file", "numbers.csv"), False),
        (("another",), True),
    ):
        assert (
            any(
                "another task" in text
                for text in rebyte("run", *words, "--out", "r")["warnings"]
            )
            is is_told
        )


# What a newcomer ran into


def test_a_file_with_the_prompt_needs_no_time(rebyte, world, server):
    (world / "a.md").write_text("hello")
    ran = rebyte("run", "--prompt-file", "a.md", "--max-wait", "0")
    assert ran.code == 75 and "next" in ran.document and not posts(server)


def test_a_canceled_task_is_told_as_that_at_once(rebyte):
    made = rebyte("create", sh("echo begun; sleep 30"))["id"]
    rebyte("wait", made, "--max-wait", "0.5")
    assert rebyte("cancel", made)["status"] == "canceled"
    ran = rebyte("result", made)
    assert (ran.code, ran["status"]) == (6, "canceled")


def test_a_folder_that_is_a_file_is_refused_and_nothing_is_said_of_the_task(rebyte):
    made = rebyte("run", "hello")["id"]
    ran = rebyte("result", made, "--out", "numbers.csv")
    assert ran.code == 2 and set(ran.document) == {"error"}


def test_any_of_two_that_are_over_calls_neither_running(rebyte):
    ids = [rebyte("run", word)["id"] for word in ("one", "two")]
    ran = rebyte("wait", *ids, "--any")
    assert ran.code == 0 and ran["counts"] == {"completed": 2}
    assert rebyte("wait", *ids, "--any", "--all").code == 2


def test_wait_on_one_id_ends_as_result_does(rebyte):
    nobody = "550e8400-e29b-41d4-a716-446655440000"
    for task_id in (nobody, rebyte("create", sh("exit 3"))["id"]):
        waited = rebyte("wait", task_id).code
        assert waited == rebyte("result", task_id, "--wait").code != 0


def test_wait_notes_what_it_has_shown(rebyte, server):
    ids = [rebyte("create", word)["id"] for word in ("one", "two")]
    rebyte("wait", *ids)
    assert rebyte("create", "one")["reused"] is True and len(posts(server)) == 2


def test_watch_of_a_task_that_is_not_there_says_so_at_once(rebyte, server):
    ran = rebyte("watch", "550e8400-e29b-41d4-a716-446655440000", "--max-wait", "3")
    assert ran.code == 5


def test_a_field_that_no_document_has_starts_nothing(rebyte, server):
    ran = rebyte("run", "hello", "--field", "nope.0")
    assert ran.code == 2 and "no such field" in ran.err and not posts(server)


def test_a_name_is_shown_by_the_ledger_without_a_key(rebyte, monkeypatch):
    made = rebyte("run", "hello", "--once", "n")["id"]
    monkeypatch.delenv("REBYTE_API_KEY")
    assert rebyte("ledger", "show", "@n")["id"] == made
    assert rebyte("ledger", "show", "@nobody").code == 5


def test_a_name_that_two_services_know_is_not_guessed(rebyte, tmp_path):
    for word in ("one", "two"):
        rebyte("run", word, "--once", word)
    with contextlib.closing(sqlite3.connect(str(tmp_path / "state/ledger.db"))) as book:
        book.execute("UPDATE starts SET name = 'n'")
        book.execute("UPDATE starts SET origin = 'https://x.example' WHERE id = 2")
        book.commit()
    ran = rebyte("ledger", "show", "@n")
    assert ran.code == 2 and "1, 2" in ran.error["message"]


def test_a_batch_numbers_prompts_as_they_were_typed(rebyte, world):
    (world / "a.md").write_text("first")
    words = ["--prompt-file", "a.md", "--prompt", "second", "--dry-run"]
    sent = [line["prompt"] for line in rebyte("batch", *words)["tasks"]]
    assert sent == ["first", "second"]


def test_get_gives_a_line_for_each_answer(rebyte):
    made = rebyte("run", ask("Which?", "left", "right"))["id"]
    told = rebyte("get", made, "--text").out
    assert "--option 1" in told and "--option 2" in told and "--question" in told


def test_a_question_without_options_gives_no_line_that_answers_it(rebyte):
    step = rebyte("run", ask("Why?"))["next"][0]
    assert set(step) == {"why"} and "--say TEXT" in step["why"]


def test_an_option_of_five_thousand_digits_is_no_option(rebyte):
    made = rebyte("run", ask("Which?", "left", "right"))["id"]
    assert rebyte("reply", made, "--option", "9" * 5000).code == 2


def test_a_file_uploaded_twice_is_one_flag(rebyte):
    assert len(rebyte("upload", "numbers.csv", "numbers.csv")["flags"]) == 1


def replies(tmp_path):
    """Return (state, whether its end was shown) of each reply in the ledger."""
    with contextlib.closing(sqlite3.connect(str(tmp_path / "state/ledger.db"))) as book:
        return book.execute(
            "SELECT state, delivered_at IS NOT NULL FROM starts WHERE kind = 'reply'"
        ).fetchall()


def test_a_reply_that_somebody_gave_before_is_no_failure(rebyte, monkeypatch, tmp_path):
    def conflict(*_):
        raise RequestRefused("nothing is asked", http_status=409)

    made = rebyte("run", ask("Which?", "left", "right"))["id"]
    monkeypatch.setattr("rebyte_client.RebyteClient.answer_question", conflict)
    assert rebyte("reply", made, "--option", "1").code == 0
    assert replies(tmp_path) == [("created", 1)]


def test_watch_notes_that_what_a_reply_led_to_was_shown(rebyte, tmp_path):
    prompt = ask("Which?", "left", "right") + "\n" + sh("sleep 0.9")
    made = rebyte("run", prompt)["id"]
    ran = rebyte("reply", made, "--option", "1", "--wait", "--max-wait", "0.5")
    assert ran.code == 75 and replies(tmp_path) == [("created", 0)]
    assert rebyte("watch", made).code == 0 and replies(tmp_path) == [("created", 1)]


def test_a_follow_up_tells_who_answers_as_create_does(rebyte):
    made = rebyte("run", "hello")["id"]
    assert rebyte("follow-up", made, "more")["service"] == "local"


def test_who_could_not_ask_does_not_say_only_that_it_runs(shell):
    away = {"REBYTE_BASE_URL": "http://127.0.0.1:9"}
    task = "00000000-0000-4000-8000-000000000000"
    ran = shell("result", task, "--max-wait", "2", env=away)
    assert ran.code == 75
    assert any("could not be asked" in text for text in ran["warnings"])


@pytest.mark.parametrize("words", ["result", "result --wait", "wait", "wait --any"])
def test_a_look_that_learned_nothing_says_so(rebyte, monkeypatch, words):
    tasks = [rebyte("create", sh("sleep 30; echo %d" % number)) for number in range(2)]
    ids = [task["id"] for task in tasks][: 1 + words.startswith("wait")]
    line = [*words.split(), "--max-wait=1", *ids]
    assert "could not be asked" not in rebyte(*line).out
    with monkeypatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as away:
        patch.setenv("REBYTE_BASE_URL", "http://127.0.0.1:%d" % away.getsockname()[1])
        ran = rebyte(*line)
    assert ran.code == 75
    for row in ran.document.get("tasks", [ran.document]):
        assert "could not be asked just now" in " ".join(row["warnings"])
    rebyte("cancel", *ids)


def test_a_start_that_was_made_before_and_cannot_be_asked_for_says_so(
    rebyte, monkeypatch
):
    def refuse(client, task_id):
        raise DeadlineReached("the time is over")

    made = rebyte("create", sh("sleep 30"))["id"]
    with monkeypatch.context() as patch:
        patch.setattr(RebyteClient, "get_task", refuse)
        ran = rebyte("run", sh("sleep 30"))
    assert (ran.code, ran["id"], ran["reused"]) == (75, made, True)
    assert "could not be asked just now" in " ".join(ran["warnings"])
    rebyte("cancel", made)
