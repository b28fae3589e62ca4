"""Each misbehaviour of streams and answers: what a client would suffer, exactly and every time."""
from __future__ import annotations

import http.client
import json
import time

import pytest

TEN = "```sh run\nfor i in 0 1 2 3 4 5; do echo $i; done\n```\n"


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
    api = start(faults=["early-done", "cut-stream=3", "renumber", "duplicates", "no-done", "late-tail=0.1",
                        "silence=0.05",
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
