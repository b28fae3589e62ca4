"""Calls: what each call of an agent pays before and around its one request; and how many round trips thirty reads take.

    python3 tests/bench/calls.py [start] [trips]
"""
from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile

from pairs import DOOR, KEY, SCRIPTS, cannot, environment, has, medians, note, ratio, row, timed
from stub import TASK, Process, far_away, make_certificate

IMPORTS = "import urllib.request, json, ssl, argparse"
ONE_CALL = {"requests": "import requests; requests.get(%r, headers={'API_KEY': 'rbk_bench'}).json()",
            "httpx": "import httpx; httpx.get(%r, headers={'API_KEY': 'rbk_bench'}).json()"}
# (what, beside what, at most so many times as long)
STARTS = (("get", "imports", 1.2), ("get, no cache", "imports", 1.4), ("help", "argparse", 1.8), ("version", "pass", None),
          ("get", "requests", 0.6), ("get", "httpx", 0.85), ("get", "curl", None))
SPELLED = {"imports": "the bare imports", "argparse": "import argparse", "pass": "python -c pass", "curl": "curl | jq"}
READS, ROUND_TRIP_SECONDS, IDEAL_TRIPS = 30, 0.05, 33
HEAD = "import sys, time; url, ca, began = sys.argv[1], sys.argv[2], time.perf_counter()\n"
TAIL = "\nprint(time.perf_counter() - began)"
MANY_CALLS = {
    "ours": "sys.path.insert(0, sys.argv[3]); sys.dont_write_bytecode = True\nfrom rebyte_client import RebyteClient\nbegan = time.perf_counter()\n"
            "with RebyteClient('rbk_bench', url) as client:\n    for _ in range(%d): client.get_task('%s')",
    "urllib": "import json, ssl, urllib.request\nbegan = time.perf_counter()\ncontext = ssl.create_default_context(cafile=ca)\n"
              "for _ in range(%d): json.load(urllib.request.urlopen(url + '/v1/tasks/%s', context=context))",
    "requests": "import requests\nbegan = time.perf_counter()\nwith requests.Session() as session:\n    session.verify = ca\n"
                "    for _ in range(%d): session.get(url + '/v1/tasks/%s').json()",
    "httpx": "import httpx, ssl\nbegan = time.perf_counter()\nwith httpx.Client(verify=ssl.create_default_context(cafile=ca)) as session:\n"
             "    for _ in range(%d): session.get(url + '/v1/tasks/%s').json()",
}
LEAST_TIMES_AS_LONG = {"urllib": 2.3, "requests": 1.0}


def start(pairs=15):
    """Print the ratios of start-up, on loopback and over TLS."""
    with tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder, Process("api") as api:
        environ = dict(environment(api.plain, folder), HOME=folder)
        door = os.path.join(copy_scripts(folder), os.path.basename(DOOR))
        lines = lines_to_start(api.plain + "/v1/tasks/" + TASK, door)
        without = dict(environ, PYTHONDONTWRITEBYTECODE="1")
        runs = {name: lambda words=words: timed(words, environ).seconds for name, words in lines.items()}
        runs["get, no cache"] = lambda: timed(lines["get"], without).seconds
        found = medians(runs, pairs)
        note("start: %d pairs; medians in ms: %s" % (pairs, ", ".join("%s %.0f" % (name, 1000 * statistics.median(took)) for name, took in found.items())))
        for name, base, most in STARTS:
            if base in found:
                row("%s, against %s" % (name, SPELLED.get(base, base)), ratio(found, name, base), most, "x")
        start_over_tls(folder, environ, door, pairs)


def copy_scripts(folder):
    """Copy the scripts as they are installed, without bytecode beside them; return where they are."""
    return shutil.copytree(SCRIPTS, os.path.join(folder, "scripts"), ignore=shutil.ignore_patterns("__pycache__"))


def lines_to_start(url, door):
    """Return {name: command} for all that is here."""
    python = [sys.executable]
    lines = {"pass": python + ["-c", "pass"], "imports": python + ["-c", IMPORTS], "argparse": python + ["-c", "import argparse"],
             "get": python + [door, "get", TASK], "help": python + [door, "--help"], "version": python + [door, "--version"]}
    for name, code in ONE_CALL.items():
        if has(name):
            lines[name] = python + ["-c", code % url]
        else:
            cannot("start against " + name, "this Python has no " + name)
    if shutil.which("curl") and shutil.which("jq"):
        lines["curl"] = ["sh", "-c", "curl -s -H 'API_KEY: %s' %s | jq -r .status" % (KEY, url)]
    else:
        cannot("start against curl and jq", "one of them is missing")
    return lines


def start_over_tls(folder, environ, door, pairs):
    """The same get over TLS, against the imports plus one default context."""
    if not shutil.which("openssl"):
        return cannot("start over TLS", "openssl is missing")
    ca = make_certificate(folder)
    with Process("api", ca, os.path.join(folder, "leaf.key")) as api:
        context = IMPORTS + "; ssl.create_default_context()"
        for name, more in (("the system's certificates and one more", {"CURL_CA_BUNDLE": ca}), ("REBYTE_CA_BUNDLE", {"REBYTE_CA_BUNDLE": ca})):
            there = dict(environ, REBYTE_BASE_URL=api.tls, **more)
            found = medians({"get": lambda: timed([sys.executable, door, "get", TASK], there).seconds,
                             "imports": lambda: timed([sys.executable, "-c", context], environ).seconds}, pairs)
            row("get over TLS (%s), against imports and a context" % name, ratio(found, "get", "imports"), 1.3, "x")


def trips(pairs=5):
    """Print how many round trips thirty reads in one process take, over TLS through a relay of 50 ms."""
    if not shutil.which("openssl"):
        return cannot("round trips", "openssl is missing")
    with far_away(ROUND_TRIP_SECONDS) as (api, relay, ca):
        peers = [name for name in MANY_CALLS if name in ("ours", "urllib") or has(name)]
        for name in sorted(set(MANY_CALLS) - set(peers)):
            cannot("round trips against " + name, "this Python has no " + name)
        found = medians({name: lambda name=name: read_many(name, relay.tls, ca) for name in peers}, pairs)
        before = api.counts(ca)[0]
        read_many("ours", relay.tls, ca)
        # One of those connections asked for the count.
        opened = api.counts(ca)[0] - before - 1
    ours = statistics.median(found["ours"])
    row("%d reads at 50 ms over TLS, in round trips" % READS, ours / ROUND_TRIP_SECONDS, 1.15 * IDEAL_TRIPS)
    row("connections opened for %d reads" % READS, opened, 1)
    for name in peers[1:]:
        row("%d reads: %s takes this many times as long" % (READS, name), ratio(found, name, "ours"), LEAST_TIMES_AS_LONG.get(name), "x", most=False)


def read_many(name, url, ca):
    """Read thirty times in a process of its own; return the seconds without its start."""
    code = HEAD + MANY_CALLS[name] % (READS, TASK) + TAIL
    done = subprocess.run([sys.executable, "-c", code, url, ca, SCRIPTS], check=True,
                          env=dict(os.environ, REBYTE_CA_BUNDLE=ca, REQUESTS_CA_BUNDLE=ca), stdout=subprocess.PIPE)
    return float(done.stdout)


if __name__ == "__main__":
    for part in sys.argv[1:] or ("start", "trips"):
        {"start": start, "trips": trips}[part]()
