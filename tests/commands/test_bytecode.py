"""Bytecode of the bundle is kept where only its user can put it, and never beside the sources."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .conftest import DOOR



def version(cache, *flags, **more):
    """Run --version with a cache folder; return the bytecode files that lie there afterwards."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")}
    done = subprocess.run([sys.executable] + list(flags) + [DOOR, "--version"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=dict(env, XDG_CACHE_HOME=str(cache), **more), timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    return sorted(os.path.join(place, name) for place, _, names in os.walk(str(cache)) for name in names)


def test_the_second_call_finds_what_the_first_one_compiled(tmp_path):
    first = version(tmp_path)
    assert [path for path in first if "main." in path] and os.stat(str(tmp_path / "rebyte")).st_mode & 0o777 == 0o700
    before = {path: os.stat(path).st_mtime_ns for path in first}
    assert {path: os.stat(path).st_mtime_ns for path in version(tmp_path)} == before


def test_only_modules_of_the_bundle_are_kept_there(tmp_path):
    assert [path for path in version(tmp_path) if os.path.dirname(DOOR) not in path] == []


@pytest.mark.parametrize("flags, more", [(("-B",), {}), ((), {"PYTHONDONTWRITEBYTECODE": "1"})])
def test_who_wants_no_bytecode_gets_none(tmp_path, flags, more):
    assert version(tmp_path, *flags, **more) == []


def test_a_folder_that_others_can_write_to_is_neither_read_nor_written(tmp_path):
    (tmp_path / "rebyte").mkdir()
    (tmp_path / "rebyte").chmod(0o770)
    assert version(tmp_path) == []


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir(0o700)
    (tmp_path / "rebyte").symlink_to(tmp_path / "elsewhere")
    assert version(tmp_path) == []


def test_a_cache_that_cannot_be_made_is_done_without(tmp_path):
    (tmp_path / "rebyte").write_text("a file")
    assert version(tmp_path) == [str(tmp_path / "rebyte")]
    assert version("relative") == [] and not os.path.exists("relative")
