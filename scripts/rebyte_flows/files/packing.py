"""What a task takes along that is no file yet: folders and skills as zips, and streams.

A zip depends on nothing but what it holds: the same folder again is the same file, and so the same
line the same task.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import zipfile
from tempfile import TemporaryFile

from rebyte_flows.files.names import expand_user, name_of
from rebyte_flows.files.uploads import PIECE_BYTES, STREAM, Attachment
from rebyte_wire.errors import InputError
from rebyte_wire.multipart import MAX_UPLOAD_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

# The earliest moment a zip can tell; times would make equal folders differ.
EARLIEST = (1980, 1, 1, 0, 0, 0)
UNIX = 3
FILE_MODE = 0o100644
PROGRAM_MODE = 0o100755
# What tools leave behind, and a repository's history, which can hold secrets.
LEFT_OUT = frozenset((".git", "__pycache__", ".DS_Store"))
SKILL_FILE = "SKILL.md"


class Spooled(Attachment):
    """Bytes that lie in no file of the caller's, but in a nameless temporary one."""

    def __init__(
        self,
        path: str,
        name: str,
        write: Callable[[BinaryIO], object],
        limit: int | None = MAX_UPLOAD_BYTES,
    ) -> None:
        """Call `write(file)` to fill it; `path` is what messages call it."""
        self.path = path
        self.name = name
        self._file: Any = None
        try:
            self._file = TemporaryFile(prefix="rebyte-")  # noqa: SIM115
            write(self._file)
            self._file.flush()
            self.bytes = os.fstat(self._file.fileno()).st_size
        except OSError as problem:
            raise InputError(
                "cannot keep %s while it is uploaded: %s"
                % (path, problem.strerror or problem),
                hint="TMPDIR names the folder for temporary files",
            ) from problem
        self._check(limit)

    def open(self) -> BinaryIO:
        """Open it from its start; only one reader at a time."""
        file = os.fdopen(os.dup(self._file.fileno()), "rb")
        file.seek(0)
        return file

    def __del__(self) -> None:
        if getattr(self, "_file", None):
            self._file.close()


class Packed(Spooled):
    """A folder (or one file) as a zip; `links` are those left out of it."""

    def __init__(
        self,
        path: str,
        limit: int | None = MAX_UPLOAD_BYTES,
    ) -> None:
        self.links: list[str] = []
        self._limit = limit
        path = expand_user(path)
        whole = os.path.abspath(path)
        name = name_of(whole)
        if not os.path.isdir(path):
            name = os.path.splitext(name)[0]
        super().__init__(whole, (name or "folder") + ".zip", self._pack, limit)

    def _pack(self, file: BinaryIO) -> None:
        self.links += pack(self.path, file, self._limit)


class LocalSkill(Packed):
    """A skill's folder on this machine, packed."""

    is_listed = False

    def __init__(self, path: str) -> None:
        path = expand_user(path)
        if not os.path.isfile(os.path.join(path, SKILL_FILE)):
            raise InputError(
                "%s is no skill: a folder with a %s was expected" % (path, SKILL_FILE),
                hint="a skill that the service knows is named without ./",
            )
        super().__init__(path)

    def prompt_lines(self, name: str) -> list[str]:
        """Return the line that says where the skill lies."""
        return [
            "A skill for this task lies packed in /code/%s: unpack it, read its SKILL.md first, "
            "and use it." % name
        ]


class Stream(Spooled):
    """What comes on stdin, read to its end, under a name: -=NAME."""

    def __init__(
        self,
        word: str,
        stdin: Any,
        limit: int | None = MAX_UPLOAD_BYTES,
    ) -> None:
        name = word[len(STREAM) :]
        if not name or "/" in name or "\\" in name:
            raise InputError(
                "%s names no file; -=NAME was expected" % word,
                hint="for example: --file -=data.csv",
            )
        if stdin.closed:
            raise InputError("%s reads stdin, and stdin is closed" % word)
        self._source = getattr(stdin, "buffer", stdin)
        # One byte more than may be, so that more is noticed.
        self._left = sys.maxsize if limit is None else limit + 1
        super().__init__(word, name, self._fill, limit)

    def _fill(self, file: BinaryIO) -> None:
        while True:
            piece = self._source.read(min(PIECE_BYTES, self._left))
            if not piece:
                return
            self._left -= len(piece)
            file.write(piece if isinstance(piece, bytes) else piece.encode())


def pack(
    path: str,
    file: BinaryIO,
    limit: int | None = None,
) -> list[str]:
    """Write a folder (or one file) as a zip into an open binary file, under its own name.

    Returns the links, which are left out. Raises InputError once the zip is larger than `limit`
    bytes, or when it would hold nothing.
    """
    name = name_of(os.path.abspath(path))
    links: list[str] = []
    found = members(path, name, links)
    if os.path.isfile(path):
        found = iter([(name, path)])
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, member in found:
            _add(archive, inside, member)
            if limit is not None and file.tell() > limit:
                raise InputError(
                    "%s has more than %d bytes when packed" % (path, limit),
                    hint="attach only what the task needs",
                )
        if not archive.filelist:
            raise InputError("%s holds no files to pack" % path)
    return links


def members(
    folder: str,
    name: str,
    links: list[str],
) -> Iterator[tuple[str, str]]:
    """Yield (name in the zip, path) for each file below a folder, in one order on every system.

    Links are noted in `links` and not followed.
    """
    # A list instead of recursion, since folders can be nested deeper than calls.
    pending = [(name, folder, True)]
    while pending:
        inside, path, is_folder = pending.pop()
        if not is_folder:
            yield inside, path
            continue
        for entry in reversed(_entries(path)):
            if entry.is_symlink():
                links.append(entry.path)
            elif entry.is_dir() or entry.is_file():
                pending.append(
                    (inside + "/" + name_of(entry.name), entry.path, entry.is_dir())
                )


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Return what a folder holds and goes along, in one order on every system."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.name not in LEFT_OUT]
    except OSError as problem:
        raise InputError("cannot read %s: %s" % (folder, problem.strerror)) from problem
    return sorted(found, key=lambda entry: os.fsencode(entry.name))


def _add(
    archive: zipfile.ZipFile,
    inside: str,
    path: str,
) -> None:
    try:
        with open(path, "rb") as source:
            status = os.fstat(source.fileno())
            info = zipfile.ZipInfo(inside, EARLIEST)
            info.create_system = UNIX
            info.compress_type = zipfile.ZIP_DEFLATED
            mode = PROGRAM_MODE if status.st_mode & stat.S_IXUSR else FILE_MODE
            info.external_attr = mode << 16
            info.file_size = status.st_size
            with archive.open(info, "w") as target:
                shutil.copyfileobj(source, target, PIECE_BYTES)
    except OSError as problem:
        raise InputError(
            "cannot pack %s: %s" % (path, problem.strerror or problem)
        ) from problem
    except UnicodeEncodeError:
        raise InputError(
            "cannot pack %r: its name is not text" % path, hint="rename it"
        ) from None
