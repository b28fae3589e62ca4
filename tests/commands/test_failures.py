"""What an agent sees when something is wrong: one document or one line, a hint, the right exit
code, no traceback, no key.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from measure import hostile_service, run_quietly
from rebyte_flows.files.out_folder import Transcript
from rebyte_local.server import LocalServer
from rebyte_wire.errors import ServerError
from scripted_server import Server, answer, say_and_close

from .conftest import DOOR, SUM, posts, sh

CANARY = "rbk_canary_0123456789"
UUID = "550e8400-e29b-41d4-a716-446655440000"


@pytest.fixture
def odd(world, impatient, monkeypatch):
    """A service that says to all what the test says: odd(status, body, *headers), or odd(what
    makes the step of a request).
    """
    with Server() as server:
        for name, value in (
            ("BASE_URL", server.url),
            ("API_KEY", CANARY),
            ("MAX_WAIT", "1"),
        ):
            monkeypatch.setenv("REBYTE_" + name, value)
        monkeypatch.setattr(
            "rebyte_flows.starting.reconciliation.LOOKS_AFTER_SECONDS", (2,)
        )

        def says(first, *words):
            server.speaks = (
                first if callable(first) else lambda request: answer(first, *words)
            )

        yield says


def is_clean(ran, code):
    """Check that a command failed as promised: exit code, one error document with a hint, one
    line, no traceback, no key.
    """
    assert ran.code == code, ran
    assert ran.error["message"] and ran.error["hint"], ran
    assert "Traceback" not in ran.err and CANARY not in ran.out + ran.err
    assert ran.err.splitlines()[-1].startswith("rebyte: ")
    return True


# The shapes are those of the room below; here stands what each kind of trouble ends with.
@pytest.mark.parametrize(
    "status, body, code",
    [
        (401, {"error": {"code": "invalid_api_key", "message": "bad key"}}, 4),
        (403, {"error": {"code": "insufficient_scopes"}}, 4),
        (404, {"error": {"code": "not_found", "message": "no such task"}}, 5),
        (404, b"<html>nothing here</html>", 5),
        (410, b"gone", 5),
        (400, {"error": "plain words"}, 2),
        (422, [1, 2], 2),
        (200, b"<html><body>Please log in</body></html>", 12),
        (200, b"", 12),
        (200, b"[" * 5_000_000, 12),
        (302, b"", 10),
    ],
)
def test_an_odd_answer_to_a_read_is_a_clear_error(odd, rebyte, status, body, code):
    odd(status, body, "Location: http://elsewhere.example/")
    assert is_clean(rebyte("get", UUID), code)


@pytest.mark.parametrize(
    "status, body, code",
    [
        (500, {"error": {"code": "internal_error", "message": "boom"}}, 8),
        (503, b"<html/>", 8),
        (303, b"", 8),
        (201, {"status": "running"}, 8),
        (400, {"error": {"code": "validation_error", "message": "prompt"}}, 2),
        (401, {"error": {"code": "invalid_api_key", "message": "no"}}, 4),
        (302, b"", 10),
        (429, b"", 11),
    ],
)
def test_an_odd_answer_to_a_paid_start_is_unknown_unless_it_surely_was_not_made(
    odd, rebyte, status, body, code
):
    odd(
        status,
        body,
        "Location: http://elsewhere.example/",
        *["Retry-After: 100"] * (status == 429),
    )
    ran = rebyte("create", "hello")
    assert is_clean(ran, code)
    if code == 8:
        assert any("--again" in step["run"] for step in ran["next"])


def test_unknown_words_and_missing_fields_pass_through(odd, rebyte):
    odd(
        200,
        {
            "id": UUID,
            "status": "simmering",
            "executor": None,
            "prompts": "odd",
            "extra": {"a": [1]},
        },
    )
    assert rebyte("get", UUID)["status"] == "simmering"
    ran = rebyte("result", UUID)
    assert ran.code in (12, 75) and "Traceback" not in ran.err


ODD_SHAPES = {
    "/events": b'data: {"promptId":{"a":1},"eventType":["x"],"payload":[1]}\n\ndata: {"promptId":[],"eventType":{},"seq":"9"}\n\n'
    b'event: done\ndata: {"status":"succeeded","finalResult":{"a":1},"lastSeq":"x"}\n\n',
    "/content": {"status": "succeeded", "prompts": 7},
    "/artifacts": {"data": 7},
    "/tasks?": {"data": [7, {"id": {}}, {"id": 8}], "total": "?"},
    "": {
        "id": UUID,
        "status": "completed",
        "prompts": 7,
        "finalResult": {"a": 1},
        "result": [1],
        "completedAt": 3,
        "title": {"x": 1},
    },
}


@pytest.mark.parametrize(
    "words",
    [
        ("result", UUID, "--wait"),
        ("result", UUID),
        ("watch", UUID),
        ("wait", UUID),
        ("list", "--status"),
        ("list", "--text"),
        ("list", "--mine"),
        ("get", UUID, "--text"),
        ("ledger", "settle"),
        ("artifacts", "list", UUID),
        ("follow-up", UUID, "x"),
    ],
)
def test_odd_shapes_end_in_no_traceback(odd, rebyte, monkeypatch, words):
    def reply(request):
        body = next(body for part, body in ODD_SHAPES.items() if part in request[0])
        return say_and_close(
            answer(
                200,
                body,
                "Content-Type: "
                + (
                    "text/event-stream"
                    if "/events" in request[0]
                    else "application/json"
                ),
            )
        )

    odd(reply)
    monkeypatch.setenv("REBYTE_MAX_WAIT", "2")
    monkeypatch.setattr(
        "rebyte_flows.starting.reconciliation.LOOKS_AFTER_SECONDS", (0.05, 0.2)
    )
    ran = rebyte(*words)
    assert (
        ran.code != 1
        and "TypeError" not in ran.out + ran.err
        and "unexpected" not in ran.out
    ), ran


def test_a_service_that_goes_away_ends_a_watch_with_its_last_line(rebyte, monkeypatch):
    def lost(*_, **__):
        yield {"eventType": "text", "payload": {"text": "hi"}}
        raise ServerError("gone")

    task_id = rebyte("create", "hello")["id"]
    monkeypatch.setattr("rebyte_commands.verbs.follow.Watch.events", lost)
    ran = rebyte("watch", task_id)
    last = json.loads(ran.out.splitlines()[-1])
    assert (
        ran.code == 12
        and last["done"]["error"]["code"] == "server_error"
        and " watch " in last["done"]["next"][0]["run"]
    )


@pytest.mark.parametrize(
    "line, words",
    [
        ("--local", "no verb"),
        ("--json", "no verb"),
        ("local start --fault slow-create=abc", "no number"),
        ("local start --fault nosuch", "no fault"),
        ("local start --port 99999", "no such port"),
        ("local start --agent 'x", "as a command"),
        ("ledger list --limit 99999999999999999999", "invalid"),
    ],
)
def test_a_line_that_cannot_be_right_is_usage(rebyte, line, words):
    ran = rebyte(*line.split())
    assert ran.code == 2 and words in ran.error["message"], ran


def test_a_strangers_process_is_neither_taken_for_the_server_nor_killed(
    rebyte, monkeypatch, tmp_path
):
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        folder = tmp_path / "state" / "local"
        folder.mkdir(parents=True)
        (folder / "lock").write_bytes(b"")
        (folder / "server.json").write_text(
            json.dumps(
                {
                    "pid": stranger.pid,
                    "url": "http://127.0.0.1:9",
                    "baseUrl": "http://127.0.0.1:9/v1",
                    "key": "k",
                }
            )
        )
        assert rebyte("local", "status").code == 5 and rebyte(
            "local", "stop"
        ).document == {
            "running": False,
            "stopped": False,
        }
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_proxy_that_does_not_answer_is_named_as_the_cause(rebyte, monkeypatch):
    monkeypatch.setenv("REBYTE_BASE_URL", "https://api.example.test")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    ran = rebyte("list", "--max-wait", "2")
    assert (
        is_clean(ran, 10)
        and ran.error["code"] == "proxy_unreachable"
        and "HTTPS_PROXY" in ran.error["hint"]
    )
    checked = rebyte("doctor", "--max-wait", "5").document
    assert (
        checked["cause"]["check"] == "api.proxy"
        and "HTTPS_PROXY" in checked["next"][0]["ask"]
    )


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("get", UUID),
        ("create", "x"),
        ("run", "x"),
        ("cancel", UUID),
        ("upload", "numbers.csv"),
        ("artifacts", "list", UUID),
        ("api", "GET", "/tasks"),
        ("share", UUID, "public"),
    ],
)
def test_no_key_says_where_to_get_one(rebyte, monkeypatch, words):
    monkeypatch.delenv("REBYTE_API_KEY")
    ran = rebyte(*words)
    assert (
        is_clean(ran, 4)
        and ran.error["code"] == "missing_api_key"
        and "REBYTE_API_KEY" in ran.error["hint"]
    )


@pytest.mark.parametrize(
    "key",
    [CANARY + "\n", CANARY, "canary\x07" + CANARY, "canary\u20ac" + CANARY, "   "],
)
def test_a_wrong_key_is_told_apart_and_never_shown(rebyte, monkeypatch, key):
    monkeypatch.setenv("REBYTE_API_KEY", key)
    assert is_clean(rebyte("create", "hello", "--file", "numbers.csv"), 4)


def test_the_key_is_in_no_file_no_argument_and_no_address(
    rebyte, server, monkeypatch, tmp_path, world
):
    with LocalServer(str(tmp_path / "canary"), key=CANARY) as other:
        monkeypatch.setenv("REBYTE_BASE_URL", other.url)
        monkeypatch.setenv("REBYTE_API_KEY", CANARY)
        outputs = [
            rebyte("run", "hello", "--file", "numbers.csv", "--out", "r"),
            rebyte("get", UUID),
            rebyte("create", "x", "--file", "none"),
            rebyte("list", "--debug"),
            rebyte("api", "GET", "/nowhere", "--debug"),
        ]
        assert all(
            "api_key=" not in seen["path"] and CANARY not in json.dumps(seen)
            for seen in other.requests
        )
    assert all(CANARY not in ran.out + ran.err for ran in outputs)
    for path in list((tmp_path / "state").rglob("*")) + list(world.rglob("*")):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


def test_a_refused_port_and_an_unknown_host_were_never_sent(rebyte, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("REBYTE_BASE_URL", "http://127.0.0.1:%d" % port)
    monkeypatch.setenv("REBYTE_MAX_WAIT", "2")
    ran = rebyte("create", "hello")
    assert (
        is_clean(ran, 10)
        and ran["next"][0]["run"].endswith(" doctor")
        and "nothing was started" in ran["next"][0]["why"]
    )
    assert "nothing was" not in rebyte("list")["next"][0]["why"]
    checked = rebyte("doctor").document
    assert (
        checked["service"] == "local"
        and "127.0.0.1 on port %d" % port in checked["next"][0]["ask"]
    )
    assert "--base-url" not in checked["next"][-1]["run"]
    monkeypatch.setenv("REBYTE_BASE_URL", "https://no-such-host.invalid")
    ran = rebyte("create", "hello")
    assert is_clean(ran, 10) and ran.error["code"] in ("dns_failed", "proxy_refused")


@pytest.mark.parametrize(
    "base",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1",
        "http://api.example.com",
        "http://user:pw@127.0.0.1",
        "nonsense",
        "https://",
    ],
)
def test_an_address_that_cannot_be_right_is_refused_before_anything(
    rebyte, monkeypatch, base
):
    monkeypatch.setenv("REBYTE_BASE_URL", base)
    assert is_clean(rebyte("get", UUID), 2)


def test_another_base_url_needs_a_key_of_its_own(rebyte, server, tmp_path):
    with LocalServer(str(tmp_path / "other")) as other:
        assert (
            is_clean(rebyte("list", "--base-url", other.url), 4)
            and other.requests == []
        )
        key = tmp_path / "key"
        key.write_text(other.key + "\r\n")
        ran = rebyte("list", "--base-url", other.url, "--api-key-file", str(key))
        assert ran.code == 0 and "speaking to " + other.url in ran.err


@pytest.mark.parametrize(
    "words, why",
    [
        (("run",), "no prompt"),
        (("run", "a", "--prompt", "b"), "more than one"),
        (("run", "   "), "empty"),
        (("run", "x" * 100_001), "longer than the 100000"),
        (("run", "x", "--file-id", "nonsense"), "ID=NAME"),
        (("run", "x", "--repo", "no"), "OWNER/REPO"),
        (("run", "x", "--branch", "b"), "--repo"),
        (("run", "x", "--max-wait", "soon"), "max-wait"),
        (("run", "x", "--once", "@n"), "name"),
        (("get",), "ID"),
        (("frobnicate",), "verb"),
        (("run", "x", "--prompt-file", "missing"), "more than one"),
        (("run", "--prompt-file", "missing"), "missing"),
        (("api", "TRACE", "/x"), "TRACE"),
        (("api", "POST", "/tasks", "--body", "{"), "JSON"),
        (("artifacts", "put", UUID), "path"),
        (("list", "--limit", "-1"), "limit"),
    ],
)
def test_bad_input_is_named_before_anything_is_sent(rebyte, server, words, why):
    ran = rebyte(*words)
    assert is_clean(ran, 2) and why in ran.error["message"] + ran.error["hint"]
    assert posts(server) == []


def test_with_field_or_text_stdout_stays_empty_and_stderr_speaks(rebyte):
    for words in (("get", UUID, "--field", "status"), ("get", UUID, "--text")):
        ran = rebyte(*words)
        assert (ran.code, ran.out) == (5, "") and ran.err.startswith("rebyte: ")


def test_a_field_that_is_not_there_names_those_that_are(rebyte):
    ran = rebyte("list", "--field", "nope")
    assert ran.code == 2 and ran.out == "" and "total" in ran.err


def test_hostile_text_is_harmless_on_a_terminal_and_ascii_elsewhere(rebyte, server):
    server.faults.enable("hostile-text")
    made = rebyte("run", "hello")["id"]
    for words in (("run", "hello"), ("result", made), ("list",), ("watch", made)):
        assert rebyte(*words).out.isascii()
        text = rebyte(*words, "--text").out
        assert not set(text) & set("\x1b\x07\x9b\u202e\u2066\u200b\ufeff\r"), words


# As a process: what cannot be seen from inside


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"HOME": ""},
        {"PYTHONSAFEPATH": "1"},
    ],
)
def test_it_works_in_a_bare_environment(shell, env):
    ran = shell("run", sh("echo gr\u00fc\u00dfe \u2713"), env=env)
    assert ran.code == 0 and ran["answer"] == "gr\u00fc\u00dfe \u2713", ran


def test_it_works_isolated_through_a_link_and_from_a_read_only_folder(
    world, tmp_path, server
):
    scripts = tmp_path / "skill" / "scripts"
    shutil.copytree(os.path.dirname(DOOR), str(scripts))
    folders = [place for place, _, _ in os.walk(str(scripts))]
    [os.chmod(place, 0o555) for place in folders]
    os.symlink(str(scripts / "rebyte_cli.py"), str(tmp_path / "link.py"))
    done = run_quietly([sys.executable, "-I", str(tmp_path / "link.py"), "list"])
    [os.chmod(place, 0o755) for place in folders]
    assert done.returncode == 0 and json.loads(done.stdout)["total"] == 0


def test_no_home_at_all_falls_back_to_a_private_temp_folder_and_says_so(
    rebyte, tmp_path, monkeypatch
):
    temp = tmp_path / "t"
    temp.mkdir()
    (tmp_path / "nohome").write_text("a file, not a folder")
    monkeypatch.setenv("HOME", str(tmp_path / "nohome"))
    monkeypatch.setenv("TMPDIR", str(temp))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv("REBYTE_STATE_DIR")
    ran = rebyte("create", "hello")
    folders = list(temp.iterdir())
    assert (
        ran.code == 0
        and "REBYTE_STATE_DIR" in ran.err
        and [oct(folder.stat().st_mode)[-3:] for folder in folders] == ["700"]
    )
    monkeypatch.setenv("REBYTE_MAX_TASKS_PER_DAY", "5")
    refused = rebyte("create", "more")
    assert refused.code == 7 and refused.error["code"] == "guard_no_ledger"


def test_a_closed_stdout_is_no_traceback_and_no_delivery(world):
    done = subprocess.run(
        [sys.executable, DOOR, "run", "hello"],
        stdout=None,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: os.close(1),
    )
    assert (
        done.returncode == 1
        and b"stdout is closed" in done.stderr
        and b"Traceback" not in done.stderr
    )
    read, write = os.pipe()
    os.close(read)
    done = run_quietly([sys.executable, DOOR, "run", "hello"], stdout=write)
    os.close(write)
    assert (
        done.returncode == 1
        and b"Traceback" not in done.stderr
        and b"Exception ignored" not in done.stderr
    )


def test_a_full_disk_at_stdout_is_told(world):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        done = run_quietly([sys.executable, DOOR, "list"], stdout=full)
    assert done.returncode == 1 and b"Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use stays there")
@pytest.mark.parametrize("words", ["run hi --code", "report ."])
def test_a_folder_that_is_gone_is_named_as_the_cause(rebyte, world, words):
    world.joinpath("numbers.csv").unlink()
    world.rmdir()
    ran = rebyte(*words.split())
    assert ran.code and "current folder is gone" in ran.error["hint"]


def test_an_old_python_gets_one_line_and_two():
    found = [
        path
        for path in (
            shutil.which("python3.7"),
            shutil.which("python3.6"),
            shutil.which("python2.7"),
        )
        if path
    ]
    found += map(
        str,
        Path(os.environ.get("PYENV_ROOT") or "/nowhere").glob(
            "versions/[23].[67]*/bin/python"
        ),
    )
    runs = [(path, run_quietly([path, DOOR, "list"])) for path in found]
    runs = [(path, done) for path, done in runs if b"pyenv" not in done.stderr[:6]]
    if not runs:
        pytest.skip("no Python older than 3.8 here")
    for path, done in runs:
        assert (
            done.returncode == 2
            and done.stderr.count(b"\n") == 1
            and b"3.8" in done.stderr
        ), path


@pytest.mark.parametrize("kind", ["read-only", "a file"])
def test_a_state_folder_that_cannot_be_written_means_nothing_is_sent(
    shell, server, tmp_path, kind
):
    path = tmp_path / "bad"
    if kind == "a file":
        path.write_text("x")
    else:
        path.mkdir(mode=0o500)
        if os.access(str(path), os.W_OK) and os.getuid() == 0:
            pytest.skip("root writes everywhere")
    ran = shell("create", "hello", env={"REBYTE_STATE_DIR": str(path)})
    assert (
        ran.code == 7
        and posts(server) == []
        and "REBYTE_STATE_DIR" in ran.error["hint"]
    )


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_paid_for(
    rebyte, world, server
):
    (world / "file").write_text("")
    for words in (
        "run hello --out file/x",
        "create hello --out file",
        "batch --prompt hello --out file",
    ):
        assert rebyte(*words.split()).code == 2
    assert posts(server) == []


def test_what_is_in_the_way_at_the_end_hides_no_answer_and_no_link_is_followed(
    rebyte, world, tmp_path
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (world / "result").mkdir()
    for name in ("answer.md", "transcript.jsonl", "manifest.json", "files"):
        (world / "result" / name).symlink_to(elsewhere / name)
    ran = rebyte("run", SUM, "--file", "numbers.csv", "--out", "result")
    assert ran.code == 9 and "total is 6" in ran["answer"] and ran["id"]
    assert [item["name"] for item in ran["refused"]] == ["files"]
    assert not list(elsewhere.iterdir())
    for name in ("answer.md", "transcript.jsonl", "manifest.json"):
        assert (world / "result" / name).is_file() and not (
            world / "result" / name
        ).is_symlink()


def test_a_transcript_that_fills_the_disk_is_given_up_and_said_so(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    kept = Transcript(lambda: str(tmp_path / "t.jsonl"))
    kept._file.close()
    kept._file = open("/dev/full", "w")
    for _ in range(3):
        kept.write({"text": "x" * 100_000})
    assert len(kept.close()) == 1 and "No space" in kept.warnings[0]


def test_a_field_that_is_missing_hides_neither_the_exit_code_nor_the_line_that_goes_on(
    rebyte, server, world
):
    ran = rebyte(
        "run", sh("sleep 3; echo at last"), "--max-wait", "1", "--field", "answer"
    )
    assert ran.code == 75 and ran.out == "" and " result " in ran.err
    ran = rebyte(
        "run", sh("sleep 3; echo at last"), "--max-wait", "20", "--field", "answer"
    )
    assert (ran.code, ran.out) == (0, "at last\n") and len(posts(server)) == 1
    assert rebyte("run", sh("exit 3"), "--field", "question").code == 3


def test_a_server_of_this_machine_that_is_not_ours_is_not_called_local(rebyte, world):
    ours = rebyte("run", "hello")
    assert ours["service"] == "local"
    with hostile_service() as service, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REBYTE_BASE_URL", service.url)
        patch.setenv("REBYTE_API_KEY", "sample")
        assert rebyte("run", "hello")["service"] == "other"
