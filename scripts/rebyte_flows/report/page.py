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
    from collections.abc import Iterator

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
    parts = [
        _timeline(view, scale, room),
        value_section(view, room),
        _tasks(view, room),
    ]
    policy = templates.POLICY.format(
        style=_digest(templates.STYLE),
        script=_digest(templates.SCRIPT),
    )
    name = os.path.basename(view.path)
    many = ' class="many"' if len(view.tasks) > MANY else ""
    return templates.PAGE.format(
        policy=text(policy),
        many=many,
        title=text(name or "results"),
        style=templates.STYLE,
        script=templates.SCRIPT,
        facts=_facts(view),
        chips=_chips(view),
        parts="\n".join(parts),
    )


def _tasks(view: FolderView, room: Room) -> str:
    shown = []
    for number, task in enumerate(view.tasks, 1):
        part = _task(number, task, view, room)
        shown.append(part)
    return templates.TASKS.format("".join(shown))


def _chips(view: FolderView) -> str:
    """Return how many tasks stand how, a chip for each word."""
    shown = []
    for word, count in view.counts().items():
        chip = templates.CHIP.format(text(word), count)
        shown.append(chip)
    return "".join(shown)


def _digest(part: str) -> str:
    """Return the digest of a style or a script, as a policy names it."""
    data = part.encode("utf-8")
    digest = sha256(data).digest()
    return b64encode(digest).decode("ascii")


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
        total = sum(costs)
        facts.append("$%.2f told by the service" % total)
    if any(one.get("rehearsal") for one in documents):
        facts.append("a rehearsal on this machine: no model answered")
    if view.unread:
        lines = counted(view.unread, "line")
        facts.append("%s of %s could not be read" % (lines, RESULTS))
    shown = [text(fact) for fact in facts]
    shown += _data_links(view)
    return " &middot; ".join(shown)


def _data_links(view: FolderView) -> list[str]:
    """Return links to the files that hold what the page shows."""
    # A table beside tasks that were asked for no value is that of an earlier run.
    tables = (TABLE, VALUES) if view.columns else ()
    links = []
    for name in (*tables, RESULTS):
        path = os.path.join(view.path, name)
        if os.path.isfile(path):
            address = path_address(name)
            links.append(templates.FILE.format(address, text(name)))
    return links


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    if number == 1:
        return "1 %s" % noun
    return "%d %ss" % (number, noun)


def duration(seconds: float) -> str:
    """Return a length of time as people write it."""
    if seconds < 60:
        return "%.3g s" % seconds
    whole = int(round(seconds))
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return "%d min %02d s" % (minutes, rest)
    hours, minutes = divmod(minutes, 60)
    return "%d h %02d min" % (hours, minutes)


def _seconds(task: TaskView) -> str:
    told = task.document.get("seconds", task.timeline.seconds)
    if told is None:
        return ""
    return duration(told)


def _timeline(view: FolderView, scale: Scale, room: Room) -> str:
    if not scale.seconds:
        return ""
    rows = []
    for number, task in enumerate(view.tasks, 1):
        label = cut(task.label, room.name)
        row = templates.TIME_ROW.format(
            number=number,
            label=text(label),
            standing=text(task.standing),
            bar=bar_of(task.timeline, scale, task.standing),
            badge=badge_of(task),
            seconds=text(_seconds(task)),
        )
        rows.append(row)
    words = scale_words(scale, duration(scale.seconds))
    return templates.TIMELINE.format(
        rows="".join(rows),
        scale=text(words),
        legend=legend(),
    )


# One task


def _task(number: int, task: TaskView, view: FolderView, room: Room) -> str:
    is_open = len(view.tasks) <= OPEN_MOST
    label = cut(task.label, room.short(LABEL_CHARACTERS))
    brief = _brief(task)
    most = room.short(BRIEF_CHARACTERS)
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
        label=text(label),
        badge=badge_of(task),
        brief=text(brief[:most]),
        seconds=text(_seconds(task)),
        body="".join(body),
    )


def _brief(task: TaskView) -> str:
    """Return what a folded task shows: its problem, else how its answer begins."""
    problem = problem_of(task.document)
    if problem:
        return problem
    begin = task.answer[:TEXT_CHARACTERS]
    return " ".join(begin.split())


def _notes(task: TaskView, most: int) -> Iterator[tuple[str, str]]:
    """Yield (standing, words) of what is wrong, what is missing, and every warning."""
    document = task.document
    faults = document.get("valueErrors", ())
    problem = problem_of(document)
    if problem and not faults:
        yield task.standing, problem
    for fault in faults[:most]:
        yield "invalid", "the value " + fault_text(fault)
    for name in document.get("missing", ())[:most]:
        yield "failed", "missing: %s" % name
    for item in document.get("refused", ())[:most]:
        if isinstance(item, dict):
            name = item.get("name")
            reason = item.get("reason")
            yield "failed", "refused: %s, %s" % (name, reason)
    for warning in document.get("warnings", ())[:most]:
        yield "canceled", "note: %s" % warning


def _why(task: TaskView, room: Room) -> str:
    """Return why it failed, what it asks, what is missing, and every warning."""
    shown = []
    left = room.notes
    for kind, words in _notes(task, room.items):
        if left < 0:
            break
        short = cut(words, room.text)
        left -= len(short)
        line = templates.WHY.format(text(kind), text(short))
        shown.append(line)
    return "".join(shown)


def _answer(task: TaskView, room: Room) -> str:
    if not task.answer:
        return ""
    begin = cut(task.answer, room.answer)
    shown = templates.HEADING.format("Answer")
    shown += templates.PRE.format(text(begin))
    if len(task.answer) > room.answer and task.has(ANSWER_FILE):
        shown += _whole_file(task, ANSWER_FILE, "the whole answer")
    return shown


def _whole_file(task: TaskView, name: str, words: str) -> str:
    """Return the link to a file that was shown only in part."""
    address = path_address(task.folder, name)
    whole = templates.FILE.format(address, words)
    return "<p>%s</p>" % whole


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
    most = max(room.items, PICTURES_MOST)
    files = task.files[:most]
    shown = templates.HEADING.format("Files")
    pictures = list(filter(_is_picture, files))
    if pictures:
        images = [_picture(task, file, room) for file in pictures[:PICTURES_MOST]]
        shown += '<div class="pictures">%s</div>' % "".join(images)
    rows = [_file(task, file, room) for file in files]
    more = len(task.files) - len(files)
    if more > 0:
        rows.append("<li>and %d more</li>" % more)
    shown += '<ul class="plain">%s</ul>' % "".join(rows)
    return shown


def _is_picture(file: FileView) -> bool:
    """Tell whether a file lies here and a browser can show it."""
    if not file.is_here:
        return False
    name = file.name.lower()
    return name.endswith(PICTURES)


def _picture(task: TaskView, file: FileView, room: Room) -> str:
    address = path_address(task.folder, FILES_FOLDER, file.name)
    name = cut(file.name, room.short(LABEL_CHARACTERS))
    return templates.PICTURE.format(address, text(name))


def _file(task: TaskView, file: FileView, room: Room) -> str:
    """Return one line of the list of files."""
    short = cut(file.name, room.short(LABEL_CHARACTERS))
    name = text(short)
    notes = []
    if file.size is not None:
        notes.append("%d bytes" % file.size)
    if file.is_here:
        address = path_address(task.folder, FILES_FOLDER, file.name)
        name = templates.FILE.format(address, name)
    else:
        notes.append("not brought home")
    told = text(", ".join(notes))
    return '<li>%s <span class="soft">%s</span></li>' % (name, told)


def _changes(task: TaskView, room: Room) -> str:
    """Return the changes of code as figures, with the diff folded."""
    changes = task.document.get("changes")
    if not changes:
        return ""
    shown = templates.HEADING.format("Changes of code")
    shown += _change_figures(changes, room)
    sensitive = changes.get("sensitive")
    if isinstance(sensitive, list):
        for path in sensitive[: room.items]:
            shown += _alarm("look first, this may run by itself: %s" % path, room)
    conflicts = task.document.get("conflicts", ())
    for path in conflicts[: room.items]:
        shown += _alarm("conflict: %s" % path, room)
    return shown + _diff(task, room)


def _change_figures(changes: Json, room: Room) -> str:
    """Return how many files and lines were changed, and on which branch."""
    most = room.short(LABEL_CHARACTERS)
    figures = []
    for key in ("files", "added", "removed", "branch"):
        figure = str(changes.get(key, "?"))
        short = cut(figure, most)
        figures.append(text(short))
    words = "%s files, +%s &minus;%s lines, on the branch %s" % tuple(figures)
    return "<p>%s</p>" % words


def _alarm(words: str, room: Room) -> str:
    short = cut(words, room.text)
    return templates.WHY.format("failed", text(short))


def _diff(task: TaskView, room: Room) -> str:
    """Return the diff, folded; "" where there is none."""
    if not task.diff:
        return ""
    begin = cut(task.diff, room.diff)
    shown = templates.FOLDED.format("the diff", text(begin))
    if len(task.diff) > room.diff:
        shown += _whole_file(task, DIFF_FILE, "the whole diff")
    return shown


def _about(task: TaskView, room: Room) -> str:
    """Return the last line: who, how long, how much, and where the rest lies."""
    document = task.document
    facts = []
    url = document.get("url")
    if url:
        facts.append(link(url, "live page", room.address))
    if task.has(TRANSCRIPT_FILE):
        address = path_address(task.folder, TRANSCRIPT_FILE)
        facts.append(templates.FILE.format(address, "transcript"))
    for key in ("executor", "model", "service"):
        facts += _short_fact(document, key, room)
    repaired = document.get("repaired")
    if repaired:
        facts.append(counted(repaired, "repair"))
    tools = task.timeline.tools
    if tools:
        facts.append(counted(tools, "tool call"))
    if "costUsd" in document:
        cost = "$%.4f" % document["costUsd"]
        facts.append(text(cost))
    usage = document.get("usage", {})
    facts += _usage(usage, room)
    facts += _short_fact(document, "id", room)
    line = " &middot; ".join(facts)
    return '<p class="soft">%s</p>' % line


def _short_fact(document: Json, key: str, room: Room) -> list[str]:
    """Return what a document tells under a key, as a list of one; empty where it tells nothing."""
    told = document.get(key)
    if not told:
        return []
    short = cut(told, room.name)
    return [text(short)]


def _usage(usage: Json, room: Room) -> list[str]:
    most = room.short(USAGE_CHARACTERS)
    figures = list(usage.items())
    found = []
    for name, number in figures[:USAGE_MOST]:
        if not is_number(number):
            continue
        what = cut(name, most)
        many = cut(str(number), most)
        found.append(text("%s %s" % (what, many)))
    return found
