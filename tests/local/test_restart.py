"""The process around the local server, and the pages it shows."""
from __future__ import annotations

import json
import os
import re
import signal
import stat
import time

import pytest

from rebyte_local.server import FolderInUse, LocalServer


def is_alive(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(is_true, seconds=10):
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)


def first_output(api, task):
    """The first stdout line of a running task."""
    connection, response = api.open_stream(task["id"])
    try:
        for _, data in api.read_frames(response):
            if data["eventType"] == "stdout":
                return data["payload"]["content"]
    finally:
        response.close()
        connection.close()


def test_serve_says_where_it_is_in_one_line_and_in_a_file(spawn, folder):
    process, api = spawn(faults=["odd-status"])
    path = os.path.join(folder, "server.json")
    with open(path, encoding="utf-8") as file:
        assert json.load(file) == api.facts
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert set(api.facts) == {"url", "baseUrl", "key", "pid", "startedAt", "faults"}
    assert api.facts["pid"] == process.pid and api.facts["baseUrl"] == api.url + "/v1"
    assert api.facts["faults"] == ["odd-status"]
    assert api.send("GET", "/health").status == 200
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, b"", b"") and not os.path.exists(path)


def test_a_second_server_on_the_same_folder_is_refused(spawn, folder):
    process, api = spawn()
    second, _ = spawn()
    assert second.wait(20) == 1 and b"another local server has the folder" in second.stderr.read()
    with pytest.raises(FolderInUse):
        LocalServer(folder).start()
    assert os.path.exists(os.path.join(folder, "server.json")) and api.send("GET", "/health").status == 200


@pytest.mark.parametrize("number,first", [(signal.SIGTERM, "trap '' TERM"), (signal.SIGINT, "true")])
def test_a_signal_ends_the_server_and_all_process_groups(spawn, number, first):
    process, api = spawn()
    task = api.create(api.fence("bash", first, "sleep 61 & echo $!", "wait; wait; sleep 60"))
    pid = int(first_output(api, task))
    process.send_signal(number)
    assert process.wait(20) == 0
    wait_until(lambda: not is_alive(pid))


def test_what_was_answered_before_a_kill_is_there_after_it(spawn):
    process, api = spawn()
    done_task, events, done = api.run(api.fence("sh", "echo answer; echo 1 > artifacts/a.csv"))
    slot = api.api("POST", "/files", {"filename": "f.txt"}).json
    api.send("PUT", slot["uploadUrl"], b"content", {"Content-Type": "application/octet-stream"})
    running = api.create(api.fence("sh", "echo $$; exec sleep 60"))
    pid = int(first_output(api, running))
    waiting = api.follow_up(running["id"], api.fence("sh", "echo after")).json
    process.kill()
    process.wait(20)
    _, again = spawn()
    assert (again.key, again.url) == (api.key, api.url)
    assert again.stream(done_task["id"])[:2] == (events, done)
    assert again.api("GET", "/workspaces/%s/artifacts/a.csv" % done_task["workspaceId"]).body == b"1\n"
    assert again.get("/tasks")["total"] == 2
    _, end, _ = again.stream(running["id"])
    assert end["finalResult"] == "after"
    prompts = again.get("/tasks/" + running["id"])["prompts"]
    assert [(p["id"] == waiting["promptId"], p["status"]) for p in prompts] == [(True, "succeeded"), (False, "failed")]
    told = again.get("/tasks/%s/prompts/%s/events" % (running["id"], prompts[1]["id"]))["events"]
    assert "stopped while this prompt ran" in again.words(told)[-1]
    wait_until(lambda: not is_alive(pid))
    used = again.create(again.fence("sh", "cat f.txt"), files=[{"id": slot["id"], "filename": "f.txt"}])
    assert again.stream(used["id"])[1]["finalResult"] == "content"


def test_every_create_answered_while_it_is_killed_is_there_after(spawn):
    process, api = spawn()
    ids = []
    for number in range(30):
        ids.append(api.create("task %d" % number)["id"])
    process.kill()
    process.wait(20)
    _, again = spawn()
    assert [t["id"] for t in again.get("/tasks")["data"]] == ids[::-1]
    assert {again.finish(i)["status"] for i in ids} <= {"completed", "failed"}


def test_an_event_line_cut_off_by_a_kill_is_removed(start, folder):
    api = start()
    task = api.create(api.fence("sh", "echo here; sleep 60"))
    first_output(api, task)
    prompt_id = api.get("/tasks/" + task["id"])["prompts"][0]["id"]
    path = os.path.join(folder, "events", prompt_id + ".jsonl")
    with open(path, "rb") as file:
        whole = file.read()
    api.server.close()
    with open(path, "wb") as file:
        file.write(whole + b'{"seq": 99, "half')
    import sqlite3
    database = sqlite3.connect(os.path.join(folder, "state.sqlite"))
    with database:
        database.execute("UPDATE prompts SET status='running', completed=NULL")
    database.close()
    events, done, _ = start().stream(task["id"])
    assert [e["seq"] for e in events] == list(range(len(events))) and done["status"] == "failed"


def test_closing_ends_what_runs_and_says_so_after(start):
    api = start()
    task = api.create(api.fence("sh", "echo $$; sleep 60"))
    pid = int(first_output(api, task))
    api.server.close()
    api.server.close()
    wait_until(lambda: not is_alive(pid))
    again = start()
    events, done, _ = again.stream(task["id"])
    assert done["status"] == "failed" and "stopped while" in again.words(events)[-1]
    assert (again.key, again.url) == (api.key, api.url)


def test_a_key_or_port_may_be_given(start):
    api = start(key="rbk_mine")
    assert api.key == "rbk_mine" and api.api("GET", "/tasks").status == 200
    api.server.close()
    assert start().key == "rbk_mine"


def test_it_ends_by_itself_when_idle_but_not_while_something_runs(spawn, folder):
    process, api = spawn(idle_seconds=0.2)
    task = api.create(api.fence("sh", "sleep 0.7; echo late"))
    assert process.wait(20) == 0
    assert not os.path.exists(os.path.join(folder, "server.json"))
    _, again = spawn()
    assert again.stream(task["id"])[1]["finalResult"] == "late"


def test_a_server_that_cannot_start_says_why_in_one_line(spawn, folder, tmp_path):
    with LocalServer(tmp_path / "other") as other:
        taken, _ = spawn(port=int(other.url.rpartition(":")[2]))
        assert taken.wait(20) == 1
    wrong, _ = spawn(faults=["no-such-fault"])
    assert wrong.wait(20) == 2
    with open(os.path.join(folder, "state.sqlite"), "wb") as file:
        file.write(b"this is no database" * 100)
    broken, _ = spawn()
    assert broken.wait(20) == 1
    for process, words in ((taken, b"in use"), (wrong, b"no-such-fault"), (broken, b"not a database")):
        text = process.stderr.read()
        assert text.count(b"\n") == 1 and text.startswith(b"local server: ") and words in text
    assert not os.path.exists(os.path.join(folder, "server.json"))


# The pages a person watches: readable without JavaScript, live with it, and nothing in them runs that is not ours.

HOSTILE = ("</pre><script>alert(1)</script><img src=x onerror=alert(2)> "
           "\u202e\u200b\x1b[31m \ud800 & 'q' \"d\" {nonce} %s")


def test_the_address_create_gives_shows_prompt_status_and_output(api):
    task, _, _ = api.run(api.fence("sh", "echo out-word; echo err-word >&2"))
    reply = api.send("GET", task["url"])
    text = reply.body.decode("utf-8")
    assert reply.status == 200 and reply.headers["Content-Type"] == "text/html; charset=utf-8"
    for part in ('class="badge completed"', "echo out-word", '<span class="stdout">out-word\n</span>',
                 '<span class="stderr">err-word\n</span>', "rehearsal, no model"):
        assert part in text
    assert 'data-stream=""' in text and "refresh" not in text


def test_a_running_task_reloads_without_javascript_and_streams_with_it(api):
    task = api.create(api.fence("sh", "echo first; sleep 0.4; echo second; exit 1"))
    connection, response = api.open_stream(task["id"])
    for _, data in api.read_frames(response):
        if data["eventType"] in ("stdout", "stderr"):
            break
    connection.close()
    page = api.send("GET", task["url"]).body.decode("utf-8")
    assert '<noscript><meta http-equiv="refresh"' in page
    address = re.search(r'data-stream="([^"]+)"', page).group(1).replace("&amp;", "&")
    raw = api.send("GET", address).body.decode("ascii")
    pieces = [p for line in raw.split("\n") if line.startswith("data: ") for p in json.loads(line[6:]).get("pieces",
                                                                                                           ())]
    shown = re.findall(r'<span class="(\w+)">', page.partition('class="output"')[2])
    assert len(shown) + len(pieces) == len(api.stream(task["id"])[0])  # nothing twice, nothing lost
    assert raw.endswith('event: end\ndata: {"status": "failed"}\n\n')


def test_hostile_text_is_shown_and_never_runs(start):
    api = start(faults=["hostile-text"])
    prompt = HOSTILE + "\n" + api.fence("python", "print(%r)" % HOSTILE.replace("\ud800", ""))
    task, _, _ = api.run(prompt)
    api.api("PATCH", "/tasks/%s/visibility" % task["id"], {"visibility": "public"})
    for path in (task["url"], "/share/" + task["id"], "/"):
        text = api.send("GET", path).body.decode("utf-8")
        assert "<script>alert" not in text and "<img" not in text and "&lt;script&gt;alert(1)" in text
        assert text.count("<script") == (0 if path == "/" else 1)
        for bad in "\u202e\u200b\x1b\x00\x7f":
            assert bad not in text


def test_pages_forbid_everything_but_their_own_style_and_script(api):
    task, _, _ = api.run("x")
    for path in (task["url"], "/"):
        reply = api.send("GET", path)
        policy = reply.headers["Content-Security-Policy"]
        nonce = re.search(r"script-src 'nonce-([^']+)'", policy).group(1)
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert '<style nonce="%s">' % nonce in reply.body.decode()
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert nonce not in api.send("GET", path).headers["Content-Security-Policy"]
        assert api.key not in reply.body.decode()


def test_a_shared_page_exists_only_while_the_task_is_public(api):
    task, _, _ = api.run("x")
    path = "/tasks/%s/visibility" % task["id"]
    assert api.send("GET", "/share/" + task["id"]).status == 404
    url = api.api("PATCH", path, {"visibility": "public"}).json["shareUrl"]
    assert api.send("GET", url).status == 200 and api.send("GET", url + "/stream").status == 200
    api.api("PATCH", path, {"visibility": "private"})
    assert api.send("GET", url).status == 404 and api.send("GET", url + "/stream").status == 404


def test_the_list_shows_every_task_with_its_status(api):
    good, _, _ = api.run("good one")
    bad, _, _ = api.run("bad one\n" + api.fence("sh", "exit 1"))
    gone, _, _ = api.run("gone one")
    api.api("DELETE", "/tasks/" + gone["id"])
    text = api.send("GET", "/").body.decode()
    assert text.index("bad one") < text.index("good one") and "gone one" not in text
    assert 'href="/run/%s"' % good["id"] in text and 'class="badge failed"' in text


def test_a_page_of_a_task_that_is_not_there_is_not_found(api):
    for path in ("/run/x", "/run/550e8400-e29b-41d4-a716-446655440000", "/share/x"):
        assert api.send("GET", path).status == 404


def test_pages_are_closed_to_other_hosts(api):
    task, _, _ = api.run("x")
    assert api.send("GET", task["url"], headers={"Host": "evil.example"}).status == 403
    assert api.send("GET", task["url"] + "/stream", headers={"Host": "evil.example"}).status == 403


def test_a_question_is_readable_on_the_page(api):
    task = api.create("```ask run\nWhich colour?\n- red\n```\n")
    connection, response = api.open_stream(task["id"])
    for _, data in api.read_frames(response):
        if data["eventType"] == "ask_user_question":
            break
    connection.close()
    assert "? Which colour?\n  1. red" in api.send("GET", task["url"]).body.decode()


def test_the_page_links_the_files_a_task_left(api):
    task, _, _ = api.run(api.fence("sh", "echo 1 > 'artifacts/a&b<i>.csv'"))
    text = api.send("GET", task["url"]).body.decode()
    assert "a&amp;b&lt;i&gt;.csv</a>" in text
    address = re.search(r'<li><a href="([^"]+)"', text).group(1).replace("&amp;", "&")
    assert api.send("GET", address).body == b"1\n"
