"""`make bench`: every comparison side by side, as one table; peers are used where they are installed.

    python3 tests/bench/bench.py [start] [trips] [stream] [bytes] [growth]
"""
from __future__ import annotations

import os
import platform
import sys
import time

sys.dont_write_bytecode = True

import bytes as bytes_bench  # noqa: E402
import growth  # noqa: E402
import start  # noqa: E402
import stream  # noqa: E402
import trips  # noqa: E402
from pairs import MISSING, cannot  # noqa: E402

PARTS = {"start": start, "trips": trips, "stream": stream, "bytes": bytes_bench, "growth": growth}


def main(names):
    """Run the parts that are named, or all."""
    print("%s, Python %s, %s %s, %d cores" % (time.strftime("%Y-%m-%d"), platform.python_version(), platform.system(), platform.machine(),
                                             os.cpu_count() or 1))
    for name in names or PARTS:
        PARTS[name].main()
    cannot("fan-out of 40", "this benchmark is not written yet")
    print("not run: %s" % "; ".join(MISSING))


if __name__ == "__main__":
    main(sys.argv[1:])
