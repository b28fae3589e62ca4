"""`make check`: the sizes that have a limit, then the linters that are installed; not zero when
one says no.

Also what the contract tests read: the modules in scripts/, the documents and their fenced blocks;
and a service that says far too much (10,000 tasks, 5 MB answers, 1 MB titles), with how much of it
each verb lets through.
"""

from __future__ import annotations

import ast
import collections
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

import schema_suite
import style
from scripted_server import Server, answer

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = os.path.join(ROOT, "scripts")
NOUNS = ("tasks", "files", "artifacts", "computers", "webhooks", "credits")
sys.path.insert(0, SCRIPTS)

from rebyte_commands.verb_table import VERBS

# What an owner installs and has to trust; the whole tree with its tests, which may not grow
# unnoticed: see CONTRIBUTING.md.
INSTALLED = ("LICENSE", "SKILL.md", "references/", "scripts/")
INSTALLED_FILES_MOST, INSTALLED_KILOBYTES_MOST = 250, 1500
TRACKED_FILES_MOST, TRACKED_KILOBYTES_MOST = 390, 3200
CLIENT_LINES_MOST, FILE_LINES_MOST = 3300, 450
SKILL_TOKENS_MOST, SKILL_LINES_MOST = 2000, 180
OUTPUT_BYTES_MOST = 8192
# program -> its arguments; run only where it is installed. "." is the tree as git would ship it,
# under its own
# name; for skillcheck, which judges what an agent will hold, what make install copies.
LINTERS = (
    ("ruff", ["check", "--no-cache", "."]),
    ("ruff", ["format", "--no-cache", "--check", "."]),
    ("mypy", ["--cache-dir", os.devnull]),
    # PyPI: skills-ref.
    ("agentskills", ["validate", "."]),
    # PyPI: skillcheck. Ignored rules: CONTRIBUTING.md, "Linters of others".
    (
        "skillcheck",
        [
            "SKILL.md",
            "--no-color",
            "--ignore",
            "references.escape",
            "--ignore",
            "references.broken-link",
        ],
    ),
)
# Findings of skill-scanner (PyPI: cisco-ai-skill-scanner) above medium that CONTRIBUTING.md
# explains: (rule, file).
EXPLAINED = (
    ("PATH_TRAVERSAL_OPEN", "scripts/rebyte_flows/files/out_folder.py"),
    ("DATA_EXFIL_SOCKET_CONNECT", "scripts/rebyte_wire/sockets.py"),
)
TASK, SPACE, PROMPT = (
    "%08d-0000-4000-8000-000000000000" % number for number in (1, 2, 3)
)
MEGABYTE = 1 << 20
TITLE, ANSWER = (
    "\u00e9t\x1b[31m" * (MEGABYTE // 7),
    "word \u2028 \u00fc" * (5 * MEGABYTE // 9),
)
MANY = [
    {
        "id": "%08d-0000-4000-8000-000000000000" % n,
        "title": "task %d" % n,
        "url": "https://x.example/" + "u" * 99,
    }
    for n in range(10_000)
]
# verb -> the words after it; none for a verb that is not named.
LINES = {
    "run": ["say something"],
    "create": ["start something"],
    "batch": ["--prompt", "one", "--prompt", "two"],
    "result": [TASK],
    "wait": [TASK],
    "watch": [TASK],
    "follow-up": [TASK, "more", "--wait"],
    "reply": [TASK, "--option", "1"],
    "cancel": [TASK],
    "get": [TASK],
    "list": [],
    "share": [TASK, "public"],
    "delete": [TASK, "--yes"],
    "upload": ["small.csv"],
    "artifacts": ["list", SPACE],
    "computers": ["list"],
    "webhooks": ["list"],
    "diff": [TASK],
    "apply": [TASK],
    "credits": [],
    "report": ["out"],
    "ledger": ["list"],
    "doctor": [],
    "api": ["GET", "/tasks"],
    "local": ["status"],
}

Module = collections.namedtuple("Module", "name path")
Fence = collections.namedtuple("Fence", "path line language text")


def run_quietly(argv: list, **more):
    """Run a process without stdin, for a minute at the most; what it says is kept."""
    usual = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "timeout": 60,
    }
    return subprocess.run(argv, **dict(usual, **more))


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
            found.append(
                Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path)
            )
    return found


def tree_of(module: Module) -> ast.Module:
    """Parse a module."""
    return ast.parse(read(module.path), module.path)


def documents() -> list[str]:
    """Return the paths of the documents: Markdown at the top, in references/ and in examples/."""
    top = [
        os.path.join(ROOT, name)
        for name in sorted(os.listdir(ROOT))
        if name.endswith(".md")
    ]
    below = [
        path
        for folder in ("references", "examples")
        for path in files_under(os.path.join(ROOT, folder))
    ]
    return top + [path for path in below if path.endswith(".md")]


def fences(path: str) -> list[Fence]:
    """Return the fenced blocks of a document in order."""
    found, opening, start, lines = [], None, 0, []
    for number, line in enumerate(read(path).split("\n"), 1):
        mark = re.match(r"(`{3,})(.*)$", line)
        if opening is None and mark:
            opening, start, lines = (mark.group(1), mark.group(2).strip()), number, []
        elif (
            opening is not None
            and mark
            and mark.group(1) == opening[0]
            and not mark.group(2).strip()
        ):
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


def body_of(method, path):
    """Return what the service says to a request, as a value."""
    if path.startswith("/v1/tasks?") or path == "/v1/tasks" and method == "GET":
        return {
            "data": [
                dict(MANY[0], id=TASK, title=TITLE, createdAt="2026-01-01T00:00:00Z")
            ]
            + MANY,
            "total": len(MANY),
        }
    if "/artifacts" in path:
        return {
            "files": [
                {
                    "name": "n" * 200 + "%d.csv" % n,
                    "size": n,
                    "downloadUrl": "http://127.0.0.1/x",
                }
                for n in range(5_000)
            ]
        }
    if "/content" in path:
        return {"prompts": [{"id": PROMPT, "content": ANSWER}]}
    if path.endswith("/prompts"):
        return {"promptId": PROMPT, "extra": TITLE}
    if path.endswith("/files"):
        return {
            "id": PROMPT,
            "filename": "small.csv",
            "uploadUrl": "http://%s/up",
            "extra": TITLE,
        }
    if "/agent-computers" in path or "/webhooks" in path:
        return {
            "data": [
                dict(item, name="m" * 200, events=["task.completed"] * 5)
                for item in MANY
            ],
            "extra": TITLE[:1000],
        }
    if "/billing" in path:
        return {"totalAvailable": 5, "note": TITLE}
    return {
        "id": TASK,
        "workspaceId": SPACE,
        "url": "https://x.example/" + "u" * 5000,
        "title": TITLE,
        "status": "completed",
        "extra": ANSWER[:MEGABYTE],
        "prompts": [{"id": PROMPT, "status": "completed", "error": TITLE}],
        "shareUrl": "https://x.example/s",
    }


def stream():
    """Return the events of a task that talks without end."""

    def event(seq, kind, payload):
        envelope = {
            "seq": seq,
            "timestamp": "2026-01-01T00:00:00Z",
            "promptId": PROMPT,
            "eventType": kind,
            "payload": payload,
            "eventKey": "k%d" % seq,
        }
        return "event: event\ndata: %s\n\n" % json.dumps(envelope)

    events = [
        event(n, "tool_use", {"name": "t" * 5000, "input": {"x": "y" * 5000}})
        for n in range(20)
    ]
    done = "event: done\ndata: %s\n\n" % json.dumps(
        {"status": "succeeded", "lastSeq": 20, "finalResult": "short"}
    )
    return ("".join(events) + event(20, "text", {"text": ANSWER}) + done).encode()


STREAM = stream()


def reply(request):
    """Answer everything with too much."""
    line, headers, _ = request
    method, path, _ = line.split(" ")
    if "/events" in path:
        return answer(200, STREAM, "Content-Type: text/event-stream")
    if method in ("PUT", "DELETE"):
        return answer(204 if method == "DELETE" else 200)
    return answer(
        200,
        json.dumps(body_of(method, path))
        .replace("%s/up", headers["Host"] + "/up")
        .encode(),
        "Content-Type: application/json",
    )


def hostile_service():
    """Return a service that says far too much, on a free port of loopback, for the length of a
    `with` block.
    """
    return Server(speaks=reply)


def said_by(verb, url, folder):
    """Run a verb against the service in a folder of its own; return (exit code, the bytes on
    stdout, stderr).
    """
    with open(os.path.join(folder, "small.csv"), "w") as file:
        file.write("1\n")
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("REBYTE_") and not name.lower().endswith("_proxy")
    }
    environ.update(
        REBYTE_API_KEY="sample",
        REBYTE_BASE_URL=url,
        REBYTE_STATE_DIR=os.path.join(folder, "state"),
        REBYTE_MAX_WAIT="25",
    )
    done = run_quietly(
        [sys.executable, "-B", os.path.join(SCRIPTS, "rebyte_cli.py"), verb]
        + LINES.get(verb, []),
        cwd=folder,
        env=environ,
    )
    return done.returncode, done.stdout, done.stderr


def tracked() -> list[str]:
    """Return the paths of the files that git tracks, or all files where this is no checkout."""
    done = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    names = [name for name in done.stdout.decode().split("\0") if name]
    paths = (
        [os.path.join(ROOT, name) for name in names]
        if done.returncode == 0
        else files_under(ROOT)
    )
    return [path for path in paths if os.path.exists(path)]


def lines_of(path: str) -> int:
    """Count the lines of a file."""
    return read(path).count("\n")


def kilobytes(paths: list[str]) -> int:
    """Return the size of files together in KiB, rounded up."""
    return -(-sum(map(os.path.getsize, paths)) // 1024)


def sizes() -> list[tuple]:
    """Return (what, how much, the most that is allowed, unit)."""
    files = tracked()
    installed = [path for path in files if short(path).startswith(INSTALLED)]
    client = [os.path.join(SCRIPTS, "rebyte_client.py")] + files_under(
        os.path.join(SCRIPTS, "rebyte_wire")
    )
    code = [
        line
        for path in client
        if path.endswith(".py")
        for line in read(path).split("\n")
    ]
    longest = max(modules(), key=lambda module: lines_of(module.path))
    return [
        ("installed files", len(installed), INSTALLED_FILES_MOST, "files"),
        ("installed bytes", kilobytes(installed), INSTALLED_KILOBYTES_MOST, "KiB"),
        ("tracked files", len(files), TRACKED_FILES_MOST, "files"),
        ("tracked bytes", kilobytes(files), TRACKED_KILOBYTES_MOST, "KiB"),
        (
            "client and wire, but for blank lines",
            sum(1 for line in code if line.strip()),
            CLIENT_LINES_MOST,
            "lines",
        ),
        (
            "longest module, " + longest.name,
            lines_of(longest.path),
            FILE_LINES_MOST,
            "lines",
        ),
        (
            "SKILL.md, characters / 4",
            -(-len(read("SKILL.md")) // 4),
            SKILL_TOKENS_MOST,
            "tokens",
        ),
        ("SKILL.md", lines_of("SKILL.md"), SKILL_LINES_MOST, "lines"),
    ]


def largest_outputs() -> list[tuple]:
    """Return (what, bytes, the most, unit) of each verb's document when the service says far too
    much.
    """
    rows = []
    with hostile_service() as service:
        for verb in [verb for verb in VERBS if verb != "mcp"]:
            with tempfile.TemporaryDirectory() as folder:
                said = said_by(verb, service.url, folder)[1]
            size = max(map(len, said.splitlines())) if verb == "watch" else len(said)
            rows.append(
                (
                    "%s, most on stdout%s" % (verb, ", a line" * (verb == "watch")),
                    size,
                    OUTPUT_BYTES_MOST,
                    "bytes",
                )
            )
    return rows


def install(folder: str) -> str:
    """Lay out what make install would copy, below a folder; return its path."""
    prefix = os.path.join(folder, "installed")
    subprocess.run(
        [sys.executable, os.path.join(ROOT, "tools", "bundle.py"), "install"],
        env=dict(os.environ, PREFIX=prefix),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return os.path.join(prefix, "skill-as-a-service")


def unpack(folder: str) -> str:
    """Lay out what the last commit ships as `skill-as-a-service` below a folder; return its path."""
    bundle = os.path.join(folder, "skill-as-a-service")
    done = subprocess.run(
        ["git", "-C", ROOT, "archive", "HEAD"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    if done.returncode:
        shutil.copytree(ROOT, bundle)
    else:
        tarfile.open(fileobj=io.BytesIO(done.stdout)).extractall(
            bundle, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {})
        )
    return bundle


def lint(program: str, arguments: list, bundle: str) -> bool:
    """Run one linter; True when it has nothing to say, is not here, or breaks down (skillcheck
    fetches a table when it starts).
    """
    if not shutil.which(program):
        print("%-36s not installed, not run" % program)
        return True
    done = subprocess.run(
        [program] + [bundle if word == "." else word for word in arguments],
        cwd=bundle,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if b"Traceback (most recent call last)" in done.stdout:
        print(
            "%-36s could not run here: %s"
            % (
                program,
                done.stdout.decode("utf-8", "replace")
                .strip()
                .rpartition("\n")[2][:200],
            )
        )
        return True
    program = " ".join([program, *arguments[:1]])
    print(
        "%-36s %s"
        % (program, "fine" if done.returncode == 0 else "exit %d" % done.returncode)
    )
    if done.returncode:
        sys.stdout.write(done.stdout.decode("utf-8", "replace"))
    return done.returncode == 0


def scan(copy: str) -> bool:
    """Run skill-scanner over an installed copy; True when what it finds above medium is explained,
    or it is not here.
    """
    program = "skill-scanner"
    if not shutil.which(program):
        print("%-36s not installed, not run" % program)
        return True
    done = subprocess.run(
        [program, "scan", copy, "--format", "json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    try:
        found = json.loads(done.stdout.decode("utf-8", "replace"))["findings"]
    except (ValueError, KeyError):
        print(
            "%-36s exit %d, no report; another package has a command of this name"
            % (program, done.returncode)
        )
        return True
    grave = [
        (one["rule_id"], one["file_path"])
        for one in found
        if one["severity"] in ("HIGH", "CRITICAL")
    ]
    unexplained = [pair for pair in grave if pair not in EXPLAINED]
    print(
        "%-36s %d findings, %d above medium, %d of them unexplained"
        % (program, len(found), len(grave), len(unexplained))
    )
    for rule, path in unexplained:
        print("%-36s %s %s" % ("", rule, path))
    return not unexplained


def main() -> int:
    """Print everything, then say whether all of it is allowed."""
    fine = style.print_table(SCRIPTS)
    for what, much, most, unit in sizes() + largest_outputs():
        fine = fine and much <= most
        print(
            "%-36s %5d of %5d %s%s"
            % (what, much, most, unit, "" if much <= most else "   TOO MUCH")
        )
    fine = schema_suite.main() == 0 and fine
    with tempfile.TemporaryDirectory() as folder:
        tree, copy = unpack(folder), install(folder)
        for program, arguments in LINTERS:
            fine = (
                lint(program, arguments, copy if program == "skillcheck" else tree)
                and fine
            )
        fine = scan(copy) and fine
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
