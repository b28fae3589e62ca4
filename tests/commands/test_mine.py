"""list --mine: names, workspaces, and how each stands."""
from __future__ import annotations


def test_mine_merges_ledger_and_service(rebyte):
    first = rebyte("run", "alpha job", "--once", "first").document
    rebyte("api", "POST", "/tasks", "--body", '{"prompt":"beta job"}')
    tasks = rebyte("list", "--mine", "--status").document["tasks"]
    assert [task["title"] for task in tasks] == ["beta job", "alpha job"] and {task["status"] for task in tasks} == {"completed"}
    assert tasks[1]["once"] == "first" and tasks[1]["workspaceId"] == first["workspaceId"]
    assert [task["id"] for task in rebyte("list", "--grep", "FIRST").document["tasks"]] == [first["id"]]


def test_running_ones_and_questions_are_told_apart(rebyte):
    rebyte("run", "over")
    running = rebyte("create", "```bash run\nsleep 30\n```").document["id"]
    asking = rebyte("run", "```ask run\nWhich?\n- a\n```").document["id"]
    found = {task["id"]: task["status"] for task in rebyte("list", "--running").document["tasks"]}
    assert found == {running: "running", asking: "question"}
    text = rebyte("get", asking, "--text").out
    assert "question: Which?" in text and "1 a" in text and "reply" in text
    assert "question" in rebyte("list", "--status", "--text").out


def test_since_takes_a_span_or_a_time_and_nothing_else(rebyte):
    rebyte("create", "x")
    assert len(rebyte("list", "--mine", "--since", "2h").document["tasks"]) == 1
    assert "tasks" in rebyte("list", "--mine", "--since", "2031-01-01").document and rebyte("list", "--since", "soon").code == 2


def test_result_with_events_is_still_one_document(rebyte):
    made = rebyte("create", "```bash run\necho one\n```").document["id"]
    events = rebyte("result", made, "--wait", "--events").document["events"]
    assert {"type": "stdout", "text": "one"} in events
