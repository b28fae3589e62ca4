"""From the members of an archive to entries of a tree: modes, line ends, and blobs for what
changed.
"""

from __future__ import annotations

import os
import tempfile

from rebyte_flows.code.git import (
    FILE_MODE,
    FILE_MODES,
    LINK_MODE,
    PROGRAM_MODE,
    blob_digest,
    blob_id,
)
from rebyte_flows.code.line_ends import LF, are_same, is_text, like, style_of, to_lf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rebyte_flows.code.git import Entries
    from rebyte_flows.code.home.archive import HomeArchive, Member
    from rebyte_flows.code.home.known import Known

PIECE_BYTES = 1024 * 1024
# A larger file is not held in memory, and its line ends stay what they are.
LARGE_BYTES = 4 * 1024 * 1024
GROUP_BYTES = 4 * 1024 * 1024


class Intake:
    """The entries that members make: `entries` is path -> (mode, id), `links` path -> target."""

    def __init__(
        self, known: Known, archive: HomeArchive, members: dict[str, Member]
    ) -> None:
        """Read the members and write the blobs of what changed; raises Spoiled."""
        self.entries: Entries = {}
        self.links: dict[str, str] = {}
        self._known = known
        self._archive = archive
        self._tells_modes = tells_modes(known, members)
        small: dict[str, Member] = {}
        for path, member in members.items():
            if member.info.file_size > LARGE_BYTES:
                self._take_large(path, member)
            else:
                small[path] = member
        for group in _groups(small):
            self._take_small(group)

    def __repr__(self) -> str:
        return "Intake(%d entries)" % len(self.entries)

    def _take_large(self, path: str, member: Member) -> None:
        mode = self._mode(path, member)
        with tempfile.TemporaryDirectory(prefix="rebyte-") as folder:
            place = os.path.join(folder, "large")
            with open(place, "wb") as target:
                self._archive.copy(member, target)
            came = _id_of_file(place, member.info.file_size, self._known.digits)
            id = self._known.stored_id(path, mode, came)
            if id is None:
                id = self._known.repository.write_blobs([place])[0]
        self.entries[path] = (mode, id)

    def _take_small(self, members: dict[str, Member]) -> None:
        changed: dict[str, bytes] = {}
        for path, member in members.items():
            data = self._archive.read(member)
            mode = self._mode(path, member)
            if mode == LINK_MODE:
                self.links[path] = os.fsdecode(data)
            came = blob_id(data, self._known.digits)
            id = self._known.stored_id(path, mode, came)
            self.entries[path] = (mode, id or "")
            if id is None:
                changed[path] = data
        self._write(changed)

    def _write(self, changed: dict[str, bytes]) -> None:
        """Write what changed, but for texts that differ in their line ends alone."""
        files = [path for path in changed if path not in self.links]
        olds = self._known.contents(files)
        fresh: dict[str, bytes] = {}
        for path, data in changed.items():
            old = olds.get(path)
            if old is not None and are_same(old, data):
                _, id = self._known.entries[path]
                self._set_id(path, id)
            else:
                fresh[path] = self._styled(path, data, old)
        ids = self._known.repository.write_blobs(fresh.values())
        for path, id in zip(fresh, ids):
            self._set_id(path, id)

    def _set_id(self, path: str, id: str) -> None:
        mode, _ = self.entries[path]
        self.entries[path] = (mode, id)

    def _styled(self, path: str, data: bytes, old: bytes | None) -> bytes:
        """Return a changed text with the line ends that it has in git."""
        if old is None:
            return data
        was_converted = path in self._known.record.differs and style_of(old) == LF
        if was_converted and is_text(data):
            # It was sent with other line ends than git stores.
            return to_lf(data)
        return like(data, old)

    def _mode(self, path: str, member: Member) -> str:
        """Return the mode of a member: what the archive tells, where it knows, else as before."""
        before = self._known.mode_of(path)
        told = member.mode
        if told == LINK_MODE or before not in FILE_MODES:
            return told or FILE_MODE
        if told is not None and self._tells_modes:
            return told
        return str(before)


def tells_modes(known: Known, members: dict[str, Member]) -> bool:
    """Say whether an archive knows which files can be run: not when none can be any more, or when
    all of several can.
    """
    before = list(map(known.mode_of, members))
    programs = before.count(PROGRAM_MODE)
    told = [member.mode for member in members.values()]
    can_run = told.count(PROGRAM_MODE)
    if can_run == 0:
        return programs <= 1
    return can_run < len(members) or can_run <= max(programs, 1)


def _id_of_file(place: str, size: int, digits: int) -> str:
    """Return the id that git gives to a file, read piece by piece."""
    digest = blob_digest(size, digits)
    with open(place, "rb") as source:
        for piece in iter(lambda: source.read(PIECE_BYTES), b""):
            digest.update(piece)
    return str(digest.hexdigest())


def _groups(members: dict[str, Member]) -> Iterator[dict[str, Member]]:
    """Yield the members in groups that fit into memory together."""
    some: dict[str, Member] = {}
    size = 0
    for path, member in members.items():
        if some and size + member.info.file_size > GROUP_BYTES:
            yield some
            some = {}
            size = 0
        some[path] = member
        size += member.info.file_size
    if some:
        yield some
