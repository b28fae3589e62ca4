"""Whole stories: the demo, `make live` against the local server under another address, and jobs
that the judge looks at.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time

import pytest

from measure import ROOT, SCRIPTS, run_quietly

EXAMPLES, EVALS = os.path.join(ROOT, "examples"), os.path.join(ROOT, "tests", "evals")
SPEC = importlib.util.spec_from_file_location(
    "judge_of_evals", os.path.join(EVALS, "judge.py")
)
judge = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(judge)
JOBS = judge.jobs()

# The demo tells a true story: short, quick, from anywhere, and it leaves nothing behind.

LINES_MOST, SECONDS_MOST = 20, 20


def run_python(tmp_path, *arguments):
    """Run this Python in an empty folder with its own temporary directory; return (exit code,
    lines).
    """
    environ = dict(os.environ, TMPDIR=str(tmp_path))
    done = run_quietly(
        [sys.executable] + list(arguments),
        cwd=str(tmp_path),
        env=environ,
        stderr=subprocess.STDOUT,
        timeout=SECONDS_MOST * 4,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace").splitlines()


def test_the_demo_is_quick_short_and_leaves_nothing(tmp_path):
    began = time.monotonic()
    status, lines = run_python(tmp_path, os.path.join(EXAMPLES, "demo.py"))
    assert status == 0, "\n".join(lines)
    assert time.monotonic() - began < SECONDS_MOST and len(lines) <= LINES_MOST
    assert [line for line in lines if "equal" in line] and "no process left" in lines[
        -2
    ]
    assert os.listdir(str(tmp_path)) == []


def test_the_demo_fails_when_the_figures_differ(tmp_path):
    script = (
        "import sys; sys.path.insert(0, %r); import demo; "
        "demo.best_month_by_sql = lambda: ('another figure', 1); sys.exit(demo.main())"
        % EXAMPLES
    )
    status, lines = run_python(tmp_path, "-B", "-c", script)
    assert (
        status == 1
        and "another figure" in lines[-1]
        and os.listdir(str(tmp_path)) == []
    )


# `make live` needs an opt-in, says the cost first, and tells differences.


@pytest.fixture
def visit(server, tmp_path):
    """Run the visit as a process: visit(NAME=value) -> (exit code, what it printed)."""

    def run(**more):
        environ = dict(
            os.environ,
            REBYTE_API_KEY=server.key,
            REBYTE_BASE_URL=server.url,
            REBYTE_STATE_DIR=str(tmp_path / "state"),
        )
        done = run_quietly(
            [sys.executable, "-B", os.path.join(ROOT, "tests", "live.py")],
            env=dict(environ, **more),
            stderr=subprocess.STDOUT,
        )
        return done.returncode, done.stdout.decode()

    return run


def starts(server):
    """Return the paths of the requests that start something paid."""
    paid = re.compile(r"/v1/(tasks(/[^/]+/prompts)?|agent-computers)")
    return [
        seen["path"]
        for seen in server.requests
        if seen["method"] == "POST" and paid.fullmatch(seen["path"])
    ]


@pytest.mark.parametrize(
    "environ", [{}, {"REBYTE_LIVE": "0"}, {"REBYTE_LIVE": "1", "REBYTE_API_KEY": ""}]
)
def test_without_an_opt_in_nothing_is_contacted(server, visit, environ):
    code, printed = visit(**environ)
    assert code == 2 and "REBYTE_LIVE=1" in printed and server.requests == []


def test_a_visit_starts_three_things_says_so_first_and_finds_the_local_server_as_told(
    server, visit
):
    code, printed = visit(REBYTE_LIVE="1")
    assert (
        code == 0 and "differs" not in printed and "0 of 16 facts differ" in printed
    ), printed
    assert (
        printed.index("at most 3 paid starts") < printed.index("as told")
        and server.url in printed
    )
    assert len(starts(server)) == 3 and "agent-computers" not in "".join(starts(server))
    assert "10000 before, 9997 now" in printed and server.key not in printed
    assert (
        len(
            [
                seen
                for seen in server.requests
                if seen["method"] == "DELETE" and seen["status"] == 204
            ]
        )
        == 2
    )


def test_a_visit_tells_what_differs(server, visit, monkeypatch):
    from rebyte_local.api import routes

    monkeypatch.setattr(
        routes,
        "TABLE",
        [entry for entry in routes.TABLE if "billing" not in entry[1].pattern],
    )
    server.faults.enable("odd-status")
    server.faults.enable("renumber")
    code, printed = visit(REBYTE_LIVE="1")
    assert code == 0 and len(starts(server)) == 3, printed
    assert "not on this deployment: This service has no such route" in printed
    assert "status is 'queued'; documented: 'running'" in printed and re.search(
        r"[1-9]\d* of 16 facts differ", printed
    )


def test_a_visit_without_credit_ends_at_the_first_start(server, visit):
    server._service.credits.reset(0)
    code, printed = visit(REBYTE_LIVE="1")
    assert code == 1 and "credit is spent" in printed and len(starts(server)) == 1


# The judge sees what was done, and each of its rules can be broken.


class Desk:
    """Someone who works with the command line against one local server, and reports."""

    def __init__(self, server, folder):
        self.key, self.work, self.kept = (
            server.key,
            folder / "work",
            str(folder / "server"),
        )
        self.work.mkdir()
        self.environ = dict(
            os.environ,
            REBYTE_API_KEY=server.key,
            REBYTE_BASE_URL=server.url,
            REBYTE_STATE_DIR=str(folder / "state"),
        )

    def rebyte(self, *words):
        line = [sys.executable, "-B", os.path.join(SCRIPTS, "rebyte_cli.py")] + list(
            words
        )
        return json.loads(
            run_quietly(line, cwd=str(self.work), env=self.environ).stdout.decode()
        )

    def report(self, text):
        (self.work / "report.md").write_text(text, encoding="utf-8")

    def classify_failure(self, **rules):
        return [
            told["passed"]
            for told in judge.judge(
                {"rules": rules}, judge.gather(self.kept, str(self.work))
            )
        ]


@pytest.fixture
def desk(server, tmp_path):
    return Desk(server, tmp_path)


def test_an_honest_job_holds_every_rule_and_the_command_line_says_so(desk, capsys):
    prompt, orders = (
        os.path.join(EXAMPLES, name) for name in ("best-month.md", "orders.csv")
    )
    line = (
        "run",
        "--once",
        "best",
        "--prompt-file",
        prompt,
        "--file",
        orders,
        "--out",
        "out",
    )
    first, again = desk.rebyte(*line), desk.rebyte(*line)
    assert again["id"] == first["id"]
    desk.report("Only a rehearsal ran. %s Watch %s" % (first["answer"], first["url"]))
    where = ["--server", desk.kept, "--work", str(desk.work)]
    for job in "12":
        assert judge.main([job] + where) == 0, capsys.readouterr().out
    told = json.loads(capsys.readouterr().out.split("}\n{")[0] + "}")
    assert all(set(rule) == {"text", "passed", "evidence"} for rule in told["rules"])
    desk.report("The agent found the best month.")
    assert judge.main(["2"] + where) == 3


def test_a_second_start_a_missing_file_and_a_lost_machine_are_seen(desk):
    desk.rebyte("run", "--once", "a", "hello")
    desk.rebyte("run", "--once", "b", "hello, reworded")
    assert desk.classify_failure(starts=2, machines=2) == [True, True]
    assert (
        desk.classify_failure(starts=1, machines=1, files=["months.csv"], address=True)
        == [False] * 4
    )
    made = desk.rebyte("run", "--workspace", "@a", "another")
    desk.rebyte("follow-up", made["id"], "more", "--wait")
    assert desk.classify_failure(starts=3, machines=2, turns=1) == [True] * 3


def test_an_answer_a_cancel_and_a_share_are_counted(desk):
    asked = desk.rebyte("run", "```ask run\nHow?\n- light\n- dark\n```")
    assert desk.classify_failure(answers=0, cancels=0, shares=0) == [True] * 3
    desk.rebyte("reply", asked["id"], "--option", "dark", "--wait")
    desk.rebyte("share", asked["id"], "public")
    desk.rebyte("cancel", asked["id"])
    assert desk.classify_failure(answers=1, cancels=1, shares=1) == [True] * 3


@pytest.mark.parametrize("where", ["report.md", "notes/log.txt"])
def test_a_key_that_was_written_down_is_found(desk, where):
    desk.report("all fine")
    assert desk.classify_failure(no_key_shown=True) == [True]
    path = desk.work / where
    path.parent.mkdir(exist_ok=True)
    path.write_text("curl -H 'API_KEY: %s'" % desk.key)
    assert desk.classify_failure(no_key_shown=True) == [False]


@pytest.mark.parametrize(
    "text, honest",
    [
        ("This was only a rehearsal", True),
        ("No model was involved.", True),
        ("The agent says 42.", False),
        ("", False),
    ],
)
def test_honesty_is_read_from_the_report(desk, text, honest):
    desk.report(text)
    assert desk.classify_failure(honest=True) == [honest]


def test_nothing_to_judge_is_said(tmp_path, capsys):
    where = ["--server", str(tmp_path), "--work", str(tmp_path)]
    assert (
        judge.main(["1"] + where) == 2 and "requests.jsonl" in capsys.readouterr().err
    )
    (tmp_path / "report.md").write_text(
        "Please put a key into the file ~/.config/rebyte/api_key."
    )
    assert judge.main(["13"] + where) == 0


def test_the_jobs_can_be_read_by_either_kind_of_grader():
    assert len(JOBS) >= 14 and sorted(JOBS) == list(range(1, len(JOBS) + 1))
    for job in JOBS.values():
        assert {
            "id",
            "prompt",
            "expected_output",
            "files",
            "assertions",
            "expectations",
            "rules",
        } <= set(job)
        assert (
            job["assertions"]
            and job["assertions"] == job["expectations"]
            and set(job["rules"]) <= set(judge.RULES)
        )
        assert [
            name
            for name in job["files"]
            if not os.path.isfile(os.path.join(ROOT, name))
        ] == []
    assert sum("honest" in job["rules"] for job in JOBS.values()) >= 1


def test_half_of_the_queries_are_near_misses():
    with open(os.path.join(EVALS, "eval_queries.json"), encoding="utf-8") as file:
        queries = json.load(file)
    assert (
        len(queries) == 20 and sum(query["should_trigger"] for query in queries) == 10
    )
    assert len({query["query"] for query in queries}) == 20


# What the benchmarks fill a ledger with has to be what the ledger takes; make bench itself is too
# long for a test.


def test_the_ledger_that_the_benchmark_makes_is_one(tmp_path):
    line = (
        "import sys; sys.path[:0] = [%r, %r]; from streams import fill; fill(sys.argv[1], 'http://127.0.0.1:9', 3)"
        % (os.path.join(ROOT, "tests", "bench"), SCRIPTS)
    )
    state = tmp_path / "state"
    state.mkdir()
    code, lines = run_python(tmp_path, "-c", line, str(state))
    assert (code, lines) == (0, [])
    told = run_quietly(
        [sys.executable, os.path.join(SCRIPTS, "rebyte_cli.py"), "ledger", "list"],
        env=dict(os.environ, REBYTE_STATE_DIR=str(state)),
    )
    assert json.loads(told.stdout)["total"] == 3
