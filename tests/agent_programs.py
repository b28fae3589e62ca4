"""Agent programs that do what a test says, each speaking the stream of the real one.

They are Python files of the real name in a folder of their own, which goes before PATH. What they
do stands in the prompt, as JSON between marks: {"run": [lines of a shell], "say": words, ...}.
"""

from __future__ import annotations

import json
import os
import sys

MARK = "@@"
BODY = """#!%(python)s
import json, os, subprocess, sys, time, uuid
NAME = %(name)r
sys.argv[0] = NAME
def out(**record):
    sys.stdout.write(json.dumps(record) + "\\n")
    sys.stdout.flush()
if sys.argv[1:] == ["--version"]:
    print(NAME, "9.9.9 (a program of the tests)")
    sys.exit(0)
prompt = "" if sys.stdin.isatty() else sys.stdin.read()
HOME = os.environ.get("FAKE_HOME") or os.environ["HOME"]
with open(os.environ.get("FAKE_LOG") or os.path.join(HOME, "log"), "a") as log:
    log.write(json.dumps({"argv": sys.argv, "env": dict(os.environ), "cwd": os.getcwd(), "prompt": prompt}) + "\\n")
parts = prompt.split("@@")
plan = json.loads(parts[-2]) if len(parts) > 2 else {"say": "hello"}
def shell(line):
    done = subprocess.run(["sh", "-c", line], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    return done.stdout.decode(), done.returncode != 0
%(main)s
"""
CLAUDE = """
if sys.argv[1:3] == ["auth", "status"]:
    sys.exit(int(os.environ.get("FAKE_LOGGED_OUT", "0")))
resumed = sys.argv[sys.argv.index("--resume") + 1] if "--resume" in sys.argv else None
known = os.path.join(HOME, "sessions")
os.makedirs(known, exist_ok=True)
if resumed and not os.path.exists(os.path.join(known, resumed)):
    words = "No conversation found with session ID: " + resumed
    print(words, file=sys.stderr)
    out(type="result", subtype="error_during_execution", is_error=True, errors=[words])
    sys.exit(1)
session = resumed or str(uuid.uuid4())
path = os.path.join(known, session)
turns = int(open(path).read()) + 1 if os.path.exists(path) else 1
with open(path, "w") as file:
    file.write(str(turns))
out(type="system", subtype="init", session_id=session, model="fake-opus", tools=["Bash"])
for raw in plan.get("raw", []):
    print(raw, flush=True)
if "long" in plan:
    block = {"type": "text", "text": "y" * plan["long"]}
    out(type="assistant", message={"content": [block]})
for number, line in enumerate(plan.get("run", [])):
    block = {"type": "tool_use", "id": "t%d" % number, "name": "Bash", "input": {"command": line}}
    out(type="assistant", message={"content": [block]}, session_id=session)
    output, failed = shell(line)
    block = {"type": "tool_result", "tool_use_id": "t%d" % number, "content": output, "is_error": failed}
    out(type="user", message={"content": [block]}, session_id=session)
time.sleep(plan.get("sleep", 0))
say = plan.get("say", "").replace("TURN", str(turns))
if say:
    out(type="assistant", message={"content": [{"type": "text", "text": say}]}, session_id=session)
if "error" in plan:
    out(type="result", subtype="success", is_error=True, result=plan["error"], session_id=session)
elif plan.get("end", True):
    out(type="result", subtype="success", is_error=False, result=say, session_id=session,
        usage={"input_tokens": 100, "output_tokens": 7}, total_cost_usd=0.25 * turns)
sys.exit(plan.get("code", 0))
"""
CODEX = """
if sys.argv[1:3] == ["login", "status"]:
    sys.exit(int(os.environ.get("FAKE_LOGGED_OUT", "0")))
out(type="thread.started", thread_id="thread-of-mine")
for line in plan.get("run", []):
    output, failed = shell(line)
    item = {"id": "i1", "type": "command_execution", "command": line}
    item.update(aggregated_output=output, exit_code=int(failed), status="completed")
    out(type="item.completed", item=item)
out(type="item.completed", item={"type": "agent_message", "text": plan.get("say", "ok")})
out(type="turn.completed", usage={"input_tokens": 10 * len(prompt), "output_tokens": 1})
"""
MAINS = {"claude": CLAUDE, "codex": CODEX}


def plan(**what) -> str:
    """Return what a prompt ends with so that a program does something."""
    return MARK + json.dumps(what) + MARK


def make_programs(folder, names=tuple(MAINS)):
    """Write the programs into a folder; return what to set in the environment."""
    commands = os.path.join(str(folder), "commands")
    home = os.path.join(str(folder), "home")
    os.makedirs(commands)
    os.makedirs(home)
    for name in names:
        path = os.path.join(commands, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(
                BODY % {"python": sys.executable, "name": name, "main": MAINS[name]}
            )
        os.chmod(path, 0o755)
    for name in ("bwrap", "socat"):  # what its default level asks for
        os.symlink("/bin/true", os.path.join(commands, name))
    return {
        "PATH": os.pathsep.join([commands, os.environ["PATH"]]),
        "FAKE_HOME": home,
        "FAKE_LOG": os.path.join(home, "log"),
        "HOME": home,
    }


def calls(environ):
    """Return what the programs were called with, oldest first, login checks left out."""
    with open(environ["FAKE_LOG"], encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    return [call for call in found if call["prompt"]]
