"""make install, uninstall and dist: the skill as a folder in the places where harnesses look, or
as one file to upload.

What is shipped is SKILL.md, LICENSE, scripts/ and references/. A copy carries a list of its files
with their digests, so that a later install or uninstall touches only what an earlier one made and
nobody changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAME = "skill-as-a-service"
SHIPPED = ("LICENSE", "SKILL.md", "references", "scripts")
RUNNABLE = ("scripts/rebyte_cli.py",)
LIST = "installed-files.json"
SKILL_FOLDERS = (
    "~/.claude/skills",
    "~/.agents/skills",
    "~/.codex/skills",
    "~/.gemini/skills",
    "~/.config/opencode/skills",
    "~/.cursor/skills",
    "~/.copilot/skills",
    "~/.config/goose/skills",
    "~/.skills",
)
EPOCH = (1980, 1, 1, 0, 0, 0)


def shipped_files() -> list:
    """Return the paths of what is shipped, with forward slashes, sorted."""
    found = []
    for name in SHIPPED:
        place = os.path.join(ROOT, name)
        if os.path.isfile(place):
            found.append(name)
        for folder, folders, names in os.walk(place):
            folders[:] = [one for one in folders if one != "__pycache__"]
            found += [
                os.path.relpath(os.path.join(folder, one), ROOT)
                for one in names
                if not one.endswith((".pyc", "~", ".swp"))
            ]
    return sorted(path.replace(os.sep, "/") for path in found)


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file; a link is no file of ours."""
    if os.path.islink(path) or not os.path.isfile(path):
        return ""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def changed_in(target: str):
    """Return the files of a copy that nobody here made or that were changed since; None when there
    is no list of ours.
    """
    try:
        with open(os.path.join(target, LIST), encoding="utf-8") as file:
            made = json.load(file)["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    there = [
        os.path.relpath(os.path.join(folder, name), target).replace(os.sep, "/")
        for folder, _, names in os.walk(target)
        for name in names
    ]
    return sorted(
        path
        for path in there
        if path != LIST
        and "__pycache__/" not in path
        and made.get(path) != digest_of(os.path.join(target, path))
    )


def objection_to(target: str, force: bool):
    """Say why a place is left alone, or None when it may be replaced or removed."""
    if os.path.islink(target):
        return "is a link to %s, which was not made here" % os.readlink(target)
    if not os.path.lexists(target):
        return None
    changed = changed_in(target)
    if changed is None:
        return (
            None
            if force and os.path.isdir(target)
            else "was not made by make install (FORCE=1 replaces it)"
        )
    if changed and not force:
        return (
            "holds files that were changed or added: %s (FORCE=1 replaces them)"
            % ", ".join(changed[:5])
        )
    return None


def targets(prefix: str) -> list:
    """Return where to install: below PREFIX, else below each skill folder that exists here; links
    to one place count once.
    """
    if prefix:
        return [os.path.join(os.path.abspath(os.path.expanduser(prefix)), NAME)]
    seen, found = {}, []
    for folder in map(os.path.expanduser, SKILL_FOLDERS):
        if not os.path.isdir(folder):
            continue
        real = os.path.realpath(folder)
        if real in seen:
            print("same      %s leads to %s" % (folder, seen[real]))
            continue
        seen[real] = folder
        found.append(os.path.join(folder, NAME))
    return found


def install(target: str) -> None:
    """Make a whole copy beside the place, then swap it in."""
    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    fresh = tempfile.mkdtemp(prefix=".%s-" % NAME, dir=parent)
    try:
        for path in shipped_files():
            place = os.path.join(fresh, path)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            shutil.copyfile(os.path.join(ROOT, path), place)
            os.chmod(place, 0o755 if path in RUNNABLE else 0o644)
        made = {path: digest_of(os.path.join(fresh, path)) for path in shipped_files()}
        with open(os.path.join(fresh, LIST), "w", encoding="utf-8") as file:
            json.dump(
                {"madeBy": "make install", "files": made},
                file,
                indent=0,
                sort_keys=True,
            )
        os.chmod(fresh, 0o755)
        if os.path.isdir(target):
            os.rename(target, fresh + "-old")
        os.rename(fresh, target)
    finally:
        for leftover in (fresh, fresh + "-old"):
            shutil.rmtree(leftover, ignore_errors=True)


def each_target(verb: str, environ) -> int:
    """Install to, or remove from, every place; say what was done and what was left alone.

    1 when nothing could be done.
    """
    dry, force = bool(environ.get("DRY_RUN")), bool(environ.get("FORCE"))
    refused = acted = 0
    for target in targets(environ.get("PREFIX", "")):
        objection = objection_to(target, force)
        if objection:
            refused += 1
            print("left      %s %s" % (target, objection))
        elif verb == "uninstall" and not os.path.lexists(target):
            print("not there %s" % target)
        else:
            acted += 1
            print(
                "%s %s"
                % (
                    ("would " if dry else "")
                    + {"install": "install  ", "uninstall": "uninstall"}[verb],
                    target,
                )
            )
            if not dry:
                install(target) if verb == "install" else shutil.rmtree(target)
    if verb == "install" and not acted and not refused:
        print(
            "no skill folder was found here; make one with: make install PREFIX=~/.agents/skills"
        )
    return 1 if refused or verb == "install" and not acted else 0


def dist(folder: str) -> str:
    """Write the skill as one zip that is the same, byte for byte, wherever and whenever it is
    made; return its path.
    """
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, NAME + ".skill")
    # Stored, not deflated: the bytes must not depend on the zlib at hand.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in shipped_files():
            entry = zipfile.ZipInfo("%s/%s" % (NAME, name), EPOCH)
            entry.create_system, entry.external_attr = (
                3,
                (0o100755 if name in RUNNABLE else 0o100644) << 16,
            )
            with open(os.path.join(ROOT, name), "rb") as file:
                archive.writestr(entry, file.read())
    return path


def main(words, environ) -> int:
    """Do what make asks for."""
    if words == ["dist"]:
        path = dist(environ.get("PREFIX") or os.path.join(ROOT, "dist"))
        print("%s  %s" % (digest_of(path), path))
        return 0
    return each_target(words[0], environ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
