"""The value of an answer: found, checked, and told with its faults where it does not fit."""

from __future__ import annotations

from rebyte_flows.values.archives import ARCHIVE_BYTES_MOST, MEMBER, value_in_archive
from rebyte_flows.values.extraction import extract
from rebyte_flows.values.validation import fault, find_faults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, BinaryIO

    from rebyte_flows.values.schema import Schema
    from rebyte_types import FileHome, Json

    Open = Callable[[FileHome], BinaryIO]

NOTHING = "no JSON value at the end of the answer"
BREAKS_OFF = "an answer that ends inside a value"
ARCHIVES_MOST = 3


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


def _failed(values: list[Any], errors: list[dict[str, str]]) -> Json:
    keys: Json = {"valueErrors": errors}
    if values:
        keys["candidate"] = values[0]
    return keys


def read_value_or_archive(
    schema: Schema, answer: str, files: Sequence[FileHome], open_file: Open
) -> Json:
    """Return the same, with what stands in a zip among `files` that the answer names.

    `open_file(file)` opens one of them. A zip that the answer does not name may be an older one.
    """
    keys = read_value(schema, answer)
    for file in named_archives(answer, files) if "value" not in keys else ():
        try:
            with open_file(file) as source:
                value = value_in_archive(source)
        except ValueError as problem:
            words = "%s: %s" % (file["name"], problem)
            keys["valueErrors"] = [fault("", "one JSON value", words)]
            continue
        faults = find_faults(schema, value)
        if not faults:
            return {"value": value}
        keys = _failed([value], faults)
    return keys


def named_archives(answer: str, files: Sequence[FileHome]) -> list[FileHome]:
    """Return the zips that an answer speaks of, the latest named first, as many as are read."""
    found = []
    for file in files:
        name = file["name"]
        size = file.get("bytes")
        is_small = isinstance(size, int) and size <= ARCHIVE_BYTES_MOST
        if is_small and name.lower().endswith(".zip"):
            found.append((max(answer.rfind(name), answer.rfind(MEMBER)), file))
    named = [pair for pair in found if pair[0] >= 0]
    named.sort(key=_place, reverse=True)
    return [file for _, file in named[:ARCHIVES_MOST]]


def _place(pair: tuple[int, FileHome]) -> int:
    return pair[0]
