"""Archives that clumsy packers make: the work in them comes home, and what is no part of it does
not.
"""

from __future__ import annotations

import io
import os
import zipfile

import pytest

from .conftest import far, git, make_repository, write
from .far_side import Trip

FILES = {"a.txt": "a\n", "b.txt": "b\n", "dir/c.txt": "c\n", "run.sh": "#!/bin/sh\n"}


@pytest.fixture
def trip(tmp_path):
    made = Trip(make_repository(tmp_path / "demo", FILES), tmp_path)
    made.files["b.txt"] = b"changed\n"
    return made


def with_more(trip, names, root="demo/"):
    buffer = io.BytesIO(trip.zip(root=root))
    with zipfile.ZipFile(buffer, "a") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("names", "root"),
    [
        (["__MACOSX/._demo", "__MACOSX/demo/._a.txt"], "demo/"),
        (["__MACOSX/._a.txt"], ""),
        (["demo.tar.gz", "demo-code.sh"], "demo/"),
        (["code/demo.tar.gz", "code/artifacts/x"], "code/demo/"),
        (["report.txt", "demo-old/a.txt"], "demo/"),
        (["demo/demo-home.zip"], "demo/"),
    ],
)
def test_what_lies_beside_the_code_is_left_out_and_told(trip, names, root):
    found = trip.home(with_more(trip, names, root))
    assert found["changes"]["files"] == 1 and "kept" not in found["changes"], found
    assert any("beside the code" in text for text in found["warnings"])
    assert set(trip.entries()) == set(FILES)


def test_a_bad_name_beside_the_code_spoils_all_the_same(trip):
    assert trip.home(with_more(trip, ["../evil"]))["refused"]
    assert trip.home(with_more(trip, ["__MACOSX/.git/config"]))["refused"]


def test_a_disk_on_which_all_can_be_run_makes_no_programs(trip):
    trip.modes = dict.fromkeys(trip.modes, 0o777)
    found = trip.home()
    assert found["changes"]["files"] == 1 and "sensitive" not in found["changes"]


def test_a_text_of_some_size_keeps_its_line_ends(tmp_path):
    files = dict(FILES, **{"big.csv": "0123456789\n" * 150_000})
    folder = make_repository(tmp_path / "demo", files, "core.autocrlf=true")
    os.unlink(str(folder / "big.csv"))
    git(folder, "checkout", "--", "big.csv")
    trip = Trip(folder, tmp_path)
    assert b"\r\n" in trip.files["big.csv"]
    trip.files["big.csv"] += b"more\r\n"
    changes = trip.home()["changes"]
    assert (changes["added"], changes["removed"]) == (1, 0)


def test_a_tree_sent_anew_loses_no_earlier_result(repo, rebyte):
    rebyte("run", "--code", ".", far("echo first > first.txt"), "--once", "fix")
    first = git(repo, "rev-parse", "rebyte/fix").decode().strip()
    more = far("echo second > second.txt")
    done = rebyte("follow-up", "@fix", more, "--code", ".", "--wait")
    assert any(first[:10] in text for text in done["warnings"])
    git(repo, "gc", "-q", "--prune=now")
    assert git(repo, "show", first + ":first.txt") == b"first\n"


def test_what_git_keeps_encrypted_is_a_secret_in_the_clear(tmp_path):
    files = dict(FILES, **{".gitattributes": "vault/** filter=git-crypt-team\n"})
    folder = make_repository(tmp_path / "demo", files)
    for side in ("clean", "smudge"):
        git(folder, "config", "filter.git-crypt-team.%s" % side, "tr a-z n-za-m")
    write(folder, {"vault/plain.yml": "user: somebody\n"})
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "vault")
    with pytest.raises(Exception, match=r"vault/plain.yml \(git keeps it encrypted"):
        Trip(folder, tmp_path)
    sent = Trip(folder, tmp_path, leave=["vault"])
    assert set(sent.files) == set(FILES) | {".gitattributes"}
    write(folder, {"vault/new.yml": "user: nobody\n", "new.txt": "new\n"})
    sent = Trip(folder, tmp_path, leave=["vault/plain.yml"])
    assert set(sent.files) == set(FILES) | {".gitattributes", "new.txt"}
    assert sent.record.left_out["vault/new.yml"] == "git keeps it encrypted"


def test_what_lies_behind_a_link_that_git_ignores_is_ignored(trip, tmp_path):
    folder = trip.repository.root
    write(folder, {".git/info/exclude": "node_modules\n"})
    os.symlink(str(tmp_path), os.path.join(folder, "node_modules"))
    trip.files.update({"node_modules/%d/x.js" % n: b"x" for n in range(3)})
    changes = trip.home()["changes"]
    assert (changes["files"], changes["ignored"]) == (1, 3)
    os.symlink(str(tmp_path), os.path.join(folder, "plain"))
    trip.files["plain/x.js"] = b"x"
    changes = trip.home()["changes"]
    assert (changes["files"], changes["ignored"]) == (1, 3)
