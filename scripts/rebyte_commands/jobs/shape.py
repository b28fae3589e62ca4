"""The shape of an answer on the command line: --schema, --json-answer, and what they add."""

from __future__ import annotations

from rebyte_commands.shell.arguments import count
from rebyte_commands.shell.output import to_json
from rebyte_commands.shell.stdin import read_text
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from rebyte_commands.shell.context import Context
    from rebyte_flows.following.expectation import Expectation
    from rebyte_flows.starting.requests import StartRequest
    from rebyte_flows.values.schema import Schema
    from rebyte_types import Json

REPAIRS_MOST = 2
KEEP_RULES = ("best", "least")
# A schema that stands in the line itself begins so.
INLINE = ("{", "true", "false")


def add_shape_flags(parser: ArgumentParser) -> None:
    """Add the flags that say which shape the answer has to have, and what may be paid for it."""
    add_value_flags(parser)
    parser.add_argument(
        "--repair",
        type=count,
        default=0,
        metavar="N",
        help="pay for up to N (at most 2) turns that send back what is wrong with the value",
    )


def add_value_flags(parser: ArgumentParser) -> None:
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
    _check_repair(options)
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
    if text == "-" and _reads_stdin(options):
        raise InputError(
            "stdin was named twice; it can be read only once", code="usage"
        )
    if not is_inline(text):
        # One byte more says that it is too long.
        limit = SCHEMA_BYTES_MOST + 1
        text = read_text(text, "the schema", context.stdin, limit)
    return read_schema(text)


def check_payable(
    schema: Schema | None, is_new: Callable[[], bool] | None = None
) -> None:
    """Raise InputError for a schema that no value can fit: an answer would be paid in vain."""
    if schema is None:
        return
    from rebyte_flows.values.contradictions import check_possible

    check_possible(schema, is_new)


def check_new_start(
    context: Context,
    options: Namespace,
    request: StartRequest,
    name: str | None,
    schema: Schema | None,
) -> None:
    """Raise the same, unless the line goes on with a start that was made before."""

    def is_new() -> bool:
        """Tell whether the line pays for a start, or shows one."""
        from rebyte_commands.jobs.start import submitter_for

        return options.dry_run or submitter_for(context, options).starts_anew(
            request, name=name, again=options.again
        )

    check_payable(schema, is_new)


def _check_repair(options: Namespace) -> None:
    number = getattr(options, "repair", 0)
    if number and options.schema is None and not options.json_answer:
        raise InputError(
            "--repair mends a value, and none is asked for",
            code="usage",
            hint="add --schema FILE or --json-answer",
        )
    if number > REPAIRS_MOST:
        raise InputError(
            "--repair is %d; 0, 1 or 2 was expected" % number,
            code="usage",
            hint="each is a paid turn; after two it is the prompt that is wrong",
        )


def _reads_stdin(options: Namespace) -> bool:
    """Tell whether another part of a line comes from stdin."""
    names = ("prompt", "prompt_flag", "prompt_file", "batch_file", "template")
    words = [getattr(options, name, None) for name in names]
    files = getattr(options, "file", ())
    lines = getattr(options, "typed", ())
    words += [line.get("prompt_file") for line in lines]
    return "-" in words or any(word.startswith("-=") for word in files)


def is_inline(schema: str) -> bool:
    """Tell whether --schema holds the schema itself, and not the path of a file."""
    return schema.lstrip().startswith(INLINE[0]) or schema.strip() in INLINE


def lines_for(schema: Schema | None) -> list[str]:
    """Return the plain lines that a schema adds to the prompt."""
    if schema is None:
        return []
    from rebyte_flows.values.prompts import shape_lines

    return shape_lines(schema)


def expectation_of(
    context: Context, options: Namespace, schema: Schema | None
) -> Expectation | None:
    """Return what the answers of one task are held against, None where no value was asked for."""
    if schema is None:
        return None
    from rebyte_commands.jobs.start import submitter_for
    from rebyte_flows.following.expectation import Expectation

    repairs = getattr(options, "repair", 0)
    return Expectation(schema, submitter_for(context, options), repairs)


def shape_words(options: Namespace) -> list[str]:
    """Return the flags of this line that the next one needs to find the value again."""
    if getattr(options, "json_answer", False):
        return ["--json-answer"]
    schema = getattr(options, "schema", None)
    return ["--schema", schema] if schema else []


def repair_words(options: Namespace) -> list[str]:
    """Return --repair of this line, where it has one."""
    number = getattr(options, "repair", 0)
    return ["--repair", str(number)] if number else []


def read_keep(options: Namespace, schema: Schema | None) -> tuple[str, str] | None:
    """Return (best or least, a property) of --keep; InputError for one that chooses nothing."""
    if options.keep is None:
        return None
    rule, _, name = options.keep.partition("=")
    if rule not in KEEP_RULES or not name:
        raise InputError(
            "--keep is %r; best=PROPERTY or least=PROPERTY was expected" % options.keep,
            code="usage",
        )
    if schema is None or options.attempts is None:
        raise InputError(
            "--keep chooses among the values of several attempts",
            code="usage",
            hint="add --schema FILE and --attempts N",
        )
    names = schema.properties()
    if name not in names:
        raise InputError(
            "--keep: the schema has no property %s at its top" % name,
            hint="it has: %s" % (", ".join(names) or "none"),
        )
    return rule, name


def value_keys(document: Json, room: int) -> Json:
    """Return what one of many shows of its value; one that is too long stands in values.jsonl."""
    found: Json = {}
    if "value" in document and len(to_json(document["value"])) <= room:
        found["value"] = document["value"]
    errors = document.get("valueErrors")
    if errors:
        found["valueErrors"] = errors[:1]
    return found
