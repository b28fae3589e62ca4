"""Clients that do not really wait."""
from __future__ import annotations

import os

import pytest

CANARY = "rbk_CANARY_77aa"


@pytest.fixture
def client_for(monkeypatch):
    """Return a function that makes a client for a server; its waits are noted in `waits` and take no time."""
    from rebyte_client import RebyteClient
    from rebyte_wire.transport import Transport
    made = []

    def make(server, deadline=None, environ=None, key=CANARY):
        base = (server if isinstance(server, str) else server.url) + "/v1"
        waits = []
        environ = dict(os.environ, **(environ or {}))
        transport = Transport(base, key, environ, deadline=deadline, sleep=waits.append, dice=lambda: 1.0)
        client = RebyteClient(key, base, environ=environ, transport=transport)
        client.waits = waits
        made.append(client)
        return client
    yield make
    for client in made:
        client.close()
