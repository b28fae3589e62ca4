"""`make check`: the sizes that have a limit, then the linters that are installed; not zero when one says no."""
from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

from hostile_service import LINES, HostileService, said_by
from project_tree import ROOT, SCRIPTS, files_under, modules, read

TRACKED_FILES_MOST = 140
TRACKED_KILOBYTES_MOST = 700
CLIENT_LINES_MOST = 1500
SKILL_TOKENS_MOST = 2000
OUTPUT_BYTES_MOST = 8192
FILE_LINES_MOST = 300
# program -> its arguments; run only where it is installed. "." is the tree as git would ship it, under its own
# name; for skillcheck, which judges what an agent will hold, what make install copies.
LINTERS = (
    ("ruff", ["check", "--no-cache", "--select", "E4,E7,E9,F,W", "scripts", "tests", "examples"]),
    # PyPI: skills-ref.
    ("agentskills", ["validate", "."]),
    # PyPI: skillcheck. Ignored rules: CONTRIBUTING.md, "Linters of others".
    ("skillcheck", ["SKILL.md", "--no-color", "--ignore", "references.escape", "--ignore", "references.broken-link"]),
)


# Findings of skill-scanner (PyPI: cisco-ai-skill-scanner) above medium that CONTRIBUTING.md explains: (rule, file).
EXPLAINED = (
    ("PATH_TRAVERSAL_OPEN", "scripts/rebyte_flows/job.py"),
    ("DATA_EXFIL_SOCKET_CONNECT", "scripts/rebyte_wire/connections.py"),
)


def tracked() -> list[str]:
    """Return the paths of the files that git tracks, or all files where this is no checkout."""
    done = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    names = [name for name in done.stdout.decode().split("\0") if name]
    paths = [os.path.join(ROOT, name) for name in names] if done.returncode == 0 else files_under(ROOT)
    return [path for path in paths if os.path.exists(path)]


def lines_of(path: str) -> int:
    """Count the lines of a file."""
    return read(path).count("\n")


def sizes() -> list[tuple]:
    """Return (what, how much, the most that is allowed, unit)."""
    files = tracked()
    client = [os.path.join(SCRIPTS, "rebyte_client.py")] + files_under(os.path.join(SCRIPTS, "rebyte_wire"))
    longest = max(modules(), key=lambda module: lines_of(module.path))
    return [
        ("tracked files", len(files), TRACKED_FILES_MOST, "files"),
        ("tracked bytes", -(-sum(map(os.path.getsize, files)) // 1024), TRACKED_KILOBYTES_MOST, "KiB"),
        ("rebyte_client.py with rebyte_wire", sum(lines_of(path) for path in client if path.endswith(".py")),
         CLIENT_LINES_MOST, "lines"),
        ("longest module, " + longest.name, lines_of(longest.path), FILE_LINES_MOST, "lines"),
        ("SKILL.md, characters / 4", -(-len(read("SKILL.md")) // 4), SKILL_TOKENS_MOST, "tokens"),
        ("SKILL.md", lines_of("SKILL.md"), 180, "lines"),
    ]


def largest_outputs() -> list[tuple]:
    """Return (what, bytes, the most, unit) of each verb's document when the service says far too much."""
    rows = []
    with HostileService() as url:
        for verb in LINES:
            with tempfile.TemporaryDirectory() as folder:
                said = said_by(verb, url, folder)[1]
            size = max(map(len, said.splitlines())) if verb == "watch" else len(said)
            rows.append(("%s, most on stdout%s" % (verb, ", a line" * (verb == "watch")), size, OUTPUT_BYTES_MOST, "bytes"))
    return rows


def install(folder: str) -> str:
    """Lay out what make install would copy, below a folder; return its path."""
    prefix = os.path.join(folder, "installed")
    subprocess.run([sys.executable, os.path.join(ROOT, "tools", "bundle.py"), "install"], env=dict(os.environ, PREFIX=prefix),
                   stdout=subprocess.DEVNULL, check=True)
    return os.path.join(prefix, "skill-as-a-service")


def unpack(folder: str) -> str:
    """Lay out what the last commit ships as `skill-as-a-service` below a folder; return its path."""
    bundle = os.path.join(folder, "skill-as-a-service")
    done = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if done.returncode:
        shutil.copytree(ROOT, bundle)
    else:
        tarfile.open(fileobj=io.BytesIO(done.stdout)).extractall(bundle, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return bundle


def lint(program: str, arguments: list, bundle: str) -> bool:
    """Run one linter; True when it has nothing to say or is not here."""
    if not shutil.which(program):
        print("%-36s not installed, not run" % program)
        return True
    done = subprocess.run([program] + [bundle if word == "." else word for word in arguments], cwd=bundle, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    print("%-36s %s" % (program, "fine" if done.returncode == 0 else "exit %d" % done.returncode))
    if done.returncode:
        sys.stdout.write(done.stdout.decode("utf-8", "replace"))
    return done.returncode == 0


def scan(copy: str) -> bool:
    """Run skill-scanner over an installed copy; True when what it finds above medium is explained, or it is not here."""
    program = "skill-scanner"
    if not shutil.which(program):
        print("%-36s not installed, not run" % program)
        return True
    done = subprocess.run([program, "scan", copy, "--format", "json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        found = json.loads(done.stdout.decode("utf-8", "replace"))["findings"]
    except (ValueError, KeyError):
        print("%-36s exit %d, no report; another package has a command of this name" % (program, done.returncode))
        return True
    grave = [(one["rule_id"], one["file_path"]) for one in found if one["severity"] in ("HIGH", "CRITICAL")]
    unexplained = [pair for pair in grave if pair not in EXPLAINED]
    print("%-36s %d findings, %d above medium, %d of them unexplained" % (program, len(found), len(grave), len(unexplained)))
    for rule, path in unexplained:
        print("%-36s %s %s" % ("", rule, path))
    return not unexplained


def main() -> int:
    """Print everything, then say whether all of it is allowed."""
    fine = True
    for what, much, most, unit in sizes() + largest_outputs():
        fine = fine and much <= most
        print("%-36s %5d of %5d %s%s" % (what, much, most, unit, "" if much <= most else "   TOO MUCH"))
    with tempfile.TemporaryDirectory() as folder:
        tree, copy = unpack(folder), install(folder)
        for program, arguments in LINTERS:
            fine = lint(program, arguments, copy if program == "skillcheck" else tree) and fine
        fine = scan(copy) and fine
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
