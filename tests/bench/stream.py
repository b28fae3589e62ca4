"""Streams: events a second of the decoder and of `watch`, against httpx-sse, plain lines, and a raw count.

    python3 tests/bench/stream.py [PAIRS]
The delay of each event is measured by follow.py.
"""
from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time

from pairs import DOOR, SCRIPTS, cannot, medians, ratio, row, timed
from start import TASK, has
from stub import EVENTS, Process, stream_bytes

sys.path.insert(0, SCRIPTS)
from rebyte_wire.sse import events  # noqa: E402

CHUNK_BYTES = 16 * 1024
HTTPX = """
import httpx, httpx_sse, json, sys
with httpx.stream("GET", sys.argv[1], headers={"API_KEY": "rbk_bench"}) as answer:
    for event in httpx_sse.EventSource(answer).iter_sse():
        print(event.event, json.loads(event.data).get("seq"))
"""


def decoders(data):
    """Return {name: function that reads all of the bytes and returns how many events}."""
    chunks = [data[place:place + CHUNK_BYTES] for place in range(0, len(data), CHUNK_BYTES)]
    found = {"ours": lambda: sum(1 for _ in events(iter(chunks))), "raw count": lambda: data.count(b"\n\n"),
             "plain lines": lambda: sum(line.startswith(b"data:") for line in data.split(b"\n"))}
    if has("httpx_sse") and has("httpx"):
        import httpx
        import httpx_sse
        head = {"Content-Type": "text/event-stream"}
        found["httpx-sse"] = lambda: sum(1 for _ in httpx_sse.EventSource(httpx.Response(200, headers=head, content=iter(chunks))).iter_sse())
    else:
        cannot("stream against httpx-sse", "this Python has no httpx_sse")
    return found


def clocked(work, expected):
    """Run something and return its seconds; it has to count what was sent."""
    began = time.perf_counter()
    assert work() == expected
    return time.perf_counter() - began


def main(pairs=7):
    """Print the ratios of decoding and of watching."""
    data = stream_bytes()
    found = medians({name: lambda work=work: clocked(work, EVENTS + 1) for name, work in decoders(data).items()}, pairs)
    print("stream: %d events of %d bytes; events a second: %s" % (EVENTS, len(data) // EVENTS, ", ".join(
        "%s %.0f" % (name, EVENTS / statistics.median(took)) for name, took in found.items())))
    row("decoder: events a second against plain lines", ratio(found, "plain lines", "ours"), None, "x", most=False)
    if "httpx-sse" in found:
        row("decoder: events a second against httpx-sse", ratio(found, "httpx-sse", "ours"), 1.3, "x", most=False)
    with Process("api") as api, tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder:
        url = "http://127.0.0.1:%d" % api.port
        environ = dict(os.environ, REBYTE_BASE_URL=url, REBYTE_API_KEY="rbk_bench", REBYTE_STATE_DIR=os.path.join(folder, "state"))
        lines = {"watch": [sys.executable, DOOR, "watch", TASK], "watch --raw": [sys.executable, DOOR, "watch", TASK, "--raw"]}
        if "httpx-sse" in found:
            lines["httpx-sse"] = [sys.executable, "-c", HTTPX, url + "/v1/tasks/%s/events" % TASK]
        found = medians({name: lambda words=words: timed(words, environ)[0] for name, words in lines.items()}, max(3, pairs // 2))
        for name in ("watch", "watch --raw"):
            row("%s, whole process: events a second" % name, EVENTS / statistics.median(found[name]))
            if "httpx-sse" in found:
                row("%s against httpx-sse with json.loads" % name, ratio(found, "httpx-sse", name), 0.8, "x", most=False)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
