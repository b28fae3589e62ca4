"""Files home safely: hostile names refused, several at once, each under its name only when it is whole."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import unicodedata

from rebyte_flows.concurrency import map_concurrently
from rebyte_flows.state import lock_file
from rebyte_wire.errors import InputError, NetworkError, RebyteError, StorageRefused
from rebyte_wire.status import dict_items

NAME_LIMIT_BYTES = 255
DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
    + [word + digit for word in ("com", "lpt") for digit in "123456789\u00b9\u00b2\u00b3"]
)
SEPARATORS = frozenset("/\\:\u2044\u2215\u29f8\uff0f\uff3c")
FILE_MODE = 0o644
TEMPORARY = re.compile(r"\.rebyte-[0-9a-f]{16}\.part")
NO_LINKS_HERE = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
DOWNLOADS_AT_ONCE = 8
PIECE_BYTES = 1 << 20


def reject_reason(name):
    """Return why a name must not become a file, or None when it may."""
    if not isinstance(name, str) or not name:
        return "it is empty"
    if name in (".", ".."):
        return "it names a folder"
    if any(letter in SEPARATORS for letter in name):
        return "it holds a separator"
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in name):
        return "it holds control or invisible characters"
    if name[0] in "-~" or name[0].isspace():
        return "it begins with a dash, a tilde or a blank"
    if name[-1] == "." or name[-1].isspace():
        return "it ends with a dot or a blank"
    if any(letter in '<>"|?*' for letter in name):
        return "it holds a character that some systems do not allow"
    if name.split(".")[0].strip().casefold() in DEVICES:
        return "it is the name of a device"
    if len(name.encode("utf-8")) > NAME_LIMIT_BYTES:
        return "it has more than %d bytes" % NAME_LIMIT_BYTES
    return None


def sort_names(names):
    """Return (names that may be kept, {name: reason} for the others); of names that collide none is kept."""
    refused, same = {}, {}
    for name in names:
        reason = reject_reason(name)
        if reason:
            refused[name if isinstance(name, str) else repr(name)] = reason
        else:
            same.setdefault(_folded(name), []).append(name)
    kept = []
    for group in same.values():
        if len(group) == 1:
            kept += group
        else:
            for name in group:
                refused[name] = "it collides with %d other%s" % (
                    len(group) - 1,
                    "" if len(group) == 2 else "s",
                )
    return kept, refused


def _folded(name):
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class AtomicFile:
    """A temporary file in a folder, locked while its run lives; finish() gives it its name, else it goes on exit."""

    def __init__(self, folder):
        """Open a new one; OSError when the disk says no."""
        flags = (
            os.O_RDWR
            | os.O_CREAT
            | os.O_EXCL
            | getattr(os, "O_NOFOLLOW", 0)
            | getattr(os, "O_BINARY", 0)
        )
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
        raise InputError(
            "%s appeared while it was being downloaded" % path, hint="--force overwrites it"
        )
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
        raise InputError(
            "%s is there already and is no plain file" % path,
            hint="move it away or pass another --out",
        )


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


def list_files(client, workspace_id):
    """Return the artifacts of a workspace as the service lists them, entries that are no objects left out."""
    return dict_items(client.list_artifacts(workspace_id))


def download_artifacts(
    client,
    workspace_id,
    folder,
    *,
    names=None,
    force=False,
    listing=None,
    digests=True,
    moved=None,
    say=None,
):
    """Download artifacts into a folder (all, or those named); returns (files, refused).

    files: [{"name","path","bytes"}], with "sha256" if `digests`; refused: [{"name","reason"}]. Unless `force`, a file that
    is there is kept (and says so: "kept") when its size is the listed one, else refused. A failure leaves no file behind
    and does not hide the others; a refused key and the end of the time are raised. `moved(bytes)` is told of what comes,
    `say(text)` of a detour.
    """
    listing = list_files(client, workspace_id) if listing is None else listing
    known = {item.get("name"): item for item in listing if isinstance(item.get("name"), str)}
    wanted = [item.get("name") for item in listing] if names is None else list(names)
    kept, reasons = sort_names(wanted)
    files, refused = [], [{"name": name, "reason": reason} for name, reason in reasons.items()]
    open_folder(folder)
    remove_stale(folder)
    fetch = Fetch(
        client, workspace_id, folder, known, force=force, digests=digests, moved=moved, say=say
    )
    for name, outcome in zip(kept, map_concurrently(fetch, kept, DOWNLOADS_AT_ONCE)):
        if isinstance(outcome, dict):
            files.append(outcome)
        elif isinstance(outcome, (RebyteError, OSError)):
            refused.append(
                {
                    "name": name,
                    "reason": outcome.message
                    if isinstance(outcome, RebyteError)
                    else disk_words(outcome),
                }
            )
        else:
            raise outcome
    return files, refused


def open_folder(folder):
    """Make a folder for files when it is missing; raises InputError when it cannot be one, or nothing can be written there."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as problem:
        raise InputError(
            "cannot make the folder %s: %s" % (folder, problem.strerror),
            hint="pass --out a folder that can be written",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            "nothing can be written to the folder %s" % folder,
            hint="pass --out a folder that can be written",
        )


class Fetch:
    """Brings one artifact of a workspace into a folder: fetch(name) -> {"name","path","bytes"[,"sha256"]}."""

    def __init__(self, client, workspace_id, folder, known, *, force, digests, moved, say):
        self.client, self.workspace_id, self.folder, self.known = (
            client,
            workspace_id,
            folder,
            known,
        )
        self.force, self.digests = force, digests
        self.moved, self.say = moved or (lambda count: None), say or (lambda text: None)
        self.by_address = True

    def __repr__(self):
        return "Fetch(%d files to %s)" % (len(self.known), self.folder)

    def __call__(self, name):
        """Bring one home, or keep what an earlier run brought."""
        item, path = self.known.get(name) or {}, os.path.join(self.folder, name)
        check_target(path)
        kept = not self.force and os.path.exists(path)
        if kept:
            size, digest = self._kept(path, item)
        else:
            with AtomicFile(self.folder) as landing:
                size, digest = self._write(name, item, landing.file)
                landing.finish(path, self.force)
        brought = {"name": name, "path": os.path.abspath(path), "bytes": size}
        if digest:
            brought["sha256"] = digest.hexdigest()
        return dict(brought, kept=True) if kept else brought

    def _kept(self, path, item):
        """A rerun keeps what an earlier one brought, when its size is what the service lists."""
        size = os.path.getsize(path)
        if item.get("size") != size:
            raise InputError("%s is there already and differs" % path, hint="--force overwrites it")
        digest = hashlib.sha256() if self.digests else None
        if digest:
            with open(path, "rb") as file:
                for piece in iter(lambda: file.read(PIECE_BYTES), b""):
                    digest.update(piece)
        return size, digest

    def _write(self, name, item, file):
        """Write an artifact's bytes to a file; Content-Length, the listing and what comes have to agree."""
        listed = item.get("size") if isinstance(item.get("size"), int) else None
        digest, size = hashlib.sha256() if self.digests else None, 0
        # One byte more than is expected, so that more is noticed.
        buffer = memoryview(
            bytearray(PIECE_BYTES if listed is None else min(PIECE_BYTES, max(0, listed) + 1))
        )
        with self._open(name, item) as source:
            if listed is not None and source.length not in (None, listed):
                raise wrong_length(
                    "%d bytes are announced, and the service lists %d" % (source.length, listed)
                )
            for count in iter(lambda: source.readinto(buffer), 0):
                piece, size = buffer[:count], size + count
                if listed is not None and size > listed:
                    raise wrong_length(
                        "more came than the %d bytes that the service lists" % listed
                    )
                write_all(file, piece)
                if digest:
                    digest.update(piece)
                self.moved(count)
        if listed is not None and listed != size:
            raise wrong_length("%d bytes came, and the service lists %d" % (size, listed))
        return size, digest

    def _open(self, name, item):
        """Open the address of the listing, else the artifact itself: in some sandboxes only one of them can be reached."""
        url = item.get("downloadUrl")
        if self.by_address and isinstance(url, str):
            try:
                return self.client.open_address(url)
            except (StorageRefused, NetworkError) as problem:
                if self.by_address:
                    self.by_address = not isinstance(problem, NetworkError)
                    self.say("%s Taking the way through the API instead." % problem.message)
        return self.client.open_artifact(self.workspace_id, name)


def write_all(file, piece):
    """Write a memoryview to an unbuffered file, which may take it in parts."""
    written = file.write(piece)
    while written < len(piece):
        written += file.write(piece[written:])


def wrong_length(why):
    """Return the error for a file of another length than was told."""
    return NetworkError(why, code="wrong_length", hint="type the same line again")


def disk_words(problem):
    """Return what the disk says, as the reason why something is refused."""
    return "the disk says: %s" % (problem.strerror or problem)
