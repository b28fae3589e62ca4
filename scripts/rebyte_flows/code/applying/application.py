"""`apply`: the changes of a task into the working tree, all or nothing, never staged."""

from __future__ import annotations

from rebyte_flows.code.applying.deciding import Decider
from rebyte_flows.code.applying.journal import Journal, Step
from rebyte_flows.code.applying.merging import Conflict
from rebyte_flows.code.applying.working_tree import read_path, write_path
from rebyte_flows.code.changes import NO_MODE, Change, changes_between
from rebyte_flows.code.git import SUBMODULE_MODE, Repository
from rebyte_flows.code.paths import matches, unmatched

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    paths = [change.path for change in changes]
    held = {change.path: _why_held(change, allow) for change in changes}
    gone = _deleted(change for change in changes if held[change.path] is None)
    decider = Decider(repository, changes, journal.applied, gone, record.differs)
    found = Plan()
    found.unknown = unmatched(allow, paths)
    for change in changes:
        why = held[change.path]
        if why is None:
            _plan_change(decider, change, found)
        elif decider.would_write(change):
            found.held[change.path] = why
    if beside:
        _plan_beside(decider, changes, found)
    return found


def _deleted(changes: Iterable[Change]) -> set[str]:
    """Return the paths that some changes delete."""
    return {change.path for change in changes if change.new[0] == NO_MODE}


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


def _plan_change(decider: Decider, change: Change, found: Plan) -> None:
    path = change.path
    try:
        ours, content = decider.decide(change)
    except Conflict as conflict:
        found.conflicts[path] = str(conflict)
        return
    found.applied[path] = None if change.new[0] == NO_MODE else change.new
    if content == ours:
        found.unchanged += 1
    else:
        found.steps.append(Step(path, ours, content))


def _plan_beside(decider: Decider, changes: Sequence[Change], found: Plan) -> None:
    """Add the steps that lay what came home beside paths in conflict, under names that no path of
    the task has.
    """
    taken = {change.path for change in changes}
    in_conflict = [change for change in changes if change.path in found.conflicts]
    for change in in_conflict:
        theirs = decider.contents.of(change.new)
        if theirs is not None:
            free = [name for name in _names_beside(change.path) if name not in taken]
            found.steps += _beside_step(decider.repository.root, free, theirs)


def _beside_step(root: str, names: Sequence[str], theirs: Content) -> list[Step]:
    """Return the step that lays a content under the first name where nothing lies, none where it
    lies there already or every name is taken.
    """
    for name in names:
        there = read_path(root, name)
        if there == theirs:
            return []
        if there is None:
            return [Step(name, None, theirs)]
    return []


def _names_beside(path: str) -> list[str]:
    more = [path + BESIDE + str(number) for number in range(2, BESIDE_MOST)]
    return [path + BESIDE, *more]


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
