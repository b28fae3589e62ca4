"""The branch of a task: moved on where it is ours, never under anybody who works on it."""

from __future__ import annotations

from rebyte_wire.errors import RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from rebyte_flows.code.git import Repository

HEADS = "refs/heads/"
TRIES_MOST = 50
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
    """Return the references of the branches that some working tree has checked out."""
    out = repository.run("worktree", "list", "--porcelain").decode("utf-8", "replace")
    found = set()
    for line in out.split("\n"):
        word, _, name = line.partition(" ")
        if word == "branch":
            found.add(name)
    return found
