"""`make bench`: every comparison side by side, as one table; peers are used where they are installed.

    python3 tests/bench/bench.py [--markdown] [start] [trips] [fan-out] [stream] [bytes] [growth]

The rows come as they are found; --markdown sends those to stderr and ends with one table for a document on stdout.
BENCH_GB says how large the large file of `bytes` is.
"""
from __future__ import annotations

import contextlib
import os
import platform
import sys
import time

sys.dont_write_bytecode = True

import bytes as bytes_bench  # noqa: E402
import calls  # noqa: E402
import fan_out  # noqa: E402
import growth  # noqa: E402
import stream  # noqa: E402
from pairs import MISSING, ROWS, note  # noqa: E402

PARTS = {"start": calls.start, "trips": calls.trips, "fan-out": fan_out.tasks, "stream": stream.main, "bytes": bytes_bench.main,
         "growth": growth.main}


def place():
    """Say when and where this was measured."""
    return "%s, Python %s, %s %s, %d cores" % (time.strftime("%Y-%m-%d"), platform.python_version(), platform.system(), platform.machine(),
                                               os.cpu_count() or 1)


def run(names):
    """Run the parts that are named, or all."""
    began = time.monotonic()
    print(place())
    for name in names or PARTS:
        PARTS[name]()
    note("%d rows, %d of them missed, after %d s; not run: %s" % (
        len(ROWS), sum(row[-1] for row in ROWS), time.monotonic() - began, "; ".join(MISSING) or "nothing, all was here"))


def markdown():
    """Return what has a target as a table for a document; a missed one says so."""
    lines = ["Measured %s, with `make bench`." % place(), "", "| What | Measured | Target |", "|---|---|---|"]
    for what, measured, target, missed in (row for row in ROWS if row[2]):
        lines.append("| %s | %s | %s |" % (what.replace("|", "\\|"), measured, target + ", **missed**" if missed else target))
    return "\n".join(lines + ["", "Not run: %s." % "; ".join(MISSING)] if MISSING else lines)


def main(words):
    """Run what the command line names and print it in the form that it asks for."""
    names = [word for word in words if word != "--markdown"]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise SystemExit("no such part: %s; there are %s" % (", ".join(unknown), ", ".join(PARTS)))
    if names == words:
        return run(names)
    with contextlib.redirect_stdout(sys.stderr):
        run(names)
    print(markdown())


if __name__ == "__main__":
    main(sys.argv[1:])
