"""How long a value is held against a schema, and that it is told the same however often it is met."""

from __future__ import annotations

import json
import time

from rebyte_flows.values.prompts import example_of
from rebyte_flows.values.schema import read_schema
from rebyte_flows.values.validation import FAULTS_MOST, find_faults

# Without a memory of what was judged, each level takes twice as long as the one below.
LEVELS = 22
SECONDS_MOST = 2.0


def met_twice(levels, innermost):
    """Return a schema whose every property is reached in two ways, by references to one place."""
    definitions = {}
    level = innermost
    for number in range(levels):
        name = "base%d" % number
        definitions[name] = {"properties": {"a": level}}
        again = {"$ref": "#/$defs/%s/properties/a" % name}
        level = {"$ref": "#/$defs/" + name, "properties": {"a": again}}
    return read_schema(json.dumps({**level, "$defs": definitions}))


def nested(levels, innermost):
    value = innermost
    for _ in range(levels):
        value = {"a": value}
    return value


def test_what_is_met_twice_at_every_level_is_judged_once():
    schema = met_twice(LEVELS, {"type": "string"})
    begin = time.monotonic()
    assert find_faults(schema, nested(LEVELS, "a")) == []
    assert json.loads(example_of(schema)) == nested(LEVELS, "text")
    assert time.monotonic() - begin < SECONDS_MOST


def test_a_fault_is_told_as_often_as_its_place_is_met():
    wanted = {"at": "/a/a", "wanted": "a string", "came": "an array of 1"}
    assert find_faults(met_twice(2, {"type": "string"}), nested(2, [1])) == [wanted] * 4
    many = find_faults(met_twice(LEVELS, {"type": "string"}), nested(LEVELS, 1))
    assert (
        many == [{"at": "/a" * LEVELS, "wanted": "a string", "came": "1"}] * FAULTS_MOST
    )


def test_one_definition_is_judged_at_each_place_by_itself():
    row = {"required": ["a"], "properties": {"a": {"items": {"type": "integer"}}}}
    schema = read_schema(
        json.dumps({"items": {"$ref": "#/$defs/row"}, "$defs": {"row": row}})
    )
    rows = [{"a": [1]}, {"a": [1, "x"]}, {"b": 1}, {"a": [1, "x"]}]
    found = [fault["at"] for fault in find_faults(schema, rows)]
    assert found == ["/1/a/1", "/2/a", "/3/a/1"]


def test_a_long_enum_is_looked_up_in_a_long_array():
    schema = read_schema(json.dumps({"items": {"enum": list(range(9000))}}))
    begin = time.monotonic()
    assert find_faults(schema, [8999.0] * 100_000) == []
    assert time.monotonic() - begin < SECONDS_MOST
    assert [fault["at"] for fault in find_faults(schema, [1, True, "1"])] == [
        "/1",
        "/2",
    ]
