"""Files that get their name only when they are whole, whatever stands in their way."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from contextlib import suppress

from rebyte_flows.files.names import expand_user
from rebyte_flows.state import lock_file, try_lock
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE_MODE = 0o644
PRIVATE_MODE = 0o600
STALE_SECONDS = 86_400
TEMPORARY = re.compile(r"\.rebyte-[0-9a-f]{16}\.part")
NO_LINKS_HERE = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
# O_BINARY is Windows', O_NOFOLLOW everybody else's.
NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL
NEW_FILE |= getattr(os, "O_NOFOLLOW", 0)
NEW_FILE |= getattr(os, "O_BINARY", 0)


class AtomicFile:
    """A temporary file in a folder, locked while its run lives; commit() names it, else it goes."""

    def __init__(self, folder: str, mode: int = FILE_MODE) -> None:
        """Open a new one; OSError when the disk says no."""
        while True:
            self.path = os.path.join(folder, ".rebyte-%s.part" % os.urandom(8).hex())
            # Unbuffered: the pieces are large.
            self.file = os.fdopen(os.open(self.path, NEW_FILE, mode), "wb", 0)
            lock_file(self.file)
            # Before it was locked another run may have removed it as a dead run's.
            if os.path.exists(self.path):
                return
            self.file.close()

    def __repr__(self) -> str:
        return "AtomicFile(%s)" % os.path.basename(self.path)

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        with suppress(OSError):
            os.unlink(self.path)

    def write(self, piece: Any) -> None:
        """Write bytes or a memoryview, which an unbuffered file may take in parts."""
        written = self.file.write(piece)
        while written < len(piece):
            written += self.file.write(piece[written:])

    def commit(
        self,
        path: str,
        force: bool = False,
    ) -> None:
        """Bring the bytes to the disk and give the file its name; see rename()."""
        os.fsync(self.file.fileno())
        rename(self.path, path, force)


def write_whole(path: str, text: str, mode: int = PRIVATE_MODE) -> None:
    """Write a text file of ours, in place of whatever has the name; OSError for a folder.

    Nobody sees a part of it, and a kill leaves the earlier one as it was.
    """
    with suppress(FileNotFoundError):
        mode_there = os.lstat(path).st_mode
        if stat.S_ISCHR(mode_there) or stat.S_ISBLK(mode_there):
            raise OSError(errno.EINVAL, "it is a device", path)
    with AtomicFile(os.path.dirname(path) or os.curdir, mode) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
        os.replace(file.path, path)


def rename(
    temporary: str,
    path: str,
    force: bool = False,
) -> None:
    """Give a finished file its name without following a link; only `force` overwrites."""
    check_target(path)
    if force:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise InputError(
            "%s appeared while it was being downloaded" % path,
            hint="--force overwrites it",
        ) from None
    except OSError as problem:
        if problem.errno not in NO_LINKS_HERE:
            raise
        # Some file systems know no links.
        os.replace(temporary, path)


def check_target(path: str) -> None:
    """Raise InputError when a link, a folder or anything but a plain file is in the way."""
    try:
        found = os.lstat(path)
    except OSError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise InputError(
            "%s is there already and is no plain file" % path,
            hint="move it away or pass another --out",
        )


def read_plain(path: str) -> str:
    """Return the text of a plain file; OSError for a link or a FIFO, which would be waited for."""
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    with open(os.open(path, os.O_RDONLY | flags), encoding="utf-8") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file")
        return file.read()


def remove_stale(folder: str) -> None:
    """Remove the temporary files of killed runs; those of living runs are locked and stay."""
    # A folder that may be written and not read keeps them.
    with suppress(OSError):
        for name in os.listdir(folder):
            if TEMPORARY.fullmatch(name):
                _remove_if_dead(os.path.join(folder, name))


def _remove_if_dead(path: str) -> None:
    with suppress(OSError, InputError):
        check_target(path)
        with open(path, "r+b") as file:
            # Where there are no locks, a run is taken for dead after a day.
            is_old = time.time() - os.fstat(file.fileno()).st_mtime > STALE_SECONDS
            locked = try_lock(file)
            if locked or (locked is None and is_old):
                os.unlink(path)


def open_folder(folder: str) -> None:
    """Make a folder for files when it is missing; InputError when nothing can be written there."""
    folder = expand_user(folder)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as problem:
        raise InputError(
            "cannot make the folder %s: %s" % (folder, problem.strerror),
            hint="pass --out a folder that can be written",
        ) from problem
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            "nothing can be written to the folder %s" % folder,
            hint="pass --out a folder that can be written",
        )


def disk_words(problem: OSError) -> str:
    """Return what the disk says, as the reason why something is refused."""
    return "the disk says: %s" % (problem.strerror or problem)
