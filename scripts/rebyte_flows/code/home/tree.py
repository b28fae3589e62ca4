"""From a judged archive to the tree of a commit: what is new, what was deleted, what stays."""

from __future__ import annotations

from rebyte_flows.code.git import (
    CONVERSIONS,
    FILE_MODES,
    LFS_HEAD,
    LFS_POINTER_BYTES,
    LINK_MODE,
    is_converted_by_git,
)
from rebyte_flows.code.home.archive import Spoiled
from rebyte_flows.code.home.archive_names import (
    left_behind,
    looks_whole,
    reaches_git,
)
from rebyte_flows.code.home.intake import Intake
from rebyte_flows.code.home.known import Known
from rebyte_flows.code.home.members import Selection, refuse_collisions
from rebyte_flows.code.paths import leaves_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from rebyte_flows.code.git import Entries, Repository
    from rebyte_flows.code.home.archive import HomeArchive
    from rebyte_flows.code.records import CodeRecord

PARTIAL = (
    "%d files that the archive lacks were kept: it does not look whole, or packers leave such"
    " folders out"
)
FILTERED_SHOWN = 5
FILTERED = (
    "a filter of git was not run, so the branch holds these %d files as they came, and not as git"
    " would store them: %s; after git merge: git add --renormalize PATH; after apply: git add PATH"
)
IGNORED = "%d files that git ignores here were left out"


class HomeTree:
    """The tree that an archive makes of what was there before; raises Spoiled when it must not.

    `kept_missing` is how many paths the archive lacks and keeps, `ignored` how many it brought that
    git ignores here.
    """

    def __init__(
        self, repository: Repository, record: CodeRecord, archive: HomeArchive
    ) -> None:
        self._known = Known(repository, record)
        selection = Selection(self._known, archive)
        self.warnings = selection.warnings
        self.ignored = selection.ignored
        self.kept_missing = 0
        self._entries = self._staying(selection)
        intake = Intake(self._known, archive, selection.members)
        self._entries.update(intake.entries)
        self._refuse_links(intake.links)
        refuse_collisions(self._entries, self._known.entries)
        if self.kept_missing:
            self.warnings.append(PARTIAL % self.kept_missing)
        if self.ignored:
            self.warnings.append(IGNORED % self.ignored)

    def __repr__(self) -> str:
        return "HomeTree(%d entries)" % len(self._entries)

    def commit(self, parent: str, message: str) -> str | None:
        """Write the tree as a commit on `parent`; None when it is the parent's own tree."""
        if self._entries == self._known.entries:
            return None
        repository = self._known.repository
        tree = repository.write_tree(
            (path, mode, id) for path, (mode, id) in self._entries.items()
        )
        self._warn_of_filters(tree)
        return repository.commit_tree(tree, [parent], message, dated_as=parent)

    def _warn_of_filters(self, tree: str) -> None:
        """Name the files of a written tree that git would store otherwise: nobody runs its filters
        on what comes from afar.
        """
        repository = self._known.repository
        stored = self._known.before()
        changed = [
            path
            for path, entry in self._entries.items()
            if entry[0] in FILE_MODES and entry != stored.get(path)
        ]
        attributes = repository.attributes(changed, CONVERSIONS, tree)
        paths = [path for path in changed if is_converted_by_git(attributes[path])]
        raw = sorted(set(paths) - self._pointers(paths))
        if raw:
            shown = ", ".join(map(repr, raw[:FILTERED_SHOWN]))
            more = " ..." if len(raw) > FILTERED_SHOWN else ""
            self.warnings.append(FILTERED % (len(raw), shown + more))

    def _pointers(self, paths: Sequence[str]) -> set[str]:
        """Return which files are pointers of LFS, as its filter would store them."""
        repository = self._known.repository
        ids = {path: self._entries[path][1] for path in paths}
        sizes = zip(paths, repository.sizes(list(ids.values())))
        small = [path for path, size in sizes if 0 < size < LFS_POINTER_BYTES]
        contents = repository.blobs([ids[path] for path in small])
        return {
            path
            for path, data in zip(small, contents)
            if data is not None and data.startswith(LFS_HEAD)
        }

    def _staying(self, selection: Selection) -> Entries:
        """Return the entries that stay as they were: what the archive lacks and did not delete."""
        returned = selection.members
        expected = self._known.expected
        missing = [path for path in expected if path not in returned]
        deleted = deletions(missing, returned, expected)
        self.kept_missing = len(missing) - len(deleted)
        return {
            path: entry
            for path, entry in self._known.entries.items()
            if path in selection.links or path not in deleted
        }

    def _refuse_links(self, brought: dict[str, str]) -> None:
        """Raise Spoiled for a new link that leads out of the tree, also through other links."""
        links = {
            path: target
            for path, target in self._known.links.items()
            if path in self._entries and self._entries[path][0] == LINK_MODE
        }
        links.update(brought)
        for path in brought:
            if self._entries[path] == self._known.entries.get(path):
                continue
            if leaves_tree(path, links) or reaches_git(links[path]):
                raise Spoiled(path, "it is a link that leaves the tree")


def deletions(
    missing: Collection[str], returned: Collection[str], expected: Collection[str]
) -> set[str]:
    """Return which of the paths that an archive lacks were deleted: none where it is a part."""
    if not looks_whole(returned, expected):
        return set()
    return set(missing) - left_behind(missing, returned)
