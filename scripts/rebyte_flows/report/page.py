"""The page of results: one HTML file that needs no network and runs nothing but its own script."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from hashlib import sha256

from rebyte_flows.files.atomic import write_whole
from rebyte_flows.files.out_folder import ANSWER_FILE, FILES_FOLDER, TRANSCRIPT_FILE
from rebyte_flows.report import templates
from rebyte_flows.report.folder import DIFF_FILE, read_folder
from rebyte_flows.report.markup import cut, link, path_address, text
from rebyte_flows.report.timeline import Scale, legend, scale_words, time_row
from rebyte_flows.results import RESULTS, TABLE, VALUES
from rebyte_flows.values.schema import is_number
from rebyte_flows.values.table import VALUE, fault_text, problem_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rebyte_flows.report.folder import FileView, FolderView, TaskView
    from rebyte_types import Json

REPORT = "report.html"
# All answers together, and the longest; the whole ones lie beside the page.
ANSWERS_CHARACTERS = 1_200_000
ANSWER_CHARACTERS = 20_000
DIFFS_CHARACTERS = 800_000
DIFF_CHARACTERS = 60_000
CELLS_CHARACTERS = 800_000
CELL_CHARACTERS = 400
TEXTS_CHARACTERS = 600_000
NOTES_CHARACTERS = 20_000
LEAST_CHARACTERS = 60
# Some text becomes six times as long as HTML: then it is cut to a smaller share.
PAGE_CHARACTERS = 4_500_000
SHARES = (1, 0.4, 0.15, 0.05)
BRIEF_CHARACTERS = 120
TEXT_CHARACTERS = 2_000
LIST_MOST = 40
LIST_OF_MANY = 5
OPEN_MOST = 4
# More tasks than this scroll in boxes, and are laid out only when they come into view.
MANY = 40
PICTURES_MOST = 12
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif", ".bmp", ".svg")
GOOD = ("completed", "running", "waiting")


def write_report(folder: str) -> str:
    """Write report.html anew into a folder of --out and return its path; OSError when refused."""
    return write_page(read_folder(folder))


def write_page(view: FolderView) -> str:
    """Write the page of what was read into its folder and return the path; OSError when refused."""
    path = os.path.join(view.path, REPORT)
    write_whole(path, render(view))
    return path


def render(view: FolderView) -> str:
    """Return the page of a folder as HTML, its texts cut to what PAGE_CHARACTERS leaves them."""
    page = ""
    for share in SHARES:
        page = _render(view, Room(view, share))
        if len(page) <= PAGE_CHARACTERS:
            break
    return page


def _render(view: FolderView, room: Room) -> str:
    scale = Scale(task.timeline for task in view.tasks)
    parts = [_timeline(view, scale), _values(view, room)]
    tasks = (
        _task(number, task, view, room) for number, task in enumerate(view.tasks, 1)
    )
    parts.append(templates.TASKS.format("".join(tasks)))
    policy = templates.POLICY.format(
        style=_digest(templates.STYLE), script=_digest(templates.SCRIPT)
    )
    chips = (
        templates.CHIP.format(text(word), count)
        for word, count in view.counts().items()
    )
    return templates.PAGE.format(
        policy=text(policy),
        many=' class="many"' if len(view.tasks) > MANY else "",
        title=text(os.path.basename(view.path) or "results"),
        style=templates.STYLE,
        script=templates.SCRIPT,
        facts=_facts(view),
        chips="".join(chips),
        parts="\n".join(parts),
    )


class Room:
    """How much of each text the page has room for."""

    def __init__(self, view: FolderView, share: float) -> None:
        tasks = max(len(view.tasks), 1) / share
        cells = tasks * max(len(view.columns), 1)
        self.answer = _share(ANSWERS_CHARACTERS, tasks, ANSWER_CHARACTERS)
        self.diff = _share(DIFFS_CHARACTERS, tasks, DIFF_CHARACTERS)
        self.cell = _share(CELLS_CHARACTERS, cells, CELL_CHARACTERS)
        self.text = _share(TEXTS_CHARACTERS, tasks, TEXT_CHARACTERS)
        self.notes = _share(TEXTS_CHARACTERS, tasks, NOTES_CHARACTERS)
        self.items = LIST_MOST if tasks <= LIST_MOST else LIST_OF_MANY

    def __repr__(self) -> str:
        return "Room(%d characters an answer)" % self.answer


def _share(whole: int, parts: float, most: int) -> int:
    return max(LEAST_CHARACTERS, min(most, int(whole / parts)))


def _digest(part: str) -> str:
    return b64encode(sha256(part.encode("utf-8")).digest()).decode("ascii")


def _facts(view: FolderView) -> str:
    """Return the line below the title: how many, how long, what it cost, where the data lies."""
    count = len(view.tasks)
    documents = [task.document for task in view.tasks]
    facts = [counted(count, "task")]
    spent = sum(one.get("seconds", 0) for one in documents)
    if spent:
        facts.append("%s of work" % duration(spent))
    costs = [one["costUsd"] for one in documents if "costUsd" in one]
    if costs:
        facts.append("$%.2f told by the service" % sum(costs))
    if any(one.get("rehearsal") for one in documents):
        facts.append("a rehearsal on this machine: no model answered")
    shown = [text(fact) for fact in facts]
    return " &middot; ".join(shown + _data_links(view.path))


def _data_links(folder: str) -> list[str]:
    """Return links to the files that hold what the page shows."""
    return [
        templates.FILE.format(path_address(name), text(name))
        for name in (TABLE, VALUES, RESULTS)
        if os.path.isfile(os.path.join(folder, name))
    ]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return "1 %s" % noun if number == 1 else "%d %ss" % (number, noun)


def duration(seconds: float) -> str:
    """Return a length of time as people write it."""
    if seconds < 60:
        return "%.3g s" % seconds
    minutes, rest = divmod(int(round(seconds)), 60)
    if minutes < 60:
        return "%d min %02d s" % (minutes, rest)
    return "%d h %02d min" % divmod(minutes, 60)


def _seconds(task: TaskView) -> str:
    told = task.document.get("seconds", task.timeline.seconds)
    return "" if told is None else duration(told)


def _badge(task: TaskView) -> str:
    return templates.BADGE.format(text(task.standing))


def _timeline(view: FolderView, scale: Scale) -> str:
    rows = [
        time_row(number, task, scale, _badge(task), _seconds(task))
        for number, task in enumerate(view.tasks, 1)
    ]
    if not scale.seconds:
        return ""
    return templates.TIMELINE.format(
        rows="".join(rows),
        scale=text(scale_words(scale, duration(scale.seconds))),
        legend=legend(),
    )


# The table of values


def _values(view: FolderView, room: Room) -> str:
    if not view.columns:
        return ""
    names = ["name", "status", *view.columns]
    numeric = _numeric_columns(view)
    head = "".join(
        templates.HEAD.format(
            text(cut(name, 80)), ' class="num"' if name in numeric else ""
        )
        for name in names
    )
    rows = []
    for number, task in enumerate(view.tasks, 1):
        label = '<a href="#task-%d">%s</a>' % (number, text(cut(task.label, 80)))
        cells = [templates.NAME_CELL.format(label), templates.CELL.format(_badge(task))]
        if "value" in task.document:
            cells += _value_cells(task.document, view.columns, room)
            rows.append(templates.ROW.format("".join(cells)))
        else:
            problem = text(cut(problem_of(task.document), CELL_CHARACTERS))
            cells.append(templates.PROBLEM_CELL.format(len(view.columns), problem))
            rows.append(templates.ROW_WITHOUT.format("".join(cells)))
    return templates.VALUES.format(head=head, rows="".join(rows))


def _numeric_columns(view: FolderView) -> set[str]:
    """Return the columns that hold numbers wherever they hold anything."""
    values = [task.document.get("value") for task in view.tasks]
    objects = [value for value in values if isinstance(value, dict)]
    found = set()
    for name in view.columns:
        parts = [value[name] for value in objects if value.get(name) is not None]
        if parts and all(map(is_number, parts)):
            found.add(name)
    return found


def _value_cells(document: Json, columns: list[str], room: Room) -> list[str]:
    value = document.get("value")
    if "value" in document and columns == [VALUE] and not isinstance(value, dict):
        return [_cell(value, room)]
    parts = value if isinstance(value, dict) else {}
    if columns == [VALUE] and VALUE not in parts:
        parts = {VALUE: parts} if parts else {}
    return [_cell(parts.get(name), room) for name in columns]


def _cell(value: Any, room: Room) -> str:
    if value is None:
        return templates.CELL.format("")
    if is_number(value):
        return templates.NUMBER_CELL.format(json.dumps(value))
    if isinstance(value, str):
        return templates.CELL.format(link(value, cut(value, room.cell)))
    whole = json.dumps(value, ensure_ascii=False)
    return templates.CELL.format(text(cut(whole, room.cell)))


# One task


def _task(number: int, task: TaskView, view: FolderView, room: Room) -> str:
    is_open = len(view.tasks) <= OPEN_MOST
    problem = problem_of(task.document)
    brief = problem or " ".join(task.answer[:TEXT_CHARACTERS].split())
    body = [
        _why(task, room),
        _answer(task, room),
        _value(task, room),
        _files(task, room),
        _changes(task, room),
        _about(task),
    ]
    return templates.TASK.format(
        number=number,
        is_open=" open" if is_open else "",
        label=text(cut(task.label, 200)),
        badge=_badge(task),
        brief=text(brief[:BRIEF_CHARACTERS]),
        seconds=text(_seconds(task)),
        body="".join(body),
    )


def _why(task: TaskView, room: Room) -> str:
    """Return why it failed, what it asks, what is missing, and every warning."""
    document = task.document
    lines = []
    problem = problem_of(document)
    if problem and not document.get("valueErrors"):
        lines.append((task.standing, problem))
    for fault in document.get("valueErrors", ())[: room.items]:
        lines.append(("invalid", "the value " + fault_text(fault)))
    for name in document.get("missing", ())[: room.items]:
        lines.append(("failed", "missing: %s" % name))
    for item in document.get("refused", ())[: room.items]:
        if isinstance(item, dict):
            lines.append(
                ("failed", "refused: %s, %s" % (item.get("name"), item.get("reason")))
            )
    for warning in document.get("warnings", ())[: room.items]:
        lines.append(("canceled", "note: %s" % warning))
    shown = []
    left = room.notes
    for kind, words in lines:
        if left < 0:
            break
        short = cut(words, room.text)
        left -= len(short)
        shown.append(templates.WHY.format(text(kind), text(short)))
    return "".join(shown)


def _answer(task: TaskView, room: Room) -> str:
    if not task.answer:
        return ""
    shown = templates.HEADING.format("Answer") + templates.PRE.format(
        text(cut(task.answer, room.answer))
    )
    if len(task.answer) > room.answer and task.has(ANSWER_FILE):
        address = path_address(task.folder, ANSWER_FILE)
        shown += "<p>%s</p>" % templates.FILE.format(address, "the whole answer")
    return shown


def _value(task: TaskView, room: Room) -> str:
    for key, heading in (("value", "the value"), ("candidate", "the best that came")):
        if key in task.document:
            whole = json.dumps(task.document[key], ensure_ascii=False, indent=1)
            return templates.FOLDED.format(heading, text(cut(whole, room.text)))
    return ""


def _files(task: TaskView, room: Room) -> str:
    if not task.files:
        return ""
    pictures: list[str] = []
    rows: list[str] = []
    for file in task.files[: max(room.items, PICTURES_MOST)]:
        address = path_address(task.folder, FILES_FOLDER, file.name)
        is_picture = file.name.lower().endswith(PICTURES)
        if file.is_here and is_picture and len(pictures) < PICTURES_MOST:
            name = text(cut(file.name, 200))
            pictures.append(templates.PICTURE.format(address, name))
        rows.append("<li>%s</li>" % _file(file, address))
    more = len(task.files) - len(rows)
    if more > 0:
        rows.append("<li>and %d more</li>" % more)
    shown = templates.HEADING.format("Files")
    if pictures:
        shown += '<div class="pictures">%s</div>' % "".join(pictures)
    return shown + '<ul class="plain">%s</ul>' % "".join(rows)


def _file(file: FileView, address: str) -> str:
    name = text(cut(file.name, 200))
    if file.is_here:
        name = templates.FILE.format(address, name)
    size = "" if file.size is None else "%d bytes" % file.size
    away = "" if file.is_here else "not brought home"
    notes = ", ".join(filter(None, (size, away)))
    return '%s <span class="soft">%s</span>' % (name, text(notes))


def _changes(task: TaskView, room: Room) -> str:
    """Return the changes of code as figures, with the diff folded."""
    changes = task.document.get("changes")
    if not changes:
        return ""
    figures = "%s files, +%s &minus;%s lines, on the branch %s" % tuple(
        text(changes.get(key, "?")) for key in ("files", "added", "removed", "branch")
    )
    shown = templates.HEADING.format("Changes of code") + "<p>%s</p>" % figures
    sensitive = changes.get("sensitive")
    if isinstance(sensitive, list):
        for path in sensitive[: room.items]:
            words = "look first, this may run by itself: %s" % path
            shown += templates.WHY.format("failed", text(cut(words, room.text)))
    for path in task.document.get("conflicts", ())[: room.items]:
        shown += templates.WHY.format("failed", text("conflict: %s" % path))
    if task.diff:
        shown += templates.FOLDED.format("the diff", text(cut(task.diff, room.diff)))
        if len(task.diff) > room.diff:
            address = path_address(task.folder, DIFF_FILE)
            shown += "<p>%s</p>" % templates.FILE.format(address, "the whole diff")
    return shown


def _about(task: TaskView) -> str:
    """Return the last line: who, how long, how much, and where the rest lies."""
    document = task.document
    facts = []
    if document.get("url"):
        facts.append(link(document["url"], "live page"))
    if task.has(TRANSCRIPT_FILE):
        address = path_address(task.folder, TRANSCRIPT_FILE)
        facts.append(templates.FILE.format(address, "transcript"))
    for key in ("executor", "model", "service"):
        if document.get(key):
            facts.append(text(cut(document[key], 80)))
    if document.get("repaired"):
        facts.append(counted(document["repaired"], "repair"))
    if task.timeline.tools:
        facts.append(counted(task.timeline.tools, "tool call"))
    if "costUsd" in document:
        facts.append(text("$%.4f" % document["costUsd"]))
    facts += _usage(document.get("usage", {}))
    if document.get("id"):
        facts.append(text(cut(document["id"], 80)))
    return '<p class="soft">%s</p>' % " &middot; ".join(facts)


def _usage(usage: Json) -> list[str]:
    found = []
    for name, number in list(usage.items())[:8]:
        if is_number(number):
            found.append(text("%s %s" % (cut(str(name), 40), number)))
    return found
