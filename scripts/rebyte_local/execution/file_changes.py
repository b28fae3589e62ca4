"""Which files of a workspace a turn changed."""

from __future__ import annotations

import os

from rebyte_local.formats import JsonObject

FILES_MOST = 20000  # looked at; of a larger folder the rest is not told
SHOWN_MOST = 200
SKIPPED_FOLDERS = frozenset((".git", "node_modules", "__pycache__"))


class Snapshot:
    """The files of a folder at one moment, by size and time of change."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._is_whole = True
        self._files = self._look()

    def __repr__(self) -> str:
        return "Snapshot(%r, files=%d)" % (self._path, len(self._files))

    def _look(self) -> dict[str, tuple[int, int]]:
        files: dict[str, tuple[int, int]] = {}
        for folder, folders, names in os.walk(self._path):
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

    def changes(self) -> list[JsonObject] | None:
        """Return what was added, changed or deleted since, by name; None where there are too many
        files to tell.
        """
        after = self._look()
        if not self._is_whole:
            return None
        kinds = {
            name: "added" if name not in self._files else "changed"
            for name, state in after.items()
            if self._files.get(name) != state
        }
        kinds.update((name, "deleted") for name in self._files if name not in after)
        shown = sorted(kinds.items())[:SHOWN_MOST]
        return [{"path": _readable(name), "kind": kind} for name, kind in shown]


def _readable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
