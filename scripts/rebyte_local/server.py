"""The local server's life: the port, the threads, the lock on its folder, and the process around it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import secrets
import shutil
import signal
import socket
import sqlite3
import sys
import threading
import time
from http.server import ThreadingHTTPServer

from rebyte_local.credits import fill as fill_purse
from rebyte_local.faults import Faults
from rebyte_local.handler import Handler, RequestLog, shut_down
from rebyte_local.runner import Runner
from rebyte_local.store import Store, now_us, short_form
from rebyte_local.timelines import Timelines
from rebyte_local.webhooks import Deliveries

BACKLOG = 1024
JOIN_SECONDS = 5.0


class FolderInUse(Exception):
    """Another server has this folder."""


class HttpServer(ThreadingHTTPServer):
    """Threads and connections; what it answers comes from the service."""

    daemon_threads = True
    request_queue_size = BACKLOG

    def __init__(self, port, service, log):
        self.service = service
        self.log = log
        self._connections = set()
        self._guard = threading.Lock()
        self._serving = 0
        self._idle_since = time.monotonic()
        super().__init__(("127.0.0.1", port), Handler)

    def server_bind(self):
        """Bind without asking the resolver for a name of this machine."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request, client_address):
        """Remember the connection until it is closed, and give it a thread."""
        with self._guard:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        """Close a connection and forget it."""
        with self._guard:
            self._connections.discard(request)
        super().shutdown_request(request)

    def end_connections(self):
        """Close every connection under its thread and wait until the threads are gone."""
        end = time.monotonic() + JOIN_SECONDS
        while self._connections and time.monotonic() < end:
            with self._guard:
                for connection in self._connections:
                    shut_down(connection)
            time.sleep(0.005)

    @contextlib.contextmanager
    def serving(self):
        """Count as busy while a request is served."""
        with self._guard:
            self._serving += 1
        try:
            yield
        finally:
            with self._guard:
                self._serving -= 1
                self._idle_since = time.monotonic()

    def idle_seconds(self):
        """Seconds since the last request ended, 0 while one is served."""
        with self._guard:
            return 0.0 if self._serving else time.monotonic() - self._idle_since

    def handle_error(self, request, client_address):
        """A connection that broke is no news."""


class Service:
    """What the routes work with, without any HTTP: the state, the runner and the settings of one folder."""

    def __init__(
        self,
        folder,
        key=None,
        faults=None,
        repos=None,
        skills=None,
        agent=None,
        width=4,
        signed_seconds=None,
        credits=None,
    ):
        self.folder = folder
        self.faults = Faults(faults)
        self.agent = agent and list(agent)
        self.repos = repos and os.path.abspath(repos)
        self.skills = skills and os.path.abspath(skills)
        self.signed_seconds = signed_seconds
        self.origin = ""
        self.store = Store(folder)
        self.secret = self.store.recall("secret", lambda: secrets.token_hex(32))
        if key:
            self.store.remember("key", key)
        self.key = self.store.recall("key", lambda: "rbk_local_" + secrets.token_hex(16))
        fill_purse(self.store, credits)
        shutil.rmtree(os.path.join(folder, "scratch"), ignore_errors=True)
        for name in ("blobs", "events", "scratch", "workspaces"):
            os.makedirs(os.path.join(folder, name), 0o700, exist_ok=True)
        self.stopping = threading.Event()
        self.timelines = Timelines(folder)
        self.deliveries = Deliveries(self.store, self.stopping)
        self.runner = Runner(self, width)

    def __repr__(self):
        return "Service(%r, %r)" % (self.folder, self.faults)

    def close(self):
        """End what runs; the state stays open for what is still to be told."""
        self.stopping.set()
        self.runner.stop()
        self.timelines.end_all()
        self.deliveries.close()


class LocalServer:
    """The Tasks API of one folder on 127.0.0.1; a context manager, for tests and for `serve`."""

    def __init__(self, folder, *, port=0, idle_seconds=None, **settings):
        """`settings`: key, faults, repos, skills, agent (a list of words), width, signed_seconds and credits."""
        self.folder = os.path.abspath(str(folder))
        self._port = port
        self._idle_seconds = idle_seconds
        self._settings = settings
        self._lock_file = self._http = self._thread = self._service = self._log = None

    def __repr__(self):
        return "LocalServer(%r, %s)" % (self.folder, self.url if self._http else "not started")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.close()

    @property
    def url(self):
        """The origin: http://127.0.0.1:PORT."""
        return self._service.origin

    @property
    def base_url(self):
        """The address of the API: the origin and /v1."""
        return self.url + "/v1"

    @property
    def key(self):
        """The one key this server takes."""
        return self._service.key

    @property
    def faults(self):
        """The misbehaviours, to be switched on and off."""
        return self._service.faults

    @property
    def requests(self):
        """What was asked so far, as dictionaries; neither key nor signature is in it."""
        return self._log.entries

    def start(self):
        """Lock the folder, take the port, and serve in a thread; raises FolderInUse or OSError."""
        os.makedirs(self.folder, 0o700, exist_ok=True)
        os.chmod(self.folder, 0o700)
        self._lock_file = _lock(self.folder)
        try:
            self._service = Service(self.folder, **self._settings)
            self._log = RequestLog(self.folder)
            self._http = self._bind()
            port = self._http.server_address[1]
            self._service.store.remember("port", port)
            self._service.origin = "http://127.0.0.1:%d" % port
            self._service.runner.recover()
        except BaseException:
            self._release()
            raise
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.1,), name="rebyte-local", daemon=True
        )
        self._thread.start()

    def _bind(self):
        last = int(self._service.store.recall("port") or 0)
        if self._port == 0 and last:
            try:
                return HttpServer(last, self._service, self._log)
            except OSError:
                pass  # taken meanwhile: any other will do
        return HttpServer(self._port, self._service, self._log)

    def is_idle(self):
        """True when nobody asked and nothing ran for `idle_seconds`."""
        return (
            self._idle_seconds is not None
            and self._http.idle_seconds() >= self._idle_seconds
            and not self._service.runner.is_busy
        )

    def close(self):
        """End processes, connections and threads, and release the folder; safe to call twice."""
        if self._http is None:
            return
        http, self._http = self._http, None
        shut_down(http.socket)  # wakes the accepting thread, which otherwise looks up every 0.1 s
        http.shutdown()
        self._thread.join()
        http.socket.close()
        self._service.close()
        http.end_connections()
        self._release()

    def _release(self):
        if self._service:
            self._service.store.close()
        if self._log:
            self._log.close()
        self._lock_file.close()


def _lock(folder):
    file = open(
        os.open(os.path.join(folder, "lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600), "r+b"
    )
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file
    except OSError:
        file.close()
        raise FolderInUse("another local server has the folder %s" % folder) from None


def serve(folder, **settings):
    """Serve in the foreground until SIGTERM, SIGINT or idleness; gives 0, 1 (cannot start) or 2 (bad settings)."""
    os.umask(0o077)
    server = LocalServer(folder, **settings)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it outlives the shell that started it
    _raise_file_limit()
    try:
        server.start()
    except (FolderInUse, OSError, sqlite3.Error, ValueError) as error:
        print("local server: %s" % error, file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    path = os.path.join(server.folder, "server.json")
    try:
        facts = {
            "url": server.url,
            "baseUrl": server.base_url,
            "key": server.key,
            "pid": os.getpid(),
            "startedAt": short_form(now_us()),
            "faults": server.faults.describe(),
        }
        with open(
            os.open(path + ".new", os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w"
        ) as file:
            file.write(json.dumps(facts) + "\n")
        os.replace(path + ".new", path)
        print(json.dumps(facts), flush=True)
        while not ended.wait(0.25) and not server.is_idle():
            pass
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        server.close()
    return 0


def _raise_file_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
