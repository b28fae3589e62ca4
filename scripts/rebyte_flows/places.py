"""Where the state folders of one user may lie: the usual ones, and those that a sandbox falls back
to.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Temp directories that are the same for every program of a user, whatever its TMPDIR says.
SHARED_ROOTS = ("/tmp", "/var/tmp")
# macOS gives each user one of his own, by TMPDIR.
USER_ROOT = "/var/folders/"
# Harnesses give a sandboxed command a temp directory below the usual one.
HARNESS_FOLDERS = ("claude-%s", "claude", "codex-%s")
OTHERS_MAY_USE = 0o077
OTHERS_MAY_WRITE = 0o022


def folder_name() -> str:
    """Return the name of this user's folder below a temp directory."""
    return "rebyte-%s" % _user()


def usual_places(environ: Mapping[str, str]) -> list[str]:
    """Return the folders that last, the one to take first in front."""
    places = []
    xdg = environ.get("XDG_STATE_HOME")
    if xdg and os.path.isabs(xdg):
        places.append(os.path.join(xdg, "rebyte"))
    home = environ.get("HOME") or os.path.expanduser("~")
    if os.path.isabs(home):
        places.append(os.path.join(home, ".local", "state", "rebyte"))
    return places


def temporary_places(environ: Mapping[str, str]) -> list[str]:
    """Return the folders below temp directories, those that every program finds in front."""
    roots = list(SHARED_ROOTS)
    roots += [environ.get(name) or "" for name in ("TMPDIR", "TEMP", "TMP")]
    with suppress(OSError):
        # Where no temp directory can be written, this is the current folder.
        roots.append(tempfile.gettempdir())
    return [
        os.path.join(root, *below)
        for root in dict.fromkeys(roots)
        if os.path.isabs(root)
        for below in _below()
    ]


def is_found_from_elsewhere(place: str) -> bool:
    """Tell whether a run with another temp directory looks at a temporary place too."""
    shared = [os.path.join(root, *below) for root in SHARED_ROOTS for below in _below()]
    return place in shared or place.startswith(USER_ROOT)


def is_private(place: str) -> bool:
    """Tell whether a folder is there, is no link, and is its owner's, me, alone."""
    return _is_mine(place, OTHERS_MAY_USE)


def is_trusted(place: str) -> bool:
    """Tell whether nobody but me can have written what lies in a folder."""
    return _is_mine(place, OTHERS_MAY_WRITE)


def _is_mine(place: str, forbidden: int) -> bool:
    try:
        found = os.lstat(place)
    except OSError:
        return False
    if hasattr(os, "getuid") and found.st_uid != os.getuid():
        return False
    return stat.S_ISDIR(found.st_mode) and not found.st_mode & forbidden


def _below() -> list[tuple[str, ...]]:
    own = folder_name()
    folders = [name % _user() if "%s" in name else name for name in HARNESS_FOLDERS]
    return [(own,), *((folder, own) for folder in folders)]


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "user"
