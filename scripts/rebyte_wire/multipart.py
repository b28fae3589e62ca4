"""What a request carries when it is more than a few bytes: one source, or a form of several, with a known length."""

from __future__ import annotations

import os

from rebyte_wire.errors import InputError

CHUNK_BYTES = 256 * 1024
# What the service takes as the file of a task.
MAX_UPLOAD_BYTES = 52_428_800
ESCAPES = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"}


class FileBody:
    """Bytes of a known length behind a callable that opens them, or a seekable binary file; read again at each try."""

    def __init__(self, opened, length: int):
        """Keep the callable or file; nothing is read yet. A file is sent from where it stands now."""
        self.length = length
        self._opened = opened
        self._start = None if callable(opened) else opened.tell()

    def chunks(self):
        """Yield exactly `length` bytes, piece by piece; InputError if the source holds fewer or more, or fails."""
        try:
            if self._start is None:
                with self._opened() as file:
                    yield from self._read(file)
            else:
                self._opened.seek(self._start)
                yield from self._read(self._opened)
        except OSError as error:
            raise InputError(
                "The file cannot be read: {}.".format(error.strerror or error)
            ) from error

    def _read(self, file):
        """Read the length that was promised, and look once beyond it."""
        left = self.length
        for chunk in iter(lambda: file.read(min(CHUNK_BYTES, left)), b""):
            left -= len(chunk)
            yield chunk
        if left or file.read(1):
            raise InputError(
                "The file changed while it was sent; it had {} bytes before.".format(self.length)
            )


class MultipartBody:
    """A multipart/form-data body of (field, filename, content type, source); names are written as WHATWG says."""

    def __init__(self, parts, boundary=None):
        """Lay out the parts; nothing is read yet."""
        boundary = boundary or "rebyte-" + os.urandom(16).hex()
        self.content_type = "multipart/form-data; boundary=" + boundary
        self._parts = [(part_head(boundary, *part[:3]), part[3]) for part in parts]
        self._end = "--{}--\r\n".format(boundary).encode()
        self.length = len(self._end) + sum(
            len(head) + source.length + 2 for head, source in self._parts
        )

    def chunks(self):
        """Yield the whole form, `length` bytes of it, streaming each source."""
        for head, source in self._parts:
            yield head
            yield from source.chunks()
            yield b"\r\n"
        yield self._end


def part_head(boundary, field, filename, content_type) -> bytes:
    """Return the lines before one file's bytes."""
    text = '--{}\r\nContent-Disposition: form-data; name="{}"; filename="{}"\r\nContent-Type: {}\r\n\r\n'.format(
        boundary,
        field.translate(ESCAPES),
        filename.translate(ESCAPES),
        content_type.translate(ESCAPES),
    )
    return text.encode("utf-8", "replace")
