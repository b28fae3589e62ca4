"""`apply`: the changes of a task into the working tree, all or nothing, never staged."""

from __future__ import annotations

import os

from rebyte_flows.code.applying.journal import Journal, Step
from rebyte_flows.code.applying.merging import Conflict, merged
from rebyte_flows.code.applying.working_tree import OTHER_MODE, read_path, write_path
from rebyte_flows.code.changes import NO_MODE, Change, changes_between
from rebyte_flows.code.git import FILE_MODES, SUBMODULE_MODE, Repository
from rebyte_flows.code.paths import matches, unmatched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rebyte_flows.code.applying.journal import Held
    from rebyte_flows.code.applying.working_tree import Content
    from rebyte_flows.code.records import CodeRecord

BESIDE = ".theirs"
# So many names are tried beside a path until one is free.
BESIDE_MOST = 100
A_SUBMODULE = "a submodule is not changed by apply"


class Plan:
    """What an apply would do: steps, conflicts and what is held back (path -> why)."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.applied: dict[str, Held] = {}
        self.conflicts: dict[str, str] = {}
        self.held: dict[str, str] = {}
        self.unchanged = 0
        # Words of `allow` that mean no path of the changes.
        self.unknown: list[str] = []

    def __repr__(self) -> str:
        return "Plan(%d steps, %d conflicts)" % (len(self.steps), len(self.conflicts))


def plan(
    repository: Repository,
    record: CodeRecord,
    journal: Journal,
    *,
    allow: Sequence[str] = (),
    beside: bool = False,
) -> Plan:
    """Decide what an apply would do; nothing is written.

    With `beside` a path in conflict stays as it is, and what came home is to lie beside it.
    """
    changes = all_changes(repository, record, journal)
    found = Plan()
    found.unknown = unmatched(allow, [change.path for change in changes])
    held = {change.path: _why_held(change, allow) for change in changes}
    decider = Decider(repository, journal, changes, held)
    for change in changes:
        why = held[change.path]
        if why is None:
            _plan_change(decider, change, found, beside)
        elif decider.would_write(change):
            found.held[change.path] = why
    return found


class Decider:
    """Decides what each changed path is to hold; `held` says of each why it waits, None if not."""

    def __init__(
        self,
        repository: Repository,
        journal: Journal,
        changes: Sequence[Change],
        held: Mapping[str, str | None],
    ) -> None:
        self.repository = repository
        self.changed = {change.path for change in changes}
        self.contents = Contents(repository, changes, journal)
        self._applied = journal.applied
        self._has_modes = repository.has_modes()
        self._gone = {
            change.path
            for change in changes
            if change.new[0] == NO_MODE and held[change.path] is None
        }

    def __repr__(self) -> str:
        return "Decider(%d changes)" % len(self.changed)

    def would_write(self, change: Change) -> bool:
        """Say whether a change that is held back would change anything here."""
        if SUBMODULE_MODE in (change.old[0], change.new[0]):
            return True
        try:
            ours, content = self.decide(change)
        except Conflict:
            return True
        return content != ours

    def decide(self, change: Change) -> tuple[Content, Content]:
        """Return (what lies at a path, what it is to hold); raises Conflict."""
        ours = self._ours(change)
        theirs = self.contents.of(change.new)
        bases = [self.contents.of(change.old)]
        if change.path in self._applied:
            bases.append(self.contents.of(self._applied[change.path]))
        content = _first_merge(self.repository, bases, ours, theirs)
        if content != ours:
            _check_room(self.repository, change.path, self._gone)
        return ours, content

    def _ours(self, change: Change) -> Content:
        ours = _lying_there(self.repository, change.path, self._gone)
        if ours is None or self._has_modes or ours[0] not in FILE_MODES:
            return ours
        # The disk tells no modes: the file has the one that git knows.
        known = next(
            (mode for mode, _ in (change.old, change.new) if mode in FILE_MODES),
            ours[0],
        )
        return known, ours[1]


class Contents:
    """What the changed paths held before and hold after, asked for at once."""

    def __init__(
        self, repository: Repository, changes: Sequence[Change], journal: Journal
    ) -> None:
        self.repository = repository
        held = [one for change in changes for one in (change.old, change.new)]
        held += [one for one in journal.applied.values() if one]
        # A submodule's id is a commit of another repository.
        ids = {id for mode, id in held if mode not in (NO_MODE, SUBMODULE_MODE)}
        wanted = sorted(ids)
        self._data = dict(zip(wanted, repository.blobs(wanted)))

    def __repr__(self) -> str:
        return "Contents(%d blobs)" % len(self._data)

    def of(self, held: Held) -> Content:
        """Return (mode, bytes) of what stands for a content, None for nothing."""
        if held is None or held[0] == NO_MODE:
            return None
        data = self._data.get(held[1])
        return held[0], self.repository.blob(held[1]) if data is None else data


def all_changes(
    repository: Repository, record: CodeRecord, journal: Journal
) -> list[Change]:
    """Return the whole work of a task by path; what an earlier apply brought and is no change any
    more goes back to what was sent.
    """
    from_base = changes_between(repository, record.base, record.result or record.base)
    paths = {change.path for change in from_base}
    applied_before = [path for path in journal.applied if path not in paths]
    if not applied_before:
        return from_base
    base = repository.tree_of(record.base)
    nothing = (NO_MODE, "")
    for path in applied_before:
        entry = base.get(path, nothing)
        from_base.append(Change(path, journal.applied[path] or nothing, entry))
    return from_base


def _why_held(change: Change, allow: Sequence[str]) -> str | None:
    if SUBMODULE_MODE in (change.old[0], change.new[0]):
        return A_SUBMODULE
    why = change.why_sensitive
    return None if why is None or matches(change.path, allow) else why


def _plan_change(decider: Decider, change: Change, found: Plan, beside: bool) -> None:
    path = change.path
    try:
        ours, content = decider.decide(change)
    except Conflict as conflict:
        found.conflicts[path] = str(conflict)
        theirs = decider.contents.of(change.new)
        if beside and theirs is not None:
            found.steps += _beside_steps(decider, path, theirs)
        return
    found.applied[path] = None if change.new[0] == NO_MODE else change.new
    if content == ours:
        found.unchanged += 1
    else:
        found.steps.append(Step(path, ours, content))


def _beside_steps(decider: Decider, path: str, theirs: Content) -> list[Step]:
    """Return the step that lays a content beside a path, none where it lies there already."""
    root = decider.repository.root
    for number in range(1, BESIDE_MOST):
        name = path + BESIDE + (str(number) if number > 1 else "")
        there = read_path(root, name)
        is_free = there is None or there == theirs
        # A change of the task may be called so, too.
        if is_free and name not in decider.changed:
            break
    return [] if there == theirs else [Step(name, there, theirs)]


def _first_merge(
    repository: Repository, bases: list[Content], ours: Content, theirs: Content
) -> Content:
    """Return the merge with the first base that it works with: what was sent, else what an earlier
    apply brought.
    """
    for base in bases[:-1]:
        try:
            return merged(repository, base, ours, theirs)
        except Conflict:
            continue
    return merged(repository, bases[-1], ours, theirs)


def _lying_there(repository: Repository, path: str, gone: set[str]) -> Content:
    """Return what lies at a path; a folder of which nothing stays counts as nothing."""
    content = read_path(repository.root, path)
    if content is None or content[0] != OTHER_MODE:
        return content
    place = os.path.join(repository.root, path)
    if os.path.islink(place) or not os.path.isdir(place):
        return content
    for folder, _, names in os.walk(place):
        inside = os.path.relpath(folder, repository.root).replace(os.sep, "/")
        if any(inside + "/" + name not in gone for name in names):
            return content
    return None


def _check_room(repository: Repository, path: str, gone: set[str]) -> None:
    """Raise Conflict where a link or a file stands where a folder of the path has to be."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        folder = "/".join(parts[:count])
        place = os.path.join(repository.root, folder)
        if not os.path.lexists(place) or folder in gone:
            return
        if os.path.islink(place) or not os.path.isdir(place):
            raise Conflict("%s is in the way: it is no folder" % folder)


def write_beside(
    repository: Repository, folder: str, record: CodeRecord, allow: Sequence[str]
) -> list[str]:
    """Fill a new working tree with the result of a task; returns the paths held back.

    The files are written by us: no filter and no hook is run.
    """
    commit = record.result or record.base
    repository.run("worktree", "add", "--detach", "--no-checkout", folder, commit)
    tree = repository.tree_of(commit)
    held: list[str] = []
    for change in changes_between(repository, record.base, commit):
        if _why_held(change, allow) is not None:
            held.append(change.path)
            tree[change.path] = change.old
    entries = [
        (path, one)
        for path, one in tree.items()
        if one[0] not in (SUBMODULE_MODE, NO_MODE)
    ]
    contents = repository.blobs([id for _, (_, id) in entries])
    for (path, (mode, _)), data in zip(entries, contents):
        if data is not None:
            write_path(folder, path, (mode, data))
    Repository(folder).run("read-tree", "HEAD")
    return sorted(held)
