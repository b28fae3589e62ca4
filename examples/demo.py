"""`make demo`: one job from a file to an answer to a file, told in a few lines, on this machine
alone.

It types the same command lines that anyone would, checks the answer by other means, and leaves no
process behind. orders.csv is a year of an invented coffee roaster.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
DOOR = os.path.join(os.path.dirname(HERE), "scripts", "rebyte_cli.py")
ORDERS = os.path.join(HERE, "orders.csv")
COMMAND_SECONDS = 60
LEAVE_SECONDS = 5
SPARKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"


# A small repository with uncommitted work: beans rest some days between roasting and sale.
CODE = {
    "dates.py": """import datetime


def sold_from(roasted, days):
    return roasted + datetime.timedelta(days + 1)
""",
    "test_dates.py": """import datetime
import unittest

from dates import sold_from


class Dates(unittest.TestCase):
    def test_three_days_of_rest(self):
        monday = datetime.date(2026, 11, 23)
        self.assertEqual(sold_from(monday, 3), datetime.date(2026, 11, 26))
""",
}


class Failure(Exception):
    """Something in the story did not come true."""


class Desk:
    """A temporary folder with a state of its own, and the command line in it."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="rebyte-demo-")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("REBYTE_") and not name.lower().endswith("_proxy")
        }
        self.environ = dict(
            kept,
            REBYTE_STATE_DIR=os.path.join(self.folder, "state"),
            PYTHONDONTWRITEBYTECODE="1",
        )

    def type(self, *words):
        """Run one command line; return its document."""
        done = subprocess.run(
            [sys.executable, DOOR, "--local", "--json"] + list(words),
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
        )
        if done.returncode:
            raise Failure(
                "`%s` ended with %d:\n%s%s"
                % (
                    " ".join(words),
                    done.returncode,
                    done.stdout.decode(),
                    done.stderr.decode(),
                )
            )
        return json.loads(done.stdout.decode())

    def leftovers(self, server):
        """Return the ids of processes that belong to this desk: all of them where /proc tells,
        else the server's.
        """
        if not os.path.isdir("/proc/self"):
            return [server] if is_running(server) else []
        # One that has ended shows no environment, whether or not its parent has noticed.
        mark, left = self.folder.encode(), set()
        for name in os.listdir("/proc"):
            try:
                with open("/proc/%d/environ" % int(name), "rb") as file:
                    if mark in file.read():
                        left.add(int(name))
            except (ValueError, OSError):
                continue
        return sorted(left)

    def close(self):
        """End the local server, return what is still running, and remove the folder."""
        try:
            server = self.type("local", "status")["pid"]
            self.type("local", "stop")
            until = time.monotonic() + LEAVE_SECONDS
            while self.leftovers(server) and time.monotonic() < until:
                time.sleep(0.02)
            return self.leftovers(server)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def is_running(process):
    """Say whether a process exists, by its id."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def tell(what, text):
    """Print one line of the story."""
    line = "%8s  %s" % (what, text)
    print(
        line.encode(sys.stdout.encoding or "ascii", "replace").decode(
            sys.stdout.encoding or "ascii"
        )
    )


def best_month_by_sql():
    """Compute the figure a second time, by SQLite instead of a loop; return it in the words of the
    answer.
    """
    with open(ORDERS, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split(",") for line in file][1:]
    base = sqlite3.connect(":memory:")
    base.execute("create table orders (day, kilograms, cents)")
    base.executemany(
        "insert into orders values (?, ?, ?)",
        [(row[1], int(row[4]), round(float(row[5]) * 100)) for row in rows],
    )
    month, cents = base.execute(
        "select substr(day, 1, 7) as month, sum(kilograms * cents) as cents from orders"
        " group by month order by cents desc limit 1"
    ).fetchone()
    base.close()
    return "%s brought in most: %d.%02d euros" % (
        month,
        cents // 100,
        cents % 100,
    ), len(rows)


def sparkline(path):
    """Draw the months of the file that came home."""
    with open(path, encoding="utf-8") as file:
        cents = [int(line.split(",")[1]) for line in file.read().split()[1:]]
    marks = SPARKS if "utf" in (sys.stdout.encoding or "").lower() else " .:-=+*#"
    return "".join(marks[min(7, 8 * value // (max(cents) + 1))] for value in cents)


def work_lines(transcript):
    """Return two lines of the agent at work, from the events that were kept."""
    with open(transcript, encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    lines = []
    for event in events:
        if event.get("eventType") == "stderr":
            payload = event["payload"]
            lines += (payload.get("content") or payload.get("text") or "").splitlines()
    return lines[:2]


def first_turn(desk):
    """The file goes up, the work is done, answer and file come home; return the document."""
    expected, orders = best_month_by_sql()
    tell(
        "up",
        "examples/orders.csv, %d orders, %d bytes" % (orders, os.path.getsize(ORDERS)),
    )
    tell("job", "Which month brought in the most, and how much?")
    task = desk.type(
        "run",
        "--once",
        "best-month",
        "--prompt-file",
        os.path.join(HERE, "best-month.md"),
        "--file",
        ORDERS,
        "--want",
        "months.csv",
        "--out",
        "result",
    )
    tell("live", task["url"])
    at_work = work_lines(os.path.join(desk.folder, "result", "transcript.jsonl"))
    if len(at_work) != 2:
        raise Failure("the events hold no lines of the work: %r" % at_work)
    for line in at_work:
        tell("at work", line)
    tell("answer", task["answer"].strip())
    if task["answer"].strip() != expected:
        raise Failure("SQLite says otherwise: " + expected)
    tell("check", "the same sum by SQLite in this process: equal")
    home = task["files"][0]
    tell(
        "home",
        "%s, %d bytes, the year: %s"
        % (home["name"], home["bytes"], sparkline(home["path"])),
    )
    return task


def second_turn(desk, task):
    """The same machine still has what the first turn made there."""
    tell(
        "again",
        "What share of the year did October to December bring? Use the months.csv that you made.",
    )
    more = desk.type(
        "follow-up",
        task["id"],
        "--prompt-file",
        os.path.join(HERE, "last-quarter.md"),
        "--wait",
    )
    tell("answer", more["answer"].strip())
    if not re.match(
        r"October to December brought \d+\.\d percent$", more["answer"].strip()
    ):
        raise Failure("that is no share")


def git(folder, *words):
    """Run git in the small repository; return what it says."""
    return subprocess.run(
        ["git", "-c", "user.name=demo", "-c", "user.email=demo@localhost", *words],
        cwd=folder,
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=COMMAND_SECONDS,
    ).stdout.decode()


def failing_test(folder):
    """Say whether the test of the small repository fails."""
    done = subprocess.run(
        [sys.executable, "-B", "-m", "unittest", "-q", "test_dates"],
        cwd=folder,
        capture_output=True,
        timeout=COMMAND_SECONDS,
    )
    return done.returncode != 0


def code(desk):
    """A repository with a failing test and uncommitted work goes out; its changes come home."""
    folder = os.path.join(desk.folder, "roastery")
    os.mkdir(folder)
    for name, text in CODE.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    git(folder, "init", "-q", ".")
    git(folder, "add", "dates.py")
    git(folder, "commit", "-q", "-m", "Roast dates")
    if not failing_test(folder):
        raise Failure("the test of the small repository does not fail")
    before = git(folder, "status", "--porcelain=v2")
    tell(
        "code",
        "a repository with a new test that fails, not committed, goes out: --code",
    )
    prompt = os.path.join(HERE, "mend-test.md")
    words = ("run", "--once", "dates", "--code", folder, "--prompt-file", prompt)
    changes = desk.type(*words)["changes"]
    if git(folder, "status", "--porcelain=v2") != before or not failing_test(folder):
        raise Failure("something was written before apply")
    if "+    return" not in desk.type("diff", "@dates")["diff"]:
        raise Failure("the diff does not show the mended line")
    applied = desk.type("apply", "@dates")["applied"]
    if applied != ["dates.py"] or failing_test(folder):
        raise Failure("the test fails after apply")
    tell(
        "mended",
        "%s, on the branch %s; after apply the test passes, and nothing is staged"
        % (applied[0], changes["branch"]),
    )


def storm(desk, task):
    """The answer to a paid start is lost and its stream is cut again and again: still one task,
    and the same answer.
    """
    desk.type("local", "stop")
    desk.type(
        "local", "start", "--fault", "drop-after-accept", "--fault", "cut-stream=3"
    )
    tell(
        "storm",
        "faults on purpose: the same job again, the answer to its start is lost, "
        "its stream cut every 3 events",
    )
    words = (
        "run",
        "--once",
        "in-the-storm",
        "--prompt-file",
        os.path.join(HERE, "best-month.md"),
        "--file",
        ORDERS,
    )
    before = desk.type("list")["total"]
    again = desk.type(*words)
    if again["answer"] != task["answer"]:
        raise Failure("another answer came through the storm: %r" % again["answer"])
    tell("answer", again["answer"].strip())
    started = desk.type("list")["total"]
    row = desk.type("ledger", "show", again["id"])
    if (
        started != before + 1
        or row["state"] != "settled"
        or desk.type(*words)["id"] != again["id"]
    ):
        raise Failure(
            "%d tasks were started where 1 was asked for; the ledger says %s"
            % (started - before, row["state"])
        )
    tell(
        "counted",
        "one task for it: found again by looking, and the same line typed once more starts nothing",
    )


def main():
    """Tell the story; 0 when all of it was true."""
    began = time.monotonic()
    print(
        "A job for an agent, rehearsed here: no account, no network, and no model, "
        "so the prompt brings its own code.\n"
    )
    desk, problem, left = Desk(), None, []
    try:
        task = first_turn(desk)
        second_turn(desk, task)
        if shutil.which("git"):
            code(desk)
        storm(desk, task)
    except (
        Failure,
        KeyError,
        IndexError,
        OSError,
        ValueError,
        subprocess.SubprocessError,
    ) as error:
        problem = error
    try:
        left = desk.close()
    except (Failure, OSError, subprocess.TimeoutExpired) as error:
        problem = problem or error
    if problem or left:
        sys.stdout.flush()
        print(
            "The demo failed: %s"
            % (problem or "still running: " + ", ".join(map(str, left))),
            file=sys.stderr,
        )
        return 1
    print(
        "\n%.1f seconds, no process left. In the cloud, with REBYTE_API_KEY set, "
        "an agent reads the prompt and does the rest:" % (time.monotonic() - began)
    )
    print(
        "  python3 scripts/rebyte_cli.py run "
        '"Which month in /code/orders.csv brought in the most?" --file examples/orders.csv'
        " --want months.csv --out result"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
