"""Words, paths and names from the command line: as text, wherever they go."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from rebyte_commands.shell.environment import in_harness
from scripted_server import Server, answer

from .conftest import DOOR, posts

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ID = "11111111-2222-4333-8444-555555555555"


def test_under_an_ascii_locale_every_door_sends_text(shell, server, world):
    Path("ü.csv").write_text("1")
    Path("jobs.jsonl").write_text('{"prompt":"schön","files":["ü.csv"]}\n')
    flags = ["--file", "ü.csv", "--want", "ß.pdf", "--dry-run"]
    ran = shell("run", "schön", *flags, "--once", "ö", env=ASCII)
    assert ran["once"] == "ö" and ran["uploads"][0]["name"] == "ü.csv", ran
    assert "schön" in ran["body"]["prompt"] and "ß.pdf" in ran["body"]["prompt"]
    ran = shell("batch", "--prompt", "schön", *flags, env=ASCII)
    assert ran["tasks"][0]["files"] == ["ü.csv"] and "ß" in ran["tasks"][0]["prompt"]
    assert shell("batch", "jobs.jsonl", "--dry-run", env=ASCII)["count"] == 1
    ran = shell("api", "POST", "/tasks", "--body", '{"prompt":"schön"}', env=ASCII)
    assert ran.code == 0
    assert shell("run", "schön", "--out", "ö", "--once", "ö", env=ASCII).code == 0
    assert Path("ö/answer.md").is_file()
    assert shell("get", "@ö", env=ASCII).code == 0
    assert shell("upload", "ü.csv", env=ASCII)["files"][0]["filename"] == "ü.csv"
    titles = {seen["path"] for seen in posts(server)}
    assert titles == {"/v1/tasks"}


@pytest.mark.parametrize(
    "words",
    [
        ["run", "half \udce9"],
        ["run", "x", "--want", "\udce9.pdf"],
        ["run", "x", "--once", "\udce9"],
        ["run", "x", "--model", "\udce9"],
        ["run", "x", "--file", "\udce9.csv"],
        ["batch", "--prompt", "\udce9"],
        ["batch", "--prompt", "x", "--want", "\udce9.pdf"],
        ["api", "POST", "/tasks", "--body", '{"prompt":"\\ud83d"}'],
        ["api", "POST", "/tasks", "--body", '{"prompt":"x","\\ud83d":1}'],
        ["api", "POST", "/tasks", "--body", '{"prompt":"x","model":"a\\u0000"}'],
        ["api", "POST", "/tasks", "--body", '{"prompt":"x","n":NaN}'],
        ["api", "PATCH", "/tasks/" + ID, "--body", '{"title":"\\ud83d"}'],
        ["follow-up", ID, "half \udce9"],
        ["get", "@\udce9"],
    ],
)
def test_what_is_no_text_is_refused_before_anything_is_sent(rebyte, server, words):
    Path(os.fsdecode(b"\xe9.csv")).write_text("1")
    ran = rebyte(*words)
    assert ran.code == 2, ran
    assert [seen for seen in server.requests if seen["method"] != "GET"] == []


@pytest.mark.parametrize("files", ["x", 5, {"a": 1}])
def test_the_raw_door_sends_files_as_they_are(rebyte, files):
    body = json.dumps({"prompt": "x", "files": files})
    ran = rebyte("api", "POST", "/tasks", "--body", body, "--dry-run")
    assert ran["body"]["files"] == files


def test_a_tilde_is_expanded_in_every_flag_that_takes_a_path(
    rebyte, world, empty_world
):
    home = empty_world
    (home / "ask.md").write_text("hello")
    (home / "t.md").write_text("Say {{w}}")
    (home / "rows.csv").write_text("w\na\n")
    (home / "data.csv").write_text("1")
    (home / "body.json").write_text('{"prompt":"x"}')
    Path("jobs.jsonl").write_text('{"prompt_file":"~/ask.md","files":["~/data.csv"]}\n')
    assert (
        rebyte("run", "--prompt-file=~/ask.md", "--file=~/data.csv", "--dry-run").code
        == 0
    )
    assert rebyte("batch", "~/rows.csv", "--template=~/t.md", "--dry-run").code == 0
    assert rebyte("batch", "jobs.jsonl", "--dry-run").code == 0
    assert (
        rebyte("api", "POST", "/tasks", "--body", "@~/body.json", "--dry-run").code == 0
    )
    assert rebyte("run", "hello", "--out=~/one").code == 0
    assert rebyte("batch", "--prompt", "hello", "--out=~/two").code == 0
    assert (home / "one" / "answer.md").is_file()
    assert (home / "two" / "0001" / "answer.md").is_file()
    assert not Path("~").exists()


def test_variables_that_name_paths_take_a_tilde(
    rebyte, server, empty_world, monkeypatch
):
    (empty_world / "key").write_text(server.key)
    monkeypatch.delenv("REBYTE_API_KEY")
    monkeypatch.setenv("REBYTE_API_KEY_FILE", "~/key")
    monkeypatch.setenv("REBYTE_STATE_DIR", "~/state")
    assert rebyte("create", "hello").code == 0
    assert (empty_world / "state" / "ledger.db").is_file()
    monkeypatch.delenv("REBYTE_API_KEY_FILE")
    assert rebyte("list", "--api-key-file=~/key").code == 0


@pytest.mark.parametrize(
    "text",
    [
        "git@github.com:o/r.git",
        "https://tok_SECRET@github.com/o/r.git",
        "https://u:tok_SECRET@github.com/o/r",
        "ssh://git@github.com/o/r",
        "tok_SECRET@github.com:o/r",
        "https://github.com/o/r/",
    ],
)
def test_a_repository_is_taken_as_git_tells_it(rebyte, text):
    ran = rebyte("run", "x", "--repo", text, "--dry-run")
    assert ran["body"]["githubUrl"] == "o/r" and "SECRET" not in ran.out + ran.err


@pytest.mark.parametrize(
    "text",
    [
        "../..",
        "o/..",
        "./r",
        "https://u:SECRET@gitlab.com/o/r",
        "u:SECRET@gitlab.com:o/r",
    ],
)
def test_what_is_no_repository_is_refused_without_its_token(rebyte, text):
    ran = rebyte("run", "x", "--repo", text, "--dry-run")
    assert ran.code == 2 and "SECRET" not in ran.out + ran.err


@pytest.mark.parametrize("flag", [["--repo"], ["--github-url"], ["--repo="]])
def test_the_line_to_paste_holds_no_token_and_stays_the_same_line(rebyte, server, flag):
    address = "https://u:SECRET@github.com/o/r.git"
    words = flag + [address] if flag[0][-1] != "=" else [flag[0] + address]
    prompt = "https://me@example.org/x"
    ran = rebyte("run", prompt, *words, "--max-wait", "0")
    line = ran["next"][0]["run"]
    assert "SECRET" not in line and "github.com/o/r.git" in line and prompt in line


def test_a_query_that_names_a_thing_twice_is_sent_whole(rebyte, world, monkeypatch):
    lines = []

    def reply(request):
        lines.append(request[0])
        return answer(200, {"data": []})

    path = "/tasks?status=a&status=b&limit=1"
    with Server(speaks=reply) as service:
        monkeypatch.setenv("REBYTE_BASE_URL", service.url)
        assert rebyte("api", "GET", path).code == 0
    assert lines[-1].startswith("GET /v1" + path)
    shown = rebyte("api", "GET", path, "--dry-run")["query"]
    assert shown == {"status": ["a", "b"], "limit": "1"}


@pytest.mark.parametrize(
    "words, code",
    [
        (["ledger", "show", "\u00b2"], 2),
        (["ledger", "show", "9" * 5000], 5),
        (["ledger", "list", "--field", "rows.\u00b2"], 2),
        (["ledger", "list", "--field", "rows.--1"], 2),
        (["ledger", "list", "--field", "rows." + "9" * 5000], 2),
        (["ledger", "list", "--limit", "\u00b2"], 2),
        (["ledger", "list", "--limit", "9" * 5000], 2),
        (["run", "x", "--max-tasks", "9" * 5000], 2),
    ],
)
def test_digits_that_are_no_number_are_no_crash(rebyte, words, code):
    assert rebyte(*words).code == code


@pytest.mark.parametrize(
    "marker", ["CODEX_THREAD_ID", "AI_AGENT", "AGENT", "COPILOT_CLI", "AUGMENT_AGENT"]
)
def test_a_marked_caller_on_a_terminal_gets_json_and_the_slice(world, marker):
    lead, follower = pty.openpty()
    environ = dict(os.environ, **{marker: "1"})
    line = [sys.executable, DOOR, "ledger", "list"]
    try:
        subprocess.run(
            line, stdin=follower, stdout=follower, env=environ, check=True, timeout=30
        )
        assert json.loads(os.read(lead, 9999)) == {"rows": [], "total": 0}
    finally:
        os.close(lead)
        os.close(follower)


def test_a_traceback_never_lands_on_stdout_and_its_words_are_harmless(shell, world):
    ran = shell("run", "--debug", "--file", "no\x1b[31m", "x")
    assert ran.document["error"] and "Traceback" in ran.err and "\x1b" not in ran.err
    line = '"$0" "$1" run --debug --file none x 2>&-'
    done = subprocess.run(
        ["sh", "-c", line, sys.executable, DOOR], capture_output=True, timeout=30
    )
    assert json.loads(done.stdout)["error"] and b"Traceback" not in done.stdout


def test_another_address_is_named_also_with_quiet(rebyte, server):
    assert "speaking to %s" % server.url in rebyte("list", "--quiet").err


def test_a_dumb_terminal_is_no_persons():
    assert in_harness({"TERM": "dumb"}) and not in_harness({"TERM": "xterm", "CI": ""})
