"""Where Python keeps the bytecode of this bundle: in the caller's own cache folder, never beside the sources."""

from __future__ import annotations

import os
import stat
import sys
from importlib.machinery import FileFinder, SourceFileLoader

FOLDER_MODE = 0o700


class KeptLoader(SourceFileLoader):
    """Loads a source file like any other, but keeps and looks for its bytecode in `folder`; Python checks what it finds."""

    folder = None

    def get_code(self, fullname):
        """Return the code of a module; no import runs in here, so only this module's bytecode is meant."""
        before = sys.pycache_prefix, sys.dont_write_bytecode
        sys.pycache_prefix, sys.dont_write_bytecode = self.folder, False
        try:
            return super().get_code(fullname)
        finally:
            sys.pycache_prefix, sys.dont_write_bytecode = before


def keep_bytecode(scripts, environ):
    """Keep the bytecode of what is imported from `scripts` in a private folder, or none where there is no such folder."""
    KeptLoader.folder = private_folder(environ)
    if KeptLoader.folder:
        sys.path_hooks.insert(0, lambda path: finder_for(path, scripts))
        # Python remembers how it looked there before.
        for path in [path for path in sys.path_importer_cache if path.startswith(scripts)]:
            del sys.path_importer_cache[path]


def finder_for(path, scripts):
    """Return what finds modules in a folder of ours; ImportError for any other, as sys.path_hooks wants it."""
    if path != scripts and not path.startswith(scripts + os.sep):
        raise ImportError(path)
    return FileFinder(path, (KeptLoader, [".py"]))


def private_folder(environ):
    """Return XDG_CACHE_HOME/rebyte or ~/.cache/rebyte, made if need be; None unless it is the caller's alone: a planted file is code."""
    home = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME") or "", ".cache")
    if not os.path.isabs(home):
        return None
    folder = os.path.join(home, "rebyte")
    try:
        os.makedirs(folder, FOLDER_MODE, exist_ok=True)
        found = os.lstat(folder)
    except OSError:
        return None
    mine = not hasattr(os, "getuid") or found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if mine and stat.S_ISDIR(found.st_mode) else None
