"""The JSON of the API, out and in: what may be sent, what can be read, what stays hidden."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection

from rebyte_wire.errors import AnswerUnreadable, InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The key of a machine's sandbox: hidden unless get_computer is asked for it by name.
SECRET_FIELDS = frozenset(("sandboxApiKey",))
HIDDEN = "***"
# The escape of a NUL, and not of a backslash before the letters u0000.
NUL = r"(?<!\\)(\\\\)*\\u0000"


def encode(value: object) -> bytes:
    """Return a value as JSON bytes; InputError for what JSON, or a reader of it, cannot take."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        encoded = text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            "The request holds what is no text: half of a surrogate pair.",
            hint="It came from bytes that are not UTF-8, or from text that was cut in a character.",
        ) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            "The request cannot be written as JSON ({}).".format(error)
        ) from None
    if "\\u0000" in text and re.search(NUL, text):
        raise InputError(
            "The request holds a NUL character, which services do not store.",
            hint="It may be UTF-16 that was read as UTF-8, or a binary file taken for text.",
        )
    return encoded


def parse_json(text: str) -> Any:
    """Return the value of a JSON text; ValueError for what is none, such as NaN."""
    if text.startswith("\ufeff"):
        text = text[1:]
    return json.loads(text, parse_constant=refuse_constant, parse_float=finite_float)


def refuse_constant(word: str) -> None:
    """Raise ValueError for NaN and Infinity, which Python reads and JSON does not know."""
    raise ValueError("%s is no JSON" % word)


def finite_float(digits: str) -> float:
    """Return a number; ValueError for one such as 1e999, which would be written as Infinity."""
    number = float(digits)
    if math.isinf(number):
        raise ValueError("%.20s is too large" % digits)
    return number


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


def page_of(answer: Any, name: str) -> Any:
    """Return an answer that is a list, or has one under data or a name, as a page with data."""
    page = {"data": answer} if isinstance(answer, list) else answer
    if "data" not in page:
        page["data"] = page.pop(name, None)
    if not isinstance(page["data"], list):
        raise AnswerUnreadable(
            "The list of {0} cannot be used; expected an array, or one under data or {0}.".format(
                name
            )
        )
    return page
