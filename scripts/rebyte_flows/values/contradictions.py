"""Whether a schema contradicts itself, so that no value can fit: then no answer is paid for.

Only what is certain is told. A keyword speaks of values of its own type alone: `minimum` over
`maximum` contradicts nothing where a text would fit as well.
"""

from __future__ import annotations

import math
from urllib.parse import unquote

from rebyte_flows.values.schema import NAME_CHARACTERS, TYPES, pointer, target_of
from rebyte_flows.values.validation import is_fit
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from rebyte_flows.values.schema import Schema
    from rebyte_types import Json

    # (JSON pointer, why)
    Contradiction = tuple[str, str]
    # What holds at one place of a value at once: (JSON pointer, schema).
    Levels = list[tuple[str, Json]]

# The keywords that bound the values of a type.
BOUNDS = {
    "array": ("minItems", "maxItems"),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "string": ("minLength", "maxLength"),
}
# More values of an enum than this are not tried.
CHOICES_MOST = 200


def check_possible(schema: Schema, is_new: Callable[[], bool] | None = None) -> None:
    """Raise InputError, with the place and the reason, where no value can fit a schema.

    `is_new()`, asked only then, tells whether an answer would be paid for: what goes on with an
    earlier start is not refused.
    """
    found = find_contradiction(schema)
    if found is None or (is_new and not is_new()):
        return
    place, why = found
    raise InputError(
        "no value can fit the schema, at %s: %s" % (place or "its top", why),
        code="schema_refused",
        hint="mend it there: an answer would be paid for, and could not be right",
        details={"at": place},
    )


def find_contradiction(schema: Schema) -> Contradiction | None:
    """Return (JSON pointer, why) where a schema certainly allows no value, else None."""
    root = schema.root
    finder = _Finder(root)
    return finder.find(root, "")


class _Finder:
    """Looks at each schema of a document once."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._found: dict[int, Contradiction | None] = {}

    def __repr__(self) -> str:
        return "_Finder(%d schemas)" % len(self._found)

    def find(self, schema: Any, place: str) -> Contradiction | None:
        """Return why no value fits a schema, None where one may."""
        if schema is False:
            return place, "false allows no value"
        if not isinstance(schema, dict):
            return None
        key = id(schema)
        if key not in self._found:
            self._found[key] = self._find(schema, place)
        return self._found[key]

    def _find(self, schema: Json, place: str) -> Contradiction | None:
        levels = list(self._levels(schema, place))
        end, last = levels[-1]
        if last is False:
            return self.find(last, end)
        objects = [level for level in levels if isinstance(level[1], dict)]
        for choices, at in _choices(objects):
            for choice in choices:
                if is_fit(self._root, schema, choice):
                    return None
            count = len(choices)
            return at, "none of its %d values fits the rest of the schema" % count
        return self._find_in_types(objects)

    def _levels(self, schema: Any, place: str) -> Iterator[tuple[str, Any]]:
        """Yield a schema, and what its reference stands for, to the end."""
        yield place, schema
        while isinstance(schema, dict) and "$ref" in schema:
            reference = schema["$ref"]
            place = unquote(reference[1:])
            schema = target_of(self._root, reference)
            yield place, schema

    def _find_in_types(self, levels: Levels) -> Contradiction | None:
        left = set(TYPES)
        for words, place in _arguments(levels, "type"):
            left &= _types_of(words)
            if not left:
                return pointer(place, "type"), "the types exclude each other"
        found = []
        for word in sorted(left):
            contradiction = self._find_in_type(word, levels)
            if contradiction is None:
                # One type that allows a value is enough.
                return None
            found.append(contradiction)
        return found[0]

    def _find_in_type(self, word: str, levels: Levels) -> Contradiction | None:
        found = _find_in_bounds(word, levels)
        if found is None and word == "array":
            found = self._find_in_items(levels)
        if word == "object":
            found = self._find_in_required(levels)
        return found

    def _find_in_items(self, levels: Levels) -> Contradiction | None:
        counts = [count for count, _ in _arguments(levels, "minItems")]
        if not any(counts):
            return None
        for items, place in _arguments(levels, "items"):
            at = pointer(place, "items")
            found = self.find(items, at)
            if found:
                return found
        return None

    def _find_in_required(self, levels: Levels) -> Contradiction | None:
        for names, place in _arguments(levels, "required"):
            at = pointer(place, "required")
            for name in names:
                found = self._find_in_property(name, at, levels)
                if found:
                    return found
        return None

    def _find_in_property(
        self, name: str, at: str, levels: Levels
    ) -> Contradiction | None:
        """Return why no value fits a required property."""
        for place, level in levels:
            properties = level.get("properties", {})
            if name in properties:
                below = pointer(place, "properties")
                part = properties[name]
                found = self.find(part, pointer(below, name))
                if found:
                    return found
            elif level.get("additionalProperties") is False:
                shown = name[:NAME_CHARACTERS]
                return at, "%s is required, and additionalProperties forbids it" % shown
        return None


def _arguments(levels: Levels, keyword: str) -> Iterator[tuple[Any, str]]:
    """Yield (argument, pointer of its schema) of a keyword wherever it stands."""
    for place, level in levels:
        if keyword in level:
            yield level[keyword], place


def _choices(levels: Levels) -> Iterator[tuple[list[Any], str]]:
    """Yield (all values that may fit, pointer of the keyword that says so)."""
    for value, place in _arguments(levels, "const"):
        yield [value], pointer(place, "const")
    for values, place in _arguments(levels, "enum"):
        if len(values) > CHOICES_MOST:
            continue
        yield values, pointer(place, "enum")


def _types_of(words: Any) -> set[str]:
    """Return the types that a `type` allows; every integer is a number."""
    found = set(words) if isinstance(words, list) else {words}
    if "number" in found:
        found.add("integer")
    return found


def _find_in_bounds(word: str, levels: Levels) -> Contradiction | None:
    """Return that nothing lies between the bounds that hold for a type."""
    least, most = BOUNDS.get(word, ("", ""))
    low = max(_arguments(levels, least), default=None)
    high = min(_arguments(levels, most), default=None)
    if low is None or high is None:
        return None
    at = pointer(low[1], least)
    if low[0] > high[0]:
        return at, "%s is over %s" % (least, most)
    if word == "integer" and math.ceil(low[0]) > math.floor(high[0]):
        return at, "no integer lies between it and %s" % most
    return None
