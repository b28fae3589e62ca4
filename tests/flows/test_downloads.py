"""Downloads: whole or not at all, under names that can be trusted, from addresses that can."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from measure import SCRIPTS
from rebyte_client import RebyteClient
from rebyte_flows.files import atomic, downloads
from rebyte_flows.files.downloads import download_artifacts, plan
from rebyte_flows.files.names import expand_user, reject_reason
from rebyte_flows.state import lock_file
from rebyte_wire.errors import (
    AnswerUnreadable,
    DeadlineReached,
    NetworkError,
    NotFound,
    StorageRefused,
)

HOSTILE = [
    "",
    ".",
    "..",
    "../up",
    "a/b",
    "/etc/passwd",
    "a\\b",
    "..\\up",
    "C:",
    "C:\\x",
    "a:stream",
    "\u2044x",
    "a\u2215b",
    "a\uff0fb",
    "a\uff3cb",
    "a\x00b",
    "a\nb",
    "a\rb",
    "a\tb",
    "\x1b[31mred",
    "a\x7fb",
    "a\x85b",
    "a\u202eb",
    "a\u2066b",
    "a\u200eb",
    "a\ufeffb",
    "a\u200bb",
    "a\u2028b",
    "\U000e0041",
    "-rf",
    "--help",
    "~",
    "~root",
    " lead",
    "trail ",
    "trail.",
    "nul",
    "CON.csv",
    "com1.txt",
    "LPT\u00b9",
    "aux .csv",
    "x" * 256,
    "\u00e9" * 128,
    "a|b",
    "a*b",
    'a"b',
    "a?b",
    "a<b",
    7,
    None,
]
COLLIDING = [
    "Same.csv",
    "sAME.CSV",
    "e\u0301.csv",
    "\u00e9.csv",
    "\ufb01x.csv",
    "FIX.csv",
]


class Body:
    """An open download of pieces; an exception among them is raised, a function is called."""

    status = 200

    def __init__(self, *pieces, length=None):
        self.pieces, self.length, self.closed = list(pieces), length, False

    def readinto(self, buffer):
        if not self.pieces:
            return 0
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        piece = piece() if callable(piece) else piece
        self.pieces[:0] = [piece[len(buffer) :]] if len(piece) > len(buffer) else []
        buffer[: len(piece)] = piece[: len(buffer)]
        return min(len(piece), len(buffer))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True


class Store:
    """Stands for the client: `bodies` by name; addresses too, or refused with `address_error`."""

    def __init__(self, bodies, address_error=None):
        self.bodies, self.address_error, self.asked = bodies, address_error, []
        self.expired = ()

    def open_address(self, url):
        self.asked.append(url)
        if url in self.expired:
            raise StorageRefused("gone", http_status=403)
        if self.address_error:
            raise self.address_error
        return self._body(url.rpartition("/")[2])

    def open_artifact(self, workspace_id, name):
        self.asked.append(name)
        return self._body(name)

    def _body(self, name):
        body = self.bodies[name]
        return body() if callable(body) else body

    def listing(self, **sizes):
        return [
            {"name": name, "size": sizes.get(name.partition(".")[0])}
            for name in self.bodies
        ]


def walk(folder):
    """Return every path below a folder with what lies there."""
    found = {}
    for place, folders, files in os.walk(str(folder)):
        for name in folders + files:
            path = os.path.join(place, name)
            found[path] = (
                os.readlink(path)
                if os.path.islink(path)
                else Path(path).read_bytes()
                if os.path.isfile(path)
                else None
            )
    return found


def one(store, folder, size=None, **more):
    """Bring the one file a.csv home; returns (files, reason of the refusal)."""
    files, refused = download_artifacts(
        store, "w", str(folder), listing=[{"name": "a.csv", "size": size}], **more
    )
    return files, refused[0]["reason"] if refused else None


def test_hostile_names_are_each_refused_with_a_reason_and_nothing_is_written_elsewhere(
    tmp_path,
):
    (tmp_path / "beside").write_text("mine")
    names = HOSTILE + COLLIDING
    assert len(HOSTILE) >= 40
    store = Store({})
    store._body = lambda name: Body(b"x")
    before = walk(tmp_path)
    files, refused = download_artifacts(
        store,
        "w",
        str(tmp_path / "out"),
        listing=[{"name": name, "size": 1} for name in names + ["good.csv"]],
    )
    assert (
        [item["name"] for item in files] == ["good.csv"]
        and len(refused) == len(names)
        and all(item["reason"] for item in refused)
    )
    assert store.asked == ["good.csv"]
    after = walk(tmp_path)
    assert {path: after.pop(path) for path in before} == before
    assert sorted(after) == [str(tmp_path / "out"), str(tmp_path / "out" / "good.csv")]
    assert {item["name"]: item["reason"] for item in refused}["Same.csv"].startswith(
        "it collides"
    )


@pytest.mark.parametrize(
    "name",
    [
        "a.csv",
        ".hidden",
        "a b.csv",
        "\u00e9.csv",
        "console.csv",
        "com10.txt",
        "a-b~c",
        "\u65e5\u672c.pdf",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.pdf",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467.png",
        "\u2764\ufe0f\u200d\U0001f525.png",
    ],
)
def test_harmless_names_are_kept(name):
    assert reject_reason(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "a\u200db",
        "\u200d\u0645",
        "\u0645\u200c",
        "a\u200d\u0645",
        "\u0645\u200d\u200d\u0645",
        "\u0645\u202e\u0645",
    ],
)
def test_a_joiner_that_joins_nothing_and_a_mark_that_turns_the_text_are_refused(name):
    assert "invisible" in reject_reason(name)


def test_names_that_differ_in_joiners_alone_collide():
    names = ["\u0645\u06cc\u200c\u062e.pdf", "\u0645\u06cc\u062e.pdf"]
    chosen, refused, _ = plan([{"name": name} for name in names])
    assert chosen == [] and len(refused) == 2


NFC, NFD = "\u00dcbersicht.pdf", "U\u0308bersicht.pdf"


def test_a_name_is_found_in_either_form_of_unicode(tmp_path):
    chosen, refused, missing = plan([{"name": NFD}], [NFC])
    assert chosen == [{"name": NFD}] and refused == missing == []
    assert plan([{"name": NFC}, {"name": NFD}], [NFD])[0] == [{"name": NFD}]
    assert plan([{"name": NFC}, {"name": NFD}], [NFC])[0] == [{"name": NFC}]


OBEYED = [
    ".git",
    ".envrc",
    ".mcp.json",
    "AGENTS.md",
    "Claude.MD",
    "conftest.py",
    "Makefile",
]


def test_what_programs_obey_is_not_put_unasked_into_the_working_folder(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    listing = [{"name": name} for name in OBEYED + ["a.csv"]]
    for folder in (".", str(tmp_path)):
        store = Store({item["name"]: Body(b"x") for item in listing})
        files, refused = download_artifacts(
            store, "w", folder, listing=listing, force=True
        )
        assert [item["name"] for item in files] == ["a.csv"]
        assert [item["name"] for item in refused] == OBEYED
    assert len(plan(listing)[0]) == len(listing)
    assert len(plan(listing, OBEYED, is_working_folder=True)[0]) == len(OBEYED)


def test_a_part_that_nobody_asked_for_is_no_file(tmp_path):
    part = Body(b"1234")
    part.status = 206
    files, reason = one(Store({"a.csv": part}), tmp_path)
    assert files == [] and "206" in reason and os.listdir(str(tmp_path)) == []


def test_a_size_that_is_told_as_text_is_a_size(tmp_path):
    files, reason = one(Store({"a.csv": Body(b"1234")}), tmp_path, "4")
    assert reason is None
    files, reason = one(Store({}), tmp_path, "4")
    assert reason is None and files[0]["kept"] is True
    assert "differs" in one(Store({}), tmp_path, "5")[1]
    assert downloads.listed_size({"size": "9" * 5000}) is None
    assert downloads.listed_size({"size": True}) is None


def test_a_folder_is_found_behind_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    files, _ = download_artifacts(
        Store({"a.csv": Body(b"1")}), "w", "~/results", listing=[{"name": "a.csv"}]
    )
    assert files[0]["path"] == str(tmp_path / "results" / "a.csv")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").mkdir()
    assert expand_user("~") == "~"


def no_locks(monkeypatch, number=errno.ENOLCK):
    """Let every lock fail as on a file system that knows none."""

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", fail)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_leftovers_go_after_a_day(
    tmp_path, monkeypatch, number
):
    no_locks(monkeypatch, number)
    old, new = (tmp_path / (".rebyte-%s.part" % (letter * 16)) for letter in "ab")
    for path in (old, new):
        path.write_text("half")
    os.utime(str(old), (1e9, 1e9))
    atomic.remove_stale(str(tmp_path))
    assert not old.exists() and new.exists()
    assert one(Store({"a.csv": Body(b"12")}), tmp_path)[1] is None


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example.test/f",
        "https://127.0.0.1/f",
        "https://localhost/f",
        "https://10.0.0.1/f",
        "https://169.254.169.254/f",
        "https://[::1]/f",
        "https://[::ffff:10.0.0.1]/f",
        "https://0x7f.1/f",
        "https://2130706433/f",
        "https://0177.0.0.1/f",
        "https://[fd00::1]/f",
        "https://metadata.google.internal/f",
        "https://100.64.0.1/f",
        "https://0/f",
        "https://224.0.0.1/f",
        "https://[64:ff9b::a00:1]/f",
        "https://user:pw@files.example.test/f",
        "file:///etc/passwd",
        "ftp://files.example.test/f",
        "javascript:alert(1)",
        "//files.example.test/f",
        "https://files.example.test\\@10.0.0.1/",
        "https:///f",
        "https://[::1",
        "",
    ],
)
def test_a_hostile_address_is_refused_with_its_reason_and_the_file_comes_through_the_api(
    tmp_path, url
):
    said = []
    with RebyteClient("rbk_x", "https://api.example.test/v1", environ={}) as client:
        client.open_artifact = lambda workspace_id, name: Body(b"data")
        files, refused = download_artifacts(
            client,
            "w",
            str(tmp_path),
            listing=[{"name": "a.csv", "size": 4, "downloadUrl": url}],
            say=said.append,
        )
    assert (
        len(files) == 1
        and refused == []
        and len(said) == 1
        and "not safe" in said[0]
        and (not url or url not in said[0])
    )


def test_an_address_that_cannot_be_reached_is_tried_once_and_the_api_serves_the_rest(
    tmp_path,
):
    names = ["%d.csv" % n for n in range(5)]
    store, said = (
        Store(
            {name: lambda: Body(b"x") for name in names},
            NetworkError("no way", code="proxy_refused"),
        ),
        [],
    )
    listing = [{"name": name, "downloadUrl": "https://s/" + name} for name in names]
    original = downloads.DOWNLOADS_AT_ONCE
    downloads.DOWNLOADS_AT_ONCE = 1
    try:
        files, _ = download_artifacts(
            store, "w", str(tmp_path), listing=listing, say=said.append
        )
    finally:
        downloads.DOWNLOADS_AT_ONCE = original
    assert (
        len(files) == 5
        and store.asked == ["https://s/0.csv"] + names
        and said == ["no way Taking the way through the API instead."]
    )


def test_an_expired_address_costs_only_its_own_file_a_detour(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "DOWNLOADS_AT_ONCE", 1)
    names = ["a.csv", "b.csv", "c.csv"]
    store = Store({name: lambda: Body(b"x") for name in names})
    store.expired = {"https://s/a.csv"}
    listing = [{"name": name, "downloadUrl": "https://s/" + name} for name in names]
    files, _ = download_artifacts(store, "w", str(tmp_path), listing=listing)
    assert len(files) == 3
    assert store.asked == [
        "https://s/a.csv",
        "a.csv",
        "https://s/b.csv",
        "https://s/c.csv",
    ]


def test_an_address_that_answers_something_else_is_passed_by(tmp_path):
    store = Store({"a.csv": lambda: Body(b"x")}, AnswerUnreadable("it is compressed"))
    listing = [{"name": "a.csv", "downloadUrl": "https://s/a.csv"}]
    files, refused = download_artifacts(store, "w", str(tmp_path), listing=listing)
    assert len(files) == 1 and refused == []


def test_what_to_download_is_planned_before_anything_is_asked_for():
    listing = [
        {"name": "a.csv"},
        {"name": "../b"},
        {"name": "c.csv"},
        {"name": ["d"]},
        {},
    ]
    chosen, refused, missing = plan(listing)
    assert [item["name"] for item in chosen] == ["a.csv", "c.csv"] and missing == []
    assert [item["name"] for item in refused] == ["../b", "['d']", "None"]
    chosen, refused, missing = plan(listing, ["c.csv", "e.csv", "c.csv", "../b"])
    assert [item["name"] for item in chosen] == ["c.csv"] and missing == ["e.csv"]
    assert [item["name"] for item in refused] == ["../b"]


def test_a_name_that_is_not_listed_is_refused_without_asking_for_it(tmp_path):
    store = Store({"a.csv": Body(b"x")})
    files, refused = download_artifacts(
        store, "w", str(tmp_path), listing=store.listing(), names=["b.csv"]
    )
    assert files == [] and store.asked == []
    assert refused == [{"name": "b.csv", "reason": downloads.NOT_LISTED}]


@pytest.mark.parametrize(
    "body, size, words",
    [
        (
            lambda: Body(
                b"12",
                NetworkError("The answer ended after 2 of 4 bytes.", code="short_body"),
                length=4,
            ),
            4,
            "ended after 2 of 4",
        ),
        (
            lambda: Body(b"12", length=2),
            4,
            "2 bytes are announced, and the service lists 4",
        ),
        (
            lambda: Body(b"123456", length=6),
            4,
            "6 bytes are announced, and the service lists 4",
        ),
        (lambda: Body(b"12"), 4, "2 bytes came, and the service lists 4"),
        (lambda: Body(*[b"1234"] * 1000), 4, "more came than the 4 bytes"),
        (
            lambda: Body(
                b"12", OSError(errno.ENOSPC, "No space left on device"), length=4
            ),
            4,
            "No space left",
        ),
    ],
)
def test_a_body_of_another_length_has_its_own_words_and_leaves_no_file(
    tmp_path, body, size, words
):
    made = body()
    files, reason = one(Store({"a.csv": made}), tmp_path, size)
    assert (
        files == []
        and words in reason
        and os.listdir(str(tmp_path)) == []
        and made.closed
    )


def test_a_full_disk_leaves_no_file_and_the_rerun_completes(tmp_path, monkeypatch):
    data, room = os.urandom(100_000), [90_000]

    def write(self, piece):
        room[0] -= len(piece)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.file.write(piece)

    store = Store(
        {
            "a.csv": lambda: Body(
                *[data[n : n + 10_000] for n in range(0, 100_000, 10_000)],
                length=100_000,
            )
        }
    )
    with monkeypatch.context() as patch:
        patch.setattr(atomic.AtomicFile, "write", write)
        files, reason = one(store, tmp_path, 100_000)
    assert files == [] and "No space left" in reason and os.listdir(str(tmp_path)) == []
    files, reason = one(store, tmp_path, 100_000)
    assert (
        reason is None
        and files[0]["sha256"] == hashlib.sha256(data).hexdigest()
        and (tmp_path / "a.csv").read_bytes() == data
    )


def test_a_write_that_takes_only_a_part_is_gone_on_with(tmp_path):
    class Slow:
        got = b""

        def write(self, piece):
            self.got += bytes(piece[:3])
            return min(3, len(piece))

        def close(self):
            pass

    with atomic.AtomicFile(str(tmp_path)) as landing:
        landing.file.close()
        landing.file = Slow()
        landing.write(memoryview(b"12345678"))
    assert landing.file.got == b"12345678"


@pytest.mark.parametrize("force", [False, True])
def test_a_link_swapped_in_during_a_download_is_not_followed(tmp_path, force):
    (tmp_path / "secret").write_text("keep me")
    out = tmp_path / "out"
    out.mkdir()

    def swap():
        os.symlink(str(tmp_path / "secret"), str(out / "a.csv"))
        return b"34"

    files, reason = one(Store({"a.csv": Body(b"12", swap)}), out, 4, force=force)
    assert (
        files == []
        and "no plain file" in reason
        and (tmp_path / "secret").read_text() == "keep me"
    )
    assert os.listdir(str(out)) == ["a.csv"] and os.path.islink(str(out / "a.csv"))


def test_a_file_that_appears_during_a_download_is_kept(tmp_path):
    def appear():
        (tmp_path / "a.csv").write_text("mine")
        return b"34"

    files, reason = one(Store({"a.csv": Body(b"12", appear)}), tmp_path, 4)
    assert (
        files == []
        and "appeared" in reason
        and (tmp_path / "a.csv").read_text() == "mine"
        and os.listdir(str(tmp_path)) == ["a.csv"]
    )


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "make",
    [os.mkdir, lambda path: os.symlink(os.devnull, path)],
    ids=["folder", "link"],
)
def test_what_is_no_plain_file_is_in_the_way_and_nothing_is_asked_for(
    tmp_path, make, force
):
    make(str(tmp_path / "a.csv"))
    store = Store({"a.csv": Body(b"12")})
    assert (
        "no plain file" in one(store, tmp_path, 2, force=force)[1] and store.asked == []
    )


def test_temporary_files_of_dead_runs_go_and_those_of_living_ones_stay(tmp_path):
    dead, other = (
        tmp_path / (".rebyte-%s.part" % ("a" * 16)),
        tmp_path / ".rebyte-mine.part",
    )
    for path in (dead, other):
        path.write_text("half")
    with atomic.AtomicFile(str(tmp_path)) as living:
        atomic.remove_stale(str(tmp_path))
        assert not dead.exists() and other.exists() and os.path.exists(living.path)
    assert not os.path.exists(living.path)


def test_files_come_side_by_side_and_in_order(tmp_path):
    together = threading.Barrier(8, timeout=10)

    def body():
        together.wait()
        return Body(b"x")

    names = ["%d.csv" % n for n in range(16)]
    files, refused = download_artifacts(
        Store({name: body for name in names}),
        "w",
        str(tmp_path),
        listing=[{"name": name} for name in names],
    )
    assert refused == [] and [item["name"] for item in files] == names


def test_the_end_of_the_time_is_told_as_such(tmp_path):
    with pytest.raises(DeadlineReached):
        one(Store({"a.csv": Body(b"1", DeadlineReached("over"))}), tmp_path, 2)
    assert os.listdir(str(tmp_path)) == []


def test_one_that_is_not_found_does_not_hide_the_others(tmp_path):
    store = Store(
        {"a.csv": lambda: (_ for _ in ()).throw(NotFound("gone")), "b.csv": Body(b"x")}
    )
    files, refused = download_artifacts(
        store, "w", str(tmp_path), listing=store.listing()
    )
    assert [item["name"] for item in files] == ["b.csv"] and refused[0][
        "reason"
    ] == "gone"


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from rebyte_flows.files.downloads import download_artifacts

class Body:
    length, count, status = 100, 0, 200
    def readinto(self, buffer):
        self.count += 1
        if self.count == 6:
            print("half", flush=True)
            sys.stdin.read()
        buffer[:10] = b"x" * 10
        return 10 if self.count <= 10 else 0
    def __enter__(self): return self
    def __exit__(self, *_): pass

class Store:
    def open_artifact(self, workspace_id, name): return Body()

download_artifacts(Store(), "w", sys.argv[2], listing=[{"name": "a.csv", "size": 100}])
"""


def test_a_kill_in_the_middle_leaves_no_final_file_and_the_rerun_completes_and_tidies(
    tmp_path,
):
    scripts = SCRIPTS
    child = subprocess.Popen(
        [sys.executable, "-B", "-c", KILLED, scripts, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout.readline() == b"half\n"
        (left,) = os.listdir(str(tmp_path))
        assert left.endswith(".part") and os.path.getsize(str(tmp_path / left)) == 50
        with open(str(tmp_path / left), "r+b") as file:
            assert not lock_file(file)
        child.send_signal(signal.SIGKILL)
    assert os.listdir(str(tmp_path)) == [left]
    files, _ = one(Store({"a.csv": Body(b"x" * 100, length=100)}), tmp_path, 100)
    assert len(files) == 1 and os.listdir(str(tmp_path)) == ["a.csv"]
