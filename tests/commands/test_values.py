"""--schema on the command line: what is asked for, what is told, and what it costs."""

from __future__ import annotations

import json

import pytest

from rebyte_flows.following.result import task_document

from .conftest import posts

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "price": {"type": "number"}},
    "required": ["name", "price"],
    "additionalProperties": False,
}
GOOD = {"name": "Lyon", "price": 3}
BAD = {"name": "Lyon", "price": "three"}


def saying(value, fence="```json"):
    """Return a prompt whose answer ends with a value."""
    words = "Found:\n%s\n%s\n```" % (fence, json.dumps(value))
    return "Look it up.\n```python run\nprint(%r)\n```" % words


def prompt_of(server, ran):
    """Return the latest prompt of a task as the service got it."""
    return server._service.tasks.prompts(ran["id"])[-1]["text"]


@pytest.fixture
def schema(world):
    (world / "shape.json").write_text(json.dumps(SCHEMA))
    return "shape.json"


def test_the_document_has_the_value_that_was_asked_for(rebyte, server, schema):
    ran = rebyte("run", saying(GOOD), "--schema", schema)
    assert ran.code == 0 and ran["value"] == GOOD, ran
    assert "valueErrors" not in ran.document
    sent = prompt_of(server, ran)
    assert json.dumps(SCHEMA, separators=(",", ":")) in sent
    assert "exactly one ```json block" in sent


def test_a_value_that_does_not_fit_is_exit_9_with_the_errors_and_the_way_on(
    rebyte, schema
):
    ran = rebyte("run", saying(BAD), "--schema", schema, "--out", "out")
    assert ran.code == 9 and "value" not in ran.document, ran
    assert ran["candidate"] == BAD
    assert ran["valueErrors"] == [
        {"at": "/price", "wanted": "a number", "came": '"three"'}
    ]
    line = ran["next"][0]["run"]
    assert " follow-up %s " % ran["id"] in line and "/price" in line
    assert "--schema shape.json" in line and "--out out" in line and "three" not in line


@pytest.mark.parametrize("value", [0, False, "", [], {}, None])
def test_an_empty_value_is_told_as_well(rebyte, value):
    ran = rebyte("run", saying(value), "--json-answer")
    assert ran.code == 0 and ran.document["value"] == value
    assert type(ran.document["value"]) is type(value)


def test_the_document_of_a_task_keeps_values_and_drops_what_is_empty():
    found = task_document(id="x", value=None, candidate=0, answer="", warnings=[])
    assert found == {"id": "x", "value": None, "candidate": 0}


def test_a_schema_that_cannot_be_checked_costs_nothing(rebyte, server):
    ran = rebyte("run", "hi", "--schema", '{"properties": {"a": {"format": "uri"}}}')
    assert ran.code == 2 and ran["details"]["at"] == "/properties/a/format", ran
    assert not posts(server)


@pytest.mark.parametrize(
    "words",
    [
        ["--schema", "nowhere.json"],
        ["--schema", "{}", "--json-answer"],
        ["--schema", '{"type": "text"}'],
    ],
)
@pytest.mark.parametrize("verb", ["run", "create", "batch"])
def test_a_wrong_shape_is_exit_2_before_anything_is_sent(rebyte, server, verb, words):
    prompt = ["--prompt", "hi"]
    ran = rebyte(verb, *prompt, *words)
    assert ran.code == 2 and not posts(server), ran


def test_a_bare_prompt_says_nothing_of_the_shape_and_the_value_is_checked(
    rebyte, server, schema
):
    ran = rebyte("run", saying(GOOD), "--bare", "--schema", schema)
    assert ran["value"] == GOOD
    assert prompt_of(server, ran) == saying(GOOD)


def test_a_dry_run_shows_the_lines_that_are_added(rebyte, server, schema):
    ran = rebyte("run", "hi", "--schema", schema, "--dry-run")
    assert "JSON Schema" in ran["body"]["prompt"] and not posts(server)


def test_later_turns_and_later_looks_tell_the_value_too(rebyte, schema):
    ran = rebyte("create", saying(BAD), "--once", "price", "--schema", schema)
    assert "--schema shape.json" in ran["next"][0]["run"]
    looked = rebyte("result", "@price", "--wait", "--schema", schema)
    assert looked.code == 9 and looked["candidate"] == BAD
    more = rebyte(
        "follow-up", "@price", saying(GOOD), "--wait", "--schema", schema, "--bare"
    )
    assert more.code == 0 and more["value"] == GOOD


def test_a_failed_task_has_no_value(rebyte, schema):
    ran = rebyte(
        "run",
        "x\n```bash run\necho '%s'; exit 3\n```" % json.dumps(GOOD),
        "--schema",
        schema,
    )
    assert ran.code == 3 and "value" not in ran.document, ran
    assert "valueErrors" not in ran.document


def test_a_batch_counts_apart_what_completed_without_its_value(rebyte, schema):
    ran = rebyte(
        "batch",
        "--prompt",
        saying(GOOD),
        "--prompt",
        saying(BAD),
        "--schema",
        schema,
        "--out",
        "many",
    )
    assert ran.code == 9 and ran["counts"] == {"completed": 1, "invalid": 1}, ran
