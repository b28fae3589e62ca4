"""A folder as one zip whose bytes depend on nothing but what it holds: the same folder again is the same file."""
from __future__ import annotations

import os
import shutil
import stat
import zipfile

from rebyte_wire.errors import InputError

# The earliest moment a zip can tell; times would make equal folders differ.
MOMENT = (1980, 1, 1, 0, 0, 0)
UNIX = 3
FILE_MODE, PROGRAM_MODE = 0o100644, 0o100755
# What tools leave behind, and a repository's history, which can hold secrets.
LEFT_OUT = frozenset((".git", "__pycache__", ".DS_Store"))
PIECE_BYTES = 1 << 18


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
                raise InputError("%s has more than %d bytes when packed" % (path, limit), hint="attach only what the task needs")
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
