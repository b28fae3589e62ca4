"""Which paths of an archive may become paths of a repository: pure, and one bad one spoils all.

A path that was sent is fine as it is, whatever it is called: the rules are for new ones.
"""

from __future__ import annotations

import os
from collections import Counter

from rebyte_flows.code.paths import is_git_folder
from rebyte_flows.files.names import (
    NAME_LIMIT_BYTES,
    fold,
    is_device,
    is_invisible,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

PATH_LIMIT_BYTES = 4000
# What a packer takes for dependencies and build output, also where it belongs to the code.
LEFT_BEHIND = frozenset(
    ("node_modules", "bower_components", "vendor", "Pods", "venv", ".venv", ".tox")
    + ("__pycache__", "build", "dist", "target", ".next", ".nuxt", ".gradle")
)


def _climbs(part: str) -> bool:
    return part.strip(". \t") == "" and part.strip() != ""


def _ends_badly(part: str) -> bool:
    return part[-1] == "." or part[-1].isspace() or part[0].isspace()


RULES = (
    (lambda part: part == "", "it is absolute, or has an empty part"),
    (_climbs, "a part of it climbs out of its folder"),
    (lambda part: "\\" in part, "it holds a backslash"),
    (is_git_folder, "a part of it is git's own folder"),
    (lambda part: ":" in part, "it holds a colon"),
    (is_invisible, "it holds control or invisible characters"),
    (_ends_badly, "a part of it begins with a blank, or ends with one or with a dot"),
    (is_device, "a part of it is the name of a device"),
    (
        lambda part: len(part.encode("utf-8", "replace")) > NAME_LIMIT_BYTES,
        "a part of it has more than %d bytes" % NAME_LIMIT_BYTES,
    ),
)


def bad_path(path: str) -> str | None:
    """Return why a path must not come into a repository, None if it may."""
    for part in path.split("/"):
        for is_wrong, reason in RULES:
            if is_wrong(part):
                return reason
    if len(path.encode("utf-8", "replace")) > PATH_LIMIT_BYTES:
        return "it has more than %d bytes" % PATH_LIMIT_BYTES
    return None


def collisions(paths: Iterable[str], known: Collection[str]) -> list[tuple[str, str]]:
    """Return pairs of paths of which some system makes one: by case, by Unicode form, or because
    one is a file and a folder.

    Pairs of paths that are both `known` are left alone: they stand side by side already.
    """
    spelled: dict[str, str] = {}
    files: set[str] = set()
    found: list[tuple[str, str]] = []
    every = sorted(paths)
    for path in every:
        for place in [*folders_above(path), path]:
            other = spelled.setdefault(_folded(place), place)
            if other != place and not _both_known(other, place, known):
                found.append((other, path))
        files.add(_folded(path))
    for path in every:
        for place in folders_above(path):
            if _folded(place) in files:
                found.append((place, path))
    return found


def _folded(path: str) -> str:
    return "/".join(map(fold, path.split("/")))


def folders_above(path: str) -> list[str]:
    """Return the folders above a path, the outermost first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _both_known(one: str, other: str, known: Collection[str]) -> bool:
    return one in known and other in known


def reaches_git(target: str) -> bool:
    """Say whether a link's target passes through git's own folder."""
    return any(is_git_folder(part) for part in target.split("/"))


def common_root(paths: Collection[str], sent: Collection[str], name: str) -> str:
    """Return the folder under which an archive holds the tree, "" for its own root.

    Of all folders that hold everything the one counts under which most of what was sent is found.
    Where nothing of it is found it is the one called `name`, as was asked for; what stands below
    that one belongs to the tree, also when everything was moved there. It may stand beside other
    things, too, and then has to hold something that was sent.
    """
    best = ""
    most = _fitting(paths, sent, best)
    is_named = False
    for folder in os.path.commonprefix(list(map(folders_above, paths))):
        has_name = _own_name(folder) == name
        if is_named and not has_name:
            break
        prefix = folder + "/"
        fitting = _fitting(paths, sent, prefix)
        is_first_named = has_name and not is_named
        is_wanted = is_first_named and most == 0
        if fitting > most or is_wanted:
            most = fitting
            best = prefix
        is_named = has_name
    if best or most:
        return best
    return _root_beside_others(paths, sent, name)


def _fitting(paths: Collection[str], sent: Collection[str], prefix: str) -> int:
    """Return how many of the paths are paths that were sent, below a prefix that they all have."""
    length = len(prefix)
    return sum(path[length:] in sent for path in paths)


def _own_name(folder: str) -> str:
    return folder.rpartition("/")[2]


def _root_beside_others(
    paths: Collection[str], sent: Collection[str], name: str
) -> str:
    """Return the folder called `name` that holds most of what was sent, "" where none does."""
    found: Counter[str] = Counter()
    for path in paths:
        for folder in folders_above(path):
            prefix = folder + "/"
            if _own_name(folder) == name and path[len(prefix) :] in sent:
                found[prefix] += 1
    for best, _ in found.most_common(1):
        return best
    return ""


def looks_whole(returned: Collection[str], sent: Collection[str]) -> bool:
    """Say whether what came home looks like the whole tree, so that what lacks was deleted.

    At least half of what was sent has to be there, and half of what lies at the root, where that
    is more than one file.
    """
    there = set(returned)
    root = [path for path in sent if "/" not in path]
    for group in (sent, root if len(root) > 1 else []):
        if 2 * sum(path in there for path in group) < len(group):
            return False
    return True


def left_behind(missing: Collection[str], returned: Iterable[str]) -> set[str]:
    """Return those missing paths that lie in a folder of dependencies or build output of which
    nothing came home: who packs leaves such folders out, and deletes nothing by that.
    """
    there: set[str] = set()
    for path in returned:
        there.update(folders_above(path))
    return {path for path in missing if _is_left_behind(path, there)}


def _is_left_behind(path: str, there: set[str]) -> bool:
    return any(
        _own_name(folder) in LEFT_BEHIND and folder not in there
        for folder in folders_above(path)
    )
