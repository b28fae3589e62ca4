"""What the benchmarks share: pairs run side by side, medians of ratios, processes with their time
and peak, a table.
"""

from __future__ import annotations

import collections
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPTS = os.path.join(ROOT, "scripts")
DOOR = os.path.join(SCRIPTS, "rebyte_cli.py")
KEY = "rbk_bench"
UNWANTED = (
    "PYTHONDONTWRITEBYTECODE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)
# What was found so far: (what, measured, target, missed).
ROWS, MISSING = [], []
# A small process in between: a child's peak begins with that of whoever started it.
CLOCKED = """
import os, sys, time
began = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ), 0)
os.write(int(sys.argv[1]), b"%f %d %f" % (time.perf_counter() - began, usage.ru_maxrss, usage.ru_utime + usage.ru_stime))
sys.exit(status >> 8 or status & 127)
"""
Ran = collections.namedtuple("Ran", "seconds peak cpu")
# Our commands keep their bytecode here, so that each but the first finds it, as a user's second
# call does.
CACHE = tempfile.TemporaryDirectory(prefix="rebyte-bench-")
sys.path.insert(0, SCRIPTS)


def new_folder(place=None):
    """Return a temporary folder for a `with` block."""
    return tempfile.TemporaryDirectory(prefix="rebyte-bench-", dir=place)


def has(*modules):
    """Say whether this Python can import its peers."""
    return (
        subprocess.run(
            [sys.executable, "-c", "import " + ", ".join(modules)],
            stderr=subprocess.DEVNULL,
        ).returncode
        == 0
    )


def environment(url, folder, ca=None):
    """Return the environment of a command that speaks to `url` and keeps its state in a folder."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in UNWANTED and not name.startswith("REBYTE_")
    }
    kept.update(
        REBYTE_BASE_URL=url,
        REBYTE_API_KEY=KEY,
        REBYTE_STATE_DIR=os.path.join(folder, "state"),
        XDG_CACHE_HOME=CACHE.name,
    )
    return dict(kept, REBYTE_CA_BUNDLE=ca) if ca else kept


def timed(words, environ=None, folder=None, on_line=None):
    """Run a process to its end; return (seconds, peak in MB, CPU seconds, those of its children
    too).

    `on_line` is told of each line it writes, to stdout or stderr. A failure ends the benchmark
    with what was said on stderr.
    """
    here, there = os.pipe()
    with tempfile.TemporaryFile() as kept, open(here, "rb") as told:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", CLOCKED, str(there)] + words,
            env=environ,
            cwd=folder,
            pass_fds=[there],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if on_line else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if on_line else kept,
        )
        os.close(there)
        if on_line:
            with child.stdout:
                for line in child.stdout:
                    on_line(line)
        if child.wait():
            kept.seek(0)
            raise SystemExit(
                "%s ended with %d: %s"
                % (
                    words[:4],
                    child.returncode,
                    kept.read().decode("utf-8", "replace")[-2000:],
                )
            )
        seconds, peak, cpu = map(float, told.read().split())
    return Ran(seconds, peak / (1024 if sys.platform != "darwin" else 1 << 20), cpu)


def medians(runs, pairs):
    """Call each of `runs` (name -> function that returns seconds) in turns, `pairs` times; return
    {name: [seconds]}.
    """
    found = {name: [] for name in runs}
    for turn in range(pairs):
        # Every other turn runs backwards, so that nobody always follows the same neighbour.
        for name in list(runs)[:: -1 if turn % 2 else 1]:
            found[name].append(runs[name]())
    return found


def compare(commands, pairs):
    """Time each of some commands, {name: arguments of timed}, in turns."""
    return medians(
        {
            name: lambda words=words: timed(*words).seconds
            for name, words in commands.items()
        },
        pairs,
    )


def ratio(found, name, base):
    """Return the median of the ratios of two series, pair by pair."""
    return statistics.median(
        one / other for one, other in zip(found[name], found[base])
    )


def row(what, value, target=None, unit="", most=True):
    """Print one line of the table and keep it; a target that is missed is told as such."""
    missed = target is not None and (value > target if most else value < target)
    limit = (
        ""
        if target is None
        else "%s %s%s" % ("at most" if most else "at least", shown(target), unit)
    )
    ROWS.append((what, shown(value) + unit, limit, missed))
    print(
        "%-70s %10s%-4s %-18s %s"
        % (what, shown(value), unit, limit, "MISSED" if missed else ""),
        flush=True,
    )


def shown(value):
    """Return a figure with the digits that say something."""
    return "%.2f" % value if abs(value) < 100 else "{:,.0f}".format(value)


def note(text):
    """Print what belongs to the rows around it but is no row."""
    print("-- " + text, flush=True)


def cannot(what, why):
    """Note that something could not be run here."""
    print("%-70s not run: %s" % (what, why), flush=True)
    MISSING.append("%s (%s)" % (what, why))


def place():
    """Say when and where this was measured."""
    return "%s, Python %s, %s %s, %d cores" % (
        time.strftime("%Y-%m-%d"),
        platform.python_version(),
        platform.system(),
        platform.machine(),
        os.cpu_count() or 1,
    )


def markdown():
    """Return what has a target as a table for a document; a missed one says so."""
    lines = [
        "Measured %s, with `make bench`." % place(),
        "",
        "| What | Measured | Target |",
        "|---|---|---|",
    ]
    for what, measured, target, missed in (row for row in ROWS if row[2]):
        lines.append(
            "| %s | %s | %s |"
            % (
                what.replace("|", "\\|"),
                measured,
                target + ", **missed**" if missed else target,
            )
        )
    return "\n".join(
        lines + ["", "Not run: %s." % "; ".join(MISSING)] if MISSING else lines
    )
