"""The lines of a batch as entries: each one task, told apart from its equals and its attempts."""

from __future__ import annotations

from copy import copy

from rebyte_flows.starting.rows import check_name
from rebyte_flows.values.table import Record, standing_of
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rebyte_flows.starting.requests import StartRequest
    from rebyte_flows.starting.rows import Row
    from rebyte_types import Json

FOLDER_NAME_CHARACTERS = 40
TWICE_SHOWN = 5
ATTEMPTS_MOST = 100


class Entry:
    """One line of a batch: its request and name, and what became of it as `document`."""

    def __init__(
        self,
        index: int,
        request: StartRequest,
        name: str | None = None,
        *,
        line: int = 0,
        attempt: int = 0,
    ) -> None:
        self.index = index
        # The line of the input, and which attempt at it this is where there are several.
        self.line = line or index
        self.attempt = attempt
        self.request = request
        self.name = name
        self.document: Json | None = None
        self.row: Row | None = None
        self.reused = False

    def __repr__(self) -> str:
        return "Entry(%d %s)" % (self.index, self.status)

    @property
    def status(self) -> str:
        """completed, failed, canceled, question, running, unknown, error or waiting."""
        told = (self.document or {}).get("status")
        return str(told or self.standing)

    @property
    def standing(self) -> str:
        """The status, or invalid where it completed and its value is not as asked for."""
        return standing_of(self.document or {})

    @property
    def record(self) -> Record:
        """This entry as a row of the table."""
        label = self.name or str(self.line)
        if self.attempt and not self.name:
            label += ".%d" % self.attempt
        return Record(label, self.document, self.line)

    @property
    def folder_name(self) -> str:
        """A folder name of this entry's own: its place, and its name where that is harmless."""
        return folder_name(self.index, self.name or "")


def attempts_at(entries: Iterable[Entry], count: int) -> list[Entry]:
    """Return so many entries for each, with names and places of their own; InputError for more
    than anybody would compare.
    """
    if count > ATTEMPTS_MOST:
        raise InputError(
            "--attempts is %d; at most %d was expected" % (count, ATTEMPTS_MOST),
            hint="each attempt at each line is a task that is paid for",
        )
    found: list[Entry] = []
    for entry in entries:
        for attempt in range(1, count + 1):
            name = None
            if entry.name is not None:
                name = check_name("%s.%d" % (entry.name, attempt))
            index = len(found) + 1
            # Each has an ordinal of its own, which tells equal lines apart.
            request = copy(entry.request)
            found.append(Entry(index, request, name, line=entry.line, attempt=attempt))
    return found


def number_equals(entries: Iterable[Entry]) -> None:
    """Tell equal lines apart by an ordinal, so that they are as many tasks as there are lines.

    Raises InputError for two lines of one name.
    """
    seen: dict[str, int] = {}
    named: set[str] = set()
    twice: set[str] = set()
    for entry in entries:
        if entry.name is None:
            digest = entry.request.digest()
            entry.request.ordinal = seen.get(digest, 0)
            seen[digest] = entry.request.ordinal + 1
        elif entry.name in named:
            twice.add(entry.name)
        else:
            named.add(entry.name)
    if twice:
        names = ", ".join(sorted(twice)[:TWICE_SHOWN])
        raise InputError(
            "two lines have the name %s" % names,
            hint="a name stands for one task; rename one of them",
        )


def folder_name(index: int, label: str) -> str:
    """Return a folder name of a task's own: its place, and its name where that is harmless."""
    letters = [
        letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "-"
        for letter in label
    ]
    plain = "".join(letters)[:FOLDER_NAME_CHARACTERS].strip("-.")
    return "%04d-%s" % (index, plain) if plain else "%04d" % index
