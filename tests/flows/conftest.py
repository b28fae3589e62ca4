"""A local server in this process, a client for it, and patience measured in tenths of a second."""
from __future__ import annotations

import pytest

from rebyte_client import RebyteClient
from rebyte_flows import stream
from rebyte_local.server import LocalServer


@pytest.fixture
def server(tmp_path):
    with LocalServer(str(tmp_path / "server")) as running:
        yield running


@pytest.fixture
def client(server):
    with RebyteClient(server.key, server.base_url) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch):
    """Make the pauses of a watch short, so that a fault costs a test tenths of a second."""
    monkeypatch.setattr(stream, "BACK_OFF_SECONDS", (0.02, 0.05, 0.1, 0.2, 0.2, 0.2))
    monkeypatch.setattr(stream, "EMPTY_DONE_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(stream, "QUESTION_GRACE_SECONDS", 0.3)
    monkeypatch.setattr(stream, "QUIET_LOOK_SECONDS", 0.4)
    monkeypatch.setattr(stream, "DRAIN_AT_LEAST_SECONDS", 2.0)
    monkeypatch.setattr(stream, "DRAIN_AT_MOST_SECONDS", 5.0)
