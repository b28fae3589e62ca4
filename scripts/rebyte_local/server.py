"""The local server as a context manager for tests, and as a process of its own."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import io
import json
import os
import resource
import signal
import sqlite3
import sys
import threading
import time

from rebyte_local.api import routes
from rebyte_local.execution.guard import Guard
from rebyte_local.execution.runner import Runner
from rebyte_local.formats import JsonObject, iso_milliseconds, now_us
from rebyte_local.http.request_log import RequestLog
from rebyte_local.http.server import HttpServer, shut_down
from rebyte_local.private_files import private
from rebyte_local.service import Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

OPEN_FILES = 8192
# Nothing that this server starts is to find the key of the cloud.
CLOUD_KEYS = ("REBYTE_API_KEY", "REBYTE_API_KEY_FILE")
# A command that looks whether a server runs holds the lock for a moment.
LOCK_TRIES = 5
LOCK_PAUSE_SECONDS = 0.1
# What flock says when another process holds the lock.
HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class FolderInUse(Exception):
    """Another server has this folder."""


class LocalServer:
    """The Tasks API of one folder on 127.0.0.1.

    Once it is started it has: url (the origin), base_url (with /v1), page_url (the list of tasks,
    for a browser), key (the one that it takes), faults (to be switched on and off), and requests
    (what was asked so far, without keys).
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        port: int = 0,
        width: int = 4,
        idle_seconds: float | None = None,
        **settings: Any,
    ) -> None:
        """Take port 0 for the last one or a free one, `width` for how many prompts run at once.

        `settings` are those of Service: key, faults, repos, skills, agent (a list of words),
        agents (words of --agents), agent_silence and agent_limit (seconds), signed_seconds and
        credits.
        """
        self.folder = os.path.abspath(str(folder))
        self._port = port
        self._width = width
        self._idle_seconds = idle_seconds
        self._settings = settings
        self._http: HttpServer | None = None

    def __repr__(self) -> str:
        return "LocalServer(%r, %s)" % (
            self.folder,
            self.url if self._http else "not started",
        )

    def __enter__(self) -> LocalServer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def start(self) -> None:
        """Lock the folder, take the port, and serve in a thread.

        Raises FolderInUse, OSError, sqlite3.Error, and ValueError for a fault that is none.
        """
        os.makedirs(self.folder, 0o700, exist_ok=True)
        os.chmod(self.folder, 0o700)
        with contextlib.ExitStack() as opened:
            opened.enter_context(_lock(self.folder))
            self._service = Service(self.folder, **self._settings)
            opened.callback(self._service.database.close)
            if self._service.agents:
                opened.callback(Guard(self._service.instance).close)
            self._service.runner = Runner(self._service, self._width)
            self._log = RequestLog(self.folder)
            opened.callback(self._log.close)
            http = self._bind()
            opened.callback(http.socket.close)
            port = http.server_address[1]
            self._service.database.set_setting("port", port)
            self._service.origin = "http://127.0.0.1:%d" % port
            self._service.runner.recover()
            self.url = self._service.origin
            self.base_url = self.url + "/v1"
            self.page_url = self._service.page_url("/")
            self.key = self._service.key
            self.faults = self._service.faults
            self.agents = [one.spelled for one in self._service.agents.values()]
            self.programs = self._service.programs
            self.requests = self._log.entries
            self._opened = opened.pop_all()
        self._http = http
        self._thread = threading.Thread(
            target=http.serve_forever, args=(0.1,), name="rebyte-local", daemon=True
        )
        self._thread.start()

    def _bind(self) -> HttpServer:
        respond = functools.partial(routes.respond, self._service)
        last_port = int(self._service.database.setting("port") or 0)
        if self._port == 0 and last_port:
            with contextlib.suppress(OSError):  # taken meanwhile: any other will do
                return HttpServer(last_port, respond, self._log)
        return HttpServer(self._port, respond, self._log)

    def is_idle(self) -> bool:
        """Return True when nobody asked and nothing ran for `idle_seconds`."""
        if (
            self._http is None
            or self._idle_seconds is None
            or self._service.runner.is_busy
        ):
            return False
        return time.monotonic() - self._http.last_request_at >= self._idle_seconds

    def close(self) -> None:
        """End processes, connections and threads, and release the folder; safe to call twice."""
        if self._http is None:
            return
        http = self._http
        self._http = None
        shut_down(
            http.socket
        )  # wakes the accepting thread, which otherwise looks every 0.1 s
        http.shutdown()
        self._thread.join()
        self._service.close()
        http.close_connections()
        self._opened.close()


def _lock(folder: str) -> io.BufferedWriter:
    """Lock the folder until the file is closed; raises FolderInUse."""
    file = open(os.path.join(folder, "lock"), "ab", opener=private)  # noqa: SIM115
    try:
        _flock(file, folder)
    except BaseException:
        file.close()
        raise
    return file


def _flock(file: io.BufferedWriter, folder: str) -> None:
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in HELD:
                reason = "the file system of %s takes no locks (%s)" % (
                    folder,
                    error.strerror,
                )
                raise OSError(
                    reason + "; set REBYTE_STATE_DIR to a folder elsewhere"
                ) from error
        time.sleep(LOCK_PAUSE_SECONDS)
    raise FolderInUse("another local server has the folder %s" % folder)


def serve(folder: str, *, flags: Sequence[str] = (), **settings: Any) -> int:
    """Serve in the foreground until SIGTERM, SIGINT or idleness; `settings` as of LocalServer, and
    `flags` what they were called on the command line.

    Prints one line of JSON that says where it listens, and keeps it in server.json meanwhile.
    Returns 0, 1 when it cannot start, 2 when a setting is wrong.
    """
    os.umask(0o077)
    for name in CLOUD_KEYS:
        os.environ.pop(name, None)
    server = LocalServer(folder, **settings)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    signal.signal(
        signal.SIGHUP, signal.SIG_IGN
    )  # it outlives the shell that started it
    _raise_file_limit()
    try:
        server.start()
    except (FolderInUse, OSError, sqlite3.Error, ValueError) as error:
        print("local server: %s" % error, file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    path = os.path.join(server.folder, "server.json")
    try:
        line = json.dumps({**_describe(server), "flags": list(flags)})
        with open(path + ".new", "w", encoding="utf-8", opener=private) as file:
            file.write(line + "\n")
        os.replace(path + ".new", path)
        print(line, flush=True)
        while not ended.wait(0.25) and not server.is_idle():
            pass
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        server.close()
    return 0


def _describe(server: LocalServer) -> JsonObject:
    return {
        "url": server.url,
        "baseUrl": server.base_url,
        "pageUrl": server.page_url,
        "key": server.key,
        "pid": os.getpid(),
        "startedAt": iso_milliseconds(now_us()),
        "faults": server.faults.describe(),
        "agents": server.agents,
        "programs": server.programs,
    }


def _raise_file_limit() -> None:
    """Allow the open files that many connections and processes at once need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
