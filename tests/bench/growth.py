"""Growth: the same work at 1x and 10x, with the exponent; 1.0 is linear.

    python3 tests/bench/growth.py
"""
from __future__ import annotations

import contextlib
import io
import json
import math
import os
import sys
import tempfile
import time

from pairs import DOOR, KEY, environment, note, row, timed
from stub import Process, stream_bytes

from rebyte_client import RebyteClient
from rebyte_commands.running import run_line
from rebyte_flows.ledger import open_ledger
from rebyte_flows.orders import Order
from rebyte_flows.sightings import Sightings
from rebyte_flows.state import StateFolder
from rebyte_flows.waiting import wait
from rebyte_wire.sse import events

ROWS, KEPT_ROWS, TASKS, EVENTS, ROUNDS, CHUNK_BYTES = 200, 1_000, 100, 20_000, 5, 16 * 1024
EXPONENT_MOST = 1.1


def seconds(work):
    """Return how long a piece of work takes: the least of a few rounds, since others only add to it."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took)


def write_rows(count):
    """Claim and answer that many starts in a new ledger, and read them back."""
    with tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder, RebyteClient(KEY, "http://127.0.0.1:9") as client:
        ledger = open_ledger(client, StateFolder(folder))
        for number in range(count):
            order = Order("task %d" % number)
            ledger.earlier(order, None)
            claimed = ledger.claim(order, None, prompt_digest="d", known=(), may_start=lambda row: True, limits=lambda count: None)
            ledger.note(claimed, state="created", holder=None, task_id="t%d" % number)
        assert len(ledger.started_tasks()) == count
        ledger.close()


def decode(count):
    """Decode a stream of that many events."""
    data = stream_bytes(count)
    return lambda: sum(1 for _ in events(data[place:place + CHUNK_BYTES] for place in range(0, len(data), CHUNK_BYTES)))


def sight(count):
    """Tell that many events apart, over two connects that replay all of them."""
    def work():
        seen = Sightings()
        for _ in range(2):
            seen.begin_connect()
            for number in range(count):
                seen.is_new({"seq": number, "eventKey": "k%d" % number})
    return work


def list_tasks(url, folder):
    """Run `list` in this process, beside a stub that gives as many rows as are asked for; a real page ends at 100."""
    def make(count):
        def work():
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                assert run_line(["list", "--limit", str(count), "--quiet", "--base-url", url], "rebyte_cli.py", time.time()) == 0
            assert json.loads(out.getvalue())["total"] >= count
        return work
    os.environ.update(environment(url, folder))
    return make


class Clock:
    """A clock that only sleeping moves, so that what is measured is work and not the pauses between requests."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        """Let the time pass at once; no real pause is shorter."""
        self.now += max(seconds, 0.0001)


def wait_for(client, ids):
    """Wait for that many tasks, all of them over."""
    def make(count):
        def work():
            clock = Clock()
            assert sum(1 for _ in wait(client, ids[:count], clock=lambda: clock.now, sleep=clock.sleep)) == count
        return work
    return make


def fill(state, url, count):
    """Write a ledger of so many delivered starts, and the batch that made them with all its results."""
    with RebyteClient(KEY, url) as client:
        ledger = open_ledger(client, StateFolder(state))
    out, now = os.path.join(state, "out"), time.time()
    os.makedirs(out)
    ledger._db.execute("BEGIN")
    with open(os.path.join(state, "jobs.jsonl"), "w") as jobs, open(os.path.join(out, "results.jsonl"), "w") as results:
        for n in range(count):
            number = ledger._insert(Order("task %d" % n), "n%d" % n, None, "digest", (), None)
            task_id = "%08x-0000-4000-8000-%012x" % (n, n)
            ledger._db.execute("UPDATE starts SET state='created', task_id=?, answered_at=?, status='completed', delivered_at=? WHERE id=?",
                               (task_id, now, now, number))
            jobs.write(json.dumps({"once": "n%d" % n, "prompt": "task %d" % n}) + "\n")
            results.write(json.dumps({"index": n + 1, "id": task_id, "status": "completed", "answer": "fine %d" % n}) + "\n")
    ledger._db.execute("COMMIT")
    ledger.close()


def over_kept_rows(url, folder, words):
    """Run a command line over a ledger of that many rows, as a process."""
    def make(count):
        there = os.path.join(folder, "%s-%d" % (words[0], count))
        state = os.path.join(there, "state")
        os.makedirs(state)
        fill(state, url, count)

        def run():
            return timed([sys.executable, DOOR] + words, environment(url, there), state)
        ran = run()
        note("%s over %d rows: %.2f s, peak %.1f MB" % (words[0], count, ran.seconds, ran.peak))
        return run
    return make


def main():
    """Print the exponents."""
    before = dict(os.environ)
    with Process("api") as api, RebyteClient(KEY, api.plain) as client, tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder:
        ids = [client.create_task("work 0")["id"] for _ in range(10 * TASKS)]
        works = (("ledger, one row after another", lambda count: lambda: write_rows(count), ROWS),
                 ("ledger list of the last twenty", over_kept_rows(api.plain, folder, ["ledger", "list", "--limit", "20"]), KEPT_ROWS),
                 ("batch, all lines done before", over_kept_rows(api.plain, folder, ["batch", "jobs.jsonl", "--out", "out"]), KEPT_ROWS),
                 ("list", list_tasks(api.plain, folder), TASKS), ("wait, all of them over", wait_for(client, ids), TASKS),
                 ("stream, decoded", decode, EVENTS), ("stream, told apart", sight, EVENTS))
        for name, make, size in works:
            small, large = seconds(make(size)), seconds(make(10 * size))
            row("growth of %s: exponent from %s to %s" % (name, "{:,}".format(size), "{:,}".format(10 * size)), math.log10(large / small), EXPONENT_MOST)
    os.environ.clear()
    os.environ.update(before)


if __name__ == "__main__":
    main()
