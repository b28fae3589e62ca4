"""One program at a time: start it, pass its lines on as they come, leave nothing behind."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

from rebyte_local.execution.process_tree import Family, kill_marked

LINE_LIMIT_BYTES = 64 * 1024
AGENT_LINE_LIMIT_BYTES = 32 * 1024 * 1024  # some write the whole prompt in one line
READ_BYTES = 64 * 1024
TICK_SECONDS = 0.1
LAST_LINES = 5
FIRST_LINE_BYTES = 256
GRACE_SECONDS = 2.0  # between SIGTERM and SIGKILL
AGENT_GRACE_SECONDS = 6.0  # some take a while to end their tools
STDOUT_LIMIT_CHARS = 1024 * 1024
STDERR_LIMIT_CHARS = 64 * 1024


class LineSplitter:
    """Bytes to lines; of a line beyond the limit the beginning is kept and the rest counted."""

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._kept = bytearray()
        self._lost = 0

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that ended in `data`, without their newline."""
        lines = []
        for index, part in enumerate(data.split(b"\n")):
            if index:
                lines.append(self._take())
            room = max(0, self._limit - len(self._kept))
            self._kept += part[:room]
            self._lost += max(0, len(part) - room)
        return lines

    def finish(self) -> list[str]:
        """Return the last line, if it had no newline."""
        return [self._take()] if self._kept or self._lost else []

    def _take(self) -> str:
        text = self._kept.decode("utf-8", "replace")
        if self._lost:
            text += " [%d more bytes of this line left out]" % self._lost
        self._kept = bytearray()
        self._lost = 0
        return text


class Excerpt:
    """The beginning and the last lines of a text that may be very long."""

    def __init__(self, limit_chars: int) -> None:
        self._limit = limit_chars
        self._lines: list[str] = []
        self._chars = 0
        self._lost = 0
        self.last: list[str] = []

    def add(self, lines: list[str]) -> None:
        """Take lines in while there is room."""
        for line in lines:
            if self._chars <= self._limit:
                self._lines.append(line[: self._limit])
                self._chars += len(line) + 1
            else:
                self._lost += 1
        self.last = (self.last + lines)[-LAST_LINES:]

    def text(self) -> str:
        """Return what was kept, and how much was not."""
        text = "\n".join(self._lines)
        if self._lost:
            text += "\n[%d more lines left out]" % self._lost
        return text


class ProcessResult:
    """What a process wrote and how it ended: an exit code, negative for a signal."""

    def __init__(self) -> None:
        self.code = 0
        self.overdue: str | None = None
        self.stdout = Excerpt(STDOUT_LIMIT_CHARS)
        self.stderr = Excerpt(STDERR_LIMIT_CHARS)

    def add(self, stream: str, lines: list[str]) -> None:
        """Take lines of "stdout" or "stderr" in."""
        (self.stdout if stream == "stdout" else self.stderr).add(lines)

    def failure(self, subject: str) -> str:
        """Return one sentence about the end, and the last lines of stderr."""
        if self.code < 0:
            sentence = "%s was ended by signal %d" % (subject, -self.code)
        else:
            sentence = "%s ended with exit code %d" % (subject, self.code)
        return "\n".join([sentence, *self.stderr.last])


def why_not_started(command: str, cwd: str, error: OSError) -> str:
    """Return why a program could not be started: the system's word for a program that is not there
    also stands for a missing folder or interpreter.
    """
    words = "%s cannot be started: " % command
    if not os.path.isdir(cwd):
        return words + "the folder %s is not there" % cwd
    path = shutil.which(command)
    if error.errno != errno.ENOENT or path is None:
        return words + (error.strerror or str(error))
    interpreter = _interpreter_of(path)
    if interpreter:
        return words + "its first line names an interpreter that is not there: %s" % (
            interpreter
        )
    return words + "what the system needs to run it is not there (another C library?)"


def _interpreter_of(path: str) -> str:
    """Return what the first line of a script names as its interpreter, empty where none does."""
    try:
        with open(path, "rb") as file:
            line = file.readline(FIRST_LINE_BYTES)
    except OSError:
        return ""
    named = line[2:].decode("utf-8", "replace").strip(" \t\n")
    # A carriage return at its end is part of the name, and worth to be seen.
    return repr(named)[1:-1] if line.startswith(b"#!") else ""


def _never() -> str | None:
    return None


class Allowance(NamedTuple):
    """What a program may do: `overdue()` tells why it is to be ended now, or None."""

    overdue: Callable[[], str | None] = _never
    line_limit_bytes: int = LINE_LIMIT_BYTES
    grace_seconds: float = GRACE_SECONDS


def within(seconds: float) -> Allowance:
    """Return the allowance of a program that has so many seconds, from now on."""
    until = time.monotonic() + seconds

    def why_late() -> str | None:
        """Return why it is to be ended, once the time is over."""
        if time.monotonic() < until:
            return None
        return "ended after %d seconds" % seconds

    return Allowance(why_late)


class Process:
    """A program in a process group of its own; `run` blocks until all that it began is gone.

    `mark` is a (name, value) of its environment that nothing else on this machine has: by it, and
    by its descent, also what left the group is found.
    """

    def __init__(
        self,
        argv: list[str],
        cwd: str,
        env: dict[str, str],
        mark: tuple[str, str],
        stdin_path: str = os.devnull,
        allowance: Allowance | None = None,
    ) -> None:
        self._mark = mark
        self._allowance = allowance or Allowance()
        self._killed_at: float | None = None
        self._gone_at: float | None = None
        self.overdue: str | None = None
        with open(stdin_path, "rb") as stdin:
            self._child = subprocess.Popen(
                argv,
                cwd=cwd,
                env=dict(env, **dict([mark])),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        self.pid = self._child.pid
        self._family = Family(self.pid)

    def __repr__(self) -> str:
        return "Process(pid=%d, returncode=%r)" % (self.pid, self._child.returncode)

    def kill(self) -> None:
        """Ask the group to end; `run` makes sure of it a little later. Callable from any thread."""
        if self._killed_at is None:
            self._killed_at = time.monotonic()
            self._family.look()
            self._signal_group(signal.SIGTERM)

    def run(self, on_lines: Callable[[str, list[str]], None]) -> int:
        """Call on_lines("stdout" or "stderr", lines) as they come; return the exit code."""
        with self._child:
            try:
                self._read(on_lines)
                return self._wait()
            finally:
                self._kill_all()

    def _read(self, on_lines: Callable[[str, list[str]], None]) -> None:
        limit = self._allowance.line_limit_bytes
        splitters = {name: LineSplitter(limit) for name in ("stdout", "stderr")}
        with selectors.DefaultSelector() as selector:
            for name in splitters:
                selector.register(
                    getattr(self._child, name), selectors.EVENT_READ, name
                )
            while selector.get_map() and not self._is_abandoned():
                for key, _ in selector.select(TICK_SECONDS):
                    data = os.read(key.fd, READ_BYTES)
                    if not data:
                        selector.unregister(key.fileobj)
                    on_lines(key.data, splitters[key.data].feed(data))
                self._check()
        for name, splitter in splitters.items():
            on_lines(name, splitter.finish())

    def _check(self) -> None:
        """Once per tick: is the leader gone, is the time up, did SIGTERM not help."""
        now = time.monotonic()
        if self._killed_at is None:
            self.overdue = self._allowance.overdue()
            if self.overdue:
                self.kill()
        if self._gone_at is not None:
            return
        self._family.look_now_and_then()
        if self._child.poll() is not None:
            self._gone_at = now
            # What the leader left behind would hold the pipes open.
            self._kill_all()
        elif self._is_out_of_grace(now):
            self._kill_all()

    def _is_out_of_grace(self, now: float) -> bool:
        grace = self._allowance.grace_seconds
        return self._killed_at is not None and now - self._killed_at > grace

    def _is_abandoned(self) -> bool:
        """Return True when what cannot be found still holds a pipe open: its end cannot come."""
        return (
            self._gone_at is not None
            and time.monotonic() - self._gone_at > GRACE_SECONDS
        )

    def _wait(self) -> int:
        while True:
            try:
                return self._child.wait(TICK_SECONDS)
            except subprocess.TimeoutExpired:
                self._check()

    def _kill_all(self) -> None:
        self._signal_group(signal.SIGKILL)
        kill_marked(self._mark)
        self._family.kill()

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
