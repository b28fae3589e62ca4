"""Each kind of tree and repository: what is sent, what the base is, and what comes home."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import zipfile

import pytest

from rebyte_flows.code.git import Repository, find_repository, open_repository
from rebyte_flows.code.records import CodeRecord
from rebyte_flows.code.sending.script import CodeScript
from rebyte_wire.errors import InputError, RebyteError

from .conftest import git, make_repository, write
from .far_side import Trip

FILES = {"a.txt": "one\ntwo\nthree\n", "dir/b.txt": "b\n", "dir/c.bin": b"\0\1\2"}


@pytest.fixture
def folder(tmp_path):
    return make_repository(tmp_path / "demo", FILES)


def commit(folder, *words):
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "more", *words)


def status(folder):
    return git(folder, "status", "--porcelain=v2", "-z", "--branch")


def test_uncommitted_new_deleted_and_renamed_files_go_out_as_they_lie(folder, tmp_path):
    os.rename(str(folder / "dir" / "b.txt"), str(folder / "renamed.txt"))
    write(folder, {"a.txt": "changed\n", "dir/c.bin": None, "new/x": "x"})
    git(folder, "add", "renamed.txt")
    before = status(folder)
    trip = Trip(folder, tmp_path)
    assert trip.files == {
        "a.txt": b"changed\n",
        "renamed.txt": b"b\n",
        "new/x": b"x",
    }
    assert set(trip.entries(trip.record.base)) == set(trip.files)
    assert status(folder) == before
    assert git(folder, "fsck", "--full", "--strict") == b""


def test_the_same_tree_twice_is_the_same_archive_and_another_is_not(folder, tmp_path):
    first = Trip(folder, tmp_path).tree
    os.utime(str(folder / "a.txt"), (1, 1))
    second = Trip(folder, tmp_path).tree
    with first.open() as one, second.open() as other:
        assert one.read() == other.read()
    assert first.sha256 == second.sha256
    write(folder, {"a.txt": "other\n"})
    assert Trip(folder, tmp_path).tree.sha256 != first.sha256


def test_modes_go_out_and_come_home(folder, tmp_path):
    os.chmod(str(folder / "a.txt"), 0o755)
    os.chmod(str(folder / "dir" / "b.txt"), 0o755)
    commit(folder)
    trip = Trip(folder, tmp_path)
    assert trip.modes["a.txt"] == 0o755 and trip.modes["dir/c.bin"] == 0o644
    trip.modes["dir/c.bin"] = 0o755
    trip.modes["a.txt"] = 0o644
    found = trip.home()
    assert found["changes"]["files"] == 2
    assert found["changes"]["sensitive"] == ["dir/c.bin"]
    assert trip.entries()["a.txt"][0] == "100644"
    assert trip.entries()["dir/c.bin"][0] == "100755"


@pytest.mark.parametrize("how", ["none are told", "all are lost"])
def test_modes_that_the_archive_does_not_tell_stay(folder, tmp_path, how):
    for name in ("a.txt", "dir/b.txt"):
        os.chmod(str(folder / name), 0o755)
    commit(folder)
    trip = Trip(folder, tmp_path)
    if how == "all are lost":
        trip.modes = dict.fromkeys(trip.modes, 0o600)
    found = trip.home(modes=how == "all are lost")
    assert found["changes"]["files"] == 0


ODD = {
    "tab\there.txt": "t",
    "line\nbreak.txt": "l",
    '"quoted".txt': "q",
    " blank": "b",
    "-dash": "d",
    "e\u0301-nfd.txt": "nfd",
    "\u00e9-nfc.txt": "nfc",
    "\u65e5\u672c\u8a9e/\u00fc.txt": "u",
    "back\\slash": "s",
    "aux.c": "device",
    "a:b": "colon",
    "*?[x]": "glob",
    "Case": "1",
    "case": "2",
}


def test_odd_names_go_out_and_come_home(folder, tmp_path):
    write(folder, ODD)
    trip = Trip(folder, tmp_path)
    assert set(ODD) < set(trip.files)
    commit(folder)
    trip = Trip(folder, tmp_path)
    for path in ODD:
        trip.files[path] += b" more"
    found = trip.home()
    assert found["changes"]["files"] == len(ODD), found
    assert trip.apply(allow=["*"]).conflicts == {}
    assert (folder / "line\nbreak.txt").read_bytes() == b"l more"


def test_an_archive_without_the_flag_for_utf8_is_read_right(folder, tmp_path):
    write(folder, {"\u00fc.txt": "u\n"})
    trip = Trip(folder, tmp_path)
    data = bytearray(trip.zip())
    for mark, place in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        start = data.find(mark)
        while start >= 0:
            data[start + place] &= ~0x08
            start = data.find(mark, start + 4)
    assert trip.home(bytes(data))["changes"]["files"] == 0


def test_a_repository_without_a_commit(tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main", ".")
    with pytest.raises(InputError, match="nothing to send"):
        Trip(folder, tmp_path)
    write(folder, {"first.txt": "1\n"})
    trip = Trip(folder, tmp_path)
    trip.files["second.txt"] = b"2\n"
    assert trip.home()["changes"]["files"] == 1
    assert git(folder, "rev-list", "--count", trip.record.base) == b"1\n"
    assert trip.apply().steps
    assert (folder / "second.txt").read_text() == "2\n"
    assert git(folder, "status", "--porcelain") == b"?? first.txt\n?? second.txt\n"


def test_a_detached_head(folder, tmp_path):
    git(folder, "checkout", "-q", "--detach")
    trip = Trip(folder, tmp_path)
    trip.files["new"] = b"n"
    assert trip.home()["changes"]["branch"] == "rebyte/11111111"
    assert git(folder, "rev-parse", trip.record.base + "^") == git(
        folder, "rev-parse", "HEAD"
    )


def test_a_linked_working_tree(folder, tmp_path):
    git(folder, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    side = tmp_path / "side"
    write(side, {"a.txt": "side\n"})
    trip = Trip(side, tmp_path)
    assert trip.files["a.txt"] == b"side\n"
    trip.files["new"] = b"n"
    trip.home()
    assert trip.apply().steps and (side / "new").exists()
    assert not (folder / "new").exists()
    assert status(folder).count(b"\0") == 2


def test_a_shallow_and_a_partial_clone_whose_origin_is_gone(folder, tmp_path):
    write(folder, {"a.txt": "second\n"})
    commit(folder)
    git(folder, "config", "uploadpack.allowFilter", "true")
    url = "file://" + str(folder)
    for flag in ("--depth=1", "--filter=blob:none"):
        copy = tmp_path / flag.strip("-").partition("=")[0] / "demo"
        git(tmp_path, "clone", "-q", flag, url, str(copy))
    os.rename(str(folder), str(tmp_path / "gone"))
    for kind in ("depth", "filter"):
        copy = tmp_path / kind / "demo"
        write(copy, {"dir/b.txt": "dirty\n"})
        trip = Trip(copy, tmp_path)
        trip.files["a.txt"] += b"more\n"
        assert trip.home()["changes"]["files"] == 1
        assert trip.apply().conflicts == {}
        assert (copy / "a.txt").read_text() == "second\nmore\n"


def test_a_sparse_checkout_keeps_what_is_not_here(folder, tmp_path):
    git(folder, "sparse-checkout", "set", "--no-cone", "/a.txt")
    assert not (folder / "dir").exists()
    trip = Trip(folder, tmp_path)
    assert set(trip.files) == {"a.txt"}
    trip.files["a.txt"] = b"changed\n"
    found = trip.home()
    assert found["changes"]["files"] == 1 and "kept" not in found["changes"]
    assert set(trip.entries()) == set(FILES)


def test_a_submodule_comes_along_and_keeps_its_place(folder, tmp_path):
    other = make_repository(tmp_path / "other", {"lib.c": "lib\n", "sub/x": "x\n"})
    git(
        folder,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "-q",
        "add",
        str(other),
        "lib",
    )
    commit(folder)
    trip = Trip(folder, tmp_path)
    assert trip.files["lib/lib.c"] == b"lib\n" and trip.files["lib/sub/x"] == b"x\n"
    assert trip.entries(trip.record.base)["lib"][0] == "160000"
    trip.files["a.txt"] = b"changed\n"
    assert trip.home()["changes"]["files"] == 1
    assert trip.entries()["lib"][0] == "160000"
    trip.files["lib/lib.c"] = b"changed\n"
    found = trip.home()
    assert found["changes"]["files"] == 0
    assert any("submodule" in text for text in found["warnings"])
    # What is kept encrypted in it is a secret there as well.
    write(folder / "lib", {".gitattributes": "lib.c filter=git-crypt\n"})
    git(folder / "lib", "config", "filter.git-crypt.smudge", "cat")
    with pytest.raises(RebyteError, match=r"lib/lib.c \(git keeps it encrypted"):
        Trip(folder, tmp_path)


def test_a_submodule_that_is_not_checked_out_is_named(folder, tmp_path):
    other = make_repository(tmp_path / "other", {"lib.c": "lib\n"})
    git(
        folder,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "-q",
        "add",
        str(other),
        "lib",
    )
    commit(folder)
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(folder), str(copy))
    trip = Trip(copy, tmp_path)
    assert "lib" in trip.record.left_out
    trip.files["a.txt"] = b"changed\n"
    assert trip.home()["changes"]["files"] == 1
    assert trip.entries()["lib"][0] == "160000"


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 5\n" % (
    "0" * 64
)


def test_what_cannot_be_sent_is_named_and_kept(folder, tmp_path):
    write(folder, {"big.psd": POINTER})
    os.symlink("/etc/passwd", str(folder / "abs"))
    os.symlink("../outside", str(folder / "out"))
    os.symlink("dir/../../x", str(folder / "out2"))
    os.symlink("dir", str(folder / "in"))
    os.symlink("missing", str(folder / "dangling"))
    commit(folder)
    os.mkfifo(str(folder / "pipe"))
    make_repository(folder / "nested", {"own.txt": "own\n"})
    with socket.socket(socket.AF_UNIX) as unix:
        os.chdir(str(folder))
        unix.bind("sock")
        trip = Trip(folder, tmp_path)
    assert {path.rstrip("/") for path in trip.record.left_out} >= {
        "big.psd",
        "abs",
        "out",
        "out2",
        "nested",
    }
    assert trip.links == {"in": "dir", "dangling": "missing"}
    assert "nested/own.txt" not in trip.files
    assert trip.home()["changes"]["files"] == 0
    assert {"big.psd", "abs", "out"} <= set(trip.entries())


def test_links_that_a_packer_followed_stay_links(folder, tmp_path):
    os.symlink("dir", str(folder / "in"))
    os.symlink("a.txt", str(folder / "same"))
    commit(folder)
    trip = Trip(folder, tmp_path)
    trip.links.clear()
    trip.files["a.txt"] = b"changed\n"
    trip.files["same"] = b"changed\n"
    trip.files["in/b.txt"] = trip.files["dir/b.txt"]
    trip.files["in/c.bin"] = trip.files["dir/c.bin"]
    assert trip.home()["changes"]["files"] == 1
    assert trip.entries()["in"][0] == trip.entries()["same"][0] == "120000"


def test_more_than_a_file_may_have_is_told_before_anything_is_sent(folder, tmp_path):
    write(folder, {"large.bin": os.urandom(60_000), "medium.bin": os.urandom(30_000)})
    with pytest.raises(InputError) as caught:
        Trip(folder, tmp_path, limit=50_000)
    assert caught.value.code == "code_too_large"
    largest = caught.value.details["largest"]
    assert [item["path"] for item in largest][:2] == ["large.bin", "medium.bin"]
    assert Trip(folder, tmp_path, limit=50_000, leave=["large.bin"]).files


def test_what_git_ignores_neither_goes_out_nor_comes_home(folder, tmp_path):
    write(folder, {".gitignore": "build/\n*.o\n", "x.o": "o", "build/out": "out"})
    trip = Trip(folder, tmp_path)
    assert not {"x.o", "build/out"} & set(trip.files)
    trip.files.update({"y.o": b"o", "build/deep/out": b"o", "kept.txt": b"k"})
    found = trip.home()
    assert found["changes"]["files"] == 1 and found["changes"]["ignored"] == 2
    assert "build/deep/out" not in trip.entries()


def test_a_part_of_the_tree_deletes_nothing(folder, tmp_path):
    write(folder, {"m%d.txt" % number: "m" for number in range(6)})
    trip = Trip(folder, tmp_path)
    whole = dict(trip.files)
    trip.files = {"a.txt": b"changed\n", "new.txt": b"new\n"}
    found = trip.home()
    assert found["changes"]["files"] == 2 and found["changes"]["kept"] == 8
    assert any("whole" in text for text in found["warnings"])
    trip.files = {path: whole[path] for path in whole if path != "m0.txt"}
    found = trip.home()
    assert "m0.txt" not in trip.entries() and "kept" not in found["changes"]


@pytest.mark.parametrize("root", ["", "demo/", "code/demo/", "./", "anything/"])
def test_the_archive_may_hold_the_tree_anywhere(folder, tmp_path, root):
    trip = Trip(folder, tmp_path)
    trip.files["new.txt"] = b"new\n"
    found = trip.home(root=root)
    assert found["changes"]["files"] == 1, found
    assert "new.txt" in trip.entries()


def crlf(text):
    return text.replace("\n", "\r\n").encode()


@pytest.mark.parametrize("autocrlf", ["true", "input", "false"])
@pytest.mark.parametrize("attribute", ["", "* text=auto\n", "*.txt text eol=crlf\n"])
def test_line_ends_make_no_change_of_their_own(tmp_path, autocrlf, attribute):
    folder = make_repository(tmp_path / "demo", FILES, "core.autocrlf=false")
    write(folder, {".gitattributes": attribute, "win.txt": crlf("w\nx\n")})
    git(folder, "-c", "core.autocrlf=false", "add", "-A")
    commit(folder)
    git(folder, "config", "core.autocrlf", autocrlf)
    for path in ("a.txt", "dir/b.txt", "win.txt"):
        os.unlink(str(folder / path))
    git(folder, "checkout", "--", ".")
    lies = (folder / "a.txt").read_bytes()
    before = status(folder)
    trip = Trip(folder, tmp_path)
    assert trip.files["a.txt"] == lies
    assert status(folder) == before
    if b" M " not in before and b".M" not in before:
        assert git(folder, "diff", "HEAD", trip.record.base) == b""
    # The far side writes LF, or CRLF, everywhere.
    for convert in (lambda data: data.replace(b"\r\n", b"\n"), None):
        if convert is None:
            trip.files = {
                path: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
                if b"\0" not in data
                else data
                for path, data in trip.files.items()
            }
        else:
            trip.files = {path: convert(data) for path, data in trip.files.items()}
        assert trip.home()["changes"]["files"] == 0
    trip.files["a.txt"] = b"one\r\n2\r\nthree\r\n"
    found = trip.home()
    assert (found["changes"]["added"], found["changes"]["removed"]) == (1, 1)
    assert trip.apply().conflicts == {}
    style = b"\r\n" if b"\r\n" in lies else b"\n"
    assert (folder / "a.txt").read_bytes() == b"one\n2\nthree\n".replace(b"\n", style)


TRAP = "#!/bin/sh\ntouch '%s'\ncat\n"


def test_no_hook_filter_monitor_or_driver_of_the_repository_is_run(tmp_path):
    sprung = tmp_path / "sprung"
    trap = tmp_path / "trap"
    trap.write_text(TRAP % sprung)
    trap.chmod(0o755)
    folder = make_repository(tmp_path / "demo", FILES)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in [
        "pre-commit",
        "post-commit",
        "commit-msg",
        "prepare-commit-msg",
        "post-checkout",
        "post-index-change",
        "reference-transaction",
        "pre-receive",
        "update",
        "post-update",
        "post-receive",
        "post-merge",
        "fsmonitor-watchman",
        "pre-auto-gc",
        "applypatch-msg",
        "push-to-checkout",
    ]:
        for place in (hooks, folder / ".git" / "hooks"):
            place.mkdir(exist_ok=True)
            shutil.copy(str(trap), str(place / name))
    write(folder, {".gitattributes": "* filter=trap diff=trap merge=trap text=auto\n"})
    (folder / ".git" / "info").mkdir(exist_ok=True)
    (folder / ".git" / "info" / "attributes").write_text("* filter=trap diff=trap\n")
    for setting in (
        "core.hooksPath=%s" % hooks,
        "core.fsmonitor=%s" % trap,
        "core.pager=%s" % trap,
        "core.editor=%s" % trap,
        "core.sshCommand=%s" % trap,
        "filter.trap.clean=%s" % trap,
        "filter.trap.smudge=%s" % trap,
        "filter.trap.process=%s" % trap,
        "filter.trap.required=true",
        "diff.external=%s" % trap,
        "diff.trap.command=%s" % trap,
        "diff.trap.textconv=%s" % trap,
        "merge.trap.driver=%s" % trap,
        "receive.denyCurrentBranch=updateInstead",
        "commit.gpgSign=true",
        "gpg.program=%s" % trap,
        "pager.diff=%s" % trap,
        "interactive.diffFilter=%s" % trap,
        "credential.helper=%s" % trap,
        "uploadpack.packObjectsHook=%s" % trap,
        "core.alternateRefsCommand=%s" % trap,
        "core.askPass=%s" % trap,
        "gc.auto=1",
        "alias.ls-files=!%s" % trap,
        "alias.diff-tree=!%s" % trap,
    ):
        git(folder, "config", *setting.split("=", 1))
    write(folder, {"a.txt": "ONE\ntwo\nthree\n", "new.txt": "new\n"})
    trip = Trip(folder, tmp_path)
    trip.files["a.txt"] = b"one\n2\nthree\n"
    trip.files["dir/b.txt"] = b"changed\n"
    trip.files["fresh.txt"] = b"fresh\n"
    write(folder, {"a.txt": "one\n2\nthree\nfour\n"})
    assert trip.home()["changes"]["files"] == 3
    assert trip.apply(allow=["*"]).conflicts == {}
    assert trip.undo() == []
    assert not sprung.exists()
    git(folder, "add", "-A", check=False)
    assert sprung.exists(), "the traps do not work"


def test_nothing_but_objects_and_our_references_is_written_before_apply(
    folder, tmp_path
):
    write(folder, {"a.txt": "dirty\n", "new.txt": "new\n"})
    git(folder, "status")

    def everything():
        found = {}
        for place, _, names in os.walk(str(folder)):
            for name in names:
                path = os.path.join(place, name)
                short = os.path.relpath(path, str(folder))
                if not short.startswith((".git/objects/", ".git/refs/")):
                    with open(path, "rb") as file:
                        found[short] = (os.stat(path).st_mtime_ns, file.read())
        return found

    before = everything()
    trip = Trip(folder, tmp_path)
    trip.files["new2.txt"] = b"new\n"
    trip.home()
    assert everything() == before
    refs = git(folder, "for-each-ref", "--format=%(refname)").decode().split()
    assert all(
        name.startswith(("refs/rebyte/", "refs/heads/rebyte/", "refs/heads/main"))
        for name in refs
    )


def test_the_environment_of_git_does_not_lead_us_elsewhere(
    folder, tmp_path, monkeypatch
):
    other = make_repository(tmp_path / "other", {"other.txt": "other\n"})
    for name, value in (
        ("GIT_DIR", str(other / ".git")),
        ("GIT_WORK_TREE", str(other)),
        ("GIT_INDEX_FILE", str(other / ".git" / "index")),
        ("GIT_EXTERNAL_DIFF", "false"),
    ):
        monkeypatch.setenv(name, value)
    assert set(Trip(folder, tmp_path).files) == set(FILES)


def test_a_folder_that_git_finds_elsewhere_is_not_taken(folder, tmp_path):
    git(folder, "config", "core.worktree", str(tmp_path))
    with pytest.raises(InputError):
        open_repository(str(folder))
    bare = tmp_path / "bare"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    with pytest.raises(InputError):
        open_repository(str(bare))


def test_a_file_behind_a_filter_keeps_what_git_stores(folder, tmp_path):
    write(folder, {".gitattributes": "*.enc filter=rot\n", "x.enc": "stored\n"})
    git(folder, "config", "filter.rot.clean", "tr a-z n-za-m")
    git(folder, "config", "filter.rot.smudge", "tr a-z n-za-m")
    commit(folder)
    stored = git(folder, "show", "HEAD:x.enc")
    trip = Trip(folder, tmp_path)
    assert trip.files["x.enc"] == b"stored\n" and stored != b"stored\n"
    assert trip.content("x.enc") == stored
    assert trip.home()["changes"]["files"] == 0


def test_what_came_home_behind_a_filter_is_named_and_how_git_is_to_store_it(
    folder, tmp_path
):
    attributes = "*.up filter=x\n*.psd filter=lfs\n"
    write(folder, {".gitattributes": attributes, "x.up": "abc\n", "kept.up": "ab\n"})
    write(folder, {"big.psd": POINTER})
    git(folder, "config", "filter.x.clean", "tr a-z A-Z")
    commit(folder)
    write(folder, {"mine.up": "mine\n"})
    trip = Trip(folder, tmp_path)
    trip.files.update({"x.up": b"abc\nd\n", "new.up": b"new\n", "plain": b"plain\n"})
    trip.files["big.psd"] = POINTER.encode()
    trip.files["new.psd"] = POINTER.encode()
    said = [text for text in trip.home()["warnings"] if "--renormalize" in text]
    assert len(said) == 1 and "'mine.up', 'new.up', 'x.up';" in said[0]
    assert trip.entries()["big.psd"] == trip.entries("HEAD")["big.psd"]
    assert trip.apply().conflicts == {}
    assert (folder / "x.up").read_bytes() == b"abc\nd\n" and trip.apply().steps == []
    assert trip.undo() == [] and (folder / "x.up").read_bytes() == b"abc\n"
    git(folder, "clean", "-q", "-f")
    git(folder, "merge", "-q", trip.record.branch)
    git(folder, "add", "--renormalize", "x.up", "new.up", "mine.up")
    assert git(folder, "show", ":x.up") == b"ABC\nD\n"


def test_a_tracked_name_that_git_is_wary_of_is_kept_or_named_and_never_lost(
    folder, tmp_path
):
    odd = ["dot.", "blank ", "back\\slash", "CON", "a:b"]
    write(folder, {name: name for name in odd})
    wary = ["git~1", "dir/GITMOD~1"]
    write(folder, {name: "mine\n" for name in wary})
    git(folder, "config", "core.protectNTFS", "false")
    commit(folder)
    git(folder, "config", "--unset", "core.protectNTFS")
    # A name that no index takes, as another program wrote it.
    id = git(folder, "rev-parse", "HEAD:a.txt").decode().strip()
    tree = git(folder, "ls-tree", "HEAD") + ("100644 blob %s\t.GIT\n" % id).encode()
    made = git(folder, "mktree", data=tree).decode().strip()
    head = git(folder, "commit-tree", made, "-p", "HEAD", "-m", "x").decode().strip()
    git(folder, "update-ref", "HEAD", head)
    trip = Trip(folder, tmp_path)
    assert set(wary) | {".GIT"} == set(trip.record.left_out)
    assert set(odd + wary) <= set(trip.entries())
    trip.files["dot."] = b"changed\n"
    del trip.files["CON"]
    assert trip.home()["changes"]["files"] == 2
    assert trip.content("dot.") == b"changed\n"
    assert set(odd + wary) - {"CON"} <= set(trip.entries())
    with pytest.raises(RebyteError, match="Ignoring path .GIT"):
        trip.repository.write_tree([(".GIT/config", "100644", id)])


def test_git_says_which_version_this_was_run_with(folder):
    out = subprocess.check_output(["git", "--version"]).decode()
    assert out.startswith("git version ")
    assert Repository(str(folder)).commit_of("HEAD")


def test_a_link_that_leaves_through_another_stays_home(folder, tmp_path):
    os.symlink("..", str(folder / "dir" / "up"))
    os.symlink("dir/up/../x", str(folder / "out"))
    trip = Trip(folder, tmp_path)
    assert trip.links == {"dir/up": ".."} and "out" in trip.record.left_out


def test_modes_are_those_of_the_index_where_the_disk_tells_none(folder, tmp_path):
    git(folder, "update-index", "--chmod=+x", "a.txt")
    git(folder, "config", "core.fileMode", "false")
    trip = Trip(folder, tmp_path)
    assert trip.modes["a.txt"] == 0o755 and trip.modes["dir/b.txt"] == 0o644


def test_an_unmerged_and_an_intended_file_go_out_as_they_lie(folder, tmp_path):
    git(folder, "checkout", "-q", "-b", "side")
    write(folder, {"a.txt": "side\n"})
    commit(folder)
    git(folder, "checkout", "-q", "main")
    write(folder, {"a.txt": "main\n"})
    commit(folder)
    git(folder, "merge", "-q", "side", check=False)
    write(folder, {"later.txt": "later\n"})
    git(folder, "add", "-N", "later.txt")
    trip = Trip(folder, tmp_path)
    assert trip.files["a.txt"].startswith(b"<<<<<<<")
    assert trip.content("later.txt") == b"later\n"


def test_a_folder_of_dependencies_that_a_packer_left_out_is_not_deleted(
    folder, tmp_path
):
    write(folder, {"vendor/lib/v.go": "v\n", "src/dist/x.js": "x\n", "src/y.js": "y\n"})
    trip = Trip(folder, tmp_path)
    for path in ("vendor/lib/v.go", "src/dist/x.js", "a.txt"):
        del trip.files[path]
    found = trip.home()
    assert found["changes"]["kept"] == 2 and found["changes"]["deleted"] == 1
    assert {"vendor/lib/v.go", "src/dist/x.js"} < set(trip.entries())


@pytest.mark.parametrize("with_python", [True, False])
def test_the_script_beside_the_tree_unpacks_and_packs_it(folder, tmp_path, with_python):
    if not with_python and not shutil.which("zip"):
        pytest.skip("zip is not here, and nothing but Python packs")
    os.symlink("a.txt", str(folder / "link"))
    os.chmod(str(folder / "dir" / "b.txt"), 0o755)
    write(folder, {"vendor/venv/x": "tracked\n"})
    commit(folder)
    trip = Trip(folder, tmp_path)
    far = tmp_path / "far"
    far.mkdir()
    with trip.tree.open() as file:
        (far / "1234-demo.tar.gz").write_bytes(file.read())
    (far / "demo.tar.gz").write_bytes((far / "1234-demo.tar.gz").read_bytes())
    script = CodeScript("demo")
    with script.open() as file:
        (far / "demo-code.sh").write_bytes(file.read())
    path = os.environ["PATH"]
    if not with_python:
        path = str(tmp_path / "bin")
        os.mkdir(path)
        for name in ("sh", "ls", "head", "dirname", "tar", "gzip", "rm", "zip", "cp"):
            os.symlink(shutil.which(name), os.path.join(path, name))

    def run(word):
        return subprocess.run(
            ["/bin/sh", "demo-code.sh", word],
            cwd=str(far),
            env={"PATH": path},
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
        ).stdout.decode()

    run("unpack")
    demo = far / "demo"
    write(demo, {"a.txt": "changed\n", "node_modules/m.js": "m\n", ".git/config": "x"})
    run("unpack")
    assert not (demo / "node_modules").exists()
    write(demo, {"a.txt": "changed\n", "node_modules/m.js": "m\n", ".git/config": "x"})
    assert "publish" in run("home")
    found = trip.home((far / "demo-home.zip").read_bytes())
    assert found["changes"]["files"] == 1, found
    assert "vendor/venv/x" in trip.entries() and trip.entries()["link"][0] == "120000"


def test_a_repository_with_sha256_ids(tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    git(folder, "init", "-q", "--object-format=sha256", ".", check=False)
    if not (folder / ".git").exists():
        pytest.skip("this git knows no sha256")
    write(folder, FILES)
    commit(folder)
    trip = Trip(folder, tmp_path)
    trip.files["a.txt"] = b"changed\n"
    assert trip.home()["changes"]["files"] == 1
    assert trip.apply().steps and (folder / "a.txt").read_text() == "changed\n"


def test_large_files_come_home_piece_by_piece(folder, tmp_path):
    large = os.urandom(1 << 20) + b"\r\n" * 10
    write(folder, {"large.bin": large, "other.bin": large[::-1]})
    trip = Trip(folder, tmp_path)
    trip.files["large.bin"] += b"more"
    assert trip.home()["changes"]["files"] == 1
    assert trip.content("large.bin") == large + b"more"


def test_the_working_tree_that_one_stands_in_is_the_one_that_is_meant(
    folder, tmp_path, monkeypatch
):
    git(folder, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    base = git(folder, "rev-parse", "HEAD").decode().strip()
    for here, meant in (("side", "side"), ("demo", "demo"), (".", "demo")):
        monkeypatch.chdir(tmp_path / here)
        assert find_repository(str(folder), base).root == str(tmp_path / meant)
    monkeypatch.chdir(tmp_path)
    os.rename(str(folder), str(tmp_path / "moved"))
    with pytest.raises(InputError):
        find_repository(str(folder), base)
    monkeypatch.chdir(tmp_path / "moved")
    assert find_repository(str(folder), base).root == str(tmp_path / "moved")


def test_a_file_that_shrinks_well_is_no_bomb_when_it_was_sent(folder, tmp_path):
    write(folder, {"zeros.bin": b"\0" * (9 << 20)})
    trip = Trip(folder, tmp_path)
    trip.files["zeros.bin"] += b"one more"
    assert trip.home()["changes"]["files"] == 1
    trip.files["other.bin"] = b"\0" * (9 << 20)
    assert trip.home()["refused"][0]["name"].endswith("other.bin")


def test_what_stayed_home_does_not_come_back_as_something_else(folder, tmp_path):
    write(folder, {".env": "SECRET=1\n", "kept.txt": "kept\n"})
    make_repository(folder / "nested", {"own.txt": "own\n"})
    git(folder, "add", "kept.txt")
    git(folder, "commit", "-q", "-m", "kept")
    trip = Trip(folder, tmp_path, leave=["kept.txt"])
    for path in (".env", "kept.txt", "nested/own.txt", "nested/new.txt"):
        trip.files[path] = b"made up\n"
    trip.files["real.txt"] = b"real\n"
    found = trip.home()
    assert found["changes"]["files"] == 1 and trip.content("kept.txt") == b"kept\n"
    assert any("had not been sent" in text for text in found["warnings"])
    assert trip.apply().conflicts == {}
    assert (folder / ".env").read_text() == "SECRET=1\n"


def test_the_same_archive_is_the_same_commit_also_after_a_kill(folder, tmp_path):
    trip = Trip(folder, tmp_path)
    trip.files["new.txt"] = b"new\n"
    before = trip.record
    first = trip.home()
    result = trip.record.result
    # As if the run had died before it wrote down what it had done.
    trip.record = CodeRecord(dict(before.__dict__, result=None, results=[], turn=None))
    shutil.rmtree(os.path.join(trip.state.path, "code"))
    again = trip.home()
    assert trip.record.result == result
    assert again["changes"]["branch"] == first["changes"]["branch"]


@pytest.mark.parametrize("attribute", ["ident", "working-tree-encoding=UTF-16LE"])
def test_a_file_that_git_converts_keeps_what_git_stores(folder, tmp_path, attribute):
    write(folder, {".gitattributes": "*.x %s\n" % attribute})
    text = "$Id$\n" if attribute == "ident" else "text\n".encode("utf-16-le")
    write(folder, {"f.x": text})
    commit(folder)
    os.unlink(str(folder / "f.x"))
    git(folder, "checkout", "--", "f.x")
    trip = Trip(folder, tmp_path)
    assert trip.content("f.x") == git(folder, "show", "HEAD:f.x")
    assert git(folder, "diff", "HEAD", trip.record.base) == b""
    assert trip.home()["changes"]["files"] == 0


def test_a_mixture_of_line_ends_is_no_change_when_the_far_side_evens_it(
    folder, tmp_path
):
    write(folder, {"mixed.txt": b"one\r\ntwo\nthree\r\n"})
    commit(folder)
    trip = Trip(folder, tmp_path)
    trip.files["mixed.txt"] = b"one\ntwo\nthree\n"
    assert trip.home()["changes"]["files"] == 0


def test_a_line_added_to_a_text_that_git_converts_changes_no_other(tmp_path):
    folder = make_repository(tmp_path / "demo", FILES, "core.autocrlf=true")
    os.unlink(str(folder / "a.txt"))
    git(folder, "checkout", "--", "a.txt")
    trip = Trip(folder, tmp_path)
    assert trip.files["a.txt"] == crlf(FILES["a.txt"])
    trip.files["a.txt"] += b"four\n"
    found = trip.home()
    assert (found["changes"]["added"], found["changes"]["removed"]) == (1, 0)
    assert trip.content("a.txt") == FILES["a.txt"].encode() + b"four\n"
    assert trip.apply().conflicts == {}
    assert (folder / "a.txt").read_bytes() == crlf(FILES["a.txt"] + "four\n")


def test_a_result_is_dated_as_what_it_came_from(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_COMMITTER_DATE", "1234567890 +0200")
    folder = make_repository(tmp_path / "demo", FILES)
    trip = Trip(folder, tmp_path)
    trip.record.base = git(folder, "rev-parse", "HEAD").decode().strip()
    trip.files["new.txt"] = b"new\n"
    trip.home()
    date = git(folder, "show", "-s", "--format=%cd", "--date=raw", trip.record.result)
    assert date == b"1234567890 +0200\n"


def test_a_sparse_partial_clone_lacks_contents_and_asks_nobody_for_them(
    folder, tmp_path
):
    git(folder, "config", "uploadpack.allowFilter", "true")
    copy = tmp_path / "copy" / "demo"
    url = "file://" + str(folder)
    git(tmp_path, "clone", "-q", "--filter=blob:none", "--no-checkout", url, str(copy))
    git(copy, "sparse-checkout", "set", "--no-cone", "/a.txt")
    git(copy, "checkout", "-q", "main")
    lacking = git(copy, "rev-list", "--objects", "--missing=print", "HEAD")
    assert lacking.count(b"?") == 2
    trip = Trip(copy, tmp_path)
    assert set(trip.files) == {"a.txt"}
    trip.files["a.txt"] += b"more\n"
    assert trip.home()["changes"]["files"] == 1
    assert set(trip.entries()) == set(FILES)
    assert trip.apply().conflicts == {}
    assert git(copy, "rev-list", "--objects", "--missing=print", "HEAD") == lacking


@pytest.mark.parametrize(("told", "files"), [(True, 1), (False, 0)])
def test_a_lone_program_loses_its_mode_only_where_a_packer_looked(
    folder, tmp_path, told, files
):
    os.chmod(str(folder / "a.txt"), 0o755)
    commit(folder)
    trip = Trip(folder, tmp_path)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in trip.files.items():
            info = zipfile.ZipInfo("demo/" + path)
            info.create_system = 3
            info.external_attr = (0o100644 if told else 0o600) << 16
            archive.writestr(info, data)
    assert trip.home(buffer.getvalue())["changes"]["files"] == files


def test_a_tree_that_moved_into_a_folder_comes_home_in_that_folder(folder, tmp_path):
    trip = Trip(folder, tmp_path)
    trip.files = {"src/" + path: data for path, data in trip.files.items()}
    assert trip.home()["changes"]["files"] == 3
    assert set(trip.files) <= set(trip.entries())


def test_a_repository_that_is_gone_is_told_as_that(folder, tmp_path):
    record = Trip(folder, tmp_path).record
    shutil.rmtree(str(folder))
    with pytest.raises(InputError, match="the code came from is gone") as caught:
        find_repository(record.repository, record.base)
    assert "bring it back there" in caught.value.hint


def test_another_repository_at_the_same_place_is_told_as_that(folder, tmp_path):
    record = Trip(folder, tmp_path).record
    shutil.rmtree(str(folder))
    make_repository(folder, {"other.txt": "x\n"})
    with pytest.raises(InputError, match="is another one than the code came from"):
        find_repository(record.repository, record.base)
