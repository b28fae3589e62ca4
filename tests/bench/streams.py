"""Streams: events a second of the decoder and of `watch`, the delay of each event at a thousand a
second, the peak; beside them httpx-sse, plain lines of urllib, and a raw count. Growth: the same
work at 1x and 10x, with the exponent; 1.0 is linear.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import statistics
import sys
import time

from pairs import (
    DOOR,
    KEY,
    SCRIPTS,
    cannot,
    compare,
    environment,
    has,
    medians,
    new_folder,
    note,
    ratio,
    row,
    timed,
)
from stub import EVENTS, TASK, Process, stream_bytes

from rebyte_client import RebyteClient
from rebyte_commands.runner import run_line
from rebyte_flows.following.deduplication import EventDeduplicator
from rebyte_flows.following.waiting import wait
from rebyte_flows.starting.ledger import open_ledger
from rebyte_flows.starting.requests import task_request
from rebyte_flows.state import StateFolder
from rebyte_wire.sse import events

CHUNK_BYTES = 16 * 1024
PACED_EVENTS, EVENTS_PER_SECOND, DELAY_MOST_MS = 3000, 1000, 2
LONG_EVENTS = 200_000
STAMP = re.compile(rb"\d{10}\.\d{6}")
HTTPX_SSE = """
import httpx, httpx_sse, json, sys
with httpx.stream("GET", sys.argv[1], headers={"API_KEY": sys.argv[2]}, timeout=60) as answer:
    for event in httpx_sse.EventSource(answer).iter_sse():
        print(event.event, json.loads(event.data).get("%s"), flush=%s)
"""
LINES = """
import sys, urllib.request
for line in urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers={"API_KEY": sys.argv[2]})):
    if line.startswith(b"data:"): print(line.decode().strip(), flush=True)
"""
DECODER = """
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[3])
from rebyte_client import RebyteClient
with RebyteClient(sys.argv[2], sys.argv[1].partition("/tasks")[0]) as client:
    for event in client.stream_events(sys.argv[1].split("/")[-2]): print(event.data, flush=True)
"""
ROWS, KEPT_ROWS, TASKS, GROWN_EVENTS, ROUNDS = 200, 1_000, 100, 20_000, 5
EXPONENT_MOST = 1.1


def pieces(data):
    """Return bytes in the pieces that a socket would give."""
    return [
        data[place : place + CHUNK_BYTES] for place in range(0, len(data), CHUNK_BYTES)
    ]


def decoders(data):
    """Return {name: function that reads all of the bytes and returns how many events}."""
    chunks = pieces(data)
    found = {
        "ours": lambda: sum(1 for _ in events(iter(chunks))),
        "raw count": lambda: data.count(b"\n\n"),
        "plain lines": lambda: sum(
            line.startswith(b"data:") for line in data.split(b"\n")
        ),
    }
    if has("httpx_sse", "httpx"):
        import httpx
        import httpx_sse

        head = {"Content-Type": "text/event-stream"}

        def read():
            answer = httpx.Response(200, headers=head, content=iter(chunks))
            return sum(1 for _ in httpx_sse.EventSource(answer).iter_sse())

        found["httpx-sse"] = read
    else:
        cannot("streams against httpx-sse", "this Python has no httpx_sse")
    return found


def clocked(work, expected):
    """Run something and return its seconds; it has to count what was sent."""
    began = time.perf_counter()
    assert work() == expected
    return time.perf_counter() - began


def stream():
    """Print how fast, how late and how large."""
    speed()
    with Process("api") as api, new_folder() as folder, RebyteClient(
        KEY, api.plain
    ) as client:
        environ = environment(api.plain, folder)
        watch_speed(api, environ)
        delay(
            api,
            environ,
            client.create_task("pace %d %d" % (PACED_EVENTS, EVENTS_PER_SECOND))["id"],
        )
        long = client.create_task("burst %d" % LONG_EVENTS)["id"]
        peak = timed(
            [sys.executable, DOOR, "watch", long, "--max-wait", "300", "--raw"], environ
        ).peak
    row(
        "watch over %s events (%d MB): peak"
        % ("{:,}".format(LONG_EVENTS), len(stream_bytes(LONG_EVENTS)) // 1_000_000),
        peak,
        None,
        " MB",
    )


def speed(pairs=7):
    """Print the ratios of decoding."""
    data = stream_bytes()
    found = medians(
        {
            name: lambda work=work: clocked(work, EVENTS + 1)
            for name, work in decoders(data).items()
        },
        pairs,
    )
    note(
        "stream: %d events of %d bytes; events a second: %s"
        % (
            EVENTS,
            len(data) // EVENTS,
            ", ".join(
                "%s %.0f" % (name, EVENTS / statistics.median(took))
                for name, took in found.items()
            ),
        )
    )
    row(
        "decoder: events a second against plain lines",
        ratio(found, "plain lines", "ours"),
        None,
        "x",
        most=False,
    )
    if "httpx-sse" in found:
        row(
            "decoder: events a second against httpx-sse",
            ratio(found, "httpx-sse", "ours"),
            1.5,
            "x",
            most=False,
        )


def readers(url, environ, words, field, flush):
    """Return {name: arguments of timed} for the lines of `watch`, and for httpx-sse where it is."""
    found = {
        name: ([sys.executable, DOOR] + line, environ) for name, line in words.items()
    }
    if has("httpx_sse", "httpx"):
        found["httpx-sse"] = (
            [sys.executable, "-c", HTTPX_SSE % (field, flush), url, KEY],
            environ,
        )
    return found


def watch_speed(api, environ, pairs=7):
    """Compare whole processes that print each event."""
    words = {"watch": ["watch", TASK], "watch --raw": ["watch", TASK, "--raw"]}
    found = compare(
        readers(api.plain + "/v1/tasks/%s/events" % TASK, environ, words, "seq", False),
        pairs,
    )
    for name in words:
        row(
            "%s, whole process: events a second" % name,
            EVENTS / statistics.median(found[name]),
        )
        if "httpx-sse" in found:
            row(
                "%s: events a second against httpx-sse with json.loads" % name,
                ratio(found, "httpx-sse", name),
                1.0,
                "x",
                most=False,
            )


def delay(api, environ, task_id, pairs=3):
    """Print how late an event is, from the moment it leaves the server to the line that the
    reader's process prints.
    """
    url = api.plain + "/v1/tasks/%s/events" % task_id
    commands = dict(
        readers(url, environ, {"watch": ["watch", task_id]}, "payload", True)
    )
    commands["the decoder"] = (
        [sys.executable, "-c", DECODER, url, KEY, SCRIPTS],
        environ,
    )
    commands["plain lines of urllib"] = (
        [sys.executable, "-c", LINES, url, KEY],
        environ,
    )
    names = [
        name
        for name in ("watch", "the decoder", "plain lines of urllib", "httpx-sse")
        if name in commands
    ]
    late = {name: [] for name in names}
    medians(
        {
            name: lambda name=name: late[name].append(delays(*commands[name]))
            for name in names
        },
        pairs,
    )
    for name, runs in late.items():
        typical, worst = (
            statistics.median(run[len(run) * part // 100] for run in runs)
            for part in (50, 99)
        )
        note(
            "%s: an event is %.2f ms late, 99 of 100 less than %.2f ms (%d runs of %d events)"
            % (name, typical, worst, len(runs), PACED_EVENTS)
        )
        row(
            "delay of an event at %s a second, median: %s"
            % ("{:,}".format(EVENTS_PER_SECOND), name),
            typical,
            DELAY_MOST_MS if name in ("watch", "the decoder") else None,
            " ms",
        )


def delays(words, environ):
    """Run a reader of the paced stream; return, sorted, how many milliseconds after its stamp each
    line came.
    """
    came = []
    timed(words, environ, on_line=lambda line: came.append((time.time(), line)))
    found = sorted(
        (moment - float(stamp.group())) * 1000
        for moment, line in came
        for stamp in [STAMP.search(line)]
        if stamp
    )
    assert len(found) == PACED_EVENTS, (words, len(found), came[-3:])
    return found


# Growth.


def seconds(work):
    """Return how long a piece of work takes: the least of a few rounds, since others only add to
    it.
    """
    return min(clocked(work, None) for _ in range(ROUNDS))


def write_rows(count):
    """Claim and answer that many starts in a new ledger, and read them back."""
    with new_folder() as folder, RebyteClient(KEY, "http://127.0.0.1:9") as client:
        ledger = open_ledger(client, StateFolder(folder))
        for number in range(count):
            row, _ = ledger.claim(task_request("task %d" % number))
            ledger.mark_sent(row.id, prompt_digest="d")
            ledger.record(row.id, state="created", task_id="t%d" % number)
            ledger.release(row.id)
        assert len(ledger.started_tasks()) == count
        ledger.close()


def decode(chunks):
    """Decode a stream."""
    assert sum(1 for _ in events(iter(chunks)))


def sight(count):
    """Tell that many events apart, over two connects that replay all of them."""
    seen = EventDeduplicator()
    for _ in range(2):
        seen.begin_connect()
        for number in range(count):
            seen.is_new({"seq": number, "eventKey": "k%d" % number})


def list_tasks(url, count):
    """Run `list` in this process, beside a stub that gives as many rows as are asked for; a real
    page ends at 100.
    """
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert (
            run_line(
                ["list", "--limit", str(count), "--quiet", "--base-url", url],
                "rebyte_cli.py",
                time.time(),
            )
            == 0
        )
    assert json.loads(out.getvalue())["total"] >= count


def wait_for(client, ids):
    """Wait for tasks, all of them over, on a clock that only sleeping moves: what is measured is
    work and not the pauses.
    """
    now = [0.0]

    def sleep(pause):
        now[0] += max(pause, 0.0001)

    assert sum(1 for _ in wait(client, ids, sleep=sleep)) == len(ids)


def fill(state, url, count):
    """Write a ledger of so many delivered starts, and the batch that made them with all its
    results.
    """
    with RebyteClient(KEY, url) as client:
        ledger = open_ledger(client, StateFolder(state))
    out, now = os.path.join(state, "out"), time.time()
    os.makedirs(out)
    with ledger._database.transaction("fill the ledger"), open(
        os.path.join(state, "jobs.jsonl"), "w"
    ) as jobs, open(os.path.join(out, "results.jsonl"), "w") as results:
        for n in range(count):
            number = ledger._insert(task_request("task %d" % n), "n%d" % n, None, False)
            task_id = "%08x-0000-4000-8000-%012x" % (n, n)
            ledger.update(
                number,
                state="created",
                task_id=task_id,
                answered_at=now,
                status="completed",
                delivered_at=now,
            )
            jobs.write(json.dumps({"once": "n%d" % n, "prompt": "task %d" % n}) + "\n")
            results.write(
                json.dumps(
                    {
                        "index": n + 1,
                        "id": task_id,
                        "status": "completed",
                        "answer": "fine %d" % n,
                    }
                )
                + "\n"
            )
    ledger.close()


def over_kept_rows(url, folder, words):
    """Return what makes the run of a command line over a ledger of that many rows, as a process."""

    def make(count):
        there = os.path.join(folder, "%s-%d" % (words[0], count))
        state = os.path.join(there, "state")
        os.makedirs(state)
        fill(state, url, count)
        command = [sys.executable, DOOR] + words, environment(url, there), state
        ran = timed(*command)
        note(
            "%s over %d rows: %.2f s, peak %.1f MB"
            % (words[0], count, ran.seconds, ran.peak)
        )
        return lambda: timed(*command) and None

    return make


def growth():
    """Print the exponents."""
    before = dict(os.environ)
    with Process("api") as api, RebyteClient(
        KEY, api.plain
    ) as client, new_folder() as folder:
        os.environ.update(environment(api.plain, folder))
        ids = [client.create_task("work 0")["id"] for _ in range(10 * TASKS)]

        def decoding(count):
            chunks = pieces(stream_bytes(count))
            return lambda: decode(chunks)

        works = (
            (
                "ledger, one row after another",
                lambda count: lambda: write_rows(count),
                ROWS,
            ),
            (
                "ledger list of the last twenty",
                over_kept_rows(api.plain, folder, ["ledger", "list", "--limit", "20"]),
                KEPT_ROWS,
            ),
            (
                "batch, all lines done before",
                over_kept_rows(
                    api.plain, folder, ["batch", "jobs.jsonl", "--out", "out"]
                ),
                KEPT_ROWS,
            ),
            ("list", lambda count: lambda: list_tasks(api.plain, count), TASKS),
            (
                "wait, all of them over",
                lambda count: lambda: wait_for(client, ids[:count]),
                TASKS,
            ),
            ("stream, decoded", decoding, GROWN_EVENTS),
            ("stream, told apart", lambda count: lambda: sight(count), GROWN_EVENTS),
        )
        for name, make, size in works:
            small, large = seconds(make(size)), seconds(make(10 * size))
            row(
                "growth of %s: exponent from %s to %s"
                % (name, "{:,}".format(size), "{:,}".format(10 * size)),
                math.log10(large / small),
                EXPONENT_MOST,
            )
    os.environ.clear()
    os.environ.update(before)
