"""The subset of JSON Schema that is checked whole; anything outside it is refused before it costs
anything.

In it: type, properties, required, additionalProperties (true or false), items (one schema), enum,
const, minItems, maxItems, minLength, maxLength, minimum, maximum, true and false as schemas, and
$ref into the $defs of the same document without a cycle. Annotations say nothing about a value.
"""

from __future__ import annotations

from urllib.parse import unquote

from rebyte_flows.values.strict_json import DEPTH_MOST, decode
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from rebyte_types import Json

SCHEMA_BYTES_MOST = 64 * 1024
TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
ANNOTATIONS = frozenset(
    (
        "title",
        "description",
        "default",
        "examples",
        "$schema",
        "$id",
        "$comment",
        "deprecated",
        "readOnly",
        "writeOnly",
    )
)
DEFINITIONS = "#/$defs/"
# Another metaschema may switch keywords off.
DIALECTS = "json-schema.org/"
NAME_CHARACTERS = 60


class Schema:
    """A schema whose every keyword is checked: `root` as it was read, `text` as it was given."""

    def __init__(self, root: Json | bool, text: str) -> None:
        self.root = root
        self.text = text

    def __repr__(self) -> str:
        return "Schema(%d characters)" % len(self.text)

    def resolve(self, schema: Any) -> Any:
        """Return what a $ref of this document stands for, following it to its end."""
        while isinstance(schema, dict) and "$ref" in schema and len(schema) == 1:
            schema = target_of(self.root, schema["$ref"])
        return schema

    def properties(self) -> list[str]:
        """Return the names of the properties at the top, in the order of the schema."""
        top = self.resolve(self.root)
        return list(top.get("properties", ())) if isinstance(top, dict) else []


ANY_VALUE = Schema(True, "true")


def read_schema(text: str) -> Schema:
    """Return the schema in a text; InputError names the place that cannot be checked."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > SCHEMA_BYTES_MOST:
        raise refused(
            "", "it has %d bytes, and %d are the most" % (size, SCHEMA_BYTES_MOST)
        )
    try:
        root = decode(text)
    except ValueError as problem:
        raise refused(
            "", "it is not JSON, or nested deeper than %d: %s" % (DEPTH_MOST, problem)
        ) from None
    for place, schema in schemas_in(root):
        _check(place, schema)
    places = {place for place, _ in schemas_in(root)}
    for place, schema in schemas_in(root):
        if isinstance(schema, dict) and "$ref" in schema:
            _check_reference(places, place, schema["$ref"])
    nesting = _Nesting(root)
    for place, schema in schemas_in(root):
        nesting.check(schema, place)
    return Schema(root, text)


def refused(place: str, why: str) -> InputError:
    """Return the error for a schema that cannot be checked at a place."""
    return InputError(
        "the schema cannot be used, at %s: %s" % (place or "its top", why),
        code="schema_refused",
        hint="leave it out, or say it in a description: what is not checked would be "
        "ignored in silence. Checked are: %s" % ", ".join(sorted(KEYWORDS)),
        details={"at": place},
    )


def pointer(place: str, name: object) -> str:
    """Return the JSON pointer of a part of what stands at a pointer."""
    return "%s/%s" % (place, str(name).replace("~", "~0").replace("/", "~1"))


def schemas_in(schema: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (pointer, schema) for a schema and every schema in it, whatever else stands there."""
    yield place, schema
    if not isinstance(schema, dict):
        return
    for keyword in ("$defs", "properties"):
        named = schema.get(keyword)
        if isinstance(named, dict):
            for name, part in named.items():
                yield from schemas_in(part, pointer(pointer(place, keyword), name))
    if "items" in schema:
        yield from schemas_in(schema["items"], pointer(place, "items"))


def _check(place: str, schema: Any) -> None:
    """Raise InputError where a schema has a keyword outside the subset, or one of a wrong kind."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise refused(place, "an object, true or false was expected")
    for keyword, argument in schema.items():
        _check_keyword(pointer(place, keyword), keyword, argument)
    dialect = schema.get("$schema", DIALECTS)
    if not isinstance(dialect, str) or DIALECTS not in dialect:
        why = "only the dialects of %s are known" % DIALECTS
        raise refused(pointer(place, "$schema"), why)
    if place and "$id" in schema:
        raise refused(pointer(place, "$id"), "$id may stand at the top only")


def _check_keyword(at: str, keyword: str, argument: Any) -> None:
    if keyword in ANNOTATIONS:
        return
    if keyword not in KEYWORDS:
        name = keyword[:NAME_CHARACTERS]
        raise refused(at, "the keyword %s is not one that is checked" % name)
    is_right, expected = KEYWORDS[keyword]
    if not is_right(argument):
        raise refused(at, expected + " was expected")


def _check_reference(places: set[str], place: str, reference: str) -> None:
    at = pointer(place, "$ref")
    if not reference.startswith(DEFINITIONS):
        raise refused(at, "a reference has to begin with " + DEFINITIONS)
    if unquote(reference[1:]) not in places:
        raise refused(at, "there is no schema at %s" % reference[:NAME_CHARACTERS])


def target_of(root: Any, reference: str) -> Any:
    """Return what a reference into a document points to, None where nothing is."""
    found = root
    for part in unquote(reference[2:]).split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found


class _Nesting:
    """How deep schemas stand in each other, references followed; each is looked at once."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._depths: dict[int, int] = {}
        self._under_way: set[int] = set()

    def __repr__(self) -> str:
        return "_Nesting(%d schemas)" % len(self._depths)

    def check(self, schema: Any, place: str) -> int:
        """Return the depth; InputError for a circle, and for more than a value may have."""
        if not isinstance(schema, dict):
            return 0
        key = id(schema)
        if key in self._under_way:
            raise refused(place, "the reference leads in a circle")
        if len(self._under_way) > DEPTH_MOST:
            raise refused(place, "it is nested deeper than %d" % DEPTH_MOST)
        if key not in self._depths:
            self._under_way.add(key)
            parts = _parts(self._root, schema, place)
            below = [self.check(part, at) for at, part in parts]
            self._under_way.discard(key)
            self._depths[key] = 1 + max(below, default=0)
        if self._depths[key] > DEPTH_MOST:
            raise refused(place, "it is nested deeper than %d" % DEPTH_MOST)
        return self._depths[key]


def _parts(root: Any, schema: Json, place: str) -> Iterator[tuple[str, Any]]:
    """Yield (pointer, schema) of what a schema is made of, references followed."""
    if "$ref" in schema:
        yield pointer(place, "$ref"), target_of(root, schema["$ref"])
    for name, part in schema.get("properties", {}).items():
        yield pointer(pointer(place, "properties"), name), part
    if "items" in schema:
        yield pointer(place, "items"), schema["items"]


# What each keyword takes


def is_number(value: Any) -> bool:
    """Tell whether a value is a JSON number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return is_number(value) and value >= 0 and value == int(value)


def _is_type(value: Any) -> bool:
    if not isinstance(value, list):
        return _is_word(value)
    if not value or not all(map(_is_word, value)):
        return False
    return len(set(value)) == len(value)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value in TYPES


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_names(value: Any) -> bool:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return False
    return len(set(value)) == len(value)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_schema(value: Any) -> bool:
    return isinstance(value, (dict, bool))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_anything(value: Any) -> bool:
    return True


A_COUNT = (_is_count, "a whole number, 0 or more,")
A_NUMBER = (is_number, "a number")
SCHEMAS = (_is_object, "an object of schemas")
# keyword -> (what its argument has to be, the same in words)
KEYWORDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "$defs": SCHEMAS,
    "$ref": (_is_text, "a text that begins with " + DEFINITIONS),
    "additionalProperties": (_is_bool, "true or false"),
    "const": (_is_anything, "anything"),
    "enum": (_is_list, "an array of values"),
    "items": (_is_schema, "one schema"),
    "maxItems": A_COUNT,
    "maxLength": A_COUNT,
    "maximum": A_NUMBER,
    "minItems": A_COUNT,
    "minLength": A_COUNT,
    "minimum": A_NUMBER,
    "properties": SCHEMAS,
    "required": (_is_names, "an array of names, each once,"),
    "type": (_is_type, "one of %s, or an array of those," % ", ".join(TYPES)),
}
