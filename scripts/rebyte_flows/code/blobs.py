"""The ids that git gives to contents, computed here."""

from __future__ import annotations

import hashlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def blob_digest(size: int, digits: int) -> Any:
    """Return a digest as git makes it for a blob of `size` bytes, its id having so many digits."""
    digest = hashlib.sha256() if digits == 64 else hashlib.sha1()
    digest.update(b"blob %d\0" % size)
    return digest


def blob_id(data: bytes, digits: int) -> str:
    """Return the id that git gives to a content, its ids having so many digits."""
    digest = blob_digest(len(data), digits)
    digest.update(data)
    return str(digest.hexdigest())
