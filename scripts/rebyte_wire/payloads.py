"""The JSON of the API, out and in: what may be sent, what can be read, what stays hidden."""

from __future__ import annotations

import json
from collections.abc import Collection

from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The key of a machine's sandbox: hidden unless get_computer is asked for it by name.
SECRET_FIELDS = frozenset(("sandboxApiKey",))
HIDDEN = "***"


def encode(value: object) -> bytes:
    """Return a value as JSON bytes; InputError for what JSON cannot say."""
    try:
        return json.dumps(value, allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError("The request cannot be written as JSON ({}).".format(error)) from None


def parse_json(text: str) -> Any:
    """Return the value of a JSON text; ValueError for what is none, such as NaN."""
    if text.startswith("\ufeff"):
        text = text[1:]
    return json.loads(text, parse_constant=refuse_constant)


def refuse_constant(word: str) -> None:
    """Raise ValueError for NaN and Infinity, which Python reads and JSON does not know."""
    raise ValueError(word)


def omit_none(**fields: Any) -> dict[str, Any]:
    """Return the fields that were given: the service decides about the others."""
    return {name: value for name, value in fields.items() if value is not None}


def redact(answer: Any, reveal: Collection[str] = ()) -> Any:
    """Return an answer whose secret fields were changed to ***, but for those named."""
    left = [answer]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        if isinstance(value, dict):
            hidden = SECRET_FIELDS.difference(reveal).intersection(value)
            value.update((name, HIDDEN) for name in hidden if value[name])
            left += value.values()
    return answer
