"""diff and apply: what a task changed in the code that was sent, and taking it over."""

from __future__ import annotations

import os
from contextlib import suppress

from rebyte_commands.jobs.code import record_of
from rebyte_commands.jobs.start import add_list_flag
from rebyte_commands.shell.identifiers import resolve
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.shell.output import next_lines
from rebyte_commands.verb_table import Command
from rebyte_flows.code.applying.application import plan, write_beside
from rebyte_flows.code.applying.journal import (
    Journal,
    has_journals,
    locked,
    recover,
)
from rebyte_flows.code.changes import changes_between, summary
from rebyte_flows.code.git import find_repository, open_repository
from rebyte_flows.code.paths import matches, unmatched
from rebyte_flows.code.records import TASK_REFS, CodeRecord
from rebyte_flows.files.names import expand_user
from rebyte_wire.errors import (
    EXIT_DONE,
    EXIT_SOME_FAILED,
    InputError,
    NotFound,
    RebyteError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from rebyte_commands.shell.context import Context
    from rebyte_flows.code.applying.application import Plan
    from rebyte_flows.code.changes import Change
    from rebyte_flows.code.git import Repository
    from rebyte_types import Json, Step

PATHS_SHOWN = 100
PATHS_AT_ONCE = 100
NOTHING_CHANGED_AT = (
    "nothing changed at %s; a path is given as seen from the root of the repository"
)
NOT_HOME = "no code of this task has come home, so nothing is known of its changes"
NOTHING_CHANGED = "the task changed nothing in the code"
DIFF_EXAMPLES = """examples:
  rebyte_cli.py diff @dates
  rebyte_cli.py diff @dates src/dates.py --field diff
"""
APPLY_EXAMPLES = """examples:
  rebyte_cli.py apply @dates
  rebyte_cli.py apply @dates --allow Makefile
  rebyte_cli.py apply @dates --undo
"""


def add_diff_flags(parser: ArgumentParser) -> None:
    """Declare the flags of diff."""
    parser.add_argument("id", metavar="ID")
    parser.add_argument(
        "path", nargs="*", metavar="PATH", help="only this file or folder"
    )


def diff(context: Context, options: Namespace) -> Outcome:
    """Return what a task changed in the code that was sent."""
    task_id, record, repository = _code_of(context, options.id)
    absent = _not_home(context, task_id, record, repository)
    if absent:
        return absent
    warnings = recover_cut_off(repository)
    result = record.result or record.base
    changes = changes_between(repository, record.base, result)
    if not changes:
        warnings.append(NOTHING_CHANGED)
    paths = None
    if options.path:
        changes, said = _wanted(changes, options.path)
        warnings += said
        paths = [change.path for change in changes]
    text = _unified(repository, record, paths)
    document: Json = {
        "id": task_id,
        "repository": repository.root,
        **summary(changes),
        "branch": record.branch,
        "base": record.base,
        "result": result,
        "changes": [_row(change) for change in changes[:PATHS_SHOWN]],
        "warnings": warnings,
        "diff": text,
    }
    return Outcome(_without_none(document), text=_diff_text)


def _wanted(changes: list[Change], words: list[str]) -> tuple[list[Change], list[str]]:
    """Return the changes that the words mean, and what is to be told of words that mean none."""
    unknown = unmatched(words, [change.path for change in changes])
    said = [NOTHING_CHANGED_AT % word for word in unknown]
    return [change for change in changes if matches(change.path, words)], said


def _row(change: Change) -> Json:
    """Return what the document says of one changed path."""
    return _without_none(
        {
            "path": change.path,
            "kind": change.kind,
            "added": change.added,
            "removed": change.removed,
            "why": change.why_sensitive,
        }
    )


def _unified(
    repository: Repository, record: CodeRecord, paths: list[str] | None
) -> str:
    """Return the diff of some paths, of all for None."""
    words = ["diff-tree", "-p", "-r", "--no-ext-diff", "--no-textconv", "--full-index"]
    words += [record.base, record.result or record.base, "--"]
    if paths is None:
        return repository.run(*words).decode("utf-8", "replace")
    places = [":(top,literal)" + path for path in paths]
    # A system takes only so many words at once.
    groups = range(0, len(places), PATHS_AT_ONCE)
    texts = [
        repository.run(*words, *places[start : start + PATHS_AT_ONCE])
        for start in groups
    ]
    return b"".join(texts).decode("utf-8", "replace")


def _without_none(document: Json) -> Json:
    empty: tuple[object, ...] = (None, [], "")
    return {key: value for key, value in document.items() if value not in empty}


def _diff_text(document: Json) -> str:
    lines = [document.get("diff", "").rstrip("\n")]
    lines.append(
        "%d files, %d lines added, %d removed"
        % (document["files"], document["added"], document["removed"])
    )
    lines += ["look first: %s" % path for path in document.get("sensitive", [])]
    lines += ["note: %s" % text for text in document.get("warnings", [])]
    return "\n".join(lines)


def add_apply_flags(parser: ArgumentParser) -> None:
    """Declare the flags of apply."""
    parser.add_argument("id", metavar="ID")
    add_list_flag(
        parser,
        "--allow",
        "PATH",
        "take over this path although it may run by itself; again for more",
    )
    parser.add_argument(
        "--undo", action="store_true", help="take back what apply wrote last"
    )
    parser.add_argument(
        "--worktree",
        metavar="DIR",
        help="lay the result into a new working tree instead",
    )
    parser.add_argument(
        "--theirs-beside",
        action="store_true",
        help="where both sides changed a file, lay the other one beside it as PATH.theirs",
    )


def apply(context: Context, options: Namespace) -> Outcome:
    """Bring the changes of a task into the working tree, all or nothing."""
    others = (options.allow, options.worktree, options.theirs_beside)
    if options.undo and any(others):
        raise InputError(
            "--undo goes alone: it takes back what apply wrote last", code="usage"
        )
    task_id, record, repository = _code_of(context, options.id)
    # What was written can be taken back whatever has become of the result.
    absent = None if options.undo else _not_home(context, task_id, record, repository)
    if absent:
        return absent
    if record.result is None and not options.undo:
        raise InputError(
            NOTHING_CHANGED,
            code="no_changes",
            hint="what it said: %s" % context.command_line("result", task_id),
        )
    with locked(repository), context.interrupts.held_off():
        warnings = recover(repository)
        journal = Journal(repository, task_id)
        if options.undo:
            return _undo(context, task_id, journal, warnings)
        if options.worktree:
            return _beside(context, options, task_id, record, repository, warnings)
        found = plan(
            repository,
            record,
            journal,
            allow=options.allow,
            beside=options.theirs_beside,
        )
        fits = not found.conflicts or options.theirs_beside
        if fits and found.steps:
            journal.run(found.steps, found.applied)
    return _applied(context, task_id, record, repository, found, warnings, fits=fits)


def _applied(
    context: Context,
    task_id: str,
    record: CodeRecord,
    repository: Repository,
    found: Plan,
    warnings: list[str],
    *,
    fits: bool,
) -> Outcome:
    warnings += [NOTHING_CHANGED_AT % word for word in found.unknown]
    written = sorted(step.path for step in found.steps) if fits else []
    document: Json = {
        "id": task_id,
        "repository": repository.root,
        "applied": written[:PATHS_SHOWN],
        "files": len(written),
        "unchanged": found.unchanged,
        "held": [
            {"path": path, "why": why} for path, why in sorted(found.held.items())
        ][:PATHS_SHOWN],
        "conflicts": sorted(found.conflicts)[:PATHS_SHOWN],
        "reasons": [
            {"path": path, "why": why} for path, why in sorted(found.conflicts.items())
        ][:PATHS_SHOWN],
        "branch": record.branch,
        "warnings": warnings,
        "next": _steps(context, task_id, record, found),
    }
    is_whole = not found.conflicts and not found.held
    code = EXIT_DONE if is_whole else EXIT_SOME_FAILED
    return Outcome(_without_none(document), text=_apply_text, code=code)


def _steps(
    context: Context, task_id: str, record: CodeRecord, found: Plan
) -> list[Step]:
    """Return the ways on; a line never names a path, which the far side may have chosen."""
    steps: list[Step] = []
    if found.conflicts:
        beside = context.command_line("apply", task_id, "--theirs-beside")
        steps.append(
            {"why": "this takes what fits, and lays the others beside", "run": beside}
        )
        tree = context.command_line("apply", task_id, "--worktree", "../result")
        steps.append({"why": "this lays the whole result elsewhere", "run": tree})
        if record.branch:
            steps.append(
                {"why": "or commit what you have, then: git merge %s" % record.branch}
            )
    if found.held:
        line = context.command_line("diff", task_id)
        why = (
            "held back, since it may run by itself: look, then apply with --allow PATH"
        )
        steps.append({"why": why, "run": line})
    return steps


def _apply_text(document: Json) -> str:
    lines = ["wrote %s" % path for path in document.get("applied", [])]
    for key, word in (("held", "held back"), ("reasons", "conflict")):
        for item in document.get(key, []):
            lines.append("%s: %s, %s" % (word, item["path"], item["why"]))
    lines += ["note: %s" % text for text in document.get("warnings", [])]
    lines = lines or ["nothing to do: the tree has it all, or was changed since"]
    return "\n".join(lines + next_lines(document))


def _undo(
    context: Context, task_id: str, journal: Journal, warnings: list[str]
) -> Outcome:
    operation = journal.last_done()
    if operation is None:
        raise InputError(
            "nothing that apply wrote for the task %s is there to take back" % task_id,
            code="nothing_to_undo",
        )
    differing = journal.differing(operation)
    if differing:
        document: Json = {
            "id": task_id,
            "conflicts": sorted(differing)[:PATHS_SHOWN],
            "warnings": [*warnings, "these were changed since; nothing was taken back"],
            "next": [
                {
                    "why": "this shows what the task changed, to take it back by hand",
                    "run": context.command_line("diff", task_id),
                }
            ],
        }
        return Outcome(document, code=EXIT_SOME_FAILED)
    paths = sorted(row["path"] for row in operation["steps"])
    journal.begin_undo(operation)
    journal.finish()
    document = {"id": task_id, "undone": paths[:PATHS_SHOWN], "files": len(paths)}
    if warnings:
        document["warnings"] = warnings
    return Outcome(document)


def _beside(
    context: Context,
    options: Namespace,
    task_id: str,
    record: CodeRecord,
    repository: Repository,
    warnings: list[str],
) -> Outcome:
    folder = os.path.abspath(expand_user(options.worktree))
    if os.path.lexists(folder):
        raise InputError(
            "%s is there already; --worktree makes a new folder" % folder,
            hint="name one that is not there",
        )
    held = write_beside(repository, folder, record, options.allow)
    document: Json = {
        "id": task_id,
        "worktree": folder,
        "held": held,
        "warnings": warnings,
    }
    if held:
        why = "held back, since it may run by itself: look at it first"
        document["next"] = [{"why": why, "run": context.command_line("diff", task_id)}]
    return Outcome(_without_none(document))


def _code_of(context: Context, word: str) -> tuple[str, CodeRecord, Repository]:
    """Return (task id, what is known of its code, the repository it belongs to)."""
    task_id = resolve(context, word)
    record = record_of(context, task_id)
    if record is None:
        raise _unknown(context, task_id)
    return task_id, record, find_repository(record.repository, record.base)


def _not_home(
    context: Context, task_id: str, record: CodeRecord, repository: Repository
) -> Outcome | None:
    """Return the document for code that has not come home, without figures that would look like
    nothing changed; None where it is here. Raises NotFound for what git has lost.
    """
    line = context.command_line("result", task_id)
    if record.result is not None and repository.commit_of(record.result) is None:
        raise NotFound(
            "what came home of the task %s is not in %s any more"
            % (task_id, repository.root),
            code="no_changes",
            hint="bring it home again: %s" % line,
        )
    if record.is_home:
        return None
    why = "this brings it home, or says why it did not come"
    document: Json = {
        "id": task_id,
        "repository": repository.root,
        "missing": [record.home_name],
        "warnings": [*recover_cut_off(repository), NOT_HOME],
        "next": [{"why": why, "run": line}],
    }
    return Outcome(document, text=_notes_text, code=EXIT_SOME_FAILED)


def _notes_text(document: Json) -> str:
    notes = ["note: %s" % text for text in document["warnings"]]
    return "\n".join(notes + next_lines(document))


def _unknown(context: Context, task_id: str) -> NotFound:
    """Return the error for a task of whose code nothing is known here, with what is left of it."""
    line = context.command_line("artifacts", "get", task_id, "--out", "DIR")
    hint = "what it published: %s; unpack a NAME-home.zip over the code" % line
    with suppress(RebyteError):
        if open_repository(None).commit_of(TASK_REFS + task_id):
            # The record was lost, and git has kept what came home.
            hint = "git show %s%s shows what came home, git merge takes it; or %s" % (
                TASK_REFS,
                task_id,
                hint,
            )
    return NotFound(
        "nothing is known here of code that went out with the task %s: it was sent without --code,"
        " or from another machine, or with a state folder that is another one or lost"
        % task_id,
        code="no_code",
        hint=hint,
    )


def recover_cut_off(repository: Repository) -> list[str]:
    """Finish what a killed apply had begun, and return what is to be told of it."""
    if not has_journals(repository):
        # Who only looks leaves no file behind.
        return []
    with locked(repository):
        return recover(repository)


COMMANDS = {
    "diff": Command(diff, add_diff_flags, examples=DIFF_EXAMPLES),
    "apply": Command(apply, add_apply_flags, examples=APPLY_EXAMPLES),
}
