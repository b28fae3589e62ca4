"""Which files of a workspace a turn changed."""

from __future__ import annotations

import errno
import os
from typing import Dict, Tuple

from rebyte_local.formats import JsonObject

FILES_MOST = 20000  # looked at; of a larger folder the rest is not told
SHOWN_MOST = 200
LOST = "its folder cannot be read any more (%s), so what it changed is not known"
UNREAD = "what it changed in %s is not known: that folder cannot be read"
SKIPPED_FOLDERS = frozenset((".git", "node_modules", "__pycache__"))


# The size and the time of change of each file, by name.
Files = Dict[str, Tuple[int, int]]


class Snapshot:
    """The files of a folder at one moment, by size and time of change.

    `trouble` says, after `changes`, why they are not known whole; it is None where they are.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._is_whole = True
        self._unread: list[str] = []
        self.trouble: str | None = None
        self._files = self._look()

    def __repr__(self) -> str:
        return "Snapshot(%r, files=%d)" % (self._path, len(self._files))

    def _look(self) -> Files:
        files: Files = {}
        for folder, folders, names in os.walk(self._path, onerror=self._note):
            folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
            for name in names:
                path = os.path.join(folder, name)
                try:
                    state = os.lstat(path)
                except OSError:
                    continue
                key = os.path.relpath(path, self._path)
                files[key] = (state.st_size, state.st_mtime_ns)
            if len(files) > FILES_MOST:
                self._is_whole = False
                break
        return files

    def _note(self, error: OSError) -> None:
        """Note a folder that cannot be read; one below that is gone has simply been deleted."""
        folder = str(error.filename)
        if folder == self._path:
            self.trouble = LOST % (error.strerror or error)
        elif error.errno != errno.ENOENT:
            self._unread.append(os.path.relpath(folder, self._path))

    def changes(self) -> list[JsonObject] | None:
        """Return what was added, changed or deleted since, by name; None where there are too many
        files to tell, or the folder itself cannot be read.
        """
        if os.path.islink(self._path):
            self.trouble = LOST % "a link is in its place"
            return None
        after = self._look()
        if self.trouble or not self._is_whole:
            return None
        if self._unread:
            self.trouble = UNREAD % _readable(self._unread[0])
        kinds = {**self._written(after), **self._deleted(after)}
        shown = sorted(kinds.items())[:SHOWN_MOST]
        return [{"path": _readable(name), "kind": kind} for name, kind in shown]

    def _written(self, after: Files) -> dict[str, str]:
        kinds = {}
        for name, state in after.items():
            known = self._files.get(name)
            if known is None:
                kinds[name] = "added"
            elif known != state:
                kinds[name] = "changed"
        return kinds

    def _deleted(self, after: Files) -> dict[str, str]:
        kinds = {}
        for name in self._files:
            if name not in after and not self._is_hidden(name):
                kinds[name] = "deleted"
        return kinds

    def _is_hidden(self, name: str) -> bool:
        """Return True for a file in a folder that cannot be read: it may still be there."""
        return any(name.startswith(folder + os.sep) for folder in self._unread)


def _readable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
