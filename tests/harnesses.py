"""make harnesses: the skill in the real agent programs, which talk to a scripted model.

python3 tests/harnesses.py [NAME ...] [--bin FOLDER] [--keep] [--json]

The programs come from npm, into a folder of their own that is removed at the end, or from --bin.
One that cannot be installed or driven here is named and skipped. Each has a home, a working folder
and a temporary folder of its own; the skill is put there by make install, with the folders of all
programs present, and the line of SKILL.md reaches a Tasks API on loopback. Nothing needs an account
and nothing but npm is contacted.

For each program: is the skill found, described whole and listed once; does the first line of
SKILL.md run as it stands under the rule of README.md, and what is asked without that rule; is the
output JSON, and the slice of time the one for agents, on a pseudo-terminal too; what do doctor and
--local say in the program's sandbox.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
SCRIPTS = os.path.join(ROOT, "scripts")
sys.path[:0] = [SCRIPTS, HERE]

from rebyte_local.server import LocalServer
from scripted_model import ScriptedModel, call, shell

NAME = "skill-as-a-service"
with open(os.path.join(ROOT, "SKILL.md"), encoding="utf-8") as skill_file:
    SKILL_TEXT = skill_file.read()
DESCRIPTION = re.search(r"^description: (.*)$", SKILL_TEXT, re.M).group(1)
FIRST_LINE = re.search(r"```sh\n(.*)\n```", SKILL_TEXT).group(1)
TITLE = re.search(r"^# .*$", SKILL_TEXT, re.M).group(0)
VARIABLE = "${CLAUDE_SKILL_DIR}"
FOLDERS = (".claude", ".codex", ".gemini", ".config/opencode", ".copilot")
KEY = "rbk_" + "harness" * 4
INSTALL_SECONDS, RUN_SECONDS = 400, 150
DECODER = json.JSONDecoder()
# Tells what the shell tool's environment makes of a command, on a terminal.
PROBE = """import os, pty, sys
sys.exit(pty.spawn([sys.executable, "-c", "import sys, os, time; sys.path.insert(0, sys.argv[1])\\n"
"from rebyte_commands.shell.arguments import parse\\n"
"from rebyte_commands.shell.context import Context\\n"
"context = Context(parse(['list'], 'x')[0], os.environ, time.time())\\n"
"print('{\\"form\\": \\"%s\\", \\"slice\\": \\"%s\\"}' % (context.console.form, context.deadline.left()))",
sys.argv[1]]))
"""

World = collections.namedtuple("World", "base home work skill")
# `folder` is where its copy or link lies, `load` the turn that loads the skill, `sandboxes` the
# modes in which its commands are fenced in.
Program = collections.namedtuple(
    "Program", "name package settings folder load sandboxes"
)
# What one run gave: the requests that the model got, and a document or None for each line typed.
Seen = collections.namedtuple("Seen", "requests documents said")


def make_world(base: str, folder: str) -> World:
    """Lay out a home with the skill, a working folder with an order file, and what is asked for."""
    home = os.path.join(base, "home")
    work = os.path.join(base, "work")
    for path in [os.path.join(home, name) for name in FOLDERS]:
        os.makedirs(path)
    os.makedirs(work)
    os.makedirs(os.path.join(base, "tmp"))
    subprocess.run(
        [sys.executable, os.path.join(ROOT, "tools", "bundle.py"), "install"],
        env=dict(os.environ, HOME=home, PREFIX="", DRY_RUN="", FORCE=""),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    shutil.copy(os.path.join(ROOT, "examples", "orders.csv"), work)
    write(os.path.join(work, "probe.py"), PROBE)
    write(os.path.join(home, ".config", "rebyte", "api_key"), KEY, mode=0o600)
    return World(base, home, work, os.path.join(home, folder, "skills", NAME))


def write(path: str, value, mode: int = 0o644) -> None:
    """Write a text, or anything else as JSON, and make the folders above it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(value if isinstance(value, str) else json.dumps(value, indent=1))
    os.chmod(path, mode)


# How each program is pointed at the model, and what it is allowed.


def claude(world, url, mode):
    """Claude Code: settings.json holds rules and the sandbox."""
    settings = {}
    if mode == "rule":
        line = "Bash(python3 %s/scripts/rebyte_cli.py *)" % world.skill
        settings["permissions"] = {"allow": [line]}
    if mode == "sandbox":
        settings["sandbox"] = dict(enabled=True, autoAllowBashIfSandboxed=True)
        settings["sandbox"]["allowUnsandboxedCommands"] = False
    write(os.path.join(world.home, ".claude", "settings.json"), settings)
    free = ["--allowedTools", "Bash"] if mode == "free" else []
    words = ["claude", "-p", "--output-format", "stream-json", "--verbose"]
    return words + free, dict(
        ANTHROPIC_BASE_URL=url,
        ANTHROPIC_API_KEY="none",
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
    )


CODEX_CONFIG = """model = "scripted"
model_provider = "scripted"
[model_providers.scripted]
name = "scripted"
base_url = "%s/v1"
wire_api = "responses"
env_key = "SCRIPTED_WORD"
[analytics]
enabled = false
"""


def codex(world, url, mode):
    """Codex: config.toml and rules/default.rules."""
    write(os.path.join(world.home, ".codex", "config.toml"), CODEX_CONFIG % url)
    if mode == "rule":
        pattern = json.dumps(["python3", world.skill + "/scripts/rebyte_cli.py"])
        rule = 'prefix_rule(pattern=%s, decision="allow")\n' % pattern
        write(os.path.join(world.home, ".codex", "rules", "default.rules"), rule)
    sandbox = {"free": "danger-full-access", "read-only": "read-only"}
    words = ["codex", "exec", "--json", "--skip-git-repo-check"]
    if mode == "network":
        words += ["-c", "sandbox_workspace_write.network_access=true"]
    words += ["-s", sandbox.get(mode, "workspace-write"), "-"]
    return words, {"SCRIPTED_WORD": "none"}


APPROVAL = {"free": "yolo"}


def gemini(world, url, mode):
    """Gemini CLI: settings.json."""
    settings = {"security": {"auth": {"selectedType": "gemini-api-key"}}}
    if mode == "rule":
        line = "run_shell_command(python3 %s/scripts/rebyte_cli.py)" % world.skill
        settings["tools"] = {"allowed": ["activate_skill", line]}
    write(os.path.join(world.home, ".gemini", "settings.json"), settings)
    words = ["gemini", "--output-format", "stream-json", "-m", "gemini-2.5-pro"]
    words += ["--skip-trust", "--approval-mode", APPROVAL.get(mode, "default")]
    return words, dict(GEMINI_API_KEY="none", GOOGLE_GEMINI_BASE_URL=url)


def opencode(world, url, mode):
    """opencode: opencode.json; it asks nothing for a command that names no path outside."""
    model = {"name": "scripted", "limit": {"context": 200000, "output": 8000}}
    provider = dict(npm="@ai-sdk/openai-compatible", name="scripted")
    provider["options"] = {"baseURL": url + "/v1", "apiKey": "none"}
    provider["models"] = {"scripted": model}
    settings = dict(autoupdate=False, share="disabled", model="scripted/scripted")
    settings.update(small_model="scripted/scripted", provider={"scripted": provider})
    bash = {"*": "ask"}
    if mode == "rule":
        bash["python3 %s/scripts/rebyte_cli.py *" % world.skill] = "allow"
    if mode != "free":
        settings["permission"] = {"bash": bash}
    write(os.path.join(world.home, ".config", "opencode", "opencode.json"), settings)
    quiet = dict(OPENCODE_DISABLE_AUTOUPDATE="1", OPENCODE_DISABLE_MODELS_FETCH="1")
    return ["opencode", "run", "--format", "json"], quiet


def copilot(world, url, mode):
    """Copilot CLI: flags."""
    words = ["copilot", "--output-format", "json"]
    if mode == "free":
        words += ["--allow-all-tools", "--allow-all-paths"]
    if mode == "rule":
        words += ["--allow-tool", "shell(python3)", "--add-dir", world.skill]
    return words, dict(
        COPILOT_PROVIDER_BASE_URL=url + "/v1",
        COPILOT_PROVIDER_API_KEY="none",
        COPILOT_MODEL="scripted",
        COPILOT_OFFLINE="true",
        COPILOT_AUTO_UPDATE="false",
    )


def read_it(world):
    """Return the turn of a program that has no tool for skills: it reads the file."""
    return shell("cat %s/SKILL.md" % world.skill)


def by_tool(name: str, key: str):
    """Return what makes the turn of a program that loads a skill by a tool."""
    return lambda world: call(name, **{key: NAME})


PROGRAMS = (
    Program(
        "Claude Code",
        "@anthropic-ai/claude-code",
        claude,
        ".claude",
        by_tool("Skill", "skill"),
        ("sandbox",),
    ),
    Program(
        "Codex",
        "@openai/codex",
        codex,
        ".agents",
        read_it,
        ("workspace-write", "read-only"),
    ),
    Program(
        "Gemini CLI",
        "@google/gemini-cli",
        gemini,
        ".agents",
        by_tool("activate_skill", "name"),
        (),
    ),
    Program(
        "opencode", "opencode-ai", opencode, ".agents", by_tool("skill", "name"), ()
    ),
    Program(
        "Copilot CLI",
        "@github/copilot",
        copilot,
        ".agents",
        by_tool("skill", "skill"),
        (),
    ),
)


# One run of a program.


def drive(program: Program, mode: str, base: str, binaries: str) -> Seen:
    """Let a program type the lines of a mode in a world of its own, and return what was seen."""
    world = make_world(base, program.folder)
    command = "python3 %s/scripts/rebyte_cli.py " % world.skill
    lines = [FIRST_LINE.replace(VARIABLE, world.skill), command + "doctor"]
    if mode == "free":
        lines = ["python3 probe.py %s/scripts" % world.skill]
    if mode in program.sandboxes:
        # Without a key and at the usual address: what a newcomer's first look would say.
        os.unlink(os.path.join(world.home, ".config", "rebyte", "api_key"))
        lines = [command + "doctor --max-wait 20", command + "run --local hello"]
    elif mode == "rule":
        lines += [command + "run --local hello", command + "local status", next_line]
    turns = [shell(line) for line in lines]
    turns.insert(0, program.load(world))
    cloud = LocalServer(os.path.join(base, "cloud"), key=KEY)
    with cloud, ScriptedModel(turns) as model:
        words, more = program.settings(world, model.url, mode)
        environ = dict(
            HOME=world.home,
            TMPDIR=os.path.join(base, "tmp"),
            PATH=os.pathsep.join([binaries, "/usr/local/bin", "/usr/bin", "/bin"]),
            LANG="C.UTF-8",
            USER=os.environ.get("USER", "user"),
            SHELL="/bin/bash",
            **more,
        )
        if mode not in program.sandboxes:
            environ["REBYTE_BASE_URL"] = cloud.url
        said = run(words, world, environ)
        results = model.results()[1:]
    # What a line that was not reached would have ended.
    door = os.path.join(world.skill, "scripts", "rebyte_cli.py")
    subprocess.run(
        [sys.executable, door, "local", "stop"],
        env=dict(os.environ, HOME=world.home),
        stdout=subprocess.DEVNULL,
    )
    documents = [document_in(text) for text in results]
    documents += [None] * (len(lines) - len(documents))
    return Seen(model.requests, documents, said + "\n".join(results))


def next_line(request) -> str:
    """Return the line of `next` in the last result, as a model would copy it."""
    document = document_in(request.results[-1]) or {}
    return document.get("next", [{}])[0].get("run", "true")


def run(words, world: World, environ) -> str:
    """Run a program to its end, or for so long, and return what it said."""
    try:
        done = subprocess.run(
            words,
            cwd=world.work,
            env=environ,
            input=b"Do it, please.",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=RUN_SECONDS,
        )
        return done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as problem:
        return "(no end)" + (problem.stdout or b"").decode(errors="replace")


def document_in(text: str):
    """Return the JSON document in what a shell tool gave back, None when there is none."""
    for found in re.finditer(r'\{"', text):
        try:
            return DECODER.raw_decode(text[found.start() :])[0]
        except ValueError:
            continue
    return None


def version_of(program: Program, binaries: str) -> str:
    """Return the version that npm installed."""
    modules = os.path.dirname(os.path.realpath(binaries))
    path = os.path.join(modules, *program.package.split("/"), "package.json")
    with open(path, encoding="utf-8") as file:
        return json.load(file)["version"]


# What was seen, judged.


def examine(program: Program, base: str, binaries: str) -> dict:
    """Drive a program in each of its modes and return the row of the table."""
    seen = {}
    for mode in ("rule", "bare", "free", *program.sandboxes):
        folder = os.path.join(base, program.package.replace("/", "-"), mode)
        seen[mode] = drive(program, mode, folder, binaries)
    row = {"program": program.name, "version": version_of(program, binaries)}
    row["listed"] = listed(seen["rule"])
    row["rule"] = ran(seen["rule"])
    with_rule = asked(seen["rule"])
    row["asked"] = "%d; %d" % (with_rule, asked(seen["bare"]))
    if with_rule:
        row["asked"] += ", NOT free"
    row["terminal"] = on_terminal(seen["free"])
    boxes = ["%s: %s" % (mode, boxed(seen[mode])) for mode in program.sandboxes]
    row["sandbox"] = "; ".join(boxes) or "none by default"
    row["failed"] = [key for key, value in row.items() if "NOT" in str(value)]
    row["said"] = {mode: one.said[-3000:] for mode, one in seen.items()}
    return row


def listed(seen: Seen) -> str:
    """Say how the skill stands in the first request."""
    text = seen.requests[0].text if seen.requests else ""
    times = text.count(json.dumps(DESCRIPTION)[1:-1])
    if times != 1 or "%s:%s" % (NAME, NAME) in text or "conflict" in seen.said:
        return "NOT once and plain (%d times)" % times
    return "whole, once"


def ran(seen: Seen) -> str:
    """Say whether the lines ran under the rule, each with its document."""
    first, found, local, _, stopped = seen.documents
    if not first or first.get("status") != "completed":
        return "first line NOT run"
    if not found or not found.get("ok") or "sandbox" in found:
        return "doctor NOT well"
    if not local or not local.get("rehearsal"):
        return "--local NOT run"
    if not stopped or not stopped.get("stopped"):
        return "the line of `next` NOT run"
    return "5 of 5 lines"


def asked(seen: Seen) -> int:
    """Return how often somebody would have been asked: lines not run, or a skill not loaded."""
    is_loaded = bool(seen.requests) and TITLE in seen.requests[-1].text
    return seen.documents.count(None) + (not is_loaded)


def on_terminal(seen: Seen) -> str:
    """Say the form and the slice of a command on a pseudo-terminal of the shell tool."""
    found = seen.documents[0] or {}
    if found.get("form") != "json" or not 80 < float(found.get("slice", 0)) <= 90:
        return "NOT json and 90 s: %s" % found
    return "JSON, 90 s"


def boxed(seen: Seen) -> str:
    """Say what doctor and --local told in a sandbox."""
    found, local = seen.documents
    if not found or "checks" not in found:
        return "doctor NOT there"
    failed = [one["name"] for one in found["checks"] if one["ok"] is False]
    steps = found.get("next", [])
    if not found.get("sandbox") or not any("sandbox" in step["why"] for step in steps):
        return "sandbox NOT named"
    is_offered = any("--local" in step.get("run", "") for step in steps)
    if not local:
        return "--local NOT told"
    code = local.get("error", {}).get("code")
    if is_offered == bool(code):
        return "--local NOT offered as it is (%s)" % code
    names = ", ".join(name for name in failed if name != "key")
    return "doctor right (%s), --local %s" % (names, code or "runs")


COLUMNS = (
    ("Program", "program"),
    ("Version", "version"),
    ("Description", "listed"),
    ("Under the rule", "rule"),
    ("Asked with the rule; without", "asked"),
    ("On a terminal", "terminal"),
    ("In its sandbox", "sandbox"),
)


def table(rows) -> str:
    """Return the rows as Markdown."""
    lines = [[title for title, _ in COLUMNS], ["---"] * len(COLUMNS)]
    lines += [[str(row[key]) for _, key in COLUMNS] for row in rows]
    return "\n".join("| %s |" % " | ".join(cells) for cells in lines)


def install(folder: str, packages) -> str:
    """Install programs from npm, with a Node.js of their own; return the folder of the commands."""
    if not shutil.which("npm"):
        raise SystemExit("skipped: no npm here to install the programs with")
    write(os.path.join(folder, "package.json"), {"private": True})
    binaries = os.path.join(folder, "node_modules", ".bin")
    # Programs are installed with the Node.js that will run them: npm asks for its version.
    environ = dict(os.environ, PATH=binaries + os.pathsep + os.environ["PATH"])
    for package in ("node@22", *packages):
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", package],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=INSTALL_SECONDS,
        )
        if done.returncode:
            print("skipped: %s cannot be installed" % package, file=sys.stderr)
    return binaries


def main() -> int:
    """Examine what can be had, print the table, and return 1 when something was not right."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="all when none is named"
    )
    parser.add_argument("--bin", metavar="FOLDER", help="commands that npm installed")
    parser.add_argument(
        "--keep", action="store_true", help="leave the folders, name them"
    )
    parser.add_argument(
        "--json", action="store_true", help="with what each program said"
    )
    options = parser.parse_args()
    chosen = [one for one in PROGRAMS if not options.names or one.name in options.names]
    base = tempfile.mkdtemp(prefix="harnesses-")
    try:
        packages = [program.package for program in chosen]
        binaries = options.bin or install(os.path.join(base, "npm"), packages)
        there = [one for one in chosen if is_there(one, binaries)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            rows = list(pool.map(lambda one: attempt(one, base, binaries), there))
    finally:
        if options.keep:
            print("kept: " + base, file=sys.stderr)
        else:
            shutil.rmtree(base, ignore_errors=True)
    rows = [row for row in rows if row]
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    print("\n%s, %s" % (time.strftime("%Y-%m-%d"), os.uname().sysname), file=sys.stderr)
    return 1 if not rows or any(row["failed"] for row in rows) else 0


def is_there(program: Program, binaries: str) -> bool:
    """Tell whether a program was installed; name one that was not."""
    try:
        return bool(version_of(program, binaries))
    except OSError:
        print("skipped: %s is not installed" % program.name, file=sys.stderr)
        return False


def attempt(program: Program, base: str, binaries: str):
    """Examine a program; one that cannot be driven here is named and skipped."""
    try:
        return examine(program, base, binaries)
    except (OSError, subprocess.SubprocessError, KeyError, StopIteration) as problem:
        print("skipped: %s, %r" % (program.name, problem), file=sys.stderr)
        return None


if __name__ == "__main__":
    sys.exit(main())
