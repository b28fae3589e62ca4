"""What lies in a working tree: tracked files and new ones that are not ignored, each with what
became of it.
"""

from __future__ import annotations

import os
import stat

from rebyte_flows.code.git import (
    FILE_MODE,
    FILE_MODES,
    LFS_HEAD,
    LFS_POINTER_BYTES,
    LINK_MODE,
    PROGRAM_MODE,
    SUBMODULE_MODE,
    Repository,
    fields_of,
    open_repository,
)
from rebyte_flows.code.paths import is_git_folder, leaves_tree
from rebyte_wire.errors import RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from rebyte_flows.code.git import Entry

SKIPPED = "S"
LINK_BYTES = 4096
# Settings of the filters that encrypt what git stores: git-crypt, transcrypt, git-agecrypt.
ENCRYPTING = r"^filter\.[^.]*crypt[^.]*\.(smudge|process)$"
LEAVES_THE_TREE = "a link that leaves the tree"
NO_FILE = "neither a file nor a link"
OWN_REPOSITORY = "a repository of its own"
LFS_POINTER = "a pointer of Git LFS, whose file is not here"
NOT_TEXT = "its name is not UTF-8"
GIT_NAME = "some system takes its name for git's own folder"
NOT_CHECKED_OUT = "git checks no such name out, so the branch lacks it as well"
NO_SUBMODULE = "a submodule that is not checked out"


class Item:
    """One path of a working tree.

    `tracked` is its (mode, id) in the index, None for a new one; `why_not` says why it is not sent;
    `submodule` is the path of the submodule that it lies in; `is_here` is False for what the index
    names and a sparse checkout leaves out.
    """

    def __init__(self, path: str, tracked: Entry | None = None) -> None:
        self.path = path
        self.tracked = tracked
        self.mode = ""
        self.link: str | None = None
        self.why_not: str | None = None
        self.submodule: str | None = None
        self.is_here = True
        self.is_encrypted = False

    def __repr__(self) -> str:
        return "Item(%r, %s)" % (self.path, self.why_not or self.mode)


def list_tree(repository: Repository) -> list[Item]:
    """Return every path of a working tree that is tracked or new, by name; deleted ones are left
    out.
    """
    has_modes = repository.has_modes()
    has_links = repository.is_on("core.symlinks")
    folders: dict[str, bool] = {"": True}
    found: list[Item] = []
    for item in _named(repository):
        if item.tracked is not None and item.tracked[0] == SUBMODULE_MODE:
            found += _submodule_items(repository, item)
        elif _look(repository.root, item, folders):
            found.append(item)
            if not has_links:
                _read_as_link(repository.root, item)
            if not has_modes and item.mode in FILE_MODES:
                item.mode = item.tracked[0] if item.tracked else FILE_MODE
    _judge_links(found)
    _judge_filters(repository, found)
    return sorted(found, key=lambda item: os.fsencode(item.path))


def _read_as_link(root: str, item: Item) -> None:
    """Take a file for the link that git knows at its path: on a disk that has no links it holds
    the target.
    """
    is_link_in_git = item.tracked is not None and item.tracked[0] == LINK_MODE
    if not is_link_in_git or item.mode not in FILE_MODES:
        return
    with open(os.path.join(root, item.path), "rb") as file:
        item.link = os.fsdecode(file.read(LINK_BYTES))
    item.mode = LINK_MODE


def _judge_filters(repository: Repository, items: list[Item]) -> None:
    """Note what git keeps encrypted, by a filter like that of git-crypt, and what lies here in the
    clear. Nothing is asked where no such filter is set up.
    """
    words = ("config", "--name-only", "-z", "--get-regexp", ENCRYPTING)
    drivers = {
        name.split(".", 1)[1].rpartition(".")[0]
        for name in fields_of(repository.run(*words, codes=(0, 1)))
    }
    if not drivers:
        return
    files = [item for item in items if item.mode in FILE_MODES]
    own = {item.path: item for item in files if item.submodule is None}
    for path, values in repository.attributes(own, ("filter",)).items():
        own[path].is_encrypted = values["filter"] in drivers


def _judge_links(items: list[Item]) -> None:
    """Note which links lead out of the tree, also through others."""
    links = {item.path: item.link for item in items if item.link is not None}
    for item in items:
        if item.link is not None and leaves_tree(item.path, links):
            item.why_not = LEAVES_THE_TREE


def _named(repository: Repository) -> Iterator[Item]:
    """Yield what the index names and what is new and not ignored; nothing was looked at yet."""
    seen: set[str] = set()
    # Not --modified: to compare, git would run clean filters.
    for line in fields_of(repository.run("ls-files", "--stage", "-t", "-z")):
        about, _, path = line.partition("\t")
        tag, mode, id, _ = about.split(" ")
        if path in seen:
            # The stages of an unmerged path: what lies there counts.
            continue
        seen.add(path)
        item = Item(path, (mode, id))
        item.is_here = tag != SKIPPED
        yield item
    for path in fields_of(
        repository.run("ls-files", "--others", "--exclude-standard", "-z")
    ):
        if path not in seen:
            seen.add(path)
            yield Item(path)
    yield from _not_checked_out(repository, seen)


def _not_checked_out(repository: Repository, seen: set[str]) -> Iterator[Item]:
    """Yield what stands in the commit under a name that no index can hold, such as .GIT."""
    if repository.commit_of("HEAD") is None:
        return
    words = ("ls-tree", "-r", "-z", "--name-only", "--full-tree", "HEAD")
    # Clones without trees know only a part of them.
    for path in fields_of(repository.run(*words, codes=(0, 128))):
        if path not in seen and any(map(is_git_folder, path.split("/"))):
            item = Item(path)
            item.is_here = False
            item.why_not = NOT_CHECKED_OUT
            yield item


def _look(root: str, item: Item, folders: dict[str, bool]) -> bool:
    """Find out what lies at a path; False when nothing does."""
    if item.path.endswith("/"):
        item.path = item.path.rstrip("/")
        item.why_not = OWN_REPOSITORY
        return True
    if not _is_real_folder(root, os.path.dirname(item.path), folders):
        return not item.is_here
    try:
        status = os.lstat(os.path.join(root, item.path))
    except OSError:
        return not item.is_here
    item.is_here = True
    item.mode = _mode_of(status)
    item.why_not = _why_not(root, item, status)
    return not stat.S_ISDIR(status.st_mode)


def _is_real_folder(root: str, folder: str, folders: dict[str, bool]) -> bool:
    """Say whether a folder of the tree is one, and is reached through no link."""
    known = folders.get(folder)
    if known is None:
        known = _is_real_folder(root, os.path.dirname(folder), folders)
        try:
            mode = os.lstat(os.path.join(root, folder)).st_mode
        except OSError:
            mode = 0
        known = folders[folder] = known and stat.S_ISDIR(mode)
    return known


def _mode_of(status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return LINK_MODE
    if not stat.S_ISREG(status.st_mode):
        return ""
    return PROGRAM_MODE if status.st_mode & stat.S_IXUSR else FILE_MODE


def _why_not(root: str, item: Item, status: os.stat_result) -> str | None:
    """Return why a path cannot be sent, None if it can."""
    path = os.path.join(root, item.path)
    try:
        item.path.encode("utf-8")
    except UnicodeEncodeError:
        return NOT_TEXT
    if any(map(is_git_folder, item.path.split("/"))):
        return GIT_NAME
    if item.mode == LINK_MODE:
        item.link = os.readlink(path)
        return None
    if not item.mode:
        return NO_FILE
    if status.st_size < LFS_POINTER_BYTES and _is_pointer(path):
        return LFS_POINTER
    return None


def _is_pointer(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(LFS_HEAD)) == LFS_HEAD
    except OSError:
        return False


def _submodule_items(repository: Repository, module: Item) -> list[Item]:
    """Return the submodule itself, which keeps its place in the tree, and the files in it."""
    module.mode = SUBMODULE_MODE
    module.why_not = NO_SUBMODULE
    folder = os.path.join(repository.root, module.path)
    if not os.path.lexists(os.path.join(folder, ".git")) or os.path.islink(folder):
        return [module]
    try:
        inside = list_tree(open_repository(folder))
    except RebyteError:
        return [module]
    module.why_not = None
    for item in inside:
        item.path = module.path + "/" + item.path
        item.submodule = module.path
    return [module, *inside]
