"""upload: files for a later task."""
from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import types

import pytest

from rebyte_commands.progress import Meter

from .conftest import SUM


def test_an_uploaded_file_is_attached_by_its_flag(rebyte, world):
    document = rebyte("upload", "numbers.csv").document
    ran = rebyte("run", SUM, document["flags"][0])
    assert ran.document["answer"] == "the total is 6"


def test_several_files_go_up_at_once(rebyte, world):
    (world / "b.csv").write_text("x")
    assert [item["filename"] for item in rebyte("upload", "numbers.csv", "b.csv").document["files"]] == ["numbers.csv", "b.csv"]


def test_a_file_over_the_limit_is_refused_before_a_slot_is_asked_for(rebyte, world, server):
    with open("large.csv", "wb") as file:
        file.truncate(52_428_801)
    for words in (("upload", "large.csv"), ("run", "x", "--file", "large.csv")):
        ran = rebyte(*words)
        assert ran.code == 2 and "52428800" in ran.error["message"] and "artifacts put" in ran.error["hint"]
    assert server.requests == []


@pytest.mark.parametrize("path", ["missing.csv", ".", ""])
def test_what_is_no_file_is_refused_with_its_reason(rebyte, server, path):
    ran = rebyte("run", "x", "--file", path)
    assert ran.code == 2 and ran.error["hint"] and server.requests == []


def test_two_files_of_one_name_are_refused(rebyte, world):
    (world / "d").mkdir()
    (world / "d" / "numbers.csv").write_text("other")
    assert "numbers.csv" in rebyte("run", "x", "--file", "numbers.csv", "--file", "d/numbers.csv").error["message"]


def test_the_signed_put_carries_no_key(rebyte, server):
    rebyte("upload", "numbers.csv")
    puts = [seen for seen in server.requests if seen["method"] == "PUT"]
    assert len(puts) == 1 and not {"api_key", "x-api-key", "authorization", "api-key"} & set(puts[0]["headers"])


def test_a_folder_is_packed_with_zip_and_its_line_again_goes_on_with_the_same_task(rebyte, world):
    (world / "photos").mkdir()
    (world / "photos" / "a.txt").write_text("one")
    assert "--zip" in rebyte("create", "x", "--file", "photos").error["hint"]
    words = ("run", "```python run\nimport zipfile\nprint(zipfile.ZipFile('/code/photos.zip').namelist())\n```", "--file", "photos", "--zip")
    first = rebyte(*words).document
    os.utime("photos/a.txt", (1, 1))
    again = rebyte(*words).document
    assert first["answer"] == "['photos/a.txt']" and again["reused"] and again["id"] == first["id"]


def test_stdin_becomes_a_file_under_the_name_it_is_given(rebyte):
    assert rebyte("run", SUM, "--file", "-=numbers.csv", stdin="20\n22\n").document["answer"] == "the total is 42"
    assert rebyte("upload", "-=a.csv", stdin="x").document["files"][0]["bytes"] == 1
    for words in (("upload", "-"), ("upload", "-=a", "-=b"), ("run", "--prompt-file", "-", "--file", "-=a")):
        ran = rebyte(*words, stdin="x")
        assert ran.code == 2 and "stdin" in ran.error["message"]


def test_a_skill_of_this_machine_goes_along_and_one_line_says_so(rebyte, world, server):
    (world / "review").mkdir()
    (world / "review" / "SKILL.md").write_text("---\nname: review\ndescription: x\n---\nBe kind.\n")
    prompt = "```python run\nimport zipfile\nprint(zipfile.ZipFile('/code/review.zip').read('review/SKILL.md').decode()[-9:-1])\n```"
    assert rebyte("run", prompt, "--skill", "./review").document["answer"] == "Be kind."
    shown = rebyte("create", prompt, "--skill", "./review", "--skill", "pdf", "--dry-run").document
    assert shown["body"]["skills"] == ["pdf"] and shown["body"]["prompt"].count("\n") == prompt.count("\n") + 2
    assert "/code/review.zip" in shown["body"]["prompt"].splitlines()[-1]
    assert rebyte("create", prompt, "--skill", "./review", "--bare", "--dry-run").document["body"]["prompt"] == prompt
    assert rebyte("create", "x", "--skill", "./photos").code == 2
    assert rebyte("upload", "--skill", "review").document["files"][0]["filename"] == "review.zip"


def test_equal_files_go_up_once_and_one_failure_does_not_hide_the_others(rebyte, world, server):
    for name, text in (("a/x.csv", "1"), ("b/x.csv", "1"), ("c.csv", "2")):
        (world / name).parent.mkdir(exist_ok=True)
        (world / name).write_text(text)
    document = rebyte("upload", "a/x.csv", "b/x.csv", "c.csv").document
    assert len(document["flags"]) == 3 and document["files"][0]["id"] == document["files"][1]["id"] != document["files"][2]["id"]
    assert len([seen for seen in server.requests if seen["method"] == "PUT"]) == 2


CURL = """
RESP=$(curl -s -X POST $BASE/files -H "API_KEY: $KEY" -H "Content-Type: application/json" -d '{"filename": "numbers.csv"}')
curl -s -X PUT "$(echo "$RESP" | jq -r .uploadUrl)" -H "Content-Type: application/octet-stream" --data-binary @numbers.csv
curl -s -X POST $BASE/tasks -H "API_KEY: $KEY" -H "Content-Type: application/json" -d "$(echo "$RESP" | jq -c '{prompt: "Sum", files: [{id, filename}]}')"
"""


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="curl or jq is missing")
def test_one_flag_makes_the_same_requests_as_three_curl_commands(rebyte, server):
    subprocess.run(["sh", "-c", CURL], check=True, stdout=subprocess.DEVNULL, timeout=60, env=dict(os.environ, BASE=server.base_url, KEY=server.key))
    theirs = [told(seen) for seen in server.requests]
    del server.requests[:]
    assert rebyte("create", "Sum", "--file", "numbers.csv", "--bare").code == 0
    assert [told(seen) for seen in server.requests] == theirs and [line[0] for line in theirs] == ["POST", "PUT", "POST"]


def told(seen):
    """Return what a request says, without what differs from one to the next: ids, signatures and who speaks."""
    headers = {name: seen["headers"].get(name) for name in ("api_key", "content-type", "transfer-encoding")}
    path = re.sub(r"(?<=/)[0-9a-f-]{36}|(?<==)[^&]+", "ID", seen["path"])
    return seen["method"], path, headers, seen["status"]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_a_moving_line_on_a_terminal_and_a_sparse_plain_one_elsewhere(terminal):
    class Stderr(io.StringIO):
        def isatty(self):
            return terminal
    now, lines = [0.0], []
    session = types.SimpleNamespace(stderr=Stderr(), options=types.SimpleNamespace(quiet=False), say=lines.append)
    with Meter(session, "uploading", 10_000_000, clock=lambda: now[0]) as meter:
        for _ in range(80):
            now[0] += 0.125
            meter(62_500)
    written = session.stderr.getvalue()
    assert "5.0 MB of 10.0 MB, 500.0 kB/s, 10 s left" in (written if terminal else lines[-1])
    assert (30 < written.count("\r") < 50 and written.endswith("\r\x1b[K")) if terminal else written == "" and len(lines) == 2


def test_quiet_tells_no_progress():
    session = types.SimpleNamespace(stderr=io.StringIO(), options=types.SimpleNamespace(quiet=True), say=lambda text: pytest.fail(text))
    with Meter(session, "uploading", 10, clock=iter(range(0, 1000, 60)).__next__) as meter:
        meter(5)
    assert session.stderr.getvalue() == ""
