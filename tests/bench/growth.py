"""Growth: the same work at 1x and 10x, with the exponent; 1.0 is linear.

    python3 tests/bench/growth.py
"""
from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time

from pairs import SCRIPTS, row
from stub import stream_bytes

sys.path.insert(0, SCRIPTS)
from rebyte_client import RebyteClient  # noqa: E402
from rebyte_flows.ledger import open_ledger  # noqa: E402
from rebyte_flows.orders import Order  # noqa: E402
from rebyte_flows.sightings import Sightings  # noqa: E402
from rebyte_flows.state import StateFolder  # noqa: E402
from rebyte_wire.sse import events  # noqa: E402

ROWS, EVENTS, ROUNDS, CHUNK_BYTES = 200, 20_000, 3, 16 * 1024


def seconds(work):
    """Return how long a piece of work takes, the median of a few rounds."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def write_rows(count):
    """Claim and answer that many starts in a new ledger, and read them back."""
    with tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder, RebyteClient("rbk_bench", "http://127.0.0.1:9") as client:
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


def main():
    """Print the exponents."""
    for name, make, size in (("ledger, one row after another", lambda count: lambda: write_rows(count), ROWS), ("stream, decoded", decode, EVENTS),
                             ("stream, told apart", sight, EVENTS)):
        small, large = seconds(make(size)), seconds(make(10 * size))
        row("growth of %s: exponent from %d to %d" % (name, size, 10 * size), math.log10(large / small), 1.1)


if __name__ == "__main__":
    main()
