"""What a prompt cannot do to the person's files, to later turns, to the server and to the disk."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sqlite3

import pytest

from rebyte_local.server import FolderInUse, LocalServer
from rebyte_local.storage.database import Database

MINIMAL = "env={'PATH': os.environ['PATH']}"  # of a process that drops the mark


@pytest.fixture
def docs(tmp_path):
    """A folder of the person's own with a file of a kind that the store takes."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "thesis.pdf").write_text("years of work")
    return folder


def listed(api, task):
    """The names in the store of a task's workspace."""
    data = api.get("/workspaces/%s/artifacts" % task["workspaceId"])["data"]
    return [item["name"] for item in data]


def test_a_link_in_place_of_the_artifacts_folder_is_neither_published_nor_deleted_through(
    api, docs
):
    link = api.sh("rm -r artifacts", "ln -s %s artifacts" % docs)
    task, events, done = api.run(api.sh("echo 1 > artifacts/thesis.pdf"))
    assert done["status"] == "succeeded" and listed(api, task) == ["thesis.pdf"]
    _, events, done = api.run(link, workspaceId=task["workspaceId"])
    assert (
        done["status"] == "succeeded"
        and "no longer a folder" in api.words(events, "stderr")[0]
    )
    store = "/workspaces/%s/artifacts" % task["workspaceId"]
    assert api.api("GET", store + "/thesis.pdf").body == b"1\n"
    assert api.delete(store + "/thesis.pdf") == 204 == api.delete(store)
    assert (docs / "thesis.pdf").read_text() == "years of work"


def test_a_file_beside_the_store_is_not_taken_for_what_a_link_leads_to(api, docs):
    task, _, _ = api.run(api.sh("rm -r artifacts", "ln -s %s artifacts" % docs))
    store = "/workspaces/%s/artifacts" % task["workspaceId"]
    slots = api.post(store + "/upload-url", {"files": [{"name": "thesis.pdf"}]}).json[
        "files"
    ]
    put = {"Content-Type": "application/octet-stream"}
    assert api.send("PUT", slots[0]["uploadUrl"], b"mine", put).status == 200
    artifacts = api.server._service.artifacts
    assert artifacts.find(task["workspaceId"], "thesis.pdf")["source"] is None


def test_a_workspace_that_was_replaced_by_a_link_is_not_written_to(api, docs):
    task, _, _ = api.run(api.sh('rm -r "$HOME"', 'ln -s %s "$HOME"' % docs))
    _, _, done = api.run("x", workspaceId=task["workspaceId"])
    assert done["status"] == "failed" and "replaced by a link" in done["finalResult"]
    assert os.listdir(str(docs)) == ["thesis.pdf"] and listed(api, task) == []


def test_skills_are_not_copied_through_a_link(start, tmp_path, docs):
    (tmp_path / "skills" / "pdf").mkdir(parents=True)
    api = start(skills=str(tmp_path / "skills"))
    task, _, _ = api.run(api.sh("ln -s %s .skills" % docs))
    _, events, _ = api.run("x", workspaceId=task["workspaceId"], skills=["pdf"])
    assert "is a link" in api.words(events, "stderr")[0] and os.listdir(str(docs)) == [
        "thesis.pdf"
    ]


@pytest.mark.parametrize("left", ["touch artifacts", "ln -s nowhere artifacts"])
def test_what_lies_in_place_of_the_artifacts_folder_stops_no_later_turn(api, left):
    task, _, done = api.run(api.sh("rmdir artifacts", left))
    assert done["status"] == "succeeded"
    assert (
        api.result(api.sh("echo went on"), workspaceId=task["workspaceId"]) == "went on"
    )


def test_a_type_folded_over_lines_is_kept_as_one_line(api):
    task, _, _ = api.run("x")
    store = "/workspaces/%s/artifacts" % task["workspaceId"]
    form = (
        '--b\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n'
        "Content-Type: text/csv;\r\n X-Injected: yes\r\n\r\n1\r\n--b--\r\n"
    )
    assert (
        api.post(
            store, form, {"Content-Type": "multipart/form-data; boundary=b"}
        ).status
        == 201
    )
    reply = api.api("GET", store + "/a.csv")
    assert reply.headers["Content-Type"] == "text/csv; X-Injected: yes"
    assert "X-Injected" not in reply.headers


def test_a_type_that_is_none_falls_back_to_that_of_the_name(api):
    task, _, _ = api.run("x")
    store = "/workspaces/%s/artifacts" % task["workspaceId"]
    head = '--b\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n'
    form = head + "Content-Type: nonsense\r\n\r\n1\r\n--b--\r\n"
    reply = api.post(store, form, {"Content-Type": "multipart/form-data; boundary=b"})
    assert reply.json["uploaded"] == [
        {"name": "a.csv", "size": 1, "contentType": "text/csv"}
    ]


# What leaves its process group is ended too.

LEAVERS = {
    "a session of its own": "import subprocess\n"
    "print(subprocess.Popen(['sleep', '61'], start_new_session=True, stdout=-3, stderr=-3).pid)",
    "a double fork": "import os, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        print(os.getpid(), flush=True)\n"
    "        os.close(1), os.close(2)\n"
    "        time.sleep(61)\n"
    "    os._exit(0)\n"
    "os.wait()",
}


@pytest.mark.parametrize("leaver", LEAVERS.values(), ids=list(LEAVERS))
def test_what_left_the_group_of_a_fence_is_ended_with_it(api, leaver):
    api.wait_for_end_of(api.result(api.fence("python", leaver)))


@pytest.mark.parametrize("leaver", LEAVERS.values(), ids=list(LEAVERS))
@pytest.mark.parametrize("end", ["cancel", "delete", "close"])
def test_what_left_the_group_is_ended_by(api, leaver, end):
    task_id = api.create(api.fence("python", leaver, "import time; time.sleep(62)"))[
        "id"
    ]
    pid = api.first_output(task_id)
    assert api.is_alive(pid)
    if end == "cancel":
        api.cancel(task_id)
    elif end == "delete":
        api.delete("/tasks/" + task_id)
    else:
        api.server.close()
    api.wait_for_end_of(pid)


def test_what_left_the_group_is_ended_by_a_restart_after_a_kill(spawn):
    process, api = spawn()
    leaver = LEAVERS["a session of its own"]
    pid = api.first_output(
        api.create(api.fence("python", leaver, "import time; time.sleep(62)"))["id"]
    )
    process.kill()
    process.wait(20)
    assert api.is_alive(pid)
    _, again = spawn()
    again.wait_for_end_of(pid)


def test_what_drops_its_mark_and_holds_the_pipes_is_not_waited_for(api, monkeypatch):
    monkeypatch.setattr("rebyte_local.execution.processes.GRACE_SECONDS", 0.2)
    start = (
        "print(subprocess.Popen(['sleep', '60'], start_new_session=True, %s).pid)"
        % MINIMAL
    )
    pid = int(api.result(api.fence("python", "import os, subprocess", start)))
    assert api.is_alive(pid)
    os.kill(pid, signal.SIGKILL)


# A full disk.


@pytest.fixture
def full(api):
    """full(): from now on the database can grow by a few pages only, as on a full disk."""
    connection = api.server._service.database._connection

    def fill():
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute("PRAGMA max_page_count=%d" % (pages + 8))

    yield fill
    connection.execute("PRAGMA max_page_count=1000000")


def test_a_full_disk_fails_the_task_and_leaves_the_server_working(api, full):
    before = api.create("before")["id"]
    api.finish(before)
    full()
    flood = "import sys\nfor i in range(300): print('x' * 50000)\nimport time; time.sleep(60)"
    task = api.create(api.fence("python", flood))["id"]
    api.wait_until(lambda: api.get("/tasks/" + task)["status"] == "failed")
    assert "full" in api.get("/tasks/%s/content" % task)["prompts"][0]["response"]
    assert api.get("/tasks/" + before)["status"] == "completed"
    assert api.server._service.runner.is_busy is False


def test_an_end_that_cannot_be_kept_is_kept_when_there_is_room_again(api, monkeypatch):
    monkeypatch.setattr("rebyte_local.execution.runner.RETRY_SECONDS", 0.02)
    tries, transaction = [], Database.transaction

    def sometimes(database):
        tries.append(1)
        if len(tries) < 12:
            raise sqlite3.OperationalError("database or disk is full")
        return transaction(database)

    task = api.create(api.sh("sleep 0.2; echo here"))["id"]
    api.wait_until(
        lambda: api.get("/tasks/%s" % task)["prompts"][0]["status"] == "running"
    )
    monkeypatch.setattr(Database, "transaction", sometimes)
    api.wait_until(lambda: api.get("/tasks/" + task)["status"] == "failed")
    assert len(tries) >= 12


def test_a_cancel_gives_up_the_reserve_for_its_place_on_a_full_disk(
    api, folder, monkeypatch
):
    task = api.create(api.sh("echo here; sleep 60"))["id"]
    api.first_output(task)
    reserve = os.path.join(folder, "reserve")
    transaction = Database.transaction

    def only_without_reserve(database):
        if os.path.exists(reserve):
            raise sqlite3.OperationalError("database or disk is full")
        return transaction(database)

    assert os.path.getsize(reserve) == 1024 * 1024
    with monkeypatch.context() as patch:
        patch.setattr(Database, "transaction", only_without_reserve)
        assert api.cancel(task) == {
            "id": task,
            "status": "canceled",
            "canceledPrompts": 1,
        }
        assert not os.path.exists(reserve)
    api.run("x")
    assert os.path.exists(reserve)  # filled again by the next prompt


def test_a_log_that_cannot_be_written_costs_no_answer(api):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    log = api.server._log
    with open("/dev/full", "ab", buffering=0) as full:
        log._file, kept = full, log._file
        try:
            task = api.create(api.sh("sleep 60"))["id"]
            assert api.cancel(task)["canceledPrompts"] == 1
        finally:
            log._file = kept
    assert [seen["status"] for seen in api.server.requests] == [201, 200]


# The lock on the folder.


def test_a_look_at_the_lock_by_another_command_does_not_stop_a_start(
    tmp_path, monkeypatch
):
    folder = tmp_path / "state"
    folder.mkdir()
    with open(str(folder / "lock"), "ab") as looking:
        fcntl.flock(looking, fcntl.LOCK_EX)
        monkeypatch.setattr(
            "rebyte_local.server.time.sleep", lambda seconds: looking.close()
        )
        with LocalServer(folder) as server:
            assert server.url


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_not_taken_for_another_server(
    tmp_path, monkeypatch, number
):
    def refuse(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="takes no locks") as refused:
        LocalServer(tmp_path / "state").start()
    assert not isinstance(refused.value, FolderInUse)
