"""One task followed to its document, whatever its service does; no server and no waiting."""

from __future__ import annotations

import json
import os
import time

import pytest

from rebyte_flows.following import follower as follower_module
from rebyte_flows.following.follower import Follower
from rebyte_flows.starting.kinds import KINDS
from rebyte_flows.starting.rows import untracked_row
from rebyte_flows.state import StateFolder
from rebyte_wire.errors import AnswerUnreadable, ServerError
from rebyte_wire.requests import Deadline

from .service import WORK, Service, Stream, event, frames


@pytest.fixture
def follow(tmp_path):
    """follow(service, row fields..., **of the Follower) -> (document, follower)."""

    def run(service, *, workspace_id="w", request=None, row=None, **more):
        found = untracked_row("t")
        found.workspace_id = workspace_id
        found.__dict__.update(row or {})
        now = [0.0]

        def sleep(seconds):
            now[0] += seconds

        follower = Follower(
            service,
            found,
            state=StateFolder(str(tmp_path / "state")),
            request=request,
            clock=lambda: now[0],
            sleep=sleep,
            **more,
        )
        return follower.follow(), follower

    return run


class TaskOrder:
    """A request as the follower looks at it."""

    def __init__(self, kind="task", attachments=()):
        self.kind, self.attachments = KINDS[kind], attachments


def test_a_completed_task_has_answer_and_transcript(follow):
    document, _ = follow(Service([frames(WORK)]))
    assert document["status"] == "completed" and document["answer"] == "the answer"
    assert document["answerBytes"] == 10 and document["promptId"] == "p1"
    with open(document["transcriptPath"]) as file:
        assert [json.loads(line) for line in file] == WORK


def test_past_the_deadline_the_document_says_that_it_runs(follow):
    service = Service(
        [frames(WORK[:1], done=None)], ["running"], deadline=Deadline(0.05)
    )
    document, _ = follow(service)
    assert document["status"] == "running" and "answer" not in document
    assert document["transcriptPath"]


def test_a_question_is_shown_and_one_that_was_answered_is_not_asked_again(follow):
    asks = event(
        "ask_user_question", 4, question="Which?", options=["a"], messageId="m"
    )
    document, _ = follow(Service([frames(WORK + [asks], done=None)], ["running"]))
    assert document["status"] == "question" and document["question"]["text"] == "Which?"
    replayed = Service(
        [frames(WORK[:2] + [asks], done=None), frames(WORK)], ["running", "completed"]
    )
    document, _ = follow(replayed, answered={"m"})
    assert document["status"] == "completed"


def test_a_failure_tells_the_last_words_and_the_events_before_them(follow):
    work = [
        event("tool_result", 0, output="Traceback"),
        event("text", 1, content="It broke."),
    ]
    document, _ = follow(Service([frames(work, done="failed")], ["failed"]))
    assert document["failure"]["reason"] == "It broke."
    assert [line["text"] for line in document["failure"]["lastEvents"]] == ["Traceback"]


def test_the_last_events_leave_out_what_stands_in_the_answer(follow):
    said = "It broke. " * 100
    work = [event("tool_use", 0, name="bash"), event("text", 1, content=said)]
    document, _ = follow(Service([frames(work, done="failed")], ["failed"]))
    assert document["answer"] == said
    assert document["failure"]["lastEvents"] == [{"type": "tool_use", "tool": "bash"}]


def test_the_reason_is_the_services_or_the_agents_and_never_what_a_tool_printed(follow):
    printed = [
        event("tool_use", 0, name="bash"),
        event("tool_result", 1, output="rm: no"),
    ]
    document, _ = follow(Service([frames(printed, done="failed")], ["failed"]))
    assert document["failure"]["reason"] == "the service gave no reason"
    assert document["failure"]["lastEvents"][-1]["text"] == "rm: no"

    class Telling(Service):
        error = "out of credit"

        def get_task(self, task_id):
            return dict(super().get_task(task_id), error=self.error)

    document, _ = follow(Telling([frames(printed, done="failed")], ["failed"]))
    assert document["failure"]["reason"] == "out of credit"
    service = Telling(
        [frames(printed, done="failed")], ["failed"], error={"message": "gone"}
    )
    assert follow(service)[0]["failure"]["reason"] == "gone"


def test_a_status_that_nobody_knows_is_told_whether_it_ends_or_not(follow, monkeypatch):
    said = "the service says expired, which is not documented"
    service = Service([frames(WORK)], ["expired"], deadline=Deadline(0.1))
    document, _ = follow(service)
    assert document["status"] == "running" and document["warnings"] == [said]
    monkeypatch.setattr("rebyte_flows.following.ending.STUCK_SECONDS", 0)
    document, _ = follow(Service([frames(WORK[:3], done="odd")], ["expired"]))
    assert document["status"] == "failed" and document["failure"]["reason"] == said
    assert said in document["warnings"]
    assert "warnings" not in follow(Service([frames(WORK)], ["queued", "completed"]))[0]


def test_the_answer_comes_from_content_where_the_stream_has_none(follow):
    content = {"prompts": [{"id": "p1", "response": "from content"}]}
    document, _ = follow(Service([frames(WORK[:3])], content=content))
    assert document["answer"] == "from content"
    document, _ = follow(Service([frames(WORK[:3])]))
    assert "answer" not in document and "nothing to show" in document["warnings"][0]


def test_a_look_that_failed_after_the_end_was_known_is_no_warning(follow):
    down = ServerError("down")
    streams = [Stream(frames(WORK[:2]), cut=True), frames(WORK)]
    document, _ = follow(Service(streams, ["completed", down]))
    assert document["status"] == "completed" and "warnings" not in document


@pytest.mark.parametrize(
    "problem", [ServerError("down"), AnswerUnreadable("a page of a portal")]
)
def test_an_answer_that_cannot_be_read_just_now_is_said_to_be_so(follow, problem):
    class Broken(Service):
        def task_content(self, task_id, events=False):
            raise problem

    document, _ = follow(Broken([frames(WORK[:3])]))
    assert (
        document["status"] == "completed"
        and "could not be read" in document["warnings"][0]
    )
    assert len(document["warnings"]) == 1


def test_an_earlier_start_is_followed_at_its_own_first_turn(follow):
    turns = [
        {"id": "p2", "status": "running", "submittedAt": "2026-01-01T00:05:00Z"},
        {"id": "p1", "status": "succeeded", "submittedAt": "2026-01-01T00:00:00Z"},
    ]
    service = Service([frames(WORK)], prompts=[turns], content={"prompts": []})
    document, follower = follow(service, request=TaskOrder(), reused=True)
    assert document["promptId"] == "p1" and document["answer"] == "the answer"
    other = Service([frames(WORK)], prompts=[turns])
    assert (
        follow(other, request=TaskOrder("follow-up"), reused=True)[1].row.prompt_id
        is None
    )


def test_what_the_stream_says_at_last_speaks_of_the_latest_turn_only(follow):
    turns = [
        {"id": "p1", "status": "succeeded", "submittedAt": "2026-01-01T00:00:00Z"},
        {"id": "p2", "status": "succeeded", "submittedAt": "2026-01-01T00:05:00Z"},
    ]
    end = frames(WORK[:3]).replace(
        b'"finalResult": ""', b'"finalResult": "of the latest"'
    )
    content = {"prompts": [{"id": "p1", "response": "of the first"}]}
    service = Service([end], prompts=[turns], content=content)
    assert follow(service, row={"prompt_id": "p1"})[0]["answer"] == "of the first"
    later = [
        event(item["eventType"], item["seq"], "p2", **item["payload"])
        for item in WORK[:3]
    ]
    end = frames(later).replace(b'"finalResult": ""', b'"finalResult": "of the latest"')
    service = Service([end], prompts=[turns], content=content)
    assert follow(service, row={"prompt_id": "p2"})[0]["answer"] == "of the latest"


def test_only_the_turn_of_the_row_is_canceled_and_only_while_it_runs(follow):
    turns = [{"id": "p1", "submittedAt": "2026-01-01T00:00:00Z"}]
    later = turns + [{"id": "p2", "submittedAt": "2026-01-01T00:05:00Z"}]
    for prompts, prompt_id, status, canceled in (
        (turns, "p1", "running", True),
        (turns, None, "running", True),
        (turns, "p1", "completed", False),
        (later, "p1", "running", False),
        (later, "p2", "running", True),
        (later, None, "running", False),
    ):
        service = Service([frames(WORK)], [status], prompts=[prompts])
        row = untracked_row("t")
        row.prompt_id = prompt_id
        assert Follower(service, row, state=None).cancel() is canceled
        assert ("cancel" in service.asked) is canceled


def test_watching_for_a_moment_is_no_limit_for_bringing_files(
    follow, tmp_path, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        follower_module,
        "list_files",
        lambda client, id: seen.append(client.deadline.left()) or [],
    )
    document, _ = follow(Service([frames(WORK)]), watch_seconds=5)
    assert document["status"] == "completed" and seen[0] > 15


def test_files_are_listed_or_brought_and_what_was_wanted_is_missed(follow, tmp_path):
    service = Service([frames(WORK)], artifacts=[{"name": "a.csv", "size": 3}])
    document, _ = follow(service, want=["a.csv", "b.pdf"])
    assert document["files"] == [{"name": "a.csv", "bytes": 3, "fetched": False}]
    assert document["missing"] == ["b.pdf"]
    document, _ = follow(service, want=["a.csv"], out=str(tmp_path / "out"))
    assert document["refused"][0]["name"] == "a.csv" and document["missing"] == [
        "a.csv"
    ]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest == {"taskId": "t", "workspaceId": "w", "files": []}
    assert (tmp_path / "out" / "answer.md").read_text() == "the answer\n"
    document, _ = follow(service, row={"task_id": "u"}, out=str(tmp_path / "out"))
    assert "another task" in document["warnings"][0]


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: os.symlink("/etc/hosts", path)]
)
def test_what_lies_in_the_out_folder_is_neither_waited_for_nor_written_through(
    follow, tmp_path, make
):
    out = tmp_path / "out"
    out.mkdir()
    names = ["answer.md", "manifest.json", "transcript.jsonl"]
    for name in names:
        make(str(out / name))
    document, _ = follow(Service([frames(WORK)]), out=str(out))
    assert document["status"] == "completed" and "refused" not in document
    assert all(
        (out / name).is_file() and not (out / name).is_symlink() for name in names
    )


def test_a_wanted_name_is_there_in_either_form_of_unicode(follow):
    service = Service(
        [frames(WORK)], artifacts=[{"name": "U\u0308bersicht.pdf", "size": 3}]
    )
    assert "missing" not in follow(service, want=["\u00dcbersicht.pdf"])[0]


def test_a_workspace_that_is_not_known_is_said_to_be_so(follow):
    document, _ = follow(Service([frames(WORK)]), workspace_id=None, want=["a.csv"])
    assert document["missing"] == ["a.csv"] and "workspace" in document["warnings"][0]
    assert "warnings" not in follow(Service([frames(WORK)]), workspace_id=None)[0]


def test_an_honest_reader_is_told_what_looks_odd(follow):
    said = [event("text", 0, content="done")]
    document, _ = follow(Service([frames(said)]), request=TaskOrder(attachments=["a"]))
    assert "no tool was used" in document["warnings"][0]
    document, _ = follow(Service([frames(said)]), rehearsal=True, want=["a.csv"])
    assert len(document["warnings"]) == 3 and document["rehearsal"]

    class Other(Service):
        def get_task(self, task_id):
            return dict(super().get_task(task_id), executor="claude")

    document, _ = follow(Other([frames(WORK)]), row={"executor": "codex"})
    assert "codex was asked for" in document["warnings"][0]


def test_following_again_begins_anew_and_the_document_stands_in_between(follow):
    service = Service(
        [frames(WORK[:1], done=None)], ["running"], deadline=Deadline(0.05)
    )
    document, follower = follow(service)
    assert document["status"] == "running"
    service.streams, service.statuses, service.deadline = (
        [frames(WORK)],
        ["completed"],
        Deadline(9),
    )
    document = follower.follow()
    assert document["status"] == "completed" and document["answer"] == "the answer"
    assert follower.document_now() == document


def test_the_time_it_took_is_the_services_or_counted_from_the_start(follow):
    turns = [
        {
            "id": "p1",
            "status": "succeeded",
            "submittedAt": "2026-01-01T00:00:00Z",
            "completedAt": "2026-01-01T00:00:30Z",
        }
    ]
    assert follow(Service([frames(WORK)], prompts=[turns]))[0]["seconds"] == 30
    document, _ = follow(Service([frames(WORK)]), row={"claimed_at": time.time() - 100})
    assert 99 < document["seconds"] < 110
    assert "seconds" not in follow(Service([frames(WORK)]))[0]
