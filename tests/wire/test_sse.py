"""The decoder against the published vectors, however the bytes are cut."""
from __future__ import annotations

import json
import os
import random
import time

import pytest

from rebyte_wire.sse import Decoder, events

with open(os.path.join(os.path.dirname(__file__), "sse-vectors.json"), encoding="utf-8") as file:
    VECTORS = json.load(file)


def cut(data, sizes):
    """Cut bytes into pieces whose sizes are taken in turn."""
    start = 0
    while start < len(data):
        size = next(sizes)
        yield data[start:start + size]
        start += size


def forever(choose):
    """Yield what `choose` gives, without end."""
    while True:
        yield choose()


WAYS = {"whole": lambda: forever(lambda: 1 << 30), "byte by byte": lambda: forever(lambda: 1),
        "by two": lambda: forever(lambda: 2), "by three": lambda: forever(lambda: 3)}
for seed in range(5):
    WAYS["random %d" % seed] = lambda seed=seed: forever(lambda dice=random.Random(seed): dice.randint(1, 9))


def decode(chunks):
    """Return what the chunks say, in the shape of the vectors."""
    decoder = Decoder()
    told = [event._asdict() for chunk in chunks for event in decoder.feed(chunk)]
    return [dict(event) for event in told], {"last_event_id": decoder.last_event_id, "retry": decoder.retry}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_a_vector_gives_its_events_however_it_is_cut(vector, way):
    data = bytes.fromhex(vector["input_hex"])
    assert decode(cut(data, WAYS[way]())) == (vector["expected"], vector["final"])


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "splits" in vector], ids=lambda vector: vector["name"])
def test_a_vector_gives_its_events_when_cut_where_it_asks(vector):
    data, edges = bytes.fromhex(vector["input_hex"]), [0] + vector["splits"] + [None]
    assert decode(data[a:b] for a, b in zip(edges, edges[1:])) == (vector["expected"], vector["final"])


def test_a_character_cut_in_the_middle_is_whole_again_and_a_broken_one_is_replaced():
    assert [event.data for event in events([b"data: \xe2\x80", b"\xa6\n\n", b"data: \xff\n\n"])] == ["\u2026", "\ufffd"]


def test_carriage_return_ends_a_line_without_waiting_for_more():
    assert [event.data for event in Decoder().feed(b"data: now\r\r")] == ["now"]


def test_the_separators_that_splitlines_would_cut_at_stay_in_the_data():
    odd = "a\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029b"
    assert [event.data for event in events([("data: %s\n\n" % odd).encode()])] == [odd]


def test_an_event_cut_before_its_empty_line_is_not_told():
    assert list(events([b"event: done\ndata: {}\n"])) == []


def test_digits_of_other_scripts_are_no_retry_time_and_a_huge_one_is_clamped():
    decoder = Decoder()
    decoder.feed("retry: \u0663\nretry: \u00b2\n".encode())
    assert decoder.retry is None
    decoder.feed(b"retry: " + b"9" * 10000 + b"\n")
    assert decoder.retry == 10 ** 9


def test_a_five_mebibyte_line_in_small_chunks_is_linear():
    chunks = [b"data: "] + [b"x" * 1024] * 5120 + [b"\n\n"]
    started = time.process_time()
    assert [len(event.data) for event in events(chunks)] == [5 * 1024 * 1024]
    assert time.process_time() - started < 2
