"""The value of an answer: found, checked, and told with its faults where it does not fit.

What is too long for an answer is result.json in a zip, read within limits and never unpacked.
"""

from __future__ import annotations

import zipfile
import zlib

try:
    from lzma import LZMAError
except ImportError:
    # A Python without it: then no archive is unpacked with it either.
    from zlib import error as LZMAError  # type: ignore[assignment]

from rebyte_flows.values.extraction import extract
from rebyte_flows.values.strict_json import decode
from rebyte_flows.values.validation import fault, find_faults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, BinaryIO

    from rebyte_flows.values.schema import Schema
    from rebyte_types import FileHome, Json

    Open = Callable[[FileHome], BinaryIO]

MEMBER = "result.json"
# The index of an archive is read whole, so its size bounds what it may hold.
ARCHIVE_BYTES_MOST = 8 << 20
VALUE_BYTES_MOST = 8 << 20
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    # An encrypted member.
    RuntimeError,
    OSError,
    LZMAError,
)
NOTHING = "no JSON value at the end of the answer"
BREAKS_OFF = "an answer that ends inside a value"
ARCHIVES_MOST = 3


def read_value(schema: Schema, answer: str) -> Json:
    """Return the keys of the document that tell the value of an answer.

    `value` where one fits; else `valueErrors`, and `candidate`, the best that was found.
    """
    found = extract(answer)
    if found.is_cut:
        errors = [fault("", "a whole JSON value", BREAKS_OFF)]
        return _failed(found.values, errors)
    for value in found.values:
        if not find_faults(schema, value):
            return {"value": value}
    if not found.values:
        return _failed([], [fault("", "one JSON value", NOTHING)])
    return _failed(found.values, find_faults(schema, found.values[0]))


def _failed(values: list[Any], errors: list[dict[str, str]]) -> Json:
    keys: Json = {"valueErrors": errors}
    if values:
        keys["candidate"] = values[0]
    return keys


def read_value_or_archive(
    schema: Schema, answer: str, files: Sequence[FileHome], open_file: Open
) -> Json:
    """Return the same, with what stands in a zip among `files` that the answer names.

    `open_file(file)` opens one of them. A zip that the answer does not name may be an older one.
    """
    keys = read_value(schema, answer)
    for file in named_archives(answer, files) if "value" not in keys else ():
        try:
            with open_file(file) as source:
                value = value_in_archive(source)
        except ValueError as problem:
            words = "%s: %s" % (file["name"], problem)
            keys["valueErrors"] = [fault("", "one JSON value", words)]
            continue
        faults = find_faults(schema, value)
        if not faults:
            return {"value": value}
        keys = _failed([value], faults)
    return keys


def named_archives(answer: str, files: Sequence[FileHome]) -> list[FileHome]:
    """Return the zips that an answer speaks of, the latest named first, as many as are read."""
    found = []
    for file in files:
        name = file["name"]
        size = file.get("bytes")
        is_small = isinstance(size, int) and size <= ARCHIVE_BYTES_MOST
        if is_small and name.lower().endswith(".zip"):
            found.append((max(answer.rfind(name), answer.rfind(MEMBER)), file))
    named = [pair for pair in found if pair[0] >= 0]
    named.sort(key=_place, reverse=True)
    return [file for _, file in named[:ARCHIVES_MOST]]


def _place(pair: tuple[int, FileHome]) -> int:
    return pair[0]


def value_in_archive(file: BinaryIO) -> Any:
    """Return the value in the result.json of a zip; ValueError says why there is none."""
    try:
        with zipfile.ZipFile(file) as archive:
            data = _read_member(archive)
    except UNREADABLE as problem:
        raise ValueError("it cannot be read: %s" % problem) from None
    if len(data) > VALUE_BYTES_MOST:
        raise ValueError("its %s is over %d bytes" % (MEMBER, VALUE_BYTES_MOST))
    try:
        return decode(data.decode("utf-8-sig"))
    except ValueError as problem:
        raise ValueError("its %s is not JSON: %s" % (MEMBER, problem)) from None


def _read_member(archive: zipfile.ZipFile) -> bytes:
    """Return one byte more than allowed of the member, at the most."""
    names = archive.namelist()
    inner = [name for name in names if name.endswith("/" + MEMBER)]
    if MEMBER in names:
        inner = [MEMBER]
    if len(inner) != 1:
        raise ValueError("it holds %d files named %s" % (len(inner), MEMBER))
    with archive.open(inner[0]) as member:
        return member.read(VALUE_BYTES_MOST + 1)
