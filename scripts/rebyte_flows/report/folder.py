"""What a folder of --out holds, as the page shows it: others may have written there too."""

from __future__ import annotations

import csv
import io
import os
import re
import stat
from contextlib import suppress

from rebyte_flows.documents import FAULT_PARTS, has_kind
from rebyte_flows.files.out_folder import (
    ANSWER_FILE,
    DOCUMENT_FILE,
    FILES_FOLDER,
    MANIFEST_FILE,
    TRANSCRIPT_FILE,
)
from rebyte_flows.following.events import parse_object
from rebyte_flows.report.timeline import Timeline, read_timeline
from rebyte_flows.results import RESULTS, TABLE
from rebyte_flows.values.table import COLUMNS, VALUE, properties_under, standing_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rebyte_types import Json

DIFF_FILE = "changes.diff"
TASK_FOLDER = re.compile(r"(\d{4,})(?:-.*)?")
TRANSCRIPT_BYTES_MOST = 4 << 20
TEXT_BYTES_MOST = 1 << 20
RESULTS_BYTES_MOST = 256 << 20
FILES_MOST = 200
STANDING_CHARACTERS = 40


class FileView:
    """One file of a task: its name, its size, and whether it lies in the folder."""

    def __init__(self, name: str, size: int | None, is_here: bool) -> None:
        self.name = name
        self.size = size
        self.is_here = is_here

    def __repr__(self) -> str:
        return "FileView(%r)" % self.name


class TaskView:
    """One task as the page shows it: `folder` is below the page's own, "" for the page's."""

    def __init__(self, label: str, document: Json, root: str, folder: str) -> None:
        self.label = label
        self.document = document
        self.folder = folder
        self._path = os.path.join(root, folder)
        standing = standing_of(document)
        self.standing = standing[:STANDING_CHARACTERS]
        transcript = self._place(TRANSCRIPT_FILE)
        self.timeline = _timeline_of(transcript)
        self.files = self._find_files()
        self.answer = self._find_answer()
        self.diff = self.read(DIFF_FILE)

    def __repr__(self) -> str:
        return "TaskView(%s)" % self.label

    def has(self, name: str) -> bool:
        """Tell whether a plain file of that name lies in the task's folder."""
        path = self._place(name)
        return _is_plain(path)

    def read(self, name: str) -> str:
        """Return the beginning of a file of the task's folder, "" where there is none."""
        path = self._place(name)
        return _read_text(path, TEXT_BYTES_MOST)

    def _place(self, name: str) -> str:
        return os.path.join(self._path, name)

    def _find_answer(self) -> str:
        told = self.document.get("answer")
        if told:
            return str(told)
        whole = self.read(ANSWER_FILE)
        return whole.rstrip("\n")

    def _find_files(self) -> list[FileView]:
        """Return the files that lie there, and those that were only listed."""
        found = {}
        for file in _files_in(self._place(FILES_FOLDER)):
            found[file.name] = file
        for item in self.document.get("files", ()):
            listed = _listed_file(item)
            if listed is None:
                continue
            found.setdefault(listed.name, listed)
        files = list(found.values())
        return files[:FILES_MOST]


def _files_in(folder: str) -> list[FileView]:
    """Return the plain files of a folder by their names, none where it is a link."""
    found: list[FileView] = []
    if os.path.islink(folder):
        return found
    with suppress(OSError):
        for name in sorted(os.listdir(folder)):
            if name.startswith("."):
                continue
            path = os.path.join(folder, name)
            if not _is_plain(path):
                continue
            size = os.path.getsize(path)
            found.append(FileView(name, size, True))
    return found


def _listed_file(item: Any) -> FileView | None:
    """Return a file that a document tells of, None where it is not told as a file is."""
    if not isinstance(item, dict):
        return None
    name = item.get("name")
    if not isinstance(name, str):
        return None
    size = item.get("bytes")
    if not isinstance(size, int):
        size = None
    return FileView(name, size, False)


class FolderView:
    """Everything that the page shows: the tasks, and the columns of their values.

    `unread` is how many lines of results.jsonl tell nothing that can be shown.
    """

    def __init__(self, path: str, tasks: list[TaskView], unread: int = 0) -> None:
        self.path = path
        self.unread = unread
        self.tasks = tasks
        self.columns = _columns_of(path, tasks)

    def __repr__(self) -> str:
        return "FolderView(%r, %d tasks)" % (self.path, len(self.tasks))

    def counts(self) -> dict[str, int]:
        """Return how many tasks stand how."""
        found: dict[str, int] = {}
        for task in self.tasks:
            before = found.get(task.standing, 0)
            found[task.standing] = before + 1
        return found


def read_folder(path: str) -> FolderView:
    """Return what a folder of --out holds: of a batch, of one task, or of folders of one each."""
    path = os.path.abspath(path)
    results = os.path.join(path, RESULTS)
    documents, unread = _documents_in(results)
    if documents:
        tasks = _batch_tasks(path, documents)
    elif _holds_task(path):
        tasks = [_single(path, "")]
    else:
        names = _folders_in(path)
        tasks = [_single(path, name) for name in names]
    return FolderView(path, tasks, unread)


def _batch_tasks(path: str, documents: list[Json]) -> list[TaskView]:
    """Return the tasks of a results.jsonl, each with the folder that is its own."""
    folders = _task_folders(path)
    tasks = []
    for index, document in enumerate(documents, 1):
        number = document.pop("index", index)
        label = _label_of(document, str(number))
        folder = folders.get(number, "")
        task = TaskView(label, document, path, folder)
        tasks.append(task)
    return tasks


def _holds_task(path: str) -> bool:
    for name in (DOCUMENT_FILE, MANIFEST_FILE, ANSWER_FILE, TRANSCRIPT_FILE):
        place = os.path.join(path, name)
        if _is_plain(place):
            return True
    return False


def _folders_in(path: str) -> list[str]:
    """Return the names of the folders in a folder that hold one task each."""
    with suppress(OSError):
        names = sorted(os.listdir(path))
        places = [(name, os.path.join(path, name)) for name in names]
        return [
            name
            for name, place in places
            if not os.path.islink(place) and _holds_task(place)
        ]
    return []


def _single(root: str, folder: str) -> TaskView:
    """Return the task of a folder of its own; without its document from what else lies there."""
    path = os.path.join(root, folder)
    told = _object_in(os.path.join(path, DOCUMENT_FILE))
    if told is None:
        manifest = _object_in(os.path.join(path, MANIFEST_FILE))
        # A manifest is written at the end of a task, and only then.
        status = "running" if manifest is None else "completed"
        listed = manifest or {}
        told = {"id": listed.get("taskId"), "status": status}
    document = plain_document(told)
    name = folder or os.path.basename(path)
    label = _label_of(document, name)
    return TaskView(label, document, root, folder)


def _label_of(document: Json, otherwise: str) -> str:
    name = document.get("once")
    return str(name or otherwise)


def _task_folders(path: str) -> dict[int, str]:
    """Return the folders of a batch by the place of their task."""
    found: dict[int, str] = {}
    with suppress(OSError):
        for name in os.listdir(path):
            match = TASK_FOLDER.fullmatch(name)
            if match is None:
                continue
            place = os.path.join(path, name)
            if os.path.islink(place) or not os.path.isdir(place):
                continue
            number = int(match.group(1))
            found[number] = name
    return found


def _documents_in(path: str) -> tuple[list[Json], int]:
    """Return (the documents of a results.jsonl in their order, how many lines are none)."""
    found = []
    unread = 0
    text = _read_text(path, RESULTS_BYTES_MOST)
    for line in text.split("\n"):
        value = parse_object(line)
        if value is not None:
            found.append(_numbered(value))
        elif line.strip():
            unread += 1
    return found, unread


def _numbered(value: Json) -> Json:
    document = plain_document(value)
    number = value.get("index")
    if type(number) is int:
        document["index"] = number
    return document


def _object_in(path: str) -> Any:
    return parse_object(_read_text(path, RESULTS_BYTES_MOST))


def plain_document(value: Json) -> Json:
    """Return the keys of a document that the page shows and that are what they have to be."""
    found = {key: item for key, item in value.items() if has_kind(key, item)}
    faults = found.get("valueErrors")
    if isinstance(faults, list):
        found["valueErrors"] = [
            _plain_fault(fault) for fault in faults if isinstance(fault, dict)
        ]
    return found


def _plain_fault(fault: Json) -> dict[str, str]:
    plain = {}
    for name in FAULT_PARTS:
        part = fault.get(name, "")
        plain[name] = str(part)
    return plain


def _is_plain(path: str) -> bool:
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode)


def _read_text(path: str, most: int) -> str:
    """Return at most so many bytes of a plain file as text, "" where it cannot be read."""
    if not _is_plain(path):
        return ""
    try:
        with open(path, "rb") as file:
            data = file.read(most)
    except OSError:
        return ""
    return data.decode("utf-8-sig", "replace")


def _timeline_of(path: str) -> Timeline:
    text = _read_text(path, TRANSCRIPT_BYTES_MOST)
    lines = text.split("\n")
    return read_timeline(lines)


def _columns_of(path: str, tasks: list[TaskView]) -> list[str]:
    """Return the properties of the values: in the order of the table, else as they come.

    Empty where no task was asked for a value; one name without properties stands for all of it.
    """
    documents = [task.document for task in tasks]
    if not any(map(_was_asked_for_value, documents)):
        return []
    names = _properties_of(documents)
    header = _header_of(path)
    found = properties_under(header, names)
    if names and header != [VALUE] and names.keys().isdisjoint(found):
        # The table is that of another run.
        found = list(names)
    return found or [VALUE]


def _was_asked_for_value(document: Json) -> bool:
    if "value" in document:
        return True
    return bool(document.get("valueErrors"))


def _properties_of(documents: list[Json]) -> dict[str, None]:
    """Return the properties of all values, each once, in the order in which they come."""
    names: dict[str, None] = {}
    for document in documents:
        value = document.get("value")
        if isinstance(value, dict):
            names.update(dict.fromkeys(value))
    return names


def _header_of(path: str) -> list[str]:
    """Return what the table calls the columns of its values."""
    table = os.path.join(path, TABLE)
    text = _read_text(table, TEXT_BYTES_MOST)
    lines = io.StringIO(text, newline="")
    rows = csv.reader(lines)
    try:
        header = next(rows, [])
    except csv.Error:
        return []
    return header[len(COLUMNS) :]
