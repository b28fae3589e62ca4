"""The pages a person watches: readable without JavaScript, live with it, and nothing in them runs that is not ours."""
from __future__ import annotations

import json
import re

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
