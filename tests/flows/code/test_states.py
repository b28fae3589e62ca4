"""States that a repository can be in: what is sent and what comes home is the same in each, and
nothing of the user's is moved.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from rebyte_flows.code.git import open_repository
from rebyte_wire.errors import InputError

from .conftest import git, make_repository, write
from .far_side import Trip

FILES = {"a.txt": "one\ntwo\n", "b.txt": "b\n", "c.txt": "c\n", "dir/d.txt": "d\n"}


@pytest.fixture
def folder(tmp_path):
    return make_repository(tmp_path / "demo", FILES)


def commit(folder):
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "more")


ODD = ["Icon\r", "dir/Icon\r", 'q"\r\n', "GIT~1", ".GIT", "dir/.Git/config", ".git."]


def test_names_that_git_or_its_lines_cannot_take_spoil_nothing(folder, tmp_path):
    write(folder, dict.fromkeys(ODD, "x\n"))
    trip = Trip(folder, tmp_path)
    assert set(trip.files) == set(FILES) | set(ODD[:3])
    assert all(name in trip.record.left_out for name in ("GIT~1", ".GIT", ".git."))
    trip.files["b.txt"] = b"new\n"
    assert trip.home()["changes"]["files"] == 1
    assert trip.apply().conflicts == {}
    assert (folder / "GIT~1").read_text() == "x\n"


def test_a_split_index_gets_no_second_shared_part(folder, tmp_path):
    git(folder, "config", "core.splitIndex", "true")
    write(folder, {"new.txt": "new\n"})
    git(folder, "add", "new.txt")
    before = sorted(os.listdir(str(folder / ".git")))
    trip = Trip(folder, tmp_path)
    trip.files["b.txt"] = b"new\n"
    trip.home()
    assert sorted(os.listdir(str(folder / ".git"))) == before


def stop_a_rebase(folder, branch):
    write(folder, {"b.txt": "mine\n"})
    commit(folder)
    git(folder, "checkout", "-q", branch)
    git(folder, "rebase", "main", check=False)


def stop_a_bisection(folder, branch):
    git(folder, "checkout", "-q", branch)
    git(folder, "bisect", "start")
    git(folder, "checkout", "-q", "--detach")


@pytest.mark.parametrize("stop", [stop_a_rebase, stop_a_bisection])
@pytest.mark.parametrize("where", ["here", "in a linked working tree"])
def test_a_branch_that_git_goes_back_to_is_not_moved(folder, tmp_path, stop, where):
    trip = Trip(folder, tmp_path)
    trip.files["b.txt"] = b"new\n"
    branch = trip.home()["changes"]["branch"]
    place = folder
    if where != "here":
        place = tmp_path / "side"
        git(folder, "worktree", "add", "-q", "--detach", str(place))
    stop(place, branch)
    head = git(folder, "rev-parse", branch)
    trip.files["more.txt"] = b"more\n"
    assert trip.home()["changes"]["branch"] == branch + "-2"
    assert git(folder, "rev-parse", branch) == head


def test_a_link_stays_one_where_the_disk_has_none(folder, tmp_path):
    os.symlink("b.txt", str(folder / "link"))
    commit(folder)
    git(folder, "config", "core.symlinks", "false")
    os.unlink(str(folder / "link"))
    git(folder, "checkout", "--", "link")
    trip = Trip(folder, tmp_path)
    assert trip.links == {"link": "b.txt"}
    assert git(folder, "diff", "HEAD", trip.record.base) == b""


def test_the_hint_fits_what_git_says(folder, tmp_path):
    bare = tmp_path / "bare"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    places = {str(bare): "working tree", str(folder / ".git"): "working tree"}
    if hasattr(os, "getuid") and os.getuid() == 0:
        other = make_repository(tmp_path / "other", FILES)
        subprocess.check_call(["chown", "-R", "12345", str(other)])
        places[str(other)] = "safe.directory"
    for place, word in places.items():
        with pytest.raises(InputError) as caught:
            open_repository(place)
        assert word in caught.value.hint and "git init" not in caught.value.hint
