"""A local server in this process, a client for it."""
from __future__ import annotations

import pytest

from rebyte_client import RebyteClient
from rebyte_local.server import LocalServer


@pytest.fixture
def server(tmp_path):
    with LocalServer(str(tmp_path / "server")) as running:
        yield running


@pytest.fixture
def client(server):
    with RebyteClient(server.key, server.base_url) as made:
        yield made
