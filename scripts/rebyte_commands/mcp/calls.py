"""A call of a tool as a process of its own: the command line it stands for, bounded in time, and a
paid start that outlives whoever asked for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack

from rebyte_commands.shell.environment import CLI_PATH
from rebyte_wire.errors import GuardRefused, InputError, RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO

    from rebyte_commands.mcp.tools import Line
    from rebyte_types import Json

# Desktop hosts give a call up after 60 s, whatever it says meanwhile.
CALL_SECONDS = 48
POLL_SECONDS = 0.05
TICK_SECONDS = 5
END_SECONDS = 2
TAIL_BYTES = 2000
MESSAGE_CHARACTERS = 300
PREFIX = "rebyte: "
# So long a start is kept for the call that nobody waited for to the end; the same words later mean
# something new.
KEPT_SECONDS = 600
HINT = "shorten its arguments, or correct them"
NO_DOCUMENT = "no_document"
# After such an error nobody knows whether a task was made.
UNSURE = ("outcome_unknown", "not_recorded", "interrupted", "deadline", NO_DOCUMENT)
# How a command ends that only waits and was stopped.
STOPPED = ("interrupted", NO_DOCUMENT)
TIME_IS_OVER = {
    "code": "deadline",
    "message": "the time of this call was over before the service had answered",
    "hint": "make the same call again",
    "retryable": True,
}


class Child:
    """One command line that runs; what it prints is kept in files, so that it needs no reader.

    Raises InputError for words that no command line can hold.
    """

    def __init__(
        self, words: Sequence[str], stdin: str | None, environ: Mapping[str, str]
    ) -> None:
        self._document: Json | None = None
        self._lock = threading.Lock()
        self._began = time.monotonic()
        with ExitStack() as opened:
            try:
                self._out: IO[bytes] = opened.enter_context(tempfile.TemporaryFile())
                self._err: IO[bytes] = opened.enter_context(tempfile.TemporaryFile())
                self._process = self._start(words, stdin, environ)
            except (OSError, ValueError) as problem:
                # An argument of 128 KB, or with half of a surrogate pair; or a full disk.
                reason = "this call cannot be made: %s" % problem
                raise InputError(reason[:MESSAGE_CHARACTERS], hint=HINT) from problem
            # It ended well: they are closed once they are read.
            opened.pop_all()

    def _start(
        self, words: Sequence[str], stdin: str | None, environ: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        with tempfile.TemporaryFile() as source:
            source.write((stdin or "").encode("utf-8", "surrogatepass"))
            source.seek(0)
            return subprocess.Popen(
                [sys.executable, CLI_PATH, *words],
                stdin=source,
                stdout=self._out,
                stderr=self._err,
                env=dict(environ),
                # A host that is killed with its group must not take a paid start with it.
                start_new_session=True,
            )

    def __repr__(self) -> str:
        return "Child(%d)" % self._process.pid

    @property
    def is_over(self) -> bool:
        """True once it has ended."""
        return self._process.poll() is not None

    @property
    def is_forgotten(self) -> bool:
        """True for one that has ended, and began so long ago that nobody will ask for it."""
        return self.is_over and time.monotonic() - self._began > KEPT_SECONDS

    def document(self) -> Json:
        """Return the one document that it printed; several calls may wait for the same command."""
        with self._lock:
            if self._document is None:
                self._document = self._read_document()
                self._out.close()
                self._err.close()
            return self._document

    def _read_document(self) -> Json:
        self._out.seek(0)
        text = self._out.read().decode("utf-8", "replace")
        try:
            found: Json = json.loads(text)
        except ValueError:
            words = "the command ended without a document: %s" % self._last_told()
            return {"error": RebyteError(words, code=NO_DOCUMENT).as_dict()}
        return found

    def last_line(self) -> str:
        """Return what it told last on stderr, as one plain line; empty once that was read."""
        with self._lock:
            return "" if self._err.closed else self._last_told()

    def _last_told(self) -> str:
        # Its place in the file is the command's own: a seek here would move where that writes.
        size = os.fstat(self._err.fileno()).st_size
        tail = os.pread(self._err.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES))
        lines = tail.decode("utf-8", "replace").splitlines()
        line = lines[-1] if lines else ""
        return line[len(PREFIX) :] if line.startswith(PREFIX) else line

    def stop(self) -> None:
        """End a command that only waits; the task it waits for runs on."""
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Call:
    """One call under way: `cancel()` stops the waiting, never the task. Its time counts from here,
    for all the commands that it takes.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._cancelled = threading.Event()

    def __repr__(self) -> str:
        return "Call(%s)" % ("cancelled" if self.is_cancelled else "running")

    @property
    def is_cancelled(self) -> bool:
        """True once nobody waits for the result any more."""
        return self._cancelled.is_set()

    @property
    def is_over(self) -> bool:
        """True once its time is over."""
        return time.monotonic() - self._began >= CALL_SECONDS

    def cancel(self) -> None:
        """Stop the waiting."""
        self._cancelled.set()

    def wait_for(self, child: Child, on_tick: Callable[[float, str], None]) -> bool:
        """Wait until a command has ended, the time of a call is over or nobody waits any more;
        tell whether it has ended.

        `on_tick(seconds, line)` is told now and then what goes on.
        """
        told = time.monotonic()
        while not child.is_over and not self.is_cancelled:
            if self.is_over:
                return False
            now = time.monotonic()
            if now - told >= TICK_SECONDS:
                told = now
                on_tick(now - self._began, child.last_line())
            self._cancelled.wait(POLL_SECONDS)
        return child.is_over


class Starts:
    """What this process pays for: equal starts under way are one, and so many tasks are allowed."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._count = 0
        self._under_way: dict[str, Child] = {}
        self._new: dict[str, int] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "Starts(%d of %s)" % (self._count, self._most)

    def join(self, line: Line, begin: Callable[[bool], Child], *, new: int) -> Child:
        """Return the command that makes this start, begun or under way.

        `begin(may_start)` begins it; past the limit it may only give what was started before. `new`
        is how many tasks it makes: 0 for one more turn.
        """
        key = _key_of(line)
        with self._lock:
            known = self._under_way.get(key)
            if known is not None and known.is_forgotten:
                self._end(key, known.document())
            if key not in self._under_way:
                may_start = self._most is None or self._count + new <= self._most
                self._under_way[key] = begin(may_start)
                self._new[key] = new if may_start else 0
                self._count += self._new[key]
            return self._under_way[key]

    def ended(self, line: Line, child: Child, document: Json) -> None:
        """Note that a start has ended; one that made no new task does not count.

        Of several calls that waited for the same command the first counts.
        """
        key = _key_of(line)
        with self._lock:
            if self._under_way.get(key) is child:
                self._end(key, document)

    def _end(self, key: str, document: Json) -> None:
        del self._under_way[key]
        new = self._new.pop(key)
        if document.get("reused") or _made_nothing(document):
            self._count -= new


def no_limit() -> GuardRefused:
    """Return the refusal of a start where the owner has set no limit."""
    problem = GuardRefused(
        "the owner has set no limit, so nothing is started here",
        code="guard_no_limit",
        hint="set REBYTE_MAX_TASKS_PER_DAY, or begin the server with a limit of its own",
    )
    problem.next = [
        {
            "why": "starts cost money, and nobody stands beside each of them here",
            "ask": "Please set REBYTE_MAX_TASKS_PER_DAY for this MCP server, or give it"
            " mcp --max-tasks N.",
        }
    ]
    return problem


def _key_of(line: Line) -> str:
    return json.dumps([line.words, line.stdin])


def _made_nothing(document: Json) -> bool:
    """Tell whether a start certainly made no task."""
    error = document.get("error") or {}
    return bool(error) and error.get("code") not in UNSURE
