"""Reads multipart/form-data as browsers and curl -F write it."""

from __future__ import annotations

import email
import email.utils
import re
from collections.abc import Iterator
from email.message import Message
from urllib.parse import unquote

from rebyte_local.http.messages import Request, one_line, validation_error

FORM_LIMIT_BYTES = 128 * 1024 * 1024
ESCAPED = re.compile("%22|%0D|%0A")  # what browsers escape in the name of a file
BOUNDARY = re.compile(
    r'multipart/form-data\s*;.*?boundary="?([^";,]{1,200})"?', re.IGNORECASE
)


def read_form_files(request: Request, field: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield (filename, content type or "", bytes) of each file in one field of a form.

    Raises ApiError 400 for what is no form, or one of more than 128 MB.
    """
    match = BOUNDARY.match(request.header("Content-Type"))
    if not match:
        raise validation_error("the body must be multipart/form-data with a boundary")
    if request.body.length > FORM_LIMIT_BYTES:
        raise validation_error("the form is larger than %d bytes" % FORM_LIMIT_BYTES)
    # The line break makes the first delimiter look like the others.
    body = b"\r\n" + b"".join(iter(request.body.read, b""))
    parts = body.split(b"\r\n--" + match.group(1).encode("latin-1"))
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise validation_error("the multipart body is malformed or ended too early")
    for part in parts[1:-1]:
        head, blank_line, content = part.partition(b"\r\n\r\n")
        if not head.startswith(b"\r\n") or not blank_line:
            raise validation_error("a part of the multipart body is malformed")
        message = email.message_from_string(head[2:].decode("utf-8", "replace"))
        filename = _filename(message, field)
        if filename is not None:
            yield filename, one_line(message["content-type"] or ""), content


def _filename(part: Message, field: str) -> str | None:
    """Return the name of the file in a part of this field; of filename and filename* the latter."""
    fields = dict(part.get_params([], "content-disposition"))
    if fields.get("name") != field or "filename" not in fields:
        return None
    filename = email.utils.collapse_rfc2231_value(fields["filename"])
    return ESCAPED.sub(lambda escaped: unquote(escaped.group()), filename)
