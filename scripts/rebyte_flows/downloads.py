"""Files home safely: hostile names refused, several at once, each checked for its length before it gets its name."""
from __future__ import annotations

import hashlib
import os

from rebyte_flows.landing import Landing, check_target, remove_stale
from rebyte_flows.lanes import run_lanes
from rebyte_flows.names import sort_names
from rebyte_wire.errors import InputError, NetworkError, RebyteError, StorageRefused

DOWNLOADS_AT_ONCE = 8
PIECE_BYTES = 1 << 20


def list_files(client, workspace_id):
    """Return the artifacts of a workspace as the service lists them, entries that are no objects left out."""
    found = client.list_artifacts(workspace_id).get("data")
    return [item for item in found or [] if isinstance(item, dict)]


def bring_home(client, workspace_id, folder, *, names=None, force=False, listing=None, digests=True, moved=None, say=None):
    """Download artifacts into a folder (all, or those named); returns (files, refused).

    files: [{"name","path","bytes"}], with "sha256" if `digests`; refused: [{"name","reason"}]. A file that is there with
    another size is refused unless `force`. A failure leaves no file behind and does not hide the others; a refused key
    and the end of the time are raised. `moved(bytes)` is told of what comes, `say(text)` of a detour.
    """
    listing = list_files(client, workspace_id) if listing is None else listing
    known = {item.get("name"): item for item in listing if isinstance(item.get("name"), str)}
    wanted = [item.get("name") for item in listing] if names is None else list(names)
    kept, reasons = sort_names(wanted)
    files, refused = [], [{"name": name, "reason": reason} for name, reason in reasons.items()]
    open_folder(folder)
    remove_stale(folder)
    fetch = Fetch(client, workspace_id, folder, known, force=force, digests=digests, moved=moved, say=say)
    for name, outcome in zip(kept, run_lanes(fetch, kept, DOWNLOADS_AT_ONCE)):
        if isinstance(outcome, dict):
            files.append(outcome)
        elif isinstance(outcome, (RebyteError, OSError)):
            refused.append({"name": name, "reason": outcome.message if isinstance(outcome, RebyteError) else _disk_words(outcome)})
        else:
            raise outcome
    return files, refused


def open_folder(folder):
    """Make a folder for files when it is missing; raises InputError when it cannot be one."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as problem:
        raise InputError("cannot make the folder %s: %s" % (folder, problem.strerror), hint="pass --out a folder that can be written")


class Fetch:
    """Brings one artifact of a workspace into a folder: fetch(name) -> {"name","path","bytes"[,"sha256"]}."""

    def __init__(self, client, workspace_id, folder, known, *, force, digests, moved, say):
        self.client, self.workspace_id, self.folder, self.known = client, workspace_id, folder, known
        self.force, self.digests = force, digests
        self.moved, self.say = moved or (lambda count: None), say or (lambda text: None)
        self.by_address = True

    def __repr__(self):
        return "Fetch(%d files to %s)" % (len(self.known), self.folder)

    def __call__(self, name):
        """Bring one home, or keep what an earlier run brought."""
        item, path = self.known.get(name) or {}, os.path.join(self.folder, name)
        check_target(path)
        if not self.force and os.path.exists(path):
            size, digest = self._kept(path, item)
        else:
            with Landing(self.folder) as landing:
                size, digest = self._write(name, item, landing.file)
                landing.finish(path, self.force)
        brought = {"name": name, "path": os.path.abspath(path), "bytes": size}
        return dict(brought, sha256=digest.hexdigest()) if digest else brought

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
        buffer = memoryview(bytearray(PIECE_BYTES if listed is None else min(PIECE_BYTES, max(0, listed) + 1)))
        with self._open(name, item) as source:
            if listed is not None and source.length not in (None, listed):
                raise wrong_length("%d bytes are announced, and the service lists %d" % (source.length, listed))
            for count in iter(lambda: source.readinto(buffer), 0):
                piece, size = buffer[:count], size + count
                if listed is not None and size > listed:
                    raise wrong_length("more came than the %d bytes that the service lists" % listed)
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


def _disk_words(problem):
    return "the disk says: %s" % (problem.strerror or problem)
