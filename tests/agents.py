"""make agents: the real agent programs behind --local, against a scripted model.

python3 tests/agents.py [NAME[:LEVEL] ...] [--bin FOLDER] [--cases A,B] [--keep] [--json]

The programs come from npm, into a folder of their own that is removed at the end, or from --bin.
Each has a home of its own that points it at tests/scripted_model.py on loopback; nothing needs an
account, and nothing but npm is contacted. A prompt holds what is to be done, so one model serves
all programs at once.

For each program: a file in, a command run, a file out and the answer; a follow-up in the same
conversation, at its own cost; a prompt of 100,000 characters; a cancel in the middle of a tool; a
killed server; a model service that refuses, fails or is not there; nobody logged in; code there and
back. Then a batch of six over three of them.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
DOOR = os.path.join(ROOT, "scripts", "rebyte_cli.py")
sys.path[:0] = [os.path.join(ROOT, "scripts"), HERE]

import harnesses
from scripted_model import PlannedModel

MODELS = {"gemini": "gemini-2.5-pro", "pi": "scripted/scripted"}
LEVELS = {}
PACKAGES = {
    "claude": "@anthropic-ai/claude-code",
    "codex": "@openai/codex",
    "gemini": "@google/gemini-cli",
    "opencode": "opencode-ai",
    "pi": "@mariozechner/pi-coding-agent",
}
NAMES = ("claude", "codex", "gemini", "opencode")
PROMPT_CHARACTERS = 100000
SILENCE_SECONDS = 15
# Where each keeps its conversations, below the home.
CONVERSATIONS = {
    "claude": [".claude/projects"],
    "codex": [".codex/sessions"],
    "gemini": [".gemini/tmp"],
    "opencode": [".local/share/opencode"],
    "pi": [".pi/agent/sessions"],
}
# Looks what a command may do: write outside its folder, reach the network, read outside.
LOOK = """import sys, urllib.request
seen = []
def look(name, act):
    try:
        act()
        seen.append(name)
    except OSError:
        pass
look("wrote", lambda: open(sys.argv[1], "w").close())
look("reached", lambda: urllib.request.urlopen(sys.argv[2] + "/v1/models", timeout=5))
look("read", lambda: open("/etc/passwd").close())
open("artifacts/seen.csv", "w").write(" ".join(seen))
"""
# As the table of references/local.md has it.
NOT_KEPT_FROM = {
    "claude": {"read"},
    "codex": {"read"},
    "gemini": {"wrote", "reached", "read"},
    "opencode": {"wrote", "reached", "read"},
    "pi": {"wrote", "reached", "read"},
}
# A command that a program refuses at its default.
DENIED = {
    "claude": "setsid true",
    "gemini": "echo $(date)",
    "opencode": "cat /etc/hostname",
}
# Holds a tool up, and leaves something in a session of its own.
HOLD = """import subprocess, sys
words = ["sleep", sys.argv[1]]
subprocess.Popen(words, start_new_session=True)
subprocess.run(words)
"""
# Programs run side by side, and so may this script: each long tool is found by its own number.
SECONDS = itertools.count(100000 + 100 * os.getpid())
NOWHERE = "http://127.0.0.1:9"
World = collections.namedtuple("World", "name base environ model")


class Failed(Exception):
    """A case did not show what it should."""


def expect(is_so, *seen) -> None:
    """Raise Failed with what was seen unless something is so."""
    if not is_so:
        raise Failed(" ".join(map(str, seen))[:1500])


def plan(**what) -> str:
    """Return a prompt that says what is to be done."""
    return "Do it, please. @@%s@@" % json.dumps(what)


# The world of a program.


def pi(world, url, mode):
    """pi: models.json."""
    provider = {"baseUrl": url + "/v1", "api": "openai-completions", "apiKey": "none"}
    provider["models"] = [{"id": "scripted"}]
    path = os.path.join(world.home, ".pi", "agent", "models.json")
    harnesses.write(path, {"providers": {"scripted": provider}})
    return [], {"PI_OFFLINE": "1"}


def settings_of(name: str, home: str, url: str) -> dict:
    """Point a program at the model, in a home of its own; return what to set for that."""
    world = argparse.Namespace(home=home, skill="")
    point = pi if name == "pi" else getattr(harnesses, name)
    return point(world, url, "free")[1]


def make_world(name: str, base: str, binaries: str, model, names=None) -> World:
    """Lay out the home of a program, or of several, and the folder that commands are typed in."""
    home = os.path.join(base, "home")
    for folder in ("home", "work", "tmp"):
        os.makedirs(os.path.join(base, folder))
    environ = dict(
        HOME=home,
        TMPDIR=os.path.join(base, "tmp"),
        REBYTE_STATE_DIR=os.path.join(base, "state"),
        PATH=os.pathsep.join([binaries, "/usr/local/bin", "/usr/bin", "/bin"]),
        LANG="C.UTF-8",
        USER=os.environ.get("USER", "user"),
        PYTHONDONTWRITEBYTECODE="1",
        CLAUDECODE="1",  # as if an agent had started it
    )
    for one in names or [name]:
        environ.update(settings_of(one, home, model.url))
    harnesses.write(os.path.join(base, "work", "in.csv"), "a\n1\n2\n")
    return World(name, base, environ, model)


def rebyte(world: World, *words, **environ):
    """Type a command; return its document."""
    done = subprocess.run(
        [sys.executable, DOOR, *words],
        cwd=os.path.join(world.base, "work"),
        env=dict(world.environ, **environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    try:
        return json.loads(done.stdout.decode())
    except ValueError:
        raise Failed("%s: %s" % (words, done.stderr.decode()[-800:])) from None


def start(world: World, **environ) -> None:
    """Start a server with the program switched on."""
    rebyte(world, "local", "stop")
    level = LEVELS.get(world.name, world.name)
    started = rebyte(
        world,
        "local",
        "start",
        "--agents",
        level,
        "--agent-silence",
        str(SILENCE_SECONDS),
        **environ,
    )
    expect(started.get("running"), started)


def run(world: World, prompt: str, *words, verb: str = "run"):
    """Run a prompt by the program; return the document of its end."""
    model = MODELS.get(world.name)
    more = ["--model", model] if model else []
    line = [verb, "--local", "--executor", world.name, *more, prompt, *words]
    if verb == "run":
        line += ["--max-wait", "120"]
    return rebyte(world, *line)


def workspace(world: World, document) -> str:
    """Return the folder that a task works in."""
    folder = os.path.join(world.environ["REBYTE_STATE_DIR"], "local", "workspaces")
    return os.path.join(folder, document["workspaceId"])


def processes(mark: str) -> list:
    """Return the processes whose command line holds a mark."""
    listing = subprocess.run(["ps", "axww", "-o", "pid=,args="], stdout=subprocess.PIPE)
    lines = listing.stdout.decode(errors="replace").splitlines()
    return [line for line in lines if mark in line]


def until(look, seconds: float):
    """Look until there is something, for so long; return it."""
    end = time.monotonic() + seconds
    while True:
        seen = look()
        if seen or time.monotonic() > end:
            return seen
        time.sleep(0.1)


# The cases: each takes a world, raises Failed, and returns what it saw in a few words.


def work(world: World) -> str:
    """A file in, a command run, a file published, the answer."""
    start(world)
    order = plan(run=["cp in.csv artifacts/out.csv", "cat in.csv"], say="3 lines.")
    document = run(world, order, "--file", "in.csv", "--out", "out")
    expect(document.get("status") == "completed", document)
    expect(document["answer"] == "3 lines.", document)
    expect("rehearsal" not in document, document)
    expect(document["service"] == "local", document)
    expect(document["executor"] == world.name, document)
    expect(document["usage"]["outputTokens"], document)
    path = os.path.join(world.base, "work", document["files"][0]["path"])
    with open(path, encoding="utf-8") as file:
        expect(file.read() == "a\n1\n2\n", path)
    with open(document["transcriptPath"], encoding="utf-8") as file:
        events = [json.loads(line) for line in file]
    outputs = [
        event["payload"]["output"]
        for event in events
        if event["eventType"] == "tool_result"
    ]
    expect("a\n1\n2" in outputs[-1], outputs)
    return "%.1f s" % document["seconds"]


def follow_up(world: World) -> str:
    """A follow-up in the same conversation, after a restart, which tells its own costs."""
    start(world)
    first = run(world, plan(run=["echo apple"], say="One."))
    expect(first.get("answer") == "One.", first)
    rebyte(world, "local", "stop")
    start(world)
    order = plan(run=["echo pear"], say="Two.")
    line = ("follow-up", "--local", first["id"], order, "--wait", "--max-wait", "90")
    second = rebyte(world, *line)
    expect(second.get("answer") == "Two.", second)
    expect("echo apple" in world.model.requests[-1].text, "another conversation")
    usage = [one["usage"]["outputTokens"] for one in (first, second)]
    expect(usage[0] == usage[1], "not its own share: %s" % usage)
    return "remembered; %d and %d tokens out" % tuple(usage)


def gone(world: World) -> str:
    """A conversation that is gone begins anew, with what was said before in front."""
    start(world)
    first = run(world, plan(say="Apples."))
    expect(first.get("answer") == "Apples.", first)
    rebyte(world, "local", "stop")
    home = world.environ["HOME"]
    for below in CONVERSATIONS[world.name]:
        expect(os.path.isdir(os.path.join(home, below)), "no " + below)
        shutil.rmtree(os.path.join(home, below))
    start(world)
    line = ("follow-up", "--local", first["id"], plan(say="Pears."), "--wait")
    second = rebyte(world, *line, "--max-wait", "90")
    expect(second.get("answer") == "Pears.", second)
    expect("answered:" in world.model.requests[-1].text, "nothing in front")
    with open(second["transcriptPath"], encoding="utf-8") as file:
        expect("a new one begins" in file.read(), "not told")
    return "begun anew"


def denied(world: World) -> str:
    """What a program does not let its model do is told in warnings, not taken for done."""
    start(world)
    line = DENIED.get(world.name)
    if line is None:
        return "skipped: its own limits are the sandbox's, told by the command"
    document = run(world, plan(run=[line], say="Tried."))
    expect(document.get("answer") == "Tried.", document)
    words = " ".join(document.get("warnings", []))
    expect("denied" in words, document)
    return words[:90]


def kept_from(world: World) -> str:
    """At its default a program's commands are kept from what local.md says, and from no more."""
    start(world)
    work = os.path.join(world.base, "work")
    harnesses.write(os.path.join(work, "look.py"), LOOK)
    escaped = os.path.join(world.environ["HOME"], "escaped")
    order = plan(
        run=["python3 look.py %s %s" % (escaped, world.model.url)], say="Tried."
    )
    document = run(world, order, "--file", "look.py", "--out", "looked")
    expect(document.get("answer") == "Tried.", document)
    with open(os.path.join(work, "looked", "files", "seen.csv")) as file:
        seen = file.read().split()
    is_escaped = os.path.exists(escaped)
    expect(is_escaped == ("wrote" in seen), seen)
    expect(set(seen) == NOT_KEPT_FROM[world.name], seen)
    return "not kept from: %s" % (", ".join(sorted(seen)) or "nothing looked for")


def long_prompt(world: World) -> str:
    """A prompt of 100,000 characters arrives whole."""
    start(world)
    order = plan(say="Read.") + " "
    order += "y" * (PROMPT_CHARACTERS - len(order))
    path = os.path.join(world.base, "work", "long.txt")
    harnesses.write(path, order)
    document = run(world, "--prompt-file", "long.txt")
    expect(document.get("answer") == "Read.", document)
    longest = max(one.text.count("y") for one in world.model.requests)
    expect(longest >= PROMPT_CHARACTERS - 200, "only %d came" % longest)
    return "%d characters" % len(order)


def begin_long_tool(world: World):
    """Start a task that is in the middle of a tool; return its document and how long it sleeps."""
    seconds = next(SECONDS)
    mark = "sleep %d" % seconds
    harnesses.write(os.path.join(world.base, "work", "hold.py"), HOLD)
    order = plan(run=["python3 hold.py %d" % seconds])
    task = run(world, order, "--file", "hold.py", verb="create")
    expect(until(lambda: len(processes(mark)) >= 2, 40), "no tool ran", task)
    return task, mark


def cancel(world: World) -> str:
    """A cancel in the middle of a tool leaves no process, also none in a session of its own."""
    start(world)
    task, mark = begin_long_tool(world)
    began = time.monotonic()
    rebyte(world, "cancel", "--local", task["id"])
    left = until(lambda: not processes(mark), 15)
    expect(left, "left: %s" % processes(mark))
    took = time.monotonic() - began
    document = rebyte(world, "result", "--local", task["id"], "--wait")
    expect(document.get("status") == "canceled", document)
    return "gone after %.1f s" % took


def killed_server(world: World) -> str:
    """kill -9 of the server leaves no process; a new server tells it, and a follow-up works."""
    start(world)
    task, mark = begin_long_tool(world)
    server = rebyte(world, "local", "status")
    os.kill(server["pid"], signal.SIGKILL)
    expect(until(lambda: not processes(mark), 15), "left", processes(mark))
    marks = os.path.join(world.base, "state")
    expect(until(lambda: not processes(marks), 15), "left", processes(marks))
    start(world)
    document = rebyte(world, "result", "--local", task["id"])
    expect(document.get("status") == "failed", document)
    line = ("follow-up", "--local", task["id"], plan(say="On."), "--wait")
    again = rebyte(world, *line, "--max-wait", "90")
    expect(again.get("answer") == "On.", again)
    return "nothing left; %s" % document["failure"]["reason"][:40]


def refused(world: World, order: str, **environ) -> str:
    """Run with a service that does not work; return how soon the task failed, and why."""
    start(world, **environ)
    document = run(world, order)
    expect(document.get("status") == "failed", document)
    reason = document["failure"]["reason"]
    expect("gave no reason" not in reason, document)
    expect(document["seconds"] < SILENCE_SECONDS + 10, document)
    return "%.0f s: %s" % (document["seconds"], reason.replace("\n", " ")[:70])


def failing(world: World) -> str:
    """A model service that answers 400, 401 or 500 is a failed task with the reason, in time."""
    found = [refused(world, plan(status=status)) for status in (400, 401, 500)]
    return "; ".join(found)


def unreachable(world: World) -> str:
    """A model service that is not there is a failed task with the reason, in time."""
    other = settings_of(world.name, world.environ["HOME"], NOWHERE)
    try:
        return refused(world, plan(say="x"), **other)
    finally:
        settings_of(world.name, world.environ["HOME"], world.model.url)


def no_login(world: World) -> str:
    """Nobody logged in is told at once, with what to do."""
    home = os.path.join(world.base, "empty")
    os.makedirs(home, exist_ok=True)
    names = ("HOME", "PATH", "TMPDIR", "LANG", "REBYTE_STATE_DIR")
    bare = {name: world.environ[name] for name in names}
    bare["HOME"] = home
    alone = world._replace(environ=bare)
    start(alone)
    order = plan(say="Nobody is logged in.")
    document = rebyte(alone, "run", "--local", "--executor", world.name, order)
    expect(document.get("status") == "failed", document)
    expect("log" in document["failure"]["reason"].lower(), document)
    expect(document["seconds"] < SILENCE_SECONDS, document)
    reason = document["failure"]["reason"].replace("\n", " ")
    return "%.1f s: %s" % (document["seconds"], reason[:80])


def boxed(world: World) -> str:
    """In the box it works, and its commands cannot write into the owner's home."""
    level = world.name + ":boxed"
    rebyte(world, "local", "stop")
    started = rebyte(world, "local", "start", "--agents", level)
    expect(started.get("running"), started)
    lines = ["cp in.csv artifacts/out.csv", "touch $HOME/out-of-box", "ls"]
    document = run(world, plan(run=lines, say="Tried."), "--file", "in.csv")
    expect(document.get("answer") == "Tried.", document)
    expect([one["name"] for one in document["files"]] == ["out.csv"], document)
    escaped = os.path.join(world.environ["HOME"], "out-of-box")
    expect(not os.path.exists(escaped), "it wrote into the home")
    return "home not written"


def code(world: World) -> str:
    """Code goes there and comes back as a change, which apply puts into the working tree."""
    start(world)
    desk = os.path.join(world.base, "work", "desk")
    shutil.rmtree(desk, ignore_errors=True)
    harnesses.write(os.path.join(desk, "app.py"), "print(1)\n")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.invalid"]
    for words in (["init", "-q", "."], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run(["git", *identity, *words], cwd=desk, check=True)
    lines = [
        "tar xzf desk.tar.gz",
        "echo 'print(2)' >> desk/app.py",
        "python3 -m zipfile -c artifacts/desk-home.zip desk",
    ]
    document = run(world, plan(run=lines, say="Changed."), "--code", desk)
    expect(document.get("status") == "completed", document)
    expect(document.get("changes", {}).get("added") == 1, document)
    rebyte(world, "apply", "--local", document["id"])
    with open(os.path.join(desk, "app.py"), encoding="utf-8") as file:
        expect(file.read() == "print(1)\nprint(2)\n", "not applied")
    return "1 line added, and applied"


CASES = collections.OrderedDict(
    (case.__name__, case)
    for case in (
        work,
        follow_up,
        gone,
        denied,
        kept_from,
        long_prompt,
        cancel,
        killed_server,
        failing,
        unreachable,
        no_login,
        boxed,
        code,
    )
)


def batch(base: str, binaries: str, names: list, model) -> str:
    """A batch of six over three programs."""
    chosen = names[:3]
    world = make_world("batch", os.path.join(base, "batch"), binaries, model, chosen)
    lines = []
    for number in range(6):
        name = chosen[number % len(chosen)]
        line = {"once": "b%d" % number, "executor": name}
        if name in MODELS:
            line["model"] = MODELS[name]
        say = "%s did %d." % (name, number)
        line["prompt"] = plan(run=["echo %d" % number], say=say)
        lines.append(json.dumps(line) + "\n")
    harnesses.write(os.path.join(world.base, "work", "six.jsonl"), "".join(lines))
    levels = ",".join(LEVELS.get(name, name) for name in chosen)
    try:
        rebyte(world, "local", "start", "--agents", levels)
        done = rebyte(world, "batch", "--local", "six.jsonl", "--max-wait", "200")
        answers = [task.get("answer") for task in done["tasks"]]
        expected = [
            "%s did %d." % (chosen[n % len(chosen)], n) for n in range(len(answers))
        ]
        expect(sorted(answers) == sorted(expected) and len(answers) == 6, done)
    finally:
        rebyte(world, "local", "stop")
    return "%d of 6: %s" % (len(answers), ", ".join(chosen))


def show(name: str, cases: list, base: str, binaries: str) -> list:
    """Run the cases of one program; return (program, case, what was seen, whether it failed)."""
    rows = []
    with PlannedModel() as model:
        world = make_world(name, os.path.join(base, name), binaries, model)
        for case in cases:
            try:
                rows.append((name, case, CASES[case](world), False))
            except (Failed, OSError, KeyError, TypeError, IndexError) as problem:
                rows.append((name, case, "FAILED: %r" % problem, True))
            print("%s %s: %s" % rows[-1][:3], file=sys.stderr, flush=True)
        rebyte(world, "local", "stop")
    return rows


def main() -> int:
    """Show what can be had, print the rows, and return 1 when something was not right."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(NAMES))
    parser.add_argument("--bin", metavar="FOLDER", help="commands that npm installed")
    parser.add_argument("--cases", default=",".join(CASES), help="some of: %(default)s")
    parser.add_argument("--keep", action="store_true", help="leave the folders")
    options = parser.parse_args()
    unknown = [spec for spec in options.names if spec.partition(":")[0] not in PACKAGES]
    if unknown:
        parser.error("no such program: %s" % ", ".join(unknown))
    # Not below the temporary directory: Codex refuses to keep its helpers there.
    cache = os.path.expanduser("~/.cache")
    try:
        os.makedirs(cache, exist_ok=True)
        base = tempfile.mkdtemp(prefix="agents-", dir=cache)
    except OSError:
        base = tempfile.mkdtemp(prefix="agents-")
    cases = options.cases.split(",")
    try:
        names = [spec.partition(":")[0] for spec in options.names]
        packages = [PACKAGES[name] for name in names]
        place = os.path.join(base, "npm")
        binaries = options.bin or harnesses.install(place, packages)
        LEVELS.update(
            (spec.partition(":")[0], spec) for spec in options.names if ":" in spec
        )
        LEVELS.setdefault("pi", "pi:full")
        found = [name for name in names if os.path.exists(os.path.join(binaries, name))]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            shown = pool.map(lambda name: show(name, cases, base, binaries), found)
            rows = [row for some in shown for row in some]
        if len(found) > 2 and cases == list(CASES):
            with PlannedModel() as model:
                try:
                    seen = batch(base, binaries, found, model)
                    rows.append(("all", "batch", seen, False))
                except (Failed, KeyError) as problem:
                    rows.append(("all", "batch", "FAILED: %r" % problem, True))
    finally:
        if options.keep:
            print("kept: " + base, file=sys.stderr)
        else:
            shutil.rmtree(base, ignore_errors=True)
    print("| Program | Case | Seen |\n|---|---|---|")
    for name, case, seen, _ in rows:
        print("| %s | %s | %s |" % (name, case, seen))
    return 1 if not rows or any(row[3] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
