"""What is remembered of code that went out and came home: small private files in the state folder.

code/DIGEST.json, written before a start is sent, says which tree the line with that digest takes
along; code/TASK.json says what has become of a task's code.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress

from rebyte_flows.code.prompts import HOME_ENDING
from rebyte_flows.files.atomic import read_plain
from rebyte_flows.places import is_trusted
from rebyte_flows.state import open_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rebyte_flows.starting.ledger import Ledger
    from rebyte_flows.state import StateFolder

FOLDER = "code"
HOME_FOLDER = "homecomings"
# Where the last result of each task is kept in the repository.
TASK_REFS = "refs/rebyte/tasks/"
KEY = re.compile(r"[0-9a-f-]{36,64}")
COMMIT = re.compile(r"[0-9a-f]{40,64}")


class CodeRecord:
    """The tree that a start takes along, or what has become of a task's code.

    `repository` is the root, `name` the folder's name on the far side, `base` the commit of what
    was sent, `kept` the paths that belong to the tree and were not sent, `differs` path -> id of
    what was sent in other bytes than the commit has. Of a task also: `digest` of the start that
    sent it, `once` the name of the task, `result` the last commit that came home, `results` all of
    them, `branch`, `turn` and `size` of the archive that was judged, and `changes` as told.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self.repository: str = values["repository"]
        self.name: str = values["name"]
        self.base: str = values["base"]
        self.kept: list[str] = list(values.get("kept") or ())
        self.differs: dict[str, str] = dict(values.get("differs") or {})
        self.submodules: list[str] = list(values.get("submodules") or ())
        self.left_out: dict[str, str] = dict(values.get("left_out") or {})
        self.digest: str | None = values.get("digest")
        self.once: str | None = values.get("once")
        self.result: str | None = values.get("result")
        self.results: list[str] = list(values.get("results") or ())
        self.branch: str | None = values.get("branch")
        self.turn: str | None = values.get("turn")
        self.size: int | None = values.get("size")
        self.changes: dict[str, Any] | None = values.get("changes")

    def __repr__(self) -> str:
        return "CodeRecord(%s at %s)" % (self.name, self.base[:8])

    @property
    def is_home(self) -> bool:
        """True once an archive of this tree was taken, whatever it changed."""
        return self.changes is not None

    @property
    def home_name(self) -> str:
        """The name of the archive that is to come home."""
        return self.name + HOME_ENDING


def write_record(state: StateFolder, key: str, record: CodeRecord) -> None:
    """Write a record as a whole, under the digest of a start or the id of a task."""
    path = state.file(FOLDER, key + ".json")
    temporary = "%s.%s.part" % (path, os.urandom(4).hex())
    with open_private(temporary) as file:
        json.dump(record.__dict__, file)
    os.replace(temporary, path)


def seen_archive(state: StateFolder, workspace_id: str) -> list[str]:
    """Return [task, SHA-256] of the archive that was taken last from a workspace, [] for none."""
    path = os.path.join(state.path, FOLDER, "archive-%s.json" % workspace_id)
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(read_plain(path))
        if isinstance(found, list):
            return found
    return []


def note_archive(
    state: StateFolder, workspace_id: str, task_id: str, digest: str
) -> None:
    """Remember the archive that was taken from a workspace, which other turns will find there."""
    if KEY.fullmatch(workspace_id):
        with open_private(state.file(FOLDER, "archive-%s.json" % workspace_id)) as file:
            json.dump([task_id, digest], file)


def read_record(state: StateFolder, key: str | None) -> CodeRecord | None:
    """Return the record under a key, None where there is none that can be read.

    Runs of the same user in a sandbox may have kept theirs in another folder: what knows most
    counts.
    """
    if not key or not KEY.fullmatch(key):
        return None
    best: CodeRecord | None = None
    for place in (state.path, *filter(is_trusted, state.others)):
        record = _read(os.path.join(place, FOLDER, key + ".json"))
        if record is None:
            continue
        if best is None or len(record.results) > len(best.results):
            best = record
    return best


def _read(path: str) -> CodeRecord | None:
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        record = CodeRecord(json.loads(read_plain(path)))
        if COMMIT.fullmatch(record.base):
            return record
    return None


def record_of_task(
    ledger: Ledger, state: StateFolder, task_id: str
) -> CodeRecord | None:
    """Return what is known of a task's code, None where it took none along from here.

    The newest turn that sent code counts; where it is the one that is known already, what came
    home since. Raises LedgerUnwritable.
    """
    rows = ledger.rows("task_id = ? AND kind != 'reply'", (task_id,))
    if not rows:
        return None
    known = read_record(state, task_id)
    for row in reversed(rows):
        sent = read_record(state, row.digest)
        if sent is None:
            continue
        if known is not None and known.digest == row.digest:
            return known
        names = (row.name for row in rows if row.kind == "task")
        sent.digest = row.digest
        sent.once = next(names, None)
        if known is not None:
            # The same task with a new tree: its branch moves on.
            sent.branch = known.branch
            sent.results = known.results
        return sent
    return known
