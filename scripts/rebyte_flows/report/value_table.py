"""The table of values: a row for each task, the problem of what came without one."""

from __future__ import annotations

import json

from rebyte_flows.report import templates
from rebyte_flows.report.markup import cut, link, text
from rebyte_flows.values.schema import is_number
from rebyte_flows.values.table import VALUE, problem_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rebyte_flows.report.folder import FolderView, TaskView
    from rebyte_flows.report.room import Room
    from rebyte_types import Json

NUMERIC = ' class="num"'
# A number of more digits is a text to read.
NUMBER_CHARACTERS = 40
PROBLEM_CHARACTERS = 400


def badge_of(task: TaskView) -> str:
    """Return how a task stands, in a word and a colour."""
    word = text(task.standing)
    return templates.BADGE.format(word)


def value_section(view: FolderView, room: Room) -> str:
    """Return the table, "" where no task was asked for a value."""
    if not view.columns:
        return ""
    columns = view.columns[: room.columns]
    rows = []
    for number, task in enumerate(view.tasks, 1):
        row = _row(number, task, columns, room)
        rows.append(row)
    left_out = len(view.columns) - len(columns)
    return templates.VALUES.format(
        head=_head(view, columns, room),
        rows="".join(rows),
        note=_note(left_out),
    )


def _note(left_out: int) -> str:
    if not left_out:
        return ""
    words = "%d more columns are not shown here." % left_out
    return templates.NOTE.format(words)


def _head(view: FolderView, columns: Sequence[str], room: Room) -> str:
    numeric = _numeric_columns(view, columns)
    cells = []
    for name in ("name", "status", *columns):
        kind = NUMERIC if name in numeric else ""
        shown = cut(name, room.name)
        cell = templates.HEAD.format(text(shown), kind)
        cells.append(cell)
    return "".join(cells)


def _row(number: int, task: TaskView, columns: Sequence[str], room: Room) -> str:
    label = cut(task.label, room.name)
    badge = badge_of(task)
    cells = [
        templates.NAME_CELL.format(number, text(label)),
        templates.CELL.format(badge),
    ]
    document = task.document
    instead = _instead_of_cells(document, columns, room)
    if instead is None:
        cells += _value_cells(document["value"], columns, room)
        row = templates.ROW
    else:
        width = len(columns)
        cell = templates.PROBLEM_CELL.format(width, text(instead))
        cells.append(cell)
        row = templates.ROW_WITHOUT
    return row.format("".join(cells))


def _instead_of_cells(document: Json, columns: Sequence[str], room: Room) -> str | None:
    """Return what stands in a row whose value has no properties, or that has no value."""
    if "value" not in document:
        problem = problem_of(document)
        most = room.short(PROBLEM_CHARACTERS)
        return cut(problem, most)
    value = document["value"]
    if isinstance(value, dict):
        return None
    if list(columns) == [VALUE]:
        return None
    return _as_json(value, room.cell)


def _numeric_columns(view: FolderView, columns: Sequence[str]) -> set[str]:
    """Return the columns that hold numbers wherever they hold anything."""
    objects = []
    for task in view.tasks:
        value = task.document.get("value")
        if isinstance(value, dict):
            objects.append(value)
    return {name for name in columns if _is_numeric(name, objects)}


def _is_numeric(name: str, objects: Sequence[Json]) -> bool:
    """Tell whether a property is a number wherever it is anything."""
    count = 0
    for value in objects:
        part = value.get(name)
        if part is None:
            continue
        if not is_number(part):
            return False
        count += 1
    return count > 0


def _value_cells(value: Any, columns: Sequence[str], room: Room) -> list[str]:
    if _is_one_column(value, columns):
        return [_cell(value, room)]
    cells = []
    for name in columns:
        part = value.get(name)
        cells.append(_cell(part, room))
    return cells


def _is_one_column(value: Any, columns: Sequence[str]) -> bool:
    """Tell whether one column stands for all of a value, and not for a property of that name."""
    if list(columns) != [VALUE]:
        return False
    if not isinstance(value, dict):
        return True
    return VALUE not in value


def _cell(value: Any, room: Room) -> str:
    if value is None:
        return templates.CELL.format("")
    if isinstance(value, str):
        shown = cut(value, room.cell)
        content = link(value, shown, room.address)
        return templates.CELL.format(content)
    whole = _as_json(value, room.cell)
    is_figure = is_number(value) and len(whole) <= NUMBER_CHARACTERS
    if is_figure:
        return templates.NUMBER_CELL.format(whole)
    return templates.CELL.format(text(whole))


def _as_json(value: Any, most: int) -> str:
    whole = json.dumps(value, ensure_ascii=False)
    return cut(whole, most)
