"""local start, stop, status, serve: the server on this machine, one per state folder, in a process of its own."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time

from rebyte_commands.arguments import count
from rebyte_commands.environment import DOOR
from rebyte_flows.state import FILE_MODE, lock_file
from rebyte_wire.errors import EXIT_DONE, EXIT_NOT_FOUND, EXIT_UNEXPECTED, InputError, NetworkError

IDLE_SECONDS = 30 * 60
START_SECONDS = 20
STOP_SECONDS = 10
PORT_MOST = 65535
EXAMPLES = """examples:
  rebyte_cli.py local start
  rebyte_cli.py local start --repos ~/src --fault slow-create=3
  rebyte_cli.py local stop

It runs what prompts ask for on this machine, with your rights, and holds no model.
"""
# What a server says that finds another one in its folder.
FOLDER_IN_USE = "another local server has the folder"
KEY_VARIABLES = ("REBYTE_API_KEY", "REBYTE_API_KEY_FILE")
ACTIONS = ("start", "stop", "status", "serve")


def flags(parser):
    """Declare the flags of local."""
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="misbehave on purpose; again for more",
    )
    parser.add_argument("--repos", metavar="DIR", help="serve owner/repo from DIR/owner/repo")
    parser.add_argument("--skills", metavar="DIR", help="where the folders of skills lie")
    parser.add_argument(
        "--agent",
        metavar="CMD",
        help="a real agent program: the prompt on its stdin, words on its stdout",
    )
    parser.add_argument(
        "--port", type=count, default=0, metavar="N", help="a fixed port (default: a free one)"
    )
    parser.add_argument("--width", type=count, default=4, metavar="N", help="prompts run at once")
    parser.add_argument(
        "--credits",
        type=count,
        metavar="N",
        help="begin with so many credits; a start costs one (default 10000)",
    )
    parser.add_argument(
        "--idle",
        type=count,
        default=IDLE_SECONDS,
        metavar="S",
        help="end after so many idle seconds (default 1800)",
    )


def local(context, options):
    """Do one of start, stop, status, serve."""
    options.local = True
    _check(options)
    return {"start": start, "stop": stop, "status": status, "serve": serve}[options.action](
        context, options
    )


def _check(options):
    """Raise InputError for settings that no server could have, before one is started."""
    _faults(options.fault)
    _agent(options.agent)
    if options.port > PORT_MOST:
        raise InputError(
            "--port %d: there is no such port" % options.port,
            code="usage",
            hint="0 to %d; 0 takes a free one" % PORT_MOST,
        )


def start(context, options):
    """Start the server unless it runs, and tell how to reach it."""
    server = running(context)
    if server and _serve_flags(options):
        raise InputError(
            "the local server runs already, with other settings",
            hint="%s, then start it again" % context.line("local", "stop"),
        )
    server = server or _spawn(context, _serve_flags(options))
    context.emit(_told(context, server))
    return 0


def status(context, options):
    """Tell whether the server runs; exit 5 when it does not."""
    server = running(context)
    if not server:
        context.emit(
            {
                "running": False,
                "next": [{"why": "this starts it", "run": context.line("local", "start")}],
            }
        )
        return EXIT_NOT_FOUND
    context.emit(_told(context, server))
    return 0


def stop(context, options):
    """End the server and what it runs."""
    server = running(context)
    if server:
        os.kill(server["pid"], signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while is_process(server["pid"]) and time.monotonic() < until:
            time.sleep(0.02)
    still = bool(running(context))
    context.emit({"running": still, "stopped": bool(server) and not still})
    return EXIT_UNEXPECTED if still else EXIT_DONE


def is_process(pid):
    """Tell whether a process runs; one that has ended but whose parent has not taken leave of it does not."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except OSError:
        pass
    try:
        os.kill(pid, 0)
        # In containers nobody may ever take leave of it.
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return not os.path.exists("/proc/self")
    except OSError:
        return False


def serve(context, options):
    """Be the server, in the foreground, until a signal or the idle time ends it."""
    from rebyte_local.server import serve as serve_here

    extra = {}
    if options.agent:
        extra["agent"] = _agent(options.agent)
    if options.credits is not None:
        extra["credits"] = options.credits
    for name in ("repos", "skills"):
        if getattr(options, name):
            extra[name] = os.path.abspath(getattr(options, name))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return serve_here(
        _folder(context),
        port=options.port,
        width=options.width,
        idle_seconds=options.idle or None,
        faults=_faults(options.fault),
        **extra,
    )


def _agent(words):
    """Return the command of --agent as a list of words."""
    try:
        return shlex.split(words or "")
    except ValueError as problem:
        raise InputError(
            "--agent cannot be read as a command: %s" % problem,
            code="usage",
            hint="quote it as for a shell",
        ) from None


def _faults(words):
    """Return the words of --fault NAME[=VALUE], which a server could take; raises InputError."""
    from rebyte_local.faults import Faults

    try:
        Faults(words)
    except ValueError as problem:
        raise InputError(
            "--fault %s: %s" % (" ".join(words), problem),
            code="usage",
            hint="see references/local.md for what each means",
        ) from None
    return words


def _serve_flags(options):
    words = [word for fault in options.fault for word in ("--fault", fault)]
    for name in ("repos", "skills"):
        if getattr(options, name):
            words += ["--" + name, os.path.abspath(getattr(options, name))]
    if options.agent:
        words += ["--agent", options.agent]
    if options.credits is not None:
        words += ["--credits", str(options.credits)]
    for name, usual in (("port", 0), ("width", 4), ("idle", IDLE_SECONDS)):
        if getattr(options, name) != usual:
            words += ["--" + name, str(getattr(options, name))]
    return words


def _told(context, server):
    told = {
        "running": True,
        "url": server["url"],
        "baseUrl": server["baseUrl"],
        "pageUrl": server.get("pageUrl"),
        "pid": server["pid"],
        "faults": server.get("faults") or None,
        "stateFolder": _folder(context),
        "rehearsal": True,
        "next": [{"why": "this ends it", "run": context.line("local", "stop")}],
    }
    return {key: value for key, value in told.items() if value}


def _folder(context):
    return context.state.folder("local")


def running(context):
    """Return what a running server wrote about itself, or None."""
    folder = _folder(context)
    try:
        with open(os.path.join(folder, "server.json"), encoding="utf-8") as file:
            server = json.load(file)
        return server if is_process(server["pid"]) and _is_locked(folder) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_locked(folder):
    """Tell whether a server holds its folder: its process id alone may be a stranger's by now."""
    with open(os.path.join(folder, "lock"), "r+b") as file:
        return not lock_file(file)


def ensure_running(context):
    """Return the running server of this state folder, started when there is none."""
    return running(context) or _spawn(context, [])


def _spawn(context, words):
    """Start the server as a child that outlives this command, and wait until it says where it listens."""
    folder = _folder(context)
    log_path = os.path.join(folder, "server.log")
    environ = dict(context.environ, REBYTE_STATE_DIR=context.state.path)
    # What prompts run can read the environment that the server was started with.
    for name in KEY_VARIABLES:
        environ.pop(name, None)
    # Not truncated: another command may be starting a server that writes to it.
    with os.fdopen(
        os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, FILE_MODE), "ab"
    ) as log:
        log_start = log.seek(0, os.SEEK_END)
        child = subprocess.Popen(
            [sys.executable, DOOR, "local", "serve"] + words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env=environ,
            cwd=folder,
        )
    until = time.monotonic() + START_SECONDS
    try:
        ready = select.select([child.stdout], [], [], START_SECONDS)[0]
        line = child.stdout.readline() if ready else b""
    finally:
        child.stdout.close()
    if line.startswith(b"{") and b'"pid"' in line:
        # The server outlives us on purpose; nobody waits for it.
        child.returncode = 0
        return json.loads(line)
    return _other_server(context, child, until, log_path, log_start)


def _other_server(context, child, until, log_path, log_start):
    """Another command may have started the server at the same moment; else say why ours did not come up."""
    words = ""
    while time.monotonic() < until:
        server = running(context)
        if server:
            child.poll()
            return server
        if child.poll() is not None:
            with open(log_path, encoding="utf-8", errors="replace") as log:
                log.seek(log_start)
                words = " ".join(log.read()[-400:].split())
            # One that holds the folder has still to say where it listens.
            if FOLDER_IN_USE not in words:
                break
        time.sleep(0.05)
    raise NetworkError(
        "the local server did not start: %s" % (words or "no reason was given"),
        code="local_not_started",
        hint="see %s" % log_path,
    )


COMMANDS = {"local": (flags, local, EXAMPLES)}
