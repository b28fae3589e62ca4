"""apply: all or nothing, never through a link, twice is once, and what would run by itself waits."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rebyte_flows.code.applying import journal as journals
from rebyte_flows.code.applying.journal import Journal, recover
from rebyte_flows.code.applying.working_tree import read_path, write_path
from rebyte_flows.code.changes import sensitive_name
from rebyte_wire.errors import RebyteError

from .conftest import git, make_repository, write
from .far_side import TASK, Trip

TEXT = "".join("line %d\n" % number for number in range(20))
FILES = {
    "a.txt": TEXT,
    "b.txt": TEXT,
    "gone.txt": "gone\n",
    "dir/c.bin": b"\0\1\2",
    "dir/d.txt": "d\n",
    "e.txt": "e\n",
    "f.txt": "f\n",
    "g.txt": "g\n",
}


@pytest.fixture
def folder(tmp_path):
    return make_repository(tmp_path / "demo", FILES)


def tree(folder):
    """Return what lies in a working tree: path -> (mode, content)."""
    found = {}
    for place, folders, names in os.walk(str(folder)):
        folders[:] = [name for name in folders if name != ".git"]
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in names + links:
            path = os.path.relpath(os.path.join(place, name), str(folder))
            found[path] = read_path(str(folder), path)
    return found


def changed(text, number, new):
    return text.replace("line %d\n" % number, new + "\n")


@pytest.fixture
def trip(folder, tmp_path):
    """A task that changed, added and deleted."""
    made = Trip(folder, tmp_path)
    made.files["a.txt"] = changed(TEXT, 3, "three").encode()
    made.files["dir/c.bin"] = b"\0changed"
    made.files["new/deep/file.txt"] = b"new\n"
    del made.files["gone.txt"]
    made.home()
    return made


def test_a_tree_that_nobody_touched_gets_all_of_it(folder, trip):
    index = (folder / ".git" / "index").read_bytes()
    assert trip.apply().conflicts == {}
    expected = {path: data for path, (_, data) in tree(folder).items()}
    assert expected == trip.files
    assert (folder / ".git" / "index").read_bytes() == index
    again = trip.apply()
    assert again.steps == [] and again.conflicts == {}


def test_changes_of_both_sides_that_do_not_touch_are_merged(folder, trip):
    write(folder, {"a.txt": changed(TEXT, 15, "mine"), "b.txt": "mine\n"})
    assert trip.apply().conflicts == {}
    both = changed(changed(TEXT, 15, "mine"), 3, "three")
    assert (folder / "a.txt").read_text() == both
    assert (folder / "b.txt").read_text() == "mine\n"
    assert trip.apply().steps == []


def test_a_merge_keeps_the_line_ends_that_lie_here(folder, trip):
    mine = changed(TEXT, 15, "mine").replace("\n", "\r\n").encode()
    write(folder, {"a.txt": mine})
    assert trip.apply().conflicts == {}
    both = changed(changed(TEXT, 15, "mine"), 3, "three").replace("\n", "\r\n")
    assert (folder / "a.txt").read_bytes() == both.encode()


OURS = {
    "the same lines": {"a.txt": changed(TEXT, 3, "mine")},
    "a binary": {"dir/c.bin": b"\0mine"},
    "deleted here, changed there": {"a.txt": None},
    "changed here, deleted there": {"gone.txt": "kept\n"},
    "added on both sides": {"new/deep/file.txt": "mine\n"},
    "a file where a folder has to be": {"new": "file\n"},
}


@pytest.mark.parametrize("kind", OURS)
def test_a_conflict_writes_nothing_and_names_the_path(folder, trip, kind):
    write(folder, OURS[kind])
    before = tree(folder)
    found = trip.apply()
    assert len(found.conflicts) == 1 and tree(folder) == before


def test_what_came_home_may_lie_beside_a_conflict(folder, trip):
    write(folder, OURS["the same lines"])
    trip.apply(beside=True)
    assert (folder / "a.txt").read_text() == changed(TEXT, 3, "mine")
    assert (folder / "a.txt.theirs").read_text() == changed(TEXT, 3, "three")
    assert (folder / "new" / "deep" / "file.txt").exists()


@pytest.mark.parametrize("where", ["outside", "inside"])
def test_nothing_is_written_through_a_link(folder, trip, tmp_path, where):
    target = tmp_path / "outside" if where == "outside" else folder / "dir"
    target.mkdir(exist_ok=True)
    os.symlink(str(target), str(folder / "new"))
    before = tree(folder)
    assert list(trip.apply().conflicts) == ["new/deep/file.txt"]
    assert tree(folder) == before and not (target / "deep").exists()
    os.unlink(str(folder / "new"))
    os.unlink(str(folder / "a.txt"))
    os.symlink(str(tmp_path / "victim"), str(folder / "a.txt"))
    (tmp_path / "victim").write_text(TEXT)
    assert "a.txt" in trip.apply().conflicts
    assert (tmp_path / "victim").read_text() == TEXT


def test_an_apply_is_taken_back_while_nothing_else_changed(folder, trip):
    write(folder, {"a.txt": changed(TEXT, 15, "mine")})
    os.chmod(str(folder / "a.txt"), 0o640)
    before = tree(folder)
    trip.apply()
    assert os.stat(str(folder / "a.txt")).st_mode & 0o777 == 0o640
    write(folder, {"a.txt": "later\n"})
    assert trip.undo() == ["a.txt"]
    assert (folder / "a.txt").read_text() == "later\n"
    both = changed(changed(TEXT, 15, "mine"), 3, "three")
    write(folder, {"a.txt": both})
    assert trip.undo() == []
    assert tree(folder) == before and not (folder / "new").exists()
    # And it can be applied once more.
    assert len(trip.apply().steps) == 4


def test_a_tree_that_was_reset_gets_it_again(folder, trip):
    trip.apply()
    git(folder, "checkout", "-q", "--", ".")
    os.unlink(str(folder / "new" / "deep" / "file.txt"))
    assert len(trip.apply().steps) == 4
    assert (folder / "a.txt").read_text() == changed(TEXT, 3, "three")


def test_a_tree_that_has_it_already_gets_nothing(folder, trip):
    git(folder, "merge", "-q", "--ff-only", "rebyte/11111111")
    assert trip.apply().steps == []


def test_a_folder_and_a_file_change_places(folder, tmp_path):
    made = Trip(folder, tmp_path)
    del made.files["dir/c.bin"], made.files["dir/d.txt"], made.files["gone.txt"]
    made.files["dir"] = b"a file now\n"
    made.files["gone.txt/inside"] = b"a folder now\n"
    found = made.home()
    assert "refused" not in found, found
    before = tree(folder)
    assert made.apply().conflicts == {}
    assert (folder / "dir").read_text() == "a file now\n"
    assert (folder / "gone.txt" / "inside").exists()
    assert made.undo() == [] and tree(folder) == before


KINDS = [
    ".github/workflows/ci.yml",
    ".gitlab-ci.yml",
    ".circleci/config.yml",
    "Jenkinsfile",
    "azure-pipelines.yml",
    ".husky/pre-commit",
    "hooks/pre-commit",
    ".githooks/x",
    ".pre-commit-config.yaml",
    "lefthook.yml",
    ".gitattributes",
    "sub/.gitmodules",
    ".vscode/tasks.json",
    ".idea/x.xml",
    ".devcontainer/devcontainer.json",
    "Makefile",
    "makefile",
    "GNUmakefile",
    "sub/Makefile.am",
    "Dockerfile",
    "docker-compose.yml",
    "package.json",
    "app/package.json",
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "uv.lock",
    "Cargo.lock",
    "go.sum",
    "Gemfile.lock",
    "composer.json",
    "AGENTS.md",
    "CLAUDE.md",
    "sub/SKILL.md",
    "GEMINI.md",
    ".cursor/rules/x.mdc",
    ".mcp.json",
    ".cursorrules",
    ".claude/settings.json",
    ".github/copilot-instructions.md",
    "setup.py",
    "conftest.py",
    "pyproject.toml",
    "build.gradle",
    "gradlew",
    "CMakeLists.txt",
    ".envrc",
    ".npmrc",
    "justfile",
    "Rakefile",
    "build.rs",
    "tox.ini",
    "requirements.txt",
    "AGENTS.MD",
    ".GitHub/Workflows/x.yml",
]
PLAIN = [
    "src/main.py",
    "README.md",
    "docs/agents/x.md",
    "test_dates.py",
    "makefiles.md",
    "packages.json",
]


@pytest.mark.parametrize("path", KINDS)
def test_what_would_run_by_itself_is_known(path):
    assert sensitive_name(path)


@pytest.mark.parametrize("path", PLAIN)
def test_what_runs_only_when_it_is_called_is_not(path):
    assert sensitive_name(path) is None


def test_what_would_run_by_itself_waits_until_it_is_allowed(folder, tmp_path):
    os.symlink("a.txt", str(folder / "old-link"))
    git(folder, "add", "-A")
    made = Trip(folder, tmp_path)
    made.files["Makefile"] = b"all:\n"
    made.files["tool.sh"] = b"#!/bin/sh\n"
    made.modes["tool.sh"] = 0o755
    made.modes["e.txt"] = 0o755
    made.links["link"] = "a.txt"
    made.links["old-link"] = "b.txt"
    made.files["plain.txt"] = b"plain\n"
    found = made.home()
    sensitive = ["Makefile", "e.txt", "link", "old-link", "tool.sh"]
    assert list(found["changes"])[0] == "sensitive"
    assert found["changes"]["sensitive"] == sensitive
    applied = made.apply()
    assert [step.path for step in applied.steps] == ["plain.txt"]
    assert sorted(applied.held) == sensitive
    more = made.apply(allow=["Makefile", "tool.sh"])
    assert [step.path for step in more.steps] == ["Makefile", "tool.sh"]
    assert os.access(str(folder / "tool.sh"), os.X_OK)
    assert sorted(more.held) == ["e.txt", "link", "old-link"]
    assert made.undo() == [] and not (folder / "Makefile").exists()
    assert (folder / "plain.txt").exists()


class Killed(BaseException):
    """The process is gone at this very moment."""


MOMENTS = 10
CALLS = ("replace", "unlink", "fsync", "chmod", "rmdir", "mkdir", "open", "symlink")


def mortal(patch, die_at):
    """Count the calls that change the disk, and die at one of them; returns the count."""
    count = [0]

    def wrap(function):
        def call(*words, **more):
            count[0] += 1
            if count[0] == die_at:
                raise Killed
            return function(*words, **more)

        return call

    for name in CALLS:
        patch.setattr(os, name, wrap(getattr(os, name)))
    return count


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_kill_at_any_moment_leaves_all_or_nothing(folder, trip, monkeypatch, moment):
    before = {path: data for path, (_, data) in tree(folder).items()}
    found = trip.plan()
    with monkeypatch.context() as patch:
        count = mortal(patch, -1)
        trip.carry_out(found)
        total = count[0]
    assert trip.undo() == [] and total > 20
    with monkeypatch.context() as patch:
        # From the first file that is written to the last word in the journal.
        mortal(patch, 1 + moment * (total - 1) // (MOMENTS - 1))
        with pytest.raises(Killed):
            trip.carry_out(found)
    recover(trip.repository)
    after = {path: data for path, (_, data) in tree(folder).items()}
    assert after in (before, trip.files)
    assert Journal(trip.repository, TASK).is_begun is False
    assert trip.apply().conflicts == {}
    assert {path: data for path, (_, data) in tree(folder).items()} == trip.files


def test_what_somebody_changed_after_a_kill_is_left_and_told(folder, trip, monkeypatch):
    def die(*words):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(journals, "write_path", die)
        trip.apply()
    write(folder, {"a.txt": "later\n"})
    said = recover(trip.repository)
    assert any("a.txt" in text for text in said)
    assert (folder / "a.txt").read_text() == "later\n"
    assert (folder / "new" / "deep" / "file.txt").exists()


def test_a_killed_process_is_finished_by_the_next_line(folder, trip, rebyte):
    script = (
        "import os, sys\nsys.path[:0] = [%r]\n"
        "from rebyte_flows.code.applying import journal\n"
        "from rebyte_flows.code.applying.journal import Journal\n"
        "from rebyte_flows.code.applying.application import plan\n"
        "from rebyte_flows.code.git import Repository\n"
        "from rebyte_flows.code.records import read_record\n"
        "from rebyte_flows.state import StateFolder\n"
        "write, seen = journal.write_path, []\n"
        "def mortal(*words):\n"
        "    if len(seen) == 2: os.kill(os.getpid(), 9)\n"
        "    seen.append(write(*words))\n"
        "journal.write_path = mortal\n"
        "repository = Repository(%r)\n"
        "record = read_record(StateFolder(%r), %r)\n"
        "made = Journal(repository, %r)\n"
        "found = plan(repository, record, made)\n"
        "made.run(found.steps, found.applied)\n"
    ) % (
        os.path.join(os.path.dirname(__file__), "..", "..", "..", "scripts"),
        str(folder),
        trip.state.path,
        TASK,
        TASK,
    )
    done = subprocess.run([sys.executable, "-c", script], timeout=60)
    assert done.returncode == -9
    assert recover(trip.repository)
    assert {path: data for path, (_, data) in tree(folder).items()} == trip.files


def test_writing_a_path_goes_through_no_folder_that_is_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    os.symlink("real", str(tmp_path / "link"))
    with pytest.raises(Exception, match="no folder"):
        write_path(str(tmp_path), "link/x", ("100644", b"x"))
    assert list((tmp_path / "real").iterdir()) == []
    assert read_path(str(tmp_path), "link/x") is None


def test_the_command_tells_conflicts_and_ways_out(repo, rebyte):
    from .conftest import far

    script = "sed -i.o 's/a - b/a + b/' calc.py; rm *.o; echo all: > Makefile"
    rebyte("run", "--code", ".", far(script), "--once", "fix")
    write(repo, {"calc.py": "def add(a, b):\n    return b\n"})
    refused = rebyte("apply", "@fix")
    assert refused.code == 9 and refused["conflicts"] == ["calc.py"]
    assert any("--theirs-beside" in step.get("run", "") for step in refused["next"])
    assert any("git merge rebyte/fix" in step["why"] for step in refused["next"])
    assert git(repo, "status", "--porcelain") == b" M calc.py\n"
    beside = rebyte("apply", "@fix", "--worktree", "../side")
    assert beside.code == 0 and beside["held"] == ["Makefile"]
    side = repo.parent / "side"
    assert "a + b" in (side / "calc.py").read_text()
    assert not (side / "Makefile").exists()
    assert git(side, "status", "--porcelain") == b" D Makefile\n"
    assert rebyte("apply", "@fix", "--worktree", "../side").code == 2
    git(repo, "checkout", "-q", "--", "calc.py")
    held = rebyte("apply", "@fix")
    assert held.code == 9 and held["held"][0]["path"] == "Makefile"
    assert rebyte("apply", "@fix", "--allow", "Makefile").code == 0
    assert rebyte("apply", "@fix", "--undo")["undone"] == ["Makefile"]
    assert rebyte("apply", "@fix", "--undo")["undone"] == ["calc.py"]
    assert rebyte("apply", "@fix", "--undo").error["code"] == "nothing_to_undo"
    assert git(repo, "status", "--porcelain") == b""


def test_a_task_without_code_from_here_is_told_as_that(repo, rebyte):
    done = rebyte("run", "Nothing.")
    for verb in ("diff", "apply"):
        refused = rebyte(verb, done["id"])
        assert refused.code == 5 and refused.error["code"] == "no_code"


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_disk_that_refuses_one_file_gets_none(folder, trip, monkeypatch, number):
    before = tree(folder)
    seen = []

    def refuse(*words):
        seen.append(words)
        if len(seen) == number:
            raise OSError(28, "No space left on device")
        return write_path(*words)

    with monkeypatch.context() as patch:
        patch.setattr(journals, "write_path", refuse)
        with pytest.raises(RebyteError, match="nothing was changed"):
            trip.apply()
    assert tree(folder) == before
    assert trip.apply().conflicts == {}
    assert {path: data for path, (_, data) in tree(folder).items()} == trip.files


def test_what_lies_beside_a_conflict_already_is_not_overwritten(folder, trip):
    write(folder, {"a.txt": changed(TEXT, 3, "mine"), "a.txt.theirs": "mine too\n"})
    trip.apply(beside=True)
    assert (folder / "a.txt.theirs").read_text() == "mine too\n"
    assert (folder / "a.txt.theirs2").read_text() == changed(TEXT, 3, "three")
