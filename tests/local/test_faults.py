"""Each misbehaviour alone, and some together: what a client would suffer, exactly and every time."""
from __future__ import annotations

import http.client
import json
import time

import pytest

from rebyte_local.faults import FAULTS, HOSTILE_NAMES, PARAMETERS, Faults
from rebyte_local.server import LocalServer

TEN = ("```sh run\nfor i in 0 1 2 3 4 5; do echo $i; done\n```\n")


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


def test_early_done_says_twice_that_nothing_happened(start):
    api = start(faults=["early-done"])
    task = api.create(TEN)
    for _ in range(2):
        events, done, _ = api.stream(task["id"])
        assert (events, done) == ([], {"status": "succeeded", "lastSeq": -1, "finalResult": ""})
    events, done, _ = api.stream(task["id"])
    assert len(events) == done["lastSeq"] + 1 > 6


def test_cut_stream_makes_progress_on_every_connect(start):
    api = start(faults={"cut-stream": 4})
    task = api.create(TEN)
    lengths = []
    while True:
        events, done, was_cut = api.stream(task["id"])
        lengths.append(len(events))
        assert [e["seq"] for e in events] == list(range(len(events)))
        if done:
            break
        assert was_cut
    assert lengths == [4, 8, 11] and not was_cut


def test_renumber_shifts_seq_between_connects_and_has_no_key(start):
    api = start(faults=["renumber"])
    task = api.create(TEN)
    seen = [api.stream(task["id"])[:2] for _ in range(5)]
    assert [len(events) for events, _ in seen] == [11, 12, 13, 14, 14]
    for events, done in seen:
        assert [e["seq"] for e in events] == list(range(len(events)))
        assert done["lastSeq"] == len(events) - 1
        assert not any("eventKey" in e for e in events)
    first = {json.dumps(e["payload"]): e["seq"] for e in seen[0][0]}
    later = {json.dumps(e["payload"]): e["seq"] for e in seen[1][0]}
    assert set(first) < set(later) and later['{"content": "3"}'] == first['{"content": "3"}'] + 1
    content = api.api("GET", "/tasks/%s/content?include=events" % task["id"]).json
    assert "eventKey" not in json.dumps(content)


def test_duplicates_repeat_some_events_with_the_same_seq(start):
    api = start(faults=["duplicates"])
    events = api.stream(api.create(TEN)["id"])[0]
    numbers = [e["seq"] for e in events]
    assert numbers == [0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10]
    assert events[2] == events[3]


def test_no_done_ends_cleanly_without_it(start):
    api = start(faults=["no-done"])
    events, done, was_cut = api.stream(api.create(TEN)["id"])
    assert (len(events), done, was_cut) == (11, None, False)


def test_late_tail_is_terminal_before_its_last_words(start):
    api = start(faults={"late-tail": 0.4})
    task = api.create(TEN)
    events, done, _ = api.stream(task["id"])
    assert (done["status"], done["finalResult"], len(events)) == ("succeeded", "", 10)
    assert api.api("GET", "/tasks/" + task["id"]).json["status"] == "completed"
    assert api.api("GET", "/tasks/%s/content" % task["id"]).json["prompts"][0]["response"] is None
    end = time.monotonic() + 5
    while len(events) == 10:
        assert time.monotonic() < end
        events, done, _ = api.stream(task["id"])
    assert done["finalResult"] == api.words(events)[-1] == "0\n1\n2\n3\n4\n5"


@pytest.mark.parametrize("names,places", [
    (["answer-in-result"], {"result"}), (["answer-in-final"], {"final"}), (["answer-in-content"], {"content"}),
    (["answer-in-final", "answer-in-content"], {"final", "content"}), ([], {"text", "final", "content"})])
def test_the_answer_is_only_where_the_fault_puts_it(start, names, places):
    api = start(faults=names)
    task, events, done = api.run(TEN)
    wanted = "0\n1\n2\n3\n4\n5"
    found = {"text": api.words(events)[-1] == wanted, "final": done["finalResult"] == wanted,
             "result": any(e["payload"].get("result") == wanted for e in events if e["eventType"] == "result"),
             "content": api.api("GET", "/tasks/%s/content" % task["id"]).json["prompts"][0]["response"] == wanted}
    assert {place for place, is_there in found.items() if is_there} == places


def test_question_makes_every_task_ask_once_before_it_ends(start):
    api = start(faults=["question"])
    task = api.create(TEN)
    connection, response = api.open_stream(task["id"])
    for _, data in api.read_frames(response):
        if data["eventType"] == "ask_user_question":
            break
    asked = data["payload"]
    assert [o["label"] for o in asked["options"]] == ["Yes", "No"]
    assert api.api("GET", "/tasks/" + task["id"]).json["status"] == "running"
    given = {"messageId": asked["messageId"], "actionId": asked["actionId"], "answer": {"selectedOptions": [0]}}
    assert api.api("POST", "/tasks/%s/answer" % task["id"], given).status == 200
    assert b"event: done" in response.read()
    connection.close()


def test_silence_holds_everything_back_for_a_while_on_the_first_connect(start):
    api = start(faults={"silence": 0.4})
    task, _, _ = api.run("x")
    task = api.create("x")
    connection, response = api.open_stream(task["id"])
    moments = [time.monotonic() for _ in api.read_frames(response)]
    connection.close()
    assert moments[1] - moments[0] >= 0.35
    began = time.monotonic()
    api.stream(task["id"])
    assert time.monotonic() - began < 0.35


def test_late_visible_hides_a_new_task_from_all_but_the_list(start):
    api = start(faults={"late-visible": 0.5})
    began = time.monotonic()
    task = api.create("x")
    hidden = [api.api("GET", "/tasks/%s%s" % (task["id"], path)) for path in ("", "/events", "/content")]
    hidden.append(api.api("POST", "/tasks/%s/prompts" % task["id"], {"prompt": "x"}))
    if time.monotonic() - began < 0.5:
        assert {(r.status, r.code) for r in hidden} == {(404, "not_found")}
    assert api.api("GET", "/tasks").json["total"] == 1
    while api.api("GET", "/tasks/" + task["id"]).status == 404:
        assert time.monotonic() - began < 5
    assert time.monotonic() - began >= 0.5


def test_all_stream_faults_together_still_let_every_event_through(start):
    api = start(faults=["early-done", "cut-stream=3", "renumber", "duplicates", "no-done", "late-tail=0.1", "silence=0.05",
                        "answer-in-content", "answer-in-result", "hostile-text", "odd-status", "late-visible=0.05",
                        "html-now-and-then=4", "too-many-retry-after=1", "slow-create=0.05"])
    reply = api.api("POST", "/tasks", {"prompt": TEN})
    while reply.status != 201:
        reply = api.api("POST", "/tasks", {"prompt": TEN})
    said, end = set(), time.monotonic() + 10
    while "5" not in said or not any("\x1b]52" in s for s in said):
        assert time.monotonic() < end
        connection, response = api.open_stream(reply.json["id"])
        try:
            if response.status == 200:
                for name, data in api.read_frames(response):
                    payload = data.get("payload", {})
                    said.add(str(payload.get("content", payload.get("result"))))
        except http.client.IncompleteRead:
            pass
        response.close()
        connection.close()
    assert {"0", "1", "2", "3", "4", "5", "late row 1"} <= said


def test_follow_ups_are_dropped_too_when_asked_for(api):
    task = api.create("x")
    api.server.faults.enable("drop-after-accept", only="POST /v1/tasks/")
    api.create("not concerned")
    with pytest.raises(http.client.RemoteDisconnected):
        api.api("POST", "/tasks/%s/prompts" % task["id"], {"prompt": "y"})
    assert len(api.api("GET", "/tasks/" + task["id"]).json["prompts"]) == 2
