"""The zip that comes home: read and judged, never unpacked."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from contextlib import suppress

from rebyte_flows.code.git import FILE_MODE, LINK_MODE, PROGRAM_MODE

ENTRIES_MOST = 200_000
FILE_BYTES_MOST = 512 * 1024 * 1024
TOTAL_BYTES_MOST = 2 * 1024 * 1024 * 1024
# Only what is large can be a bomb; programs and texts shrink by far less.
RATIO_MOST = 200
RATIO_FREE_BYTES = 8 * 1024 * 1024
LINK_BYTES_MOST = 4096
PIECE_BYTES = 1 << 20
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
ENCRYPTED_FLAGS = 0x1 | 0x40 | 0x2000
UTF8_FLAG = 0x800
UNIX_SHIFT = 16
SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    MemoryError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO


class Spoiled(Exception):
    """The archive must not come into a repository: the path, and why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__("%s: %s" % (path, reason))
        self.path = path
        self.reason = reason


class Member:
    """A file or link in the archive; `mode` is None where the archive does not tell."""

    def __init__(self, path: str, mode: str | None, info: zipfile.ZipInfo) -> None:
        self.path = path
        self.mode = mode
        self.info = info

    def __repr__(self) -> str:
        return "Member(%r, %s)" % (self.path, self.mode)


class HomeArchive:
    """An open archive whose sizes, types and places were judged; close() it."""

    def __init__(self, path: str, name: str) -> None:
        """Open the zip at `path`, which messages call `name`; raises Spoiled."""
        self.name = name
        self.folders: list[str] = []
        try:
            self._zip = zipfile.ZipFile(path)
        except UNREADABLE as problem:
            raise Spoiled(name, "it is no readable zip: %s" % problem) from problem
        try:
            self.members = self._judge()
        except UNREADABLE as problem:
            self.close()
            raise Spoiled(name, "it is no readable zip: %s" % problem) from problem
        except Spoiled:
            self.close()
            raise

    def __repr__(self) -> str:
        return "HomeArchive(%s, %d members)" % (self.name, len(self.members))

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def read(self, member: Member) -> bytes:
        """Return the content of a member; raises Spoiled where size or checksum are lies."""
        try:
            with self._zip.open(member.info) as file:
                data = file.read(member.info.file_size + 1)
        except UNREADABLE as problem:
            raise Spoiled(member.path, "it cannot be read: %s" % problem) from problem
        if len(data) != member.info.file_size:
            raise Spoiled(member.path, "it has another size than it says")
        return data

    def copy(self, member: Member, target: BinaryIO) -> None:
        """Write the content of a member to a file piece by piece; raises Spoiled as read() does."""
        size = 0
        try:
            with self._zip.open(member.info) as file:
                for piece in iter(lambda: file.read(PIECE_BYTES), b""):
                    size += len(piece)
                    target.write(piece)
        except UNREADABLE as problem:
            raise Spoiled(member.path, "it cannot be read: %s" % problem) from problem
        if size != member.info.file_size:
            raise Spoiled(member.path, "it has another size than it says")

    def _judge(self) -> list[Member]:
        infos = self._zip.infolist()
        if len(infos) > ENTRIES_MOST:
            raise Spoiled(self.name, "it has more than %d entries" % ENTRIES_MOST)
        self._check_sizes(infos)
        self._check_places(infos)
        found: dict[str, Member] = {}
        for info in infos:
            path = name_of_entry(info)
            check_entry(path, info)
            mode = mode_of_entry(path, info)
            if mode == "":
                self.folders += filter(None, [path.rstrip("/")])
                continue
            if path in found:
                raise Spoiled(path, "it is there twice")
            found[path] = Member(path, mode, info)
        return list(found.values())

    def _check_sizes(self, infos: list[zipfile.ZipInfo]) -> None:
        total = 0
        for info in infos:
            total += info.file_size
            if info.file_size > FILE_BYTES_MOST or total > TOTAL_BYTES_MOST:
                raise Spoiled(self.name, "it would be too large when unpacked")

    def _check_places(self, infos: list[zipfile.ZipInfo]) -> None:
        """Raise Spoiled where the bytes of two entries are the same ones, as in bombs."""
        file = self._zip.fp
        assert file is not None
        spans = []
        for info in infos:
            file.seek(info.header_offset)
            header = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
            begin = info.header_offset
            end = begin + LOCAL_HEADER.size + header[9] + header[10]
            spans.append((begin, end + info.compress_size, name_of_entry(info)))
        spans.sort()
        for before, after in zip(spans, spans[1:]):
            if before[1] > after[0]:
                raise Spoiled(after[2], "its bytes are those of another entry")


def is_bomb(size: int, packed: int) -> bool:
    """Say whether a content grows far more than code does."""
    return size > RATIO_FREE_BYTES and size > RATIO_MOST * packed


def find_bomb(members: Iterable[Member]) -> str | None:
    """Return the path of a member that grows too much when unpacked, "" where all of them together
    do, None where nothing does.
    """
    total = 0
    packed = 0
    for member in members:
        total += member.info.file_size
        packed += member.info.compress_size
        if is_bomb(member.info.file_size, member.info.compress_size):
            return member.path
    return "" if is_bomb(total, packed) else None


def name_of_entry(info: zipfile.ZipInfo) -> str:
    """Return the name as it was written: UTF-8 also where the flag for it is missing.

    Some packers put ./ in front of every name.
    """
    name: str = info.orig_filename
    if not info.flag_bits & UTF8_FLAG:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name[2:] if name.startswith("./") else name


def check_entry(path: str, info: zipfile.ZipInfo) -> None:
    """Raise Spoiled for what no tree of code holds: encrypted, or packed in a rare way."""
    if info.flag_bits & ENCRYPTED_FLAGS:
        raise Spoiled(path, "it is encrypted")
    if info.compress_type not in METHODS:
        raise Spoiled(path, "it is packed in a way that is not taken")


def mode_of_entry(path: str, info: zipfile.ZipInfo) -> str | None:
    """Return the git mode of an entry: "" for a folder, None where the archive does not tell.

    Raises Spoiled for what is no file, link or folder.
    """
    mode = info.external_attr >> UNIX_SHIFT
    kind = stat.S_IFMT(mode)
    if path.endswith("/") or kind == stat.S_IFDIR:
        if info.file_size or kind not in (0, stat.S_IFDIR):
            raise Spoiled(path, "it is a folder by its name or its type alone")
        return ""
    if kind == stat.S_IFLNK:
        if info.file_size > LINK_BYTES_MOST:
            raise Spoiled(path, "it is a link that is too long")
        return LINK_MODE
    if kind not in (0, stat.S_IFREG) or mode & SPECIAL_BITS:
        raise Spoiled(path, "it is neither a plain file nor a link")
    return _file_mode(mode)


def _file_mode(mode: int) -> str | None:
    # Without a type the mode is no file's own: a program made the entry up.
    if not stat.S_ISREG(mode):
        return None
    return PROGRAM_MODE if mode & stat.S_IXUSR else FILE_MODE
