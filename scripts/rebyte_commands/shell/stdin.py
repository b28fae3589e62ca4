"""Texts from stdin and from files: read within the time there is, up to a limit, as UTF-8."""

from __future__ import annotations

import codecs
import os
import select
import sys

from rebyte_flows.files.names import expand_user
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rebyte_wire.requests import Deadline

PIECE_BYTES = 1 << 18
# No prompt, table or body is larger; a device that never ends is not read for ever.
TEXT_LIMIT_BYTES = 64 * 1024 * 1024


class Stdin:
    """A stream, read to its end but not beyond the deadline: a pipe that nobody closes is told."""

    def __init__(self, stream: Any, deadline: Deadline) -> None:
        self.stream = stream
        self.deadline = deadline
        self.closed: bool = stream is None or stream.closed

    def __repr__(self) -> str:
        return "Stdin(%r)" % self.deadline

    def read(self, size: int | None = -1) -> Any:
        """Return up to `size` bytes, all without a size, b"" at the end.

        A stream that has no bytes below it gives text. Raises InputError when the time is over
        first.
        """
        source = getattr(self.stream, "buffer", self.stream)
        if not hasattr(source, "read1"):
            return source.read(size)
        pieces = []
        left = sys.maxsize if size is None or size < 0 else size
        while left:
            self._wait(source)
            piece = source.read1(min(left, PIECE_BYTES))
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _wait(self, source: Any) -> None:
        """Wait until something can be read; where the system cannot tell, the read itself waits."""
        try:
            ready = select.select([source], [], [], self.deadline.left())[0]
        except (OSError, ValueError, TypeError):
            return
        if not ready:
            raise InputError(
                "the input did not end before the time was over",
                code="usage",
                hint="close it, pass a file, or give it more time with --max-wait S",
            )


def read_text(
    path: str, what: str, stdin: Stdin, limit_bytes: int | None = None
) -> str:
    """Return the text in a file (- for `stdin`), which has to be UTF-8; a byte order mark is
    passed over.

    With `limit_bytes` the text ends there; without, one beyond any sense is refused. `what` names
    it in errors.
    """
    place = "stdin" if path == "-" else path
    limit = TEXT_LIMIT_BYTES if limit_bytes is None else limit_bytes
    try:
        data = _read_bytes(path, what, stdin, limit)
        if isinstance(data, str):
            return data
        is_cut = len(data) >= limit
        if is_cut and limit_bytes is None:
            raise InputError(
                "%s in %s does not end; it has over %d bytes" % (what, place, limit)
            )
        # Where the limit cuts, it may cut a character.
        return codecs.getincrementaldecoder("utf-8-sig")().decode(data, not is_cut)
    except UnicodeDecodeError as problem:
        raise InputError(
            "%s in %s is not UTF-8 (byte %d)" % (what, place, problem.start),
            hint="save it as UTF-8, so that nothing of it is lost on the way",
        ) from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise InputError(
            "cannot read %s from %s: %s" % (what, place, reason), hint="check the path"
        ) from problem


def _read_bytes(path: str, what: str, stdin: Stdin, limit: int) -> Any:
    if path == "-":
        if stdin.closed:
            raise InputError("%s was to come from stdin, and stdin is closed" % what)
        return stdin.read(limit)
    # A pipe by name, as <(...) of a shell, is read like stdin.
    with open(expand_user(path), "rb", opener=_open_without_waiting) as file:
        return Stdin(file, stdin.deadline).read(limit)


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe without a writer would wait for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
