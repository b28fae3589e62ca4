"""From lines or rows to the entries of a batch; every bad line is named before anything is sent."""

from __future__ import annotations

import argparse
import csv
import io
import json
import re

from rebyte_commands.jobs.attachments import attach, attach_skill, is_local_skill
from rebyte_commands.jobs.code import code_attachments
from rebyte_commands.jobs.shape import lines_for
from rebyte_commands.jobs.start import (
    file_id,
    place_fields,
    read_prompt_file,
)
from rebyte_commands.shell.stdin import read_text
from rebyte_flows.entries import Entry
from rebyte_flows.files.uploads import STREAM
from rebyte_flows.starting.requests import task_request
from rebyte_flows.starting.rows import check_name
from rebyte_flows.values.strict_json import decode
from rebyte_wire.errors import InputError, RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Sequence
    from typing import Any

    from rebyte_commands.shell.context import Context
    from rebyte_flows.files.uploads import Attachment
    from rebyte_flows.values.schema import Schema
    from rebyte_types import Json

KEYS: dict[str, type] = {
    "once": str,
    "prompt": str,
    "prompt_file": str,
    "files": list,
    "executor": str,
    "model": str,
    "skills": list,
    "repo": str,
    "branch": str,
    "workspace": str,
    "want": list,
}
PLACE_KEYS = ("executor", "model", "repo", "branch", "workspace")
FIELD = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
CODE = "--code="
BAD_LINES_SHOWN = 50
VALUE_CHARACTERS = 60
# A cell that no template uses may be long.
CELL_LIMIT_CHARACTERS = 1 << 30


class Line:
    """One line of the input: its number there, and an object, or else what is wrong with it."""

    def __init__(
        self, number: int, value: Any = None, problem: str | None = None
    ) -> None:
        self.number = number
        self.value = value
        self.problem = problem

    def __repr__(self) -> str:
        return "Line(%d)" % self.number


def read_entries(
    context: Context, options: Namespace, schema: Schema | None
) -> list[Entry]:
    """Return the entries of the batch; raises one InputError that names every bad line."""
    shape = lines_for(schema)
    lines = _read_lines(context, options)
    _check_stdin_once(options, lines)
    attachments: dict[str, Attachment] = {}
    # No path looks like the places of these among the attachments.
    for item in code_attachments(context, options):
        attachments[CODE + item.name] = item
    entries: list[Entry] = []
    bad: list[Json] = []
    for index, line in enumerate(lines, 1):
        try:
            entries.append(_entry(context, options, index, line, attachments, shape))
        except RebyteError as problem:
            bad.append({"line": line.number, "message": problem.message})
    if bad:
        raise InputError(
            "%d of %d lines are wrong; line %d: %s"
            % (len(bad), len(lines), bad[0]["line"], bad[0]["message"]),
            code="bad_lines",
            hint="correct them; nothing was sent",
            details={"lines": bad[:BAD_LINES_SHOWN]},
        )
    if not entries:
        raise InputError("there is no line in %s" % options.batch_file)
    return entries


def _read_lines(context: Context, options: Namespace) -> list[Line]:
    typed: list[Json] = options.typed
    if bool(options.batch_file) == bool(typed):
        raise InputError("a batch needs a FILE, or --prompt once or more", code="usage")
    if options.once_field and not options.template:
        raise InputError(
            '--once-field needs --template; a line of JSON names its task with "once"',
            code="usage",
        )
    if typed:
        return [Line(number, value) for number, value in enumerate(typed, 1)]
    text = read_text(options.batch_file, "the batch", context.stdin)
    if options.template:
        return _template_lines(context, options, text)
    if options.batch_file.endswith(".csv"):
        raise InputError(
            "rows of a CSV need --template F, a prompt with {{field}} in it",
            code="usage",
        )
    return _json_lines(text)


def _template_lines(context: Context, options: Namespace, text: str) -> list[Line]:
    """Return a line for each row of a table, its prompt made from the template."""
    template = read_text(options.template, "the template", context.stdin)
    if not FIELD.search(template):
        # Every row would pay for the same prompt.
        raise InputError(
            "no field of a row is named in %s" % options.template,
            hint="write {{NAME}} where the row's NAME belongs; --attempts N sends one prompt often",
        )
    if options.batch_file.endswith((".jsonl", ".ndjson")):
        rows = _json_lines(text)
    else:
        rows, empty = csv_rows(text)
        if empty:
            context.error("%d empty rows were passed over" % empty)
    return [_filled(template, row, options.once_field) for row in rows]


def csv_rows(text: str) -> tuple[list[Line], int]:
    """Return the rows of a CSV as lines, and how many were passed over because they held nothing.

    Raises InputError for a header that is empty or stands there twice, and for what is no CSV. A
    row with too many cells is a bad line. Line ends inside quotes, and characters that end lines
    elsewhere, are data.
    """
    csv.field_size_limit(CELL_LIMIT_CHARACTERS)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    rows: list[Line] = []
    empty = 0
    began = 1
    try:
        for cells in reader:
            number = began
            began = reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                # The line of a lone comma is as empty as a blank one.
                empty += 1 if cells else 0
            elif header is None:
                header = _checked_header(number, cells)
            else:
                rows.append(_row_line(number, header, cells))
    except csv.Error as problem:
        raise InputError("line %d is no CSV: %s" % (began, problem)) from None
    return rows, empty


def _checked_header(number: int, cells: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if "" in names:
        raise InputError(
            "line %d: column %d has no name" % (number, names.index("") + 1),
            hint="name each column in the first line, or remove the empty ones",
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            "line %d: two columns are named %s" % (number, ", ".join(twice)),
            hint="rename one of them",
        )
    return names


def _row_line(number: int, header: Sequence[str], cells: Sequence[str]) -> Line:
    if len(cells) > len(header):
        problem = (
            "the row has %d cells, and the header %d; quote a cell that holds a comma"
            % (
                len(cells),
                len(header),
            )
        )
        return Line(number, problem=problem)
    return Line(number, dict(zip(header, cells)))


def _json_lines(text: str) -> list[Line]:
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            lines.append(Line(number, decode(line)))
        except ValueError as problem:
            lines.append(Line(number, problem="not JSON: %s" % problem))
    return lines


def _filled(template: str, row: Line, once_field: str | None) -> Line:
    """Return the line that a row makes of the template."""
    if row.problem or not isinstance(row.value, dict):
        return row
    fields = row.value
    missing = sorted(
        {name for name in FIELD.findall(template) if fields.get(name) is None}
    )
    if once_field and fields.get(once_field) in (None, ""):
        missing = missing or [once_field]
    if missing:
        problem = "the row has no %s; its fields are: %s" % (
            ", ".join(missing),
            ", ".join(map(str, fields)),
        )
        return Line(row.number, problem=problem)
    value = {"prompt": FIELD.sub(lambda match: str(fields[match.group(1)]), template)}
    if once_field:
        value["once"] = str(fields[once_field])
    return Line(row.number, value)


def _check_stdin_once(options: Namespace, lines: Iterable[Line]) -> None:
    """Raise InputError when stdin is named more than once: it can be read only once."""
    streams = {word for word in options.file if word.startswith(STREAM)}
    readers = [options.batch_file, options.template].count("-")
    for line in lines:
        if not isinstance(line.value, dict):
            continue
        files = line.value.get("files")
        words = files if isinstance(files, list) else []
        streams.update(
            word for word in words if isinstance(word, str) and word.startswith(STREAM)
        )
        readers += line.value.get("prompt_file") == "-"
    if len(streams) + readers > 1:
        raise InputError(
            "stdin was named twice; it can be read only once", code="usage"
        )


def _entry(
    context: Context,
    options: Namespace,
    index: int,
    line: Line,
    attachments: dict[str, Attachment],
    shape: Sequence[str],
) -> Entry:
    """Return the entry of a line, the flags of the command filled in where it says nothing.

    `shape` are the lines of a prompt that say how its answer has to end.
    """
    value = checked_line(line)
    files = value.get("files", []) + options.file
    skills = value.get("skills", []) + options.skill + options.skills
    local = [word for word in skills if is_local_skill(word)]
    # The same file of many lines is read and packed once.
    for word in set(files) - set(attachments):
        attachments[word] = attach(word, context.stdin, options.zip)
    for word in set(local) - set(attachments):
        attachments[word] = attach_skill(word)
    tree = [word for word in attachments if word.startswith(CODE)]
    prompt = value.get("prompt")
    if prompt is None:
        prompt = read_prompt_file(value["prompt_file"], context.stdin)
    want = value.get("want", []) + options.want
    request = task_request(
        prompt,
        **place_fields(context, _place_of(options, value)),
        attachments=list(map(attachments.__getitem__, files + local + tree)),
        skills=[word for word in skills if word not in local],
        file_ids=list(map(file_id, options.file_id)),
        want=want,
        no_questions=options.no_questions,
        lines=shape,
        bare=options.bare,
    )
    name = check_name(value["once"]) if "once" in value else None
    return Entry(index, request, name)


def _place_of(options: Namespace, value: Json) -> Namespace:
    """Return who works and where: what a line says, else what the flags say."""
    place = {key: value.get(key) or getattr(options, key) for key in PLACE_KEYS}
    return argparse.Namespace(**place)


def checked_line(line: Line) -> Json:
    """Return the object of a line whose keys and types are right; raises InputError."""
    if line.problem:
        raise InputError(line.problem)
    if not isinstance(line.value, dict):
        raise InputError("an object was expected")
    for key, value in line.value.items():
        if key not in KEYS:
            raise InputError(
                "there is no key %r; the keys are: %s" % (key, ", ".join(KEYS))
            )
        _check_type(key, value)
    if ("prompt" in line.value) == ("prompt_file" in line.value):
        raise InputError("a line needs a prompt or a prompt_file")
    return line.value


def _check_type(key: str, value: Any) -> None:
    is_list = KEYS[key] is list
    fits = isinstance(value, KEYS[key])
    if fits and is_list:
        fits = all(isinstance(item, str) for item in value)
    if not fits:
        expected = "a list of texts" if is_list else "a text"
        shown = json.dumps(value)[:VALUE_CHARACTERS]
        raise InputError("%s is %s; %s was expected" % (key, shown, expected))
