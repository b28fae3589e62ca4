"""What the benchmarks share: pairs run side by side, medians of ratios, processes with their time and peak, a table."""
from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPTS = os.path.join(ROOT, "scripts")
DOOR = os.path.join(SCRIPTS, "rebyte_cli.py")
MISSING = []


def timed(words, environ=None, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, folder=None):
    """Run a process to its end; return (seconds, peak in MB). A failure ends the benchmark with what it said."""
    began = time.perf_counter()
    child = subprocess.Popen(words, env=environ, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, cwd=folder)
    said = child.stderr.read()
    child.stderr.close()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - began
    child.returncode = status
    if status:
        raise SystemExit("%s ended with %d: %s" % (words[:4], status >> 8, said.decode("utf-8", "replace")[-2000:]))
    return seconds, usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)


def medians(runs, pairs):
    """Call each of `runs` (name -> function that returns seconds) in turns, `pairs` times; return {name: [seconds]}."""
    found = {name: [] for name in runs}
    for turn in range(pairs):
        # Every other turn runs backwards, so that nobody always follows the same neighbour.
        for name in list(runs)[::-1 if turn % 2 else 1]:
            found[name].append(runs[name]())
    return found


def ratio(found, name, base):
    """Return the median of the ratios of two series, pair by pair."""
    return statistics.median(one / other for one, other in zip(found[name], found[base]))


def row(what, value, target=None, unit="", most=True):
    """Print one line of the table; a target that is missed is told as such."""
    fine = target is None or (value <= target if most else value >= target)
    limit = "" if target is None else "%s %.2f%s" % ("at most" if most else "at least", target, unit)
    print("%-66s %8.2f%-4s %-18s %s" % (what, value, unit, limit, "" if fine else "MISSED"), flush=True)


def cannot(what, why):
    """Note that something could not be run here."""
    print("%-66s not run: %s" % (what, why), flush=True)
    MISSING.append(what)
