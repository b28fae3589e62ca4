"""A ledger of ten thousand rows, a batch that finds all done, and two hundred tasks sixteen wide beside the seeds' curl and jq.

    python3 tests/bench/fan_out.py [growth|tasks]
"""
from __future__ import annotations

import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "scripts"))

from rebyte_flows.ledger import Ledger, account_mark  # noqa: E402
from rebyte_flows.orders import Order  # noqa: E402
from rebyte_flows.state import StateFolder  # noqa: E402
from rebyte_local.server import LocalServer  # noqa: E402

DOOR = os.path.join(ROOT, "scripts", "rebyte_cli.py")
TIMES = 5
TASKS, WIDTH = 200, 16
SEEDS_LOOP = """
one() {
  TASK_ID=$(curl -s -X POST $BASE/v1/tasks -H "API_KEY: $REBYTE_API_KEY" -H "Content-Type: application/json" \\
    -d "{\\"prompt\\": \\"seed task $1\\"}" | jq -r '.id')
  while true; do
    STATUS=$(curl -s $BASE/v1/tasks/$TASK_ID -H "API_KEY: $REBYTE_API_KEY" | jq -r '.status')
    [ "$STATUS" = completed ] || [ "$STATUS" = failed ] && break
    sleep 1
  done
  curl -s $BASE/v1/tasks/$TASK_ID/content -H "API_KEY: $REBYTE_API_KEY" | jq -r '.prompts[-1].response' > /dev/null
}
export -f one
seq %d | xargs -P %d -I N bash -c 'one N'
"""


def timed(command, environ, folder):
    """Run a command; returns (exit code, seconds, CPU seconds of it and its children, peak MB of the largest)."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    child = subprocess.Popen(command, env=environ, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.WEXITSTATUS(status)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return child.returncode, seconds, cpu, usage.ru_maxrss / 1024


def fill(state, server, count):
    """Write a ledger of so many delivered starts, and the batch that made them with all its results."""
    ledger = Ledger(StateFolder(state), server.url, account_mark(server.key))
    out, now = os.path.join(state, "out"), time.time()
    os.makedirs(out)
    ledger._db.execute("BEGIN")
    with open(os.path.join(state, "jobs.jsonl"), "w") as jobs, open(os.path.join(out, "results.jsonl"), "w") as results:
        for n in range(count):
            order = Order("task %d" % n)
            number = ledger._insert(order, "n%d" % n, None, "digest", (), None)
            task_id = "%08x-0000-4000-8000-%012x" % (n, n)
            ledger._db.execute("UPDATE starts SET state='created', task_id=?, answered_at=?, status='completed', delivered_at=? WHERE id=?",
                               (task_id, now, now, number))
            jobs.write(json.dumps({"once": "n%d" % n, "prompt": "task %d" % n}) + "\n")
            results.write(json.dumps({"index": n + 1, "id": task_id, "status": "completed", "answer": "fine %d" % n}) + "\n")
    ledger._db.execute("COMMIT")
    ledger.close()


def growth(server, folder):
    """Time `ledger list` and a finished batch at 1,000 and 10,000 rows; print medians and the exponent."""
    found = {}
    for count in (1_000, 10_000):
        state = os.path.join(folder, "state-%d" % count)
        fill(state, server, count)
        environ = dict(os.environ, REBYTE_BASE_URL=server.url, REBYTE_API_KEY=server.key, REBYTE_STATE_DIR=state)
        for name, words in (("ledger list --limit 20", ["ledger", "list", "--limit", "20"]),
                            ("batch, all done", ["batch", "jobs.jsonl", "--out", "out"])):
            runs = sorted(timed([sys.executable, DOOR] + words, environ, state) for _ in range(TIMES))
            code, seconds, _, peak = runs[len(runs) // 2]
            found[name, count] = seconds
            print("%-24s %6d rows: exit %d, %.2f s, peak %.1f MB" % (name, count, code, seconds, peak))
    for name in ("ledger list --limit 20", "batch, all done"):
        print("%-24s growth exponent %.2f" % (name, math.log10(found[name, 10_000] / found[name, 1_000])))


def tasks(server, folder):
    """Run two hundred tasks through batch, and through the seeds' curl and jq; print CPU seconds a task."""
    environ = dict(os.environ, REBYTE_BASE_URL=server.url, REBYTE_API_KEY=server.key, REBYTE_STATE_DIR=os.path.join(folder, "state"), BASE=server.url)
    with open(os.path.join(folder, "jobs.jsonl"), "w") as file:
        file.writelines(json.dumps({"prompt": "task %d" % n}) + "\n" for n in range(TASKS))
    batch = [sys.executable, DOOR, "batch", "jobs.jsonl", "--out", "out", "--concurrency", str(WIDTH), "--max-tasks", str(TASKS), "--max-wait", "300"]
    code, seconds, cpu, peak = timed(batch, environ, folder)
    print("batch of %d, %d wide:    exit %d, %.1f s, %.4f CPU seconds a task, peak %.1f MB" % (TASKS, WIDTH, code, seconds, cpu / TASKS, peak))
    if not shutil.which("curl") or not shutil.which("jq"):
        print("curl and jq: not here, so not compared")
        return
    code, seconds, other, _ = timed(["bash", "-c", SEEDS_LOOP % (TASKS, WIDTH)], environ, folder)
    print("curl and jq, the same:    exit %d, %.1f s, %.4f CPU seconds a task; ours takes %.2f times that" % (code, seconds, other / TASKS, cpu / other))


def main():
    """Run what is named, or both; the server is a thread here, so its CPU is not counted."""
    with tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder, LocalServer(os.path.join(folder, "server"), width=32) as server:
        for name in sys.argv[1:] or ["growth", "tasks"]:
            {"growth": growth, "tasks": tasks}[name](server, folder)


if __name__ == "__main__":
    main()
