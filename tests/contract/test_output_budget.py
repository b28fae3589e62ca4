"""Whatever the service says, a verb's document stays under 8 KB; only `watch` has lines, and each of those is short."""
from __future__ import annotations

import importlib
import json

import pytest
from hostile_service import LINES, HostileService, said_by

BUDGET_BYTES = 8_192
# 200 characters of text, each of which may need 12 bytes in ASCII, and names.
WATCHED_LINE_BYTES = 4_000


@pytest.fixture(scope="module")
def hostile():
    """The address of a service that says too much."""
    with HostileService() as url:
        yield url


def test_every_verb_is_measured():
    assert set(LINES) == set(importlib.import_module("rebyte_commands.verbs").VERBS)


@pytest.mark.parametrize("verb", LINES)
def test_a_document_stays_under_its_budget(verb, hostile, tmp_path):
    code, out, err = said_by(verb, hostile, str(tmp_path))
    assert b"Traceback" not in err and code != 1, err
    out.decode("ascii")
    if verb == "watch":
        assert max(map(len, out.splitlines())) <= WATCHED_LINE_BYTES
    else:
        assert 0 < len(out) <= BUDGET_BYTES
        json.loads(out)
    assert len(err) <= BUDGET_BYTES
