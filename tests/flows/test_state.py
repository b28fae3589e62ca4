"""The state folder: found, kept, pruned; whose locks can be trusted and whose cannot."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import time

import pytest

from rebyte_flows.state import (
    MARK_FILE,
    Owner,
    StateFolder,
    find_state,
    is_alive,
    lock_file,
    open_private,
    prune,
    try_lock,
)
from rebyte_wire.errors import LedgerUnwritable

DAY = 86_400


@pytest.fixture
def state(tmp_path):
    return StateFolder(str(tmp_path / "state"))


@pytest.fixture
def locks_fail(monkeypatch):
    """locks_fail(errno): from here on every lock fails so."""

    def fail(number):
        def flock(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("fcntl.flock", flock)

    return fail


@pytest.mark.parametrize(
    "number, locked",
    [
        (errno.EWOULDBLOCK, False),
        (errno.EACCES, False),
        (errno.ENOLCK, None),
        (errno.EOPNOTSUPP, None),
        (errno.ENOSYS, None),
        (errno.EIO, None),
    ],
)
def test_only_a_lock_that_another_has_is_held(tmp_path, locks_fail, number, locked):
    locks_fail(number)
    with open(str(tmp_path / "file"), "w") as file:
        assert try_lock(file) is locked and lock_file(file) is (locked is not False)


def test_where_there_are_no_locks_a_run_lives_as_long_as_its_process(state, locks_fail):
    locks_fail(errno.ENOLCK)
    owner = Owner(state)
    assert is_alive(state, owner.name)
    with open(
        os.path.join(state.folder("owners"), "999999999-0123456789ab"), "w"
    ) as file:
        name = os.path.basename(file.name)
    assert not is_alive(state, name) and not os.path.exists(file.name)
    owner.close()
    assert not is_alive(state, owner.name)


def test_a_machine_without_any_folder_is_told_so(monkeypatch, tmp_path):
    def fail():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnwritable, match="no folder for the ledger"):
        find_state({"HOME": str(tmp_path / "file")})


def test_the_temporary_folder_is_said_to_be_one(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    said = []
    (tmp_path / "file").write_text("")
    found = find_state({"HOME": str(tmp_path / "file")}, said.append)
    assert not found.lasting and found.path in said[0]
    os.chmod(found.path, 0o777)
    with pytest.raises(LedgerUnwritable):
        find_state({"HOME": str(tmp_path / "file")})


def leave(state, *names, days):
    """Leave a file of ours that was last changed so many days ago; return its path."""
    path = state.file(*names)
    with open(path, "w"):
        pass
    os.utime(path, (time.time() - days * DAY, time.time() - days * DAY))
    return path


MINE = [
    ("batches", "2019", "photos.zip"),
    ("answers", "exam.txt"),
    ("transcripts", "notes.md"),
    ("owners", "list"),
]
OWN = [
    ("batches", "0123456789abcdef", "results.jsonl"),
    ("answers", "result-0123456789ab.txt"),
    ("transcripts", "a-b.jsonl"),
    ("owners", "99999999-0123456789ab"),
]


def test_only_what_was_made_here_is_pruned(state):
    mine = [leave(state, *names, days=60) for names in MINE]
    own = [leave(state, *names, days=60) for names in OWN]
    for folder in ("2019", "0123456789abcdef"):
        os.utime(os.path.join(state.path, "batches", folder), (1e9, 1e9))
    prune(state)
    assert all(map(os.path.exists, mine)) and not any(map(os.path.exists, own))


def test_a_folder_of_somebody_else_is_not_pruned(tmp_path):
    theirs = tmp_path / "theirs"
    (theirs / "answers").mkdir(parents=True)
    state = find_state({"REBYTE_STATE_DIR": str(theirs)})
    old = leave(state, "answers", "result-0123456789ab.txt", days=60)
    prune(state)
    assert os.path.exists(old) and not state.own
    own = find_state({"REBYTE_STATE_DIR": str(tmp_path / "own")})
    assert own.own and os.path.exists(own.file(MARK_FILE))
    old = leave(own, "answers", "result-0123456789ab.txt", days=60)
    prune(find_state({"REBYTE_STATE_DIR": own.path}))
    assert not os.path.exists(old)


def test_a_clock_that_ran_ahead_does_not_stop_the_pruning(state):
    old = leave(state, "transcripts", "a.jsonl", days=60)
    leave(state, "pruned", days=-10)
    prune(state)
    assert not os.path.exists(old)
    late = leave(state, "transcripts", "b.jsonl", days=60)
    prune(state)
    assert os.path.exists(late)


def make_fifo(path, elsewhere):
    os.mkfifo(path)


def make_link(path, elsewhere):
    os.symlink(elsewhere, path)


def make_hard_link(path, elsewhere):
    os.link(elsewhere, path)


@pytest.mark.parametrize("make", [make_fifo, make_link, make_hard_link])
def test_a_private_file_takes_the_place_of_what_has_its_name(tmp_path, make):
    elsewhere, path = str(tmp_path / "elsewhere"), str(tmp_path / "file")
    with open(elsewhere, "w") as file:
        file.write("mine")
    make(path, elsewhere)
    with open_private(path) as file:
        file.write("new")
    with open(elsewhere) as theirs, open(path) as ours:
        assert theirs.read() == "mine" and ours.read() == "new"
    found = os.lstat(path)
    assert stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o600
    assert sorted(os.listdir(str(tmp_path))) == ["elsewhere", "file"]


def test_a_folder_in_its_place_and_a_device_are_left_alone(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        open_private(str(tmp_path / "folder"))
    assert os.listdir(str(tmp_path)) == ["folder"]
    os.symlink(os.devnull, str(tmp_path / "null"))
    open_private(str(tmp_path / "null")).close()
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    # No test replaces a real device: a file is taken for one.
    (tmp_path / "device").write_text("mine")
    monkeypatch.setattr("rebyte_flows.state.stat.S_ISCHR", lambda mode: True)
    with pytest.raises(OSError, match="device"):
        open_private(str(tmp_path / "device"))
    assert (tmp_path / "device").read_text() == "mine"
