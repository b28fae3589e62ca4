"""Files of a working tree, read and written without following a link, each as a whole or not at
all.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress

from rebyte_flows.code.git import FILE_MODE, LINK_MODE, PROGRAM_MODE
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple

    # What lies at a path: (mode, content), None for nothing.
    Content = Optional[Tuple[str, bytes]]

OTHER_MODE = "other"
TEMPORARY = ".rebyte-%s.part"


def read_path(root: str, path: str) -> Content:
    """Return (mode, bytes) of what lies at a path, None where there is nothing.

    What is neither a file nor a link, or lies behind a link, has the mode OTHER_MODE.
    """
    if not _has_real_folders(root, path):
        return None
    place = os.path.join(root, path)
    try:
        status = os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(status.st_mode):
        return LINK_MODE, os.fsencode(os.readlink(place))
    if not stat.S_ISREG(status.st_mode):
        return OTHER_MODE, b""
    with open(place, "rb") as file:
        data = file.read()
    return (PROGRAM_MODE if status.st_mode & stat.S_IXUSR else FILE_MODE), data


def _has_real_folders(root: str, path: str) -> bool:
    """Say whether the folders above a path are there, and none of them is a link."""
    place = root
    for part in path.split("/")[:-1]:
        place = os.path.join(place, part)
        try:
            if not stat.S_ISDIR(os.lstat(place).st_mode):
                return False
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def write_path(root: str, path: str, content: Content) -> None:
    """Let a path hold a content, or nothing; another program sees the old or the new, never half.

    Raises InputError where a link or a folder is in the way, and OSError.
    """
    place = os.path.join(root, path)
    if content is None:
        if _has_real_folders(root, path):
            with suppress(FileNotFoundError):
                os.unlink(place)
            _remove_empty_folders(root, os.path.dirname(path))
        return
    _make_folders(root, path)
    if os.path.isdir(place) and not os.path.islink(place):
        # Only an empty one is given up.
        os.rmdir(place)
    temporary = temporary_of(place)
    # What a run that was killed has left.
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    mode, data = content
    try:
        if mode == LINK_MODE:
            os.symlink(os.fsdecode(data), temporary)
        else:
            _write_file(temporary, data, mode, place)
        os.replace(temporary, place)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def temporary_of(place: str) -> str:
    """Return the name that a file has until it is whole: the same one each time, so that what a
    killed run has left is found.
    """
    folder, name = os.path.split(place)
    return os.path.join(folder, TEMPORARY % name_digest(name))


def name_digest(name: str) -> str:
    """Return a short name that stands for another."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def _make_folders(root: str, path: str) -> None:
    place = root
    for part in path.split("/")[:-1]:
        place = os.path.join(place, part)
        with suppress(FileExistsError):
            os.mkdir(place)
        if not stat.S_ISDIR(os.lstat(place).st_mode):
            raise InputError("%r is in the way: it is no folder" % place)


def _write_file(temporary: str, data: bytes, mode: str, place: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    bits = os.lstat(temporary).st_mode
    with suppress(OSError):
        # What others may do with the file there stays as it is.
        there = os.lstat(place).st_mode
        if stat.S_ISREG(there):
            bits = there
    readers = (bits & 0o444) >> 2
    bits = bits | readers if mode == PROGRAM_MODE else bits & ~0o111
    os.chmod(temporary, stat.S_IMODE(bits))


def _remove_empty_folders(root: str, folder: str) -> None:
    while folder:
        try:
            os.rmdir(os.path.join(root, folder))
        except OSError:
            return
        folder = os.path.dirname(folder)
