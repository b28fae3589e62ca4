"""What comes home is judged: every kind of hostile archive is refused as a whole, and nothing of
it is in git.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile

import pytest

from rebyte_flows.code.git import Repository
from rebyte_flows.code.home.archive_names import (
    bad_path,
    collisions,
    common_root,
    looks_whole,
)
from rebyte_flows.code.home.homecoming import Homecoming, home_name
from rebyte_flows.code.paths import leaves_tree
from rebyte_flows.code.records import CodeRecord
from rebyte_flows.state import StateFolder

from .conftest import git, make_repository

TASK = "11111111-2222-4333-8444-555555555555"
FILES = {"a.txt": "a\n", "B.txt": "b\n", "dir/c.txt": "c\n", "dir/d.txt": "d\n"}
EVERY = dict(FILES, **{"new.txt": "new\n"})


def entry(name, data=b"x\n", mode=0o100644, method=zipfile.ZIP_DEFLATED, system=3):
    """Return (ZipInfo, content) of one entry of a zip."""
    info = zipfile.ZipInfo("placeholder", (2000, 1, 1, 0, 0, 0))
    info.filename = name
    info.orig_filename = name
    info.create_system = system
    info.external_attr = mode << 16
    info.compress_type = method
    return info, data


def zipped(*entries, files=EVERY):
    """Return a zip of some good files and of hostile entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(*entry(name, text.encode()))
        for info, data in entries:
            archive.writestr(info, data)
    return buffer.getvalue()


def link(name, target):
    return entry(name, target.encode(), mode=stat.S_IFLNK | 0o777)


def with_bytes(data, old, new, count=-1):
    """Return a zip with some bytes of it replaced."""
    assert old in data and len(old) == len(new)
    return data.replace(old, new, count)


def twice():
    buffer = io.BytesIO()
    with pytest.warns(UserWarning), zipfile.ZipFile(buffer, "w") as archive:
        for name in [*EVERY, "a.txt"]:
            archive.writestr(name, "1")
    return buffer.getvalue()


def encrypted():
    data = bytearray(zipped(entry("locked.txt")))
    place = data.rindex(b"PK\x01\x02")
    data[place + 8] |= 1
    return bytes(data)


def lying_size():
    """A zip that says an entry has one byte, and has many."""
    data = bytearray(zipped(entry("lie.txt", b"y" * 5000)))
    place = data.rindex(b"PK\x01\x02")
    struct.pack_into("<L", data, place + 24, 1)
    return bytes(data)


def bad_checksum():
    data = bytearray(zipped(entry("sum.txt", b"z" * 50, method=zipfile.ZIP_STORED)))
    data[data.index(b"z" * 50)] ^= 1
    return bytes(data)


def overlapping():
    """An entry whose bytes lie inside those of another one, headers and all, as in bombs."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr(*entry("inner.txt", method=zipfile.ZIP_STORED))
        info = archive.infolist()[0]
    quoted = inner.getvalue()[: 30 + len("inner.txt") + info.compress_size]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in EVERY.items():
            archive.writestr(*entry(name, text.encode()))
        archive.writestr(*entry("outer.bin", quoted, method=zipfile.ZIP_STORED))
        info.header_offset = buffer.getvalue().index(quoted)
        archive.filelist.append(info)
    return buffer.getvalue()


def quoted_bomb():
    return zipped(entry("bomb.bin", b"\0" * (10 * 1024 * 1024)))


def many_small_bombs():
    return zipped(*(entry("b%d" % n, b"\0" * (1 << 20)) for n in range(12)))


def renamed(name):
    """A zip whose last entry has a name that zipfile itself would not write."""
    plain = "p" * len(name.encode())
    return with_bytes(zipped(entry(plain)), plain.encode(), name.encode())


def mode(kind):
    return zipped(entry("odd", b"", mode=kind | 0o644))


HOSTILE = {
    "climbing": zipped(entry("../evil.txt")),
    "climbing in the middle": zipped(entry("dir/../../evil.txt")),
    "climbing with blanks": zipped(entry("dir/.. /evil.txt")),
    "three dots": zipped(entry("dir/.../evil.txt")),
    "a single dot": zipped(entry("./x/./evil.txt")),
    "absolute": zipped(entry("/etc/evil.txt")),
    "a drive": zipped(entry("C:/evil.txt")),
    "a drive without a slash": zipped(entry("C:evil.txt")),
    "backslashes": renamed("dir\\..\\evil.txt"),
    "a share": renamed("\\\\server\\share\\evil"),
    "an empty part": zipped(entry("dir//evil.txt")),
    "a newline": zipped(entry("new\nline.txt")),
    "an escape sequence": zipped(entry("\x1b[31mred.txt")),
    "a NUL": renamed("nul\0.txt"),
    "a bidi override": zipped(entry("gpj.\u202eexe")),
    "a zero width": zipped(entry("READ\u200bME")),
    "a device": zipped(entry("dir/CON")),
    "a device with a suffix": zipped(entry("aux.txt")),
    "a numbered device": zipped(entry("com\u00b9.txt")),
    "a dot at the end": zipped(entry("evil.txt.")),
    "a blank at the end": zipped(entry("evil.txt ")),
    "a stream": zipped(entry("a.txt:evil")),
    "git's folder": zipped(entry(".git/hooks/post-checkout")),
    "git's file": zipped(entry("dir/.git", b"gitdir: /tmp\n")),
    "git in capitals": zipped(entry(".GIT/config")),
    "git's short name": zipped(entry("git~1/config")),
    "git's short name in capitals": zipped(entry("GIT~1/config")),
    "the short name of gitmodules": zipped(entry("GITMOD~1")),
    "git with a dot": zipped(entry(".git./config")),
    "git with a blank": zipped(entry(".git /config")),
    "git with blank and dot": zipped(entry(".git . /config")),
    "git as a stream": zipped(entry(".git::$INDEX_ALLOCATION/config")),
    "git with an ignorable": zipped(entry(".g\u200cit/config")),
    "git with a mark": zipped(entry("\ufeff.git/config")),
    "git in wide letters": zipped(entry("\uff0egit/config")),
    "git as a folder entry": zipped(entry(".git/", b"", mode=0o040755)),
    "a folder that climbs": zipped(entry("../evil/", b"", mode=0o040755)),
    "a prefix that climbs": zipped(files={"../demo/" + path: "" for path in EVERY}),
    "a collision by case": zipped(entry("A.TXT")),
    "folders that collide": zipped(entry("DIR/e.txt")),
    "a collision by form": zipped(entry("e\u0301.txt"), entry("\u00e9.txt")),
    "a collision by sharp s": zipped(entry("stra\u00dfe"), entry("STRASSE")),
    "a file that is a folder": zipped(entry("a.txt/evil")),
    "a file that is a folder in capitals": zipped(entry("A.TXT/evil")),
    "a link out": zipped(link("out", "../secret")),
    "an absolute link": zipped(link("out", "/etc/passwd")),
    "a link home": zipped(link("out", "~/secret")),
    "a link with a drive": zipped(link("out", "C:/secret")),
    "a link through a link": zipped(
        link("dir/up", ".."), link("out", "dir/up/../secret")
    ),
    "a link through two": zipped(
        link("dir/e/up", "../.."), link("s", "dir/e"), link("out", "s/up/../x")
    ),
    "links in a ring": zipped(link("one", "two"), link("two", "one")),
    "a link into git": zipped(link("conf", ".git/config")),
    "a link into GIT": zipped(link("conf", "dir/../.GiT/config")),
    "an empty link": zipped(link("out", "")),
    "a file behind a link": zipped(link("in", "dir"), entry("in/evil.txt")),
    "a long link": zipped(link("long", "x/" * 3000)),
    "a FIFO": mode(stat.S_IFIFO),
    "a socket": mode(stat.S_IFSOCK),
    "a device file": mode(stat.S_IFCHR),
    "a block device": mode(stat.S_IFBLK),
    "a setuid program": zipped(entry("su", mode=0o104755)),
    "a folder with a content": zipped(entry("fold/", b"data", mode=0o040755)),
    "a link told from DOS": zipped(
        entry("out", b"/etc/passwd", stat.S_IFLNK | 0o777, system=0)
    ),
    "a bomb": quoted_bomb(),
    "many bombs": many_small_bombs(),
    "bytes used twice": overlapping(),
    "a name that is there twice": twice(),
    "encrypted": encrypted(),
    "a size that lies": lying_size(),
    "a wrong checksum": bad_checksum(),
    "a rare compression": zipped(entry("odd.xz", method=zipfile.ZIP_LZMA)),
    "cut off": zipped()[:-30],
    "cut in the middle": zipped()[:100],
    "no zip": b"this is no zip",
    "empty": b"",
    "an offset beyond the end": with_bytes(
        zipped(files={"a.txt": "a"}), b"\0\0\0\0a.txt", b"\xff\xff\0\0a.txt"
    ),
    "a name that is too long": zipped(entry("n" * 300)),
    "a path that is too long": zipped(entry("deep/" * 900 + "x")),
}


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """A repository whose one commit is what was sent."""
    return make_repository(tmp_path_factory.mktemp("sent") / "demo", FILES)


def home_of(folder, tmp_path, base=None, **more):
    base = base or git(folder, "rev-parse", "HEAD").decode().strip()
    values = {"repository": str(folder), "name": "demo", "base": base}
    record = CodeRecord(dict(values, **more))
    return Homecoming(StateFolder(str(tmp_path / "state")), record, TASK)


def bring(folder, tmp_path, data, **more):
    """Bring one archive home, as the end of a task does."""
    path = str(tmp_path / "home.zip")
    with open(path, "wb") as file:
        file.write(data)
    name = "demo-home.zip"
    home = home_of(folder, tmp_path, **more)
    listing = [{"name": name, "size": len(data)}]
    return home.bring(None, "space", listing, [{"name": name, "path": path}], "turn")


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_as_a_whole(sent, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(sent)
    found = bring(sent, tmp_path, HOSTILE[kind])
    assert found["refused"] and "changes" not in found, kind
    assert str(tmp_path / "home.zip") in found["refused"][0]["reason"]
    assert not (sent / ".git" / "refs" / "rebyte").exists()
    assert os.path.exists(str(tmp_path / "home.zip"))


def test_bytes_that_are_used_twice_are_told_as_that(sent, tmp_path):
    found = bring(sent, tmp_path, overlapping())
    assert "bytes are those of another" in found["refused"][0]["reason"]


def test_the_same_archive_without_the_hostile_part_comes_home(tmp_path):
    folder = make_repository(tmp_path / "demo", FILES)
    found = bring(folder, tmp_path, zipped())
    assert found["changes"]["files"] == 1, found
    assert (folder / ".git" / "refs" / "rebyte").exists()


GOOD = [
    ["dir/new file.txt", "\u00fc.txt", "a/b/c/d", ".github/x", ".gitignore", "git"],
    ["gitea/x", "-dash", "~tilde", "what?.md", "a*b", "(group)/[id].tsx", "@scope/x"],
    ["\u0646\u200c\u0627.txt", "x.git", ".gitkeep", "console.py", "auxiliary", "com"],
]


@pytest.mark.parametrize("names", GOOD)
def test_names_that_look_odd_and_are_harmless_come_home(names):
    assert [name for name in names if bad_path(name)] == []
    assert collisions(names, set()) == []


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("../x", "climbs"),
        ("a/../x", "climbs"),
        (".", "climbs"),
        ("/x", "absolute"),
        (".git/x", "git's own"),
        (".g\u200cit/x", "git's own"),
        ("a:b", "colon"),
        ("a\nb", "control"),
        ("nul", "device"),
    ],
)
def test_the_reason_is_told(path, word):
    assert word in bad_path(path)


def test_a_new_path_that_collides_with_one_that_was_kept_is_refused(sent, tmp_path):
    # A part of the tree: nothing counts as deleted, so both would lie there.
    partial = zipped(files={"A.TXT": "other\n", "new.txt": "new\n"})
    assert "collides" in bring(sent, tmp_path, partial)["refused"][0]["reason"]


def test_names_collide_also_where_git_ignores_them(tmp_path):
    folder = make_repository(tmp_path / "demo", dict(FILES, **{".gitignore": "*.o\n"}))
    data = zipped(
        entry("x.o"), entry("X.o"), files=dict(EVERY, **{".gitignore": "*.o\n"})
    )
    assert "collides" in bring(folder, tmp_path, data)["refused"][0]["reason"]


def test_a_name_that_was_sent_may_be_what_it_is():
    known = {"aux.c", "Readme", "README", "a\nb"}
    assert collisions(known, known) == []
    assert collisions([*known, "readme"], known) != []


@pytest.mark.parametrize(
    ("path", "links", "leaves"),
    [
        ("a", {"a": "b"}, False),
        ("d/a", {"d/a": "../b"}, False),
        ("d/a", {"d/a": "../../b"}, True),
        ("a", {"a": "."}, False),
        ("a", {"a": "d/l/../x", "d/l": ".."}, True),
        ("a", {"a": "d/l/x", "d/l": "."}, False),
        ("a", {"a": "b/c", "b": "d", "d": "e"}, False),
        ("a", {"a": "a"}, True),
    ],
)
def test_a_link_is_followed_through_others(path, links, leaves):
    assert leaves_tree(path, links) is leaves


@pytest.mark.parametrize(
    ("paths", "root"),
    [
        (["a.txt", "dir/c.txt"], ""),
        (["demo/a.txt", "demo/dir/c.txt"], "demo/"),
        (["code/demo/a.txt", "code/demo/dir/c.txt"], "code/demo/"),
        (["other/a.txt"], "other/"),
        (["dir/c.txt", "dir/d.txt"], ""),
        (["unknown/x"], ""),
        (["demo/src/a.txt", "demo/src/dir/c.txt"], "demo/"),
        (["code/demo/src/a.txt"], "code/demo/"),
        (["demo/demo/a.txt"], "demo/demo/"),
        (["demo/new"], "demo/"),
        ([], ""),
    ],
)
def test_the_folder_around_the_tree_is_found(paths, root):
    assert common_root(paths, set(FILES), "demo") == root


@pytest.mark.parametrize(
    ("returned", "whole"),
    [
        (list(FILES), True),
        (["a.txt", "B.txt", "dir/c.txt"], True),
        (["a.txt", "dir/c.txt", "new"], True),
        (["a.txt"], False),
        (["dir/c.txt", "dir/d.txt"], False),
        ([], False),
    ],
)
def test_what_lacks_much_is_not_taken_for_whole(returned, whole):
    assert looks_whole(returned, set(FILES)) is whole


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["demo-home.zip", "other-home.zip"], "demo-home.zip"),
        (["demo-home (1).zip", "report.pdf"], "demo-home (1).zip"),
        (["Demo_Home.zip"], "Demo_Home.zip"),
        (["1699-demo-home.zip"], "1699-demo-home.zip"),
        (["photos.zip"], None),
        ([], None),
    ],
)
def test_the_archive_is_found_also_when_the_service_renames_it(names, found):
    assert home_name(names, "demo-home.zip") == found


def test_nothing_of_git_is_asked_for_a_root_that_is_gone(tmp_path):
    folder = make_repository(tmp_path / "demo", FILES)
    home = home_of(folder, tmp_path)
    os.rename(str(folder), str(tmp_path / "moved"))
    path = tmp_path / "home.zip"
    path.write_bytes(zipped())
    listing = [{"name": "demo-home.zip", "size": 1}]
    files = [{"name": "demo-home.zip", "path": str(path)}]
    found = home.bring(None, "space", listing, files, "turn")
    reason = found["refused"][0]["reason"]
    assert str(path) in reason and "bring it back there" in reason
    assert Repository(str(tmp_path / "moved")).commit_of("rebyte/11111111") is None
