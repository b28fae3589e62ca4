"""One process group at a time: start it, pass its lines on as they come, and leave nothing of it behind."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time

LINE_LIMIT_BYTES = 64 * 1024
READ_BYTES = 64 * 1024
TICK_SECONDS = 0.1
LAST_LINES = 5
GRACE_SECONDS = 2.0  # between the polite signal and the other one


class LineCutter:
    """Bytes to lines; of a line beyond the limit the beginning is kept and the rest is counted."""

    def __init__(self):
        self._kept = bytearray()
        self._lost = 0

    def feed(self, data):
        """The lines that ended in `data`, without their newline."""
        lines = []
        for index, part in enumerate(data.split(b"\n")):
            if index:
                lines.append(self._take())
            room = max(0, LINE_LIMIT_BYTES - len(self._kept))
            self._kept += part[:room]
            self._lost += max(0, len(part) - room)
        return lines

    def finish(self):
        """The last line, if it had no newline."""
        return [self._take()] if self._kept or self._lost else []

    def _take(self):
        text = self._kept.decode("utf-8", "replace")
        if self._lost:
            text += " [%d more bytes of this line left out]" % self._lost
        self._kept = bytearray()
        self._lost = 0
        return text


class Tail:
    """The beginning and the last lines of a text that may be very long."""

    def __init__(self, limit):
        self._limit = limit
        self._lines = []
        self._chars = 0
        self._lost = 0
        self.last = []

    def add(self, lines):
        """Take lines in while there is room."""
        for line in lines:
            if self._chars <= self._limit:
                self._lines.append(line[: self._limit])
                self._chars += len(line) + 1
            else:
                self._lost += 1
        self.last = (self.last + lines)[-LAST_LINES:]

    def text(self):
        """What was kept, and how much was not."""
        note = "\n[%d more lines left out]" % self._lost if self._lost else ""
        return "\n".join(self._lines) + note


class Process:
    """A program in its own process group; `run` blocks until it and whatever it left behind are gone."""

    def __init__(self, argv, cwd, env, stdin_path, limit_seconds):
        self._limit = limit_seconds
        self._killed_at = None
        self._gone_at = None
        self.timed_out = False
        with open(stdin_path, "rb") as stdin:
            self._child = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        self.pid = self._child.pid

    def __repr__(self):
        return "Process(pid=%d, returncode=%r)" % (self.pid, self._child.returncode)

    def kill(self):
        """Ask the group to end; `run` makes sure of it a little later. Callable from any thread."""
        if self._killed_at is None:
            self._killed_at = time.monotonic()
            _signal_group(self.pid, signal.SIGTERM)

    def run(self, on_lines):
        """Call on_lines("stdout"|"stderr", lines) as they come; gives the exit code, negative for a signal."""
        started = time.monotonic()
        cutters = {"stdout": LineCutter(), "stderr": LineCutter()}
        with self._child, selectors.DefaultSelector() as selector:
            for name in cutters:
                selector.register(getattr(self._child, name), selectors.EVENT_READ, name)
            while selector.get_map() and not self._is_abandoned():
                for key, _ in selector.select(TICK_SECONDS):
                    data = os.read(key.fd, READ_BYTES)
                    if not data:
                        selector.unregister(key.fileobj)
                    on_lines(key.data, cutters[key.data].feed(data))
                self._watch(started)
            for name, cutter in cutters.items():
                on_lines(name, cutter.finish())
            return self._wait(started)

    def _watch(self, started):
        """Once per tick: the leader is gone, the time is up, or a polite end was asked for and not heeded."""
        now = time.monotonic()
        if self._limit is not None and now - started > self._limit and self._killed_at is None:
            self.timed_out = True
            self.kill()
        if self._gone_at is not None:
            return
        if self._child.poll() is not None:
            self._gone_at = now
            _signal_group(
                self.pid, signal.SIGKILL
            )  # what the leader left behind would hold the pipes open
        elif self._killed_at is not None and now - self._killed_at > GRACE_SECONDS:
            _signal_group(self.pid, signal.SIGKILL)

    def _is_abandoned(self):
        """True when a pipe is held open by something that left the group, so no end of it can be expected."""
        return self._gone_at is not None and time.monotonic() - self._gone_at > GRACE_SECONDS

    def _wait(self, started):
        while True:
            try:
                code = self._child.wait(TICK_SECONDS)
            except subprocess.TimeoutExpired:
                self._watch(started)
                continue
            _signal_group(self.pid, signal.SIGKILL)
            return code


def _signal_group(pid, number):
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def birth_of(pid):
    """When a process began, as the kernel counts, so that a reused number is not taken for it; "" if unknown."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode("ascii")
    except (OSError, IndexError):
        return ""


def end_leftover(pid, born):
    """Kill the group of a process that outlived a killed server, if it is still the same process."""
    if born and birth_of(pid) == born:
        _signal_group(pid, signal.SIGKILL)
