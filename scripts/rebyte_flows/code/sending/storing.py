"""A tree that was looked at, as a commit on HEAD: the bytes that git would store, and no filter is
run.
"""

from __future__ import annotations

import os

from rebyte_flows.code.git import (
    CONVERSIONS,
    LINK_MODE,
    Repository,
    blob_id,
    is_converted_by_git,
)
from rebyte_flows.code.line_ends import CRLF, is_converted, is_forced, to_lf
from rebyte_flows.code.sending.tree_archive import changed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_flows.code.git import Entries, Entry
    from rebyte_flows.code.sending.snapshot import Tree, TreeFile

UNSPECIFIED = "unspecified"
MESSAGE = "The working tree as it was sent\n"


class Stored:
    """The entries of the commit, and the ids of what was sent where git stores other bytes."""

    def __init__(self) -> None:
        self.entries: Entries = {}
        self.differs: dict[str, str] = {}
        self.writes: list[tuple[TreeFile, bytes | str]] = []

    def __repr__(self) -> str:
        return "Stored(%d entries)" % len(self.entries)


def commit(tree: Tree) -> tuple[str, dict[str, str]]:
    """Write a looked-at tree as a commit on HEAD and return its id, and path -> id of what was sent
    in other bytes than the commit has.

    Objects are written and nothing else: a reference has to follow.
    """
    repository = tree.repository
    stored = Stored()
    stored.entries.update(tree.kept)
    attributes = _attributes(tree)
    autocrlf = repository.line("config", "--get", "core.autocrlf", codes=(0, 1)).lower()
    for file in tree.files:
        if file.item.submodule is not None:
            stored.differs[file.path] = file.sha
        else:
            _store(stored, file, tree, attributes.get(file.path, {}), autocrlf)
    ids = repository.write_blobs(content for _, content in stored.writes)
    for (file, content), id in zip(stored.writes, ids):
        if isinstance(content, str) and id != file.sha:
            raise changed(file.path)
        _enter(stored, file, id)
    head = repository.commit_of("HEAD")
    written = repository.write_tree(
        (path, mode, id) for path, (mode, id) in stored.entries.items()
    )
    base = repository.commit_tree(written, [head] if head else [], MESSAGE)
    return base, stored.differs


def _enter(stored: Stored, file: TreeFile, id: str) -> None:
    stored.entries[file.path] = (file.mode, id)
    if id != file.sha:
        stored.differs[file.path] = file.sha


def _is_as_stored(file: TreeFile) -> bool:
    return file.item.tracked is not None and file.item.tracked[1] == file.sha


def _attributes(tree: Tree) -> dict[str, dict[str, str]]:
    """Return the attributes that change what git stores, for files that are not stored as they lie.

    Asked only for those: to know them costs nothing where nothing was changed.
    """
    paths = [
        file.path
        for file in tree.files
        if not _is_as_stored(file) and file.link is None and not file.item.submodule
    ]
    if not paths:
        return {}
    return tree.repository.attributes(paths, ("text", "eol", *CONVERSIONS))


def _store(
    stored: Stored,
    file: TreeFile,
    tree: Tree,
    attributes: dict[str, str],
    autocrlf: str,
) -> None:
    """Decide which bytes of a file the commit has: those that git would store, run no filter."""
    tracked = file.item.tracked
    if _is_as_stored(file):
        _enter(stored, file, file.sha)
        return
    if file.mode == LINK_MODE:
        stored.writes.append((file, os.fsencode(file.link or "")))
        return
    if is_converted_by_git(attributes) and tracked is not None:
        # What its filter would store nobody can tell without running it.
        _enter(stored, file, tracked[1])
        return
    text = attributes.get("text", UNSPECIFIED)
    eol = attributes.get("eol", UNSPECIFIED)
    if file.has_crlf and is_converted(text, eol, autocrlf):
        _store_converted(stored, file, tree.repository, is_forced(text, eol))
        return
    stored.writes.append((file, os.path.join(tree.repository.root, file.path)))


def _store_converted(
    stored: Stored, file: TreeFile, repository: Repository, forced: bool
) -> None:
    """Decide about a text with CRLF that git stores with LF, or as it is stored already."""
    path = os.path.join(repository.root, file.path)
    tracked = file.item.tracked
    with open(path, "rb") as source:
        data = to_lf(source.read())
    if tracked is not None and blob_id(data, len(file.sha)) == tracked[1]:
        _enter(stored, file, tracked[1])
    elif _keeps_crlf(repository, tracked, forced):
        stored.writes.append((file, path))
    else:
        stored.writes.append((file, data))


def _keeps_crlf(repository: Repository, tracked: Entry | None, forced: bool) -> bool:
    """Say whether git would store a file with its CRLF: where it is stored so already."""
    if tracked is None or forced:
        return False
    (stored,) = repository.blobs([tracked[1]])
    return stored is not None and CRLF in stored
