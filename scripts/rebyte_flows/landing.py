"""A file that appears under its name only when it is whole: bytes go into a temporary file beside it first."""
from __future__ import annotations

import errno
import os
import re
import stat

from rebyte_flows.state import lock_file
from rebyte_wire.errors import InputError

FILE_MODE = 0o644
TEMPORARY = re.compile(r"\.rebyte-[0-9a-f]{16}\.part")
NO_LINKS_HERE = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


class Landing:
    """A temporary file in a folder, locked while its run lives; finish() gives it its name, else it goes on exit."""

    def __init__(self, folder):
        """Open a new one; OSError when the disk says no."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        while True:
            self.path = os.path.join(folder, ".rebyte-%s.part" % os.urandom(8).hex())
            # Unbuffered: the pieces are large.
            self.file = os.fdopen(os.open(self.path, flags, FILE_MODE), "wb", 0)
            lock_file(self.file)
            # Between its making and its lock another run may have taken it for a dead one's.
            if os.path.exists(self.path):
                return
            self.file.close()

    def __repr__(self):
        return "Landing(%s)" % os.path.basename(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        try:
            os.unlink(self.path)
        except OSError:
            pass

    def finish(self, path, force=False):
        """Bring the bytes to the disk and give the file its name; see place()."""
        os.fsync(self.file.fileno())
        place(self.path, path, force)


def place(temporary, path, force=False):
    """Give a finished file its name without following a link and, unless `force`, without overwriting."""
    check_target(path)
    if force:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise InputError("%s appeared while it was being downloaded" % path, hint="--force overwrites it")
    except OSError as problem:
        if problem.errno not in NO_LINKS_HERE:
            raise
        # Some file systems know no links.
        os.replace(temporary, path)


def check_target(path):
    """Raise InputError when a link, a folder or anything but a plain file is in the way."""
    try:
        found = os.lstat(path)
    except OSError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise InputError("%s is there already and is no plain file" % path, hint="move it away or pass another --out")


def remove_stale(folder):
    """Remove the temporary files that killed runs left in a folder; those of living runs are locked and stay."""
    for name in os.listdir(folder):
        if TEMPORARY.fullmatch(name):
            path = os.path.join(folder, name)
            try:
                check_target(path)
                with open(path, "r+b") as file:
                    if lock_file(file):
                        os.unlink(path)
            except (OSError, InputError):
                pass
