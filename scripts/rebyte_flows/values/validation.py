"""Whether a value fits a schema, and where it does not."""

from __future__ import annotations

import json
from itertools import islice
from operator import gt, lt

from rebyte_flows.values.schema import is_number, pointer, target_of
from rebyte_flows.values.strict_json import children_of, is_same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from rebyte_flows.values.schema import Schema
    from rebyte_types import Json

    Fault = dict[str, str]
    Check = Callable[["_Judging", Json, Any, str], Iterator[Fault]]

FAULTS_MOST = 10
SHOWN_CHARACTERS = 60
NAMES_SHOWN = 10
ARTICLES = {
    "array": "an array",
    "boolean": "true or false",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}


def find_faults(schema: Schema, value: Any) -> list[Fault]:
    """Return where a value does not fit: {"at": JSON pointer, "wanted", "came"}, ten at most.

    `at` and `wanted` hold words of the schema alone; `came` may hold foreign text, shortened.
    """
    root = schema.root
    judging = _Judging(root)
    faults = _faults(judging, root, value, "")
    return _first(faults)


def is_fit(root: Any, part: Any, value: Any) -> bool:
    """Tell whether a value fits a part of a document of schemas."""
    judging = _Judging(root)
    faults = _faults(judging, part, value, "")
    return next(faults, None) is None


class _Judging:
    """One value held against one schema: a definition is judged once at each place.

    Definitions that refer to each other twice would else take twice as long at every level.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        self._found: dict[tuple[int, str], list[Fault]] = {}
        self._scalars: dict[int, frozenset[tuple[bool, Any]]] = {}

    def __repr__(self) -> str:
        return "_Judging(%d places)" % len(self._found)

    def definition_faults(self, reference: str, value: Any, at: str) -> Iterable[Fault]:
        """Return where a value does not fit what a reference stands for."""
        definition = target_of(self._root, reference)
        if not children_of(value):
            # Nothing stands below it, and to keep it would cost more than it saves.
            return _faults(self, definition, value, at)
        key = (id(definition), at)
        if key not in self._found:
            faults = _faults(self, definition, value, at)
            self._found[key] = _first(faults)
        return self._found[key]

    def is_choice(self, choices: list[Any], value: Any) -> bool:
        """Tell whether a value is one of the choices of an enum."""
        if isinstance(value, (dict, list)):
            return any(is_same(value, choice) for choice in choices)
        # A long array may hold a scalar of a long enum at each place.
        scalars = self._scalars.get(id(choices))
        if scalars is None:
            scalars = frozenset(
                _scalar_key(choice)
                for choice in choices
                if not isinstance(choice, (dict, list))
            )
            self._scalars[id(choices)] = scalars
        return _scalar_key(value) in scalars


def _scalar_key(value: Any) -> tuple[bool, Any]:
    """Return what is equal for scalars that are the same JSON: 1 is 1.0, and neither is true."""
    return isinstance(value, bool), value


def _first(faults: Iterator[Fault]) -> list[Fault]:
    return list(islice(faults, FAULTS_MOST))


def fault(at: str, wanted: str, came: str) -> Fault:
    """Return one fault."""
    return {"at": at, "wanted": wanted, "came": came}


def _faults(judging: _Judging, schema: Any, value: Any, at: str) -> Iterator[Fault]:
    if schema is False:
        yield fault(at, "nothing", shown(value))
    if not isinstance(schema, dict):
        return
    for keyword, check in CHECKS.items():
        if keyword in schema:
            yield from check(judging, schema, value, at)


def shown(value: Any) -> str:
    """Return what a value is, in a few words."""
    if isinstance(value, dict):
        return "an object of %d" % len(value)
    if isinstance(value, list):
        return "an array of %d" % len(value)
    return _short(value)


def _short(value: Any) -> str:
    text = json.dumps(value)
    if len(text) > SHOWN_CHARACTERS:
        text = text[:SHOWN_CHARACTERS] + "..."
    return text


def has_type(value: Any, word: str) -> bool:
    """Tell whether a value is of a type of JSON Schema; an integer has no fraction."""
    if word == "integer":
        return is_number(value) and value == int(value)
    is_kind = KINDS[word]
    return is_kind(value)


KINDS: dict[str, Callable[[Any], bool]] = {
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": is_number,
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
}


def _check_reference(
    judging: _Judging, schema: Json, value: Any, at: str
) -> Iterator[Fault]:
    yield from judging.definition_faults(schema["$ref"], value, at)


def _check_type(
    judging: _Judging, schema: Json, value: Any, at: str
) -> Iterator[Fault]:
    words = schema["type"]
    if not isinstance(words, list):
        words = [words]
    if any(has_type(value, word) for word in words):
        return
    wanted = " or ".join(ARTICLES[word] for word in words)
    yield fault(at, wanted, shown(value))


def _check_enum(
    judging: _Judging, schema: Json, value: Any, at: str
) -> Iterator[Fault]:
    choices = schema["enum"]
    if judging.is_choice(choices, value):
        return
    wanted = "one of " + _short(choices)
    yield fault(at, wanted, shown(value))


def _check_const(
    judging: _Judging, schema: Json, value: Any, at: str
) -> Iterator[Fault]:
    constant = schema["const"]
    if is_same(value, constant):
        return
    wanted = "just " + _short(constant)
    yield fault(at, wanted, shown(value))


def _check_required(
    judging: _Judging, schema: Json, value: Any, at: str
) -> Iterator[Fault]:
    if not isinstance(value, dict):
        return
    for name in schema["required"]:
        if name not in value:
            place = pointer(at, name)
            yield fault(place, "a value", "nothing")


def _check_properties(
    judging: _Judging, schema: Json, value: Any, at: str
) -> Iterator[Fault]:
    if not isinstance(value, dict):
        return
    for name, part in schema["properties"].items():
        if name in value:
            place = pointer(at, name)
            yield from _faults(judging, part, value[name], place)


def _check_others(
    judging: _Judging, schema: Json, value: Any, at: str
) -> Iterator[Fault]:
    if schema["additionalProperties"] or not isinstance(value, dict):
        return
    names = schema.get("properties", {})
    wanted = "no property"
    if names:
        known = ", ".join(islice(names, NAMES_SHOWN))
        wanted = "no property but %s" % known
    for name in value:
        if name not in names:
            came = _short(name)
            yield fault(at, wanted, came)


def _check_items(
    judging: _Judging, schema: Json, value: Any, at: str
) -> Iterator[Fault]:
    if not isinstance(value, list):
        return
    part = schema["items"]
    for index, item in enumerate(value):
        place = pointer(at, index)
        yield from _faults(judging, part, item, place)


def _bound_check(
    keyword: str,
    has_size: Callable[[Any], bool],
    size_of: Callable[[Any], Any],
    noun: str,
) -> Check:
    """Return the check of a keyword that bounds a number, or how much something holds."""
    word = "most"
    is_beyond = gt
    if keyword.startswith("min"):
        word = "least"
        is_beyond = lt

    def check(judging: _Judging, schema: Json, value: Any, at: str) -> Iterator[Fault]:
        """Yield a fault where a size is beyond the bound."""
        bound: Any = schema[keyword]
        if has_size(value) and is_beyond(size_of(value), bound):
            wanted = "at %s %s%s" % (word, _short(bound), noun)
            yield fault(at, wanted, _short(size_of(value)))

    return check


def _itself(value: Any) -> Any:
    return value


CHECKS: dict[str, Check] = {
    "$ref": _check_reference,
    "type": _check_type,
    "enum": _check_enum,
    "const": _check_const,
    "required": _check_required,
    "properties": _check_properties,
    "additionalProperties": _check_others,
    "items": _check_items,
    "minItems": _bound_check("minItems", KINDS["array"], len, " items"),
    "maxItems": _bound_check("maxItems", KINDS["array"], len, " items"),
    "minLength": _bound_check("minLength", KINDS["string"], len, " characters"),
    "maxLength": _bound_check("maxLength", KINDS["string"], len, " characters"),
    "minimum": _bound_check("minimum", is_number, _itself, ""),
    "maximum": _bound_check("maximum", is_number, _itself, ""),
}
