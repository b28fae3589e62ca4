"""Code with the other verbs: batch, wait, result, follow-up, and from Python."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from commands.conftest import with_agent
from rebyte_client import RebyteClient
from rebyte_flows.job import run

from .conftest import MEND, far, git, write


def test_each_line_of_a_batch_gets_a_branch_of_its_own(repo, rebyte, tmp_path):
    jobs = tmp_path / "jobs.jsonl"
    lines = [
        {"once": "one", "prompt": far("echo one > one.txt")},
        {"prompt": far("echo two > two.txt")},
    ]
    jobs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = rebyte("batch", str(jobs), "--code", "--dry-run")
    assert shown["code"]["files"] == 5
    done = rebyte("batch", str(jobs), "--code")
    assert done.code == 0, done
    branches = [task["changes"]["branch"] for task in done["tasks"]]
    assert branches == ["rebyte/one", "rebyte/" + done["tasks"][1]["id"][:8]]
    for branch, name in zip(branches, ("one.txt", "two.txt")):
        assert git(repo, "diff", "--name-only", "main", branch).decode().split() == [
            name
        ]


@pytest.mark.parametrize("verb", ["wait", "result"])
def test_what_was_only_started_comes_home_with_wait_and_result(repo, rebyte, verb):
    started = rebyte("create", "--code", ".", MEND, "--once", "fix")
    assert started.code == 0 and "changes" not in started.document
    words = ["--wait"] if verb == "result" else []
    done = rebyte(verb, "@fix", *words)
    document = done["tasks"][0] if verb == "wait" else done.document
    assert done.code == 0 and document["changes"]["branch"] == "rebyte/fix"
    lines = [step["run"] for step in document["next"]]
    assert any(" diff " in line for line in lines)
    assert git(repo, "show", "rebyte/fix:added.txt") == b"new\n"


def test_code_that_did_not_come_home_is_never_told_as_unchanged(repo, rebyte):
    started = rebyte("create", "--code", ".", MEND, "--once", "fix")
    for verb in ("diff", "apply"):
        absent = rebyte(verb, "@fix")
        assert absent.code == 9 and absent["missing"] == ["demo-home.zip"]
        assert "files" not in absent.document and "changes" not in absent.document
        assert rebyte(verb, "@fix", "--field", "files").code == 9
        shown = rebyte(verb, "@fix", "--text")
        assert shown.code == 9 and "no code" in shown.out and started["id"] in shown.out
    assert " result " in absent["next"][0]["run"]
    assert rebyte("wait", "@fix").code == 0
    assert rebyte("apply", "@fix").code == 0
    # A tree sent anew has none either, and what was applied before can be taken back.
    rebyte("follow-up", "@fix", "Nothing.", "--code", ".", "--wait")
    assert rebyte("diff", "@fix").code == rebyte("apply", "@fix").code == 9
    assert rebyte("apply", "@fix", "--undo")["undone"] == ["added.txt", "calc.py"]


def test_wait_says_that_the_code_did_not_come(repo, rebyte):
    started = rebyte("create", "--code", ".", "Nothing.")
    done = rebyte("wait", started["id"])
    assert done.code == 9 and done["tasks"][0]["missing"] == ["demo-home.zip"]


def test_a_follow_up_goes_on_with_the_last_result_and_moves_the_branch_on(repo, rebyte):
    first = rebyte("run", "--code", ".", MEND, "--once", "fix")
    head = git(repo, "rev-parse", "rebyte/fix").decode().strip()
    more = far(
        "echo new > added.txt; echo more > more.txt; sed -i.o 's/-/+/' calc.py; rm *.o"
    )
    second = rebyte("follow-up", "@fix", more, "--wait")
    assert second.code == 0, second
    assert second["changes"]["files"] == 1 and second["changes"]["added"] == 1
    assert head.startswith(second["changes"]["base"])
    assert git(repo, "rev-parse", "rebyte/fix^").decode().strip() == head
    third = rebyte(
        "follow-up", "@fix", more.replace("echo more", "echo third"), "--wait"
    )
    assert third["changes"]["branch"] == first["changes"]["branch"] == "rebyte/fix"
    assert git(repo, "rev-list", "--count", "main..rebyte/fix") == b"4\n"
    applied = rebyte("apply", "@fix")
    assert applied["applied"] == ["added.txt", "calc.py", "more.txt"]


def test_apply_between_follow_ups_brings_only_what_is_new(repo, rebyte):
    rebyte("run", "--code", ".", far("echo first > docs/more.txt"), "--once", "fix")
    assert rebyte("apply", "@fix")["applied"] == ["docs/more.txt"]
    rebyte("follow-up", "@fix", far("echo second > docs/more.txt"), "--wait")
    assert rebyte("apply", "@fix")["applied"] == ["docs/more.txt"]
    assert (repo / "docs" / "more.txt").read_text() == "second\n"
    # What a later turn took back goes back here too.
    rebyte("follow-up", "@fix", far("true"), "--wait")
    assert rebyte("apply", "@fix")["applied"] == ["docs/more.txt"]
    assert (repo / "docs" / "more.txt").read_text() == "more\n"


def test_a_follow_up_with_code_takes_the_tree_as_it_lies_now(repo, rebyte):
    rebyte("run", "--code", ".", MEND, "--once", "fix")
    rebyte("apply", "@fix")
    write(repo, {"mine.txt": "mine\n"})
    more = far("test -f mine.txt; test -f added.txt; echo more > more.txt")
    done = rebyte("follow-up", "@fix", more, "--code", ".", "--wait")
    assert done.code == 0 and done["changes"]["files"] == 1
    base = done["changes"]["base"]
    assert git(repo, "show", base + ":mine.txt") == b"mine\n"
    assert done["changes"]["branch"] == "rebyte/fix"


def test_a_branch_that_is_checked_out_or_was_moved_stays(repo, rebyte):
    rebyte("run", "--code", ".", MEND, "--once", "fix")
    git(repo, "checkout", "-q", "rebyte/fix")
    head = git(repo, "rev-parse", "HEAD")
    more = far(
        "echo more > more.txt; echo new > added.txt; sed -i.o 's/-/+/' calc.py; rm *.o"
    )
    done = rebyte("follow-up", "@fix", more, "--wait")
    assert done["changes"]["branch"] == "rebyte/fix-2"
    assert any("rebyte/fix-2" in text for text in done["warnings"])
    assert git(repo, "rev-parse", "rebyte/fix") == head
    git(repo, "checkout", "-q", "main")
    git(repo, "branch", "-q", "-f", "rebyte/fix-2", "main")
    again = rebyte("follow-up", "@fix", more + "\n", "--wait", "--once", "x")
    assert git(repo, "rev-parse", "rebyte/fix-2") == git(repo, "rev-parse", "main")
    assert again["changes"]["branch"] != "rebyte/fix-2" or not again["changes"]["files"]


def test_python_sends_code_too(repo, server, rebyte, monkeypatch):
    with RebyteClient() as client:
        document = run(client, MEND, code=".", once="fix")
        assert document["changes"]["branch"] == "rebyte/fix"
        again = run(client, MEND, code=".", once="fix")
    assert again["changes"] == document["changes"]


def test_the_code_comes_home_by_the_line_that_goes_on(repo, rebyte):
    slow = far("sleep 1; echo late > late.txt")
    first = rebyte("run", "--code", ".", slow, "--once", "fix", "--max-wait", "0.5")
    assert first.code == 75
    again = rebyte("run", "--code", ".", slow, "--once", "fix")
    assert again.code == 0 and again["changes"]["files"] == 1


def test_words_that_cannot_be_right_are_told(repo, rebyte, tmp_path, monkeypatch):
    taken = rebyte("run", "--code", "Mend it.").error
    assert "--code took" in taken["message"] and "before --code" in taken["hint"]
    assert rebyte("run", "--leave", "x", "Mend it.").code == 2
    assert rebyte("run", "--code", ".", "--leave", "nope", "M").code == 2
    os.makedirs(str(repo / "sub"))
    assert rebyte("run", "--code", "sub", "Mend.").error["code"] == "not_the_root"
    plain = tmp_path / "plain"
    plain.mkdir()
    monkeypatch.chdir(plain)
    refused = rebyte("run", "--code", ".", "Mend it.")
    assert refused.code == 2 and refused.error["code"] == "no_repository"
    assert "--zip" in refused.error["hint"]
    monkeypatch.setenv("PATH", str(plain))
    refused = rebyte("run", "--code", ".", "Mend it.")
    assert refused.code == 2 and refused.error["code"] == "no_git"


def test_a_follow_up_is_told_to_publish_again_and_one_that_does_not_is_told_as_that(
    repo, rebyte
):
    rebyte("run", "--code", ".", MEND, "--once", "fix")
    shown = rebyte("follow-up", "@fix", "More.", "--dry-run")
    assert "demo-home.zip" in shown["body"]["prompt"]
    bare = rebyte("follow-up", "@fix", "More.", "--dry-run", "--bare")
    assert bare["body"]["prompt"] == "More."
    done = rebyte("follow-up", "@fix", "Only a question.", "--wait")
    assert done.code == 0 and done["changes"]["files"] == 0
    assert any("no new code" in text for text in done["warnings"])
    # In another task on the same machine the archive of the first is none of its own.
    other = rebyte("run", "--workspace", "@fix", "--code", ".", "Nothing.")
    assert other.code == 9 and other["missing"] == ["demo-home.zip"]


def test_a_tree_that_moves_under_a_running_task_is_warned_of(repo, rebyte):
    slow = far("sleep 1")
    first = rebyte("run", "--code", ".", slow, "--max-wait", "0.5")
    assert first.code == 75
    assert any("another task" in text for text in first["warnings"])


def test_a_name_in_use_says_how_to_go_on_with_its_task(repo, rebyte):
    first = rebyte("run", "--code", ".", MEND, "--once", "fix")
    write(repo, {"README": "other\n"})
    refused = rebyte("run", "--code", ".", MEND, "--once", "fix")
    assert refused.code == 2 and first["id"] in refused["next"][0]["run"]


@with_agent("true")
def test_what_an_agent_did_not_publish_is_asked_for_again(repo, rebyte):
    done = rebyte("run", "--code", ".", "Work.")
    assert done.code == 9 and done["missing"] == ["demo-home.zip"]
    lines = [step["run"] for step in done["next"] if "follow-up" in step.get("run", "")]
    assert len(lines) == 1 and "demo-home.zip" in lines[0]


@with_agent("printf 'no zip' > $ARTIFACTS_DIR/demo-home.zip")
def test_what_was_refused_is_asked_for_again_and_stays_as_it_came(
    repo, rebyte, tmp_path
):
    done = rebyte("run", "--code", ".", "Work.")
    assert done.code == 9 and done["refused"][0]["name"] == "demo-home.zip"
    path = done["refused"][0]["reason"].rpartition(" lies at ")[2]
    assert Path(path).read_text() == "no zip"
    assert any("was refused" in step["why"] for step in done["next"])
    out = rebyte("result", done["id"], "--out", str(tmp_path / "out"))
    assert out.code == 9 and "refused" in out.document


def test_a_wait_for_several_ends_with_nine_where_no_code_came(repo, rebyte):
    for name in ("one", "two"):
        rebyte("run", "--code", ".", "Nothing %s." % name, "--once", name)
    ran = rebyte("wait", "@one", "@two")
    assert ran.code == 9 and ran["tasks"][0]["missing"] == ["demo-home.zip"], ran
