"""Times as the service writes them: microseconds inside, two spellings outside."""
from __future__ import annotations

import time

MICROSECONDS = 1000000


def now_us():
    """The present, in microseconds since 1970."""
    return time.time_ns() // 1000


def _seconds_text(moment_us):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment_us // MICROSECONDS))


def short_form(moment_us):
    """The form of create's answer: 2026-01-28T12:00:00.000Z."""
    return "%s.%03dZ" % (_seconds_text(moment_us), moment_us % MICROSECONDS // 1000)


def long_form(moment_us):
    """The form of everything read later: 2026-01-28T12:00:00.000000+00:00, or None."""
    if moment_us is None:
        return None
    return "%s.%06d+00:00" % (_seconds_text(moment_us), moment_us % MICROSECONDS)
