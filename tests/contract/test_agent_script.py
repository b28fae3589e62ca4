"""The script of `make agents`: it shows what it says, and fails where a program does not do it."""

from __future__ import annotations

import os
import sys

from agent_programs import make_programs
from measure import ROOT, run_quietly

SCRIPT = os.path.join(ROOT, "tests", "agents.py")


def show(tmp_path, *words):
    """Run the script with programs of ours; return (exit code, what it printed)."""
    environ = make_programs(tmp_path / "programs", ("claude", "codex"))
    binaries = environ["PATH"].split(os.pathsep)[0]
    line = [sys.executable, SCRIPT, *words, "--bin", binaries]
    done = run_quietly(line, env=dict(os.environ, HOME=environ["HOME"]))
    return done.returncode, done.stdout.decode()


def test_it_shows_the_cases_that_a_program_does(tmp_path):
    code, text = show(tmp_path, "claude", "--cases", "work,cancel")
    assert code == 0, text
    assert "| claude | work | " in text and "| claude | cancel | gone after " in text


def test_it_fails_where_a_program_does_not_go_on_with_its_conversation(tmp_path):
    code, text = show(tmp_path, "codex", "--cases", "follow_up")
    assert code == 1 and "FAILED" in text
