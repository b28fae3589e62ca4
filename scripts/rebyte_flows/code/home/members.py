"""Which members of an archive belong to the tree, each by its path in it. What must not come into
a repository raises Spoiled; what is no part of the code is left out and told.
"""

from __future__ import annotations

import os

from rebyte_flows.code.git import LINK_MODE, blob_id, fields_of
from rebyte_flows.code.home.archive import Spoiled, find_bomb
from rebyte_flows.code.home.archive_names import (
    bad_path,
    collisions,
    common_root,
    folders_above,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from rebyte_flows.code.git import Repository
    from rebyte_flows.code.home.archive import HomeArchive, Member
    from rebyte_flows.code.home.known import Known

STAYED_HOME = (
    "%d paths that had not been sent came back all the same, and were left out"
)
BESIDE = "%d files in the archive lie beside the code, and were left out"
IN_SUBMODULE = "%d changes inside submodules are in the archive, and in no commit"
MACOS_FOLDER = "__MACOSX/"
# A file may become so many times as large before its compression is judged.
GROWTH_MOST = 2


class Selection:
    """The members that become part of the tree, and what became of the others.

    `links` are links of the tree that a packer followed, and that stay; `ignored` is how many
    paths git ignores here.
    """

    def __init__(self, known: Known, archive: HomeArchive) -> None:
        """Choose among the members; raises Spoiled."""
        self.warnings: list[str] = []
        self.links: set[str] = set()
        self.ignored = 0
        self._known = known
        self._archive = archive
        members = self._below_root()
        self._refuse_bombs(members)
        refuse_collisions(members, known.names())
        self.members = self._without_apart(self._unfollow_links(members))

    def __repr__(self) -> str:
        return "Selection(%d members)" % len(self.members)

    def _below_root(self) -> dict[str, Member]:
        """Return the members by their path in the tree, whatever folder the archive has around
        them.
        """
        members = self._archive.members
        paths = [member.path for member in members]
        names = self._known.names()
        root = common_root(paths, names, self._known.record.name)
        self._refuse_names(paths, root, names)
        self._refuse_names(self._archive.folders, root, names)
        found: dict[str, Member] = {}
        for member in members:
            path = _path_below(root, member.path)
            if path is not None and not self._is_made_up(path):
                found[path] = member
        beside = len(members) - len(found)
        if beside:
            self.warnings.append(BESIDE % beside)
        return found

    def _refuse_names(
        self, names: Sequence[str], root: str, known: Collection[str]
    ) -> None:
        """Raise Spoiled for a bad name; one that went out may come home."""
        folder = root.rstrip("/")
        asked = list(names)
        if folder:
            asked.append(folder)
        for name in asked:
            if _path_below(root, name) in known:
                continue
            reason = bad_path(name)
            if reason is not None:
                raise Spoiled(name, reason)

    def _is_made_up(self, path: str) -> bool:
        """Say whether a packer made a path up: the archive itself, or what macOS lays beside."""
        home_name = self._known.record.home_name
        is_made_up = path == home_name or path.startswith(MACOS_FOLDER)
        return is_made_up and path not in self._known.entries

    def _refuse_bombs(self, members: dict[str, Member]) -> None:
        """Raise Spoiled for what grows too much; a file that was as large before may be so."""
        if find_bomb(members.values()) is None:
            return
        before = self._known.sizes(members)
        grown: list[Member] = []
        for path, member in members.items():
            limit = GROWTH_MOST * before.get(path, 0)
            if member.info.file_size > limit:
                grown.append(member)
        bomb = find_bomb(grown)
        if bomb is not None:
            raise Spoiled(bomb or self._archive.name, "it grows too much when unpacked")

    def _unfollow_links(self, members: dict[str, Member]) -> dict[str, Member]:
        """Return the members without what a packer made of a link by following it.

        The link itself stays. What lies under one and is not what its target holds is refused.
        """
        links = self._known.links
        kept = dict(members)
        for path, member in members.items():
            link = _link_above(path, links)
            if link is None or member.mode == LINK_MODE:
                continue
            place = _place_behind(link, links[link])
            rest = path[len(link) :]
            twin = members.get(place + rest)
            if twin is not None and _are_equal(member, twin):
                del kept[path]
                self.links.add(link)
            elif path != link:
                raise Spoiled(path, "it lies behind the link %s" % link)
        return kept

    def _without_apart(self, members: dict[str, Member]) -> dict[str, Member]:
        """Return the members without submodules' files, new ones that git ignores here, and what
        had not been sent.
        """
        known = self._known
        inside = self._in_submodules(members)
        stayed = set(filter(known.stayed_home, members))
        apart = inside | stayed
        fresh = [path for path in members if path not in known.entries]
        asked = [path for path in fresh if path not in apart]
        ignored = ignored_paths(known.repository, asked)
        self.ignored = len(ignored)
        if stayed:
            self.warnings.append(STAYED_HOME % len(stayed))
        apart |= ignored
        return {path: member for path, member in members.items() if path not in apart}

    def _in_submodules(self, members: dict[str, Member]) -> set[str]:
        """Return the members that lie in submodules, and warn of those that changed."""
        places = tuple(place + "/" for place in self._known.record.submodules)
        inside: set[str] = set()
        changed = 0
        for path, member in members.items():
            if not path.startswith(places):
                continue
            inside.add(path)
            if not self._is_as_sent(path, member):
                changed += 1
        if changed:
            self.warnings.append(IN_SUBMODULE % changed)
        return inside

    def _is_as_sent(self, path: str, member: Member) -> bool:
        """Say whether a submodule's file has the bytes that were sent."""
        data = self._archive.read(member)
        id = blob_id(data, self._known.digits)
        return id == self._known.record.differs.get(path)


def _path_below(root: str, path: str) -> str | None:
    """Return a path as seen from a folder of the archive, None for one that is not in it."""
    if not path.startswith(root):
        return None
    return path[len(root) :]


def refuse_collisions(paths: Iterable[str], known: Collection[str]) -> None:
    """Raise Spoiled for two paths of which some system would make one, unless both are `known`."""
    for other, path in collisions(paths, known):
        raise Spoiled(path, "it collides with %s" % other)


def _are_equal(one: Member, other: Member) -> bool:
    """Say whether two members hold the same, by their sizes and checksums."""
    if one.info.CRC != other.info.CRC:
        return False
    return one.info.file_size == other.info.file_size


def _link_above(path: str, links: dict[str, str]) -> str | None:
    """Return the link at a path or above it, None where there is none."""
    if not links:
        return None
    place = ""
    for part in path.split("/"):
        place = place + "/" + part if place else part
        if place in links:
            return place
    return None


def _place_behind(link: str, target: str) -> str:
    """Return the path in the tree that a link leads to."""
    place = os.path.join(os.path.dirname(link), target)
    return os.path.normpath(place).replace(os.sep, "/")


def ignored_paths(repository: Repository, paths: list[str]) -> set[str]:
    """Return those of some paths that git ignores in this working tree.

    git refuses them all for one behind a link: of such a path the link is asked for.
    """
    links: dict[str, bool] = {}
    places = {path: _up_to_link(repository.root, path, links) for path in paths}
    data = b"".join(os.fsencode(place) + b"\0" for place in set(places.values()))
    words = ("check-ignore", "--no-index", "--stdin", "-z")
    ignored = set(fields_of(repository.run(*words, data=data, codes=(0, 1))))
    return {path for path, place in places.items() if place in ignored}


def _up_to_link(root: str, path: str, links: dict[str, bool]) -> str:
    """Return the first link above a path in the working tree, the path itself where none is."""
    for folder in folders_above(path):
        if folder not in links:
            links[folder] = os.path.islink(os.path.join(root, folder))
        if links[folder]:
            return folder
    return path
