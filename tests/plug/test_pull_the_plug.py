"""The short version of pull_the_plug.py, and a single run killed at its every step."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from rebyte_local.server import LocalServer

from .pull_the_plug import DOOR, pull

PROMPT = "Work.\n```bash run\nmkdir -p /code/artifacts\nfor n in 1 2 3; do echo step $n; sleep 0.1; done\nseq 1 200000 > /code/artifacts/n.csv\n```"


def test_a_batch_killed_at_five_moments_starts_every_line_once():
    totals, wrong = pull(5, 8, 5, say=lambda text: None)
    assert wrong == [] and totals["killed"] >= 2


def test_dropped_answers_and_kills_together_start_every_line_once():
    totals, wrong = pull(3, 6, 3, ["drop-after-accept=3"], say=lambda text: None)
    assert wrong == []


@pytest.mark.parametrize("moment", [0.2, 0.4, 0.7, 1.0, 1.3])
def test_a_run_killed_at_any_moment_and_typed_again_is_one_task_and_delivers_it(tmp_path, moment):
    with LocalServer(str(tmp_path / "server")) as server:
        server.faults.enable("slow-create", seconds=0.3)
        environ = dict(os.environ, REBYTE_BASE_URL=server.url, REBYTE_API_KEY=server.key, REBYTE_STATE_DIR=str(tmp_path / "state"))
        line = [sys.executable, DOOR, "run", PROMPT, "--out", "out", "--max-wait", "40"]
        child = subprocess.Popen(line, cwd=str(tmp_path), env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(moment)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        done = subprocess.run(line, cwd=str(tmp_path), env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode == 8:
            # Killed between the intent and the first byte: only the caller may say that nothing was started.
            assert not [seen for seen in server.requests if seen["path"] == "/v1/tasks" and seen["method"] == "POST"]
            done = subprocess.run(line + ["--again"], cwd=str(tmp_path), env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        document = json.loads(done.stdout)
        assert done.returncode == 0 and document["answer"] == "step 1\nstep 2\nstep 3", done
        if "workspaceId" in document:
            assert (tmp_path / "out" / "files" / "n.csv").stat().st_size == document["files"][0]["bytes"] > 1_000_000
        else:
            # The workspace is told once, in the answer that was lost with the kill.
            assert any("workspace" in text for text in document["warnings"])
        starts = [seen for seen in server.requests if seen["path"] == "/v1/tasks" and seen["method"] == "POST"]
        assert len(starts) == 1
