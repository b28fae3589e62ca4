"""JSON objects, and moments: as the database keeps them and as the service writes them."""

from __future__ import annotations

import time
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
    return (EPOCH + timedelta(microseconds=moment_us)).isoformat(timespec="microseconds")
