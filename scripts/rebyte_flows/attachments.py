"""What a task takes along: a local file, checked; nothing is sent. What is packed or piped stands in packing.py."""
from __future__ import annotations

import hashlib
import os

from rebyte_wire.errors import InputError

FILE_LIMIT_BYTES = 52_428_800
FILENAME_LIMIT_CHARACTERS = 255
PIECE_BYTES = 1 << 18


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


def digest_of(file):
    """Return the SHA-256 of what is left of an open binary file."""
    seen = hashlib.sha256()
    for piece in iter(lambda: file.read(PIECE_BYTES), b""):
        seen.update(piece)
    return seen.hexdigest()
