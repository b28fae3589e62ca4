"""Paths below /v1: one that would lead elsewhere raises InputError before anything is sent."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from rebyte_wire.errors import InputError
from rebyte_wire.status import is_id

PATH = (
    r"/[A-Za-z0-9_.~:@!$&'()*+,;=%-][A-Za-z0-9_.~:@!$&'()*+,;=%/-]*"
    r"(\?[A-Za-z0-9_.~:@!$&'()*+,;=%/?-]*)?"
)


def format_path(template: str, *ids: str) -> str:
    """Fill ids into a path."""
    for id in ids:
        if not is_id(id):
            raise InputError(
                "{!r} is not an id; expected letters, digits and dashes.".format(id)
            )
    return template.format(*ids)


def artifact_path(workspace_id: str, name: str) -> str:
    """Return the path of one artifact; its name is quoted whole."""
    if not name or name in (".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", name):
        raise InputError("{!r} is not the name of an artifact.".format(name))
    return format_path("/workspaces/{}/artifacts/", workspace_id) + quote(name, safe="")


def check_path(path: str) -> str:
    """Return a path that was typed, with or without a query."""
    if not re.fullmatch(PATH, path) or ".." in unquote(path.partition("?")[0]).split(
        "/"
    ):
        raise InputError(
            "The path {!r} cannot be used; expected one like /tasks?limit=10.".format(
                path
            )
        )
    return path
