"""Pure decisions of the commands, by tables: which exit code many tasks end with, what is asked for again."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rebyte_commands.jobs.exit_codes import exit_code_of_many
from rebyte_commands.jobs.next_steps import _ask_for_missing


@pytest.mark.parametrize(
    "statuses, code",
    [
        (["completed"], 0),
        (["completed", "failed"], 9),
        (["completed", "question", "failed"], 13),
        (["unknown", "completed"], 8),
        (["unknown", "question", "running"], 8),
    ],
)
def test_the_first_of_the_table_is_the_exit_code_of_many(statuses, code):
    assert exit_code_of_many(statuses) == code


@pytest.mark.parametrize(
    "statuses, code",
    [(["failed", "running"], 9), (["completed", "running"], 130), (["completed"], 0)],
)
def test_an_interrupt_hides_no_failure(statuses, code):
    assert exit_code_of_many(statuses, 130) == code


def test_only_the_files_that_did_not_come_are_asked_for_again():
    asked = []
    facts = SimpleNamespace(
        document={"missing": ["b.csv"]},
        code_record=None,
        options=SimpleNamespace(want=["a.csv", "b.csv"], out=None),
        row=SimpleNamespace(task_id="t"),
        context=SimpleNamespace(command_line=lambda *words: asked.extend(words) or ""),
    )
    _ask_for_missing(facts)
    assert "Publish these as artifacts: b.csv" in asked
    assert "b.csv" in asked and "a.csv" not in asked
