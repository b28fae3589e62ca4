"""batch, and what is interrupted, killed, cut off or out of time: exactly one document and one
task.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from measure import run_quietly
from pull_the_plug import pull
from rebyte_local.server import LocalServer

from .conftest import DOOR, posts, sh, wait_until


def lines(*rows):
    Path("jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "jobs.jsonl"


def echo(word):
    return sh("echo %s" % word)


def results(ran):
    return [json.loads(line) for line in Path(ran["results"]).read_text().splitlines()]


def test_lines_become_tasks_and_results_stand_in_input_order(rebyte, server, world):
    ran = rebyte(
        "batch", lines(*({"prompt": echo(word)} for word in "abcde")), "--out", "out"
    )
    assert ran.code == 0 and ran["counts"] == {"completed": 5}
    assert [line["answer"] for line in results(ran)] == list("abcde") and [
        line["index"] for line in results(ran)
    ] == [1, 2, 3, 4, 5]
    assert Path("out/0003/answer.md").read_text() == "c\n" and len(posts(server)) == 5


def test_the_same_batch_again_sends_nothing(rebyte, server, world):
    name = lines(*({"prompt": echo(word)} for word in "ab"))
    first = rebyte("batch", name, "--out", "out")
    before = len(server.requests)
    second = rebyte("batch", name, "--out", "out")
    assert [line["id"] for line in results(second)] == [
        line["id"] for line in results(first)
    ] and len(server.requests) == before
    assert len(rebyte("batch", name)["counts"]) == 1 and len(posts(server)) == 2


def test_equal_lines_are_as_many_tasks_as_there_are_lines(rebyte, server, world):
    ran = rebyte(
        "batch", lines({"prompt": "same"}, {"prompt": "same"}, {"prompt": "same"})
    )
    assert len({line["id"] for line in results(ran)}) == 3
    rebyte("batch", "jobs.jsonl")
    assert len(posts(server)) == 3


def test_all_bad_lines_are_named_and_nothing_is_sent(rebyte, server, world):
    Path("jobs.jsonl").write_text(
        '{"prompt":"ok"}\nnot json\n{"promt":"x"}\n{"prompt":"x","files":["none.csv"]}\n'
        '{"prompt":"x","want":"a"}\n'
        '{"prompt":"x","prompt_file":"jobs.jsonl"}\n{"files":[]}\n'
    )
    ran = rebyte("batch", "jobs.jsonl")
    assert (
        ran.code == 2
        and [bad["line"] for bad in ran["details"]["lines"]] == [2, 3, 4, 5, 6, 7]
        and server.requests == []
    )


def test_rows_fill_a_template_and_name_their_tasks(rebyte, world):
    Path("rows.csv").write_text('id,word\nr1,"a, b"\nr2,c\n')
    Path("t.md").write_text(sh("echo '{{ word }}'"))
    ran = rebyte(
        "batch", "rows.csv", "--template", "t.md", "--once-field", "id", "--out", "out"
    )
    assert [line["answer"] for line in results(ran)] == ["a, b", "c"] and [
        line["once"] for line in results(ran)
    ] == ["r1", "r2"]
    assert Path("out/0001-r1/answer.md").exists()
    Path("rows.csv").write_text("id,other\nr1,x\n")
    assert "word" in rebyte("batch", "rows.csv", "--template", "t.md").error["message"]


def test_one_bad_task_never_hides_the_rest(rebyte, world):
    ran = rebyte(
        "batch",
        lines({"prompt": echo("a")}, {"prompt": sh("exit 3")}, {"prompt": echo("c")}),
        "--out",
        "out",
    )
    assert (
        ran.code == 9
        and ran["counts"] == {"completed": 2, "failed": 1}
        and "--retry failed" in ran["next"][0]["run"]
    )


def test_retry_failed_starts_only_those_again(rebyte, server, world):
    prompt = sh("test -e %s && echo fine" % (world / "ready"))
    name = lines({"prompt": echo("a")}, {"prompt": prompt})
    assert rebyte("batch", name, "--out", "out").code == 9
    (world / "ready").touch()
    assert rebyte("batch", name, "--out", "out").code == 9 and len(posts(server)) == 2
    ran = rebyte("batch", name, "--out", "out", "--retry", "failed")
    assert (
        ran.code == 0
        and len(posts(server)) == 3
        and [line["answer"] for line in results(ran)] == ["a", "fine"]
    )


def test_a_slice_ends_with_75_and_the_next_call_goes_on(rebyte, server, world):
    prompt = sh("while [ ! -e %s ]; do sleep 0.1; done; echo done" % (world / "go"))
    name = lines({"prompt": echo("a")}, {"prompt": prompt})
    ran = rebyte("batch", name, "--out", "out", "--max-wait", "1.2")
    assert ran.code == 75 and ran["counts"] == {"completed": 1, "running": 1}
    (world / "go").touch()
    assert rebyte("batch", name, "--out", "out").code == 0 and len(posts(server)) == 2


def test_equal_files_go_up_once(rebyte, server, world):
    rebyte(
        "batch",
        lines(*({"prompt": "task %d" % n, "files": ["numbers.csv"]} for n in range(6))),
    )
    assert len([seen for seen in server.requests if seen["path"] == "/v1/files"]) == 1


def test_more_tasks_than_allowed_are_refused_before_a_byte_is_sent(
    rebyte, server, world, monkeypatch
):
    name = lines(*({"prompt": "task %d" % n} for n in range(21)))
    ran = rebyte("batch", name)
    assert (
        ran.code == 7
        and "--max-tasks 21" in ran.error["hint"]
        and server.requests == []
    )
    monkeypatch.setenv("REBYTE_MAX_TASKS_PER_DAY", "20")
    assert (
        rebyte("batch", name, "--max-tasks", "30").error["code"]
        == "guard_tasks_per_day"
        and server.requests == []
    )
    monkeypatch.setenv("REBYTE_MAX_TASKS_PER_DAY", "21")
    assert (
        rebyte("batch", name, "--max-tasks", "30").code == 0
        and len(posts(server)) == 21
    )


def test_max_failures_starts_nothing_more(rebyte, server, world):
    ran = rebyte(
        "batch",
        lines(*({"prompt": sh("exit %d" % n)} for n in range(1, 9))),
        "--concurrency",
        "1",
        "--max-failures",
        "1",
    )
    assert ran.code == 9 and ran["counts"]["failed"] == 2 and len(posts(server)) == 2


def test_a_wrong_key_stops_the_batch_at_once(rebyte, server, world, monkeypatch):
    monkeypatch.setenv("REBYTE_API_KEY", "rbk_wrong")
    ran = rebyte(
        "batch",
        lines(*({"prompt": "task %d" % n} for n in range(10))),
        "--concurrency",
        "1",
    )
    assert ran.code == 4 and len(posts(server)) == 1


def test_dropped_answers_are_settled_and_none_is_started_twice(rebyte, server, world):
    server.faults.enable("drop-after-accept", every=3)
    ran = rebyte(
        "batch", lines(*({"prompt": echo("w%d" % n)} for n in range(9))), "--out", "out"
    )
    assert ran.code == 0, ran
    assert ran["counts"] == {"completed": 9} and len(posts(server)) == 9


def test_a_hurried_service_slows_the_batch_down_and_loses_nothing(
    rebyte, server, world
):
    server.faults.enable("too-many-retry-after", seconds=0.2, only="POST /v1/tasks")
    assert rebyte("batch", lines(*({"prompt": "task %d" % n} for n in range(6))))[
        "counts"
    ] == {"completed": 6}


@pytest.mark.parametrize(
    "words",
    [
        ("batch",),
        ("batch", "none.jsonl"),
        ("batch", "jobs.csv"),
        ("batch", "jobs.jsonl", "--prompt", "x"),
    ],
)
def test_bad_input_is_two(rebyte, world, words):
    Path("jobs.csv").write_text("a\n1\n")
    assert rebyte(*words).code == 2


def test_dry_run_shows_every_line_and_sends_nothing(rebyte, server, world):
    ran = rebyte(
        "batch", "--prompt", "a", "--prompt", "b", "--executor", "codex", "--dry-run"
    )
    assert [task["prompt"] for task in ran["tasks"]] == ["a", "b"] and ran["tasks"][0][
        "executor"
    ] == "codex"
    assert server.requests == []


# As processes: interrupted, cut off or out of time, it is exactly one document, the right exit
# code, and one task.

WORK = sh("for n in 1 2 3 4 5 6 7 8; do echo $n; sleep 0.08; done")


def start(*words):
    """Start a command line as a process."""
    return subprocess.Popen(
        [sys.executable, DOOR] + list(words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(child):
    """Wait for a process; return (exit code, its one document)."""
    out, err = child.communicate(timeout=60)
    assert b"Traceback" not in err, err
    if child.returncode < 0 and not out and not err:
        pytest.skip("the signal came before the interpreter had begun")
    lines = out.decode("ascii").splitlines()
    assert len(lines) == 1, (lines, err)
    return child.returncode, json.loads(lines[0])


def end_all(children):
    """Wait for several at once."""
    with ThreadPoolExecutor(len(children)) as pool:
        return list(pool.map(ended, children))


def test_two_batches_of_one_file_at_once_start_each_line_once(world, server):
    server.faults.enable("slow-create", seconds=0.1)
    name = lines(*({"prompt": echo("w%d" % n)} for n in range(8)))
    found = end_all([start("batch", name, "--out", "out%d" % n) for n in range(2)])
    assert [(code, document["counts"]) for code, document in found] == [
        (0, {"completed": 8})
    ] * 2 and len(posts(server)) == 8


def test_interrupting_a_batch_is_one_document_and_the_next_call_goes_on(world, server):
    name = lines(*({"prompt": sh("sleep 0.4; echo %d" % n)} for n in range(8)))
    words = ("batch", name, "--out", "out", "--concurrency", "2")
    child = start(*words)
    wait_until(lambda: posts(server))
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    code, document = ended(child)
    assert code == 130 and document["counts"]["waiting"] >= 1
    assert (
        ended(start(*words))[1]["counts"] == {"completed": 8}
        and len(posts(server)) == 8
    )


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", [0.2, 0.28, 0.35, 0.42, 0.5])
def test_an_interrupted_run_is_one_document_and_one_task_that_goes_on(
    world, server, number, code, moment
):
    server.faults.enable("slow-create", seconds=0.2)
    child = start("run", WORK)
    time.sleep(moment)
    child.send_signal(number)
    got, document = ended(child)
    assert got == code
    code, document = ended(start("run", WORK))
    assert (
        code == 0
        and document["answer"].split() == list("12345678")
        and len(posts(server)) == 1
    )


def test_the_first_interrupt_waits_for_a_start_in_flight_and_the_second_leaves_it_unknown(
    rebyte, server
):
    server.faults.enable("slow-create", seconds=1.0)
    child = start("create", "hello")
    owners = os.path.join(os.environ["REBYTE_STATE_DIR"], "owners")
    wait_until(lambda: os.path.exists(owners) and os.listdir(owners))
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    code, document = ended(child)
    assert code == 130 and document["workspaceId"]
    child = start("create", "another")
    time.sleep(0.6)
    child.send_signal(signal.SIGINT)
    time.sleep(0.15)
    child.send_signal(signal.SIGINT)
    code, document = ended(child)
    assert code == 8 and document["error"]["code"] == "outcome_unknown"
    assert rebyte("create", "another").code == 0
    wait_until(
        lambda: len(posts(server)) == 2
    )  # the slow one is in the log once it was answered


@pytest.mark.parametrize(
    "words", [("result", "--wait"), ("wait",), ("follow-up", "more " + WORK, "--wait")]
)
def test_other_waits_are_one_document_too(world, server, words):
    made = ended(start("create", WORK.replace("0.08", "0.4")))[1]["id"]
    child = start(words[0], made, *words[1:])
    time.sleep(0.5)
    child.send_signal(signal.SIGTERM)
    code, document = ended(child)
    assert code in (143, 8)


def test_a_service_that_goes_away_in_the_middle_is_told_with_the_task(
    world, tmp_path, monkeypatch
):
    with LocalServer(str(tmp_path / "gone")) as other:
        monkeypatch.setenv("REBYTE_BASE_URL", other.url)
        monkeypatch.setenv("REBYTE_API_KEY", other.key)
        child = start("run", WORK.replace("0.08", "1"), "--max-wait", "2")
        wait_until(lambda: posts(other))
        time.sleep(0.5)
    code, document = ended(child)
    assert code in (10, 75) and document["id"] and document["next"]


def test_a_wait_without_network_ends_inside_its_slice(world, server):
    made = ended(start("create", "hello"))[1]["id"]
    server.close()
    began = time.monotonic()
    for child in [
        start(*words, "--max-wait", "2")
        for words in (("result", made, "--wait"), ("wait", made), ("run", "other"))
    ]:
        code, document = ended(child)
        assert code in (10, 75) and ("error" in document or document.get("next"))
    assert time.monotonic() - began < 15


def test_two_identical_lines_at_once_are_one_task(world, server):
    server.faults.enable("slow-create", seconds=0.5)
    found = end_all([start("run", WORK) for _ in range(2)])
    assert (
        [code for code, _ in found] == [0, 0]
        and len({document["id"] for _, document in found}) == 1
        and len(posts(server)) == 1
    )


# The short version of pull_the_plug.py, and a single run killed at its every step.

PLUG_PROMPT = sh(
    "mkdir -p /code/artifacts\nfor n in 1 2 3; do echo step $n; sleep 0.1; done\nseq 1 200000 > /code/artifacts/n.csv"
)


def test_a_batch_killed_at_five_moments_starts_every_line_once():
    totals, wrong = pull(5, 8, 5, say=lambda text: None)
    assert wrong == [] and totals["killed"] >= 2


def test_dropped_answers_and_kills_together_start_every_line_once():
    totals, wrong = pull(3, 6, 3, ["drop-after-accept=3"], say=lambda text: None)
    assert wrong == []


def test_a_run_killed_at_any_moment_and_typed_again_is_one_task_and_delivers_it(
    tmp_path,
):
    moments = (0.2, 0.4, 0.7, 1.0, 1.3)
    with ThreadPoolExecutor(len(moments)) as pool:
        list(
            pool.map(lambda moment: kill_once(tmp_path / str(moment), moment), moments)
        )


def kill_once(tmp_path, moment):
    """Kill a run after so many seconds and type its line again."""
    tmp_path.mkdir()
    with LocalServer(str(tmp_path / "server")) as server:
        server.faults.enable("slow-create", seconds=0.3)
        environ = dict(
            os.environ,
            REBYTE_BASE_URL=server.url,
            REBYTE_API_KEY=server.key,
            REBYTE_STATE_DIR=str(tmp_path / "state"),
        )
        line = [
            sys.executable,
            DOOR,
            "run",
            PLUG_PROMPT,
            "--out",
            "out",
            "--max-wait",
            "40",
        ]
        child = subprocess.Popen(
            line,
            cwd=str(tmp_path),
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(moment)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        done = run_quietly(line, cwd=str(tmp_path), env=environ)
        if done.returncode == 8:
            # Killed between the intent and the first byte: only the caller may say that nothing
            # was started.
            assert not posts(server)
            done = run_quietly(line + ["--again"], cwd=str(tmp_path), env=environ)
        document = json.loads(done.stdout)
        assert (
            done.returncode == 0 and document["answer"] == "step 1\nstep 2\nstep 3"
        ), done
        if "workspaceId" in document:
            assert (
                (tmp_path / "out" / "files" / "n.csv").stat().st_size
                == document["files"][0]["bytes"]
                > 1_000_000
            )
        else:
            # The workspace is told once, in the answer that was lost with the kill.
            assert any("workspace" in text for text in document["warnings"])
        assert len(posts(server)) == 1


def test_a_line_of_which_something_is_missing_ends_with_nine_and_the_way_on(rebyte):
    rows = [{"once": "one", "prompt": echo("x")}, {"once": "two", "prompt": echo("y")}]
    rows[1]["want"] = ["a.csv"]
    ran = rebyte("batch", lines(*rows), "--out", "out")
    assert ran.code == 9 and ran["counts"] == {"completed": 2}, ran
    again = rebyte(*shlex.split(ran["next"][0]["run"])[2:])
    assert again.code == 9 and again["missing"] == ["a.csv"]


def test_a_batch_whose_results_cannot_be_written_does_not_end_well(rebyte, world):
    (world / "out" / "results.jsonl").mkdir(parents=True)
    ran = rebyte("batch", "--prompt", "a", "--out", "out")
    assert ran.code == 9 and "results.jsonl cannot be written" in ran["warnings"][0]
    ran = rebyte("wait", ran["tasks"][0]["id"], "--out", "out")
    assert ran.code == 9 and "results cannot be written" in ran.err
