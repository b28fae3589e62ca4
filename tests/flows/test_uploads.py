"""Uploads: several at once, each once, packed folders, streams, skills, artifacts by size."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import threading
import zipfile

import pytest

from rebyte_flows.concurrency import map_concurrently
from rebyte_flows.files import uploads
from rebyte_flows.files.packing import LocalSkill, Packed, Stream
from rebyte_flows.files.uploads import Attachment, Uploads
from rebyte_flows.starting.requests import task_request
from rebyte_wire.errors import AuthError, InputError, StorageRefused


class Service:
    """Stands for the client: notes what is uploaded, and refuses what it is told to."""

    def __init__(self, refuse=()):
        self.seen, self.refuse, self.addresses = [], list(refuse), 0

    def upload_source(self, source, length, filename):
        with source() as file:
            self.seen.append((filename, b"".join(iter(lambda: file.read(1000), b""))))
        return {"id": "f%d" % len(self.seen), "filename": filename, "maxFileSize": 1}

    def request_artifact_uploads(self, workspace_id, files):
        self.addresses += 1
        return {
            "files": [
                {
                    "name": file["name"],
                    "uploadUrl": "https://%s/%d" % (file["name"], self.addresses),
                }
                for file in files
            ]
        }

    def put_bytes(self, url, source, length, content_type):
        if self.refuse:
            raise StorageRefused("no", http_status=self.refuse.pop(0))
        self.seen.append((url, length, content_type))

    def upload_artifacts(self, workspace_id, parts):
        self.seen.append([(name, kind, length) for name, kind, _, length in parts])
        return {"uploaded": [{"name": part[0], "size": part[3]} for part in parts]}


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path."""

    def make(name, data=b"data"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return str(path)

    return make


def test_the_same_file_goes_up_once_and_others_of_its_name_as_well(write):
    first = write("a/x.csv")
    items = [
        Attachment(first),
        Attachment(first),
        Attachment(write("b/x.csv", b"atad")),
    ]
    service = Service()
    entries = Uploads(service).send(items)
    assert sorted(service.seen) == [("x.csv", b"atad"), ("x.csv", b"data")]
    assert entries[0] == entries[1] != entries[2]
    assert [entry["filename"] for entry in entries] == ["x.csv"] * 3


def test_uploads_run_side_by_side(write):
    together = threading.Barrier(4, timeout=10)
    service = Service()
    service.upload_source = lambda source, length, filename: (
        together.wait() and {"id": "f"} or {"id": "f"}
    )
    assert Uploads(service).send([Attachment(write("%d.csv" % n)) for n in range(4)])[
        3
    ] == {
        "id": "f",
        "filename": "3.csv",
    }


def test_what_moves_is_counted(write):
    moved = []
    Uploads(Service(), moved.append).send([Attachment(write("a.csv", b"x" * 2500))])
    assert moved == [1000, 1000, 500]


def test_a_refused_key_stops_the_rest(write):
    begun = []

    def work(item):
        begun.append(item)
        raise AuthError("no")

    with pytest.raises(AuthError):
        map_concurrently(work, range(100), 2)
    assert len(begun) <= 4


def test_a_folder_packs_to_the_same_bytes_whatever_the_times_and_the_order(tmp_path):
    digests = []
    for name, order in (("one", "ab"), ("two", "ba")):
        folder = tmp_path / name / "photos"
        (folder / "sub").mkdir(parents=True)
        for letter in order:
            (folder / "sub" / letter).write_text(letter)
            os.utime(str(folder / "sub" / letter), (len(digests) * 1e9, 1e9))
        (folder / "run.sh").write_text("x")
        os.chmod(str(folder / "run.sh"), 0o700 if order == "ab" else 0o755)
        packed = Packed(str(folder))
        digests.append(packed.sha256)
        with packed.open() as file, zipfile.ZipFile(file) as archive:
            assert (
                archive.namelist() == ["photos/run.sh", "photos/sub/a", "photos/sub/b"]
                and archive.read("photos/sub/a") == b"a"
            )
            assert [info.external_attr >> 16 for info in archive.infolist()] == [
                0o100755,
                0o100644,
                0o100644,
            ]
    assert digests[0] == digests[1] and packed.name == "photos.zip"


def test_links_history_and_bytecode_stay_out_of_a_zip(tmp_path):
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "f"
    for name in (".git", "__pycache__"):
        (folder / name).mkdir(parents=True)
        (folder / name / "x").write_text("x")
    (folder / "a").write_text("a")
    os.symlink(str(tmp_path / "secret"), str(folder / "link"))
    packed = Packed(str(folder))
    with packed.open() as file:
        assert zipfile.ZipFile(file).namelist() == ["f/a"] and packed.links == [
            str(folder / "link")
        ]


def test_a_folder_may_be_deeper_than_calls_can_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    top = tmp_path / "f"
    top.mkdir()
    (top / "a").write_text("a")
    # One step at a time, since the whole path is longer than a system call takes.
    handle = os.open(str(top), os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)
    try:
        assert Packed("f").bytes > 0
    finally:
        # Nor can what cleans up behind the tests go so deep.
        while (top / "d").exists():
            if (top / "d" / "d").exists():
                os.rename(str(top / "d" / "d"), str(top / "e"))
            os.rmdir(str(top / "d"))
            if (top / "e").exists():
                os.rename(str(top / "e"), str(top / "d"))


@pytest.mark.skipif(sys.platform == "darwin", reason="its file names are Unicode")
def test_a_name_that_is_no_text_is_refused_before_anything_leaves(tmp_path):
    path = os.fsencode(str(tmp_path)) + b"/caf\xe9.csv"
    with open(path, "wb") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="not text"):
        Attachment(os.fsdecode(path))
    with pytest.raises(InputError, match="not text"):
        Stream("-=\udce9.csv", stdin=io.BytesIO(b"x"))


def test_a_file_is_found_behind_a_tilde(write, tmp_path, monkeypatch):
    write("a.csv")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Attachment("~/a.csv").path == str(tmp_path / "a.csv")


def test_a_zip_that_is_too_large_or_empty_is_refused(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    with pytest.raises(InputError):
        Packed(str(folder))
    (folder / "noise").write_bytes(os.urandom(3000))
    with pytest.raises(InputError) as caught:
        Packed(str(folder), limit=2000)
    assert "2000 bytes when packed" in caught.value.message


def test_a_stream_is_read_to_its_end_under_its_name_and_can_be_read_again():
    stream = Stream("-=a b.csv", stdin=io.BytesIO(b"x" * 700_000))
    assert (stream.name, stream.bytes, stream.sha256) == (
        "a b.csv",
        700_000,
        hashlib.sha256(b"x" * 700_000).hexdigest(),
    )
    for _ in range(2):
        with stream.open() as file:
            assert file.read() == b"x" * 700_000


@pytest.mark.parametrize("word", ["-=", "-=a/b", "-=a\\b"])
def test_a_stream_without_a_plain_name_is_refused(word):
    with pytest.raises(InputError):
        Stream(word, stdin=io.BytesIO(b""))


def test_a_stream_over_the_limit_is_not_read_to_its_end():
    endless = io.BytesIO(b"x" * 1_000_000)
    with pytest.raises(InputError):
        Stream("-=a", stdin=endless, limit=1000)
    assert endless.tell() == 1001


def test_a_local_skill_is_attached_and_told_in_one_line(tmp_path):
    folder = tmp_path / "review"
    folder.mkdir()
    with pytest.raises(InputError):
        LocalSkill(str(folder))
    (folder / "SKILL.md").write_text("---\nname: review\n---\n")
    order = task_request("go", attachments=[LocalSkill(str(folder))])
    lines = order.added_lines(["review-1.zip"])
    assert (
        len(lines) == 2
        and "/code/review-1.zip" in lines[1]
        and "SKILL.md" in lines[1]
        and "Attached" not in lines[1]
    )
    plain = task_request("go", attachments=[Packed(str(folder))])
    assert (
        order.digest() != plain.digest()
        and task_request("go", attachments=[LocalSkill(str(folder))]).digest()
        == order.digest()
    )


class Sized:
    """An attachment of a size, without its bytes."""

    def __init__(self, name, size):
        self.name, self.bytes = name, size

    def open(self):
        return io.BytesIO(b"")


def test_small_artifacts_go_in_forms_of_ten_and_large_ones_to_addresses_of_fifty():
    service = Service()
    items = [Sized("s%02d.csv" % n, 10 * 1024 * 1024) for n in range(23)]
    items += [Sized("l%02d.zip" % n, 10 * 1024 * 1024 + 1) for n in range(51)]
    uploaded, failed = uploads.put_all(service, "w", items)
    assert (
        failed == []
        and {entry["name"] for entry in uploaded} == {item.name for item in items}
        and service.addresses == 2
    )
    assert sorted(len(form) for form in service.seen if isinstance(form, list)) == [
        3,
        10,
        10,
    ]
    assert all(
        kind == "text/csv"
        for form in service.seen
        if isinstance(form, list)
        for _, kind, _ in form
    )
    assert {seen[2] for seen in service.seen if isinstance(seen, tuple)} == {
        "application/zip"
    }


def test_an_expired_artifact_address_is_asked_for_once_more():
    service = Service(refuse=[403])
    uploaded, failed = uploads.put_all(service, "w", [Sized("l.zip", 1 << 24)])
    assert (
        failed == []
        and service.addresses == 2
        and service.seen[0][0] == "https://l.zip/2"
    )
    service = Service(refuse=[403, 403])
    uploaded, failed = uploads.put_all(service, "w", [Sized("l.zip", 1 << 24)])
    assert uploaded == [] and failed[0][0] == "l.zip" and service.addresses == 2
    assert uploads.put_all(Service(refuse=[412]), "w", [Sized("l.zip", 1 << 24)])[1]


def test_refused_types_are_all_named_before_anything_is_sent_with_what_to_do():
    with pytest.raises(InputError) as caught:
        uploads.check_items([Sized("a.csv", 1), Sized("b.md", 1), Sized("c", 1)])
    assert caught.value.code == "type_refused" and "b.md, c" in caught.value.message
    assert "--zip" in caught.value.hint and ".pdf" in caught.value.hint
    with pytest.raises(InputError):
        uploads.check_items([Sized("a.csv", 1), Sized("a.csv", 1)])
