"""Paths of a tree: which a caller means, where a link leads, and which are git's own."""

from __future__ import annotations

import fnmatch
import re
import unicodedata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

LINKS_FOLLOWED_MOST = 40
# Code points that HFS+ passes over when it compares names, as git lists them.
IGNORABLE = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
# The short names that NTFS gives to .git and its kin.
SHORT_NAME = re.compile(r"git[a-z0-9]{0,5}~[0-9]+|gi[0-9a-f]{4,6}~[0-9]+")
# Folders of git's own make, wherever they stand and however they are spelled.
GIT_FOLDER = ".git"


def matches(path: str, wanted: Sequence[str]) -> bool:
    """Say whether a path is among those wanted: itself, a folder above it, or a pattern."""
    for word in wanted:
        plain = word[2:] if word.startswith("./") else word
        plain = plain.rstrip("/")
        if path == plain or path.startswith(plain + "/"):
            return True
        if fnmatch.fnmatchcase(path, plain):
            return True
    return False


def unmatched(words: Sequence[str], paths: Collection[str]) -> list[str]:
    """Return those words that mean none of the paths."""
    return [word for word in words if not any(matches(path, [word]) for path in paths)]


def leaves_tree(path: str, links: Mapping[str, str]) -> bool:
    """Say whether following the link at `path` leads out of the tree, also through other links.

    `links` are all links of the tree: path -> target. A loop counts as leaving.
    """
    if is_outside(links[path]):
        return True
    left = _steps_of(links[path])
    place = path.split("/")[:-1]
    followed = 0
    while left:
        part = left.pop(0)
        if part == "..":
            if not place:
                return True
            place.pop()
            continue
        place.append(part)
        target = links.get("/".join(place))
        if target is None:
            continue
        followed += 1
        if followed > LINKS_FOLLOWED_MOST or is_outside(target):
            return True
        place.pop()
        left = _steps_of(target) + left
    return False


def is_outside(target: str) -> bool:
    """Say whether a link's target is none inside any tree: absolute, or none at all."""
    is_odd = not target or "\\" in target or "\0" in target
    return is_odd or target[0] in "/~" or target[1:2] == ":"


def _steps_of(target: str) -> list[str]:
    return [part for part in target.split("/") if part not in ("", ".")]


def is_git_folder(part: str) -> bool:
    """Say whether some system takes a part of a path for .git."""
    plain = IGNORABLE.sub("", part)
    plain = unicodedata.normalize("NFKC", plain).casefold()
    # NTFS: a stream's name, and dots and blanks at the end.
    plain = plain.partition(":")[0].rstrip(". \t")
    return plain == GIT_FOLDER or SHORT_NAME.fullmatch(plain) is not None
