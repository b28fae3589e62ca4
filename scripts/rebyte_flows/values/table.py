"""Many values as one table: a line of JSON each, and a CSV that spreadsheets open harmlessly."""

from __future__ import annotations

import csv
import io
import json

from rebyte_wire.errors import OutcomeUnknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from rebyte_flows.values.schema import Schema
    from rebyte_types import Json

# What each row tells beside its value.
COLUMNS = ("name", "id", "status", "problem", "url")
# A property that is called as one of those, and a value without properties, gets this before it.
VALUE = "value"
# A cell that begins so is run as a formula by a spreadsheet; the last ones are their wide forms.
FORMULA_BEGINS = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
)
# Blanks, control characters, zero widths and marks of direction.
UNSEEN = "".join(map(chr, (*range(0x21), 0x7F, 0xA0, 0xFEFF, *range(0x200B, 0x2010))))
UNSEEN += "".join(map(chr, (*range(0x2028, 0x2030), *range(0x2060, 0x2070))))
PROBLEM_CHARACTERS = 300


class Record:
    """One row: the task's name or number, and its document as far as there is one.

    `line` is the line of the input that it belongs to, where several attempts share one.
    """

    def __init__(self, name: str, document: Json | None, line: int = 0) -> None:
        self.name = name
        self.document = document or {}
        self.line = line

    def __repr__(self) -> str:
        return "Record(%s, %s)" % (self.name, self.standing)

    @property
    def standing(self) -> str:
        """How it stands, in one word; see standing_of."""
        return standing_of(self.document)

    def cells(self, names: Sequence[str] = ()) -> list[str]:
        """Return what the row tells beside its value, in the order of COLUMNS.

        `names` are the properties that have columns: a value without any is told of.
        """
        found = (
            self.name,
            self.document.get("id"),
            self.standing,
            problem_of(self.document) or _unshown(self.document, names),
            self.document.get("url"),
        )
        return [str(cell or "") for cell in found]


def standing_of(document: Json) -> str:
    """Return the status of a document, in one word more than the service has.

    `invalid` is completed without the value that was asked for, `unknown` a paid start that
    nobody can tell of, `error` what could not be started or read, `waiting` what is not started.
    """
    if document.get("error", {}).get("code") == OutcomeUnknown.default_code:
        return "unknown"
    if document.get("status") == "completed" and document.get("valueErrors"):
        return "invalid"
    unstarted = "error" if "error" in document else "waiting"
    return str(document.get("status", unstarted))


def problem_of(document: Json) -> str:
    """Return in one line why there is no value, or what is wrong with it; "" where nothing is."""
    found = [str(part) for part in _problems(document) if part]
    text = "; ".join(found)
    line = " ".join(text.split())
    if len(line) > PROBLEM_CHARACTERS:
        line = line[: PROBLEM_CHARACTERS - 3] + "..."
    return line


def _problems(document: Json) -> Iterator[Any]:
    """Yield what may be wrong, None where a part of a document says nothing."""
    if "error" in document:
        error = document["error"]
        yield error.get("message")
    if "failure" in document:
        failure = document["failure"]
        yield failure.get("reason")
    if "question" in document:
        question = document["question"]
        yield "it asks: %s" % question.get("text")
    for fault in document.get("valueErrors", ()):
        yield fault_text(fault)


def _unshown(document: Json, names: Sequence[str]) -> str:
    """Return that a value is none of objects, so that no column can hold it; "" else."""
    if not names:
        return ""
    value = document.get("value", {})
    if isinstance(value, dict):
        return ""
    return "the value is no object; values.jsonl has it"


def fault_text(fault: dict[str, str]) -> str:
    """Return one fault of a value in words."""
    place = fault["at"] or "the top"
    wanted = fault["wanted"]
    came = fault["came"]
    return "at %s: %s was wanted, %s came" % (place, wanted, came)


def values_text(records: Sequence[Record]) -> str:
    """Return values.jsonl: a line for each record, with `value`, or with its `problem`."""
    lines = []
    for record in records:
        line = json.dumps(_line(record))
        lines.append(line + "\n")
    return "".join(lines)


def _line(record: Record) -> Json:
    document = record.document
    known = {"id": document.get("id"), "status": record.standing}
    line: Json = {"name": record.name, **known}
    if "value" in document:
        line["value"] = document["value"]
    else:
        line["problem"] = problem_of(document)
    return line


def table_text(records: Sequence[Record], schema: Schema) -> str:
    """Return table.csv as RFC 4180 has it, CRLF and all: a row for each record."""
    names = schema.properties()
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    header = header_of(names)
    writer.writerow(map(harmless, header))
    for record in records:
        row = [harmless(cell) for cell in record.cells(names)]
        row += value_cells(record.document, names)
        writer.writerow(row)
    return buffer.getvalue()


def header_of(names: Sequence[str]) -> list[str]:
    """Return the names of all columns, each once."""
    own = [_column_of(name, names) for name in names]
    if not own:
        own = [VALUE]
    return [*COLUMNS, *own]


def _column_of(name: str, names: Sequence[str]) -> str:
    """Return what the column of a property is called: as no other column is."""
    taken: tuple[str, ...] = (*COLUMNS, VALUE)
    column = name
    while column in taken:
        column = "%s.%s" % (VALUE, column)
        taken = (*COLUMNS, VALUE, *names)
    return column


def properties_under(header: Sequence[str], names: Iterable[str]) -> list[str]:
    """Return the properties that stand in the columns of a table, `names` being those known."""
    known = list(names)
    all_columns = header_of(known)
    own = all_columns[len(COLUMNS) :]
    columns = map(harmless, own)
    renamed = dict(zip(columns, known))
    return [renamed.get(column, column) for column in header]


def value_cells(document: Json, names: Sequence[str]) -> list[str]:
    """Return the cells of a value: a property each, or all of it in one."""
    if "value" not in document:
        width = max(len(names), 1)
        return [""] * width
    value = document["value"]
    if not names:
        return [cell_of(value)]
    if not isinstance(value, dict):
        return [""] * len(names)
    parts = map(value.get, names)
    return [cell_of(part) for part in parts]


def cell_of(value: Any) -> str:
    """Return a value as a cell: numbers as they are, text made harmless, the rest as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return harmless(value)
    return json.dumps(value, ensure_ascii=False)


def harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    # Some programs drop what cannot be seen, and then take what follows for a formula.
    seen = text.lstrip(UNSEEN)
    is_formula = text.startswith(FORMULA_BEGINS) or seen.startswith(FORMULA_BEGINS)
    return "'" + text if is_formula else text


def choose(records: Sequence[Record], rule: str, prop: str) -> list[Record]:
    """Return one record for each line: the one whose value has the best (or least) number there.

    Of equals the first; of a line without any such value the first record, with its problem.
    """
    kept: dict[int, Record] = {}
    for record in records:
        best = kept.setdefault(record.line, record)
        if _is_better(record, best, rule, prop):
            kept[record.line] = record
    return list(kept.values())


def _is_better(record: Record, best: Record, rule: str, prop: str) -> bool:
    number = number_of(record, prop)
    other = number_of(best, prop)
    if number is None:
        return False
    if other is None:
        return True
    if rule == "least":
        return number < other
    return number > other


def number_of(record: Record, prop: str) -> float | None:
    """Return the number that a record's value has in a property, None where it has none."""
    value = record.document.get("value")
    if not isinstance(value, dict):
        return None
    number = value.get(prop)
    if isinstance(number, bool):
        return None
    if not isinstance(number, (int, float)):
        return None
    return number
