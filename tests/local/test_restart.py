"""The process around the local server, and the pages it shows."""

from __future__ import annotations

import http.client
import json
import os
import re
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
    assert set(api.facts) == {"url", "baseUrl", "key", "pid", "startedAt", "faults"}
    assert api.facts["pid"] == process.pid and api.facts["baseUrl"] == api.url + "/v1"
    assert api.facts["faults"] == ["odd-status"] and api.send("GET", "/health").status == 200
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, b"", b"") and not os.path.exists(path)


def test_a_second_server_on_the_same_folder_is_refused(spawn, folder):
    _, api = spawn()
    second, _ = spawn()
    assert second.wait(20) == 1 and b"another local server has the folder" in second.stderr.read()
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
        api.create(api.fence("bash", first, "sleep 61 & echo $!", "wait; wait; sleep 60"))["id"]
    )
    process.send_signal(number)
    assert process.wait(20) == 0
    api.wait_for_end_of(pid)


def test_what_was_answered_before_a_kill_is_there_after_it(spawn):
    process, api = spawn()
    done_task, events, done = api.run(api.sh("echo answer; echo 1 > artifacts/a.csv"))
    slot = api.post("/files", {"filename": "f.txt"}).json
    api.send("PUT", slot["uploadUrl"], b"content", {"Content-Type": "application/octet-stream"})
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
        again.api("GET", "/workspaces/%s/artifacts/a.csv" % done_task["workspaceId"]).body == b"1\n"
    )
    assert [task["id"] for task in again.get("/tasks")["data"]] == created[::-1] + [
        running,
        done_task["id"],
    ]
    assert {again.finish(task_id)["status"] for task_id in created} <= {"completed", "failed"}
    assert again.stream(running)[1]["finalResult"] == "after"
    prompts = again.get("/tasks/" + running)["prompts"]
    assert [(prompt["id"] == waiting["promptId"], prompt["status"]) for prompt in prompts] == [
        (True, "succeeded"),
        (False, "failed"),
    ]
    told = again.get("/tasks/%s/prompts/%s/events" % (running, prompts[1]["id"]))["events"]
    assert "stopped while this prompt ran" in again.words(told)[-1]
    again.wait_for_end_of(pid)
    assert (
        again.result(again.sh("cat f.txt"), files=[{"id": slot["id"], "filename": "f.txt"}])
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
        assert text.count(b"\n") == 1 and text.startswith(b"local server: ") and words in text
    assert not os.path.exists(os.path.join(folder, "server.json"))


# The pages a person watches: readable without JavaScript, live with it, and nothing in them runs that is not ours.

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)> \u202e\u200b\x1b[31m \ud800 & 'q' \"d\" {nonce} %s"


def page(api, path):
    return api.send("GET", path).text


def link(text, pattern):
    return re.search(pattern, text).group(1).replace("&amp;", "&")


def test_the_address_create_gives_shows_prompt_status_and_output(api):
    task, _, _ = api.run(
        api.sh("echo out-word; echo err-word >&2; echo 1 > 'artifacts/a&b<i>.csv'")
    )
    reply = api.send("GET", task["url"])
    assert reply.status == 200 and reply.headers["Content-Type"] == "text/html; charset=utf-8"
    for part in (
        'class="badge completed"',
        "echo out-word",
        '<span class="stdout">out-word\n</span>',
        '<span class="stderr">err-word\n</span>',
        "rehearsal, no model",
        "a&amp;b&lt;i&gt;.csv</a>",
        'data-stream=""',
    ):
        assert part in reply.text
    assert "refresh" not in reply.text
    assert page(api, link(reply.text, r'<li><a href="([^"]+)"')) == "1\n"


def test_a_running_task_reloads_without_javascript_and_streams_with_it(api):
    task = api.create(api.sh("echo first; sleep 0.4; echo second; exit 1"))
    api.until(task["id"])
    text = page(api, task["url"])
    assert '<noscript><meta http-equiv="refresh"' in text
    raw = page(api, link(text, r'data-stream="([^"]+)"'))
    pieces = [
        piece
        for line in raw.split("\n")
        if line.startswith("data: ")
        for piece in json.loads(line[6:]).get("pieces", ())
    ]
    shown = re.findall(r'<span class="(\w+)">', text.partition('class="output"')[2])
    assert len(shown) + len(pieces) == len(api.stream(task["id"])[0])  # nothing twice, nothing lost
    assert raw.endswith('event: end\ndata: {"status": "failed"}\n\n')


def test_of_much_output_a_page_shows_the_end(api, monkeypatch):
    monkeypatch.setattr("rebyte_local.pages.views.OUTPUT_CHARS", 2000)
    task, _, _ = api.run(api.sh("for i in $(seq 100); do echo line-$i-; done"))
    text = page(api, task["url"]).partition('class="output"')[2]
    assert (
        "[earlier output left out]" in text
        and "line-99-" in text
        and '"stdout">line-1-' not in text
    )


def test_hostile_text_is_shown_and_never_runs(start):
    api = start(faults=["hostile-text"])
    task, _, _ = api.run(
        HOSTILE + "\n" + api.fence("python", "print(%r)" % HOSTILE.replace("\ud800", ""))
    )
    api.show_to(task["id"], "public")
    for path in (task["url"], "/share/" + task["id"], "/"):
        text = page(api, path)
        assert (
            "<script>alert" not in text and "<img" not in text and "&lt;script&gt;alert(1)" in text
        )
        assert text.count("<script") == (0 if path == "/" else 1)
        assert not set("\u202e\u200b\x1b\x00\x7f") & set(text)
    told = [
        json.loads(line[6:])
        for line in page(api, task["url"] + "/stream").split("\n")
        if line.startswith('data: {"prompt')
    ]
    pieces = "".join(text for one in told for _, text in one["pieces"])
    assert "<script>alert(1)" in pieces and not set("\u202e\u200b\x1b\x00\x7f\ud800") & set(
        pieces
    )  # set as text, never as HTML


def test_pages_forbid_everything_but_their_own_style_and_script(api):
    task, _, _ = api.run("x")
    for path in (task["url"], "/"):
        reply = api.send("GET", path)
        policy = reply.headers["Content-Security-Policy"]
        nonce = re.search(r"script-src 'nonce-([^']+)'", policy).group(1)
        assert (
            "default-src 'none'" in policy
            and "unsafe" not in policy
            and "frame-ancestors 'none'" in policy
        )
        assert '<style nonce="%s">' % nonce in reply.text
        assert (reply.headers["X-Content-Type-Options"], reply.headers["Referrer-Policy"]) == (
            "nosniff",
            "no-referrer",
        )
        assert nonce not in api.send("GET", path).headers["Content-Security-Policy"]
        assert api.key not in reply.text


def test_a_shared_page_exists_only_while_the_task_is_public(api):
    task, _, _ = api.run("x")
    url = "/share/" + task["id"]
    assert api.send("GET", url).status == 404
    assert api.show_to(task["id"], "public").json["shareUrl"] == api.url + url
    assert api.send("GET", url).status == api.send("GET", url + "/stream").status == 200
    api.show_to(task["id"], "private")
    assert api.send("GET", url).status == api.send("GET", url + "/stream").status == 404


def test_the_list_shows_every_task_with_its_status(api):
    good, _, _ = api.run("good one")
    api.run("bad one\n" + api.sh("exit 1"))
    gone, _, _ = api.run("gone one")
    api.delete("/tasks/" + gone["id"])
    text = page(api, "/")
    assert text.index("bad one") < text.index("good one") and "gone one" not in text
    assert 'href="/run/%s"' % good["id"] in text and 'class="badge failed"' in text


def test_a_page_of_a_task_that_is_not_there_is_not_found(api):
    for path in ("/run/x", "/run/550e8400-e29b-41d4-a716-446655440000", "/share/x"):
        assert api.send("GET", path).status == 404


def test_a_question_is_readable_on_the_page(api):
    task = api.create("```ask run\nWhich colour?\n- red\n```\n")
    api.asked(task["id"])
    assert "? Which colour?\n  1. red" in page(api, task["url"])
