"""Both sides of an apply, where each did something that the other did not see: nothing is lost, and
twice is once.
"""

from __future__ import annotations

import os
import shutil
import stat

import pytest

from rebyte_flows.code.applying import application
from rebyte_flows.code.applying.journal import Journal, recover
from rebyte_flows.code.records import CodeRecord, read_record, write_record
from rebyte_flows.state import StateFolder
from rebyte_wire.errors import RebyteError

from .conftest import far, git, make_repository, write
from .far_side import TASK, Trip

TEXT = "".join("line %d\n" % number for number in range(12))
FILES = {"a.txt": TEXT, "c.bin": b"\0\1", "empty": "", "Makefile": TEXT, "z.txt": "z\n"}


def repository(tmp_path, *settings):
    return make_repository(tmp_path / "demo", FILES, *settings)


def mode_of(folder, path):
    return stat.S_IMODE(os.stat(str(folder / path)).st_mode) & 0o111


def test_a_mode_and_a_content_changed_on_two_sides_fit_together(tmp_path):
    folder = repository(tmp_path)
    trip = Trip(folder, tmp_path)
    trip.files["c.bin"] = b"\0theirs"
    trip.home()
    os.chmod(str(folder / "c.bin"), 0o755)
    assert trip.apply().conflicts == {}
    assert (folder / "c.bin").read_bytes() == b"\0theirs" and mode_of(folder, "c.bin")


def test_a_disk_that_tells_no_modes_makes_no_conflict(tmp_path):
    folder = repository(tmp_path)
    git(folder, "update-index", "--chmod=+x", "c.bin", "z.txt")
    git(folder, "commit", "-q", "-m", "modes")
    git(folder, "config", "core.fileMode", "false")
    trip = Trip(folder, tmp_path)
    trip.files["c.bin"] = b"\0theirs"
    del trip.files["z.txt"]
    trip.home()
    assert trip.apply().conflicts == {}
    assert (folder / "c.bin").read_bytes() == b"\0theirs"
    os.chmod(str(folder / "c.bin"), 0o644)
    assert trip.undo() == [] and (folder / "z.txt").exists()


def put_folder(path):
    path.mkdir()
    (path / "mine").write_text("mine\n")


@pytest.mark.parametrize("put", [put_folder, os.mkfifo])
def test_what_is_no_file_is_never_merged_with_one(tmp_path, put):
    folder = repository(tmp_path)
    trip = Trip(folder, tmp_path)
    trip.files["empty"] = b"full\n"
    trip.home()
    os.unlink(str(folder / "empty"))
    put(folder / "empty")
    assert list(trip.apply().conflicts) == ["empty"]


@pytest.mark.parametrize("settings", [(), ("core.autocrlf=true",)])
def test_what_was_allowed_once_is_not_held_back_for_ever(tmp_path, settings):
    folder = repository(tmp_path, *settings)
    os.unlink(str(folder / "Makefile"))
    git(folder, "checkout", "--", "Makefile")
    trip = Trip(folder, tmp_path)
    trip.files["Makefile"] = trip.files["Makefile"].replace(b"line 3", b"three")
    trip.home()
    mine = (folder / "Makefile").read_bytes().replace(b"line 9", b"nine")
    write(folder, {"Makefile": mine})
    assert list(trip.apply().held) == ["Makefile"]
    assert trip.apply(allow=["Makefile"]).steps
    again = trip.apply()
    assert again.held == {} and again.steps == []


def test_what_lies_beside_a_conflict_takes_no_name_of_the_task(tmp_path):
    folder = repository(tmp_path)
    trip = Trip(folder, tmp_path)
    trip.files["z.txt"] = b"theirs\n"
    trip.files["z.txt.theirs"] = b"a file of its own\n"
    trip.home()
    write(folder, {"z.txt": "mine\n"})
    trip.apply(beside=True)
    assert (folder / "z.txt.theirs").read_bytes() == b"a file of its own\n"
    assert (folder / "z.txt.theirs2").read_bytes() == b"theirs\n"


def test_with_every_name_beside_taken_nothing_is_written_over(tmp_path, monkeypatch):
    monkeypatch.setattr(application, "BESIDE_MOST", 4)
    folder = repository(tmp_path)
    trip = Trip(folder, tmp_path)
    trip.files.update({"z.txt": b"theirs\n", "a.txt": b"new\n"})
    trip.home()
    taken = ["z.txt.theirs", "z.txt.theirs2", "z.txt.theirs3"]
    mine = {name: "mine %s\n" % name for name in ["z.txt", *taken]}
    write(folder, mine)
    found = trip.apply(beside=True)
    assert list(found.conflicts) == ["z.txt"]
    assert [step.path for step in found.steps] == ["a.txt"]
    assert {name: (folder / name).read_text() for name in mine} == mine
    os.unlink(str(folder / taken[1]))
    assert [step.path for step in trip.apply(beside=True).steps] == [taken[1]]
    assert (folder / taken[1]).read_text() == "theirs\n"


def test_who_only_looks_leaves_nothing_and_is_told_of_a_path_that_means_nothing(
    repo, rebyte
):
    rebyte("run", "--code", ".", far("echo all: > docs/Makefile"), "--once", "fix")
    shown = rebyte("diff", "@fix", "docs", "Makefile")
    assert shown["files"] == 1 and "at Makefile" in shown["warnings"][0]
    assert not (repo / ".git" / "rebyte").exists()
    held = rebyte("apply", "@fix", "--allow", "Makefile")
    assert held.code == 9 and "root of the repository" in held["warnings"][0]


def test_a_change_of_more_paths_than_one_line_takes_is_shown(repo, rebyte, monkeypatch):
    from rebyte_commands.verbs import code

    monkeypatch.setattr(code, "PATHS_AT_ONCE", 2)
    script = "for n in 1 2 3 4 5; do echo $n > n$n.txt; done"
    rebyte("run", "--code", ".", far(script), "--once", "fix")
    for words in ([], ["n*"]):
        shown = rebyte("diff", "@fix", *words)
        assert shown["diff"].count("diff --git") == shown["files"] == 5
    assert "diff" not in rebyte("diff", "@fix", "nowhere").document


def test_what_lies_beside_already_is_not_told_as_written(tmp_path):
    folder = repository(tmp_path)
    trip = Trip(folder, tmp_path)
    trip.files["z.txt"] = b"theirs\n"
    trip.home()
    write(folder, {"z.txt": "mine\n"})
    assert trip.apply(beside=True).steps
    assert trip.apply(beside=True).steps == []


@pytest.mark.parametrize("how", ["undone", "failed"])
def test_a_second_result_fits_again_after_it_was_taken_back(tmp_path, monkeypatch, how):
    folder = repository(tmp_path)
    trip = Trip(folder, tmp_path)
    for text in (b"first\n", b"second\n"):
        trip.files["z.txt"] = text
        trip.home()
        if text == b"second\n" and how == "failed":
            with monkeypatch.context() as patch, pytest.raises(RebyteError):
                patch.setattr(Journal, "finish", fail)
                trip.apply()
        else:
            assert trip.apply().steps
    assert how == "failed" or trip.undo() == []
    assert (folder / "z.txt").read_bytes() == b"first\n"
    found = trip.apply()
    assert found.conflicts == {} and (folder / "z.txt").read_bytes() == b"second\n"
    assert trip.undo() == trip.undo() == []
    assert (folder / "z.txt").read_bytes() == b"z\n"


def fail(journal):
    raise OSError("the disk is full")


def test_what_a_cut_off_apply_left_is_told_beside_another_working_tree(
    repo, rebyte, monkeypatch
):
    rebyte("run", "--code", ".", far("echo new > new.txt"), "--once", "fix")
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "finish", None)
        assert rebyte("apply", "@fix").code == 1
    told = rebyte("apply", "@fix", "--worktree", "../side")
    assert told.code == 0 and "cut off" in told["warnings"][0]
    assert (repo / "new.txt").read_text() == "new\n"


def test_an_undo_goes_alone(repo, rebyte):
    for words in (["--allow", "x"], ["--worktree", "../x"], ["--theirs-beside"]):
        refused = rebyte("apply", "@fix", "--undo", *words)
        assert refused.code == 2 and "alone" in refused.error["message"]


def test_what_git_has_cleaned_away_is_brought_home_again(repo, rebyte):
    rebyte("run", "--code", ".", far("echo new > new.txt"), "--once", "fix")
    git(repo, "branch", "-q", "-D", "rebyte/fix")
    names = git(repo, "for-each-ref", "--format=%(refname)", "refs/rebyte/tasks")
    for name in names.decode().split():
        git(repo, "update-ref", "-d", name)
    git(repo, "gc", "-q", "--prune=now")
    for verb in ("diff", "apply"):
        lost = rebyte(verb, "@fix")
        assert lost.code == 5 and " result " in lost.error["hint"]
    assert rebyte("result", "@fix")["changes"]["branch"] == "rebyte/fix"
    assert rebyte("apply", "@fix")["applied"] == ["new.txt"]


def test_what_is_known_nowhere_any_more_says_what_is_left(
    repo, rebyte, monkeypatch, tmp_path
):
    done = rebyte("run", "--code", ".", far("echo new > new.txt"), "--once", "fix")
    shutil.rmtree(str(tmp_path / "state" / "code"))
    get = "artifacts get %s --out DIR" % done["id"]
    for verb in ("diff", "apply"):
        lost = rebyte(verb, "@fix")
        assert lost.code == 5 and "state folder" in lost.error["message"]
        hint = lost.error["hint"]
        assert get in hint and "git show refs/rebyte/tasks/" + done["id"] in hint
    # On another machine not even the name of the task is known.
    monkeypatch.setenv("REBYTE_STATE_DIR", str(tmp_path / "other"))
    monkeypatch.chdir(tmp_path)
    words = ("result", done["id"], "--workspace", done["workspaceId"])
    found = rebyte(*words)
    said = [text for text in found["warnings"] if "demo-home.zip" in text]
    assert len(said) == 1 and get in said[0]
    assert rebyte("diff", done["id"]).error["code"] == "no_code"
    assert rebyte(*words, "--no-code")["warnings"] == done["warnings"]


@pytest.mark.parametrize("text", ["[]", '{"operations": [{"x": 1}], "applied": {}}'])
def test_a_journal_that_somebody_spoiled_stops_nothing(tmp_path, text):
    folder = repository(tmp_path)
    trip = Trip(folder, tmp_path)
    trip.files["z.txt"] = b"theirs\n"
    trip.home()
    write(folder, {".git/rebyte/%s.json" % TASK: text})
    assert recover(trip.repository) == []
    assert trip.apply().steps


def test_of_two_places_that_know_a_task_the_one_counts_that_knows_more(tmp_path):
    places = [str(tmp_path / name) for name in ("usual", "sandbox")]
    for place, results in zip(places, ([], ["b" * 40])):
        values = {"repository": "/", "name": "x", "base": "a" * 40, "results": results}
        write_record(StateFolder(place), TASK, CodeRecord(values))
    for first, second in (places, places[::-1]):
        record = read_record(StateFolder(first, others=[second]), TASK)
        assert record.results == ["b" * 40]
