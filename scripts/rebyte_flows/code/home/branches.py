"""The branch of a task: moved on where it is ours, never under anybody who works on it."""

from __future__ import annotations

import os
from contextlib import suppress

from rebyte_wire.errors import RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from rebyte_flows.code.git import Repository

HEADS = "refs/heads/"
TRIES_MOST = 50
# Files in a git folder that name the branch which a rebase or a bisection goes back to.
HEADS_TO_COME_BACK_TO = (
    os.path.join("rebase-merge", "head-name"),
    os.path.join("rebase-apply", "head-name"),
    "BISECT_START",
)
MOVED_AWAY = "the branch %s is checked out or was moved here, so the changes are on %s"
NO_BRANCH = "no branch could be made: %s; the changes are the commit %s"


def move_branch(
    repository: Repository, wanted: str, commit: str, earlier: Collection[str]
) -> tuple[str | None, list[str]]:
    """Let a branch point to a commit and return (its name, warnings).

    The branch is moved where it is new or stands where we left it (`earlier`) and nobody has it
    checked out; else the next free name is taken. None where git refuses every name.
    """
    in_use = checked_out(repository)
    for number in range(1, TRIES_MOST):
        name = wanted if number == 1 else "%s-%d" % (wanted, number)
        now = repository.commit_of(HEADS + name)
        if now == commit:
            return name, []
        is_taken = now is not None and now not in earlier
        if is_taken or HEADS + name in in_use:
            continue
        try:
            repository.update_ref(HEADS + name, commit, now or "")
        except RebyteError as problem:
            return None, [NO_BRANCH % (problem.message, commit[:10])]
        return name, [] if number == 1 else [MOVED_AWAY % (wanted, name)]
    return None, [NO_BRANCH % ("every name is taken", commit[:10])]


def checked_out(repository: Repository) -> set[str]:
    """Return the references of the branches that some working tree has checked out, or will go
    back to after a rebase or a bisection.
    """
    found = _left_for_a_while(repository)
    out = repository.run("worktree", "list", "--porcelain").decode("utf-8", "replace")
    for line in out.split("\n"):
        word, _, name = line.partition(" ")
        if word == "branch":
            found.add(name)
    return found


def _left_for_a_while(repository: Repository) -> set[str]:
    common = os.path.join(
        repository.root, repository.line("rev-parse", "--git-common-dir")
    )
    folders = [common]
    linked = os.path.join(common, "worktrees")
    with suppress(OSError):
        folders += [os.path.join(linked, name) for name in os.listdir(linked)]
    found: set[str] = set()
    for folder in folders:
        for name in HEADS_TO_COME_BACK_TO:
            with suppress(OSError), open(os.path.join(folder, name), "rb") as file:
                told = os.fsdecode(file.read()).strip()
                # A bisection notes the branch's short name.
                found.update((told, HEADS + told))
    return found
