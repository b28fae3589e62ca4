"""The service's words for how a task stands."""
from __future__ import annotations

import pytest

from rebyte_wire.status import outcome_of, task_status


@pytest.mark.parametrize("word, outcome", [
    ("completed", "completed"), ("succeeded", "completed"), ("Succeeded", "completed"), ("failed", "failed"),
    ("error", "failed"), ("canceled", "canceled"), ("cancelled", "canceled"),
    ("running", None), ("pending", None), ("queued", None), ("a-new-word", None), ("", None), (None, None), (7, None), ([], None)])
def test_a_word_is_an_outcome_or_still_running(word, outcome):
    assert outcome_of(word) == outcome
    assert task_status({"status": word}) == (outcome or "running")


def test_a_task_without_a_status_is_running():
    assert task_status({}) == "running"
