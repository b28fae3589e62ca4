"""The pages a person watches: readable without JavaScript, live with it, safe, private."""

from __future__ import annotations

import json
import re

import pytest

HOSTILE = (
    "</pre><script>alert(1)</script><img src=x onerror=alert(2)> \u202e\u200b\x1b[31m \ud800 & "
    "'q' \"d\" {nonce} %s"
)


def page(api, path):
    return api.send("GET", path).text


def link(text, pattern):
    return re.search(pattern, text).group(1).replace("&amp;", "&")


def test_the_address_create_gives_shows_prompt_status_and_output(api):
    task, _, _ = api.run(
        api.sh("echo out-word; echo err-word >&2; echo 1 > 'artifacts/a&b<i>.csv'")
    )
    reply = api.send("GET", task["url"])
    assert (
        reply.status == 200
        and reply.headers["Content-Type"] == "text/html; charset=utf-8"
    )
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
    shown = re.findall(
        r'<(?:span|details) class="(\w+)">', text.partition('class="output"')[2]
    )
    assert len(shown) + len(pieces) == len(
        api.stream(task["id"])[0]
    )  # nothing twice, nothing lost
    assert raw.endswith('event: end\ndata: {"status": "failed"}\n\n')


def test_with_a_second_prompt_waiting_the_page_shows_the_one_that_runs(api):
    task = api.create(api.sh("sleep 0.4; echo late"))
    api.follow_up(task["id"], "hello")
    text = page(api, task["url"])
    assert "late" in page(api, link(text, r'data-stream="([^"]+)"'))


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
        HOSTILE
        + "\n"
        + api.fence("python", "print(%r)" % HOSTILE.replace("\ud800", ""))
    )
    api.show_to(task["id"], "public")
    for path in (task["url"], "/share/" + task["id"], api.server.page_url):
        text = page(api, path)
        assert (
            "<script>alert" not in text
            and "<img" not in text
            and "&lt;script&gt;alert(1)" in text
        )
        assert text.count("<script") == 1
        assert not set("\u202e\u200b\x1b\x00\x7f") & set(text)
    told = [
        json.loads(line[6:])
        for line in page(api, task["url"].replace("?", "/stream?")).split("\n")
        if line.startswith('data: {"prompt')
    ]
    pieces = "".join(piece[1] for one in told for piece in one["pieces"])
    assert "<script>alert(1)" in pieces and not set(
        "\u202e\u200b\x1b\x00\x7f\ud800"
    ) & set(pieces)  # set as text, never as HTML


def test_pages_forbid_everything_but_their_own_style_and_script(api):
    task, _, _ = api.run("x")
    for path in (task["url"], api.server.page_url):
        reply = api.send("GET", path)
        policy = reply.headers["Content-Security-Policy"]
        nonce = re.search(r"script-src 'nonce-([^']+)'", policy).group(1)
        assert (
            "default-src 'none'" in policy
            and "unsafe" not in policy
            and "frame-ancestors 'none'" in policy
        )
        assert '<style nonce="%s">' % nonce in reply.text
        assert (
            reply.headers["X-Content-Type-Options"],
            reply.headers["Referrer-Policy"],
        ) == (
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
    text = page(api, api.server.page_url)
    assert text.index("bad one") < text.index("good one") and "gone one" not in text
    assert (
        'href="%s"' % good["url"][len(api.url) :] in text
        and 'class="badge failed"' in text
    )


@pytest.mark.parametrize("visibility", ["private", "shared", "public"])
def test_a_page_is_open_to_its_own_address_and_to_the_key_and_to_nobody_else(
    api, visibility
):
    task, _, _ = api.run("secret words")
    other, _, _ = api.run("x")
    api.show_to(task["id"], visibility)
    computer = api.post("/agent-computers", {}).json
    for url in (task["url"], api.server.page_url, computer["url"]):
        assert api.send("GET", url).status == 200
        bare, _, token = url.partition("?token=")
        for wrong in (
            "",
            "?token=",
            "?token=" + token[:-1],
            "?" + other["url"].partition("?")[2],
        ):
            refused = api.send("GET", bare + wrong)
            assert (
                refused.refusal == (401, "missing_api_key")
                and "secret" not in refused.text
            )
        assert api.send("GET", bare, headers={"API_KEY": api.key}).status == 200
        assert api.send("GET", bare, headers={"API_KEY": "wrong"}).status == 401
    stream = "/run/%s/stream" % task["id"]
    assert api.send("GET", stream).status == 401
    assert api.send("GET", "/run/550e8400-e29b-41d4-a716-446655440000").status == 401


def test_the_address_of_a_page_outlives_a_restart_and_is_not_in_the_log(start):
    first = start()
    task, _, _ = first.run("x")
    assert "token=***" in str(
        first.send("GET", task["url"]) and first.server.requests[-1]
    )
    first.server.close()
    assert start().send("GET", task["url"]).status == 200


def test_a_page_of_a_task_that_is_not_there_is_not_found(api):
    for path in ("/run/x", "/run/550e8400-e29b-41d4-a716-446655440000", "/share/x"):
        assert api.send("GET", path, headers={"API_KEY": api.key}).status == 404


def test_a_question_is_readable_on_the_page(api):
    task = api.create("```ask run\nWhich colour?\n- red\n```\n")
    api.asked(task["id"])
    assert "? Which colour?\n  1. red" in page(api, task["url"])


def bars(text):
    """Return the classes of the pieces of each bar of a list."""
    found = re.findall(r'<svg class="bar (\w+)".*?</svg>', text, re.S)
    pieces = re.findall(r'<svg class="bar .*?</svg>', text, re.S)
    kinds = [re.findall(r'<path class="(\w+)"', piece) for piece in pieces]
    return list(zip(found, kinds))


def test_the_list_draws_each_task_on_one_clock_and_is_live_while_one_runs(api):
    api.run(api.sh("sleep 0.2; exit 1"))
    api.run(api.sh("sleep 0.2"))
    text = page(api, api.server.page_url)
    drawn = bars(text)
    assert [standing for standing, _ in drawn] == ["completed", "failed"]
    assert all({"talk", "tool", "end"} <= set(kinds) for _, kinds in drawn)
    assert 'data-live=""' in text and "refresh" not in text
    # The first began at the left, the second where the first had ended.
    lefts = [float(left) for left in re.findall(r'class="talk" d="M([\d.]+)', text)]
    assert lefts[0] > lefts[1]
    task = api.create(api.fence("ask", "which?\n- a") + "\n" + api.sh("echo x"))
    api.asked(task["id"])
    live = page(api, api.server.page_url)
    assert 'data-live="yes"' in live and "<noscript>" in live
    standing, kinds = bars(live)[0]
    assert standing == "running" and "end" not in kinds


def test_a_list_of_nothing_has_no_bar(api):
    assert bars(page(api, api.server.page_url)) == []
