"""What a prompt says about the shape of the answer, and what is wrong with the one that came."""

from __future__ import annotations

import json

from rebyte_flows.values.schema import target_of
from rebyte_flows.values.validation import find_faults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rebyte_flows.values.schema import Schema
    from rebyte_flows.values.validation import Fault
    from rebyte_types import Json

EXAMPLE_CHARACTERS = 4000
# Parts of an example; a schema may ask for more than can be shown.
PARTS_MOST = 300
WORD = "text"
ERRORS_CHARACTERS = 1500
ENDING = "End with exactly one ```json block that holds this value, nothing after it."
TOO_LONG = (
    "Only if it is too long for an answer: write it to result.json, publish that in a zip"
    " as an artifact, and end with the name of the zip instead."
)


def shape_lines(schema: Schema) -> list[str]:
    """Return the plain lines that ask for a value of a schema."""
    if schema.root is True:
        return ["The answer has to be one JSON value.", ENDING, TOO_LONG]
    compact = json.dumps(schema.root, ensure_ascii=False, separators=(",", ":"))
    lines = ["The answer has to be one JSON value of this JSON Schema: " + compact]
    example = example_of(schema)
    if example is not None:
        lines.append("A made-up example of its shape: " + example)
    return [*lines, ENDING, TOO_LONG]


def repair_prompt(faults: Sequence[Fault]) -> str:
    """Return the prompt of a turn that sends only the errors; it holds no foreign text."""
    parts = []
    left = ERRORS_CHARACTERS
    for fault in faults:
        part = "at %s: %s was wanted" % (fault["at"] or "the top", fault["wanted"])
        left -= len(part)
        if left < 0:
            break
        # One line, so that it can stand in a line to paste.
        parts.append(" ".join(part.split()))
    return (
        "The value at the end of your answer is not as asked for: %s. Answer with the whole"
        " corrected value in one fenced json block, nothing after it."
        % "; ".join(parts)
    )


# A made-up value that fits a schema


class _TooLarge(Exception):
    """Raised where an example would be too large to show."""


def example_of(schema: Schema) -> str | None:
    """Return the JSON of a value that fits, every property filled; None where none is found."""
    try:
        value = _Filler(schema.root).fill(schema.root)
    except _TooLarge:
        return None
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > EXAMPLE_CHARACTERS or find_faults(schema, value):
        return None
    return text


class _Filler:
    """Fills one schema, and counts the parts."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = PARTS_MOST

    def __repr__(self) -> str:
        return "_Filler(%d left)" % self._left

    def fill(self, schema: Any) -> Any:
        """Return a value for a schema."""
        self._left -= 1
        if self._left < 0:
            raise _TooLarge
        schema = self._resolve(schema)
        if not isinstance(schema, dict):
            return WORD
        for keyword in ("const", "default"):
            if keyword in schema:
                return schema[keyword]
        for keyword in ("enum", "examples"):
            choices = schema.get(keyword)
            if isinstance(choices, list) and choices:
                return choices[0]
        return self._of_type(_type_of(schema), schema)

    def _resolve(self, schema: Any) -> Any:
        """Return a schema with what its references stand for, its own keywords first."""
        while isinstance(schema, dict) and "$ref" in schema:
            own = {key: part for key, part in schema.items() if key != "$ref"}
            target = target_of(self._root, schema["$ref"])
            if not isinstance(target, dict):
                return own or target
            schema = {**target, **own}
        return schema

    def _of_type(self, word: str, schema: Json) -> Any:
        if word == "object":
            return self._object(schema)
        if word == "array":
            return self._array(schema)
        if word in ("integer", "number"):
            return _number(schema, word == "integer")
        if word == "string":
            return _string(schema)
        return True if word == "boolean" else None

    def _object(self, schema: Json) -> Json:
        properties = schema.get("properties", {})
        found = {
            name: self.fill(part)
            for name, part in properties.items()
            if part is not False
        }
        for name in schema.get("required", ()):
            found.setdefault(name, WORD)
        return found

    def _array(self, schema: Json) -> list[Any]:
        items = schema.get("items", True)
        most = schema.get("maxItems", 1)
        count = int(max(schema.get("minItems", 0), min(1, most)))
        if items is False or count > self._left:
            return []
        return [self.fill(items) for _ in range(count)]


def _type_of(schema: Json) -> str:
    words = schema.get("type")
    if words:
        return str(words[0] if isinstance(words, list) else words)
    kinds = (
        ("properties", "object"),
        ("required", "object"),
        ("items", "array"),
        ("minItems", "array"),
        ("maxItems", "array"),
        ("minimum", "number"),
        ("maximum", "number"),
    )
    return next((kind for keyword, kind in kinds if keyword in schema), "string")


def _number(schema: Json, is_whole: bool) -> Any:
    number: Any = schema.get("minimum", schema.get("maximum", 1))
    if not is_whole:
        return number
    # The least integer that is not below the minimum.
    floor = int(number // 1)
    return floor + 1 if "minimum" in schema and floor < number else floor


def _string(schema: Json) -> str:
    least = int(schema.get("minLength", 0))
    most = int(schema.get("maxLength", max(least, len(WORD))))
    if least > EXAMPLE_CHARACTERS:
        raise _TooLarge
    return (WORD * (least // len(WORD) + 1))[: max(least, min(most, len(WORD)))]
