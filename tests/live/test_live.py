"""`make live` against the local server under another address: it needs an opt-in, says the cost first, and tells differences."""
from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from measure import run_quietly

from rebyte_local.server import LocalServer

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "live.py")


@pytest.fixture
def server(tmp_path):
    with LocalServer(str(tmp_path / "server")) as running:
        yield running


@pytest.fixture
def visit(server, tmp_path):
    """Run the visit as a process: visit(NAME=value) -> (exit code, what it printed)."""
    def run(**more):
        environ = dict(os.environ, REBYTE_API_KEY=server.key, REBYTE_BASE_URL=server.url, REBYTE_STATE_DIR=str(tmp_path / "state"), **more)
        environ = {name: value for name, value in environ.items() if value is not None}
        done = run_quietly([sys.executable, "-B", SCRIPT], env=environ, stderr=subprocess.STDOUT, universal_newlines=True)
        return done.returncode, done.stdout
    return run


def starts(server):
    return [seen["path"] for seen in server.requests if seen["method"] == "POST" and re.fullmatch(r"/v1/(tasks(/[^/]+/prompts)?|agent-computers)", seen["path"])]


@pytest.mark.parametrize("environ", [{}, {"REBYTE_LIVE": "0"}, {"REBYTE_LIVE": "1", "REBYTE_API_KEY": ""}])
def test_without_an_opt_in_nothing_is_contacted(server, tmp_path, environ):
    environ = dict(dict(os.environ, REBYTE_BASE_URL=server.url, REBYTE_API_KEY=server.key), **environ)
    done = run_quietly([sys.executable, "-B", SCRIPT], env=environ)
    assert done.returncode == 2 and b"REBYTE_LIVE=1" in done.stdout and server.requests == []


def test_a_visit_starts_three_things_says_so_first_and_finds_the_local_server_as_told(server, visit):
    code, printed = visit(REBYTE_LIVE="1")
    assert code == 0, printed
    assert "differs" not in printed and "0 of 16 facts differ" in printed, printed
    assert printed.index("at most 3 paid starts") < printed.index("as told") and server.url in printed
    assert len(starts(server)) == 3 and "agent-computers" not in "".join(starts(server))
    assert "10000 before, 9997 now" in printed and server.key not in printed
    deleted = [seen for seen in server.requests if seen["method"] == "DELETE" and seen["status"] == 204]
    assert len(deleted) == 2


def test_a_visit_tells_what_differs(server, visit, monkeypatch):
    from rebyte_local import routes
    monkeypatch.setattr(routes, "TABLE", [entry for entry in routes.TABLE if "billing" not in entry[1].pattern])
    server.faults.enable("odd-status")
    server.faults.enable("renumber")
    code, printed = visit(REBYTE_LIVE="1")
    assert code == 0 and len(starts(server)) == 3, printed
    assert "not on this deployment: This service has no such route" in printed
    assert "status is 'queued'; documented: 'running'" in printed and re.search(r"[1-9]\d* of 16 facts differ", printed)


def test_a_visit_without_credit_ends_at_the_first_start(server, visit):
    from rebyte_local import credits
    server._service.store.remember(credits.BALANCE, 0)
    code, printed = visit(REBYTE_LIVE="1")
    assert code == 1 and "credit is spent" in printed and len(starts(server)) == 1
