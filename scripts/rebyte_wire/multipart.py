"""Bodies that are more than a few bytes: a file, or a form of several, with a known length."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Protocol, Union

    Path = Union[str, os.PathLike[str]]
    Source = Union[IO[bytes], Callable[[], IO[bytes]]]
    # What is uploaded as an artifact: a path, or name, content type, source and length.
    ArtifactSource = Union[Path, tuple[str, str, Source, int]]
    # Field name, file name, content type, bytes.
    Part = tuple[str, str, str, "FileBody"]

    class Body(Protocol):
        """What can be sent as a request's body: a length, and chunks that can be read again."""

        length: int

        def chunks(self) -> Iterator[bytes]:
            """Yield exactly `length` bytes, piece by piece."""


DEFAULT_CONTENT_TYPE = "application/octet-stream"
CHUNK_BYTES = 256 * 1024
# What the service takes as the file of a task.
MAX_UPLOAD_BYTES = 52_428_800
ESCAPES = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"}
PART_HEAD = (
    '--{}\r\nContent-Disposition: form-data; name="{}"; filename="{}"\r\n'
    "Content-Type: {}\r\n\r\n"
)


class FileBody:
    """`length` bytes behind a callable that opens them, or in a seekable binary file.

    They are read again at each try.
    """

    def __init__(self, source: Source, length: int) -> None:
        """Keep the callable or file; a file is sent from where it stands now. Nothing is read."""
        self.length = length
        self._source = source
        self._start = None if callable(source) else source.tell()

    def chunks(self) -> Iterator[bytes]:
        """Yield exactly `length` bytes; InputError if the source holds fewer or more, or fails."""
        try:
            if callable(self._source):
                with self._source() as file:
                    yield from self._read(file)
            else:
                self._source.seek(self._start or 0)
                yield from self._read(self._source)
        except (OSError, ValueError) as error:
            # ValueError: a file that was closed meanwhile.
            reason = getattr(error, "strerror", None) or error
            raise InputError("The file cannot be read: {}.".format(reason)) from error

    def _read(self, file: IO[bytes]) -> Iterator[bytes]:
        """Read the length that was promised, and look once beyond it."""
        left = self.length
        while left:
            chunk = file.read(min(CHUNK_BYTES, left))
            if not chunk:
                break
            left -= len(chunk)
            yield chunk
        if left or file.read(1):
            raise InputError(
                "The file changed while it was sent; it had {} bytes before.".format(
                    self.length
                )
            )


class MultipartBody:
    """A multipart/form-data body of (field, filename, content type, FileBody) parts."""

    def __init__(self, parts: Iterable[Part]) -> None:
        """Lay out the parts; nothing is read yet. Names are written as WHATWG says."""
        boundary = "rebyte-" + os.urandom(16).hex()
        self.content_type = "multipart/form-data; boundary=" + boundary
        self._end = "--{}--\r\n".format(boundary).encode()
        self._parts: list[tuple[bytes, FileBody]] = []
        self.length = len(self._end)
        for *words, body in parts:
            escaped = [word.translate(ESCAPES) for word in words]
            head = PART_HEAD.format(boundary, *escaped).encode("utf-8", "replace")
            self._parts.append((head, body))
            self.length += len(head) + body.length + len(b"\r\n")

    def chunks(self) -> Iterator[bytes]:
        """Yield the whole form, `length` bytes of it, streaming each file."""
        for head, file in self._parts:
            yield head
            yield from file.chunks()
            yield b"\r\n"
        yield self._end


def form_part(file: ArtifactSource) -> Part:
    """Return the part of a form that uploads one artifact."""
    if isinstance(file, tuple):
        name, kind, source, length = file
        return "files", name, kind, FileBody(source, length)
    body = FileBody(opener(file), size_of(file))
    return "files", os.path.basename(file), DEFAULT_CONTENT_TYPE, body


def opener(path: Path) -> Callable[[], IO[bytes]]:
    """Return a function that opens a file from its start."""
    return lambda: open(path, "rb")


def size_of(path: Path) -> int:
    """Return a file's size; InputError for one that cannot be read."""
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        raise InputError("{} is not a file that can be read.".format(path))
    return os.path.getsize(path)


def check_size(
    name: str,
    length: int,
    limit: object,
) -> None:
    """Raise InputError for more bytes than a limit allows, if it is one."""
    if isinstance(limit, int) and length > limit:
        raise InputError(
            "The file {} has {} bytes; at most {} can be uploaded.".format(
                name, length, limit
            ),
            hint="artifacts put takes larger files into a workspace.",
        )
