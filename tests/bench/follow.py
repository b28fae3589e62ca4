"""Memory, delay and requests of following: a 50 MB stream through `watch`, and fifty tasks in one `wait`.

    python3 tests/bench/follow.py [stream|wait]
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "scripts"))

from rebyte_client import RebyteClient  # noqa: E402
from rebyte_local.server import LocalServer  # noqa: E402

DOOR = os.path.join(ROOT, "scripts", "rebyte_cli.py")
EVENTS = 200_000
SPARSE_EVENTS = 300
TASKS = 50


def run(folder, server, words, on_line=None):
    """Run a command line to its end; returns (exit code, lines, peak KiB, seconds)."""
    environ = dict(os.environ, REBYTE_BASE_URL=server.url, REBYTE_API_KEY=server.key, REBYTE_STATE_DIR=os.path.join(folder, "state"))
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, DOOR] + words, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    lines = 0
    for line in child.stdout:
        lines += 1
        if on_line:
            on_line(line)
    child.stdout.close()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.WEXITSTATUS(status)
    return child.returncode, lines, usage.ru_maxrss, time.monotonic() - began


def stream(folder, server):
    """Follow 200,000 events of 250 bytes, then 300 sparse ones whose delay is measured by the clock that they carry."""
    with RebyteClient(server.key, server.base_url) as client:
        task = client.create_task("```python run\nfor n in range(%d):\n    print('%%08d' %% n + 'x' * 52)\n```" % EVENTS)
        client.wait_for_task(task["id"], poll_interval=0.5, timeout=300)
        code, lines, peak, seconds = run(folder, server, ["watch", task["id"], "--max-wait", "300", "--raw"])
        print("stream: exit %d, %d lines, %.0f events a second, peak %.1f MB" % (code, lines, lines / seconds, peak / 1024))
        task = client.create_task("```python run\nimport time\ntime.sleep(1)\nfor n in range(%d):\n    print(time.time(), flush=True); time.sleep(0.005)\n```" % SPARSE_EVENTS)
        delays = []

        def note(line):
            event = json.loads(line)
            if event.get("type") == "stdout":
                delays.append(time.time() - float(event["text"]))
        run(folder, server, ["watch", task["id"], "--max-wait", "100"], note)
    delays.sort()
    print("delay from the print in the task to the line of watch: median %.1f ms, 99 %% %.1f ms, most %.1f ms (%d events)"
          % (1000 * delays[len(delays) // 2], 1000 * delays[len(delays) * 99 // 100], 1000 * delays[-1], len(delays)))


def wait(folder, server):
    """Wait for fifty tasks that end one after another; measure requests a second, memory, and how late an end is noticed."""
    with RebyteClient(server.key, server.base_url) as client:
        gate = os.path.join(folder, "gate")
        ids = [client.create_task("```bash run\nwhile [ ! -e %s-%d ]; do sleep 0.2; done\n```" % (gate, n))["id"] for n in range(TASKS)]
        ended, noticed, place = {}, {}, dict(zip(ids, range(TASKS)))

        def end_all():
            time.sleep(2)
            for n in range(TASKS):
                open("%s-%d" % (gate, n), "w").close()
                ended[n] = time.monotonic()
                time.sleep(1.5)
        thread = threading.Thread(target=end_all)
        thread.start()
        before, began = len(server.requests), time.monotonic()
        environ = dict(os.environ, REBYTE_BASE_URL=server.url, REBYTE_API_KEY=server.key, REBYTE_STATE_DIR=os.path.join(folder, "state"))
        child = subprocess.Popen([sys.executable, DOOR, "wait", "--all", "--max-wait", "300"] + ids, env=environ, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for line in child.stderr:
            words = line.decode().split()
            if len(words) > 2 and words[1].rstrip(":") in place:
                noticed[place[words[1].rstrip(":")]] = time.monotonic()
        out = child.stdout.read()
        child.stdout.close()
        child.stderr.close()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.WEXITSTATUS(status)
        seconds = time.monotonic() - began
        thread.join()
    late = sorted(noticed[n] - ended[n] for n in noticed)
    print("wait --all of %d: exit %d, one document of %d bytes, %.0f s, %.2f requests a second, peak %.1f MB; an end was noticed after %.1f s (median), %.1f s (most)"
          % (TASKS, os.WEXITSTATUS(status), len(out), seconds, (len(server.requests) - before) / seconds, usage.ru_maxrss / 1024, late[len(late) // 2], late[-1]))


def main():
    """Run what is named, or both."""
    wanted = sys.argv[1:] or ["stream", "wait"]
    with tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder, LocalServer(os.path.join(folder, "server"), width=64) as server:
        for name in wanted:
            {"stream": stream, "wait": wait}[name](folder, server)


if __name__ == "__main__":
    main()
