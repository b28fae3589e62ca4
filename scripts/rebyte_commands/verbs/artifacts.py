"""artifacts list, get, put, delete: the files of a workspace, found from its task."""

from __future__ import annotations

import os
import unicodedata
from functools import partial

from rebyte_commands.jobs.attachments import attach_artifact, tell_links
from rebyte_commands.shell.identifiers import workspace_of
from rebyte_commands.shell.outcome import Outcome
from rebyte_commands.shell.output import without_signed
from rebyte_commands.shell.progress import Meter
from rebyte_commands.verb_table import Command
from rebyte_flows.files.downloads import (
    download_artifacts,
    list_files,
    listed_size,
    plan,
)
from rebyte_flows.files.uploads import check_items, put_all
from rebyte_wire.errors import (
    EXIT_DONE,
    EXIT_NOT_FOUND,
    EXIT_SOME_FAILED,
    GuardRefused,
    InputError,
    NotFound,
    RebyteError,
    RouteMissing,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterable

    from rebyte_commands.shell.context import Context
    from rebyte_types import Artifact, Json

LIST_EXAMPLES = "examples:\n  rebyte_cli.py artifacts list TASK"
GET_EXAMPLES = """examples:
  rebyte_cli.py artifacts get TASK --out result
  rebyte_cli.py artifacts get TASK report.pdf --out result
"""
PUT_EXAMPLES = "examples:\n  rebyte_cli.py artifacts put TASK big.csv"
DELETE_EXAMPLES = """examples:
  rebyte_cli.py artifacts delete TASK report.pdf
  rebyte_cli.py artifacts delete TASK --all --yes
"""


def _in_workspace(
    act: Callable[[Context, Namespace, str], Outcome],
    context: Context,
    options: Namespace,
) -> Outcome:
    """Find the workspace and act in it; say what to pass where it is not known."""
    workspace_id = workspace_of(context, options.id)
    try:
        return act(context, options, workspace_id)
    except NotFound as problem:
        problem.hint = (
            "if %s is a task made elsewhere, pass the workspaceId that create printed"
            % options.id
        )
        raise


def _add_id(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="TASK_OR_WORKSPACE")


def add_list_flags(parser: ArgumentParser) -> None:
    """Declare the flags of artifacts list."""
    _add_id(parser)
    parser.add_argument(
        "--urls",
        action="store_true",
        help="show the signed download addresses, which are secrets",
    )


def list_(context: Context, options: Namespace, workspace_id: str) -> Outcome:
    """Return the artifacts as the service lists them, without the signed addresses unless asked
    for.
    """
    answer = context.client.list_artifacts(workspace_id)
    return Outcome(answer if options.urls else without_signed(answer))


def add_get_flags(parser: ArgumentParser) -> None:
    """Declare the flags of artifacts get."""
    _add_id(parser)
    parser.add_argument("name", nargs="*", metavar="NAME", help="none means all")
    parser.add_argument(
        "--out", metavar="DIR", help="the folder the files go to (default: this one)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def get(context: Context, options: Namespace, workspace_id: str) -> Outcome:
    """Download artifacts; a refused name is reported and does not hide the others."""
    folder = options.out or os.curdir
    listing = list_files(context.client, workspace_id)
    names, missing = _listed_names(listing, options.name)
    wanted = names if options.name else None
    total = sum(listed_size(item) or 0 for item in plan(listing, wanted)[0])
    with Meter(context, "downloading", total) as meter:
        files, refused = download_artifacts(
            context.client,
            workspace_id,
            folder,
            names=wanted,
            force=options.force,
            listing=listing,
            digests=False,
            on_progress=meter,
            say=context.info,
        )
    document: Json = {"workspaceId": workspace_id, "files": files}
    parts = {"refused": refused, "missing": missing}
    document.update((key, value) for key, value in parts.items() if value)
    if missing and not (files or refused):
        return _none_found(context, options, document)
    is_whole = "refused" not in document and "missing" not in document
    return Outcome(document, code=EXIT_DONE if is_whole else EXIT_SOME_FAILED)


def _none_found(context: Context, options: Namespace, document: Json) -> Outcome:
    """Say that no artifact has one of the names that were asked for."""
    line = context.command_line("artifacts", "list", options.id)
    names = ", ".join(document["missing"])
    context.error("no artifact of that name: %s. see: %s" % (names, line))
    document["next"] = [{"why": "this shows which there are", "run": line}]
    return Outcome(document, code=EXIT_NOT_FOUND)


def _listed_names(
    listing: Iterable[Artifact], asked: Iterable[str]
) -> tuple[list[str], list[str]]:
    """Return the listed names that were asked for, in whatever Unicode form, and those that are
    not there.
    """
    listed = {
        _nfc(name): name for name in (item.get("name") for item in listing) if name
    }
    wanted = list(dict.fromkeys(asked))
    names = [listed[_nfc(name)] for name in wanted if _nfc(name) in listed]
    missing = [name for name in wanted if _nfc(name) not in listed]
    return names, missing


def _nfc(name: object) -> str:
    return unicodedata.normalize("NFC", str(name))


def add_put_flags(parser: ArgumentParser) -> None:
    """Declare the flags of artifacts put."""
    _add_id(parser)
    parser.add_argument("name", nargs="*", metavar="PATH", help="local files")
    parser.add_argument(
        "--zip",
        action="store_true",
        help="pack folders, and files of a type the store refuses",
    )
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def put(context: Context, options: Namespace, workspace_id: str) -> Outcome:
    """Upload local files as artifacts; types that the store refuses are told before anything is
    sent.
    """
    if not options.name:
        raise InputError("artifacts put needs the path of a file", code="usage")
    items = [attach_artifact(path, context.stdin, options.zip) for path in options.name]
    check_items(items)
    tell_links(context, items)
    if not options.force:
        _check_new(
            list_files(context.client, workspace_id), [item.name for item in items]
        )
    with Meter(context, "uploading", sum(item.bytes for item in items)) as meter:
        uploaded, failed = put_all(context.client, workspace_id, items, meter)
    if failed and not uploaded:
        raise failed[0][1]
    document: Json = {"workspaceId": workspace_id, "uploaded": uploaded}
    if not failed:
        return Outcome(document)
    document["failed"] = [
        {"name": name, "error": _error_of(error)} for name, error in failed
    ]
    return Outcome(document, code=EXIT_SOME_FAILED)


def _error_of(problem: Exception) -> Json:
    """Return an error as the document shows it."""
    if isinstance(problem, RebyteError):
        return problem.as_dict()
    return {"code": "system_error", "message": "the system says: %s" % problem}


def _check_new(listing: Iterable[Artifact], names: Iterable[str]) -> None:
    """Raise GuardRefused when the workspace has an artifact of one of these names."""
    listed = {_nfc(item.get("name")) for item in listing}
    here = sorted(name for name in names if _nfc(name) in listed)
    if here:
        raise GuardRefused(
            "the workspace has an artifact of that name: %s" % ", ".join(here),
            code="needs_force",
            hint="--force overwrites it",
        )


def add_delete_flags(parser: ArgumentParser) -> None:
    """Declare the flags of artifacts delete."""
    _add_id(parser)
    parser.add_argument("name", nargs="*", metavar="NAME")
    parser.add_argument(
        "--all", action="store_true", help="every artifact; needs --yes"
    )
    parser.add_argument("--yes", action="store_true", help="needed with --all")


def delete(context: Context, options: Namespace, workspace_id: str) -> Outcome:
    """Delete one or several artifacts by name, or all with --all --yes."""
    if options.all and not options.name:
        return _delete_all(context, options, workspace_id)
    if not options.name or options.all:
        raise InputError(
            "artifacts delete needs a name, or --all",
            code="usage",
            hint="see what is there: %s"
            % context.command_line("artifacts", "list", options.id),
        )
    deleted: list[str] = []
    failed: list[Json] = []
    for name in dict.fromkeys(options.name):
        try:
            context.client.delete_artifact(workspace_id, name)
            deleted.append(name)
        except (NotFound, InputError) as problem:
            if len(options.name) == 1 or isinstance(problem, RouteMissing):
                raise
            failed.append({"name": name, "error": problem.as_dict()})
    document: Json = {"workspaceId": workspace_id, "deleted": deleted}
    if not failed:
        return Outcome(document)
    return Outcome(dict(document, failed=failed), code=EXIT_SOME_FAILED)


def _delete_all(context: Context, options: Namespace, workspace_id: str) -> Outcome:
    if not options.yes:
        raise GuardRefused(
            "every artifact of the workspace would be deleted",
            code="needs_yes",
            hint="the same line with --yes",
        )
    context.client.delete_artifacts(workspace_id)
    return Outcome({"workspaceId": workspace_id, "deleted": "all"})


COMMANDS = {
    "artifacts list": Command(
        partial(_in_workspace, list_), add_list_flags, examples=LIST_EXAMPLES
    ),
    "artifacts get": Command(
        partial(_in_workspace, get), add_get_flags, examples=GET_EXAMPLES
    ),
    "artifacts put": Command(
        partial(_in_workspace, put), add_put_flags, examples=PUT_EXAMPLES
    ),
    "artifacts delete": Command(
        partial(_in_workspace, delete), add_delete_flags, examples=DELETE_EXAMPLES
    ),
}
