"""What a task takes along that is no file yet: folders and skills as zips, and streams.

A zip depends on nothing but what it holds: the same folder again is the same file, and the same line the same task.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import zipfile
from tempfile import TemporaryFile

from rebyte_flows.files.uploads import PIECE_BYTES, STREAM, Attachment
from rebyte_wire.errors import InputError
from rebyte_wire.multipart import MAX_UPLOAD_BYTES

# The earliest moment a zip can tell; times would make equal folders differ.
MOMENT = (1980, 1, 1, 0, 0, 0)
UNIX = 3
FILE_MODE, PROGRAM_MODE = 0o100644, 0o100755
# What tools leave behind, and a repository's history, which can hold secrets.
LEFT_OUT = frozenset((".git", "__pycache__", ".DS_Store"))
SKILL_FILE = "SKILL.md"


class Spooled(Attachment):
    """Bytes that lie in no file of the caller's: in a nameless temporary one, which goes when the process does."""

    def __init__(self, path, name, write, limit=MAX_UPLOAD_BYTES):
        """Call `write(file)` to fill it; `path` is what messages call it."""
        self.path, self.name, self._file = path, name, None
        try:
            self._file = TemporaryFile(prefix="rebyte-")
            write(self._file)
            self._file.flush()
            self.bytes = os.fstat(self._file.fileno()).st_size
        except OSError as problem:
            raise InputError(
                "cannot keep %s while it is uploaded: %s" % (path, problem.strerror or problem),
                hint="TMPDIR names the folder for temporary files",
            )
        self._check(limit)

    def open(self):
        """Open it from its start; only one reader at a time."""
        file = os.fdopen(os.dup(self._file.fileno()), "rb")
        file.seek(0)
        return file

    def __del__(self):
        if getattr(self, "_file", None):
            self._file.close()


class Packed(Spooled):
    """A folder (or one file) as a zip; `links` are those left out of it."""

    def __init__(self, path, limit=MAX_UPLOAD_BYTES):
        self.links = []
        name = os.path.basename(os.path.abspath(path))
        name = (name if os.path.isdir(path) else os.path.splitext(name)[0]) or "folder"
        super().__init__(
            os.path.abspath(path),
            name + ".zip",
            lambda file: self.links.extend(pack(path, file, limit)),
            limit,
        )


class LocalSkill(Packed):
    """A skill's folder on this machine, packed."""

    is_skill = True

    def __init__(self, path):
        path = os.path.expanduser(path)
        if not os.path.isfile(os.path.join(path, SKILL_FILE)):
            raise InputError(
                "%s is no skill: a folder with a %s was expected" % (path, SKILL_FILE),
                hint="a skill that the service knows is named without ./",
            )
        super().__init__(path)


class Stream(Spooled):
    """What comes on stdin, read to its end, under a name: -=NAME."""

    def __init__(self, word, stdin, limit=MAX_UPLOAD_BYTES):
        name = word[len(STREAM) :]
        if not name or "/" in name or "\\" in name:
            raise InputError(
                "%s names no file; -=NAME was expected" % word,
                hint="for example: --file -=data.csv",
            )
        if stdin.closed:
            raise InputError("%s reads stdin, and stdin is closed" % word)

        def fill(file):
            source, left = (
                getattr(stdin, "buffer", stdin),
                limit + 1 if limit is not None else sys.maxsize,
            )
            for piece in iter(lambda: source.read(min(PIECE_BYTES, left)), source.read(0)):
                left -= len(piece)
                file.write(piece if isinstance(piece, bytes) else piece.encode())

        super().__init__(word, name, fill, limit)


def pack(path, file, limit=None):
    """Write a folder (or one file) as a zip into an open binary file, under its own name; return the links left out.

    Links are not followed. Raises InputError once the zip is larger than `limit` bytes, or holds nothing.
    """
    name, links, count = os.path.basename(os.path.abspath(path)), [], 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, place in [(name, path)] if os.path.isfile(path) else members(path, name, links):
            count += 1
            _add(archive, inside, place)
            if limit is not None and file.tell() > limit:
                raise InputError(
                    "%s has more than %d bytes when packed" % (path, limit),
                    hint="attach only what the task needs",
                )
    if not count:
        raise InputError("%s holds no files to pack" % path)
    return links


def members(folder, name, links):
    """Yield (name in the zip, path) for each file below a folder, in one order on every system; note links in `links`."""
    try:
        found = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError as problem:
        raise InputError("cannot read %s: %s" % (folder, problem.strerror))
    for entry in found:
        inside = name + "/" + entry.name
        if entry.name in LEFT_OUT:
            continue
        if entry.is_symlink():
            links.append(entry.path)
        elif entry.is_dir():
            yield from members(entry.path, inside, links)
        elif entry.is_file():
            yield inside, entry.path


def _add(archive, inside, path):
    try:
        with open(path, "rb") as source:
            mode = os.fstat(source.fileno()).st_mode
            info = zipfile.ZipInfo(inside, MOMENT)
            info.create_system, info.compress_type = UNIX, zipfile.ZIP_DEFLATED
            info.external_attr = (PROGRAM_MODE if mode & stat.S_IXUSR else FILE_MODE) << 16
            info.file_size = os.fstat(source.fileno()).st_size
            with archive.open(info, "w") as target:
                shutil.copyfileobj(source, target, PIECE_BYTES)
    except OSError as problem:
        raise InputError("cannot pack %s: %s" % (path, problem.strerror or problem))
    except UnicodeEncodeError:
        raise InputError("cannot pack %r: its name is not text" % path, hint="rename it")
