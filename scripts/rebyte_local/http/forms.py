"""Reads multipart/form-data as browsers and curl -F write it; large forms wait on the disk."""

from __future__ import annotations

import email
import email.utils
import mmap
import re
import tempfile
from collections.abc import Iterator
from urllib.parse import unquote

from rebyte_local.http.messages import Request, validation_error

FORM_LIMIT_BYTES = 128 * 1024 * 1024
ESCAPED = re.compile("%22|%0D|%0A")  # what browsers escape in the name of a file
BOUNDARY = re.compile(r'multipart/form-data\s*;.*?boundary="?([^";,]{1,200})"?', re.IGNORECASE)


def read_form_files(
    request: Request, field: str, folder: str
) -> Iterator[tuple[str, str | None, bytes]]:
    """Yield (filename, content type or None, bytes) of each file in one field of a form.

    Raises ApiError 400 for what is no form or is too large. The body is spooled to `folder`.
    """
    match = BOUNDARY.match(request.header("Content-Type"))
    if not match:
        raise validation_error("the body must be multipart/form-data with a boundary")
    delimiter = b"\r\n--" + match.group(1).encode("latin-1")
    with tempfile.TemporaryFile(dir=folder) as spool:
        spool.write(b"\r\n")  # so that the first delimiter looks like the others
        for piece in iter(request.body.read, b""):
            if spool.tell() > FORM_LIMIT_BYTES:
                raise validation_error("the form is larger than %d bytes" % FORM_LIMIT_BYTES)
            spool.write(piece)
        spool.flush()
        with mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ) as form:
            for head, start, end in _parts(form, delimiter):
                message = email.message_from_string(head.decode("utf-8", "replace"))
                # Of filename and filename* the latter wins.
                fields = dict(message.get_params([], "content-disposition"))
                if fields.get("name") == field and "filename" in fields:
                    filename = email.utils.collapse_rfc2231_value(fields["filename"])
                    name = ESCAPED.sub(lambda escaped: unquote(escaped.group()), filename)
                    yield name, message["content-type"], form[start:end]


def _parts(form: mmap.mmap, delimiter: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (head, start and end of the content) of each part."""
    start = form.find(delimiter)
    while True:
        after = start + len(delimiter)
        if start >= 0 and form[after : after + 2] == b"--":
            return
        head_end = form.find(b"\r\n\r\n", after)
        end = form.find(delimiter, after)
        if start < 0 or form[after : after + 2] != b"\r\n" or not -1 < head_end < end:
            raise validation_error("the multipart body is malformed or ended too early")
        yield form[after + 2 : head_end], head_end + 4, end
        start = end
