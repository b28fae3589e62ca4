"""Code there and back: the whole walk, from a dirty tree to applied changes."""

from __future__ import annotations

import shlex

from .conftest import MEND, far, git, write


def status(repo):
    """Return what git says of the tree, byte by byte, and the index with its times."""
    return git(repo, "status", "--porcelain=v2", "--branch", "-z"), (
        repo / ".git" / "index"
    ).read_bytes()


def test_a_dirty_tree_goes_out_and_its_changes_come_home_as_a_branch(repo, rebyte):
    write(repo, {"docs/notes.txt": "one\n2\nthree\n", "fresh.txt": "fresh\n"})
    before = status(repo)
    done = rebyte("run", "--code", ".", MEND, "--once", "fix")
    assert done.code == 0, done
    assert status(repo) == before
    changes = done["changes"]
    assert (changes["files"], changes["added"], changes["removed"]) == (2, 2, 1)
    assert changes["branch"] == "rebyte/fix"
    names = git(repo, "ls-tree", "-r", "--name-only", "rebyte/fix").decode().split()
    assert names == [
        "README",
        "added.txt",
        "calc.py",
        "docs/more.txt",
        "docs/notes.txt",
        "fresh.txt",
        "run.sh",
    ]
    parent = git(repo, "rev-parse", "rebyte/fix^").decode().strip()
    assert parent.startswith(changes["base"])
    assert git(repo, "show", parent + ":docs/notes.txt") == b"one\n2\nthree\n"
    assert git(repo, "rev-parse", parent + "^") == git(repo, "rev-parse", "HEAD")


def test_diff_looks_and_apply_writes_once_and_can_be_taken_back(repo, rebyte):
    write(repo, {"docs/notes.txt": "one\n2\nthree\n"})
    rebyte("run", "--code", ".", MEND, "--once", "fix")
    before = status(repo)
    seen = rebyte("diff", "@fix")
    assert seen.code == 0 and "+    return a + b" in seen["diff"]
    assert rebyte("diff", "@fix", "added.txt")["files"] == 1
    assert status(repo) == before
    applied = rebyte("apply", "@fix")
    assert applied.code == 0 and applied["applied"] == ["added.txt", "calc.py"]
    assert (repo / "calc.py").read_text() == "def add(a, b):\n    return a + b\n"
    assert (repo / "docs" / "notes.txt").read_text() == "one\n2\nthree\n"
    assert git(repo, "diff", "--cached", "--name-only") == b""
    again = rebyte("apply", "@fix")
    assert again.code == 0 and again["files"] == 0
    (repo / "added.txt").write_text("mine now\n")
    kept = rebyte("apply", "@fix", "--undo")
    assert kept.code == 9 and kept["conflicts"] == ["added.txt"]
    assert rebyte(*shlex.split(kept["next"][0]["run"])[2:]).code == 0
    (repo / "added.txt").write_text("new\n")
    assert rebyte("apply", "@fix", "--undo").code == 0
    assert status(repo)[0] == before[0]


def test_the_same_line_again_goes_on_and_another_tree_under_the_name_is_refused(
    repo, rebyte
):
    first = rebyte("run", "--code", ".", MEND, "--once", "fix")
    again = rebyte("run", "--code", ".", MEND, "--once", "fix")
    assert again["id"] == first["id"] and again["reused"] is True
    assert again["changes"] == first["changes"]
    write(repo, {"README": "other\n"})
    refused = rebyte("run", "--code", ".", MEND, "--once", "fix")
    assert refused.code == 2 and "files" in refused.error["message"]


def test_that_nothing_changed_is_said_whatever_the_answer_claims(repo, rebyte):
    done = rebyte("run", "--code", ".", far("echo I mended everything"))
    assert done.code == 0 and done["changes"]["files"] == 0
    assert any("nothing in the code was changed" in text for text in done["warnings"])
    assert git(repo, "branch", "--list", "rebyte/*") == b""
    shown = rebyte("diff", done["id"])
    assert shown.code == 0 and shown["files"] == 0 and "nothing" in shown["warnings"][0]
    assert rebyte("apply", done["id"]).error["code"] == "no_changes"


def test_code_that_was_not_published_is_missing(repo, rebyte):
    done = rebyte("run", "--code", ".", "Do nothing.")
    assert done.code == 9 and done["missing"] == ["demo-home.zip"]


def test_the_prompt_says_where_the_code_lies_and_what_to_publish(repo, rebyte):
    shown = rebyte("run", "--code", ".", "Mend it.", "--dry-run")
    assert "/code/demo.tar.gz" in shown["body"]["prompt"]
    assert "demo-home.zip" in shown["body"]["prompt"]
    assert shown["code"]["files"] == 5 and shown["code"]["largest"]
    bare = rebyte("run", "--code", ".", "Mend it.", "--dry-run", "--bare")
    assert bare["body"]["prompt"] == "Mend it."
    assert git(repo, "for-each-ref", "refs/rebyte") == b""
