"""Event streams of the local server, whole and disturbed."""
from __future__ import annotations

import http.client
import json
import os
import threading
import time
import tracemalloc

import pytest


def test_an_event_is_an_envelope_with_a_lasting_key(api):
    task, events, _ = api.run(api.fence("sh", "echo x"))
    for seq, event in enumerate(events):
        assert set(event) == {"seq", "timestamp", "promptId", "eventType", "payload", "eventKey"}
        assert event["seq"] == seq
    assert len({e["eventKey"] for e in events}) == len(events)
    assert api.stream(task["id"])[0] == events
    prompt_id = api.get("/tasks/" + task["id"])["prompts"][0]["id"]
    assert {e["promptId"] for e in events} == {prompt_id}


def test_the_stream_has_the_type_of_event_streams_and_two_names(api):
    task, _, _ = api.run("x")
    connection, response = api.open_stream(task["id"])
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["Cache-Control"] == "no-cache"
    raw = response.read().decode()
    connection.close()
    assert {line for line in raw.split("\n") if line.startswith("event: ")} == {"event: event", "event: done"}
    assert raw.endswith("\n\n") and "\r" not in raw


def test_only_the_latest_prompt_is_streamed(api):
    task, first, _ = api.run(api.fence("sh", "echo first"))
    api.follow_up(task["id"], api.fence("sh", "echo second"))
    events, done, _ = api.stream(task["id"])
    assert api.words(events, "stdout") == ["second"] and events[0]["seq"] == 0
    listed = api.get("/tasks/%s/prompts/%s/events" % (task["id"], first[0]["promptId"]))
    assert listed == {"promptId": first[0]["promptId"], "events": first}
    other = api.create("x")
    assert api.api("GET", "/tasks/%s/prompts/%s/events" % (other["id"], first[0]["promptId"])).status == 404


def test_content_is_oldest_first_with_events_when_asked(api):
    task, events, _ = api.run(api.fence("sh", "echo first"))
    api.follow_up(task["id"], "second")
    api.stream(task["id"])
    plain = api.get("/tasks/%s/content" % task["id"])
    assert set(plain) == {"id", "status", "prompts", "rehearsal"} and plain["status"] == "succeeded"
    assert [set(p) for p in plain["prompts"]] == [
        {"id", "status", "userPrompt", "submittedAt", "completedAt", "response"}] * 2
    assert plain["prompts"][1]["userPrompt"] == "second"
    full = api.get("/tasks/%s/content?include=events" % task["id"])
    assert full["prompts"][0]["events"] == events


def test_content_of_a_running_task_comes_at_once(api):
    task = api.create(api.fence("sh", "echo here; sleep 30"))
    connection, response = api.open_stream(task["id"])
    for _, data in api.read_frames(response):
        if data["eventType"] == "stdout":
            break
    connection.close()
    content = api.get("/tasks/%s/content?include=events" % task["id"])
    assert content["status"] == "running" and content["prompts"][0]["response"] is None
    assert content["prompts"][0]["events"][-1]["payload"] == {"content": "here"}
    api.cancel(task["id"])


def test_many_listeners_hear_the_same(api):
    task = api.create(api.fence("python", "import time", "for i in range(100): print(i); time.sleep(0.002)"))
    heard = []
    threads = [threading.Thread(target=lambda: heard.append(api.stream(task["id"])[:2])) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard) == 10 and all(h == heard[0] for h in heard) and len(heard[0][0]) > 100


def test_a_fifty_megabyte_stream_passes_through_little_memory(api, folder):
    task = api.create("x")
    prompt_id = api.finish(task["id"])["prompts"][0]["id"]
    line = json.dumps({"seq": 0, "promptId": prompt_id, "eventType": "stdout",
                       "payload": {"content": "x" * 150}}) + "\n"
    with open(os.path.join(folder, "events", prompt_id + ".jsonl"), "w", encoding="ascii") as file:
        for _ in range(200):
            file.write(line * 1000)
    tracemalloc.start()
    connection, response = api.open_stream(task["id"])
    total = frames = 0
    while True:
        piece = response.read1(1 << 16)
        if not piece:
            break
        total += len(piece)
        frames += piece.count(b"data: {\"seq\"")
    connection.close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > 50e6 and frames > 199000
    assert peak < 12e6


def test_a_listener_that_leaves_does_no_harm(api):
    task = api.create(api.fence("python", "for i in range(8000): print('x' * 100)"))
    connection, response = api.open_stream(task["id"])
    response.read(10)
    response.close()
    connection.close()
    assert api.finish(task["id"])["status"] == "completed"


# Each misbehaviour of streams and answers: what a client would suffer, exactly and every time.

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
    content = api.get("/tasks/%s/content?include=events" % task["id"])
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
    assert api.get("/tasks/" + task["id"])["status"] == "completed"
    assert api.get("/tasks/%s/content" % task["id"])["prompts"][0]["response"] is None
    end = time.monotonic() + 5
    while not done["finalResult"]:  # it is told a moment after the last words
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
             "content": api.get("/tasks/%s/content" % task["id"])["prompts"][0]["response"] == wanted}
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
    assert api.get("/tasks/" + task["id"])["status"] == "running"
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
    hidden.append(api.follow_up(task["id"], "x"))
    if time.monotonic() - began < 0.5:
        assert {(r.status, r.code) for r in hidden} == {(404, "not_found")}
    assert api.get("/tasks")["total"] == 1
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
