"""Bytecode that is cut, changed or cannot be written is compiled anew, silently."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rebyte_commands.shell.bytecode import CachingLoader

from .conftest import DOOR

SPOILED = {
    "cut": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "empty": lambda data: b"",
    "no code behind a good head": lambda data: data[:16] + b"\0" * 200,
    "another byte": lambda data: data[:-40] + bytes([data[-40] ^ 1]) + data[-39:],
}


def cached(folder):
    return sorted(
        os.path.join(path, name)
        for path, _, names in os.walk(str(folder))
        for name in names
    )


def read(path):
    with open(path, "rb") as file:
        return file.read()


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run a command that keeps its bytecode below tmp_path, and return what it printed."""
    monkeypatch.delenv("PYTHONPYCACHEPREFIX")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Else it would tell of what this user started from other folders as well.
    monkeypatch.setenv("REBYTE_STATE_DIR", str(tmp_path / "state"))

    def run():
        done = subprocess.run(
            [sys.executable, DOOR, "ledger", "list"], capture_output=True, timeout=60
        )
        return done.returncode, done.stdout, done.stderr

    return run


GOOD = (0, b'{"rows":[],"total":0}\n', b"")


def test_a_spoiled_file_is_compiled_anew_and_healed(call, tmp_path):
    assert call() == GOOD
    files = cached(tmp_path / "cache")
    assert len(files) > 20
    kept = {path: read(path) for path in files}
    for number, path in enumerate(files):
        spoil = list(SPOILED.values())[number % len(SPOILED)]
        with open(path, "wb") as file:
            file.write(spoil(kept[path]))
    assert call() == GOOD
    assert {path: read(path) for path in files} == kept


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_bytecode_that_is_not_as_it_was_written_is_none(tmp_path, spoil):
    loader = CachingLoader("name", str(tmp_path / "name.py"))
    path = str(tmp_path / "folder" / "name.pyc")
    loader.set_data(path, b"head" * 4 + b"code" * 50)
    assert loader.get_data(path) == b"head" * 4 + b"code" * 50
    data = read(path)
    with open(path, "wb") as file:
        file.write(spoil(data))
    with pytest.raises(OSError):
        loader.get_data(path)


def test_what_the_disk_takes_in_part_is_not_kept(tmp_path, monkeypatch):
    loader = CachingLoader("name", str(tmp_path / "name.py"))
    path = str(tmp_path / "name.pyc")
    whole = os.write
    monkeypatch.setattr(os, "write", lambda file, data: whole(file, data[:10]))
    loader.set_data(path, b"code" * 50)
    assert os.listdir(str(tmp_path)) == []


def test_a_cache_that_cannot_be_written_is_done_without(call, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert call() == GOOD
