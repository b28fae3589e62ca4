"""Files home safely: hostile names refused, bytes into a temporary file beside the target, checked, then renamed."""
from __future__ import annotations

import errno
import hashlib
import os
import stat

from rebyte_flows.names import sort_names
from rebyte_wire.errors import InputError, NetworkError, RebyteError

PIECE_BYTES = 1 << 18
FILE_MODE = 0o644


def list_files(client, workspace_id):
    """Return the artifacts of a workspace as the service lists them, entries that are no objects left out."""
    found = client.list_artifacts(workspace_id).get("data")
    return [item for item in found or [] if isinstance(item, dict)]


def bring_home(client, workspace_id, folder, *, names=None, force=False, listing=None):
    """Download artifacts into a folder (all, or those named); returns (files, refused).

    files: [{"name","path","bytes","sha256"}]; refused: [{"name","reason"}]. A file that is there already with other bytes
    is refused unless `force`. Each failure leaves no file behind and does not hide the others; AuthError passes through.
    """
    listing = list_files(client, workspace_id) if listing is None else listing
    known = {item.get("name"): item for item in listing}
    wanted = [item.get("name") for item in listing] if names is None else list(names)
    kept, reasons = sort_names(wanted)
    files, refused = [], [{"name": name, "reason": reason} for name, reason in reasons.items()]
    open_folder(folder)
    for name in kept:
        try:
            files.append(_bring_one(client, workspace_id, folder, name, known.get(name) or {}, force))
        except (RebyteError, OSError) as problem:
            if getattr(problem, "exit_code", None) in (4, 75):
                raise
            reason = problem.message if isinstance(problem, RebyteError) else _disk_words(problem)
            refused.append({"name": name, "reason": reason})
    return files, refused


def open_folder(folder):
    """Make a folder for files when it is missing; raises InputError when it cannot be one."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as problem:
        raise InputError("cannot make the folder %s: %s" % (folder, problem.strerror), hint="pass --out a folder that can be written")


def _bring_one(client, workspace_id, folder, name, item, force):
    path = os.path.join(folder, name)
    _check_target(path)
    if not force and os.path.exists(path):
        return _already_here(path, name, item)
    temporary = os.path.join(folder, ".rebyte-%s.part" % os.urandom(8).hex())
    try:
        size, digest = _fetch(client, workspace_id, name, item, temporary)
        place(temporary, path, force)
    finally:
        _remove(temporary)
    return {"name": name, "path": os.path.abspath(path), "bytes": size, "sha256": digest}


def _check_target(path):
    try:
        found = os.lstat(path)
    except OSError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise InputError("%s is there already and is no plain file" % path, hint="move it away or pass another --out")


def _already_here(path, name, item):
    """A rerun keeps what an earlier one brought, when its size is what the service lists."""
    size = os.path.getsize(path)
    if item.get("size") != size:
        raise InputError("%s is there already and differs" % path, hint="--force overwrites it")
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(PIECE_BYTES), b""):
            digest.update(piece)
    return {"name": name, "path": os.path.abspath(path), "bytes": size, "sha256": digest.hexdigest()}


def _fetch(client, workspace_id, name, item, temporary):
    """Write one artifact to a new file and return (bytes, SHA-256); lengths are checked against header and listing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    digest, size = hashlib.sha256(), 0
    with client.open_artifact(workspace_id, name) as source, os.fdopen(os.open(temporary, flags, FILE_MODE), "wb") as file:
        while True:
            piece = source.read(PIECE_BYTES)
            if not piece:
                break
            file.write(piece)
            digest.update(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    listed = item.get("size")
    if isinstance(listed, int) and listed != size:
        raise NetworkError("%d bytes came, and the service lists %d" % (size, listed), code="short_body",
                           hint="type the same line again")
    return size, digest.hexdigest()


def place(temporary, path, force=False):
    """Give a finished file its name without following a link and, unless `force`, without overwriting."""
    if force:
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise InputError("%s appeared while it was being downloaded" % path, hint="--force overwrites it")
    except OSError as problem:
        if problem.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV):
            raise
        # Some file systems know no links.
        os.replace(temporary, path)


def _disk_words(problem):
    return "the disk says: %s" % (problem.strerror or problem)


def _remove(path):
    try:
        os.unlink(path)
    except OSError:
        pass
