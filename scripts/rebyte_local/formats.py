"""What all rooms of the server share: JSON objects, moments in their spellings, tracebacks."""

from __future__ import annotations

import contextlib
import time
import traceback
from datetime import datetime, timedelta, timezone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    JsonObject = dict[str, Any]
else:
    JsonObject = dict

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECONDS_PER_SECOND = 1000000


def now_us() -> int:
    """Return the present in microseconds since 1970."""
    return time.time_ns() // 1000


def iso_milliseconds(moment_us: int) -> str:
    """Return the form of create's answer: 2026-01-28T12:00:00.000Z."""
    return (
        (EPOCH + timedelta(microseconds=moment_us))
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def iso_microseconds(moment_us: int | None) -> str | None:
    """Return the form of later answers, 2026-01-28T12:00:00.000000+00:00; None stays None."""
    if moment_us is None:
        return None
    return (EPOCH + timedelta(microseconds=moment_us)).isoformat(
        timespec="microseconds"
    )


def log_exception() -> None:
    """Write the traceback of the current exception to stderr, which may lie on a full disk."""
    with contextlib.suppress(OSError):
        traceback.print_exc()
