"""The server on this machine, one per state folder: is it running, and start it."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time

from rebyte_commands.shell.environment import CLI_PATH
from rebyte_commands.shell.sandbox import can_listen, sandbox_name
from rebyte_flows.state import FILE_MODE, lock_file
from rebyte_wire.errors import InputError, NetworkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from rebyte_commands.shell.context import Context
    from rebyte_types import Json

# What a server says that finds another one in its folder.
FOLDER_IN_USE = "another local server has the folder"
# What --agents would say, for the server that --local starts.
AGENTS_VARIABLE = "REBYTE_LOCAL_AGENTS"
STARTED_WITHOUT = (
    "%s is set, and the local server that runs was started without it; after `local stop` the next"
    " line starts one with it"
)
LOG_CHARACTERS = 400
# With less the server cannot make its database, nor say so in its log.
LEAST_ROOM_BYTES = 2 << 20
START_SECONDS = 20
POLL_SECONDS = 0.05


def server_folder(context: Context) -> str:
    """Return the folder of the server's data."""
    return context.state.folder("local")


def running_server(context: Context) -> Json | None:
    """Return what a running server wrote about itself (pid, url, baseUrl, key), or None."""
    folder = server_folder(context)
    try:
        with open(os.path.join(folder, "server.json"), encoding="utf-8") as file:
            server: Json = json.load(file)
        is_running = is_process(server["pid"]) and _is_locked(folder)
        return server if is_running else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_process(pid: int) -> bool:
    """Tell whether a process runs; one that has ended but was not yet waited for does not."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except OSError:
        pass
    try:
        os.kill(pid, 0)
        # In containers nobody may ever wait for it.
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return not os.path.exists("/proc/self")
    except OSError:
        return False


def _is_locked(folder: str) -> bool:
    """Tell whether a server holds its folder: its process id alone may be a stranger's by now."""
    with open(os.path.join(folder, "lock"), "r+b") as file:
        return not lock_file(file)


def ensure_running(context: Context) -> Json:
    """Return the running server of this state folder, started when there is none."""
    server = running_server(context)
    agents = (context.environ.get(AGENTS_VARIABLE) or "").strip()
    if server and agents and not server.get("agents"):
        context.info(STARTED_WITHOUT % AGENTS_VARIABLE)
    if server:
        return server
    if not agents:
        return start_server(context, [])
    try:
        return start_server(context, ["--agents", agents])
    except NetworkError as problem:
        if "--agents" not in problem.message:
            raise
        raise InputError(
            "%s is %r: %s" % (AGENTS_VARIABLE, agents, problem.message),
            hint="unset it or correct it; see references/local.md",
        ) from problem


def start_server(context: Context, words: Sequence[str]) -> Json:
    """Start the server as a child that outlives this command, and wait until it says where it
    listens.
    """
    _check_sockets(context)
    folder = server_folder(context)
    log_path = os.path.join(folder, "server.log")
    # The server runs foreign code: it never gets the key of the cloud.
    environ = {
        name: value
        for name, value in context.environ.items()
        if not name.startswith("REBYTE_")
    }
    environ["REBYTE_STATE_DIR"] = context.state.path
    # Not truncated: another command may be starting a server that writes to it.
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, FILE_MODE)
    with os.fdopen(log, "ab") as log_file:
        log_start = log_file.seek(0, os.SEEK_END)
        child = subprocess.Popen(
            [sys.executable, CLI_PATH, "local", "serve", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log_file,
            start_new_session=True,
            env=environ,
            cwd=folder,
        )
    until = time.monotonic() + START_SECONDS
    line = _first_line(child)
    if line.startswith(b"{") and b'"pid"' in line:
        # The server outlives us on purpose; nobody waits for it.
        child.returncode = 0
        server: Json = json.loads(line)
        return server
    return _other_server(context, child, until, log_path, log_start)


def _check_sockets(context: Context) -> None:
    """Raise NetworkError where no program may open a socket to listen on."""
    if can_listen():
        return
    owner = sandbox_name(context.environ)
    place = "the sandbox of %s" % owner if owner else "this sandbox"
    raise NetworkError(
        "the local server needs a socket on 127.0.0.1, and %s allows none" % place,
        code="local_not_started",
        hint="run the line outside of it; without --local, doctor names what to ask for",
        retryable=False,
    )


def _first_line(child: subprocess.Popen[bytes]) -> bytes:
    """Return the line with which a server says where it listens; empty when it said nothing."""
    stdout = child.stdout
    assert stdout is not None
    with stdout:
        ready = select.select([stdout], [], [], START_SECONDS)[0]
        return stdout.readline() if ready else b""


def _other_server(
    context: Context,
    child: subprocess.Popen[bytes],
    until: float,
    log_path: str,
    log_start: int,
) -> Json:
    """Return the server that another command started at the same moment.

    Raises NetworkError, which says why ours did not come up, when there is none.
    """
    words = ""
    while time.monotonic() < until:
        server = running_server(context)
        if server:
            child.poll()
            return server
        if child.poll() is not None:
            words = _last_words(log_path, log_start)
            # One that holds the folder has still to say where it listens.
            if FOLDER_IN_USE not in words:
                break
        time.sleep(POLL_SECONDS)
    if (
        not words
        and shutil.disk_usage(os.path.dirname(log_path)).free < LEAST_ROOM_BYTES
    ):
        words = "the disk of its folder is full"
    raise NetworkError(
        "the local server did not start: %s" % (words or "no reason was given"),
        code="local_not_started",
        hint="see %s" % log_path,
    )


def _last_words(log_path: str, start: int) -> str:
    """Return the end of what a server wrote to its log."""
    with open(log_path, encoding="utf-8", errors="replace") as log:
        log.seek(start)
        return " ".join(log.read()[-LOG_CHARACTERS:].split())
