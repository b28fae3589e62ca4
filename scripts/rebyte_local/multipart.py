"""multipart/form-data read in pieces: each file goes to the disk as it comes, nothing is held whole."""
from __future__ import annotations

import re
from urllib.parse import unquote

from rebyte_local.answers import invalid

HEAD_LIMIT_BYTES = 8192
DISPOSITION = re.compile(r"content-disposition:\s*form-data\s*;(.*)", re.IGNORECASE)
PARAMETER = re.compile(r';?\s*([a-z*]+)="((?:\\.|[^"\\])*)"|;?\s*([a-z*]+)=([^;\s]+)', re.IGNORECASE)


def read_parts(request):
    """Yield (filename, content type or None, read) for each part named files; read each to its end before the next."""
    match = re.match(r'multipart/form-data\s*;.*?boundary="?([^";,]{1,200})"?', request.headers.get("Content-Type", ""),
                     re.IGNORECASE)
    if not match:
        raise invalid("the body must be multipart/form-data with a boundary")
    source = _Source(request.body.read, b"\r\n--" + match.group(1).encode("latin-1"))
    source.skip_preamble()
    while source.has_part():
        name, filename, content_type = _read_head(source.read_head())
        if name == "files" and filename is not None:
            yield filename, content_type, source.read
        while source.read(65536):
            pass  # what nobody wanted


def _read_head(head):
    name = filename = content_type = None
    for line in head.decode("utf-8", "replace").split("\r\n"):
        match = DISPOSITION.match(line)
        if match:
            fields = {}
            for a, quoted, b, plain in PARAMETER.findall(match.group(1)):
                fields[(a or b).lower()] = re.sub(r'\\(["\\])', r"\1", quoted) if a else plain
            name, filename = fields.get("name"), fields.get("filename")
            if filename is not None:
                filename = filename.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
            if "filename*" in fields:
                filename = unquote(fields["filename*"].split("'", 2)[-1])
        elif line.lower().startswith("content-type:"):
            content_type = line.partition(":")[2].strip() or None
    return name, filename, content_type


class _Source:
    """A buffer over the body that never gives bytes which might begin the delimiter."""

    def __init__(self, read, delimiter):
        self._read = read
        self._delimiter = delimiter
        self._ended = False  # the current part was read to its end
        self._buffer = b"\r\n"  # so that the first delimiter looks like the others

    def _more(self):
        piece = self._read(65536)
        if not piece:
            raise invalid("the multipart body ended too early")
        self._buffer += piece

    def skip_preamble(self):
        """Go to behind the first delimiter."""
        while self.read(65536):
            pass

    def read(self, size):
        """Bytes of the current part, b"" at its end."""
        while not self._ended:
            found = self._buffer.find(self._delimiter)
            if found == 0:
                self._buffer = self._buffer[len(self._delimiter):]
                self._ended = True
                break
            end = found if found > 0 else len(self._buffer) - len(self._delimiter) + 1
            if end > 0:
                end = min(end, size)
                piece, self._buffer = self._buffer[:end], self._buffer[end:]
                return piece
            self._more()
        return b""

    def has_part(self):
        """True when another part follows the delimiter just passed."""
        while len(self._buffer) < 2:
            self._more()
        if self._buffer[:2] == b"--":
            return False
        if self._buffer[:2] != b"\r\n":
            raise invalid("the multipart body is malformed")
        return True

    def read_head(self):
        """The header lines of the part."""
        while self._buffer.find(b"\r\n\r\n") < 0:
            if len(self._buffer) > HEAD_LIMIT_BYTES:
                raise invalid("the head of a multipart part is too long")
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        self._ended = False
        return head
