"""What a task takes along: a file, a folder packed as a zip, a skill that lies here, or a stream; checked, nothing sent."""
from __future__ import annotations

import hashlib
import os
import sys

from rebyte_wire.errors import InputError

FILE_LIMIT_BYTES = 52_428_800
FILENAME_LIMIT_CHARACTERS = 255
PIECE_BYTES = 1 << 18
STREAM = "-="
SKILL_FILE = "SKILL.md"


class Attachment:
    """A local file: path, name and bytes, and its SHA-256 once somebody asks."""

    is_skill = False

    def __init__(self, path, limit=FILE_LIMIT_BYTES):
        if os.path.isdir(path):
            raise InputError("%s is a folder; a task takes files" % path, hint="--zip packs it")
        try:
            self.path, self.name, self.bytes = os.path.abspath(path), os.path.basename(path), os.path.getsize(path)
            open(path, "rb").close()
        except OSError as problem:
            raise InputError("cannot read %s: %s" % (path, problem.strerror), hint="check the path; --file takes a file on this machine")
        if not os.path.isfile(path):
            raise InputError("%s is no plain file" % path, hint="for a stream pass -=NAME and pipe it in")
        self._check(limit)

    def __repr__(self):
        return "%s(%r, %d bytes)" % (type(self).__name__, self.name, self.bytes)

    def _check(self, limit):
        if limit is not None and self.bytes > limit:
            raise InputError("%s has %d bytes; a task's file may have %d" % (self.path, self.bytes, limit),
                             hint="artifacts put takes larger files into a workspace")
        if len(self.name) > FILENAME_LIMIT_CHARACTERS:
            raise InputError("the file name %s... has more than %d characters" % (self.name[:40], FILENAME_LIMIT_CHARACTERS))

    def open(self):
        """Open it from its start, to read in binary; the caller closes."""
        return open(self.path, "rb")

    @property
    def sha256(self):
        """The SHA-256 of the content as hexadecimal text; read when first asked for, in flat memory."""
        if not hasattr(self, "_sha256"):
            with self.open() as file:
                self._sha256 = digest_of(file)
        return self._sha256


class Spooled(Attachment):
    """Bytes that lie in no file of the caller's: in a nameless temporary one, which goes when the process does."""

    def __init__(self, path, name, write, limit=FILE_LIMIT_BYTES):
        """Call `write(file)` to fill it; `path` is what messages call it."""
        # Only what is packed or piped pays for this import.
        from tempfile import TemporaryFile
        self.path, self.name = path, name
        try:
            self._file = TemporaryFile(prefix="rebyte-")
            write(self._file)
            self._file.flush()
            self.bytes = os.fstat(self._file.fileno()).st_size
        except OSError as problem:
            raise InputError("cannot keep %s while it is uploaded: %s" % (path, problem.strerror or problem),
                             hint="TMPDIR names the folder for temporary files")
        self._check(limit)

    def open(self):
        """Open it from its start; only one reader at a time."""
        file = os.fdopen(os.dup(self._file.fileno()), "rb")
        file.seek(0)
        return file


class Packed(Spooled):
    """A folder (or one file) as a zip; `links` are those left out of it."""

    def __init__(self, path, limit=FILE_LIMIT_BYTES):
        from rebyte_flows.packing import pack
        self.links = []
        name = os.path.basename(os.path.abspath(path))
        name = (name if os.path.isdir(path) else os.path.splitext(name)[0]) or "folder"
        super().__init__(os.path.abspath(path), name + ".zip", lambda file: self.links.extend(pack(path, file, limit)), limit)


class LocalSkill(Packed):
    """A skill's folder on this machine, packed."""

    is_skill = True

    def __init__(self, path):
        path = os.path.expanduser(path)
        if not os.path.isfile(os.path.join(path, SKILL_FILE)):
            raise InputError("%s is no skill: a folder with a %s was expected" % (path, SKILL_FILE),
                             hint="a skill that the service knows is named without ./")
        super().__init__(path)


class Stream(Spooled):
    """What comes on stdin, read to its end, under a name: -=NAME."""

    def __init__(self, word, stdin=None, limit=FILE_LIMIT_BYTES):
        name = word[len(STREAM):]
        if not name or "/" in name or "\\" in name:
            raise InputError("%s names no file; -=NAME was expected" % word, hint="for example: --file -=data.csv")
        stdin = stdin or sys.stdin
        if stdin is None or stdin.closed:
            raise InputError("%s reads stdin, and stdin is closed" % word)

        def fill(file):
            source, left = getattr(stdin, "buffer", stdin), limit + 1 if limit is not None else sys.maxsize
            for piece in iter(lambda: source.read(min(PIECE_BYTES, left)), source.read(0)):
                left -= len(piece)
                file.write(piece if isinstance(piece, bytes) else piece.encode())
        super().__init__(word, name, fill, limit)


def attach(word, pack_folders=False, limit=FILE_LIMIT_BYTES):
    """Return what --file or upload names: a path, a folder with --zip, or -=NAME for stdin."""
    if word.startswith(STREAM):
        return Stream(word, limit=limit)
    if word == "-":
        raise InputError("stdin needs a name in the task", hint="pass -=NAME, for example -=data.csv")
    return Packed(word, limit) if pack_folders and os.path.isdir(word) else Attachment(word, limit)


def attach_all(words, pack_folders=False):
    """Return what several words name; stdin can be read only once."""
    if sum(word.startswith(STREAM) for word in words) > 1:
        raise InputError("stdin was named twice; it can be read only once", code="usage")
    return [attach(word, pack_folders) for word in words]


def is_local_skill(word):
    """Say whether --skill names a folder of this machine: it begins with ./ ../ / or ~/, or is . itself."""
    return word in (".", "..") or word.startswith(("./", "../", "/", "~/", ".\\", "..\\"))


def split_skills(words):
    """Return (the skills that the service knows, those of this machine, packed)."""
    return [word for word in words if not is_local_skill(word)], [LocalSkill(word) for word in words if is_local_skill(word)]


def digest_of(file):
    """Return the SHA-256 of what is left of an open binary file."""
    seen = hashlib.sha256()
    for piece in iter(lambda: file.read(PIECE_BYTES), b""):
        seen.update(piece)
    return seen.hexdigest()
