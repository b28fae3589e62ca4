"""Every test starts from the same empty world: own HOME, no REBYTE_*, no proxy, no harness marker, no bytecode."""
from __future__ import annotations

import os
import sys

import pytest

sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UNWANTED = ("REBYTE_", "XDG_", "SSL_CERT", "REQUESTS_CA", "CURL_CA")
MARKERS = ("CLAUDECODE", "CODEX_SANDBOX", "GEMINI_CLI", "NO_COLOR", "REQUEST_METHOD")


@pytest.fixture(autouse=True)
def empty_world(tmp_path_factory, monkeypatch):
    """Give each test a home of its own and take away what the outside world may have set."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(UNWANTED) or name in MARKERS or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return home
