"""From a judged archive to the tree of a commit: what is new, what was deleted, what stays."""

from __future__ import annotations

import os
import tempfile

from rebyte_flows.code.git import (
    FILE_MODE,
    LINK_MODE,
    PROGRAM_MODE,
    SUBMODULE_MODE,
    blob_digest,
    blob_id,
    fields_of,
)
from rebyte_flows.code.home.archive import Spoiled, find_bomb
from rebyte_flows.code.home.archive_names import (
    bad_path,
    collisions,
    common_root,
    left_behind,
    looks_whole,
    reaches_git,
)
from rebyte_flows.code.line_ends import LF, are_same, is_text, like, style_of, to_lf
from rebyte_flows.code.paths import leaves_tree
from rebyte_wire.errors import RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rebyte_flows.code.git import Entries, Repository
    from rebyte_flows.code.home.archive import HomeArchive, Member
    from rebyte_flows.code.records import CodeRecord

PARTIAL = (
    "%d files that the archive lacks were kept: it does not look whole, or packers leave such"
    " folders out"
)
IGNORED = "%d files that git ignores here were left out"
STAYED_HOME = (
    "%d paths that had not been sent came back all the same, and were left out"
)
BESIDE = "%d files in the archive lie beside the code, and were left out"
MACOS_FOLDER = "__MACOSX/"
IN_SUBMODULE = "%d changes inside submodules are in the archive, and in no commit"
# A file may become so many times as large before its compression is judged.
GROWTH_MOST = 2
PIECE_BYTES = 1024 * 1024
LARGE_BYTES = 4 * 1024 * 1024
GROUP_BYTES = 4 * 1024 * 1024


class HomeTree:
    """The tree that an archive makes of what was there before; raises Spoiled when it must not."""

    def __init__(
        self, repository: Repository, record: CodeRecord, archive: HomeArchive
    ) -> None:
        self.repository = repository
        self.record = record
        self.archive = archive
        self.warnings: list[str] = []
        # How many paths the archive lacks and keeps, and how many it brought that git ignores.
        self.kept_missing = 0
        self.ignored = 0
        self._before = repository.tree_of(record.result or record.base)
        self._sent = repository.tree_of(record.base)
        self._digits = len(record.base)
        self._kept = set(record.kept)
        self._entries: Entries = {}
        self._links: dict[str, str] = {}
        self._build()

    def __repr__(self) -> str:
        return "HomeTree(%d entries)" % len(self._entries)

    def commit(self, parent: str, message: str) -> str | None:
        """Write the tree as a commit on `parent`; None when it is the parent's own tree."""
        if self._entries == self._before:
            return None
        tree = self.repository.write_tree(
            (path, mode, id) for path, (mode, id) in self._entries.items()
        )
        return self.repository.commit_tree(tree, [parent], message, dated_as=parent)

    def _build(self) -> None:
        expected = self._expected()
        members = self._members(expected)
        self._refuse_bombs(members)
        self._refuse_collisions(members, expected)
        returned = self._without_ignored(self._unfollow_links(members))
        missing = [path for path in expected if path not in returned]
        deleted = set(missing) if looks_whole(returned, expected) else set()
        deleted -= left_behind(deleted, returned)
        self.kept_missing = len(missing) - len(deleted)
        for path, entry in self._before.items():
            if path not in returned and path not in deleted:
                self._entries[path] = entry
        self._take(returned)
        self._check_links()
        self._check_collisions()
        if self.kept_missing:
            self.warnings.append(PARTIAL % self.kept_missing)
        if self.ignored:
            self.warnings.append(IGNORED % self.ignored)

    def _expected(self) -> set[str]:
        """Return the paths that lie on the far side as far as we know."""
        return {
            path
            for path, (mode, _) in self._before.items()
            if path not in self._kept and mode != SUBMODULE_MODE
        }

    def _members(self, expected: set[str]) -> dict[str, Member]:
        """Return the members by their path in the tree, whatever folder the archive has around
        them.
        """
        known = expected | set(self.record.differs)
        names = [member.path for member in self.archive.members]
        root = common_root(names, known, self.record.name)
        for name in [*names, *self.archive.folders, *filter(None, [root.rstrip("/")])]:
            is_known = name.startswith(root) and name[len(root) :] in known
            reason = None if is_known else bad_path(name)
            if reason is not None:
                raise Spoiled(name, reason)
        found = {
            member.path[len(root) :]: member
            for member in self.archive.members
            if member.path.startswith(root)
        }
        beside = [path for path in found if self._is_no_code(path)]
        for path in beside:
            del found[path]
        left = len(names) - len(found)
        if left:
            self.warnings.append(BESIDE % left)
        return found

    def _is_no_code(self, path: str) -> bool:
        """Say whether a packer made a path up: the archive itself, or what macOS lays beside."""
        is_made_up = path == self.record.home_name or path.startswith(MACOS_FOLDER)
        return is_made_up and path not in self._before

    def _refuse_bombs(self, members: dict[str, Member]) -> None:
        """Raise Spoiled for what grows too much; a file that was as large before may be so."""
        if find_bomb(members.values()) is None:
            return
        known = [path for path in members if path in self._before]
        sizes = self.repository.sizes([self._before[path][1] for path in known])
        before = dict(zip(known, sizes))
        grown = [
            member
            for path, member in members.items()
            if member.info.file_size > GROWTH_MOST * before.get(path, 0)
        ]
        bomb = find_bomb(grown)
        if bomb is not None:
            raise Spoiled(bomb or self.archive.name, "it grows too much when unpacked")

    def _refuse_collisions(
        self, members: dict[str, Member], expected: set[str]
    ) -> None:
        """Raise Spoiled for two members of which some system would make one."""
        found = collisions(members, expected | set(self.record.differs))
        if found:
            raise Spoiled(found[0][1], "it collides with %s" % found[0][0])

    def _unfollow_links(self, members: dict[str, Member]) -> dict[str, Member]:
        """Return the members without what a packer made of a link by following it.

        The link itself stays. What lies under one and is not what its target holds is refused.
        """
        links = {
            path: os.fsdecode(self.repository.blob(id))
            for path, (mode, id) in self._before.items()
            if mode == LINK_MODE
        }
        returned = dict(members)
        for path, member in members.items():
            link = _link_above(path, links)
            if link is None or member.mode == LINK_MODE:
                continue
            place = os.path.normpath(os.path.join(os.path.dirname(link), links[link]))
            twin = members.get(place.replace(os.sep, "/") + path[len(link) :])
            if twin is not None and _are_equal(member, twin):
                del returned[path]
                self._entries[link] = self._before[link]
            elif path != link:
                raise Spoiled(path, "it lies behind the link %s" % link)
        return returned

    def _without_ignored(self, members: dict[str, Member]) -> dict[str, Member]:
        """Return the members without new ones that git ignores here, and without submodules'."""
        apart = self._in_submodules(members)
        fresh = [path for path in members if path not in self._before]
        asked = [path for path in fresh if path not in apart]
        ignored = ignored_paths(self.repository, asked)
        self.ignored = len(ignored)
        apart |= ignored
        stayed = [path for path in members if self._stayed_home(path)]
        if stayed:
            self.warnings.append(STAYED_HOME % len(stayed))
        apart.update(stayed)
        return {path: member for path, member in members.items() if path not in apart}

    def _stayed_home(self, path: str) -> bool:
        """Say whether a path was not sent, so that the far side cannot know what it holds."""
        if path in self._kept or path in self.record.left_out:
            return True
        return any(path.startswith(place + "/") for place in self.record.left_out)

    def _in_submodules(self, members: dict[str, Member]) -> set[str]:
        """Return the members that lie in submodules, and warn of those that changed."""
        places = tuple(place + "/" for place in self.record.submodules)
        if not places:
            return set()
        inside = {path for path in members if path.startswith(places)}
        changed = [path for path in inside if not self._is_as_sent(path, members[path])]
        if changed:
            self.warnings.append(IN_SUBMODULE % len(changed))
        return inside

    def _is_as_sent(self, path: str, member: Member) -> bool:
        """Say whether a submodule's file has the bytes that were sent."""
        id = blob_id(self.archive.read(member), self._digits)
        return id == self.record.differs.get(path)

    def _take(self, returned: dict[str, Member]) -> None:
        """Enter what came home; only what changed is written."""
        tells_modes = self._tells_modes(returned)
        small: dict[str, Member] = {}
        for path, member in returned.items():
            if member.info.file_size > LARGE_BYTES:
                self._take_large(path, member, tells_modes)
            else:
                small[path] = member
        for group in _groups(small):
            self._take_some(group, tells_modes)

    def _take_large(self, path: str, member: Member, tells_modes: bool) -> None:
        """Enter a file that is too large for memory; its line ends stay what they are."""
        mode = self._mode(path, member, tells_modes)
        with tempfile.TemporaryDirectory(prefix="rebyte-") as folder:
            place = os.path.join(folder, "large")
            with open(place, "wb") as target:
                self.archive.copy(member, target)
            digest = blob_digest(member.info.file_size, self._digits)
            with open(place, "rb") as source:
                for piece in iter(lambda: source.read(PIECE_BYTES), b""):
                    digest.update(piece)
            id = self._known_id(path, mode, digest.hexdigest())
            if id is None:
                id = self.repository.write_blobs([place])[0]
        self._entries[path] = (mode, id)

    def _take_some(self, members: dict[str, Member], tells_modes: bool) -> None:
        changed: dict[str, bytes] = {}
        for path, member in members.items():
            data = self.archive.read(member)
            mode = self._mode(path, member, tells_modes)
            id = self._known_id(path, mode, blob_id(data, self._digits))
            if mode == LINK_MODE:
                self._links[path] = os.fsdecode(data)
            if id is None:
                changed[path] = data
            self._entries[path] = (mode, id or "")
        olds = self._old_contents(changed)
        kept: list[tuple[str, bytes]] = []
        for path, data in changed.items():
            mode, _ = self._entries[path]
            old = olds.get(path)
            if old is not None and are_same(old, data):
                self._entries[path] = (mode, self._before[path][1])
                continue
            kept.append((path, self._styled(path, data, old)))
        ids = self.repository.write_blobs(data for _, data in kept)
        for (path, _), id in zip(kept, ids):
            self._entries[path] = (self._entries[path][0], id)

    def _known_id(self, path: str, mode: str, id: str) -> str | None:
        """Return the id in git of bytes that lay at a path before, None where they are others."""
        before = self._before.get(path)
        if before is None or (before[0] == LINK_MODE) != (mode == LINK_MODE):
            return None
        if id == before[1]:
            return id
        was_sent = id == self.record.differs.get(path)
        return self._sent[path][1] if was_sent and path in self._sent else None

    def _old_contents(self, changed: dict[str, bytes]) -> dict[str, bytes]:
        """Return what the changed files that were files before held, as far as it is here."""
        paths = [
            path
            for path in changed
            if path in self._before
            and self._before[path][0] in (FILE_MODE, PROGRAM_MODE)
            and self._entries[path][0] != LINK_MODE
        ]
        olds = self.repository.blobs([self._before[path][1] for path in paths])
        return {path: old for path, old in zip(paths, olds) if old is not None}

    def _styled(self, path: str, data: bytes, old: bytes | None) -> bytes:
        """Return a changed text with the line ends that it has in git."""
        if old is None:
            return data
        if path in self.record.differs and style_of(old) == LF and is_text(data):
            # It was sent with other line ends than git stores.
            return to_lf(data)
        return like(data, old)

    def _tells_modes(self, returned: dict[str, Member]) -> bool:
        """Say whether the archive knows which files can be run: not when none can be any more, or
        when all of several can.
        """
        programs = [
            path for path in returned if self._mode_before(path) == PROGRAM_MODE
        ]
        can_run = [path for path in returned if returned[path].mode == PROGRAM_MODE]
        can_all_run = len(can_run) == len(returned) > max(len(programs), 1)
        return not can_all_run and (bool(can_run) or len(programs) <= 1)

    def _mode_before(self, path: str) -> str | None:
        before = self._before.get(path)
        return before[0] if before else None

    def _mode(self, path: str, member: Member, tells_modes: bool) -> str:
        before = self._mode_before(path)
        is_told = member.mode is not None and (tells_modes or member.mode == LINK_MODE)
        if is_told or before not in (FILE_MODE, PROGRAM_MODE):
            return member.mode or FILE_MODE
        return str(before)

    def _check_links(self) -> None:
        """Raise Spoiled for a new link that leads out of the tree, also through other links."""
        links = dict(self._links)
        for path, (mode, id) in self._entries.items():
            if mode == LINK_MODE and path not in links:
                links[path] = os.fsdecode(self.repository.blob(id))
        for path in self._links:
            if self._entries[path] == self._before.get(path):
                continue
            if leaves_tree(path, links) or reaches_git(links[path]):
                raise Spoiled(path, "it is a link that leaves the tree")

    def _check_collisions(self) -> None:
        """Raise Spoiled for a new path that collides with one that stays."""
        found = collisions(self._entries, self._before)
        if found:
            raise Spoiled(found[0][1], "it collides with %s" % found[0][0])


def _are_equal(one: Member, other: Member) -> bool:
    """Say whether two members hold the same, by their sizes and checksums."""
    if one.info.CRC != other.info.CRC:
        return False
    return one.info.file_size == other.info.file_size


def _link_above(path: str, links: dict[str, str]) -> str | None:
    """Return the link at a path or above it, None where there is none."""
    if not links:
        return None
    parts = path.split("/")
    places = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
    return next((place for place in places if place in links), None)


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


def ignored_paths(repository: Repository, paths: list[str]) -> set[str]:
    """Return those of some paths that git ignores in this working tree.

    One path behind a link makes git refuse them all: then they are asked for by halves.
    """
    if not paths:
        return set()
    data = b"".join(os.fsencode(path) + b"\0" for path in paths)
    words = ("check-ignore", "--no-index", "--stdin", "-z")
    try:
        return set(fields_of(repository.run(*words, data=data, codes=(0, 1))))
    except RebyteError:
        if len(paths) == 1:
            return set()
        middle = len(paths) // 2
        return ignored_paths(repository, paths[:middle]) | ignored_paths(
            repository, paths[middle:]
        )
