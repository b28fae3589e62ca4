"""What surrounds a program: its owner's variables, but nothing of ours or of another agent; and the
box of bwrap, in which it reads what its owner may read, and writes into its workspace, its
temporary folder and its own state.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Mapping

from rebyte_local.agents.program import Environment, Program
from rebyte_local.agents.records import parse_line
from rebyte_local.formats import JsonObject

# Everything is there to be read; what may be written is laid over it.
FRAME = (
    "bwrap",
    "--die-with-parent",
    "--ro-bind",
    "/",
    "/",
    "--dev-bind",
    "/dev",
    "/dev",
)
PRIVATE_MODE = 0o700
HIDDEN_PREFIXES = ("REBYTE_", "LOCAL_SERVER_", "CLAUDE_CODE_SESSION", "OPENCODE_RUN")
# What a harness sets for its own commands: a program that finds it may refuse, or act otherwise.
HIDDEN = frozenset(
    (
        "CLAUDECODE",
        "CLAUDE_CODE_ENTRYPOINT",
        "CLAUDE_CODE_CHILD_SESSION",
        "CLAUDE_CODE_EXECPATH",
        "CLAUDE_CODE_REMOTE",
        "CLAUDE_CODE_SSE_PORT",
        "CLAUDE_EFFORT",
        "CLAUDE_PID",
        "CODEX_CI",
        "CODEX_INTERNAL_ORIGINATOR_OVERRIDE",
        "CODEX_SANDBOX",
        "CODEX_SANDBOX_NETWORK_DISABLED",
        "CODEX_THREAD_ID",
        "GEMINI_CLI",
        "OPENCODE",
        "OPENCODE_PID",
        "OPENCODE_PROCESS_ROLE",
        "COPILOT_CLI",
        "QWEN_CODE",
        "PI_CODING_AGENT",
        "AUGMENT_AGENT",
        "CLINE_ACTIVE",
        "CURSOR_AGENT",
        "CURSOR_TRACE_ID",
        "ROO_ACTIVE",
        "GOOSE_TERMINAL",
        "REPL_ID",
        "AGENT",
        "AI_AGENT",
        "GITHUB_ACTIONS",
        "CI",
        # Of a git hook that the server may have been started from.
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_PREFIX",
    )
)


def agent_environment(
    environ: Mapping[str, str],
    program: Program,
    level: str,
    workspace: str,
    scratch: str,
) -> Environment:
    """Return the variables of a program that works in a workspace; HOME stays the owner's."""
    env = {
        name: value
        for name, value in environ.items()
        if name not in HIDDEN and not name.startswith(HIDDEN_PREFIXES)
    }
    env.update(program.variables)
    env.update(PWD=workspace, TMPDIR=scratch, TERM="dumb", NO_COLOR="1")
    env.pop("OLDPWD", None)
    if level in program.options:
        name, options = program.options[level]
        owned = parse_line(env.get(name, "")) or {}
        env[name] = json.dumps(merge(owned, options))
    return env


def merge(owned: JsonObject, options: JsonObject) -> JsonObject:
    """Return the owner's options with ours in them, object by object."""
    merged = dict(owned)
    for name, value in options.items():
        kept = merged.get(name)
        if isinstance(kept, dict) and isinstance(value, dict):
            merged[name] = merge(kept, value)
        else:
            merged[name] = value
    return merged


def state_folders(program: Program, env: Mapping[str, str]) -> list[str]:
    """Return where a program keeps its own state, each "VARIABLE:below it:below HOME" resolved."""
    folders = []
    for place in program.state_paths:
        variable, below, usual = place.split(":")
        named = env.get(variable)
        folder = os.path.join(named, below) if named else ""
        folders.append(folder or os.path.join(env.get("HOME", ""), usual))
    return [os.path.abspath(folder) for folder in folders]


def boxed(
    words: list[str], program: Program, env: Mapping[str, str], workspace: str
) -> list[str]:
    """Return the words that run a program in the box."""
    frame = list(FRAME)
    for folder in [*state_folders(program, env), env["TMPDIR"], workspace]:
        if os.path.splitext(folder)[1] != ".json":
            with contextlib.suppress(OSError):  # a home that is read-only stays so
                os.makedirs(folder, PRIVATE_MODE, exist_ok=True)
        frame += ["--bind-try", folder, folder]
    return [*frame, "--chdir", workspace, "--", *words]
