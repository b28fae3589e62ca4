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
    return templates.BADGE.format(text(task.standing))


def value_section(view: FolderView, room: Room) -> str:
    """Return the table, "" where no task was asked for a value."""
    if not view.columns:
        return ""
    columns = view.columns[: room.columns]
    rows = [
        _row(number, task, columns, room) for number, task in enumerate(view.tasks, 1)
    ]
    return templates.VALUES.format(
        head=_head(view, columns, room),
        rows="".join(rows),
        note=_note(len(view.columns) - len(columns)),
    )


def _note(left_out: int) -> str:
    if not left_out:
        return ""
    return templates.NOTE.format("%d more columns are not shown here." % left_out)


def _head(view: FolderView, columns: Sequence[str], room: Room) -> str:
    numeric = _numeric_columns(view, columns)
    cells = []
    for name in ("name", "status", *columns):
        kind = NUMERIC if name in numeric else ""
        cells.append(templates.HEAD.format(text(cut(name, room.name)), kind))
    return "".join(cells)


def _row(number: int, task: TaskView, columns: Sequence[str], room: Room) -> str:
    label = text(cut(task.label, room.name))
    cells = [
        templates.NAME_CELL.format(number, label),
        templates.CELL.format(badge_of(task)),
    ]
    instead = _instead_of_cells(task.document, columns, room)
    if instead is None:
        cells += _value_cells(task.document["value"], columns, room)
        return templates.ROW.format("".join(cells))
    cells.append(templates.PROBLEM_CELL.format(len(columns), text(instead)))
    return templates.ROW_WITHOUT.format("".join(cells))


def _instead_of_cells(document: Json, columns: Sequence[str], room: Room) -> str | None:
    """Return what stands in a row whose value has no properties, or that has no value."""
    if "value" not in document:
        return cut(problem_of(document), room.short(PROBLEM_CHARACTERS))
    value = document["value"]
    if isinstance(value, dict) or list(columns) == [VALUE]:
        return None
    return _as_json(value, room.cell)


def _numeric_columns(view: FolderView, columns: Sequence[str]) -> set[str]:
    """Return the columns that hold numbers wherever they hold anything."""
    values = [task.document.get("value") for task in view.tasks]
    objects = [value for value in values if isinstance(value, dict)]
    found = set()
    for name in columns:
        parts = [value[name] for value in objects if value.get(name) is not None]
        if parts and all(map(is_number, parts)):
            found.add(name)
    return found


def _value_cells(value: Any, columns: Sequence[str], room: Room) -> list[str]:
    if _is_one_column(value, columns):
        return [_cell(value, room)]
    return [_cell(value.get(name), room) for name in columns]


def _is_one_column(value: Any, columns: Sequence[str]) -> bool:
    """Tell whether one column stands for all of a value, and not for a property of that name."""
    if list(columns) != [VALUE]:
        return False
    return not isinstance(value, dict) or VALUE not in value


def _cell(value: Any, room: Room) -> str:
    if value is None:
        return templates.CELL.format("")
    if isinstance(value, str):
        return templates.CELL.format(link(value, cut(value, room.cell), room.address))
    whole = _as_json(value, room.cell)
    if is_number(value) and len(whole) <= NUMBER_CHARACTERS:
        return templates.NUMBER_CELL.format(whole)
    return templates.CELL.format(text(whole))


def _as_json(value: Any, most: int) -> str:
    return cut(json.dumps(value, ensure_ascii=False), most)
