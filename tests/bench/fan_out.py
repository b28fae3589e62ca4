"""Fan-out: start, wait for and answer forty tasks of three seconds, 50 ms away over TLS.

    python3 tests/bench/fan_out.py [tasks] [wait]

The ideal for N tasks, W wide, each taking T seconds at a round trip of R:

    2 R + ceil(N / W) * (T + R)

One connection is opened (TCP and TLS, a round trip each) and kept. A task costs its own time and one round trip: half of it
until the start is there, half of it until the answer is back. Nothing is asked, and nobody computes anything.
"""
from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time

from pairs import DOOR, KEY, cannot, environment, medians, note, ratio, row, timed
from stub import ANSWER, Process, far_away

TASKS, TASK_SECONDS, ROUND_TRIP_SECONDS = 40, 3.0, 0.05
DEFAULT_WIDTH = 8
WIDTHS = (DEFAULT_WIDTH, TASKS)
TIMES_THE_IDEAL = 1.3
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
WAITED_TASKS, ENDS_APART_SECONDS = 50, 1.5


def ideal(tasks, width):
    """Return the seconds that so many tasks take at best (see above)."""
    return 2 * ROUND_TRIP_SECONDS + math.ceil(tasks / width) * (TASK_SECONDS + ROUND_TRIP_SECONDS)


def run_batch(url, ca, width, tasks=TASKS):
    """Run the tasks through `batch` in a new state folder, so that nothing is reused; the answers have to be there."""
    with tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder:
        with open(os.path.join(folder, "jobs.jsonl"), "w", encoding="ascii") as file:
            file.writelines(json.dumps({"prompt": "work %g %d" % (TASK_SECONDS, number)}) + "\n" for number in range(1, tasks + 1))
        words = [sys.executable, DOOR, "batch", "jobs.jsonl", "--out", "out", "--max-tasks", str(tasks), "--max-wait", "300"]
        words += [] if width == DEFAULT_WIDTH else ["--concurrency", str(width)]
        ran = timed(words, environment(url, folder, ca), folder)
        with open(os.path.join(folder, "out", "results.jsonl"), encoding="ascii") as file:
            answers = [json.loads(line).get("answer") for line in file]
    assert answers == [ANSWER] * tasks, answers
    return ran


def run_curl(url, ca, tasks, width, poll_seconds):
    """Run the tasks through curl and jq, so many at once; the answers have to be there."""
    with tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder:
        with open(os.path.join(folder, "one.sh"), "w", encoding="ascii") as file:
            file.write(ONE_TASK % (TASK_SECONDS, poll_seconds))
        answers = []
        ran = timed(["sh", "-c", "seq %d | xargs -P %d -I N sh one.sh N" % (tasks, width)], environment(url, folder, ca), folder, answers.append)
    assert answers == [ANSWER.encode() + b"\n"] * tasks, answers
    return ran


def missing_programs():
    """Name what the other side of the comparison needs and is not here."""
    return [name for name in ("curl", "jq", "xargs") if not shutil.which(name)]


def tasks(pairs=3):
    """Print the forty tasks at the usual width and all at once, beside the ideal, xargs and the seeds."""
    if not shutil.which("openssl"):
        return cannot("fan-out", "openssl is missing")
    with far_away(ROUND_TRIP_SECONDS) as (api, relay, ca):
        ours = [fan_out(api, relay, ca, width, pairs) for width in WIDTHS][0]
        if not missing_programs():
            loop = run_curl(relay.tls, ca, SEEDS_TASKS, 1, SEEDS_POLL_SECONDS).seconds * TASKS / SEEDS_TASKS
            row("fan-out of %d: the seeds' loop (%d tasks, scaled) takes this many times as long" % (TASKS, SEEDS_TASKS), loop / ours, None, "x")


def fan_out(api, relay, ca, width, pairs):
    """Compare one width and print its rows; return the median seconds of ours."""
    cpu, counts = {"ours": [], "xargs": []}, {}

    def counted(name, run, *words):
        before = api.counts(ca)
        ran = run(relay.tls, ca, *words)
        cpu[name].append(ran.cpu)
        # One connection more asked for the counts.
        connections, requests = (now - then for now, then in zip(api.counts(ca), before))
        counts[name] = "%.1f requests on %.1f connections" % (requests / TASKS, (connections - 1) / TASKS)
        return ran.seconds
    runs = {"ours": lambda: counted("ours", run_batch, width)}
    if missing_programs():
        cannot("fan-out against xargs -P over curl and jq", "missing: " + ", ".join(missing_programs()))
    else:
        runs["xargs"] = lambda: counted("xargs", run_curl, TASKS, width, XARGS_POLL_SECONDS)
    found = medians(runs, pairs)
    ours = statistics.median(found["ours"])
    best, name = ideal(TASKS, width), "fan-out of %d, %d wide" % (TASKS, width)
    note("%s: ideal %.2f s; %s" % (name, best, "; ".join(
        "%s %.2f s, a task makes %s" % (who, statistics.median(took), counts[who]) for who, took in found.items())))
    row(name + ": against the ideal", ours / best, TIMES_THE_IDEAL, "x")
    row(name + ": CPU milliseconds a task", 1000 * statistics.median(cpu["ours"]) / TASKS, None, " ms")
    if "xargs" in found:
        row(name + ": against xargs -P, curl and jq each second", ratio(found, "ours", "xargs"), 1.0, "x")
        row(name + ": CPU time against theirs", ratio(cpu, "ours", "xargs"), None, "x")
    return ours


def wait():
    """Wait for fifty tasks that end one after another; print requests a second, memory, and how late an end is noticed."""
    from rebyte_client import RebyteClient
    with tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder, Process("api") as api:
        with RebyteClient(KEY, api.plain) as client:
            began = time.time()
            ends = {client.create_task("work %g" % (2 + ENDS_APART_SECONDS * number))["id"]: began + 2 + ENDS_APART_SECONDS * number
                    for number in range(WAITED_TASKS)}
        late = []

        def notice(line):
            words = line.decode().split()
            if len(words) > 2 and words[1].rstrip(":") in ends:
                late.append(time.time() - ends[words[1].rstrip(":")])
        before = api.counts()[1]
        ran = timed([sys.executable, DOOR, "wait", "--all", "--max-wait", "300"] + list(ends), environment(api.plain, folder), on_line=notice)
        asked = api.counts()[1] - before
    assert len(late) == WAITED_TASKS, late
    row("wait --all of %d that end one after another: requests a second" % WAITED_TASKS, asked / ran.seconds)
    row("wait --all: an end is noticed after, median", statistics.median(late), None, " s")
    row("wait --all: an end is noticed after, at most", max(late), None, " s")
    row("wait --all: peak", ran.peak, None, " MB")


if __name__ == "__main__":
    for part in sys.argv[1:] or ["tasks"]:
        {"tasks": tasks, "wait": wait}[part]()
