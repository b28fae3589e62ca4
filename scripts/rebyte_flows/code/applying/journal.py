"""What `apply` did to a working tree: written down before the first file is touched, so that a kill
leaves all or nothing, and so that it can be taken back.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress

from rebyte_flows.code.applying.working_tree import OTHER_MODE, read_path, write_path
from rebyte_flows.code.git import FILE_MODES, blob_id
from rebyte_flows.files.atomic import read_plain
from rebyte_flows.state import open_private, try_lock
from rebyte_wire.errors import InputError, RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Optional, Tuple

    from rebyte_flows.code.applying.working_tree import Content
    from rebyte_flows.code.git import Repository
    from rebyte_types import Json

    # What a path holds: (mode, id of the blob), None for nothing.
    Held = Optional[Tuple[str, str]]

FOLDER = "rebyte"
LOCK_FILE = "lock"
UNDO_REFS = "refs/rebyte/undo/"
BEGUN = "begun"
DONE = "done"
UNDONE = "undone"
UNDO_MESSAGE = "What apply replaced and wrote\n"


class Step:
    """One path of an operation: what it held before, and what it is to hold."""

    def __init__(self, path: str, old: Content, new: Content) -> None:
        self.path = path
        self.old = old
        self.new = new

    def __repr__(self) -> str:
        return "Step(%r)" % self.path


class Journal:
    """The operations of one task on one working tree.

    `applied` is path -> (mode, id) of what of the task's result was brought last.
    """

    def __init__(self, repository: Repository, task_id: str) -> None:
        self.repository = repository
        self.task_id = task_id
        self._path = os.path.join(folder_of(repository), task_id + ".json")
        self._has_modes = repository.has_modes()
        self.operations: list[Json] = []
        self.applied: dict[str, Held] = {}
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            self._read()

    def __repr__(self) -> str:
        return "Journal(%s, %d operations)" % (self.task_id, len(self.operations))

    def _read(self) -> None:
        """Read what was written down; raises what a spoiled file raises, and then takes nothing."""
        found = json.loads(read_plain(self._path))
        applied = {path: _held(one) for path, one in found["applied"].items()}
        operations = [
            dict(one, state=one["state"], steps=one["steps"])
            for one in found["operations"]
        ]
        self.operations = operations
        self.applied = applied

    def run(self, steps: list[Step], applied: dict[str, Held]) -> None:
        """Carry out steps as one operation that is finished, or taken up again by recover()."""
        self.begin(steps, applied)
        try:
            self.finish()
        except (OSError, InputError) as problem:
            self._roll_back(applied)
            raise RebyteError(
                "nothing was changed: %s" % problem,
                code="not_applied",
                hint="type the same line again once the reason is gone",
            ) from problem

    def begin(self, steps: list[Step], applied: dict[str, Held]) -> None:
        """Write down what will be done; after this a kill is harmless."""
        before = [step.old for step in steps]
        after = [step.new for step in steps]
        held = self._keep(before + after)
        olds = held[: len(steps)]
        news = held[len(steps) :]
        rows = [
            {"path": step.path, "old": old, "new": new}
            for step, old, new in zip(steps, olds, news)
        ]
        # What an undo lets count again.
        earlier = {path: self.applied[path] for path in applied if path in self.applied}
        self.operations.append({"state": BEGUN, "steps": rows, "earlier": earlier})
        self.applied.update(applied)
        self._write()

    def begin_undo(self, operation: Json) -> None:
        """Write down that an operation will be taken back."""
        operation["state"] = UNDONE
        rows = _turned_back(operation["steps"])
        self._forget(operation, [row["path"] for row in rows])
        self.operations.append({"state": BEGUN, "steps": rows, "undoes": True})
        self._write()

    def finish(self) -> list[str]:
        """Carry out what was begun; returns paths that hold something else by now, left alone."""
        left: list[str] = []
        for operation in self.operations:
            if operation["state"] == BEGUN:
                left += self._carry_out(operation["steps"])
                operation["state"] = UNDONE if operation.get("undoes") else DONE
        self._write()
        return left

    def _roll_back(self, applied: Iterable[str]) -> None:
        """Put back what an operation that cannot be finished has written."""
        operation = self.operations.pop()
        self._carry_out(_turned_back(operation["steps"]))
        self._forget(operation, applied)
        self._write()

    def _forget(self, operation: Json, paths: Iterable[str]) -> None:
        """Let what was brought before an operation count again at some of its paths."""
        earlier = operation.get("earlier", {})
        for path in paths:
            self.applied.pop(path, None)
            if path in earlier:
                self.applied[path] = _held(earlier[path])

    @property
    def is_begun(self) -> bool:
        """True while an operation was begun and not finished."""
        return any(operation["state"] == BEGUN for operation in self.operations)

    def last_done(self) -> Json | None:
        """Return the operation that an undo would take back, None where there is none."""
        done = [one for one in self.operations if one["state"] == DONE]
        return done[-1] if done else None

    def differing(self, operation: Json) -> list[str]:
        """Return the paths that do not hold any more what an operation wrote."""
        return [row["path"] for row in self._not_done(operation["steps"])]

    def _not_done(self, rows: list[Json]) -> list[Json]:
        """Return the rows whose path does not hold what it is to hold."""
        return [row for row in rows if not self._holds(row["path"], row["new"])]

    def _carry_out(self, rows: list[Json]) -> list[str]:
        """Write what rows say where it is not done; returns the paths that hold neither the old nor
        the new.
        """
        # What goes makes room first: a folder may take the place of a file.
        ordered = sorted(rows, key=_is_written)
        ready: list[Json] = []
        left: list[str] = []
        for row in self._not_done(ordered):
            if self._holds(row["path"], row["old"]):
                ready.append(row)
            else:
                left.append(row["path"])
        ids = [row["new"][1] for row in ready if _is_written(row)]
        contents = self.repository.blobs(ids)
        for row in ready:
            content: Content = None
            if _is_written(row):
                content = (row["new"][0], _present(next(contents)))
            write_path(self.repository.root, row["path"], content)
        return left

    def _holds(self, path: str, held: Any) -> bool:
        content = read_path(self.repository.root, path)
        if content is None or content[0] == OTHER_MODE:
            # Where a folder stands the path itself holds nothing.
            return not held
        if not held:
            return False
        mode, id = held
        if blob_id(content[1], len(id)) != id:
            return False
        are_files = content[0] in FILE_MODES and mode in FILE_MODES
        if are_files and not self._has_modes:
            return True
        return bool(content[0] == mode)

    def _keep(self, contents: list[Content]) -> list[Any]:
        """Write contents as blobs that a reference keeps, and return what stands for them."""
        blobs = [content[1] for content in contents if content]
        ids = iter(self.repository.write_blobs(blobs))
        held: list[Any] = []
        entries: list[tuple[str, str, str]] = []
        for number, content in enumerate(contents):
            if content is None:
                held.append(None)
                continue
            mode = content[0]
            id = next(ids)
            held.append([mode, id])
            entries.append((str(number), mode, id))
        tree = self.repository.write_tree(entries)
        name = UNDO_REFS + self.task_id
        before = self.repository.commit_of(name)
        parents = [before] if before else []
        kept = self.repository.commit_tree(tree, parents, UNDO_MESSAGE)
        self.repository.update_ref(name, kept)
        return held

    def _write(self) -> None:
        found = {"operations": self.operations, "applied": self.applied}
        temporary = "%s.%s.part" % (self._path, os.urandom(4).hex())
        with open_private(temporary) as file:
            # Not dump(): it writes piece by piece, many times slower.
            file.write(json.dumps(found))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)


def _turned_back(rows: list[Json]) -> list[Json]:
    """Return the rows of an operation that takes another one back."""
    return [{"path": row["path"], "old": row["new"], "new": row["old"]} for row in rows]


def _held(found: Any) -> Held:
    """Return what stands for a content, as it is after it was read from a file."""
    return tuple(found) if found else None


def _is_written(row: Json) -> bool:
    return bool(row["new"])


def _present(data: bytes | None) -> bytes:
    if data is None:
        raise RebyteError("git has lost what apply had noted", code="git_failed")
    return data


def has_journals(repository: Repository) -> bool:
    """Say whether anything was ever applied to this working tree."""
    return os.path.isdir(repository.git_path(FOLDER))


def folder_of(repository: Repository) -> str:
    """Return the folder of the journals of a working tree, made when missing."""
    folder = repository.git_path(FOLDER)
    os.makedirs(folder, 0o700, exist_ok=True)
    return folder


@contextmanager
def locked(repository: Repository) -> Iterator[None]:
    """Hold the working tree's lock; RebyteError while another command has it."""
    with open(os.path.join(folder_of(repository), LOCK_FILE), "a+b") as file:
        if try_lock(file) is False:
            raise RebyteError(
                "another apply is at work in %s" % repository.root,
                code="apply_at_work",
                hint="type the same line again",
                retryable=True,
            )
        yield


def recover(repository: Repository) -> list[str]:
    """Finish what a killed apply had begun in this working tree; returns what is to be told."""
    said: list[str] = []
    for journal in _journals(repository):
        if journal.is_begun:
            left = journal.finish()
            said.append("an apply that was cut off has been finished")
            said += [
                "%r holds something else by now and was left" % path for path in left
            ]
    return said


def _journals(repository: Repository) -> Iterable[Journal]:
    for name in sorted(os.listdir(folder_of(repository))):
        if name.endswith(".json"):
            yield Journal(repository, name[: -len(".json")])
