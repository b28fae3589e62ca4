"""What applying a change to a path means: pure decisions, and git merge-file for texts."""

from __future__ import annotations

import os
import tempfile

from rebyte_flows.code.applying.working_tree import OTHER_MODE
from rebyte_flows.code.git import LINK_MODE, Repository
from rebyte_flows.code.line_ends import (
    CRLF,
    LF,
    are_same,
    is_text,
    style_of,
    to_crlf,
    to_lf,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_flows.code.applying.working_tree import Content

CONFLICTS_MOST = 127


class Conflict(Exception):
    """A path changed on both sides in ways that do not fit together; the message says how."""


def merged(
    repository: Repository, base: Content, ours: Content, theirs: Content
) -> Content:
    """Return what a path is to hold where `base` became `ours` here and `theirs` there.

    The line ends are those that lie here. Raises Conflict.
    """
    if _is_same(ours, theirs):
        return ours
    if _is_same(ours, base):
        return _like_ours(theirs, ours)
    if _is_same(base, theirs):
        return ours
    if ours is None:
        raise Conflict("it was deleted here and changed there")
    if theirs is None:
        raise Conflict("it was changed here and deleted there")
    if ours[0] == OTHER_MODE:
        raise Conflict("a folder or something else lies there")
    if base is None:
        raise Conflict("it was added on both sides, with other contents")
    if LINK_MODE in (base[0], ours[0], theirs[0]):
        raise Conflict("it is a link on one side")
    mode = theirs[0] if ours[0] == base[0] else ours[0]
    return mode, _merged_data(repository, base[1], ours[1], theirs[1])


def _merged_data(
    repository: Repository, base: bytes, ours: bytes, theirs: bytes
) -> bytes:
    """Return the content of a file whose mode or content changed on both sides."""
    if are_same(base, theirs) or are_same(ours, theirs):
        return ours
    if ours == base:
        return theirs
    if not all(map(is_text, (base, ours, theirs))):
        raise Conflict("it is no text, and was changed on both sides")
    lines = merge_texts(repository, to_lf(base), to_lf(ours), to_lf(theirs))
    return _with_style(lines, ours)


def _is_same(one: Content, other: Content) -> bool:
    if one is None or other is None:
        return one is other
    if one[0] != other[0]:
        return False
    if one[0] == LINK_MODE:
        return one[1] == other[1]
    return are_same(one[1], other[1])


def _like_ours(theirs: Content, ours: Content) -> Content:
    """Return what came with the line ends of what lies here."""
    if theirs is None or ours is None or LINK_MODE in (theirs[0], ours[0]):
        return theirs
    if style_of(theirs[1]) is None:
        return theirs
    return theirs[0], _with_style(theirs[1], ours[1])


def _with_style(data: bytes, model: bytes) -> bytes:
    style = style_of(model)
    if style == CRLF:
        return to_crlf(data)
    return to_lf(data) if style == LF else data


def merge_texts(
    repository: Repository, base: bytes, ours: bytes, theirs: bytes
) -> bytes:
    """Return the text with the changes of both sides; raises Conflict where they touch."""
    with tempfile.TemporaryDirectory(prefix="rebyte-") as folder:
        paths = []
        for name, data in (("ours", ours), ("base", base), ("theirs", theirs)):
            path = os.path.join(folder, name)
            with open(path, "wb") as file:
                file.write(data)
            paths.append(path)
        codes = range(CONFLICTS_MOST + 1)
        code, out = repository.ask("merge-file", "-p", "-q", *paths, codes=codes)
    if code:
        raise Conflict("it was changed in the same lines on both sides")
    return out
