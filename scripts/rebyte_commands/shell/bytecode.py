"""Where Python keeps the bytecode of this bundle: in the caller's own cache folder, never beside
the sources.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from importlib.machinery import FileFinder, SourceFileLoader
from importlib.util import source_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import CodeType
    from typing import Any

FOLDER_MODE = 0o700
FILE_MODE = 0o600
HASH_BYTES = 8


class CachingLoader(SourceFileLoader):
    """Loads a source file like any other, but keeps and looks for its bytecode in `folder`."""

    folder: str | None = None

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the code of a module."""
        before = sys.pycache_prefix, sys.dont_write_bytecode
        sys.pycache_prefix = self.folder
        sys.dont_write_bytecode = False
        try:
            return super().get_code(fullname)
        finally:
            sys.pycache_prefix, sys.dont_write_bytecode = before

    def get_data(self, path: str) -> bytes:
        """Return the bytes of a file; OSError for bytecode that is not as it was written.

        Python then compiles anew; by itself it checks the head of the file alone.
        """
        data = super().get_data(path)
        if not path.endswith(".pyc"):
            return data
        code = data[:-HASH_BYTES]
        if source_hash(code) != data[-HASH_BYTES:]:
            raise OSError("%s was cut or changed" % path)
        return code

    def set_data(self, path: str, data: Any, *, _mode: int = FILE_MODE) -> None:
        """Write bytecode whole or not at all, with a hash of it at the end."""
        data = bytes(data)
        data += source_hash(data)
        temporary = "%s.%d" % (path, os.getpid())
        try:
            os.makedirs(os.path.dirname(path), FOLDER_MODE, exist_ok=True)
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
            try:
                written = os.write(file, data)
            finally:
                os.close(file)
            if written == len(data):
                os.replace(temporary, path)
                return
        except OSError:
            pass
        with suppress(OSError):
            os.unlink(temporary)


def keep_bytecode(scripts: str, environ: Mapping[str, str]) -> None:
    """Keep the bytecode of what is imported from `scripts` in a private folder, if there is one."""
    CachingLoader.folder = private_folder(environ)
    if not CachingLoader.folder:
        return
    sys.path_hooks.insert(0, lambda path: finder_for(path, scripts))
    # Python remembers how it looked there before.
    for path in list(sys.path_importer_cache):
        if path.startswith(scripts):
            del sys.path_importer_cache[path]


def finder_for(path: str, scripts: str) -> FileFinder:
    """Return what finds modules in a folder of ours; ImportError for any other, as path_hooks
    wants.
    """
    if path != scripts and not path.startswith(scripts + os.sep):
        raise ImportError(path)
    return FileFinder(path, (CachingLoader, [".py"]))


def private_folder(environ: Mapping[str, str]) -> str | None:
    """Return XDG_CACHE_HOME/rebyte or ~/.cache/rebyte, made if need be.

    None unless it is the caller's alone: a planted file is code.
    """
    home = environ.get("XDG_CACHE_HOME") or os.path.join(
        environ.get("HOME") or "", ".cache"
    )
    if not os.path.isabs(home):
        return None
    folder = os.path.join(home, "rebyte")
    try:
        os.makedirs(folder, FOLDER_MODE, exist_ok=True)
        found = os.lstat(folder)
    except OSError:
        return None
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o077):
        return None
    return folder if stat.S_ISDIR(found.st_mode) else None
