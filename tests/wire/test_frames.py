"""The decoder against the published vectors, however the bytes are cut; and the bytes of a form."""
from __future__ import annotations

import email
import io
import json
import os
import random
import time

import pytest

from rebyte_wire.errors import InputError
from rebyte_wire.multipart import CHUNK_BYTES, Form, Source
from rebyte_wire.sse import Decoder, events

with open(os.path.join(os.path.dirname(__file__), "sse-vectors.json"), encoding="utf-8") as file:
    VECTORS = {}
    for name, text, expected, *more in json.load(file)["vectors"]:  # what is not said is the usual
        more = more[0] if more else {}
        text = "".join(piece if isinstance(piece, str) else piece[0] * piece[1] for piece in text)
        told = [event if isinstance(event, dict) else {"data": event} for event in expected]
        # Bytes that are no text stand as surrogates.
        VECTORS[name] = (text.encode("utf-8", "surrogateescape"), more.get("splits"),
                         ([dict({"event": "message", "id": "", "retry": None}, **event) for event in told],
                          dict({"last_event_id": "", "retry": None}, **more.get("final", {}))))


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
@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_gives_its_events_however_it_is_cut(name, way):
    data, _, told = VECTORS[name]
    assert decode(cut(data, WAYS[way]())) == told


@pytest.mark.parametrize("name", [name for name in VECTORS if VECTORS[name][1]])
def test_a_vector_gives_its_events_when_cut_where_it_asks(name):
    data, splits, told = VECTORS[name]
    edges = [0] + splits + [None]
    assert decode(data[a:b] for a, b in zip(edges, edges[1:])) == told


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


# What requests carry: lengths told before, bytes streamed, names that cannot forge a part.


def source(data):
    """Return a source of bytes that can be opened again."""
    return Source(lambda: io.BytesIO(data), len(data))


def parse(form):
    """Read a form back with the standard library's own parser."""
    body = b"".join(form.chunks())
    message = email.message_from_bytes(b"Content-Type: " + form.content_type.encode() + b"\r\n\r\n" + body)
    return [(part.get_param("name", header="content-disposition"), part.get_filename(), part.get_content_type(),
             part.get_payload(decode=True)) for part in message.get_payload()]


def test_a_form_says_its_length_and_can_be_read_twice():
    form = Form([("files", "a.csv", "text/csv", source(b"1,2")), ("files", "b.bin", "x/y", source(b"\r\n--"))])
    first = b"".join(form.chunks())
    assert len(first) == form.length and b"".join(form.chunks()) == first
    assert parse(form) == [("files", "a.csv", "text/csv", b"1,2"), ("files", "b.bin", "x/y", b"\r\n--")]


def test_an_empty_form_is_only_its_end():
    form = Form([], boundary="b")
    assert b"".join(form.chunks()) == b"--b--\r\n" and form.length == 7


def test_a_hostile_file_name_stays_inside_its_quotes():
    name = 'a"; name="other"\r\nX-Forged: 1\r\n\r\n.csv'
    head = next(Form([("files", name, "text/csv", source(b""))]).chunks()).decode()
    assert 'filename="a%22; name=%22other%22%0D%0AX-Forged: 1%0D%0A%0D%0A.csv"\r\n' in head
    assert head.count("\r\n") == 4


def test_names_are_utf_8_and_what_is_not_text_is_replaced():
    head = next(Form([("files", "\u00fc\udcff.csv", "text/csv", source(b""))]).chunks())
    assert 'filename="\u00fc?.csv"'.encode() in head


def test_two_boundaries_differ():
    assert Form([]).content_type != Form([]).content_type


def test_a_big_source_is_streamed_in_pieces():
    data = b"x" * (3 * CHUNK_BYTES + 1)
    assert [len(chunk) for chunk in source(data).chunks()] == [CHUNK_BYTES] * 3 + [1]


def test_a_seekable_file_is_sent_from_where_it_stood_each_time():
    file = io.BytesIO(b"headbody")
    file.seek(4)
    body = Source(file, 4)
    assert [b"".join(body.chunks()) for _ in range(2)] == [b"body", b"body"]


@pytest.mark.parametrize("length", [3, 5])
def test_a_file_that_changed_its_length_is_an_error_and_not_a_silent_cut(length):
    with pytest.raises(InputError):
        list(Source(lambda: io.BytesIO(b"1234"), length).chunks())


def test_a_file_that_went_away_is_an_input_error_and_not_a_network_one(tmp_path):
    with pytest.raises(InputError):
        list(Source(lambda: open(str(tmp_path / "gone"), "rb"), 4).chunks())
