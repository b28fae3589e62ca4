"""Kill a batch at many moments, type the same line again, and count: no line twice, none lost,
nothing sent in the end.

python3 tests/pull_the_plug.py [--points 200] [--lines 20] [--width 4] [--fault
drop-after-accept=3] [--across]

--across types the lines by turns in a sandbox of bwrap (read-only home, a temp folder of its own,
its own process numbers) and outside of it, as one user does whose harness asks now and then.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "scripts"))

from rebyte_client import RebyteClient
from rebyte_local.server import LocalServer

DOOR = os.path.join(ROOT, "scripts", "rebyte_cli.py")
SLOW_CREATE_SECONDS = 0.1
RERUNS_AT_MOST = 6
# What a sandbox lets its commands write, below the temp directory that both sides share.
SANDBOX_TMP = "/tmp/claude-%d" % os.getuid()
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Point:
    """One kill: a batch of its own, killed after so many seconds, then typed again until it ends."""

    def __init__(self, server, client, folder, number, lines, across=False):
        self.across = across
        self.server, self.client, self.number, self.lines = (
            server,
            client,
            number,
            lines,
        )
        self.folder = os.path.join(folder, "point-%d" % number)
        os.makedirs(self.folder)
        with open(os.path.join(self.folder, "jobs.jsonl"), "w") as file:
            for line in range(lines):
                file.write(
                    json.dumps({"prompt": "plug %d line %d." % (number, line)}) + "\n"
                )
        self.environ = dict(
            os.environ,
            REBYTE_BASE_URL=server.url,
            REBYTE_API_KEY=server.key,
            PYTHONDONTWRITEBYTECODE="1",
            REBYTE_STATE_DIR=os.path.join(self.folder, "state"),
        )
        self.printed, self.last, self.runs, self.killed, self.states, self.named = (
            set(),
            None,
            0,
            False,
            {},
            0,
        )
        if across:
            del self.environ["REBYTE_STATE_DIR"]
            for name in ("home", "tmp"):
                os.makedirs(os.path.join(self.folder, name))
            self.environ["HOME"] = os.path.join(self.folder, "home")
            self.environ.pop("TMPDIR", None)

    def side(self, inside):
        """Return (the words in front of a command line, its environment) on one side of the
        border.
        """
        if not self.across:
            return [], self.environ
        folder, environ = self.folder, dict(self.environ)
        words = ["bwrap", "--dev-bind", "/", "/", "--bind", folder + "/tmp", "/tmp"]
        words += ["--bind", folder, folder, "--die-with-parent"]
        if inside:
            environ["TMPDIR"] = SANDBOX_TMP
            words += ["--ro-bind", folder + "/home", folder + "/home", "--unshare-pid"]
            words += ["--proc", "/proc", "--dir", SANDBOX_TMP]
        return words, environ

    def type(self, *words, kill_after=None):
        """Type a command line, killed after some seconds or to its own end; return (exit code,
        stdout, stderr).
        """
        before, environ = self.side(inside=self.runs % 2 == 0)
        child = subprocess.Popen(
            [*before, sys.executable, DOOR, *words],
            cwd=self.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = child.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            self.killed = True
            out, err = child.communicate()
        return child.returncode, out, err

    def run(self, kill_after=None):
        """Type the line of the batch; return its exit code and remember each id that it printed."""
        words = [
            "batch",
            "jobs.jsonl",
            "--out",
            "out",
            "--concurrency",
            "8",
            "--max-tasks",
            "100",
            "--max-wait",
            "15",
        ]
        self.last, out, err = self.type(*words, kill_after=kill_after)
        self.printed |= set(UUID.findall((out + err).decode("ascii", "replace")))
        self.runs += 1
        return self.last

    def rows(self):
        """Return the ledger's rows."""
        return json.loads(
            self.type("ledger", "list", "--limit", "500", "--field", "rows")[1] or b"[]"
        )

    def go(self, kill_after):
        """Kill once, look at the states, type the line again until it ends; rows that stay unknown
        are given up and started anew.
        """
        self.run(kill_after)
        for row in self.rows():
            self.states[row["state"]] = self.states.get(row["state"], 0) + 1
        for _ in range(RERUNS_AT_MOST):
            code = self.run()
            if code == 8:
                unknown = [
                    str(row["row"]) for row in self.rows() if row["state"] == "unknown"
                ]
                self.named = len(unknown)
                for number in unknown:
                    self.type("ledger", "settle", number, "--abandon", "--quiet")
            if code == 0:
                return

    def classify_failure(self):
        """Return what is wrong: an empty list is what is wanted."""
        last, ids = self.last, started(self.client, "plug %d line " % self.number)
        counts = [
            len(ids.get("plug %d line %d." % (self.number, line), ()))
            for line in range(self.lines)
        ]
        wrong = [
            "line %d was started %d times" % (line, count)
            for line, count in enumerate(counts)
            if count != 1
        ]
        known = {row.get("id") for row in self.rows()}
        if self.printed - known - set().union(*ids.values()):
            wrong.append("a printed id is not in the ledger")
        if last != 0:
            wrong.append("the last rerun ended with %d" % last)
        before = self.posts()
        if self.run() != 0 or self.posts() != before:
            wrong.append("a further rerun sent something or failed")
        return wrong

    def posts(self):
        """Return the ids of every task of this point's lines."""
        return sorted(
            task_id
            for ids in started(self.client, "plug %d line " % self.number).values()
            for task_id in ids
        )


def started(client, prefix):
    """Return {prompt: ids} of the tasks whose prompt begins so, as the service tells them."""
    found, offset = {}, 0
    while True:
        items = client.list_tasks(limit=100, offset=offset)["data"]
        for item in items:
            if (item.get("title") or "").startswith(prefix):
                text = client.task_content(item["id"])["prompts"][0]["userPrompt"]
                found.setdefault(text, set()).add(item["id"])
        if len(items) < 100:
            return found
        offset += 100


def measure(server, client, folder, lines, across=False):
    """Return how long an undisturbed batch takes, in seconds."""
    point = Point(server, client, folder, 0, lines, across)
    began = time.monotonic()
    point.run()
    return time.monotonic() - began


def pull(points, lines, width, faults=(), say=print, across=False):
    """Pull the plug at so many moments spread over a whole batch; returns (figures, what was
    wrong).
    """
    folder = tempfile.mkdtemp(prefix="rebyte-plug-")
    if across:
        # A sandbox refuses a folder that others could have made.
        os.umask(0o077)
    totals = {
        "points": points,
        "killed": 0,
        "states at the kill": {},
        "named unknown": 0,
        "reruns": 0,
        "wrong": 0,
    }
    wrong = []
    try:
        with LocalServer(
            os.path.join(folder, "server"), width=16
        ) as server, RebyteClient(server.key, server.base_url) as client:
            server.faults.enable("slow-create", seconds=SLOW_CREATE_SECONDS)
            for fault in faults:
                server.faults.enable_text(fault)
            whole = measure(server, client, folder, lines, across)
            say("an undisturbed batch of %d takes %.2f s" % (lines, whole))
            moments = [
                (number, whole * number / points) for number in range(1, points + 1)
            ]
            lock = threading.Lock()

            def work():
                while True:
                    with lock:
                        if not moments:
                            return
                        number, moment = moments.pop(0)
                    point = Point(server, client, folder, number, lines, across)
                    point.go(moment)
                    found = point.classify_failure()
                    with lock:
                        add(totals, point, found)
                        wrong.extend(
                            "point %d (%.3f s): %s" % (number, moment, text)
                            for text in found
                        )
                    shutil.rmtree(point.folder, ignore_errors=True)

            threads = [threading.Thread(target=work) for _ in range(width)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return totals, wrong


def add(totals, point, found):
    """Add what one point showed to the totals."""
    totals["killed"] += point.killed
    totals["named unknown"] += point.named
    totals["reruns"] += point.runs - 1
    totals["wrong"] += bool(found)
    for state, number in point.states.items():
        totals["states at the kill"][state] = (
            totals["states at the kill"].get(state, 0) + number
        )


def main():
    """Run from the command line; exit 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--lines", type=int, default=20)
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--fault", action="append", default=[])
    parser.add_argument("--across", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    totals, wrong = pull(
        options.points,
        options.lines,
        options.width,
        options.fault,
        across=options.across,
    )
    for name, value in totals.items():
        print(
            "%-20s %s" % (name, json.dumps(value) if isinstance(value, dict) else value)
        )
    print("%-20s %.0f s" % ("took", time.monotonic() - began))
    for text in wrong[:20]:
        print("WRONG " + text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
