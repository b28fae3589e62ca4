"""Finding processes: by a mark in their environment, and by whom they descend from."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

KILL_ROUNDS = 20
KILL_PAUSE_SECONDS = 0.005
LOOK_SECONDS = 1.0  # between two looks at who descends from a process
# Fields of /proc/PID/stat, counted after the name.
PARENT_FIELD = 1
SESSION_FIELD = 3
START_FIELD = 19


class Seen(NamedTuple):
    """A process at one moment; `started` tells it from a later one with its number."""

    pid: int
    parent: int
    session: int
    started: str


class Family:
    """A process and what descends from it, as far as it was seen: also what left its group, its
    session or its parent, or cleaned its environment. Safe across threads.
    """

    def __init__(self, pid: int) -> None:
        self._lock = threading.Lock()
        self._sessions = {pid}
        self._known: dict[int, str] = {}
        self._root = pid
        self._looked_at = time.monotonic()

    def __repr__(self) -> str:
        return "Family(%d, known=%d)" % (self._root, len(self._known))

    def look_now_and_then(self) -> None:
        """Look who has come, unless that was done a moment ago."""
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            self.look()

    def look(self) -> None:
        """Look who has come."""
        with self._lock:
            self._looked_at = time.monotonic()
            self._take(list(_processes()))

    def _take(self, processes: list[Seen]) -> None:
        members = {self._root, *self._known}
        is_growing = True
        while is_growing:
            new = [
                one
                for one in processes
                if one.pid not in members
                and (one.parent in members or one.session in self._sessions)
            ]
            is_growing = bool(new)
            members.update(one.pid for one in new)
            self._known.update((one.pid, one.started) for one in new)
            self._sessions.update(one.session for one in new)

    def kill(self) -> None:
        """Kill those that still run, the first process apart."""
        with self._lock:
            for one in _processes():
                if self._known.get(one.pid) == one.started:
                    _kill([one.pid])


def _processes() -> Iterator[Seen]:
    if not os.path.isdir("/proc/self"):
        yield from _processes_by_ps()
        return
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError):
            with open("/proc/%s/stat" % name, "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            yield Seen(
                int(name),
                int(fields[PARENT_FIELD]),
                int(fields[SESSION_FIELD]),
                fields[START_FIELD].decode(),
            )


def _processes_by_ps() -> Iterator[Seen]:
    """Best effort where there is no /proc, as on macOS: its ps tells no session to count on."""
    for line in _ps("-axo", "pid=,ppid=,lstart="):
        words = line.split(None, 2)
        if len(words) > 2:
            yield Seen(int(words[0]), int(words[1]), 0, words[2])


def _ps(*words: str) -> list[str]:
    listing = subprocess.run(
        ["ps", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return listing.stdout.decode("utf-8", "replace").splitlines()


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_marked(mark: tuple[str, str]) -> None:
    """Kill every process whose environment has the mark, also those that left their group."""
    for _ in range(KILL_ROUNDS):  # what is being killed may have begun one more
        pids = _marked_pids("%s=%s" % mark)
        if not pids:
            return
        _kill(pids)
        time.sleep(KILL_PAUSE_SECONDS)


def _marked_pids(text: str) -> list[int]:
    if not os.path.isdir("/proc/self"):
        # As far as ps shows an environment, which it does not for every program.
        lines = _ps("-axwwE", "-o", "pid=,command=")
        return [int(line.split()[0]) for line in lines if text in line.split()]
    pids = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(
            "/proc/%s/environ" % name, "rb"
        ) as file:
            if text.encode("ascii") in file.read().split(b"\0"):
                pids.append(int(name))
    return pids
