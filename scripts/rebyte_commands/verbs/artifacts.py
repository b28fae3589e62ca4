"""artifacts list, get, put, delete: the files of a workspace, found from its task."""

from __future__ import annotations

import os

from rebyte_commands.output import without_signed
from rebyte_commands.progress import Meter
from rebyte_commands.verbs.files import attach_artifact, tell_links
from rebyte_flows.files.downloads import download_artifacts, list_files
from rebyte_flows.files.uploads import check_items, put_all
from rebyte_wire.errors import EXIT_SOME_FAILED, GuardRefused, InputError, NotFound, RouteMissing

EXAMPLES = """examples:
  rebyte_cli.py artifacts list TASK
  rebyte_cli.py artifacts get TASK --out result
  rebyte_cli.py artifacts get TASK report.pdf --out result
  rebyte_cli.py artifacts put TASK big.csv
  rebyte_cli.py artifacts delete TASK report.pdf
"""
ACTIONS = ("list", "get", "put", "delete")


def flags(parser):
    """Declare the flags of artifacts."""
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("id", metavar="TASK_OR_WORKSPACE")
    parser.add_argument(
        "name", nargs="*", metavar="NAME", help="get: none means all; put: paths of local files"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="get: the folder the files go to (default: this one)"
    )
    parser.add_argument(
        "--zip",
        action="store_true",
        help="put: pack folders, and files of a type that the store refuses",
    )
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
    parser.add_argument(
        "--urls",
        action="store_true",
        help="list: show the signed download addresses, which are secrets",
    )
    parser.add_argument("--all", action="store_true", help="delete: every artifact; needs --yes")
    parser.add_argument("--yes", action="store_true")


def artifacts(context, options):
    """Do one of list, get, put, delete."""
    workspace = context.workspace_of(options.id)
    try:
        return {"list": list_, "get": get, "put": put, "delete": delete}[options.action](
            context, options, workspace
        )
    except NotFound as problem:
        problem.hint = (
            "if %s is a task made elsewhere, pass the workspaceId that create printed" % options.id
        )
        raise


def list_(context, options, workspace):
    """Print the artifacts as the service lists them, without the signed addresses unless asked for."""
    answer = context.client.list_artifacts(workspace)
    context.emit(answer if options.urls else without_signed(answer))
    return 0


def get(context, options, workspace):
    """Download artifacts; a refused name is reported and does not hide the others."""
    folder = options.out or os.curdir
    listing = list_files(context.client, workspace)
    known = {item.get("name"): item for item in listing if isinstance(item.get("name"), str)}
    asked = list(dict.fromkeys(options.name))
    missing = [name for name in asked if name not in known]
    names = [name for name in asked if name in known] if asked else None
    wanted = listing if names is None else [known[name] for name in names]
    total = sum(item["size"] for item in wanted if isinstance(item.get("size"), int))
    with Meter(context, "downloading", total) as meter:
        files, refused = download_artifacts(
            context.client,
            workspace,
            folder,
            names=names,
            force=options.force,
            listing=listing,
            digests=False,
            on_progress=meter,
            say=context.say,
        )
    document = {"workspaceId": workspace, "files": files}
    if refused:
        document["refused"] = refused
    if missing:
        document["missing"] = missing
    context.emit(document)
    if missing and not files and not refused:
        raise NotFound(
            "no artifact of that name: %s" % ", ".join(missing),
            hint="see: %s" % context.line("artifacts", "list", options.id),
        )
    return EXIT_SOME_FAILED if refused or missing else 0


def put(context, options, workspace):
    """Upload local files as artifacts; types that the store refuses are told before anything is sent."""
    if not options.name:
        raise InputError("artifacts put needs the path of a file", code="usage")
    items = [attach_artifact(path, context.stdin, options.zip) for path in options.name]
    check_items(items)
    tell_links(context, items)
    if not options.force:
        here = {item.get("name") for item in list_files(context.client, workspace)} & {
            item.name for item in items
        }
        if here:
            raise GuardRefused(
                "the workspace has an artifact of that name: %s" % ", ".join(sorted(here)),
                code="needs_force",
                hint="--force overwrites it",
            )
    with Meter(context, "uploading", sum(item.bytes for item in items)) as meter:
        uploaded, failed = put_all(context.client, workspace, items, meter)
    if failed and not uploaded:
        raise failed[0][1]
    document = {"workspaceId": workspace, "uploaded": uploaded}
    if failed:
        document["failed"] = [
            {"name": name, "error": problem.as_dict()} for name, problem in failed
        ]
    context.emit(document)
    return EXIT_SOME_FAILED if failed else 0


def delete(context, options, workspace):
    """Delete one or several artifacts by name, or all with --all --yes."""
    if options.all and not options.name:
        if not options.yes:
            raise GuardRefused(
                "every artifact of the workspace would be deleted",
                code="needs_yes",
                hint="the same line with --yes",
            )
        context.client.delete_artifacts(workspace)
        context.emit({"workspaceId": workspace, "deleted": "all"})
        return 0
    if not options.name or options.all:
        raise InputError(
            "artifacts delete needs a name, or --all",
            code="usage",
            hint="see what is there: %s" % context.line("artifacts", "list", options.id),
        )
    deleted, failed = [], []
    for name in dict.fromkeys(options.name):
        try:
            context.client.delete_artifact(workspace, name)
            deleted.append(name)
        except (NotFound, InputError) as problem:
            if len(options.name) == 1 or isinstance(problem, RouteMissing):
                raise
            failed.append({"name": name, "error": problem.as_dict()})
    document = {"workspaceId": workspace, "deleted": deleted}
    context.emit(dict(document, failed=failed) if failed else document)
    return EXIT_SOME_FAILED if failed else 0


COMMANDS = {"artifacts": (flags, artifacts, EXAMPLES)}
