"""Streams: events a second of the decoder and of `watch`, and the delay of each event at a thousand a second.

    python3 tests/bench/stream.py [speed] [delay] [memory]

Beside them: httpx-sse, plain lines of urllib, and a raw count.
"""
from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time

from pairs import DOOR, KEY, SCRIPTS, cannot, environment, has, medians, note, ratio, row, timed
from stub import EVENTS, TASK, Process, stream_bytes

from rebyte_client import RebyteClient
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


def has_httpx_sse():
    """Say whether this Python has the peer."""
    return has("httpx_sse") and has("httpx")


def decoders(data):
    """Return {name: function that reads all of the bytes and returns how many events}."""
    chunks = [data[place:place + CHUNK_BYTES] for place in range(0, len(data), CHUNK_BYTES)]
    found = {"ours": lambda: sum(1 for _ in events(iter(chunks))), "raw count": lambda: data.count(b"\n\n"),
             "plain lines": lambda: sum(line.startswith(b"data:") for line in data.split(b"\n"))}
    if has_httpx_sse():
        import httpx
        import httpx_sse
        head = {"Content-Type": "text/event-stream"}
        found["httpx-sse"] = lambda: sum(1 for _ in httpx_sse.EventSource(httpx.Response(200, headers=head, content=iter(chunks))).iter_sse())
    else:
        cannot("streams against httpx-sse", "this Python has no httpx_sse")
    return found


def clocked(work, expected):
    """Run something and return its seconds; it has to count what was sent."""
    began = time.perf_counter()
    assert work() == expected
    return time.perf_counter() - began


def speed(pairs=7):
    """Print the ratios of decoding and of watching."""
    data = stream_bytes()
    found = medians({name: lambda work=work: clocked(work, EVENTS + 1) for name, work in decoders(data).items()}, pairs)
    note("stream: %d events of %d bytes; events a second: %s" % (EVENTS, len(data) // EVENTS, ", ".join(
        "%s %.0f" % (name, EVENTS / statistics.median(took)) for name, took in found.items())))
    row("decoder: events a second against plain lines", ratio(found, "plain lines", "ours"), None, "x", most=False)
    if "httpx-sse" in found:
        row("decoder: events a second against httpx-sse", ratio(found, "httpx-sse", "ours"), 1.3, "x", most=False)
    watch_speed(pairs)


def watch_speed(pairs):
    """Compare whole processes that print each event."""
    with Process("api") as api, tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder:
        lines = {name: [sys.executable, DOOR] + name.split()[:1] + [TASK] + name.split()[1:] for name in ("watch", "watch --raw")}
        if has_httpx_sse():
            lines["httpx-sse"] = [sys.executable, "-c", HTTPX_SSE % ("seq", False), api.plain + "/v1/tasks/%s/events" % TASK, KEY]
        environ = environment(api.plain, folder)
        found = medians({name: lambda words=words: timed(words, environ).seconds for name, words in lines.items()}, pairs)
        for name in ("watch", "watch --raw"):
            row("%s, whole process: events a second" % name, EVENTS / statistics.median(found[name]))
            if "httpx-sse" in found:
                row("%s: events a second against httpx-sse with json.loads" % name, ratio(found, "httpx-sse", name), 0.8, "x", most=False)


def delay(pairs=3):
    """Print how late an event is, from the moment it leaves the server to the line that the reader's process prints."""
    with Process("api") as api, tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder, RebyteClient(KEY, api.plain) as client:
        task_id = client.create_task("pace %d %d" % (PACED_EVENTS, EVENTS_PER_SECOND))["id"]
        url = api.plain + "/v1/tasks/%s/events" % task_id
        lines = {"watch": [sys.executable, DOOR, "watch", task_id], "the decoder": [sys.executable, "-c", DECODER, url, KEY, SCRIPTS],
                 "plain lines of urllib": [sys.executable, "-c", LINES, url, KEY]}
        if has_httpx_sse():
            lines["httpx-sse"] = [sys.executable, "-c", HTTPX_SSE % ("payload", True), url, KEY]
        environ = environment(api.plain, folder)
        late = {name: [] for name in lines}
        medians({name: lambda name=name: late[name].append(delays(lines[name], environ)) or 0 for name in lines}, pairs)
    for name, runs in late.items():
        typical, worst = (statistics.median(run[len(run) * part // 100] for run in runs) for part in (50, 99))
        note("%s: an event is %.2f ms late, 99 of 100 less than %.2f ms (%d runs of %d events)" % (name, typical, worst, len(runs), PACED_EVENTS))
        row("delay of an event at %s a second, median: %s" % ("{:,}".format(EVENTS_PER_SECOND), name), typical,
            DELAY_MOST_MS if name in ("watch", "the decoder") else None, " ms")


def delays(words, environ):
    """Run a reader of the paced stream; return, sorted, how many milliseconds after its stamp each line came."""
    came = []
    timed(words, environ, on_line=lambda line: came.append((time.time(), line)))
    found = sorted((moment - float(stamp.group())) * 1000 for moment, line in came for stamp in [STAMP.search(line)] if stamp)
    assert len(found) == PACED_EVENTS, (words, len(found), came[-3:])
    return found


def memory():
    """Print the peak of `watch` over fifty megabytes."""
    with Process("api") as api, tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder, RebyteClient(KEY, api.plain) as client:
        task_id = client.create_task("burst %d" % LONG_EVENTS)["id"]
        ran = timed([sys.executable, DOOR, "watch", task_id, "--max-wait", "300", "--raw"], environment(api.plain, folder))
    row("watch over %s events (%d MB): peak" % ("{:,}".format(LONG_EVENTS), len(stream_bytes(LONG_EVENTS)) // 1_000_000), ran.peak, None, " MB")


PARTS = {"speed": speed, "delay": delay, "memory": memory}


def main():
    """Run all three."""
    for part in PARTS.values():
        part()


if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
