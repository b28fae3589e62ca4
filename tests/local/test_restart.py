"""The process around the local server: starting, ending, restarting."""

from __future__ import annotations

import http.client
import json
import os
import signal
import stat

import pytest

from rebyte_local.server import FolderInUse, LocalServer


def test_serve_says_where_it_is_in_one_line_and_in_a_file(spawn, folder):
    process, api = spawn(faults=["odd-status"])
    path = os.path.join(folder, "server.json")
    with open(path, encoding="utf-8") as file:
        assert json.load(file) == api.facts
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert set(api.facts) == {
        "url",
        "baseUrl",
        "pageUrl",
        "key",
        "pid",
        "startedAt",
        "faults",
        "agents",
        "programs",
        "flags",
    }
    assert api.facts["pid"] == process.pid and api.facts["baseUrl"] == api.url + "/v1"
    assert (
        api.facts["faults"] == ["odd-status"]
        and api.send("GET", "/health").status == 200
    )
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, b"", b"") and not os.path.exists(path)


def test_a_second_server_on_the_same_folder_is_refused(spawn, folder):
    _, api = spawn()
    second, _ = spawn()
    assert (
        second.wait(20) == 1
        and b"another local server has the folder" in second.stderr.read()
    )
    with pytest.raises(FolderInUse):
        LocalServer(folder).start()
    assert (
        os.path.exists(os.path.join(folder, "server.json"))
        and api.send("GET", "/health").status == 200
    )


@pytest.mark.parametrize(
    "number,first", [(signal.SIGTERM, "trap '' TERM"), (signal.SIGINT, "true")]
)
def test_a_signal_ends_the_server_and_all_process_groups(spawn, number, first):
    process, api = spawn()
    pid = api.first_output(
        api.create(
            api.fence("bash", first, "sleep 61 & echo $!", "wait; wait; sleep 60")
        )["id"]
    )
    process.send_signal(number)
    assert process.wait(20) == 0
    api.wait_for_end_of(pid)


def test_what_was_answered_before_a_kill_is_there_after_it(spawn):
    process, api = spawn()
    done_task, events, done = api.run(api.sh("echo answer; echo 1 > artifacts/a.csv"))
    slot = api.post("/files", {"filename": "f.txt"}).json
    api.send(
        "PUT",
        slot["uploadUrl"],
        b"content",
        {"Content-Type": "application/octet-stream"},
    )
    running = api.create(api.sh("echo $$; exec sleep 60"))["id"]
    pid = api.first_output(running)
    waiting = api.follow_up(running, api.sh("echo after")).json
    created = [api.create("task %d" % number)["id"] for number in range(30)]
    process.kill()
    process.wait(20)
    _, again = spawn()
    assert (again.key, again.url) == (api.key, api.url)
    assert again.stream(done_task["id"])[:2] == (events, done)
    assert (
        again.api(
            "GET", "/workspaces/%s/artifacts/a.csv" % done_task["workspaceId"]
        ).body
        == b"1\n"
    )
    assert [task["id"] for task in again.get("/tasks")["data"]] == created[::-1] + [
        running,
        done_task["id"],
    ]
    assert {again.finish(task_id)["status"] for task_id in created} <= {
        "completed",
        "failed",
    }
    assert again.stream(running)[1]["finalResult"] == "after"
    prompts = again.get("/tasks/" + running)["prompts"]
    assert [
        (prompt["id"] == waiting["promptId"], prompt["status"]) for prompt in prompts
    ] == [
        (True, "succeeded"),
        (False, "failed"),
    ]
    told = again.get("/tasks/%s/prompts/%s/events" % (running, prompts[1]["id"]))[
        "events"
    ]
    assert "stopped while this prompt ran" in again.words(told)[-1]
    again.wait_for_end_of(pid)
    assert (
        again.result(
            again.sh("cat f.txt"), files=[{"id": slot["id"], "filename": "f.txt"}]
        )
        == "content"
    )


def test_closing_ends_what_runs_and_says_so_after_and_what_waited_runs(start):
    api = start(width=1)
    task = api.create(api.sh("echo $$; sleep 60"))
    pid = api.first_output(task["id"])
    waiting = api.create("x")["id"]
    cut = api.open_stream(waiting)
    api.server.close()
    with pytest.raises(http.client.IncompleteRead) as broken:
        cut.read()
    assert b"event: " not in broken.value.partial
    api.server.close()
    api.wait_for_end_of(pid)
    again = start()
    events, done, _ = again.stream(task["id"])
    assert done["status"] == "failed" and "stopped while" in again.words(events)[-1]
    assert (again.key, again.url) == (api.key, api.url)
    assert again.finish(waiting)["status"] == "completed"


def test_a_key_or_port_may_be_given(start):
    api = start(key="rbk_mine")
    assert api.key == "rbk_mine" and api.api("GET", "/tasks").status == 200
    api.server.close()
    assert start().key == "rbk_mine"


def test_it_ends_by_itself_when_idle_but_not_while_something_runs(spawn, folder):
    process, api = spawn(idle_seconds=0.2)
    task = api.create(api.sh("sleep 0.7; echo late"))
    assert process.wait(20) == 0
    assert not os.path.exists(os.path.join(folder, "server.json"))
    _, again = spawn()
    assert again.stream(task["id"])[1]["finalResult"] == "late"


def test_a_server_that_cannot_start_says_why_in_one_line(spawn, folder, tmp_path):
    with LocalServer(tmp_path / "other") as other:
        taken, _ = spawn(port=int(other.url.rpartition(":")[2]))
    wrong, _ = spawn(faults=["no-such-fault"])
    assert wrong.wait(20) == 2
    with open(os.path.join(folder, "state.sqlite"), "wb") as file:
        file.write(b"this is no database" * 100)
    broken, _ = spawn()
    assert taken.wait(20) == broken.wait(20) == 1
    for process, words in (
        (taken, b"in use"),
        (wrong, b"no-such-fault"),
        (broken, b"not a database"),
    ):
        text = process.stderr.read()
        assert (
            text.count(b"\n") == 1
            and text.startswith(b"local server: ")
            and words in text
        )
    assert not os.path.exists(os.path.join(folder, "server.json"))
