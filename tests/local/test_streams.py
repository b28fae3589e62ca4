"""Event streams of the local server, whole and disturbed."""

from __future__ import annotations

import http.client
import json
import threading
import time
import tracemalloc

import pytest

TEN = "```sh run\nfor i in 0 1 2 3 4 5; do echo $i; done\n```\n"


def numbers(events):
    return [event["seq"] for event in events]


def content_of(api, task):
    """The first prompt of GET /tasks/:id/content with events."""
    return api.get("/tasks/%s/content?include=events" % task["id"])["prompts"][0]


def test_an_event_is_an_envelope_with_a_lasting_key(api):
    task, events, _ = api.run(api.sh("echo x"))
    for event in events:
        assert set(event) == {
            "seq",
            "timestamp",
            "promptId",
            "eventType",
            "payload",
            "eventKey",
        }
    assert numbers(events) == list(range(len(events)))
    assert len({event["eventKey"] for event in events}) == len(events)
    assert api.stream(task["id"])[0] == events
    assert {event["promptId"] for event in events} == {
        api.get("/tasks/" + task["id"])["prompts"][0]["id"]
    }


def test_the_stream_has_the_type_of_event_streams_and_two_names(api):
    task, _, _ = api.run("x")
    response = api.open_stream(task["id"])
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["Cache-Control"] == "no-cache"
    raw = response.read().decode()
    assert {line for line in raw.split("\n") if line.startswith("event: ")} == {
        "event: event",
        "event: done",
    }
    assert raw.endswith("\n\n") and "\r" not in raw


def test_only_the_latest_prompt_is_streamed(api):
    task, first, _ = api.run(api.sh("echo first"))
    api.follow_up(task["id"], api.sh("echo second"))
    events, done, _ = api.stream(task["id"])
    assert api.words(events, "stdout") == ["second"] and events[0]["seq"] == 0
    path = "/prompts/%s/events" % first[0]["promptId"]
    assert api.get("/tasks/" + task["id"] + path) == {
        "promptId": first[0]["promptId"],
        "events": first,
    }
    assert api.api("GET", "/tasks/" + api.create("x")["id"] + path).status == 404


def test_content_is_oldest_first_with_events_when_asked(api):
    task, events, _ = api.run(api.sh("echo first"))
    api.follow_up(task["id"], "second")
    api.stream(task["id"])
    plain = api.get("/tasks/%s/content" % task["id"])
    assert (
        set(plain) == {"id", "status", "prompts", "rehearsal"}
        and plain["status"] == "succeeded"
    )
    assert [set(prompt) for prompt in plain["prompts"]] == [
        {"id", "status", "userPrompt", "submittedAt", "completedAt", "response"}
    ] * 2
    assert plain["prompts"][1]["userPrompt"] == "second"
    assert content_of(api, task)["events"] == events


def test_content_of_a_running_task_comes_at_once(api):
    task = api.create(api.sh("echo here; sleep 30"))
    api.until(task["id"])
    assert api.get("/tasks/%s/content" % task["id"])["status"] == "running"
    content = content_of(api, task)
    assert content["response"] is None and content["events"][-1]["payload"] == {
        "content": "here"
    }
    api.cancel(task["id"])


def test_many_listeners_hear_the_same(api):
    task = api.create(
        api.fence(
            "python", "import time", "for i in range(100): print(i); time.sleep(0.002)"
        )
    )
    heard = []
    threads = [
        threading.Thread(target=lambda: heard.append(api.stream(task["id"])[:2]))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (
        len(heard) == 10
        and all(one == heard[0] for one in heard)
        and len(heard[0][0]) > 100
    )


def test_a_fifty_megabyte_stream_passes_through_little_memory(api):
    task = api.create("x")
    prompt_id = api.finish(task["id"])["prompts"][0]["id"]
    event = {"seq": 0, "promptId": prompt_id, "eventType": "stdout"}
    line = json.dumps(dict(event, payload={"content": "x" * 150}))
    with api.server._service.database.transaction() as connection:
        connection.execute("DELETE FROM events")
        connection.executemany(
            "INSERT INTO events VALUES(?,?,?)",
            ((prompt_id, seq, line) for seq in range(200000)),
        )
    tracemalloc.start()
    response, total, frames = api.open_stream(task["id"]), 0, 0
    for piece in iter(lambda: response.read1(1 << 16), b""):
        total += len(piece)
        frames += piece.count(b'data: {"seq"')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > 50e6 and frames > 199000 and peak < 12e6


def test_a_listener_that_leaves_does_no_harm(api):
    task = api.create(api.fence("python", "for i in range(8000): print('x' * 100)"))
    api.open_stream(task["id"]).read(10)
    api.hang_up()
    assert api.finish(task["id"])["status"] == "completed"


# Each misbehaviour of streams and answers: what a client would suffer, exactly and every time.


def test_early_done_says_twice_that_nothing_happened(start):
    api = start(faults=["early-done"])
    task = api.create(TEN)
    for _ in range(2):
        assert api.stream(task["id"])[:2] == (
            [],
            {"status": "succeeded", "lastSeq": -1, "finalResult": ""},
        )
    events, done, _ = api.stream(task["id"])
    assert len(events) == done["lastSeq"] + 1 > 6


def test_cut_stream_makes_progress_on_every_connect(start):
    api = start(faults={"cut-stream": 4})
    task = api.create(TEN)
    heard = [api.stream(task["id"]) for _ in range(3)]
    assert [numbers(events) for events, _, _ in heard] == [
        list(range(count)) for count in (4, 8, 11)
    ]
    assert [(done is None, was_cut) for _, done, was_cut in heard] == [
        (True, True),
        (True, True),
        (False, False),
    ]


def test_renumber_shifts_seq_between_connects_and_has_no_key(start):
    api = start(faults=["renumber"])
    task = api.create(TEN)
    seen = [api.stream(task["id"])[:2] for _ in range(5)]
    assert [numbers(events) for events, _ in seen] == [
        list(range(count)) for count in (11, 12, 13, 14, 14)
    ]
    assert [done["lastSeq"] for _, done in seen] == [10, 11, 12, 13, 13]
    assert not any("eventKey" in event for events, _ in seen for event in events)
    first, later = [
        {json.dumps(event["payload"]): event["seq"] for event in events}
        for events, _ in seen[:2]
    ]
    assert (
        set(first) < set(later)
        and later['{"content": "3"}'] == first['{"content": "3"}'] + 1
    )
    content = content_of(api, task)
    assert len(content["events"]) == 11 and "eventKey" not in json.dumps(content)


def test_duplicates_repeat_some_events_with_the_same_seq(start):
    api = start(faults=["duplicates"])
    events = api.run(TEN)[1]
    assert numbers(events) == [0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10]
    assert events[2] == events[3]


def test_no_done_ends_cleanly_without_it(start):
    api = start(faults=["no-done"])
    events, done, was_cut = api.stream(api.create(TEN)["id"])
    assert (len(events), done, was_cut) == (11, None, False)


def test_late_tail_is_terminal_before_its_last_words(start):
    api = start(faults={"late-tail": 0.4})
    task, events, done = api.run(TEN)
    assert (done["status"], done["finalResult"], len(events)) == ("succeeded", "", 10)
    assert api.get("/tasks/" + task["id"])["status"] == "completed"
    assert content_of(api, task)["response"] is None

    def is_whole():
        """Whether a later connect has the last words, and the same in done."""
        events, done, _ = api.stream(task["id"])
        return done["finalResult"] == api.words(events)[-1] == "0\n1\n2\n3\n4\n5"

    api.wait_until(is_whole, 5)


@pytest.mark.parametrize(
    "names,places",
    [
        (["answer-in-result"], {"result"}),
        (["answer-in-final"], {"final"}),
        (["answer-in-content"], {"content"}),
        (["answer-in-final", "answer-in-content"], {"final", "content"}),
        ([], {"text", "final", "content"}),
    ],
)
def test_the_answer_is_only_where_the_fault_puts_it(start, names, places):
    api = start(faults=names)
    task, events, done = api.run(TEN)
    wanted = "0\n1\n2\n3\n4\n5"
    found = {
        "text": api.words(events)[-1] == wanted,
        "final": done["finalResult"] == wanted,
        "result": any(
            event["payload"].get("result") == wanted
            for event in events
            if event["eventType"] == "result"
        ),
        "content": content_of(api, task)["response"] == wanted,
    }
    assert {place for place, is_there in found.items() if is_there} == places


def test_question_makes_every_task_ask_once_before_it_ends(start):
    api = start(faults=["question"])
    task = api.create(TEN)
    asked, response = api.asked(task["id"])
    assert [option["label"] for option in asked["options"]] == ["Yes", "No"]
    assert api.get("/tasks/" + task["id"])["status"] == "running"
    assert api.answer(task["id"], asked, selectedOptions=[0]).status == 200
    assert b"event: done" in response.read()


def test_silence_holds_everything_back_for_a_while_on_the_first_connect(start):
    api = start(faults={"silence": 0.4})
    task = api.create("x")
    moments = [time.monotonic() for _ in api.read_frames(api.open_stream(task["id"]))]
    assert moments[1] - moments[0] >= 0.35
    began = time.monotonic()
    api.stream(task["id"])
    assert time.monotonic() - began < 0.35


def test_heartbeats_come_as_often_as_asked_and_go_on_when_the_end_is_lost(start):
    api = start(faults={"heartbeats": 0.02, "lost-end": 1})
    task = api.create(TEN)
    api.wait_until(lambda: api.get("/tasks/" + task["id"])["status"] == "completed")
    response = api.open_stream(task["id"])
    lines = [response.readline() for _ in range(20)]
    assert sum(line.startswith(b"data: ") for line in lines) == 1
    assert lines.count(b": alive\n") >= 8 and b"event: done\n" not in lines


def test_held_stream_begins_to_answer_only_after_a_while(start):
    api = start(faults={"held-stream": 0.3})
    task, began = api.create("x"), time.monotonic()
    response = api.open_stream(task["id"])
    assert response.status == 200 and time.monotonic() - began >= 0.3


def test_no_stream_answers_404_while_the_task_runs(start):
    api = start(faults=["no-stream"])
    task = api.create(api.sh("sleep 30"))
    assert api.api("GET", "/tasks/%s/events" % task["id"]).refusal == (404, "not_found")
    assert api.get("/tasks/" + task["id"])["status"] == "running"
    api.cancel(task["id"])


def test_ping_events_come_between_the_others(start):
    api = start(faults=["ping-events"])
    events, done, _ = api.stream(api.create(TEN)["id"])
    assert len(events) == 11 and done["lastSeq"] == 10
    raw = api.open_stream(api.get("/tasks")["data"][0]["id"]).read()
    assert raw.count(b"event: ping\ndata: {}\n\n") == 11


def test_unknown_status_ends_with_a_word_nobody_documented(start):
    api = start(faults=["unknown-status"])
    task, _, done = api.run(api.sh("exit 1"))
    seen = api.get("/tasks/" + task["id"])
    assert (
        done["status"] == "failed"
        and seen["status"] == "expired"
        and seen["completedAt"]
    )
    assert seen["prompts"][0]["status"] == "expired"
    assert api.get("/tasks/%s/content" % task["id"])["status"] == "expired"


def test_late_visible_hides_a_new_task_from_all_but_the_list(start):
    api = start(faults={"late-visible": 0.5})
    began = time.monotonic()
    task = api.create("x")
    hidden = [
        api.api("GET", "/tasks/%s%s" % (task["id"], path))
        for path in ("", "/events", "/content")
    ]
    hidden.append(api.follow_up(task["id"], "x"))
    if time.monotonic() - began < 0.5:
        assert {reply.refusal for reply in hidden} == {(404, "not_found")}
    assert api.get("/tasks")["total"] == 1
    api.wait_until(lambda: api.api("GET", "/tasks/" + task["id"]).status != 404, 5)
    assert time.monotonic() - began >= 0.5


def test_all_stream_faults_together_still_let_every_event_through(start):
    api = start(
        faults=[
            "early-done",
            "cut-stream=3",
            "renumber",
            "duplicates",
            "no-done",
            "late-tail=0.1",
            "silence=0.05",
            "answer-in-content",
            "answer-in-result",
            "hostile-text",
            "odd-status",
            "late-visible=0.05",
            "html-now-and-then=4",
            "too-many-retry-after=1",
            "slow-create=0.05",
        ]
    )
    reply = api.wait_until(
        lambda: [
            made for made in [api.post("/tasks", {"prompt": TEN})] if made.status == 201
        ]
    )[0]
    said, end = set(), time.monotonic() + 10
    while "5" not in said or not any("\x1b]52" in words for words in said):
        assert time.monotonic() < end
        response = api.open_stream(reply.json["id"])
        try:
            for _, data in api.read_frames(response if response.status == 200 else ()):
                payload = data.get("payload", {})
                said.add(str(payload.get("content", payload.get("result"))))
        except http.client.IncompleteRead:
            pass
        api.hang_up()
    assert {"0", "1", "2", "3", "4", "5", "late row 1"} <= said
