"""Blobs: the bytes of files and artifacts, each in a file of its own."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable

from rebyte_local.private_files import private

PIECE_BYTES = 64 * 1024


class TooLarge(Exception):
    """More bytes came than are allowed."""


class BlobStore:
    """A folder of blobs; a blob never changes once it has its id, so readers need no lock."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def path(self, blob_id: str) -> str:
        """Return where a blob lies."""
        return os.path.join(self._folder, blob_id)

    def store(
        self, read: Callable[[int], bytes], limit: int | None = None
    ) -> tuple[str, int]:
        """Stream `read(size)` into a new blob; return (id, bytes).

        Raises TooLarge beyond `limit`; whatever is raised, nothing is left behind.
        """
        blob_id = str(uuid.uuid4())
        size = 0
        try:
            with open(self.path(blob_id), "xb", opener=private) as out:
                for piece in iter(lambda: read(PIECE_BYTES), b""):
                    size += len(piece)
                    if limit is not None and size > limit:
                        raise TooLarge(size)
                    out.write(piece)
        except BaseException:
            self.delete(blob_id)
            raise
        return blob_id, size

    def rename(self, blob_id: str, new_id: str) -> None:
        """Give a blob another id; a blob of that id is replaced."""
        os.replace(self.path(blob_id), self.path(new_id))

    def delete(self, blob_id: str) -> None:
        """Remove a blob; whoever reads it at the moment can read on."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(blob_id))
