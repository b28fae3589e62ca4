"""What requests carry: lengths told before, bytes streamed, names that cannot forge a part."""
from __future__ import annotations

import email
import io

import pytest

from rebyte_wire.errors import InputError
from rebyte_wire.multipart import CHUNK_BYTES, Form, Source


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
