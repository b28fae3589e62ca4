"""What is known of a tree that went out, before the archive that came home is looked at."""

from __future__ import annotations

import os

from rebyte_flows.code.git import FILE_MODES, LINK_MODE, SUBMODULE_MODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from rebyte_flows.code.git import Entries, Repository
    from rebyte_flows.code.records import CodeRecord


class Known:
    """The tree as the far side found it.

    `entries` are those of the last result, or of what was sent where none came home yet; `sent`
    those of what was sent; `expected` the paths that lie on the far side; `links` path -> target;
    `digits` how many an id has.
    """

    def __init__(self, repository: Repository, record: CodeRecord) -> None:
        self.repository = repository
        self.record = record
        self.entries = repository.tree_of(record.result or record.base)
        self.sent = repository.tree_of(record.base)
        self.digits = len(record.base)
        self._kept = set(record.kept)
        self._left_out_folders = tuple(place + "/" for place in record.left_out)
        self.expected = {
            path
            for path, (mode, _) in self.entries.items()
            if path not in self._kept and mode != SUBMODULE_MODE
        }
        self.links = self._read_links()

    def __repr__(self) -> str:
        return "Known(%d entries)" % len(self.entries)

    def names(self) -> set[str]:
        """Return the paths whose names went out, those in submodules among them."""
        return self.expected | set(self.record.differs)

    def before(self) -> Entries:
        """Return the entries of the commit that lay under what was sent, none where it was none."""
        parent = self.repository.commit_of(self.record.base + "^")
        return self.repository.tree_of(parent) if parent else {}

    def _read_links(self) -> dict[str, str]:
        paths = [path for path in self.entries if self.mode_of(path) == LINK_MODE]
        targets = self.repository.blobs(self._ids(paths))
        links: dict[str, str] = {}
        for path, target in zip(paths, targets):
            # A partial clone may lack some.
            if target is not None:
                links[path] = os.fsdecode(target)
        return links

    def mode_of(self, path: str) -> str | None:
        """Return the mode that a path had, None for a new one."""
        entry = self.entries.get(path)
        if entry is None:
            return None
        return entry[0]

    def stayed_home(self, path: str) -> bool:
        """Say whether a path was not sent, so that the far side cannot know what it holds."""
        if path in self._kept or path in self.record.left_out:
            return True
        return path.startswith(self._left_out_folders)

    def stored_id(self, path: str, mode: str, id: str) -> str | None:
        """Return the id in git of bytes that lay at a path before, None where they are others.

        `id` is that of the bytes as they came.
        """
        entry = self.entries.get(path)
        if entry is None:
            return None
        was_link = entry[0] == LINK_MODE
        is_link = mode == LINK_MODE
        if was_link != is_link:
            return None
        if id == entry[1]:
            return id
        if path not in self.sent or id != self.record.differs.get(path):
            return None
        return self.sent[path][1]

    def sizes(self, paths: Collection[str]) -> dict[str, int]:
        """Return how many bytes those of the paths had that were there before."""
        there = [path for path in paths if path in self.entries]
        found = self.repository.sizes(self._ids(there))
        return dict(zip(there, found))

    def _ids(self, paths: Collection[str]) -> list[str]:
        return [self.entries[path][1] for path in paths]

    def contents(self, paths: Collection[str]) -> dict[str, bytes]:
        """Return what those of the paths held that were files, as far as it is here."""
        files = [path for path in paths if self.mode_of(path) in FILE_MODES]
        found = self.repository.blobs(self._ids(files))
        pairs = zip(files, found)
        return {path: data for path, data in pairs if data is not None}
