"""What is believed of a document that lay on a disk."""

from __future__ import annotations

import pytest

from rebyte_flows.documents import KINDS, is_sound
from rebyte_flows.following.result import KEYS

WHOLE = {
    "id": "1",
    "status": "completed",
    "seconds": 0.5,
    "costUsd": 0,
    "repaired": 1,
    "warnings": ["odd"],
    "files": [{"name": "x"}],
    "failure": {"reason": "no luck"},
    "question": {"id": "q", "text": "which?"},
    "error": {"code": "x", "message": "y", "retryable": False},
    "valueErrors": [{"at": "", "wanted": "a", "came": "b"}],
    "value": None,
    "candidate": [1],
    "ofAnotherVersion": [1],
}


# Those that hold one of the odd things by right.
FREE = {"value", "candidate", "usage", "changes", "requested"}
YES_OR_NO = {"reused", "recovered", "rehearsal"}


def test_every_key_of_a_document_is_known():
    assert list(KINDS) == list(KEYS)


def test_a_document_as_it_was_written_is_sound():
    assert is_sound(WHOLE) and is_sound({})


@pytest.mark.parametrize("odd", [None, True, float("nan"), -1, 10**400, [1], {"a": 1}])
@pytest.mark.parametrize("key", sorted(set(KINDS) - FREE - YES_OR_NO))
def test_a_document_that_was_written_to_is_not(key, odd):
    assert not is_sound({**WHOLE, key: odd})


@pytest.mark.parametrize(
    "key, odd",
    [
        ("failure", {}),
        ("failure", {"reason": 1}),
        ("question", {"text": None}),
        ("error", {"code": "x"}),
        ("valueErrors", [{"at": "", "wanted": "a"}]),
        ("warnings", ["x", 1]),
        ("seconds", "1"),
        ("rehearsal", 1),
        ("reused", "yes"),
        ("recovered", {}),
        ("requested", []),
        ("usage", []),
        ("changes", "x"),
    ],
)
def test_the_parts_of_what_it_holds_count_too(key, odd):
    assert not is_sound({**WHOLE, key: odd})
