"""Files that only their owner can read, whatever the umask is."""

from __future__ import annotations

import os


def private(path: str, flags: int) -> int:
    """Open a file with mode 0600: the `opener` of `open`."""
    return os.open(path, flags, 0o600)
