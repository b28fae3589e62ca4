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
from rebyte_flows.report.room import TEXT_CHARACTERS, Room
from rebyte_flows.report.timeline import Scale, bar_of, legend, scale_words
from rebyte_flows.report.value_table import badge_of, value_section
from rebyte_flows.results import RESULTS, TABLE, VALUES
from rebyte_flows.values.schema import is_number
from rebyte_flows.values.table import fault_text, problem_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_flows.report.folder import FileView, FolderView, TaskView
    from rebyte_types import Json

REPORT = "report.html"
# Some text becomes six times as long as HTML: then it is cut to a smaller share.
PAGE_CHARACTERS = 4_500_000
SHARES = (1, 0.4, 0.15, 0.05, 0.01)
BRIEF_CHARACTERS = 120
LABEL_CHARACTERS = 200
VALUE_HEADINGS = (("value", "the value"), ("candidate", "the best that came"))
# Names, types and figures of what a service tells of its usage.
USAGE_MOST = 8
USAGE_CHARACTERS = 40
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
    parts = [_timeline(view, scale, room), value_section(view, room)]
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
    if view.unread:
        facts.append(
            "%s of %s could not be read" % (counted(view.unread, "line"), RESULTS)
        )
    shown = [text(fact) for fact in facts]
    return " &middot; ".join(shown + _data_links(view))


def _data_links(view: FolderView) -> list[str]:
    """Return links to the files that hold what the page shows."""
    # A table beside tasks that were asked for no value is that of an earlier run.
    tables = (TABLE, VALUES) if view.columns else ()
    return [
        templates.FILE.format(path_address(name), text(name))
        for name in (*tables, RESULTS)
        if os.path.isfile(os.path.join(view.path, name))
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


def _timeline(view: FolderView, scale: Scale, room: Room) -> str:
    if not scale.seconds:
        return ""
    rows = [
        templates.TIME_ROW.format(
            number=number,
            label=text(cut(task.label, room.name)),
            standing=text(task.standing),
            bar=bar_of(task.timeline, scale, task.standing),
            badge=badge_of(task),
            seconds=text(_seconds(task)),
        )
        for number, task in enumerate(view.tasks, 1)
    ]
    return templates.TIMELINE.format(
        rows="".join(rows),
        scale=text(scale_words(scale, duration(scale.seconds))),
        legend=legend(),
    )


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
        _about(task, room),
    ]
    return templates.TASK.format(
        number=number,
        is_open=" open" if is_open else "",
        label=text(cut(task.label, room.short(LABEL_CHARACTERS))),
        badge=badge_of(task),
        brief=text(brief[: room.short(BRIEF_CHARACTERS)]),
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
    for key, heading in VALUE_HEADINGS:
        if key not in task.document:
            continue
        whole = json.dumps(task.document[key], ensure_ascii=False, indent=1)
        shown = text(cut(whole, room.text))
        return templates.FOLDED.format(heading, shown)
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
            name = text(cut(file.name, room.short(LABEL_CHARACTERS)))
            pictures.append(templates.PICTURE.format(address, name))
        rows.append("<li>%s</li>" % _file(file, address, room))
    more = len(task.files) - len(rows)
    if more > 0:
        rows.append("<li>and %d more</li>" % more)
    shown = templates.HEADING.format("Files")
    if pictures:
        shown += '<div class="pictures">%s</div>' % "".join(pictures)
    return shown + '<ul class="plain">%s</ul>' % "".join(rows)


def _file(file: FileView, address: str, room: Room) -> str:
    name = text(cut(file.name, room.short(LABEL_CHARACTERS)))
    notes = []
    if file.size is not None:
        notes.append("%d bytes" % file.size)
    if file.is_here:
        name = templates.FILE.format(address, name)
    else:
        notes.append("not brought home")
    told = text(", ".join(notes))
    return '%s <span class="soft">%s</span>' % (name, told)


def _changes(task: TaskView, room: Room) -> str:
    """Return the changes of code as figures, with the diff folded."""
    changes = task.document.get("changes")
    if not changes:
        return ""
    figures = "%s files, +%s &minus;%s lines, on the branch %s" % tuple(
        text(cut(str(changes.get(key, "?")), room.short(LABEL_CHARACTERS)))
        for key in ("files", "added", "removed", "branch")
    )
    shown = templates.HEADING.format("Changes of code") + "<p>%s</p>" % figures
    sensitive = changes.get("sensitive")
    if isinstance(sensitive, list):
        for path in sensitive[: room.items]:
            words = "look first, this may run by itself: %s" % path
            shown += templates.WHY.format("failed", text(cut(words, room.text)))
    for path in task.document.get("conflicts", ())[: room.items]:
        words = cut("conflict: %s" % path, room.text)
        shown += templates.WHY.format("failed", text(words))
    if task.diff:
        shown += templates.FOLDED.format("the diff", text(cut(task.diff, room.diff)))
        if len(task.diff) > room.diff:
            address = path_address(task.folder, DIFF_FILE)
            shown += "<p>%s</p>" % templates.FILE.format(address, "the whole diff")
    return shown


def _about(task: TaskView, room: Room) -> str:
    """Return the last line: who, how long, how much, and where the rest lies."""
    document = task.document
    facts = []
    if document.get("url"):
        facts.append(link(document["url"], "live page", room.address))
    if task.has(TRANSCRIPT_FILE):
        address = path_address(task.folder, TRANSCRIPT_FILE)
        facts.append(templates.FILE.format(address, "transcript"))
    for key in ("executor", "model", "service"):
        if document.get(key):
            facts.append(text(cut(document[key], room.name)))
    if document.get("repaired"):
        facts.append(counted(document["repaired"], "repair"))
    if task.timeline.tools:
        facts.append(counted(task.timeline.tools, "tool call"))
    if "costUsd" in document:
        facts.append(text("$%.4f" % document["costUsd"]))
    facts += _usage(document.get("usage", {}), room)
    if document.get("id"):
        facts.append(text(cut(document["id"], room.name)))
    return '<p class="soft">%s</p>' % " &middot; ".join(facts)


def _usage(usage: Json, room: Room) -> list[str]:
    most = room.short(USAGE_CHARACTERS)
    found = []
    for name, number in list(usage.items())[:USAGE_MOST]:
        if is_number(number):
            figure = "%s %s" % (cut(name, most), cut(str(number), most))
            found.append(text(figure))
    return found
