"""Whatever the stream does, alone or together: the same events, the same answer, the same end."""
from __future__ import annotations

import itertools
import random

from concurrent.futures import ThreadPoolExecutor

from rebyte_client import RebyteClient
from rebyte_flows.result import Reader
from rebyte_flows.stream import End, watch
from rebyte_local.server import LocalServer

FAULTS = {"early-done": {}, "cut-stream": {"events": 3}, "renumber": {}, "duplicates": {}, "no-done": {}, "late-tail": {"seconds": 0.4},
          "answer-in-result": {}, "answer-in-final": {}, "answer-in-content": {}, "silence": {"seconds": 0.6},
          "late-visible": {"seconds": 0.3}, "html-now-and-then": {"every": 3}}
PLACES = {"answer-in-result", "answer-in-final", "answer-in-content"}
PROMPT = """Count.
```bash run
echo one; echo two; echo two; echo three
```
```bash run
echo four; echo four
```"""
ANSWER = "one\ntwo\ntwo\nthree\nfour\nfour"
PRINTED = ["one", "two", "two", "three", "four", "four"]
PAIRS = list(itertools.combinations(sorted(FAULTS), 2))
TRIPLES = random.Random(7).sample(list(itertools.combinations(sorted(FAULTS), 3)), 200)


def told(client, task_id):
    """Return (events, end, answer) of a watch from its start to its end."""
    reader, events, end = Reader(), [], None
    for seen in watch(client, task_id):
        if isinstance(seen, End):
            end = seen
        else:
            events.append(seen)
            reader.take(seen)
    return events, end, reader.answer(client, task_id, final=end.final)


def is_nowhere(names):
    """Tell whether these faults leave the answer nowhere to be found, so that an empty one is the truth."""
    return PLACES & set(names) == {"answer-in-final"} and "no-done" in names


def check(folder, names):
    """Run one task on a server of its own under these faults, and return what differs from the undisturbed run."""
    with LocalServer(str(folder)) as server, RebyteClient(server.key, server.base_url) as client:
        for name in names:
            server.faults.enable(name, **FAULTS[name])
        events, end, answer = told(client, client.create_task(PROMPT)["id"])
    late = [event["payload"]["content"] for event in events if event["eventType"] == "thinking"]
    found = {
        "end": end.status, "answer": answer.split(), "late rows told twice": len(late) - len(set(late)),
        "printed": [event["payload"]["content"] for event in events if event["eventType"] == "stdout"],
        "tools": [event["eventType"] for event in events if event["eventType"] in ("tool_use", "tool_result")]}
    expected = {"end": "completed", "answer": [] if is_nowhere(names) else ANSWER.split(), "late rows told twice": 0,
                "printed": PRINTED, "tools": ["tool_use", "tool_result"] * 2}
    return {key: found[key] for key in expected if found[key] != expected[key]}


def check_all(tmp_path, combinations):
    """Check many combinations, sixteen at a time since they mostly wait, and return those that differ."""
    with ThreadPoolExecutor(16) as pool:
        found = pool.map(lambda pair: check(tmp_path / str(pair[0]), pair[1]), enumerate(combinations))
        return {names: wrong for names, wrong in zip(combinations, found) if wrong}


def test_the_undisturbed_run_tells_what_the_others_are_held_against(tmp_path, impatient):
    assert check(tmp_path / "plain", ()) == {}


def test_one_fault_changes_nothing_that_is_told(tmp_path, impatient):
    assert check_all(tmp_path, [(name,) for name in sorted(FAULTS)]) == {}


def test_each_pair_of_faults_changes_nothing_that_is_told(tmp_path, impatient):
    assert check_all(tmp_path, PAIRS) == {}


def test_two_hundred_random_triples_of_faults_change_nothing_that_is_told(tmp_path, impatient):
    assert check_all(tmp_path, TRIPLES) == {}
