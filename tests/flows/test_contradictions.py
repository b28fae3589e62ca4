"""Which schemas are refused before a start, for no value can fit them, and that no other one is."""

from __future__ import annotations

import json
import random
import time

import pytest

from rebyte_flows.values.contradictions import check_possible, find_contradiction
from rebyte_flows.values.schema import read_schema
from rebyte_flows.values.validation import find_faults
from rebyte_wire.errors import EXIT_USAGE, InputError

CLOSED = {"type": "object", "additionalProperties": False}
EMPTY = {"enum": []}
NUMBER = {"$defs": {"n": {"type": "number", "minimum": 5}}}
NEVER = {"$defs": {"a/b": {"type": "string", "minLength": 2, "maxLength": 1}}}
SECONDS_MOST = 2.0


@pytest.mark.parametrize(
    "schema, at",
    [
        (False, ""),
        (EMPTY, "/enum"),
        ({"const": 3, "type": "string"}, "/const"),
        ({"const": True, "enum": [1, "true"]}, "/const"),
        ({"enum": ["a", "bc"], "minLength": 3}, "/enum"),
        ({"enum": [1, 2], "type": ["string", "null"]}, "/enum"),
        ({"type": "number", "minimum": 3, "maximum": 2.5}, "/minimum"),
        ({"type": "integer", "minimum": 1.2, "maximum": 1.8}, "/minimum"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "/minLength"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "/minItems"),
        ({"type": "array", "minItems": 1, "items": False}, "/items"),
        ({"type": "array", "minItems": 1, "items": EMPTY}, "/items/enum"),
        ({**CLOSED, "required": ["a"]}, "/required"),
        ({**CLOSED, "properties": {"b": {}}, "required": ["b", "a"]}, "/required"),
        (
            {"type": "object", "properties": {"a/b": False}, "required": ["a/b"]},
            "/properties/a~1b",
        ),
        (
            {"type": "object", "properties": {"a": EMPTY}, "required": ["a"]},
            "/properties/a/enum",
        ),
        (
            {
                "type": ["integer", "string"],
                "minimum": 2,
                "maximum": 1,
                "minLength": 2,
                "maxLength": 1,
            },
            "/minimum",
        ),
        ({"$ref": "#/$defs/n", "type": "string", **NUMBER}, "/$defs/n/type"),
        ({"$ref": "#/$defs/n", "maximum": 4, **NUMBER}, "/$defs/n/minimum"),
        ({"$ref": "#/$defs/n", "const": 4, **NUMBER}, "/const"),
        ({"$ref": "#/$defs/a~1b", **NEVER}, "/$defs/a~1b/minLength"),
        ({"$ref": "#/$defs/no", "$defs": {"no": False}}, "/$defs/no"),
    ],
)
def test_a_schema_that_no_value_fits_is_refused_with_its_place(schema, at):
    with pytest.raises(InputError) as caught:
        check_possible(read_schema(json.dumps(schema)))
    assert caught.value.details == {"at": at}
    assert caught.value.code == "schema_refused"
    assert caught.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize(
    "schema, value",
    [
        (True, 1),
        ({}, 1),
        ({"minimum": 3, "maximum": 2}, "a text"),
        ({"type": ["number", "null"], "minimum": 3, "maximum": 2}, None),
        ({"type": "number", "minimum": 1.2, "maximum": 1.8}, 1.5),
        ({"type": ["integer", "number"], "minimum": 1.2, "maximum": 1.8}, 1.5),
        ({"type": "integer", "minimum": 2.0, "maximum": 2}, 2),
        ({"type": "integer", "minimum": -0.5, "maximum": 0.5}, 0),
        ({"type": "integer", "const": 3.0}, 3),
        ({"minLength": 3, "maxLength": 2}, 1),
        ({"minItems": 3, "maxItems": 2}, {}),
        ({"items": False, "type": "array"}, []),
        ({"items": EMPTY, "type": "array", "minItems": 0}, []),
        ({"required": ["a"], "additionalProperties": False}, "a text"),
        ({"type": "object", "properties": {"a": False, "b": EMPTY}}, {}),
        ({**CLOSED, "properties": {"a": {}}, "required": ["a"]}, {"a": 1}),
        ({"enum": [1, "a"], "type": "string"}, "a"),
        ({"$ref": "#/$defs/n", "type": "integer", **NUMBER}, 5),
        ({"properties": {"a": {"$ref": "#/$defs/a~1b"}}, **NEVER}, {}),
        (NEVER, 1),
    ],
)
def test_a_schema_that_a_value_fits_is_taken(schema, value):
    checked = read_schema(json.dumps(schema))
    assert find_faults(checked, value) == []
    check_possible(checked)


def some_schema(choose, depth):
    """Return a schema of few words, so that many of them contradict themselves."""
    if choose.random() < 0.1:
        return choose.random() < 0.5
    arguments = {
        "type": ["integer", "number", "string", "object", "array", ["null", "string"]],
        "minimum": [0, 1, 0.5],
        "maximum": [0, 0.7, 1],
        "minLength": [0, 1, 2],
        "maxLength": [0, 1],
        "minItems": [0, 1, 2],
        "maxItems": [0, 1],
        "enum": [[], [1, "a"], [{}, []], [None]],
        "const": [0, "a", None, {"a": 1}],
        "required": [["a"], ["a", "b"]],
        "additionalProperties": [False, True],
    }
    chosen = {
        keyword: choose.choice(values)
        for keyword, values in arguments.items()
        if choose.random() < 0.25
    }
    if depth and choose.random() < 0.5:
        names = choose.choice(["a", "b", "ab"])
        chosen["properties"] = {name: some_schema(choose, depth - 1) for name in names}
    if depth and choose.random() < 0.4:
        chosen["items"] = some_schema(choose, depth - 1)
    if choose.random() < 0.3:
        chosen["$ref"] = "#/$defs/part"
    return chosen


SIMPLE = [None, True, 0, 1, 0.5, "", "a", "ab", [], {}]
VALUES = [
    *SIMPLE,
    *([value] for value in SIMPLE),
    *([value, value] for value in SIMPLE),
    *({"a": value} for value in SIMPLE),
    *({"b": value} for value in SIMPLE),
    *({"a": one, "b": other} for one in SIMPLE for other in SIMPLE),
]


def test_no_schema_that_a_value_fits_is_ever_refused():
    choose = random.Random(17)
    refused = 0
    for _ in range(1500):
        part = some_schema(choose, 1)
        while "$ref" in json.dumps(part):
            part = some_schema(choose, 1)
        schema = some_schema(choose, 2)
        if isinstance(schema, dict):
            schema["$defs"] = {"part": part}
        elif schema:
            continue
        else:
            schema = {"$ref": "#/$defs/part", "$defs": {"part": part}}
        checked = read_schema(json.dumps(schema))
        if find_contradiction(checked) is None:
            continue
        refused += 1
        fitting = [value for value in VALUES if not find_faults(checked, value)]
        assert fitting == [], schema
    assert refused > 100


def test_what_is_met_twice_at_every_level_is_looked_at_once():
    definitions = {}
    level = {"type": "string"}
    for number in range(30):
        name = "base%d" % number
        definitions[name] = {"required": ["a"], "properties": {"a": level}}
        again = {"$ref": "#/$defs/%s/properties/a" % name}
        level = {"$ref": "#/$defs/" + name, "properties": {"a": again}}
        level["type"] = "object"
    schema = read_schema(json.dumps({**level, "$defs": definitions}))
    begin = time.monotonic()
    check_possible(schema)
    assert time.monotonic() - begin < SECONDS_MOST
