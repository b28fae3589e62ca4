"""What the path of `create` imports, as the difference to a bare start of the same Python.

Measured with -X importtime, which the interpreter itself writes: each name a process loaded after `-I -S` began. The
start of an agent's every call is paid for in these imports, so the slow ones are named here and must stay away.
"""
from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from project_tree import SCRIPTS

SLOW_AND_UNNEEDED = {"typing", "dataclasses", "logging", "concurrent.futures", "http.server", "asyncio"}
DOOR = os.path.join(SCRIPTS, "rebyte_cli.py")
PROCESS_SECONDS = 60


def loaded_by(arguments, environ=None):
    """Run this Python with `-I -S` and arguments; return (exit code, stdout, names of the modules it loaded)."""
    done = subprocess.run([sys.executable, "-I", "-S", "-B", "-X", "importtime"] + arguments,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=dict(os.environ, **(environ or {})), timeout=PROCESS_SECONDS)
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    names = {match.group(1) for match in (re.match(r"import time:.*\|\s*([\w.]+)\s*$", line) for line in lines) if match}
    return done.returncode, done.stdout, names


@pytest.fixture(scope="module")
def bare_start():
    """The modules that a start which does nothing loads."""
    return loaded_by(["-c", "pass"])[2]


def test_the_measure_sees_an_import(bare_start):
    assert "dataclasses" in loaded_by(["-c", "import dataclasses"])[2] - bare_start


def test_importing_the_client_adds_nothing_slow(bare_start):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import rebyte_client"
    status, _, names = loaded_by(["-c", code, SCRIPTS])
    assert status == 0
    assert "rebyte_client" in names
    assert SLOW_AND_UNNEEDED & (names - bare_start) == set()


def test_a_dry_create_adds_nothing_slow(bare_start):
    status, stdout, names = loaded_by([DOOR, "create", "--dry-run", "say hello"])
    assert status == 0, stdout
    assert SLOW_AND_UNNEEDED & (names - bare_start) == set()


def test_a_real_create_adds_nothing_slow(bare_start, tmp_path):
    from rebyte_local.server import LocalServer
    with LocalServer(str(tmp_path / "server")) as server:
        status, stdout, names = loaded_by([DOOR, "create", "say hello"], {
            "REBYTE_API_KEY": server.key, "REBYTE_BASE_URL": server.base_url,
            "REBYTE_STATE_DIR": str(tmp_path / "state")})
    assert status == 0, stdout
    assert "rebyte_client" in names
    assert SLOW_AND_UNNEEDED & (names - bare_start) == set()


def test_help_loads_no_network_module(bare_start):
    status, _, names = loaded_by([DOOR, "--help"])
    assert status == 0
    assert {"socket", "ssl", "http.client", "urllib.request"} & (names - bare_start) == set()
