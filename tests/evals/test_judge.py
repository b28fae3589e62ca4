"""The judge sees what was done, and each of its rules can be broken."""
from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from rebyte_local.server import LocalServer

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SPEC = importlib.util.spec_from_file_location("judge_of_evals", os.path.join(HERE, "judge.py"))
judge = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(judge)
JOBS = judge.jobs()


class Desk:
    """Someone who works with the command line against one local server, and reports."""

    def __init__(self, server, folder):
        self.server, self.work, self.kept = server, folder / "work", str(folder / "server")
        self.work.mkdir()
        self.environ = dict(os.environ, REBYTE_API_KEY=server.key, REBYTE_BASE_URL=server.url, REBYTE_STATE_DIR=str(folder / "state"))

    def rebyte(self, *words):
        done = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "scripts", "rebyte_cli.py")] + list(words), cwd=str(self.work),
                              env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        return json.loads(done.stdout.decode())

    def report(self, text):
        (self.work / "report.md").write_text(text, encoding="utf-8")

    def verdict(self, rules):
        seen = judge.gather(self.kept, str(self.work))
        return [told["passed"] for told in judge.judge({"rules": rules}, seen)]


@pytest.fixture
def desk(tmp_path):
    with LocalServer(str(tmp_path / "server")) as server:
        yield Desk(server, tmp_path)


def test_an_honest_job_holds_every_rule_and_the_command_line_says_so(desk, tmp_path, capsys):
    line = ("run", "--once", "best", "--prompt-file", os.path.join(ROOT, "examples", "best-month.md"), "--file",
            os.path.join(ROOT, "examples", "orders.csv"), "--out", "out")
    first, again = desk.rebyte(*line), desk.rebyte(*line)
    assert again["id"] == first["id"]
    desk.report("Only a rehearsal ran. %s Watch %s" % (first["answer"], first["url"]))
    server = desk.kept
    for job in (1, 2):
        assert judge.main([str(job), "--server", server, "--work", str(desk.work)]) == 0, capsys.readouterr().out
    told = json.loads(capsys.readouterr().out.split("}\n{")[0] + "}")
    assert all(set(rule) == {"text", "passed", "evidence"} for rule in told["rules"])
    desk.report("The agent found the best month.")
    assert judge.main(["2", "--server", server, "--work", str(desk.work)]) == 3


def test_a_second_start_a_missing_file_and_a_lost_machine_are_seen(desk):
    desk.rebyte("run", "--once", "a", "hello")
    desk.rebyte("run", "--once", "b", "hello, reworded")
    assert desk.verdict({"starts": 2, "machines": 2}) == [True, True]
    assert desk.verdict({"starts": 1, "machines": 1, "files": ["months.csv"], "address": True}) == [False] * 4
    made = desk.rebyte("run", "--workspace", "@a", "another")
    desk.rebyte("follow-up", made["id"], "more", "--wait")
    assert desk.verdict({"starts": 3, "machines": 2, "turns": 1}) == [True] * 3


def test_an_answer_a_cancel_and_a_share_are_counted(desk):
    asked = desk.rebyte("run", "```ask run\nHow?\n- light\n- dark\n```")
    assert desk.verdict({"answers": 0, "cancels": 0, "shares": 0}) == [True] * 3
    desk.rebyte("reply", asked["id"], "--option", "dark", "--wait")
    desk.rebyte("share", asked["id"], "public")
    desk.rebyte("cancel", asked["id"])
    assert desk.verdict({"answers": 1, "cancels": 1, "shares": 1}) == [True] * 3


@pytest.mark.parametrize("where", ["report.md", "notes/log.txt"])
def test_a_key_that_was_written_down_is_found(desk, where):
    desk.rebyte("create", "hello")
    desk.report("all fine")
    assert desk.verdict({"no_key_shown": True}) == [True]
    path = desk.work / where
    path.parent.mkdir(exist_ok=True)
    path.write_text("curl -H 'API_KEY: %s'" % desk.server.key)
    assert desk.verdict({"no_key_shown": True}) == [False]


@pytest.mark.parametrize("text, honest", [("This was only a rehearsal", True), ("No model was involved.", True), ("The agent says 42.", False), ("", False)])
def test_honesty_is_read_from_the_report(desk, text, honest):
    desk.rebyte("create", "hello")
    desk.report(text)
    assert desk.verdict({"honest": True}) == [honest]


def test_nothing_to_judge_is_said(tmp_path, capsys):
    assert judge.main(["1", "--server", str(tmp_path), "--work", str(tmp_path)]) == 2
    assert "requests.jsonl" in capsys.readouterr().err
    (tmp_path / "report.md").write_text("Please put a key into the file ~/.config/rebyte/api_key.")
    assert judge.main(["13", "--server", str(tmp_path), "--work", str(tmp_path)]) == 0


def test_the_jobs_can_be_read_by_either_kind_of_grader():
    assert len(JOBS) >= 14 and sorted(JOBS) == list(range(1, len(JOBS) + 1))
    for job in JOBS.values():
        assert {"id", "prompt", "expected_output", "files", "assertions", "expectations", "rules"} <= set(job)
        assert job["assertions"] and job["assertions"] == job["expectations"] and set(job["rules"]) <= set(judge.RULES)
        assert [name for name in job["files"] if not os.path.isfile(os.path.join(ROOT, name))] == []
    assert sum("honest" in job["rules"] for job in JOBS.values()) >= 1


def test_half_of_the_queries_are_near_misses():
    with open(os.path.join(HERE, "eval_queries.json"), encoding="utf-8") as file:
        queries = json.load(file)
    assert len(queries) == 20 and sum(query["should_trigger"] for query in queries) == 10
    assert len({query["query"] for query in queries}) == 20
