"""The official JSON-Schema-Test-Suite against the subset that is checked: each case whose schema
keeps to the subset has to come out as the suite says, every other schema has to be refused.

It is not part of this tree: JSON_SCHEMA_TEST_SUITE names the folder that holds its `tests/`
(https://github.com/json-schema-org/JSON-Schema-Test-Suite).
"""

from __future__ import annotations

import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "scripts"))

from rebyte_flows.values.schema import read_schema
from rebyte_flows.values.validation import find_faults
from rebyte_wire.errors import InputError

VARIABLE = "JSON_SCHEMA_TEST_SUITE"
# The one draft that has $defs, and lets keywords stand beside $ref.
DRAFT = os.path.join("tests", "draft2020-12")
SUBSET = {
    "$defs",
    "$ref",
    "additionalProperties",
    "const",
    "enum",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "properties",
    "required",
    "type",
}
ANNOTATIONS = {
    "$comment",
    "$id",
    "$schema",
    "default",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
}


class Result:
    """How many groups and cases came out right, and what did not."""

    def __init__(self):
        self.accepted = self.cases = self.refused = 0
        self.wrong = []

    def line(self):
        """Return the result as one line."""
        return (
            "%d schemas of the subset, %d cases as the suite says; %d others refused; wrong: %d"
            % (self.accepted, self.cases, self.refused, len(self.wrong))
        )


def place():
    """Return the folder of the draft's cases, None where the suite is not here."""
    folder = os.path.join(os.environ.get(VARIABLE, ""), DRAFT)
    return folder if os.environ.get(VARIABLE) and os.path.isdir(folder) else None


def keeps_to_subset(schema, is_top=True):
    """Say whether a schema uses nothing outside the subset; written apart from the code it judges."""
    if isinstance(schema, bool):
        return True
    if set(schema) - SUBSET - ANNOTATIONS or ("$id" in schema and not is_top):
        return False
    if "json-schema.org/" not in schema.get("$schema", "json-schema.org/"):
        return False
    if not isinstance(schema.get("additionalProperties", True), bool):
        return False
    reference = schema.get("$ref", "#/$defs/")
    if not reference.startswith("#/$defs/"):
        return False
    parts = list(schema.get("properties", {}).values())
    parts += schema.get("$defs", {}).values()
    parts += [schema["items"]] if "items" in schema else []
    return all(keeps_to_subset(part, False) for part in parts)


def run(folder):
    """Return the Result of every file of a draft's folder."""
    result = Result()
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".json"):
            continue
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            groups = json.load(file)
        for group in groups:
            judge(name, group, result)
    return result


def judge(name, group, result):
    """Count one group of cases."""
    told = "%s: %s" % (name, group["description"])
    try:
        schema = read_schema(json.dumps(group["schema"]))
    except InputError as problem:
        result.refused += 1
        if keeps_to_subset(group["schema"]):
            result.wrong.append("%s: refused, %s" % (told, problem.message))
        return
    result.accepted += 1
    if not keeps_to_subset(group["schema"]):
        result.wrong.append(told + ": accepted")
    for case in group["tests"]:
        result.cases += 1
        if (not find_faults(schema, case["data"])) != case["valid"]:
            result.wrong.append("%s: %s" % (told, case["description"]))


def main():
    """Print the result; 1 where something came out wrong."""
    folder = place()
    if folder is None:
        print("JSON-Schema-Test-Suite: not here (%s names its folder)" % VARIABLE)
        return 0
    result = run(folder)
    print("JSON-Schema-Test-Suite: " + result.line())
    for line in result.wrong:
        print("  " + line)
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
