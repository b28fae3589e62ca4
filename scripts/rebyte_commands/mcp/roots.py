"""The folders that a host may send files from and bring files into: those that the owner named,
else the client's roots.
"""

from __future__ import annotations

import os
import threading
import time
from urllib.parse import unquote, urlsplit

from rebyte_wire.errors import GuardRefused, InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# So long a client may take to name its roots.
ANSWER_SECONDS = 5
HINT = (
    "the owner names folders with mcp --root DIR; some hosts name theirs by themselves"
)


class Roots:
    """The allowed folders; `is_asked_for` says that the client is to name them."""

    def __init__(self, owners: Sequence[str]) -> None:
        self._folders = [os.path.realpath(folder) for folder in owners]
        self._is_owners = bool(owners)
        self.is_asked_for = False
        self._answered = threading.Event()
        self._answered.set()
        self._until = 0.0

    def __repr__(self) -> str:
        return "Roots(%r)" % self._folders

    @property
    def are_open(self) -> bool:
        """True where the owner named none, so that the client's count."""
        return not self._is_owners

    def expect(self) -> None:
        """Note that the client can name its roots; calls that need one wait a little for them.

        Those that it named before count no more.
        """
        self.is_asked_for = True
        self._folders = []
        self._until = time.monotonic() + ANSWER_SECONDS
        self._answered.clear()

    def take(self, result: Any) -> None:
        """Take the answer to roots/list where it was asked for; whatever is no folder of this
        machine is left out.
        """
        if not self.is_asked_for:
            return
        listed = result.get("roots") if isinstance(result, dict) else None
        roots = listed if isinstance(listed, list) else []
        uris = [root.get("uri") for root in roots if isinstance(root, dict)]
        folders = [_folder_of(uri) for uri in uris if isinstance(uri, str)]
        self._folders = [folder for folder in folders if folder]
        self._answered.set()

    def path(self, word: str) -> str:
        """Return the absolute path of a word, relative to the first folder.

        Raises GuardRefused for one that lies outside of all of them, by links too; InputError for
        what is no path.
        """
        self._answered.wait(max(0.0, self._until - time.monotonic()))
        # Another answer of the client may replace them meanwhile.
        folders = self._folders
        if not folders:
            raise GuardRefused(
                "no folder was named that files may come from or go to",
                code="outside_roots",
                hint=HINT,
            )
        path = os.path.join(folders[0], os.path.expanduser(word))
        try:
            os.fsencode(path)
            real = os.path.realpath(path)
        except ValueError as problem:
            raise InputError("%r is no path: %s" % (word, problem)) from problem
        for folder in folders:
            if real == folder or real.startswith(folder.rstrip(os.sep) + os.sep):
                return real
        raise GuardRefused(
            "%s lies outside of the folders that were named: %s"
            % (word, ", ".join(folders)),
            code="outside_roots",
            hint=HINT,
        )


def _folder_of(uri: str) -> str | None:
    """Return the path that a file: address names on this machine, None for any other."""
    try:
        parts = urlsplit(uri)
        path = unquote(parts.path)
        is_here = parts.scheme == "file" and parts.netloc in ("", "localhost")
        # ValueError for half of a surrogate pair. Not every Python refuses a NUL here.
        os.fsencode(path)
        is_path = os.path.isabs(path) and "\0" not in path
        return os.path.realpath(path) if is_here and is_path else None
    except ValueError:
        return None
