"""Round trips: thirty reads in one process over TLS, through a relay that makes each round trip take 50 ms.

    python3 tests/bench/trips.py [PAIRS]
"""
from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile

from pairs import SCRIPTS, cannot, medians, row
from start import TASK, has
from storage import make_certificate
from stub import Process

READS, ROUND_TRIP_SECONDS, IDEAL_TRIPS = 30, 0.05, 33
HEAD = "import sys, time; url, ca, began = sys.argv[1], sys.argv[2], time.perf_counter()\n"
TAIL = "\nprint(time.perf_counter() - began)"
PEERS = {
    "ours": "sys.path.insert(0, sys.argv[3]); sys.dont_write_bytecode = True\nfrom rebyte_client import RebyteClient\nbegan = time.perf_counter()\n"
            "with RebyteClient('rbk_bench', url) as client:\n    for _ in range(%d): client.get_task('%s')",
    "urllib": "import json, ssl, urllib.request\nbegan = time.perf_counter()\ncontext = ssl.create_default_context(cafile=ca)\n"
              "for _ in range(%d): json.load(urllib.request.urlopen(url + '/v1/tasks/%s', context=context))",
    "requests": "import requests\nbegan = time.perf_counter()\nwith requests.Session() as session:\n    session.verify = ca\n"
                "    for _ in range(%d): session.get(url + '/v1/tasks/%s').json()",
    "httpx": "import httpx, ssl\nbegan = time.perf_counter()\nwith httpx.Client(verify=ssl.create_default_context(cafile=ca)) as session:\n"
             "    for _ in range(%d): session.get(url + '/v1/tasks/%s').json()",
}


def main(pairs=7):
    """Print how many round trips thirty reads take."""
    if not shutil.which("openssl"):
        return cannot("round trips", "openssl is missing")
    with tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder:
        ca = make_certificate(folder)
        with Process("api", ca, os.path.join(folder, "leaf.key")) as api, Process("relay", api.port, ROUND_TRIP_SECONDS) as relay:
            def read(name):
                code = HEAD + PEERS[name] % (READS, TASK) + TAIL
                done = subprocess.run([sys.executable, "-c", code, "https://127.0.0.1:%d" % relay.port, ca, SCRIPTS], check=True,
                                      env=dict(os.environ, REBYTE_CA_BUNDLE=ca, REQUESTS_CA_BUNDLE=ca), stdout=subprocess.PIPE)
                return float(done.stdout)
            peers = [name for name in PEERS if name in ("ours", "urllib") or has(name)]
            for name in set(PEERS) - set(peers):
                cannot("round trips against " + name, "this Python has no " + name)
            found = medians({name: lambda name=name: read(name) for name in peers}, pairs)
            opened = connections(api.port, ca)
            read("ours")
            opened = connections(api.port, ca) - opened - 1
    ours = statistics.median(found["ours"])
    row("%d reads at 50 ms over TLS, in round trips" % READS, ours / ROUND_TRIP_SECONDS, 1.15 * IDEAL_TRIPS)
    row("connections opened", opened, 1)
    for name in peers[1:]:
        row("%s takes this many times as long" % name, statistics.median(found[name]) / ours, 2.3 if name == "urllib" else 1.0 if name == "requests" else None, "x", most=False)


def connections(port, ca):
    """Ask the stub how many connections it had, this one included."""
    import ssl
    import urllib.request
    return int(urllib.request.urlopen("https://127.0.0.1:%d/connections" % port, context=ssl.create_default_context(cafile=ca)).read())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
