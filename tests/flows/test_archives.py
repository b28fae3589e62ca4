"""A value in a zip: read within limits, and told why not."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from rebyte_flows.values.reader import VALUE_BYTES_MOST, value_in_archive


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), data)
    return buffer


@pytest.mark.parametrize("name", ["result_json", "out__result_json"])
def test_the_value_of_a_zip_is_read(name):
    file = zipped(**{name: json.dumps({"a": 1}), "notes_txt": "x"})
    assert value_in_archive(file) == {"a": 1}


@pytest.mark.parametrize(
    "file, why",
    [
        (io.BytesIO(b""), "cannot be read"),
        (io.BytesIO(b"PK\x03\x04 no zip"), "cannot be read"),
        (zipped(other_json="{}"), "0 files"),
        (zipped(a__result_json="1", b__result_json="2"), "2 files"),
        (zipped(result_json="{"), "not JSON"),
        (zipped(result_json='{"a": NaN}'), "not JSON"),
        (zipped(result_json=b"\xff\xfe"), "not JSON"),
        # A few kilobytes that unpack to more than is allowed.
        (zipped(result_json=b" " * (VALUE_BYTES_MOST + 1)), "over"),
    ],
)
def test_what_is_no_value_says_why(file, why):
    with pytest.raises(ValueError, match=why):
        value_in_archive(file)


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_zip_with_a_wrong_byte_anywhere_is_read_or_says_why(method):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("result.json", json.dumps(list(range(300))))
    whole = buffer.getvalue()
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        try:
            value_in_archive(io.BytesIO(bytes(damaged)))
        except ValueError as problem:
            assert str(problem)
