"""Typing a line again, and what a line must not do: answer another question, cancel another turn,
pay twice, lose an id.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from rebyte_wire.credentials import find_key
from rebyte_wire.errors import AuthError, LedgerUnwritable
from scripted_server import Server, answer

from .conftest import DOOR, SUM, posts, wait_until

TWO_QUESTIONS = """```ask run
Deploy to staging?
- yes
- no
```
```sh run
sleep 1.2
```
```ask run
Delete the production database?
- yes
- no
```
```sh run
echo "answer $ANSWER"
```"""
ID = "11111111-2222-4333-8444-555555555555"


def shell_join(rebyte, line):
    """Run a line of `next` as it was printed."""
    words = shlex.split(line)
    assert words[1] == DOOR
    return rebyte(*words[2:])


def creates(server):
    return len(posts(server))


def sent(server, ending):
    return [
        seen
        for seen in server.requests
        if seen["method"] == "POST" and seen["path"].endswith(ending)
    ]


def test_the_same_reply_again_goes_on_with_its_turn_and_answers_no_other_question(
    rebyte, server
):
    asked = rebyte("run", "--once", "q", TWO_QUESTIONS)
    assert asked.code == 13
    first = rebyte("reply", "@q", "--option", "1", "--wait", "--max-wait", "0.6")
    assert first.code == 75
    time.sleep(1.2)
    again = rebyte("reply", "@q", "--option", "1", "--wait")
    assert (
        again.code == 13
        and "production" in again.document["question"]["text"]
        and len(sent(server, "/answer")) == 1
    )
    # Its outcome was shown: the line typed once more means the question that is open now.
    assert (
        rebyte("reply", "@q", "--option", "2", "--wait").document["answer"].strip()
        == "answer no"
    )


def test_a_pasted_reply_is_for_its_own_question_whenever_it_is_typed(rebyte, server):
    line = rebyte("run", "--once", "q", TWO_QUESTIONS).document["next"][0]["run"]
    assert shell_join(rebyte, line).document["question"]["text"].startswith("Delete")
    assert shell_join(rebyte, line).code == 13 and len(sent(server, "/answer")) == 1
    assert (
        rebyte("reply", "@q", "--option", "1", "--question", "another").error["code"]
        == "no_question"
    )


def test_a_task_of_the_same_moment_is_no_proof_where_prompts_are_not_told(
    world, impatient, rebyte, monkeypatch
):
    def reply(request):
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if request[0].startswith("POST"):
            return answer(502, b"<html>")
        if "/tasks?" in request[0]:
            return answer(
                200,
                {
                    "data": [
                        {"id": ID, "title": "A colleague's payroll", "createdAt": now}
                    ],
                    "total": 1,
                },
            )
        return (
            answer(200, {"id": ID, "status": "running"})
            if request[0].startswith("GET /v1/tasks/%s " % ID)
            else answer(404, b"")
        )

    with Server(speaks=reply) as lossy:
        monkeypatch.setenv("REBYTE_BASE_URL", lossy.url)
        ran = rebyte("run", "Count the beans", "--once", "n", "--max-wait", "8")
        assert ran.code == 8 and rebyte("get", "@n").code == 5
        adopt = [
            step["run"]
            for step in ran["next"]
            if step.get("run", "").endswith("--adopt " + ID)
        ]
        assert (
            shell_join(rebyte, adopt[0])["id"] == ID and rebyte("get", "@n").code == 0
        )


def test_a_time_that_is_over_cancels_no_other_turn_and_nothing_that_was_delivered(
    rebyte, server
):
    prompt = "quick\n```sh run\necho hi\n```"
    assert rebyte("run", "--cancel-after", "1", "--once", "c", prompt).code == 0
    rebyte("follow-up", "@c", "more\n```sh run\nsleep 3\n```")
    time.sleep(1)
    assert (
        rebyte("run", "--cancel-after", "1", "--once", "c", prompt).document["reused"]
        is True
    )
    assert sent(server, "/cancel") == []


def test_a_run_that_was_killed_is_canceled_by_its_line_when_its_time_is_over(
    rebyte, server, monkeypatch
):
    monkeypatch.setattr("rebyte_commands.jobs.follow.CANCEL_GRACE_SECONDS", 0.05)
    line = ["run", "--cancel-after", "1", "```sh run\nsleep 9\n```"]
    first = rebyte(*line, "--max-wait", "0.4")
    assert first.code == 75 and "--cancel-after" in first.document["next"][0]["run"]
    time.sleep(0.6)
    assert rebyte(*line).code == 6 and len(sent(server, "/cancel")) == 1


def test_a_refused_second_start_forgets_nothing_of_the_first(rebyte, server):
    first = rebyte("run", "first", "--once", "n").document
    server.faults.enable("too-many-retry-after", seconds=300, only="POST /v1/tasks")
    assert (
        rebyte("run", "first", "--once", "n", "--again", "--max-wait", "5").code == 11
    )
    server.faults.clear()
    before = creates(server)
    assert (
        rebyte("run", "first", "--once", "n").document["id"] == first["id"]
        and rebyte("get", "@n").document["id"] == first["id"]
    )
    assert creates(server) == before


def test_a_retry_that_goes_on_retries_nothing_that_it_has_retried(
    rebyte, server, world
):
    (world / "two.jsonl").write_text(
        "".join(
            json.dumps({"prompt": "```sh run\n%s\n```" % code}) + "\n"
            for code in ("exit 1", "sleep 0.9; exit 1")
        )
    )
    rebyte("batch", "two.jsonl", "--out", "o")
    ran = rebyte(
        "batch", "two.jsonl", "--out", "o", "--retry", "failed", "--max-wait", "0.5"
    )
    assert ran.code == 75 and creates(server) == 4
    while ran.code == 75:
        ran = shell_join(rebyte, ran.document["next"][0]["run"])
    assert ran.code == 9 and creates(server) == 4
    assert (
        rebyte("batch", "two.jsonl", "--out", "o", "--retry", "failed").code == 9
        and creates(server) == 6
    )


def test_a_batch_tells_the_ids_of_what_it_could_not_record_or_write(
    rebyte, world, monkeypatch
):
    from rebyte_flows.starting.ledger import Ledger

    whole = Ledger.update

    def fail(self, number, **values):
        if values.get("state") == "created":
            raise LedgerUnwritable("cannot record the answer in the ledger: disk full")
        return whole(self, number, **values)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "update", fail)
        ran = rebyte("batch", "--prompt", "a", "--out", "o")
    assert (
        ran.code == 1
        and ran.document["tasks"][0]["error"]["code"] == "not_recorded"
        and len(ran.document["tasks"][0]["id"]) == 36
    )
    (world / "p" / "results.jsonl").mkdir(parents=True)
    ran = rebyte("batch", "--prompt", "b", "--out", "p")
    assert (
        ran.code == 9
        and ran.document["tasks"][0]["id"]
        and any("results.jsonl" in text for text in ran.document["warnings"])
    )


def test_a_batch_cancels_what_outlives_its_time(rebyte, server):
    ran = rebyte(
        "batch",
        "--prompt",
        "```sh run\nsleep 9\n```",
        "--prompt",
        "quick",
        "--cancel-after",
        "0.5",
        "--out",
        "o",
    )
    assert ran.code == 9 and ran.document["counts"] == {"canceled": 1, "completed": 1}


def test_a_service_that_asks_for_a_day_ends_a_batch_at_once(rebyte, server):
    server.faults.enable("too-many-retry-after", seconds=86400, only="POST /v1/tasks")
    began = time.monotonic()
    ran = rebyte(
        "batch", "--prompt", "a", "--prompt", "b", "--max-wait", "30", "--out", "o"
    )
    assert (
        ran.code == 11
        and ran.error["retryAfter"] == 86400
        and time.monotonic() - began < 10
    )


def test_wanted_files_of_a_start_that_was_settled_are_missing_and_said_so(
    rebyte, server
):
    server.faults.enable("drop-after-accept")
    ran = rebyte(
        "run", SUM, "--file", "numbers.csv", "--want", "total.csv", "--out", "o"
    )
    assert (
        ran.code == 9
        and ran.document["missing"] == ["total.csv"]
        and "workspace" in ran.document["next"][0]["ask"]
    )


@pytest.mark.parametrize(
    "body, code, exit_code",
    [
        ({"id": ID, "url": "http://x/\ud800", "workspaceId": 10**30}, None, 75),
        ({"id": "../../evil/pwn"}, "outcome_unknown", 8),
        ({"id": "a\nb"}, "outcome_unknown", 8),
        ({"id": "a" * 9000}, "outcome_unknown", 8),
    ],
)
def test_an_odd_answer_to_a_start_loses_no_id_and_leaves_no_folder(
    world, rebyte, monkeypatch, tmp_path, body, code, exit_code
):
    def reply(request):
        return (
            answer(201, body)
            if request[0].startswith("POST")
            else answer(404, {"error": {"code": "not_found", "message": "no"}})
        )

    with Server(speaks=reply) as odd:
        monkeypatch.setenv("REBYTE_BASE_URL", odd.url)
        (tmp_path / "evil").mkdir()
        ran = (
            rebyte("create", "x")
            if code is None
            else rebyte("run", "x", "--max-wait", "3")
        )
    assert list((tmp_path / "evil").iterdir()) == []
    assert (
        (ran.document["id"] == ID and ran.code == 0)
        if code is None
        else (ran.error["code"], ran.code) == (code, exit_code)
    )


def states(tmp_path):
    """Return how the rows of the ledger stand, of one that is there."""
    path = tmp_path / "state" / "ledger.db"
    if not path.exists():
        return []
    with contextlib.closing(
        sqlite3.connect(str(path), timeout=20)
    ) as book, contextlib.suppress(sqlite3.OperationalError):
        return [state for (state,) in book.execute("SELECT state FROM starts")]
    return []


def test_an_interrupt_as_the_raw_start_lands_is_told(world, server, tmp_path):
    server.faults.enable("slow-create", seconds=1)
    child = subprocess.Popen(
        [sys.executable, DOOR, "api", "POST", "/tasks", "--body", '{"prompt":"x"}'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: "sent" in states(tmp_path))
    child.send_signal(2)
    out, _ = child.communicate(timeout=20)
    assert child.returncode == 130 and json.loads(out)["id"]


def test_a_long_line_or_one_that_read_stdin_is_described_instead_of_pasted(rebyte):
    for words, stdin in (
        (["run", "x" * 1600], ""),
        (["run", "--prompt-file", "-"], "hello"),
    ):
        rebyte(*words, stdin=stdin)
        steps = rebyte(*words, stdin=stdin).document["next"]
        assert ["run" in step for step in steps] == [False] and "--again" in steps[0][
            "why"
        ]
    line = (
        rebyte("run", "--", "-dash").document
        and rebyte("run", "--", "-dash").document["next"][0]["run"]
    )
    assert shlex.split(line)[-3:] == ["--again", "--", "-dash"]


def test_a_line_to_paste_is_never_cut(rebyte, world, impatient, monkeypatch):
    def reply(request):
        ids = request[0].split(" ")[1].partition("?")[0].split("/")[3:]
        return answer(
            200,
            {"id": ids[0], "status": "running"}
            if ids and len(ids) == 1
            else {"data": []},
        )

    with Server(speaks=reply) as slow:
        monkeypatch.setenv("REBYTE_BASE_URL", slow.url)
        for many in (85, 300):
            ids = ["%08d-2222-4333-8444-555555555555" % n for n in range(many)]
            ran = rebyte("wait", *ids, "--max-wait", "0.3")
            assert ran.code == 75 and len(ran.out) < 8192
            line = ran.document["next"][0].get("run")
            assert shlex.split(line)[3:] == ids if many == 85 else line is None


@pytest.mark.parametrize("words", [["-p"], ["-hello world"], ["--again"], ["--", "x"]])
def test_after_two_dashes_nothing_is_a_flag(rebyte, words):
    sent = rebyte("run", "--dry-run", "--", words[-1]).document
    assert sent["body"]["prompt"] == words[-1]


def test_a_look_at_a_finished_task_has_time_for_its_files(rebyte, server, monkeypatch):
    made = rebyte("run", SUM, "--file", "numbers.csv").document
    monkeypatch.setattr("rebyte_commands.verbs.follow.WATCH_SECONDS", 1)
    monkeypatch.setattr(
        "rebyte_flows.following.follower.list_files",
        lambda *words, whole=__import__("rebyte_flows.following.follower").following.follower.list_files: (
            time.sleep(1.2) or whole(*words)
        ),
    )
    ran = rebyte("result", made["id"], "--out", "o")
    assert ran.code == 0 and ran.document["files"][0]["path"]


def test_a_task_that_has_ended_is_not_told_as_running_when_time_ends_before_its_files(
    rebyte, monkeypatch
):
    made = rebyte("run", SUM, "--file", "numbers.csv").document

    def late(*_):
        from rebyte_wire.errors import DeadlineReached

        raise DeadlineReached("the time is over")

    monkeypatch.setattr("rebyte_flows.following.follower.list_files", late)
    ran = rebyte("result", made["id"], "--workspace", made["workspaceId"], "--out", "o")
    assert (
        ran.code == 75
        and ran.document["status"] == "completed"
        and "total is 6" in ran.document["answer"]
    )
    assert "--workspace" in ran.document["next"][0]["run"]


def test_create_takes_no_flag_that_nobody_would_keep_and_remembers_where_files_go(
    rebyte,
):
    assert (
        rebyte("create", "x", "--cancel-after", "3").code == 2
        and rebyte("create", "x", "--cancel-on-interrupt").code == 2
    )
    assert (
        rebyte("create", "x", "--out", "o", "--want", "a.pdf")
        .document["next"][0]["run"]
        .endswith("--wait --out o --want a.pdf")
    )


def test_a_signal_as_the_command_leaves_is_no_traceback(world, server):
    codes = set()
    for pause in range(12):
        child = subprocess.Popen(
            [sys.executable, DOOR, "ledger", "list", "--limit", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        line = child.stdout.readline()
        time.sleep(pause / 4000)
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(15)
        rest, err = child.communicate(timeout=20)
        assert json.loads(line) and rest == b"" and b"Traceback" not in err
        codes.add(child.returncode)
    assert codes <= {0, 143}


def test_a_pipe_that_nobody_writes_to_or_closes_hangs_nothing(world, server):
    os.mkfifo("pipe")
    line = [sys.executable, DOOR, "run", "--max-wait", "1.5"]
    for words in (
        ["--file", "pipe", "x"],
        ["--prompt-file", "pipe"],
        ["--prompt-file", "-"],
        ["--file", "-=a.csv", "x"],
    ):
        began = time.monotonic()
        child = subprocess.Popen(
            line + words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert child.wait(timeout=10) == 2 and time.monotonic() - began < 6
        child.stdin.close()
        child.stdout.close()
    assert creates(server) == 0
    told = subprocess.run(
        [
            "bash",
            "-c",
            '"$0" "$1" run --dry-run --prompt-file <(echo from a shell)',
            sys.executable,
            DOOR,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    assert json.loads(told.stdout)["body"]["prompt"] == "from a shell\n"


def test_a_damaged_ledger_is_refused_with_what_to_do(rebyte, tmp_path, server):
    rebyte("create", "one")
    path = tmp_path / "state" / "ledger.db"
    with contextlib.closing(sqlite3.connect(str(path))) as book:
        book.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        book.execute("DROP TABLE starts")
        book.commit()
    ran = rebyte("create", "two")
    assert (
        (ran.code, ran.error["code"]) == (7, "ledger_unwritable")
        and "move ledger.db" in ran.error["hint"]
        and creates(server) == 1
    )


FIRST_SCHEMA = """
CREATE TABLE starts (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, origin TEXT NOT NULL, account TEXT NOT NULL,
  digest TEXT NOT NULL, ordinal INTEGER NOT NULL, attempt INTEGER NOT NULL, name TEXT,
  parts TEXT NOT NULL, prompt_digest TEXT, state TEXT NOT NULL, holder TEXT,
  claimed_at REAL NOT NULL, answered_at REAL, delivered_at REAL, task_id TEXT,
  workspace_id TEXT, prompt_id TEXT, url TEXT, executor TEXT, model TEXT, known TEXT,
  reason TEXT, status TEXT);
CREATE TABLE replies (task_id TEXT, message_id TEXT, PRIMARY KEY (task_id, message_id));
INSERT INTO starts (kind, origin, account, digest, ordinal, attempt, parts, state, claimed_at)
  VALUES ('task', 'o', 'a', 'd', 0, 1, '{}', 'intent', 1);
INSERT INTO replies VALUES ('t', 'm');
PRAGMA user_version=1;
"""


def test_an_older_ledger_is_taken_over_by_several_runs_at_once(tmp_path):
    from rebyte_flows.starting.ledger import Ledger
    from rebyte_flows.state import StateFolder

    state = StateFolder(str(tmp_path / "old"))
    with contextlib.closing(sqlite3.connect(state.file("ledger.db"))) as book:
        book.executescript(FIRST_SCHEMA)
    opened = []
    threads = [
        threading.Thread(target=lambda: opened.append(Ledger(state, "o", "a")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    for ledger in opened:
        assert ledger.answered("t") == {"m"} and ledger.count_all() == 1
        assert [row.state for row in ledger.expire_orphans()] == ["unknown"]
        ledger.close()


def test_a_deleted_task_leaves_its_line_a_way_on(rebyte):
    made = rebyte("run", "hello", "--once", "n").document
    rebyte("delete", made["id"], "--yes")
    ran = rebyte("run", "hello", "--once", "n")
    assert ran.code == 5 and made["id"] in ran.error["message"]
    assert (
        shell_join(rebyte, ran.document["next"][0]["run"]).document["id"] != made["id"]
    )


@pytest.mark.parametrize(
    "words",
    [
        ["get", ID],
        ["list"],
        ["credits"],
        ["webhooks", "list"],
        ["computers", "get", ID],
        ["share", ID, "private"],
        ["cancel", ID],
        ["upload", "numbers.csv"],
        ["doctor"],
        ["run", "x", "--max-wait", "3"],
        ["wait", ID, "--max-wait", "1"],
    ],
)
def test_an_empty_answer_ends_in_no_traceback(
    world, impatient, rebyte, monkeypatch, words
):
    with Server(answer(204)) as empty:
        monkeypatch.setenv("REBYTE_BASE_URL", empty.url)
        ran = rebyte(*words)
    assert "unexpected" not in ran.out and ran.code != 1 and json.loads(ran.out)


def test_text_is_as_small_as_json_whatever_comes(world, rebyte, monkeypatch):
    deep = "[" * 900 + "]" * 900
    with Server(
        answer(200, {"id": ID, "title": "t" * 1_000_000, "status": "completed"})
    ) as loud:
        monkeypatch.setenv("REBYTE_BASE_URL", loud.url)
        ran = rebyte("get", ID, "--text")
        assert ran.code == 0 and len(ran.out) < 9000 and "path" in ran.out
    with Server(
        answer(200, ('{"id":"%s","status":"completed","x":%s}' % (ID, deep)).encode())
    ) as nested:
        monkeypatch.setenv("REBYTE_BASE_URL", nested.url)
        assert rebyte("get", ID, "--text").code in (0, 12)


def test_a_long_answer_as_text_is_cut_and_its_path_told(rebyte):
    ran = rebyte("run", "```python run\nprint('long ' * 20000)\n```", "--text")
    assert len(ran.out) < 9000 and "the whole answer:" in ran.out


def test_names_in_a_batch_are_names_or_refused(rebyte, world):
    (world / "odd.jsonl").write_text('{"prompt": "a", "id": "x"}\n')
    assert (
        rebyte("batch", "odd.jsonl", "--once-field", "id", "--dry-run")
        .error["message"]
        .startswith("--once-field needs")
    )
    (world / "empty.jsonl").write_text('{"prompt": "a", "once": ""}\n')
    assert rebyte("batch", "empty.jsonl", "--dry-run").error["code"] == "bad_lines"
    (world / "twice.jsonl").write_text(
        '{"prompt": "a", "files": ["-=a"]}\n{"prompt": "b", "files": ["-=b"]}\n'
    )
    assert (
        "twice"
        in rebyte("batch", "twice.jsonl", "--dry-run", stdin="x").error["message"]
    )


def test_a_batch_takes_the_flags_of_a_start(rebyte, world):
    (world / "ask.md").write_text("from a file")
    ran = rebyte(
        "batch",
        "--prompt",
        "a",
        "--prompt-file",
        "ask.md",
        "--file-id",
        "f=x.csv",
        "--skills",
        "s",
        "--dry-run",
        "--github-url",
        "o/r",
        "--branch",
        "b",
        "--workspace-id",
        ID,
    )
    assert ran.code == 0 and [task["githubUrl"] for task in ran.document["tasks"]] == [
        "o/r",
        "o/r",
    ]
    assert (
        rebyte("batch", "--prompt", "a", "--branch", "b", "--dry-run").error["code"]
        == "bad_lines"
    )


def test_deleting_several_artifacts_tells_each(rebyte):
    made = rebyte("run", SUM, "--file", "numbers.csv").document["id"]
    ran = rebyte("artifacts", "delete", made, "nofile.csv", "total.csv")
    assert (
        ran.code == 9
        and ran.document["deleted"] == ["total.csv"]
        and ran.document["failed"][0]["name"] == "nofile.csv"
    )
    assert rebyte("artifacts", "get", made, "x.csv", "x.csv").code == 5
    workspace = rebyte("ledger", "show", made).document["workspaceId"]
    assert (
        rebyte("api", "DELETE", "/workspaces/%s/artifacts" % workspace).error["code"]
        == "needs_yes"
    )


def test_watch_prints_no_field_and_its_line_goes_on_as_it_was(rebyte):
    made = rebyte("create", "```sh run\nsleep 3\n```").document["id"]
    assert rebyte("watch", made, "--field", "id").code == 2
    end = json.loads(
        rebyte("watch", made, "--raw", "--max-wait", "0.5").out.splitlines()[-1]
    )
    assert end["done"]["next"][0]["run"].endswith("watch %s --raw" % made)


def test_batches_without_a_folder_of_their_own_go_after_a_month(rebyte, tmp_path):
    rebyte("batch", "--prompt", "hello")
    folder = next((tmp_path / "state" / "batches").iterdir())
    for path, days in ((folder, 31), (tmp_path / "state" / "pruned", 2)):
        os.utime(str(path), (time.time() - days * 86_400,) * 2)
    rebyte("batch", "--prompt", "another")
    assert (
        not folder.exists()
        and len(list((tmp_path / "state" / "batches").iterdir())) == 1
    )


def test_an_interrupted_batch_tells_what_runs_on(world, server):
    child = subprocess.Popen(
        [
            sys.executable,
            DOOR,
            "batch",
            "--prompt",
            "```sh run\nsleep 20\n```",
            "--out",
            "o",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: creates(server) == 1)
    time.sleep(0.3)
    child.send_signal(2)
    out, _ = child.communicate(timeout=20)
    (task,) = json.loads(out)["tasks"]
    assert (
        child.returncode == 130
        and task["status"] == "running"
        and len(task["id"]) == 36
    )


def test_forgetting_spares_what_is_open_and_what_the_owner_counts(
    rebyte, server, monkeypatch
):
    server.faults.enable("html-error", only="POST /v1/tasks")
    assert rebyte("create", "x").code == 8
    assert rebyte("ledger", "forget", "1", "--yes").error["code"] == "guard_refused"
    server.faults.clear()
    monkeypatch.setenv("REBYTE_MAX_TASKS_PER_DAY", "2")
    assert rebyte("create", "y").code == 0 and rebyte("create", "z").code == 7
    assert (
        rebyte("ledger", "forget", "--older-than", "0", "--yes").code == 7
        and rebyte("ledger", "forget", "2", "--yes").code == 7
    )
    monkeypatch.delenv("REBYTE_MAX_TASKS_PER_DAY")
    assert rebyte("ledger", "forget", "2", "--yes")["forgotten"] == 1


def test_a_follow_up_of_unknown_outcome_can_be_adopted(rebyte, server):
    task = rebyte("create", "hello")["id"]
    for _ in range(2):
        rebyte("api", "POST", "/tasks/%s/prompts" % task, "--body", '{"prompt":"same"}')
    server.faults.enable("html-error", only="POST /v1/tasks/%s/prompts" % task)
    assert rebyte("follow-up", task, "same").code == 8
    server.faults.clear()
    assert rebyte("ledger", "settle", "4", "--adopt", task).code == 2
    known = {rebyte("ledger", "show", number)["promptId"] for number in "23"}
    prompts = [prompt["id"] for prompt in rebyte("get", task)["prompts"]]
    free = next(id for id in prompts if id not in known)
    assert rebyte("ledger", "settle", "4", "--adopt", free)["promptId"] == free


def test_a_daily_limit_without_a_lasting_ledger_is_a_guard_for_a_batch_too(
    shell, server, monkeypatch, tmp_path
):
    monkeypatch.setenv("REBYTE_MAX_TASKS_PER_DAY", "5")
    monkeypatch.delenv("REBYTE_STATE_DIR")
    (tmp_path / "nowhere").write_text("")
    ran = shell(
        "batch",
        "--prompt",
        "x",
        "--out",
        "o",
        env={"HOME": str(tmp_path / "nowhere"), "TMPDIR": str(tmp_path)},
    )
    assert (ran.code, ran.error["code"]) == (7, "guard_no_ledger") and creates(
        server
    ) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["local", "start", "--fault", "too-many=0"],
        ["local", "start", "--fault", "odd-status=3"],
        ["ledger", "list", "7"],
        ["local", "start", "--fault", "slow-create=1e99"],
        ["ledger", "settle", "9"],
        ["api", "POST", "/tasks/x/Prompts", "--body", "[]"],
    ],
)
def test_what_cannot_be_is_usage(rebyte, words):
    assert (rebyte(*words).code, rebyte(*words).error["code"]) == (2, "usage")


def test_an_output_that_is_none_is_refused(rebyte, monkeypatch):
    monkeypatch.setenv("REBYTE_OUTPUT", "xml")
    assert rebyte("ledger", "list").code == 2


def test_an_installation_with_files_missing_says_so(tmp_path):
    import shutil

    copied = str(tmp_path / "copy")
    shutil.copytree(
        os.path.dirname(DOOR),
        copied,
        ignore=shutil.ignore_patterns("context.py", "__pycache__"),
    )
    done = subprocess.run(
        [sys.executable, os.path.join(copied, "rebyte_cli.py"), "ledger", "list"],
        capture_output=True,
    )
    assert (
        done.returncode == 1
        and b"install the skill anew" in done.stderr
        and b"Traceback" not in done.stderr
    )


def test_again_under_a_name_sends_words_that_were_changed(rebyte, server):
    rebyte("run", "--once", "n", "first")
    rebyte(
        "run",
        "--once",
        "n",
        "```sh run\nsleep 1; echo second\n```",
        "--again",
        "--max-wait",
        "0.5",
    )
    assert (
        rebyte("run", "--once", "n", "```sh run\necho third\n```", "--again")[
            "answer"
        ].strip()
        == "third"
        and creates(server) == 3
    )


def test_a_reply_whose_answer_was_lost_is_sent_once_and_answers_nothing_else(
    rebyte, server, monkeypatch
):
    from rebyte_client import RebyteClient
    from rebyte_wire.errors import NetworkError

    whole = RebyteClient.answer_question

    def lost(self, id, body):
        whole(self, id, body)
        raise NetworkError("The connection broke.", code="connection_cut")

    rebyte("run", "--once", "q", TWO_QUESTIONS.replace("sleep 1.2", "sleep 0.1"))
    with monkeypatch.context() as patch:
        patch.setattr(RebyteClient, "answer_question", lost)
        assert rebyte("reply", "@q", "--option", "1", "--wait").code == 10
    time.sleep(1)
    again = rebyte("reply", "@q", "--option", "1", "--wait")
    assert (
        again.code == 13
        and "production" in again["question"]["text"]
        and len(sent(server, "/answer")) == 1
    )


def test_a_reply_that_never_arrived_is_sent_by_the_same_line(
    rebyte, server, monkeypatch
):
    from rebyte_client import RebyteClient
    from rebyte_wire.errors import NetworkError

    def cut(self, id, body):
        raise NetworkError("The connection broke.", code="connection_cut")

    asked = rebyte(
        "run",
        "--once",
        "q",
        "```ask run\nWhich?\n- a\n- b\n```\n```sh run\necho took $ANSWER\n```",
    )
    for line in (
        ["reply", "@q", "--option", "2", "--wait"],
        shlex.split(asked["next"][1]["run"])[2:],
    ):
        with monkeypatch.context() as patch:
            patch.setattr(RebyteClient, "answer_question", cut)
            assert rebyte(*line).code == 10
        assert rebyte("result", "@q").code == 13
    assert (
        rebyte("reply", "@q", "--option", "2", "--wait")["answer"].strip() == "took b"
    )


def test_a_reply_seen_by_another_verb_is_over_and_another_option_for_it_is_refused(
    rebyte, server
):
    asked = rebyte("run", "--once", "q", TWO_QUESTIONS)
    assert (
        rebyte("reply", "@q", "--option", "1", "--wait", "--max-wait", "0.6").code == 75
    )
    assert "production" in rebyte("result", "@q", "--wait")["question"]["text"]
    other = shlex.split(asked["next"][1]["run"])[2:]
    assert rebyte(*other).error["code"] == "no_question"
    assert (
        rebyte("reply", "@q", "--option", "1", "--wait")["answer"].strip()
        == "answer yes"
    )
    assert (
        shell_join(rebyte, asked["next"][0]["run"]).code == 0
        and len(sent(server, "/answer")) == 2
    )


def test_a_task_that_was_canceled_while_it_asked_asks_no_more(rebyte):
    made = rebyte("run", "--once", "q", "```ask run\nWhich?\n- a\n- b\n```")
    rebyte("cancel", "@q")
    assert (
        rebyte("result", "@q", "--wait").code == 6
        and rebyte("run", "--once", "q", "```ask run\nWhich?\n- a\n- b\n```").code == 6
    )
    assert (
        json.loads(rebyte("watch", made["id"]).out.splitlines()[-1])["done"]["status"]
        == "canceled"
    )


def test_a_question_of_a_later_turn_is_a_new_one(rebyte):
    rebyte("run", "--once", "q", "```ask run\nWhich?\n- a\n- b\n```")
    assert rebyte("reply", "@q", "--option", "1", "--wait").code == 0
    assert (
        rebyte(
            "follow-up", "@q", "```ask run\nAnd which now?\n- c\n- d\n```", "--wait"
        )["question"]["text"]
        == "And which now?"
    )


def test_what_became_of_a_later_turn_is_not_what_became_of_the_first(
    rebyte, server, world
):
    (world / "a.jsonl").write_text(
        '{"once": "a", "prompt": "fine"}\n{"once": "b", "prompt": "```sh run\\nsleep 1; echo mine\\n```"}\n'
    )
    assert rebyte("batch", "a.jsonl", "--out", "o", "--max-wait", "0.7").code == 75
    for name in "ab":
        assert (
            rebyte("follow-up", "@" + name, "```sh run\nexit 3\n```", "--wait").code
            == 3
        )
    assert rebyte("wait", "@a", "@b").code == 9
    again = rebyte("batch", "a.jsonl", "--out", "p")
    assert again.code == 0 and again["tasks"][1]["answer"].strip() == "mine"
    assert (
        rebyte("batch", "a.jsonl", "--out", "p", "--retry", "failed").code == 0
        and creates(server) == 2
    )


def test_a_turn_that_is_none_is_not_found_and_files_outlive_the_time_to_cancel(
    rebyte, monkeypatch
):
    made = rebyte("run", SUM, "--file", "numbers.csv")["id"]
    assert (
        rebyte("result", made, "--prompt", "no-such-turn", "--max-wait", "8").code == 5
    )
    monkeypatch.setattr(
        "rebyte_flows.following.follower.list_files",
        lambda *words, whole=__import__("rebyte_flows.following.follower").following.follower.list_files: (
            time.sleep(1.2) or whole(*words)
        ),
    )
    ran = rebyte(
        "run", SUM + "\n", "--file", "numbers.csv", "--cancel-after", "1", "--out", "o"
    )
    assert ran.code == 0 and ran["files"][0]["path"]


def test_a_wanted_file_is_remembered_over_a_question(rebyte):
    asked = rebyte(
        "run",
        "--once",
        "q",
        "```ask run\nWhich?\n- a\n- b\n```",
        "--want",
        "report.csv",
    )
    assert shell_join(rebyte, asked["next"][0]["run"])["missing"] == ["report.csv"]
    assert (
        "unrecognized arguments: --want"
        in rebyte("run", "p", "--want", "a", "--", "--want").error["message"]
    )
    for words in (["--want", ""], ["--skill", ""], ["--file", ""]):
        assert rebyte("run", "x", "--dry-run", *words).code == 2


def test_a_key_in_a_pipe_is_read_and_one_without_a_writer_is_not_waited_for(
    world, server, monkeypatch
):
    monkeypatch.delenv("REBYTE_API_KEY")
    line = (
        '"$0" "$1" list --limit 1 --field total --api-key-file <(sleep 0.3; echo %s)'
        % server.key
    )
    told = subprocess.run(
        ["bash", "-c", line, sys.executable, DOOR],
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    assert told.stdout.strip() == b"0", told
    os.mkfifo("pipe")
    monkeypatch.setattr("rebyte_wire.credentials.PIPE_SECONDS", 0.2)
    ended = threading.Event()

    def look():
        with contextlib.suppress(AuthError):
            find_key({}, "pipe")
        ended.set()

    # A daemon: where it is waited for, the test fails and does not hang.
    threading.Thread(target=look, daemon=True).start()
    assert ended.wait(5)


def test_a_second_start_that_failed_or_never_began_is_not_told_as_the_first_task(
    rebyte, world, server
):
    first = rebyte("batch", "--prompt", "a", "--out", "o")["tasks"][0]["id"]
    server.faults.enable("too-many-retry-after", seconds=86400, only="POST /v1/tasks")
    told = rebyte("batch", "--prompt", "a", "--out", "o", "--again")["tasks"][0]
    assert told["error"]["code"] == "rate_limited" and "id" not in told and first


def test_an_interrupted_batch_does_not_tell_an_earlier_task_as_running_where_a_new_one_never_began(
    world, server
):
    slow = "```sh run\nsleep 20\n```"
    line = [
        sys.executable,
        DOOR,
        "batch",
        "--prompt",
        slow,
        "--prompt",
        "quick",
        "--concurrency",
        "1",
        "--out",
        "o",
    ]
    subprocess.run(
        line[:3] + line[5:],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    child = subprocess.Popen(
        line + ["--again"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: creates(server) == 2)
    time.sleep(0.3)
    child.send_signal(2)
    tasks = json.loads(child.communicate(timeout=20)[0])["tasks"]
    assert [task["status"] for task in tasks] == ["running", "waiting"]


def test_the_raw_door_keeps_the_case_of_an_id():
    from rebyte_flows.starting.requests import StartRequest

    request = StartRequest("//Tasks/AbC%2d1/./Prompts", {"prompt": "x"})
    assert (request.kind.name, request.task_id) == ("follow-up", "AbC-1")


def test_a_ledger_that_fills_up_as_the_end_is_noted_hides_neither_the_end_nor_its_code(
    rebyte, monkeypatch
):
    from rebyte_flows.starting.ledger import Ledger

    whole = Ledger.update

    def full(ledger, number, **values):
        if "delivered_at" in values:
            raise LedgerUnwritable("cannot record the answer in the ledger: disk full")
        whole(ledger, number, **values)

    monkeypatch.setattr(Ledger, "update", full)
    ran = rebyte("run", "hello")
    assert ran.code == 0 and "disk full" in ran.err
    watched = rebyte("watch", ran["id"])
    assert (
        watched.code == 0
        and json.loads(watched.out.splitlines()[-1])["done"]["status"] == "completed"
    )
