"""The value of an answer: found, checked, and told with its faults where it does not fit."""

from __future__ import annotations

from rebyte_flows.values.extraction import extract
from rebyte_flows.values.validation import fault, find_faults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_flows.values.schema import Schema
    from rebyte_types import Json

NOTHING = "no JSON value at the end of the answer"
BREAKS_OFF = "an answer that ends inside a value"


def read_value(schema: Schema, answer: str) -> Json:
    """Return the keys of the document that tell the value of an answer.

    `value` where one fits; else `valueErrors`, and `candidate`, the best that was found.
    """
    found = extract(answer)
    if found.is_cut:
        errors = [fault("", "a whole JSON value", BREAKS_OFF)]
        return _failed(found.values, errors)
    for value in found.values:
        if not find_faults(schema, value):
            return {"value": value}
    if not found.values:
        return _failed([], [fault("", "one JSON value", NOTHING)])
    return _failed(found.values, find_faults(schema, found.values[0]))


def _failed(values: list[object], errors: list[dict[str, str]]) -> Json:
    keys: Json = {"valueErrors": errors}
    if values:
        keys["candidate"] = values[0]
    return keys
