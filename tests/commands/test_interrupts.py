"""Interrupted, cut off or out of time: exactly one document, the right exit code, and one task."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from rebyte_local.server import LocalServer

from .conftest import DOOR, creates

WORK = "```bash run\nfor n in 1 2 3 4 5 6 7 8; do echo $n; sleep 0.1; done\n```"


def start(*words):
    return subprocess.Popen([sys.executable, DOOR] + list(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended(child):
    out, err = child.communicate(timeout=60)
    assert b"Traceback" not in err, err
    if child.returncode < 0 and not out and not err:
        pytest.skip("the signal came before the interpreter had begun")
    lines = out.decode("ascii").splitlines()
    assert len(lines) == 1, (lines, err)
    return child.returncode, json.loads(lines[0])


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", [0.25, 0.4, 0.55, 0.7, 0.9])
def test_an_interrupted_run_is_one_document_and_one_task_that_goes_on(world, server, number, code, moment):
    server.faults.enable("slow-create", seconds=0.3)
    child = start("run", WORK)
    time.sleep(moment)
    child.send_signal(number)
    got, document = ended(child)
    assert got == code
    code, document = ended(start("run", WORK))
    assert code == 0 and document["answer"].split() == list("12345678") and len(creates(server)) == 1


def test_the_first_interrupt_waits_for_a_start_in_flight_and_the_second_leaves_it_unknown(world, server):
    server.faults.enable("slow-create", seconds=1.5)
    child = start("create", "hello")
    while not os.path.exists(os.path.join(os.environ["REBYTE_STATE_DIR"], "owners")) or not os.listdir(os.path.join(os.environ["REBYTE_STATE_DIR"], "owners")):
        time.sleep(0.01)
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    code, document = ended(child)
    assert code == 130 and document["workspaceId"]
    child = start("create", "another")
    time.sleep(0.9)
    child.send_signal(signal.SIGINT)
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    code, document = ended(child)
    assert code == 8 and document["error"]["code"] == "outcome_unknown"
    code, document = ended(start("create", "another"))
    assert code == 0 and len(creates(server)) == 2


@pytest.mark.parametrize("words", [("result", "--wait"), ("wait",), ("follow-up", "more " + WORK, "--wait")])
def test_other_waits_are_one_document_too(world, server, words):
    made = ended(start("create", WORK.replace("0.1", "0.4")))[1]["id"]
    child = start(words[0], made, *words[1:])
    time.sleep(0.9)
    child.send_signal(signal.SIGTERM)
    code, document = ended(child)
    assert code in (143, 8)


def test_a_service_that_goes_away_in_the_middle_is_told_with_the_task(world, tmp_path, monkeypatch):
    with LocalServer(str(tmp_path / "gone")) as other:
        monkeypatch.setenv("REBYTE_BASE_URL", other.url)
        monkeypatch.setenv("REBYTE_API_KEY", other.key)
        child = start("run", WORK.replace("0.1", "1"), "--max-wait", "4")
        while not creates(other):
            time.sleep(0.01)
        time.sleep(0.5)
    code, document = ended(child)
    assert code in (10, 75) and document["id"] and document["next"]


def test_a_wait_without_network_ends_inside_its_slice(world, server):
    made = ended(start("create", "hello"))[1]["id"]
    server.close()
    began = time.monotonic()
    for words in (("result", made, "--wait"), ("wait", made), ("run", "other")):
        code, document = ended(start(*words, "--max-wait", "2"))
        assert code in (10, 75) and ("error" in document or document.get("next"))
    assert time.monotonic() - began < 15


def test_two_identical_lines_at_once_are_one_task(world, server):
    server.faults.enable("slow-create", seconds=0.5)
    children = [start("run", WORK) for _ in range(2)]
    found = []
    threads = [threading.Thread(target=lambda child=child: found.append(ended(child))) for child in children]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [code for code, _ in found] == [0, 0] and len({document["id"] for _, document in found}) == 1 and len(creates(server)) == 1
