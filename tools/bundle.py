"""make install, uninstall and dist: the skill as a folder in the places where harnesses look, or
as one file to upload.

What is shipped is SKILL.md, LICENSE, scripts/ and references/. A copy carries a list of its files
with their digests, so that a later install or uninstall touches only what an earlier one made and
nobody changed.

Several harnesses look into ~/.agents/skills as well as into a folder of their own; a copy in both
is listed twice (Codex) or warned of (Gemini CLI). So there is one copy, and a link to it for those
that do not look there.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import shutil
import sys
import tempfile
import zipfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAME = "skill-as-a-service"
SHIPPED = ("LICENSE", "SKILL.md", "references", "scripts")
RUNNABLE = ("scripts/rebyte_cli.py",)
LIST = "installed-files.json"
SUMS = "SHA256SUMS"
# Who has one of these folders looks into SHARED; an earlier copy in its own folder of skills goes.
SHARED = "~/.agents/skills"
SHARED_READERS = (
    "~/.agents",
    "~/.codex",
    "~/.gemini",
    "~/.config/opencode",
    "~/.cursor",
    "~/.copilot",
)
# These are only known to look here: a link to the copy in SHARED is enough for them.
LINKED = ("~/.claude/skills", "~/.config/goose/skills")
# A Rebyte machine finds folders here, no links.
MACHINE = "~/.skills"
EPOCH = (1980, 1, 1, 0, 0, 0)


def shipped_files() -> list[str]:
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


def changed_in(target: str) -> list[str] | None:
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


def objection_to(target: str, force: bool, copy: str | None = None) -> str | None:
    """Say why a place is left alone, or None when it may be replaced or removed.

    A link may when it leads to `copy` and that one is ours.
    """
    if os.path.islink(target):
        is_ours = copy is not None and changed_in(copy) is not None
        if copy and is_ours and os.path.realpath(target) == os.path.realpath(copy):
            return None
        return "is a link to %s, which was not made here" % os.readlink(target)
    if not os.path.lexists(target):
        return None
    changed = changed_in(target)
    if changed is None:
        if force and os.path.isdir(target):
            return None
        return "was not made by make install (FORCE=1 replaces it)"
    if changed and not force:
        names = ", ".join(changed[:5])
        return (
            "holds files that were changed or added: %s (FORCE=1 replaces them)" % names
        )
    return None


Place = collections.namedtuple("Place", "path copy is_kept")
Place.__doc__ = """A place of the skill: `copy` is the place it links to, None where it is a copy.

One that is not `is_kept` is where an earlier version put a copy that is too many now.
"""


def places(prefix: str) -> list[Place]:
    """Return where the skill belongs: below PREFIX, else where the harnesses look that have a
    folder here.
    """
    if prefix:
        path = os.path.join(os.path.abspath(os.path.expanduser(prefix)), NAME)
        return [Place(path, None, True)]
    found = []
    shared = os.path.join(os.path.expanduser(SHARED), NAME)
    readers = [os.path.expanduser(folder) for folder in SHARED_READERS]
    is_shared = any(map(os.path.isdir, readers))
    if is_shared:
        found.append(Place(shared, None, True))
    for folder in map(os.path.expanduser, LINKED):
        if os.path.isdir(os.path.dirname(folder)):
            copy = shared if is_shared else None
            found.append(Place(os.path.join(folder, NAME), copy, True))
    machine = os.path.expanduser(MACHINE)
    if os.path.isdir(machine):
        found.append(Place(os.path.join(machine, NAME), None, True))
    for folder in readers[1:]:
        path = os.path.join(folder, "skills", NAME)
        if changed_in(path) is not None:
            found.append(Place(path, shared, False))
    return without_same(found)


def without_same(found: list[Place]) -> list[Place]:
    """Return the places less those that are another one by a link of the folder above."""
    seen: dict[str, str] = {}
    kept = []
    for place in found:
        parent, name = os.path.split(place.path)
        real = os.path.join(os.path.realpath(parent), name)
        if real in seen:
            print("same      %s leads to %s" % (place.path, seen[real]))
            continue
        seen[real] = place.path
        kept.append(place)
    return kept


def link(target: str, copy: str) -> None:
    """Make a link to the copy, or a second copy where the system makes no links."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    fresh = "%s-%d" % (target, os.getpid())
    try:
        os.symlink(copy, fresh, target_is_directory=True)
    except OSError:
        install(target)
        return
    remove(target)
    os.rename(fresh, target)


def remove(target: str) -> None:
    """Remove a copy or a link, and nothing behind the link."""
    if os.path.islink(target):
        os.unlink(target)
    elif os.path.lexists(target):
        shutil.rmtree(target)


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
        if os.path.islink(target):
            os.unlink(target)
        elif os.path.isdir(target):
            os.rename(target, fresh + "-old")
        os.rename(fresh, target)
    finally:
        for leftover in (fresh, fresh + "-old"):
            shutil.rmtree(leftover, ignore_errors=True)


def act(verb: str, place: Place) -> None:
    """Install to a place, or remove what is there."""
    if verb == "uninstall" or not place.is_kept:
        remove(place.path)
    elif place.copy:
        link(place.path, place.copy)
    else:
        install(place.path)


def each_place(verb: str, environ: Mapping[str, str]) -> int:
    """Install to, or remove from, every place; say what was done and what was left alone.

    1 when nothing could be done.
    """
    is_dry = bool(environ.get("DRY_RUN"))
    force = bool(environ.get("FORCE"))
    refused = acted = 0
    found = places(environ.get("PREFIX", ""))
    if verb == "uninstall":
        # The links first: without the copy they lead nowhere and are nobody's.
        found.reverse()
    for place in found:
        objection = objection_to(place.path, force, place.copy)
        if objection:
            refused += 1
            print("left      %s %s" % (place.path, objection))
        elif verb == "uninstall" and not os.path.lexists(place.path):
            print("not there %s" % place.path)
        else:
            acted += 1
            print(("would " if is_dry else "") + described(verb, place))
            if not is_dry:
                act(verb, place)
    if verb == "install" and not acted and not refused:
        print("no harness was found here; name a place: make install PREFIX=" + SHARED)
    return 1 if refused or verb == "install" and not acted else 0


def described(verb: str, place: Place) -> str:
    """Say in a line what is done with a place."""
    if verb == "install" and not place.is_kept:
        return "remove    %s, which would be listed twice" % place.path
    if verb == "install" and place.copy:
        return "link      %s to %s" % (place.path, place.copy)
    return "%-9s %s" % (verb, place.path)


def dist(folder: str) -> list[str]:
    """Write the skill as one zip, and as a bundle for desktop hosts of MCP: the same bytes wherever
    and whenever they are made, their digests beside them in SHA256SUMS; return their paths.
    """
    os.makedirs(folder, exist_ok=True)
    skill = os.path.join(folder, NAME + ".skill")
    bundle = os.path.join(folder, NAME + ".mcpb")
    write_zip(skill, NAME + "/")
    write_zip(bundle, "", {"manifest.json": manifest()})
    with open(os.path.join(folder, SUMS), "w", encoding="ascii", newline="\n") as file:
        for path in (bundle, skill):
            file.write("%s  %s\n" % (digest_of(path), os.path.basename(path)))
    return [skill, bundle]


def write_zip(path: str, prefix: str, more: Mapping[str, bytes] | None = None) -> None:
    """Write what is shipped into a zip, its names after a prefix, and files besides."""
    contents = dict(more or {})
    for name in shipped_files():
        with open(os.path.join(ROOT, name), "rb") as file:
            contents[name] = file.read()
    # Stored, not deflated: the bytes must not depend on the zlib at hand.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(prefix + name, EPOCH)
            entry.create_system = 3
            entry.external_attr = (0o100755 if name in RUNNABLE else 0o100644) << 16
            archive.writestr(entry, contents[name])


def manifest() -> bytes:
    """Return manifest.json of the bundle: the host asks for the key, a limit and folders."""
    sys.path.insert(0, os.path.join(ROOT, "scripts"))
    from rebyte_commands.main import VERSION
    from rebyte_commands.mcp.tools import TOOLS

    run = ["${__dirname}/scripts/rebyte_cli.py", "mcp", "--max-tasks"]
    run += ["${user_config.max_tasks}", "--root", "${user_config.folders}"]
    fields = {
        "manifest_version": "0.3",
        "name": NAME,
        "display_name": "Skill as a service",
        "version": VERSION,
        "description": "Hand jobs to coding agents on machines of their own, and get them back.",
        "author": {"name": "skill-as-a-service contributors"},
        "license": "MIT",
        "server": {
            "type": "python",
            "entry_point": "scripts/rebyte_cli.py",
            "mcp_config": {
                "command": "python3",
                "args": run,
                "env": {"REBYTE_API_KEY": "${user_config.api_key}"},
                "platform_overrides": {"win32": {"command": "py"}},
            },
        },
        "tools": [
            {"name": name, "description": tool.description}
            for name, tool in TOOLS.items()
        ],
        "compatibility": {
            "platforms": ["darwin", "linux", "win32"],
            "runtimes": {"python": ">=3.8"},
        },
        "user_config": {
            "api_key": {
                "type": "string",
                "title": "API key",
                "description": "The key of your Rebyte organization; tasks are paid with it.",
                "sensitive": True,
                "required": True,
            },
            "max_tasks": {
                "type": "number",
                "title": "Tasks at most",
                "description": "How many tasks may be started until the host is restarted.",
                "default": 5,
                "min": 0,
                "max": 100,
                "required": True,
            },
            "folders": {
                "type": "directory",
                "title": "Folders",
                "description": "Where files may be sent from and brought to.",
                "multiple": True,
                "required": True,
            },
        },
    }
    return json.dumps(fields, indent=2).encode("ascii") + b"\n"


def main(words: list[str], environ: Mapping[str, str]) -> int:
    """Do what make asks for."""
    if words == ["dist"]:
        for path in dist(environ.get("PREFIX") or os.path.join(ROOT, "dist")):
            print("%s  %s" % (digest_of(path), path))
        return 0
    return each_place(words[0], environ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
