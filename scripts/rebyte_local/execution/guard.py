"""A small process that ends what agent programs began when the server dies without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from rebyte_local.execution.process_tree import kill_marked

INSTANCE = "LOCAL_SERVER_INSTANCE"
SCRIPTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from rebyte_local.execution.guard import watch; watch(sys.argv[2])"
)
END_SECONDS = 5


class Guard:
    """Runs beside a server for as long as it lives; `instance` marks the server's programs."""

    def __init__(self, instance: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-B", "-c", CODE, SCRIPTS, instance],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __repr__(self) -> str:
        return "Guard(pid=%d)" % self._child.pid

    def close(self) -> None:
        """Let it go: by now nothing runs any more."""
        try:
            self._child.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.communicate()


def watch(instance: str) -> None:
    """Wait until the server is gone, and kill what has its mark."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    kill_marked((INSTANCE, instance))
