"""What the contract tests read: the modules in scripts/, the documents, and the fenced blocks in them."""
from __future__ import annotations

import ast
import collections
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPTS = os.path.join(ROOT, "scripts")
NOUNS = ("tasks", "files", "artifacts", "computers", "webhooks", "credits")

Module = collections.namedtuple("Module", "name path")
Fence = collections.namedtuple("Fence", "path line language text")


def read(*parts: str) -> str:
    """Return the text of a file, its path given from the project's folder or absolute."""
    with open(os.path.join(ROOT, *parts), encoding="utf-8") as file:
        return file.read()


def files_under(folder: str) -> list[str]:
    """Return all files under a folder of the project, but for bytecode, sorted."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [os.path.join(place, name) for name in names]
    return sorted(found)


def modules() -> list[Module]:
    """Return every Python module in scripts/ with its dotted name."""
    found = []
    for path in files_under(SCRIPTS):
        if path.endswith(".py"):
            parts = os.path.relpath(path, SCRIPTS)[:-3].split(os.sep)
            found.append(Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def tree_of(module: Module) -> ast.Module:
    """Parse a module."""
    return ast.parse(read(module.path), module.path)


def documents() -> list[str]:
    """Return the paths of the documents: Markdown at the top, in references/ and in examples/."""
    top = [os.path.join(ROOT, name) for name in sorted(os.listdir(ROOT)) if name.endswith(".md")]
    below = [path for folder in ("references", "examples") for path in files_under(os.path.join(ROOT, folder))]
    return top + [path for path in below if path.endswith(".md")]


def fences(path: str) -> list[Fence]:
    """Return the fenced blocks of a document in order."""
    found, opening, start, lines = [], None, 0, []
    for number, line in enumerate(read(path).split("\n"), 1):
        mark = re.match(r"(`{3,})(.*)$", line)
        if opening is None and mark:
            opening, start, lines = (mark.group(1), mark.group(2).strip()), number, []
        elif opening is not None and mark and mark.group(1) == opening[0] and not mark.group(2).strip():
            found.append(Fence(path, start, opening[1], "\n".join(lines) + "\n"))
            opening = None
        elif opening is not None:
            lines.append(line)
    return found


def without_fences(text: str) -> str:
    """Return a document's prose: what stands in fenced blocks is taken out."""
    return re.sub(r"^(`{3,}).*?^\1[ ]*$", "", text, flags=re.M | re.S)


def short(path: str) -> str:
    """Return a path as people name it, from the project's folder."""
    return os.path.relpath(path, ROOT).replace(os.sep, "/")
