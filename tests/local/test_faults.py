"""Each misbehaviour alone, and some together: what a client would suffer, exactly and every time."""
from __future__ import annotations

import http.client
import time

import pytest

from rebyte_local.faults import FAULTS, HOSTILE_NAMES, PARAMETERS, Faults
from rebyte_local.server import LocalServer

TEN = "```sh run\nfor i in 0 1 2 3 4 5; do echo $i; done\n```\n"


def test_every_fault_has_one_sentence():
    for name, sentence in FAULTS.items():
        assert sentence.endswith(".") and sentence[0].isupper() and len(sentence) < 130, name
    assert set(PARAMETERS) < set(FAULTS)


def test_faults_are_named_as_on_the_command_line_or_in_python():
    faults = Faults(["slow-create=0.5", "no-done"])
    assert faults.describe() == ["no-done", "slow-create=0.5"]
    assert Faults({"cut-stream": 3, "question": None, "too-many": {"every": 2}}).describe() == [
        "cut-stream=3", "question", "too-many=2"]
    faults.enable("cut-stream", events=4)
    assert faults.value("cut-stream") == 4 and faults.is_on("no-done")
    faults.disable("no-done")
    faults.clear()
    assert faults.describe() == []


@pytest.mark.parametrize("wanted", [["nothing-like-it"], ["no-done=3"], ["cut-stream=x"], ["cut-stream=0"],
                                    ["silence=-1"], {"cut-stream": {"seconds": 1}}])
def test_a_fault_that_is_none_is_refused(wanted):
    with pytest.raises(ValueError):
        Faults(wanted)


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_can_be_on_from_the_start(tmp_path, name):
    with LocalServer(tmp_path / "state", faults=[name]) as server:
        assert server.faults.is_on(name)


def test_slow_create_answers_late_for_a_task_that_exists_at_once(start):
    api = start(faults={"slow-create": 0.3})
    connection = http.client.HTTPConnection(api.url[7:], timeout=20)
    began = time.monotonic()
    connection.request("POST", "/v1/tasks", '{"prompt": "x"}', {"API_KEY": api.key})
    while not api.api("GET", "/tasks").json["total"]:
        assert time.monotonic() - began < 5
    assert connection.getresponse().status == 201 and time.monotonic() - began >= 0.3
    connection.close()


def test_drop_after_accept_runs_the_task_and_says_nothing(start):
    api = start(faults={"drop-after-accept": 2})
    first = api.create("heard")
    with pytest.raises(http.client.RemoteDisconnected):
        api.create("not heard")
    third = api.create("heard again")
    data = api.api("GET", "/tasks").json["data"]
    assert [t["title"] for t in data] == ["heard again", "not heard", "heard"]
    assert api.finish(data[1]["id"])["status"] == "completed"
    assert {first["id"], third["id"]} == {data[2]["id"], data[0]["id"]}
    assert [r["status"] for r in api.server.requests[:3]] == [201, 0, 201]


def test_cut_answer_breaks_off_in_the_middle_of_an_accepted_create(start):
    api = start(faults=["cut-answer"])
    with pytest.raises(http.client.IncompleteRead) as broken:
        api.create("x")
    assert broken.value.partial.startswith(b'{"id": "') and broken.value.expected > 50
    assert api.api("GET", "/tasks").json["total"] == 1


def test_too_many_refuses_before_anything_is_done(start):
    api = start(faults={"too-many": 2})
    statuses = [api.api("POST", "/tasks", {"prompt": "x"}).status for _ in range(4)]
    assert statuses == [201, 429, 201, 429]
    api.server.faults.enable("too-many")
    reply = api.api("GET", "/tasks")
    assert reply.status == 429 and "Retry-After" not in reply.headers and reply.code
    api.server.faults.disable("too-many")
    assert api.api("GET", "/tasks").json["total"] == 2


def test_too_many_retry_after_lets_the_second_of_two_equal_requests_through(start):
    api = start(faults={"too-many-retry-after": 1.5})
    first = api.api("GET", "/tasks")
    assert (first.status, first.headers["Retry-After"]) == (429, "2")
    assert api.api("POST", "/tasks", {"prompt": "x"}).status == 429
    assert api.api("GET", "/tasks").status == 200


def test_server_errors_and_html_pages_come_every_so_often(start):
    api = start(faults={"server-error": 2, "html-error": 3})
    replies = [api.api("POST", "/tasks", {"prompt": "x"}) for _ in range(6)]
    assert [r.status for r in replies] == [201, 500, 201, 500, 502, 500]
    assert replies[1].code == "internal_error"
    assert replies[4].headers["Content-Type"] == "text/html" and b"<html>" in replies[4].body
    api.server.faults.clear()
    assert api.api("GET", "/tasks").json["total"] == 2


def test_a_fault_can_be_limited_to_one_route(api):
    api.server.faults.enable("server-error", only="POST /v1/tasks")
    assert api.api("GET", "/tasks").status == 200
    assert api.api("POST", "/tasks", {"prompt": "x"}).status == 500


def test_html_now_and_then_hits_every_nth_get_only(start):
    api = start(faults={"html-now-and-then": 3})
    task = api.create("x")
    assert [api.api("GET", "/tasks/" + task["id"]).status for _ in range(6)] == [200, 200, 503, 200, 200, 503]


def test_odd_status_uses_words_nobody_documented_until_the_end(start):
    api = start(faults=["odd-status"])
    task = api.create("```ask run\nWell?\n```\n")
    assert task["status"] == "queued"
    connection, response = api.open_stream(task["id"])
    next(api.read_frames(response))
    seen = api.api("GET", "/tasks/" + task["id"]).json
    assert seen["status"] == "processing" == seen["prompts"][0]["status"]
    api.api("POST", "/tasks/%s/cancel" % task["id"])
    response.read()
    connection.close()
    assert api.api("GET", "/tasks/" + task["id"]).json["status"] == "canceled"


def test_hostile_text_comes_in_titles_and_answers_as_plain_ascii_json(start):
    api = start(faults=["hostile-text"])
    task, events, done = api.run(TEN)
    reply = api.api("GET", "/tasks/" + task["id"])
    assert reply.body.isascii()
    for text in (reply.json["title"], done["finalResult"], api.words(events)[-1]):
        for part in ("\x1b]52;", "\u202e", "\u200b", "\ud800", "\x00", '{"status":"completed"'):
            assert part in text
    assert done["finalResult"].endswith("0\n1\n2\n3\n4\n5")
    api.server.close()


def test_hostile_names_are_listed_and_can_be_fetched(start):
    api = start(faults=["hostile-names"])
    task, _, _ = api.run(api_fence_for_artifact())
    data = api.api("GET", "/workspaces/%s/artifacts" % task["workspaceId"]).json["data"]
    assert [a["name"] for a in data] == ["real.csv"] + list(HOSTILE_NAMES)
    for artifact in data[1:]:
        reply = api.send("GET", artifact["downloadUrl"])
        assert (reply.status, len(reply.body)) == (200, artifact["size"]), artifact["name"]
        assert "\n" not in reply.headers["Content-Disposition"]


def api_fence_for_artifact():
    return "```sh run\necho 1 > artifacts/real.csv\n```\n"


def test_follow_ups_are_dropped_too_when_asked_for(api):
    task = api.create("x")
    api.server.faults.enable("drop-after-accept", only="POST /v1/tasks/")
    api.create("not concerned")
    with pytest.raises(http.client.RemoteDisconnected):
        api.api("POST", "/tasks/%s/prompts" % task["id"], {"prompt": "y"})
    assert len(api.api("GET", "/tasks/" + task["id"]).json["prompts"]) == 2
