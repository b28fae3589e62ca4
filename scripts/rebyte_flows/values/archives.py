"""A value too long for an answer: result.json in a zip, read within limits and never unpacked."""

from __future__ import annotations

import zipfile
import zlib

from rebyte_flows.values.strict_json import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

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
)


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
