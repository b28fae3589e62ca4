"""Paths of a tree: which a caller means, and where a link leads."""

from __future__ import annotations

import fnmatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LINKS_FOLLOWED_MOST = 40


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
