"""JSON as its grammar has it: no NaN, no Infinity, no key twice, no number beyond any sense."""

from __future__ import annotations

import json

from rebyte_wire.payloads import finite_float, refuse_constant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rebyte_types import Json

# An integer of more digits is no figure, and older Pythons take seconds for a long one.
INTEGER_DIGITS_MOST = 400
DEPTH_MOST = 64
# What may stand around a value in a text of JSON.
BLANKS = " \t\r\n"


def _object_of(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _integer_of(digits: str) -> int:
    if len(digits) > INTEGER_DIGITS_MOST:
        raise ValueError("a number has %d digits" % len(digits))
    return int(digits)


DECODER = json.JSONDecoder(
    object_pairs_hook=_object_of,
    parse_constant=refuse_constant,
    parse_float=finite_float,
    parse_int=_integer_of,
)


def decode_at(text: str, start: int) -> tuple[Any, int]:
    """Return (the value that begins at a place, where it ends); ValueError where none does.

    A value nested deeper than DEPTH_MOST counts as none.
    """
    try:
        value, end = DECODER.raw_decode(text, start)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if is_deeper(value, DEPTH_MOST):
        raise ValueError("it is nested deeper than %d" % DEPTH_MOST)
    return value, end


def decode(text: str) -> Any:
    """Return the one value that a text is; ValueError where it is anything else."""
    stripped = text.strip(BLANKS + "\ufeff")
    value, end = decode_at(stripped, 0)
    if end != len(stripped):
        raise ValueError("more follows after the value, at character %d" % end)
    return value


def is_deeper(value: Any, limit: int) -> bool:
    """Tell whether arrays and objects stand in each other more than `limit` deep."""
    level = [value]
    for _ in range(limit + 1):
        level = [child for parent in level for child in children_of(parent)]
        if not level:
            return False
    return True


def children_of(value: Any) -> list[Any]:
    """Return the items of an array, the values of an object, nothing of anything else."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same JSON: 1 is 1.0, and neither is true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(
            is_same(one[key], other[key]) for key in one
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)
