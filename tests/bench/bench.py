"""`make bench`: every comparison side by side, as one table; peers are used where they are
installed.

python3 tests/bench/bench.py [--markdown] [start] [trips] [fan-out] [stream] [bytes] [growth]

The rows come as they are found; --markdown sends those to stderr and ends with one table for a
document on stdout. BENCH_GB says how large the large file of `bytes` is. Here: what each call of
an agent pays before and around its one request, how many round trips thirty reads take, and forty
tasks of three seconds, 50 ms away over TLS. The ideal for N tasks, W wide, each taking T seconds
at a round trip of R:

2 R + ceil(N / W) * (T + R)

One connection is opened (TCP and TLS, a round trip each) and kept. A task costs its own time and
one round trip: half of it until the start is there, half of it until the answer is back. Nothing
is asked, and nobody computes anything.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True

import bytes as bytes_bench
import streams
from pairs import (
    DOOR,
    KEY,
    MISSING,
    ROWS,
    SCRIPTS,
    cannot,
    compare,
    environment,
    has,
    markdown,
    medians,
    new_folder,
    note,
    place,
    ratio,
    row,
    timed,
)
from stub import ANSWER, TASK, Process, far_away, make_certificate

IMPORTS = "import urllib.request, json, ssl, argparse"
ONE_CALL = {
    "requests": "import requests; requests.get(%r, headers={'API_KEY': 'rbk_bench'}).json()",
    "httpx": "import httpx; httpx.get(%r, headers={'API_KEY': 'rbk_bench'}).json()",
}
# (what, beside what, at most so many times as long)
STARTS = (
    ("get", "imports", 1.1),
    ("get, no cache", "imports", 1.3),
    ("help", "argparse", 1.8),
    ("version", "pass", None),
    ("get", "requests", 0.6),
    ("get", "httpx", 0.85),
    ("get", "curl", None),
)
SPELLED = {
    "imports": "the bare imports",
    "argparse": "import argparse",
    "pass": "python -c pass",
    "curl": "curl | jq",
}
READS, ROUND_TRIP_SECONDS, IDEAL_TRIPS = 30, 0.05, 33
HEAD = (
    "import sys, time; url, ca, began = sys.argv[1], sys.argv[2], time.perf_counter()\n"
)
TAIL = "\nprint(time.perf_counter() - began)"
MANY_CALLS = {
    "ours": "sys.path.insert(0, sys.argv[3]); sys.dont_write_bytecode = True\n"
    "from rebyte_client import RebyteClient\nbegan = time.perf_counter()\n"
    "with RebyteClient('rbk_bench', url) as client:\n    for _ in range(%d): client.get_task('%s')",
    "urllib": "import json, ssl, urllib.request\nbegan = time.perf_counter()\ncontext = ssl.create_default_context(cafile=ca)\n"
    "for _ in range(%d): json.load(urllib.request.urlopen(url + '/v1/tasks/%s', context=context))",
    "requests": "import requests\nbegan = time.perf_counter()\nwith requests.Session() as session:\n    session.verify = ca\n"
    "    for _ in range(%d): session.get(url + '/v1/tasks/%s').json()",
    "httpx": "import httpx, ssl\nbegan = time.perf_counter()\nwith httpx.Client(verify=ssl.create_default_context(cafile=ca)) as session:\n"
    "    for _ in range(%d): session.get(url + '/v1/tasks/%s').json()",
}
LEAST_TIMES_AS_LONG = {"urllib": 2.3, "requests": 1.0}
TASKS, TASK_SECONDS, DEFAULT_WIDTH, TIMES_THE_IDEAL = 40, 3.0, 8, 1.3
# The seeds start one task, look every 5 s, read the answer, and go on to the next.
SEEDS_TASKS, SEEDS_POLL_SECONDS, XARGS_POLL_SECONDS = 3, 5, 1
ONE_TASK = """
call() { curl -s --cacert "$REBYTE_CA_BUNDLE" -H "API_KEY: $REBYTE_API_KEY" "$@"; }
id=$(call -X POST "$REBYTE_BASE_URL/v1/tasks" -H "Content-Type: application/json" -d "{\\"prompt\\": \\"work %g $1\\"}" | jq -r .id)
while true; do
  status=$(call "$REBYTE_BASE_URL/v1/tasks/$id" | jq -r .status)
  if [ "$status" = completed ] || [ "$status" = failed ]; then break; fi
  sleep %g
done
call "$REBYTE_BASE_URL/v1/tasks/$id/content" | jq -r '.prompts[-1].response'
"""


def missing_programs(*names):
    """Name the programs that are not here."""
    return [name for name in names if not shutil.which(name)]


def start(pairs=15):
    """Print the ratios of start-up, on loopback and over TLS."""
    with new_folder() as folder, Process("api") as api:
        environ = dict(environment(api.plain, folder), HOME=folder)
        # The scripts as they are installed, without bytecode beside them.
        scripts = shutil.copytree(
            SCRIPTS,
            os.path.join(folder, "scripts"),
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        door = os.path.join(scripts, os.path.basename(DOOR))
        commands = {
            name: (words, environ)
            for name, words in lines_to_start(
                api.plain + "/v1/tasks/" + TASK, door
            ).items()
        }
        commands["get, no cache"] = (
            commands["get"][0],
            dict(environ, PYTHONDONTWRITEBYTECODE="1"),
        )
        found = compare(commands, pairs)
        figures = ", ".join(
            "%s %.0f" % (name, 1000 * statistics.median(took))
            for name, took in found.items()
        )
        note("start: %d pairs; medians in ms: %s" % (pairs, figures))
        for name, base, most in STARTS:
            if base in found:
                row(
                    "%s, against %s" % (name, SPELLED.get(base, base)),
                    ratio(found, name, base),
                    most,
                    "x",
                )
        start_over_tls(folder, environ, door, pairs)


def lines_to_start(url, door):
    """Return {name: command} for all that is here."""
    python = [sys.executable]
    lines = {
        "pass": python + ["-c", "pass"],
        "imports": python + ["-c", IMPORTS],
        "argparse": python + ["-c", "import argparse"],
        "get": python + [door, "get", TASK],
        "help": python + [door, "--help"],
        "version": python + [door, "--version"],
    }
    for name, code in ONE_CALL.items():
        if has(name):
            lines[name] = python + ["-c", code % url]
        else:
            cannot("start against " + name, "this Python has no " + name)
    if missing_programs("curl", "jq"):
        cannot("start against curl and jq", "one of them is missing")
    else:
        lines["curl"] = [
            "sh",
            "-c",
            "curl -s -H 'API_KEY: %s' %s | jq -r .status" % (KEY, url),
        ]
    return lines


def start_over_tls(folder, environ, door, pairs):
    """The same get over TLS, against the imports plus one default context."""
    if missing_programs("openssl"):
        return cannot("start over TLS", "openssl is missing")
    ca = make_certificate(folder)
    with Process("api", ca, os.path.join(folder, "leaf.key")) as api:
        for name, variable in (
            ("the system's certificates and one more", "CURL_CA_BUNDLE"),
            ("REBYTE_CA_BUNDLE", "REBYTE_CA_BUNDLE"),
        ):
            found = compare(
                {
                    "get": (
                        [sys.executable, door, "get", TASK],
                        dict(environ, REBYTE_BASE_URL=api.tls, **{variable: ca}),
                    ),
                    "imports": (
                        [
                            sys.executable,
                            "-c",
                            IMPORTS + "; ssl.create_default_context()",
                        ],
                        environ,
                    ),
                },
                pairs,
            )
            row(
                "get over TLS (%s), against imports and a context" % name,
                ratio(found, "get", "imports"),
                1.3,
                "x",
            )
    return None


def trips(pairs=5):
    """Print how many round trips thirty reads in one process take, over TLS through a relay of 50
    ms.
    """
    if missing_programs("openssl"):
        return cannot("round trips", "openssl is missing")
    with far_away(ROUND_TRIP_SECONDS) as (api, relay, ca):
        peers = [name for name in MANY_CALLS if name in ("ours", "urllib") or has(name)]
        for name in sorted(set(MANY_CALLS) - set(peers)):
            cannot("round trips against " + name, "this Python has no " + name)
        found = medians(
            {name: lambda name=name: read_many(name, relay.tls, ca) for name in peers},
            pairs,
        )
        before = api.counts(ca)[0]
        read_many("ours", relay.tls, ca)
        # One of those connections asked for the count.
        opened = api.counts(ca)[0] - before - 1
    row(
        "%d reads at 50 ms over TLS, in round trips" % READS,
        statistics.median(found["ours"]) / ROUND_TRIP_SECONDS,
        1.15 * IDEAL_TRIPS,
    )
    row("connections opened for %d reads" % READS, opened, 1)
    for name in peers[1:]:
        row(
            "%d reads: %s takes this many times as long" % (READS, name),
            ratio(found, name, "ours"),
            LEAST_TIMES_AS_LONG.get(name),
            "x",
            most=False,
        )
    return None


def read_many(name, url, ca):
    """Read thirty times in a process of its own; return the seconds without its start."""
    code = HEAD + MANY_CALLS[name] % (READS, TASK) + TAIL
    done = subprocess.run(
        [sys.executable, "-c", code, url, ca, SCRIPTS],
        check=True,
        env=dict(os.environ, REBYTE_CA_BUNDLE=ca, REQUESTS_CA_BUNDLE=ca),
        stdout=subprocess.PIPE,
    )
    return float(done.stdout)


def run_batch(url, ca, width):
    """Run the tasks through `batch` in a new state folder, so that nothing is reused; the answers
    have to be there.
    """
    with new_folder() as folder:
        with open(os.path.join(folder, "jobs.jsonl"), "w", encoding="ascii") as file:
            file.writelines(
                json.dumps({"prompt": "work %g %d" % (TASK_SECONDS, number)}) + "\n"
                for number in range(1, TASKS + 1)
            )
        words = [
            sys.executable,
            DOOR,
            "batch",
            "jobs.jsonl",
            "--out",
            "out",
            "--max-tasks",
            str(TASKS),
            "--max-wait",
            "300",
        ]
        words += [] if width == DEFAULT_WIDTH else ["--concurrency", str(width)]
        ran = timed(words, environment(url, folder, ca), folder)
        with open(
            os.path.join(folder, "out", "results.jsonl"), encoding="ascii"
        ) as file:
            answers = [json.loads(line).get("answer") for line in file]
    assert answers == [ANSWER] * TASKS, answers
    return ran


def run_curl(url, ca, tasks, width, poll_seconds):
    """Run the tasks through curl and jq, so many at once; the answers have to be there."""
    with new_folder() as folder:
        with open(os.path.join(folder, "one.sh"), "w", encoding="ascii") as file:
            file.write(ONE_TASK % (TASK_SECONDS, poll_seconds))
        answers = []
        ran = timed(
            ["sh", "-c", "seq %d | xargs -P %d -I N sh one.sh N" % (tasks, width)],
            environment(url, folder, ca),
            folder,
            answers.append,
        )
    assert answers == [ANSWER.encode() + b"\n"] * tasks, answers
    return ran


def fan_out(pairs=3):
    """Print the forty tasks at the usual width and all at once, beside the ideal, xargs and the
    seeds.
    """
    if missing_programs("openssl"):
        return cannot("fan-out", "openssl is missing")
    with far_away(ROUND_TRIP_SECONDS) as (api, relay, ca):
        ours = [
            one_width(api, relay, ca, width, pairs) for width in (DEFAULT_WIDTH, TASKS)
        ][0]
        if not missing_programs("curl", "jq", "xargs"):
            loop = (
                run_curl(relay.tls, ca, SEEDS_TASKS, 1, SEEDS_POLL_SECONDS).seconds
                * TASKS
                / SEEDS_TASKS
            )
            row(
                "fan-out of %d: the seeds' loop (%d tasks, scaled) takes this many times as long"
                % (TASKS, SEEDS_TASKS),
                loop / ours,
                None,
                "x",
            )
    return None


def one_width(api, relay, ca, width, pairs):
    """Compare one width and print its rows; return the median seconds of ours."""
    cpu, counts = {"ours": [], "xargs": []}, {}

    def counted(name, run, *words):
        before = api.counts(ca)
        ran = run(relay.tls, ca, *words)
        cpu[name].append(ran.cpu)
        # One connection more asked for the counts.
        connections, requests = (
            now - then for now, then in zip(api.counts(ca), before)
        )
        counts[name] = "%.1f requests on %.1f connections" % (
            requests / TASKS,
            (connections - 1) / TASKS,
        )
        return ran.seconds

    runs = {"ours": lambda: counted("ours", run_batch, width)}
    missing = missing_programs("curl", "jq", "xargs")
    if missing:
        cannot(
            "fan-out against xargs -P over curl and jq",
            "missing: " + ", ".join(missing),
        )
    else:
        runs["xargs"] = lambda: counted(
            "xargs", run_curl, TASKS, width, XARGS_POLL_SECONDS
        )
    found = medians(runs, pairs)
    ours, name = (
        statistics.median(found["ours"]),
        "fan-out of %d, %d wide" % (TASKS, width),
    )
    best = 2 * ROUND_TRIP_SECONDS + math.ceil(TASKS / width) * (
        TASK_SECONDS + ROUND_TRIP_SECONDS
    )
    note(
        "%s: ideal %.2f s; %s"
        % (
            name,
            best,
            "; ".join(
                "%s %.2f s, a task makes %s"
                % (who, statistics.median(took), counts[who])
                for who, took in found.items()
            ),
        )
    )
    row(name + ": against the ideal", ours / best, TIMES_THE_IDEAL, "x")
    row(
        name + ": CPU milliseconds a task",
        1000 * statistics.median(cpu["ours"]) / TASKS,
        None,
        " ms",
    )
    if "xargs" in found:
        row(
            name + ": against xargs -P, curl and jq each second",
            ratio(found, "ours", "xargs"),
            1.0,
            "x",
        )
        row(name + ": CPU time against theirs", ratio(cpu, "ours", "xargs"), None, "x")
    return ours


PARTS = {
    "start": start,
    "trips": trips,
    "fan-out": fan_out,
    "stream": streams.stream,
    "bytes": bytes_bench.main,
    "growth": streams.growth,
}


def run(names):
    """Run the parts that are named, or all."""
    began = time.monotonic()
    print(place())
    for name in names or PARTS:
        PARTS[name]()
    note(
        "%d rows, %d of them missed, after %d s; not run: %s"
        % (
            len(ROWS),
            sum(row[-1] for row in ROWS),
            time.monotonic() - began,
            "; ".join(MISSING) or "nothing, all was here",
        )
    )


def main(words):
    """Run what the command line names and print it in the form that it asks for."""
    names = [word for word in words if word != "--markdown"]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise SystemExit(
            "no such part: %s; there are %s" % (", ".join(unknown), ", ".join(PARTS))
        )
    if names == words:
        return run(names)
    with contextlib.redirect_stdout(sys.stderr):
        run(names)
    print(markdown())
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
