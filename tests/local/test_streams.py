"""The event stream: replay, live, many listeners, large."""
from __future__ import annotations

import json
import os
import threading
import tracemalloc


def test_an_event_is_an_envelope_with_a_lasting_key(api):
    task, events, _ = api.run(api.fence("sh", "echo x"))
    for seq, event in enumerate(events):
        assert set(event) == {"seq", "timestamp", "promptId", "eventType", "payload", "eventKey"}
        assert event["seq"] == seq
    assert len({e["eventKey"] for e in events}) == len(events)
    assert api.stream(task["id"])[0] == events
    prompt_id = api.api("GET", "/tasks/" + task["id"]).json["prompts"][0]["id"]
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
    api.api("POST", "/tasks/%s/prompts" % task["id"], {"prompt": api.fence("sh", "echo second")})
    events, done, _ = api.stream(task["id"])
    assert api.words(events, "stdout") == ["second"] and events[0]["seq"] == 0
    listed = api.api("GET", "/tasks/%s/prompts/%s/events" % (task["id"], first[0]["promptId"])).json
    assert listed == {"promptId": first[0]["promptId"], "events": first}
    other = api.create("x")
    assert api.api("GET", "/tasks/%s/prompts/%s/events" % (other["id"], first[0]["promptId"])).status == 404


def test_content_is_oldest_first_with_events_when_asked(api):
    task, events, _ = api.run(api.fence("sh", "echo first"))
    api.api("POST", "/tasks/%s/prompts" % task["id"], {"prompt": "second"})
    api.stream(task["id"])
    plain = api.api("GET", "/tasks/%s/content" % task["id"]).json
    assert set(plain) == {"id", "status", "prompts"} and plain["status"] == "succeeded"
    assert [set(p) for p in plain["prompts"]] == [
        {"id", "status", "userPrompt", "submittedAt", "completedAt", "response"}] * 2
    assert plain["prompts"][1]["userPrompt"] == "second"
    full = api.api("GET", "/tasks/%s/content?include=events" % task["id"]).json
    assert full["prompts"][0]["events"] == events


def test_content_of_a_running_task_comes_at_once(api):
    task = api.create(api.fence("sh", "echo here; sleep 30"))
    connection, response = api.open_stream(task["id"])
    for _, data in api.read_frames(response):
        if data["eventType"] == "stdout":
            break
    connection.close()
    content = api.api("GET", "/tasks/%s/content?include=events" % task["id"]).json
    assert content["status"] == "running" and content["prompts"][0]["response"] is None
    assert content["prompts"][0]["events"][-1]["payload"] == {"content": "here"}
    api.api("POST", "/tasks/%s/cancel" % task["id"])


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
