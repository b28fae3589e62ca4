"""The tree as one archive: NAME.tar.gz, made of names, modes and bytes alone, so that the same tree
twice is the same archive.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile

from rebyte_flows.code.git import blob_digest
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, BinaryIO

    from rebyte_flows.code.sending.snapshot import TreeFile

PIECE_BYTES = 1 << 18
# 2000-01-01: not before 1980, which is the first year that a zip can tell.
MOMENT = 946_684_800
COMPRESSION = 6
MODES = {"100644": 0o644, "100755": 0o755, "120000": 0o777}


class TooLarge(Exception):
    """The archive would be larger than it may be."""


def write_archive(
    root: str,
    name: str,
    files: Iterable[TreeFile],
    target: BinaryIO,
    limit: int,
) -> str:
    """Write the files below the folder `name` of an archive; return the SHA-256 of what is packed.

    That is of the bytes before they are compressed, which another zlib may do in another way.
    Raises TooLarge past `limit` bytes and InputError for a file that changed since it was looked
    at.
    """
    digest = hashlib.sha256()
    with gzip.GzipFile("", "wb", COMPRESSION, target, mtime=0) as packed:
        # All that tarfile asks of a stream is write().
        sink: Any = _Sink(packed, target, digest, limit)
        with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for file in files:
                _add(tar, root, name, file)
    if target.tell() > limit:
        raise TooLarge
    return digest.hexdigest()


class _Sink:
    """What a tar is written to: it counts and digests on the way to the compressor."""

    def __init__(self, packed: Any, target: BinaryIO, digest: Any, limit: int) -> None:
        self._packed = packed
        self._target = target
        self._digest = digest
        self._limit = limit

    def write(self, piece: bytes) -> int:
        """Take a piece."""
        self._digest.update(piece)
        self._packed.write(piece)
        if self._target.tell() > self._limit:
            raise TooLarge
        return len(piece)


def _add(tar: tarfile.TarFile, root: str, name: str, file: TreeFile) -> None:
    info = tarfile.TarInfo("%s/%s" % (name, file.path))
    info.mtime = MOMENT
    info.mode = MODES[file.mode]
    if file.link is not None:
        info.type = tarfile.SYMTYPE
        info.linkname = file.link
        tar.addfile(info)
        return
    info.size = file.bytes
    try:
        with open(os.path.join(root, file.path), "rb") as source:
            reader = _Reader(source, file)
            tar.addfile(info, io.BufferedReader(reader, PIECE_BYTES))
            reader.check()
    except OSError as problem:
        raise changed(file.path) from problem


class _Reader(io.RawIOBase):
    """Reads a file and makes sure that it is still the one that was looked at."""

    def __init__(self, source: BinaryIO, file: TreeFile) -> None:
        self._source = source
        self._file = file
        self._digest = blob_digest(file.bytes, len(file.sha))
        self._left = file.bytes

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read on, no further than the size that was seen."""
        piece = self._source.read(min(len(buffer), self._left))
        self._digest.update(piece)
        self._left -= len(piece)
        buffer[: len(piece)] = piece
        return len(piece)

    def check(self) -> None:
        """Raise InputError if other bytes came than were looked at."""
        if self._digest.hexdigest() != self._file.sha:
            raise changed(self._file.path)


def changed(path: str) -> InputError:
    """Return the error for a file that changed while it was packed."""
    return InputError(
        "%r changed while it was read" % path,
        code="tree_changed",
        hint="nothing was sent; type the same line again once nothing writes there",
    )
