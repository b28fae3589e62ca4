"""The changes of a task home: its zip is judged and becomes a commit on a branch; index, working
tree and status stay as they are.
"""

from __future__ import annotations

import re
from contextlib import suppress

from rebyte_flows.code.changes import changes_between, summary
from rebyte_flows.code.git import Repository, find_repository
from rebyte_flows.code.home.archive import HomeArchive, Spoiled
from rebyte_flows.code.home.branches import move_branch
from rebyte_flows.code.home.tree import HomeTree
from rebyte_flows.code.records import (
    HOME_FOLDER,
    TASK_REFS,
    note_archive,
    record_of_task,
    seen_archive,
    write_record,
)
from rebyte_flows.files.downloads import download_artifacts
from rebyte_flows.files.uploads import digest_of
from rebyte_wire.errors import RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rebyte_client import RebyteClient
    from rebyte_flows.code.records import CodeRecord
    from rebyte_flows.starting.ledger import Ledger
    from rebyte_flows.state import StateFolder
    from rebyte_types import Artifact, FileHome, Json

ID_CHARACTERS = 8
SHORT_ID_CHARACTERS = 10
EARLIER_REFS = "refs/rebyte/earlier/"
LEFT_OUT_SHOWN = 3
NOT_SENT = "%d paths of the code were not sent: %s"
NOTHING_CHANGED = "nothing in the code was changed, whatever the answer says"
NOTHING_NEW = (
    "no new code was published in this turn: the archive is that of an earlier one"
)
APART = (
    "the tree was sent anew, so what came home before is no part of this: it is the"
    " commit %s"
)
NO_ARCHIVE = (
    "no code came home: %s was not published, so nothing is known of its changes"
)


class Homecoming:
    """Brings the code of one task home; `bring` is called at the end of a turn."""

    def __init__(self, state: StateFolder, record: CodeRecord, task_id: str) -> None:
        self.record = record
        self.task_id = task_id
        self._state = state
        # True once an archive came and was not taken.
        self.is_refused = False
        self._told: Json | None = None
        # True once the repository has lost what came home before, so that it is taken again.
        self._is_lost = False

    def __repr__(self) -> str:
        return "Homecoming(%s, %r)" % (self.task_id, self.record)

    def bring(
        self,
        client: RebyteClient,
        workspace_id: str,
        listing: Sequence[Artifact],
        files: Sequence[FileHome],
        turn: str | None,
    ) -> Json:
        """Return what the document says of the code: changes, missing, refused, warnings.

        The archive is taken from `files` where it came home already, else it is fetched.
        """
        self._forget_what_is_lost()
        found = self._bring(client, workspace_id, listing, files, turn)
        self.is_refused = bool(found.get("refused"))
        left_out = sorted(self.record.left_out.items())
        if left_out:
            shown = ", ".join("%r: %s" % pair for pair in left_out[:LEFT_OUT_SHOWN])
            more = " ..." if len(left_out) > LEFT_OUT_SHOWN else ""
            said = NOT_SENT % (len(left_out), shown + more)
            found["warnings"] = [said, *found.get("warnings", [])]
        return found

    def _bring(
        self,
        client: RebyteClient,
        workspace_id: str,
        listing: Sequence[Artifact],
        files: Sequence[FileHome],
        turn: str | None,
    ) -> Json:
        names = [str(item.get("name")) for item in listing]
        name = home_name(names, self.record.home_name)
        if name is None:
            return self._not_published()
        size: Any = listing[names.index(name)].get("size")
        if turn and (self.record.turn, self.record.size) == (turn, size):
            return self._as_told()
        paths = {file["name"]: file.get("path") for file in files}
        path = paths.get(name)
        try:
            # What the network says is raised: the line again tries once more.
            path = path or self._fetch(client, workspace_id, listing, name)
            digest = _digest_of(path)
            found = self._known(workspace_id, digest, turn)
            if found is None:
                found = self._take(path, name)
                self._note(workspace_id, digest, turn, size)
        except Spoiled as spoiled:
            return _refusal(spoiled.path, spoiled.reason, path)
        self._told = found
        return found

    def _forget_what_is_lost(self) -> None:
        """Forget a result that is not in the repository any more, as after its references were
        deleted and git has cleaned up.
        """
        record = self.record
        if record.result is None:
            return
        with suppress(RebyteError):
            repository = find_repository(record.repository, record.base)
            self._is_lost = repository.commit_of(record.result) is None
        if self._is_lost:
            record.result = None
            record.results = []
            record.turn = None

    def _note(
        self, workspace_id: str, digest: str, turn: str | None, size: int | None
    ) -> None:
        self.record.turn = turn
        self.record.size = size
        write_record(self._state, self.task_id, self.record)
        note_archive(self._state, workspace_id, self.task_id, digest)

    def _known(self, workspace_id: str, digest: str, turn: str | None) -> Json | None:
        """Return what is told of an archive that was taken before, None for a new one."""
        earlier = seen_archive(self._state, workspace_id)
        if digest not in earlier:
            return None
        if earlier[0] != self.task_id:
            return self._not_published()
        if self._is_lost:
            return None
        if turn in (None, self.record.turn):
            return self._as_told()
        if self._told:
            # An earlier turn of this very command brought it.
            return dict(self._told)
        changes = {"files": 0, "added": 0, "removed": 0, "branch": self.record.branch}
        return {"changes": _without_empty(changes), "warnings": [NOTHING_NEW]}

    def _not_published(self) -> Json:
        return {
            "missing": [self.record.home_name],
            "warnings": [NO_ARCHIVE % self.record.home_name],
        }

    def _as_told(self) -> Json:
        """Return what an earlier call found of this very archive."""
        return dict(self.record.changes or {})

    def _fetch(
        self,
        client: RebyteClient,
        workspace_id: str,
        listing: Sequence[Artifact],
        name: str,
    ) -> str:
        folder = self._state.folder(HOME_FOLDER, self.task_id)
        files, refused = download_artifacts(
            client,
            workspace_id,
            folder,
            names=[name],
            force=True,
            listing=listing,
            digests=False,
        )
        if refused:
            raise Spoiled(name, refused[0]["reason"])
        return files[0]["path"]

    def _take(self, path: str, name: str) -> Json:
        """Judge an archive and let it become a commit; raises Spoiled."""
        try:
            return self._commit(path, name)
        except RebyteError as problem:
            # What is wrong lies here, not in the archive: how to mend it is told as well.
            said = [problem.message, problem.hint]
            raise Spoiled(name, "; ".join(filter(None, said))) from problem

    def _commit(self, path: str, name: str) -> Json:
        record = self.record
        repository = find_repository(record.repository, record.base)
        previous = record.result or record.base
        archive = HomeArchive(path, name)
        try:
            tree = HomeTree(repository, record, archive)
            commit = tree.commit(previous, commit_message(self.task_id))
        finally:
            archive.close()
        warnings = list(tree.warnings)
        if commit is not None:
            warnings += self._keep_earlier(repository, previous)
            repository.update_ref(TASK_REFS + self.task_id, commit)
        changes: Json = {"files": 0, "added": 0, "removed": 0}
        if commit is None:
            warnings.append(NOTHING_CHANGED)
        else:
            record.result = commit
            record.results.append(commit)
            changes = summary(changes_between(repository, previous, commit))
        branch, said = self._move_branch(repository)
        changes["branch"] = branch
        changes["base"] = previous[:SHORT_ID_CHARACTERS]
        if tree.kept_missing:
            changes["kept"] = tree.kept_missing
        if tree.ignored:
            changes["ignored"] = tree.ignored
        found = {"changes": _without_empty(changes), "warnings": warnings + said}
        record.changes = found
        return found

    def _keep_earlier(self, repository: Repository, previous: str) -> list[str]:
        """Keep the result before where the new one does not go on from it, as after a follow-up
        that sent the tree anew; returns what is to be told.
        """
        earlier = self.record.results[-1] if self.record.results else previous
        if earlier == previous or repository.commit_of(earlier) is None:
            return []
        repository.update_ref(EARLIER_REFS + earlier, earlier)
        return [APART % earlier[:SHORT_ID_CHARACTERS]]

    def _move_branch(self, repository: Repository) -> tuple[str | None, list[str]]:
        record = self.record
        if record.result is None:
            return None, []
        earlier = record.results[:-1] or [record.base]
        wanted = record.branch or branch_name(record.once, self.task_id)
        branch, warnings = move_branch(repository, wanted, record.result, earlier)
        record.branch = branch
        return branch, warnings


def homecoming_of(
    ledger: Ledger, state: StateFolder, task_id: str
) -> Homecoming | None:
    """Return what brings a task's code home, None where it took none along from here."""
    record = record_of_task(ledger, state, task_id)
    return None if record is None else Homecoming(state, record, task_id)


def _without_empty(changes: Json) -> Json:
    return {key: value for key, value in changes.items() if value not in (None, [])}


def _digest_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return digest_of(file)
    except OSError as problem:
        raise Spoiled(path, "it cannot be read: %s" % problem) from problem


def _refusal(path: str, reason: str, archive: str | None) -> Json:
    place = "" if archive is None else "; the archive lies at %s" % archive
    return {
        "refused": [{"name": path, "reason": reason + place}],
        "warnings": ["the code that came home was not taken: nothing of it is in git"],
    }


def home_name(names: Sequence[str], wanted: str) -> str | None:
    """Return the artifact that is the code: the name that was asked for, or as a service may have
    changed it, None where there is none.
    """
    if wanted in names:
        return wanted
    stem = wanted[: -len(".zip")].casefold()
    zips = [name for name in names if name.casefold().endswith(".zip")]
    plain = {name: re.sub(r"[^a-z0-9]+", "-", name.casefold()) for name in zips}
    similar = [
        name
        for name in zips
        if re.sub(r"[^a-z0-9]+", "-", stem) in plain[name] or "-home" in plain[name]
    ]
    return similar[0] if len(similar) == 1 else None


def branch_name(once: str | None, task_id: str) -> str:
    """Return the branch of a task below rebyte/: its name as far as git takes it, else its id."""
    plain = re.sub(r"[^A-Za-z0-9._/-]+", "-", once or "")
    parts = [part.strip("-.") for part in plain.split("/")]
    parts = [re.sub(r"\.{2,}", ".", part) for part in parts if part]
    parts = [re.sub(r"(\.lock)+$", "", part) for part in parts]
    name = "/".join(part for part in parts if part)
    return "rebyte/" + (name or task_id[:ID_CHARACTERS])


def commit_message(task_id: str) -> str:
    """Return the message of the commit with the changes: our own words and an id."""
    return "Changes that the task %s brought home\n" % task_id
