"""Request bodies: Content-Length or chunked, read in pieces, drained when nobody wants them; each file of a form goes to the disk as it comes."""
from __future__ import annotations

import json
import re
from urllib.parse import unquote

from rebyte_local.answers import Refusal, invalid

JSON_LIMIT_BYTES = 8 * 1024 * 1024
PIECE_BYTES = 64 * 1024
LINE_LIMIT_BYTES = 4096
HEAD_LIMIT_BYTES = 8192
DISPOSITION = re.compile(r"content-disposition:\s*form-data\s*;(.*)", re.IGNORECASE)
PARAMETER = re.compile(r';?\s*([a-z*]+)="((?:\\.|[^"\\])*)"|;?\s*([a-z*]+)=([^;\s]+)', re.IGNORECASE)


def _bad_framing(message):
    return Refusal(400, "bad_request", message, {"Connection": "close"})


class Body:
    """The body of one request; `length` is None when it is chunked."""

    def __init__(self, rfile, headers):
        self._rfile = rfile
        self.received = 0
        coding = (headers.get("Transfer-Encoding") or "").strip().lower()
        lengths = headers.get_all("Content-Length") or []
        self._chunked = bool(coding)
        if coding and (coding != "chunked" or lengths):
            raise _bad_framing("Transfer-Encoding must be chunked, and alone")
        if len(set(lengths)) > 1 or (lengths and not (lengths[0].isascii() and lengths[0].strip().isdigit())):
            raise _bad_framing("Content-Length must be one number")
        self.length = None if coding else int(lengths[0]) if lengths else 0
        self._left = 0 if coding else self.length
        self._ended = not coding and self._left == 0

    @property
    def ended(self):
        """True when every byte of the body was read."""
        return self._ended

    def read(self, size=PIECE_BYTES):
        """Up to `size` bytes, b"" at the end; a body that stops too early is a bad request."""
        if self._ended:
            return b""
        if self._chunked and self._left == 0 and not self._next_chunk():
            return b""
        piece = self._rfile.read(min(size, self._left, PIECE_BYTES))
        if not piece:
            self._ended = True
            raise _bad_framing("the body ended too early")
        self._left -= len(piece)
        self.received += len(piece)
        if self._chunked:
            if self._left == 0:
                self._line()
        elif self._left == 0:
            self._ended = True
        return piece

    def _line(self):
        line = self._rfile.readline(LINE_LIMIT_BYTES)
        if not line.endswith(b"\n"):
            self._ended = True
            raise _bad_framing("the body is not well chunked")
        return line.strip()

    def _next_chunk(self):
        digits = self._line().split(b";")[0].strip()
        try:
            if not digits or len(digits) > 15 or digits.strip(b"0123456789abcdefABCDEF"):
                raise ValueError(digits)
            self._left = int(digits, 16)
        except ValueError:
            self._ended = True
            raise _bad_framing("the body is not well chunked") from None
        if self._left == 0:
            while self._line():
                pass  # trailers are read and forgotten
            self._ended = True
        return not self._ended

    def drain(self, limit):
        """Read and forget what is left, at most `limit` bytes; True when the end was reached."""
        try:
            while not self._ended and limit > 0:
                limit -= len(self.read())
        except Refusal:
            return False
        return self._ended

    def whole(self, limit=JSON_LIMIT_BYTES):
        """The whole body in memory; longer than `limit` is refused."""
        pieces = []
        while True:
            piece = self.read()
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            if self.received > limit:
                raise Refusal(413, "validation_error", "the body is larger than %d bytes" % limit)

    def json_object(self):
        """The body as a JSON object, or a validation_error."""
        raw = self.whole()
        try:
            value = json.loads(raw.decode("utf-8"))
        except (ValueError, RecursionError):
            raise invalid("the body is not JSON") from None
        if not isinstance(value, dict):
            raise invalid("the body must be a JSON object")
        return value


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
