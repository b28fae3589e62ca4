"""Start: what each call of an agent pays before and around its one request, on loopback and over TLS.

    python3 tests/bench/start.py [PAIRS]
"""
from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile

from pairs import DOOR, SCRIPTS, cannot, medians, ratio, row, timed
from storage import make_certificate
from stub import Process

TASK = "550e8400-e29b-41d4-a716-446655440000"
IMPORTS = "import urllib.request, json, ssl, argparse"
PEERS = {"requests": "import requests; requests.get(%r, headers={'API_KEY': 'rbk_bench'}).json()",
         "httpx": "import httpx; httpx.get(%r, headers={'API_KEY': 'rbk_bench'}).json()"}
UNWANTED = ("PYTHONDONTWRITEBYTECODE", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "REBYTE_CA_BUNDLE")


def has(module):
    """Say whether this Python can import a peer."""
    return subprocess.run([sys.executable, "-c", "import " + module], stderr=subprocess.DEVNULL).returncode == 0


def main(pairs=15):
    """Print the ratios of start-up."""
    with tempfile.TemporaryDirectory(prefix="rebyte-bench-") as folder, Process("api") as api:
        url = "http://127.0.0.1:%d" % api.port
        environ = {name: value for name, value in os.environ.items() if name not in UNWANTED}
        environ.update(REBYTE_BASE_URL=url, REBYTE_API_KEY="rbk_bench", REBYTE_STATE_DIR=os.path.join(folder, "state"), HOME=folder)
        warm = shutil.copytree(SCRIPTS, os.path.join(folder, "warm"), ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run([sys.executable, "-m", "compileall", "-q", warm], check=True)
        cold = shutil.copytree(SCRIPTS, os.path.join(folder, "cold"), ignore=shutil.ignore_patterns("__pycache__"))
        python = [sys.executable]
        doors = {"warm": os.path.join(warm, os.path.basename(DOOR)), "cold": os.path.join(cold, os.path.basename(DOOR))}
        lines = {"pass": python + ["-c", "pass"], "imports": python + ["-c", IMPORTS], "argparse": python + ["-c", "import argparse"],
                 "get": python + [doors["warm"], "get", TASK], "get, no cache": python + [doors["cold"], "get", TASK],
                 "help": python + [doors["warm"], "--help"], "version": python + [doors["warm"], "--version"]}
        for name, code in PEERS.items():
            if has(name):
                lines[name] = python + ["-c", code % (url + "/v1/tasks/" + TASK)]
            else:
                cannot("start against " + name, "this Python has no " + name)
        if shutil.which("curl") and shutil.which("jq"):
            lines["curl"] = ["sh", "-c", "curl -s -H 'API_KEY: rbk_bench' %s/v1/tasks/%s | jq -r .status" % (url, TASK)]
        found = medians({name: lambda words=words: timed(words, environ)[0] for name, words in lines.items()}, pairs)
        print("start: %d pairs; medians in ms: %s" % (pairs, ", ".join("%s %.0f" % (name, 1000 * statistics.median(took)) for name, took in found.items())))
        for name, base, most in (("get", "imports", 1.2), ("get, no cache", "imports", 1.4), ("help", "argparse", 1.8), ("version", "pass", None),
                                 ("get", "requests", 0.6), ("get", "httpx", 0.85), ("get", "curl", None)):
            if base in found:
                row("%s, against %s" % (name, {"imports": "the bare imports", "curl": "curl | jq"}.get(base, base)), ratio(found, name, base), most, "x")
        over_tls(folder, environ, doors["warm"], pairs)


def over_tls(folder, environ, door, pairs):
    """The same get over TLS, against the imports plus one default context."""
    if not shutil.which("openssl"):
        return cannot("start over TLS", "openssl is missing")
    ca = make_certificate(folder)
    with Process("api", ca, os.path.join(folder, "leaf.key")) as api:
        context = IMPORTS + "; ssl.create_default_context()"
        for name, more in (("the system's certificates and one more", {"CURL_CA_BUNDLE": ca}), ("REBYTE_CA_BUNDLE", {"REBYTE_CA_BUNDLE": ca})):
            there = dict(environ, REBYTE_BASE_URL="https://127.0.0.1:%d" % api.port, **more)
            found = medians({"get": lambda: timed([sys.executable, door, "get", TASK], there)[0],
                             "imports": lambda: timed([sys.executable, "-c", context], environ)[0]}, pairs)
            row("get over TLS (%s), against imports and a context" % name, ratio(found, "get", "imports"), 1.3, "x")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
