"""What each changed path of a working tree is to hold: decided path by path, and nothing is
written.
"""

from __future__ import annotations

import os

from rebyte_flows.code.applying.merging import Conflict, merged
from rebyte_flows.code.applying.working_tree import OTHER_MODE, read_path
from rebyte_flows.code.changes import NO_MODE
from rebyte_flows.code.git import FILE_MODES, SUBMODULE_MODE, Repository, blob_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from rebyte_flows.code.applying.journal import Held
    from rebyte_flows.code.applying.working_tree import Content
    from rebyte_flows.code.changes import Change


class Decider:
    """Decides what each changed path is to hold.

    `applied` is what an earlier apply brought, `gone` the paths that this one will delete,
    `differs` path -> id of what was sent in other bytes than git stores.
    """

    def __init__(
        self,
        repository: Repository,
        changes: Sequence[Change],
        applied: Mapping[str, Held],
        gone: Collection[str],
        differs: Mapping[str, str],
    ) -> None:
        self.repository = repository
        self.contents = Contents(repository, changes, applied)
        self._applied = applied
        self._gone = gone
        self._differs = differs
        self._has_modes = repository.has_modes()

    def __repr__(self) -> str:
        return "Decider(%d paths gone)" % len(self._gone)

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
        content = self._merged(change, ours)
        if content != ours:
            self._check_room(change.path)
        return ours, content

    def _merged(self, change: Change, ours: Content) -> Content:
        """Return the merge with the first base that it works with: what was sent, else what an
        earlier apply brought.
        """
        sent = self._sent(change, ours)
        theirs = self.contents.of(change.new)
        try:
            return merged(self.repository, sent, ours, theirs)
        except Conflict:
            if change.path not in self._applied:
                raise
        brought = self.contents.of(self._applied[change.path])
        return merged(self.repository, brought, ours, theirs)

    def _sent(self, change: Change, ours: Content) -> Content:
        """Return what was sent of a path: where a filter stands between, what lies here if that is
        still it, else what git stores.
        """
        stored = self.contents.of(change.old)
        id = self._differs.get(change.path)
        if stored is None or ours is None or id is None:
            return stored
        is_as_sent = blob_id(ours[1], len(id)) == id
        return (stored[0], ours[1]) if is_as_sent else stored

    def _ours(self, change: Change) -> Content:
        """Return what lies at a path; a folder of which nothing stays counts as nothing."""
        ours = read_path(self.repository.root, change.path)
        if ours is None:
            return None
        mode, data = ours
        if mode == OTHER_MODE and self._will_be_empty(change.path):
            return None
        if self._has_modes or mode not in FILE_MODES:
            return ours
        # The disk tells no modes: the file has the one that git knows.
        known = (change.old[0], change.new[0], mode)
        return next(one for one in known if one in FILE_MODES), data

    def _will_be_empty(self, path: str) -> bool:
        """Say whether a folder lies at a path, and all in it will be deleted."""
        root = self.repository.root
        place = os.path.join(root, path)
        if os.path.islink(place) or not os.path.isdir(place):
            return False
        for folder, _, names in os.walk(place):
            inside = os.path.relpath(folder, root).replace(os.sep, "/")
            if any(inside + "/" + name not in self._gone for name in names):
                return False
        return True

    def _check_room(self, path: str) -> None:
        """Raise Conflict where a link or a file stands where a folder of the path has to be."""
        parts = path.split("/")
        for count in range(1, len(parts)):
            folder = "/".join(parts[:count])
            place = os.path.join(self.repository.root, folder)
            if not os.path.lexists(place) or folder in self._gone:
                return
            if os.path.islink(place) or not os.path.isdir(place):
                raise Conflict("%s is in the way: it is no folder" % folder)


class Contents:
    """What the changed paths held before and hold after, asked for at once."""

    def __init__(
        self,
        repository: Repository,
        changes: Sequence[Change],
        applied: Mapping[str, Held],
    ) -> None:
        self.repository = repository
        held = [one for change in changes for one in (change.old, change.new)]
        held += [one for one in applied.values() if one]
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
        mode, id = held
        data = self._data.get(id)
        if data is None:
            data = self.repository.blob(id)
        return mode, data
