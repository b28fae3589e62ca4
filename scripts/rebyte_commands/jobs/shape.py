"""The shape of an answer on the command line: --schema, --json-answer, and what they add."""

from __future__ import annotations

from rebyte_commands.shell.stdin import read_text
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from rebyte_commands.shell.context import Context
    from rebyte_flows.values.schema import Schema
    from rebyte_types import Json

# A schema that stands in the line itself begins so.
INLINE = ("{", "true", "false")


def add_shape_flags(parser: ArgumentParser) -> None:
    """Add the flags that say which shape the answer has to have."""
    parser.add_argument(
        "--schema",
        metavar="FILE",
        help="the answer ends with one JSON value of this JSON Schema: a file, or the JSON",
    )
    parser.add_argument(
        "--json-answer",
        action="store_true",
        help="the answer ends with one JSON value of any shape",
    )


def read_shape(context: Context, options: Namespace) -> Schema | None:
    """Return the schema that a line asks for, None where it asks for none.

    Raises InputError for one that cannot be checked whole; nothing has been sent then.
    """
    if options.schema is None and not options.json_answer:
        return None
    # Lazy: only who asks for a value pays for it.
    from rebyte_flows.values.schema import ANY_VALUE, SCHEMA_BYTES_MOST, read_schema

    if options.schema is None:
        return ANY_VALUE
    if options.json_answer:
        raise InputError(
            "--schema and --json-answer exclude each other: a schema says more",
            code="usage",
        )
    text: str = options.schema
    if not is_inline(text):
        # One byte more says that it is too long.
        limit = SCHEMA_BYTES_MOST + 1
        text = read_text(text, "the schema", context.stdin, limit)
    return read_schema(text)


def is_inline(schema: str) -> bool:
    """Tell whether --schema holds the schema itself, and not the path of a file."""
    return schema.lstrip().startswith(INLINE[0]) or schema.strip() in INLINE


def lines_for(schema: Schema | None) -> list[str]:
    """Return the plain lines that a schema adds to the prompt."""
    if schema is None:
        return []
    from rebyte_flows.values.prompts import shape_lines

    return shape_lines(schema)


def reader_for(schema: Schema | None) -> Callable[[str], Json] | None:
    """Return what tells the value of an answer, None where none was asked for."""
    if schema is None:
        return None
    from functools import partial

    from rebyte_flows.values.reader import read_value

    return partial(read_value, schema)


def shape_words(options: Namespace) -> list[str]:
    """Return the flags of this line that the next one needs to find the value again."""
    if getattr(options, "json_answer", False):
        return ["--json-answer"]
    schema = getattr(options, "schema", None)
    return ["--schema", schema] if schema else []
