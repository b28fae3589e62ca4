"""Which programs are here, which versions, and is their owner logged in: asked cheaply."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Mapping

from rebyte_local.agents.environment import agent_environment
from rebyte_local.agents.program import BOXED, DEFAULT, Environment, Program
from rebyte_local.agents.records import parse_line, string_at
from rebyte_local.agents.roster import PROGRAMS, Agent, find_command, missing_needs
from rebyte_local.formats import JsonObject

CHECK_SECONDS = 8
VERSION_SECONDS = 5
ANSWER_BYTES = 1024 * 1024
VERSION = re.compile(r"\d+\.\d+[\w.+-]*")
BOX_CHECK = ("bwrap", "--ro-bind", "/", "/", "true")
UNFENCED = "%s cannot be kept in its folder, because %s cannot be found; install that"
OR_FULL = ", or `local start --agents %s:full` lets it do all that you may"
NO_BOX = (
    "%s cannot be kept in its folder, because bwrap does not work here: it needs user namespaces,"
    " which this system or a container around it does not allow"
)
PACKAGE_FOLDERS = 4  # from the command's file upwards
PACKAGE_BYTES = 1024 * 1024
TELLING = re.compile(
    "error|denied|read-only|cannot|could not|no space|not found|unable|must|please",
    re.I,
)
TELLING_LINES = 2
LAST_LINES = 5
NOISE = ("Warning", "[STARTUP]", "YOLO mode", "    at ", "Error when talking to")


def why_not_ready(
    agent: Agent, env: Environment, model: str | None = None
) -> str | None:
    """Return why a program cannot be run now, with the remedy; None where nothing is known."""
    program = agent.program
    if not find_command(program.name):
        return "%s is not installed: npm install -g %s" % (
            program.name,
            program.package,
        )
    missing = missing_needs(agent)
    if missing:
        return _cannot_fence(agent, " and ".join(missing))
    if agent.level == BOXED and _fails(BOX_CHECK, env):
        return NO_BOX % agent.spelled
    problem = program.login_problem(env, model) or _login_problem(agent, env)
    return "%s: %s" % (problem, program.sign_in) if problem else None


def _login_problem(agent: Agent, env: Environment) -> str | None:
    program = agent.program
    if not program.login_check or not program.needs_login(env):
        return None
    is_refused = _fails(program.login_check, env)
    return "%s is not logged in" % program.name if is_refused else None


def _cannot_fence(agent: Agent, missing: str) -> str:
    name = agent.program.name
    words = UNFENCED % (agent.spelled, missing)
    if agent.level == BOXED:
        return words
    return words + OR_FULL % name


def _fails(words: tuple[str, ...], env: Mapping[str, str]) -> bool:
    """Tell whether a check says no; one that cannot be made or hangs says nothing."""
    done = _answer_of(words, env, CHECK_SECONDS)
    return done is not None and done.returncode != 0


def _answer_of(
    words: tuple[str, ...], env: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[bytes] | None:
    """Return what a short command said, None where it cannot be run or does not end.

    What it leaves running in its group is ended, and its output needs no end of theirs.
    """
    command = [find_command(words[0]) or words[0], *words[1:]]
    with tempfile.TemporaryFile() as stdout:
        try:
            process = subprocess.Popen(
                command,
                env=env,
                cwd=env["TMPDIR"],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            return None
        code = _end_of(process, seconds)
        stdout.seek(0)
        said = stdout.read(ANSWER_BYTES)
    return None if code is None else subprocess.CompletedProcess(command, code, said)


def _end_of(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Return the exit code of a command, None if it did not end in time; nothing of it stays."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def telling_words(stderr: str) -> str:
    """Return the last lines of stderr that tell of an error, else the last that tell anything."""
    lines = stderr.splitlines()
    kept = [line for line in lines if line.strip() and not line.startswith(NOISE)]
    telling = [line for line in kept if TELLING.search(line)]
    if telling:
        return "\n".join(telling[-TELLING_LINES:])
    return "\n".join(kept[-LAST_LINES:])


def version_of(program: Program) -> str | None:
    """Return the version of a program as its package tells it, None where none lies beside it."""
    path = find_command(program.name)
    if path is None:
        return None
    folder = os.path.dirname(os.path.realpath(path))
    for _ in range(PACKAGE_FOLDERS):
        package = _package_in(folder) or {}
        if package.get("name") == program.package:
            return string_at(package, "version") or None
        folder = os.path.dirname(folder)
    return None


def version_told(program: Program, env: Mapping[str, str]) -> str | None:
    """Return what a program says of its version, which takes some up to two seconds."""
    done = _answer_of((program.name, "--version"), env, VERSION_SECONDS)
    found = VERSION.search(done.stdout.decode("utf-8", "replace")) if done else None
    return found.group() if found else None


def _package_in(folder: str) -> JsonObject | None:
    try:
        with open(os.path.join(folder, "package.json"), encoding="utf-8") as file:
            return parse_line(file.read(PACKAGE_BYTES))
    except (OSError, ValueError):
        return None


def take_inventory(agents: Mapping[str, Agent]) -> list[JsonObject]:
    """Return the programs that are here or switched on; asks each of the latter for its login."""
    wanted = [
        program
        for program in PROGRAMS.values()
        if program.name in agents or find_command(program.name)
    ]
    with ThreadPoolExecutor(len(PROGRAMS)) as pool:
        return list(pool.map(partial(_describe, agents), wanted))


def _describe(agents: Mapping[str, Agent], program: Program) -> JsonObject:
    """Return name and version and, of one that is switched on, its level and what that means.

    One that is not is not run, not even for its version.
    """
    described: JsonObject = {"name": program.name}
    agent = agents.get(program.name)
    version = version_of(program)
    folder = tempfile.gettempdir()
    env = agent_environment(os.environ, program, DEFAULT, folder, folder)
    if agent is not None:
        version = version or version_told(program, env)
    if version:
        described["version"] = version
    if agent is None:
        return described
    described["level"] = agent.level
    described["notKeptFrom"] = list(program.levels[agent.level])
    problem = why_not_ready(agent, env)
    if problem:
        described["problem"] = problem
    return described


def put_ready_first(
    agents: Mapping[str, Agent], programs: list[JsonObject]
) -> dict[str, Agent]:
    """Return agents whose owner gave no order, the ready ones first."""
    names = [one["name"] for one in programs if "problem" not in one]
    ready = {name: agents[name] for name in names if name in agents}
    return dict(ready, **{n: one for n, one in agents.items() if n not in ready})
