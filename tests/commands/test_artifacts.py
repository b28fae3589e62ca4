"""upload, artifacts, ledger and list --mine from the shell."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import types
from pathlib import Path

import pytest

from measure import run_quietly
from rebyte_commands.shell.progress import Meter

from .conftest import SUM, ask, sh


def test_an_uploaded_file_is_attached_by_its_flag(rebyte, world):
    document = rebyte("upload", "numbers.csv").document
    ran = rebyte("run", SUM, document["flags"][0])
    assert ran["answer"] == "the total is 6"


def test_a_file_over_the_limit_is_refused_before_a_slot_is_asked_for(
    rebyte, world, server
):
    with open("large.csv", "wb") as file:
        file.truncate(52_428_801)
    for words in (("upload", "large.csv"), ("run", "x", "--file", "large.csv")):
        ran = rebyte(*words)
        assert (
            ran.code == 2
            and "52428800" in ran.error["message"]
            and "artifacts put" in ran.error["hint"]
        )
    assert server.requests == []


@pytest.mark.parametrize("path", ["missing.csv", ".", ""])
def test_what_is_no_file_is_refused_with_its_reason(rebyte, server, path):
    ran = rebyte("run", "x", "--file", path)
    assert ran.code == 2 and ran.error["hint"] and server.requests == []


def test_two_files_of_one_name_are_refused(rebyte, world):
    (world / "d").mkdir()
    (world / "d" / "numbers.csv").write_text("other")
    assert (
        "numbers.csv"
        in rebyte("run", "x", "--file", "numbers.csv", "--file", "d/numbers.csv").error[
            "message"
        ]
    )


def test_a_folder_is_packed_with_zip_and_its_line_again_goes_on_with_the_same_task(
    rebyte, world
):
    (world / "photos").mkdir()
    (world / "photos" / "a.txt").write_text("one")
    assert "--zip" in rebyte("create", "x", "--file", "photos").error["hint"]
    words = (
        "run",
        "```python run\nimport zipfile\nprint(zipfile.ZipFile('/code/photos.zip').namelist())\n```",
        "--file",
        "photos",
        "--zip",
    )
    first = rebyte(*words).document
    os.utime("photos/a.txt", (1, 1))
    again = rebyte(*words).document
    assert (
        first["answer"] == "['photos/a.txt']"
        and again["reused"]
        and again["id"] == first["id"]
    )


def test_stdin_becomes_a_file_under_the_name_it_is_given(rebyte):
    assert (
        rebyte("run", SUM, "--file", "-=numbers.csv", stdin="20\n22\n")["answer"]
        == "the total is 42"
    )
    assert rebyte("upload", "-=a.csv", stdin="x")["files"][0]["bytes"] == 1
    for words in (
        ("upload", "-"),
        ("upload", "-=a", "-=b"),
        ("run", "--prompt-file", "-", "--file", "-=a"),
    ):
        ran = rebyte(*words, stdin="x")
        assert ran.code == 2 and "stdin" in ran.error["message"]


def test_a_skill_of_this_machine_goes_along_and_one_line_says_so(rebyte, world, server):
    (world / "review").mkdir()
    (world / "review" / "SKILL.md").write_text(
        "---\nname: review\ndescription: x\n---\nBe kind.\n"
    )
    prompt = "```python run\nimport zipfile\nprint(zipfile.ZipFile('/code/review.zip').read('review/SKILL.md').decode()[-9:-1])\n```"
    assert rebyte("run", prompt, "--skill", "./review")["answer"] == "Be kind."
    shown = rebyte(
        "create", prompt, "--skill", "./review", "--skill", "pdf", "--dry-run"
    ).document
    assert (
        shown["body"]["skills"] == ["pdf"]
        and shown["body"]["prompt"].count("\n") == prompt.count("\n") + 2
    )
    assert "/code/review.zip" in shown["body"]["prompt"].splitlines()[-1]
    assert (
        rebyte("create", prompt, "--skill", "./review", "--bare", "--dry-run")["body"][
            "prompt"
        ]
        == prompt
    )
    assert rebyte("create", "x", "--skill", "./photos").code == 2
    assert rebyte("upload", "--skill", "review")["files"][0]["filename"] == "review.zip"


def test_several_files_go_up_at_once_and_one_that_is_named_twice_once(
    rebyte, world, server
):
    for name, text in (("a/x.csv", "1"), ("c.csv", "2")):
        (world / name).parent.mkdir(exist_ok=True)
        (world / name).write_text(text)
    document = rebyte("upload", "a/x.csv", "./a/x.csv", "c.csv").document
    ids, names = (
        [item[key] for item in document["files"]] for key in ("id", "filename")
    )
    assert (
        document["flags"]
        == ["--file-id=%s=x.csv" % ids[0], "--file-id=%s=c.csv" % ids[2]]
        and ids[0] == ids[1] != ids[2]
        and names == ["x.csv", "x.csv", "c.csv"]
    )
    puts = [seen for seen in server.requests if seen["method"] == "PUT"]
    assert len(puts) == 2 and not {
        "api_key",
        "x-api-key",
        "authorization",
        "api-key",
    } & set(puts[0]["headers"])


CURL = """
RESP=$(curl -s -X POST $BASE/files -H "API_KEY: $KEY" -H "Content-Type: application/json" -d '{"filename": "numbers.csv"}')
curl -s -X PUT "$(echo "$RESP" | jq -r .uploadUrl)" -H "Content-Type: application/octet-stream" --data-binary @numbers.csv
curl -s -X POST $BASE/tasks -H "API_KEY: $KEY" -H "Content-Type: application/json" \\
  -d "$(echo "$RESP" | jq -c '{prompt: "Sum", files: [{id, filename}]}')"
"""


@pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is missing"
)
def test_one_flag_makes_the_same_requests_as_three_curl_commands(rebyte, server):
    run_quietly(
        ["sh", "-c", CURL],
        check=True,
        env=dict(os.environ, BASE=server.base_url, KEY=server.key),
    )
    theirs = [told(seen) for seen in server.requests]
    del server.requests[:]
    assert rebyte("create", "Sum", "--file", "numbers.csv", "--bare").code == 0
    assert [told(seen) for seen in server.requests] == theirs and [
        line[0] for line in theirs
    ] == [
        "POST",
        "PUT",
        "POST",
    ]


def told(seen):
    """Return what a request says, without what differs from one to the next: ids, signatures and
    who speaks.
    """
    headers = {
        name: seen["headers"].get(name)
        for name in ("api_key", "content-type", "transfer-encoding")
    }
    path = re.sub(r"(?<=/)[0-9a-f-]{36}|(?<==)[^&]+", "ID", seen["path"])
    return seen["method"], path, headers, seen["status"]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_a_moving_line_on_a_terminal_and_a_sparse_plain_one_elsewhere(
    terminal,
):
    class Stderr(io.StringIO):
        def isatty(self):
            return terminal

    now, lines = [0.0], []
    console = types.SimpleNamespace(stderr=Stderr(), quiet=False)
    context = types.SimpleNamespace(console=console, info=lines.append)
    with Meter(context, "uploading", 10_000_000, clock=lambda: now[0]) as meter:
        for _ in range(80):
            now[0] += 0.125
            meter(62_500)
    written = console.stderr.getvalue()
    assert "5.0 MB of 10.0 MB" in (written if terminal else lines[-1])
    assert (
        (30 < written.count("\r") < 60 and written.endswith("\r\x1b[K"))
        if terminal
        else written == "" and len(lines) == 1
    )


def test_quiet_tells_no_progress():
    console = types.SimpleNamespace(stderr=io.StringIO(), quiet=True)
    context = types.SimpleNamespace(
        console=console, info=lambda text: pytest.fail(text)
    )
    with Meter(
        context, "uploading", 10, clock=iter(range(0, 1000, 60)).__next__
    ) as meter:
        meter(5)
    assert console.stderr.getvalue() == ""


# artifacts list, get, put, delete.


@pytest.fixture
def task(rebyte):
    script = "mkdir -p /code/artifacts; echo 1 > /code/artifacts/a.csv; echo 22 > /code/artifacts/b.csv"
    return rebyte("run", sh("%s" % script)).document


def test_list_shows_no_signed_address_unless_asked(rebyte, task):
    assert [
        item["name"] for item in rebyte("artifacts", "list", task["id"])["data"]
    ] == [
        "a.csv",
        "b.csv",
    ]
    assert "downloadUrl" not in rebyte("artifacts", "list", task["id"]).out
    assert (
        "downloadUrl" in rebyte("artifacts", "list", task["workspaceId"], "--urls").out
    )


def test_get_without_names_means_all(rebyte, task, world):
    ran = rebyte("artifacts", "get", task["id"], "--out", "r")
    assert (
        ran.code == 0
        and sorted(os.listdir("r")) == ["a.csv", "b.csv"]
        and Path("r/b.csv").read_text() == "22\n"
    )


def test_get_of_one_name_and_of_none_such(rebyte, task, world):
    assert rebyte("artifacts", "get", task["id"], "a.csv").code == 0 and sorted(
        os.listdir()
    ) == [
        "a.csv",
        "numbers.csv",
    ]
    ran = rebyte("artifacts", "get", task["id"], "none.csv")
    assert ran.code in (5, 9) and ran["missing"] == ["none.csv"]


def test_get_never_overwrites_other_bytes_without_force(rebyte, task, world):
    Path("a.csv").write_text("mine, and longer")
    ran = rebyte("artifacts", "get", task["id"])
    assert (
        ran.code == 9
        and Path("a.csv").read_text() == "mine, and longer"
        and Path("b.csv").exists()
    )
    assert (
        rebyte("artifacts", "get", task["id"], "--force").code == 0
        and Path("a.csv").read_text() == "1\n"
    )


def test_hostile_names_are_refused_with_reasons_and_the_others_still_come(
    rebyte, task, server, world, tmp_path
):
    server.faults.enable("hostile-names")
    before = {str(path) for path in tmp_path.rglob("*") if "server" not in str(path)}
    ran = rebyte("artifacts", "get", task["id"], "--out", "r")
    listed = rebyte("artifacts", "list", task["id"])["data"]
    assert ran.code == 9 and sorted(os.listdir("r")) == ["a.csv", "b.csv"]
    assert len(ran["refused"]) == len(listed) - 2 and all(
        item["reason"] for item in ran["refused"]
    )
    new = {
        str(path) for path in tmp_path.rglob("*") if "server" not in str(path)
    } - before
    assert all(
        path.startswith((str(world / "r"), str(tmp_path / "state"))) for path in new
    )


def test_put_small_and_large_and_back(rebyte, task, world):
    Path("small.csv").write_text("x")
    with open("large.zip", "wb") as file:
        file.truncate(10 * 1024 * 1024 + 1)
    ran = rebyte("artifacts", "put", task["id"], "small.csv", "large.zip")
    assert {item["name"]: item["size"] for item in ran["uploaded"]} == {
        "small.csv": 1,
        "large.zip": 10 * 1024 * 1024 + 1,
    }
    assert (
        rebyte("artifacts", "get", task["id"], "large.zip", "--out", "r")["files"][0][
            "bytes"
        ]
        == 10 * 1024 * 1024 + 1
    )


def test_put_names_a_refused_type_and_guards_an_existing_name(
    rebyte, task, world, server
):
    Path("notes.md").write_text("x")
    Path("a.csv").write_text("x")
    assert (
        rebyte("artifacts", "put", task["id"], "notes.md").error["code"]
        == "type_refused"
    )
    assert rebyte("artifacts", "put", task["id"], "a.csv").code == 7
    assert rebyte("artifacts", "put", task["id"], "a.csv", "--force").code == 0


def test_delete_needs_a_name_and_all_needs_yes(rebyte, task):
    assert rebyte("artifacts", "delete", task["id"]).code == 2
    assert rebyte("artifacts", "delete", task["id"], "--all").code == 7
    assert rebyte("artifacts", "delete", task["id"], "a.csv").code == 0
    assert [
        item["name"] for item in rebyte("artifacts", "list", task["id"])["data"]
    ] == ["b.csv"]
    assert rebyte("artifacts", "delete", task["id"], "--all", "--yes").code == 0
    assert json.loads(rebyte("artifacts", "list", task["id"]).out)["data"] == []


def test_a_task_made_elsewhere_gets_a_message_that_says_what_to_pass(
    rebyte, task, monkeypatch, tmp_path
):
    monkeypatch.setenv("REBYTE_STATE_DIR", str(tmp_path / "other"))
    assert "workspaceId" in rebyte("artifacts", "list", task["url"]).error["hint"]
    assert "workspaceId" in rebyte("artifacts", "list", task["id"]).error["hint"]


def test_put_packs_folders_and_refused_types_with_zip(rebyte, task, world):
    Path("notes.md").write_text("x")
    Path("site").mkdir()
    Path("site/a.js").write_text("x")
    assert "--zip" in rebyte("artifacts", "put", task["id"], "notes.md").error["hint"]
    ran = rebyte(
        "artifacts", "put", task["id"], "notes.md", "site", "numbers.csv", "--zip"
    )
    assert sorted(item["name"] for item in ran["uploaded"]) == [
        "notes.zip",
        "numbers.csv",
        "site.zip",
    ]


def test_put_sends_the_type_of_the_extension_both_ways(rebyte, task, world):
    Path("a.pdf").write_text("x")
    with open("b.pdf", "wb") as file:
        file.truncate(10 * 1024 * 1024 + 1)
    rebyte("artifacts", "put", task["id"], "a.pdf", "b.pdf")
    listed = {
        item["name"]: item["contentType"]
        for item in rebyte("artifacts", "list", task["id"])["data"]
    }
    assert listed["a.pdf"] == listed["b.pdf"] == "application/pdf"


def test_get_takes_the_address_of_the_listing_and_else_the_api(
    rebyte, task, server, world
):
    del server.requests[:]
    rebyte("artifacts", "get", task["id"], "--out", "r")
    assert [seen["path"].startswith("/storage/") for seen in server.requests] == [
        False,
        True,
        True,
    ]


# ledger list, show, settle, forget.


@pytest.fixture
def unknown(rebyte, server):
    """A start whose answer was lost and that looks like another task."""
    rebyte("api", "POST", "/tasks", "--body", '{"prompt":"alike"}')
    rebyte("ledger", "forget", "1", "--yes")
    server.faults.enable("drop-after-accept")
    ran = rebyte("create", "alike")
    server.faults.clear()
    assert ran.code == 8 and len(ran["details"]["candidates"]) == 2
    return ran


def test_list_and_show_tell_what_was_started(rebyte):
    made = rebyte("create", "hello", "--once", "n", "--executor", "codex").document
    row = rebyte("ledger", "list")["rows"][0]
    assert (
        row["id"] == made["id"]
        and row["once"] == "n"
        and row["state"] == "created"
        and "hello" not in str(row)
    )
    assert (
        rebyte("ledger", "show", made["id"]).document == row
        and rebyte("ledger", "show", "1").document == row
    )
    assert "created" in rebyte("ledger", "list", "--text").out


def test_what_looks_alike_is_named_and_never_guessed(rebyte, unknown):
    ran = rebyte("ledger", "settle")
    assert ran.code == 8 and len(ran["unknown"][0]["candidates"]) == 2
    # A line for each candidate, so that none is chosen for the reader.
    ids = [candidate["id"] for candidate in ran["unknown"][0]["candidates"]]
    lines = [step["run"] for step in ran["next"]]
    assert [line.rpartition("--adopt ")[2] for line in lines[:2]] == ids


def test_a_person_may_adopt_a_candidate(rebyte, unknown):
    number, choice = (
        unknown["details"]["row"],
        unknown["details"]["candidates"][0]["id"],
    )
    assert (
        rebyte("ledger", "settle", str(number), "--adopt", choice)["state"] == "settled"
    )
    assert rebyte("create", "alike")["id"] == choice
    assert rebyte("ledger", "settle").code == 0


def test_an_abandoned_row_lets_the_line_start_anew(rebyte, unknown):
    number = str(unknown["details"]["row"])
    assert rebyte("ledger", "settle", number, "--abandon")["state"] == "abandoned"
    ran = rebyte("create", "alike")
    assert ran.code == 0 and "reused" not in ran.document


def test_forget_needs_yes_and_leaves_open_rows(rebyte, unknown):
    rebyte("create", "other")
    assert rebyte("ledger", "forget", "--older-than", "0").code == 7
    rebyte("ledger", "forget", "--older-than", "0", "--yes")
    assert [row["state"] for row in rebyte("ledger", "list")["rows"]] == ["unknown"]


def test_a_row_that_is_not_there_is_not_found(rebyte):
    assert rebyte("ledger", "show", "999").code == 5


# list --mine: names, workspaces, and how each stands.


def test_the_ledger_is_read_without_key_network_or_server(rebyte, server, monkeypatch):
    task_id = rebyte("run", "hello")["id"]
    for name in ("REBYTE_API_KEY", "REBYTE_BASE_URL"):
        monkeypatch.delenv(name)
    before = len(server.requests)
    ran = rebyte("ledger", "list")
    assert ran.code == 0 and [row["id"] for row in ran["rows"]] == [task_id]
    assert rebyte("ledger", "show", task_id)["status"] == "completed"
    assert (
        rebyte("ledger", "list", "--local").code == 0
        and rebyte("local", "status").code == 5
    )
    assert (
        len(server.requests) == before
        and "completed" in rebyte("ledger", "list", "--text").out
    )


def test_mine_merges_ledger_and_service(rebyte):
    first = rebyte("run", "alpha job", "--once", "first").document
    rebyte("api", "POST", "/tasks", "--body", '{"prompt":"beta job"}')
    tasks = rebyte("list", "--mine", "--status")["tasks"]
    assert [task["title"] for task in tasks] == ["beta job", "alpha job"] and {
        task["status"] for task in tasks
    } == {"completed"}
    assert (
        tasks[1]["once"] == "first" and tasks[1]["workspaceId"] == first["workspaceId"]
    )


def test_running_ones_and_questions_are_told_apart(rebyte):
    rebyte("run", "over")
    running = rebyte("create", sh("sleep 30"))["id"]
    asking = rebyte("run", ask("Which?", "a"))["id"]
    found = {
        task["id"]: task["status"]
        for task in rebyte("list", "--mine", "--status")["tasks"]
    }
    assert (found[running], found[asking]) == ("running", "question")
    text = rebyte("get", asking, "--text").out
    assert "question: Which?" in text and "1 a" in text and "reply" in text
    assert "question" in rebyte("list", "--status", "--text").out


def test_result_with_events_is_still_one_document(rebyte):
    made = rebyte("create", sh("echo one"))["id"]
    events = rebyte("result", made, "--wait", "--events")["events"]
    assert {"type": "stdout", "text": "one"} in events
