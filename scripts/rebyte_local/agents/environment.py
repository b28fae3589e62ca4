"""What a program finds in its environment: its owner's, but nothing of ours or of another agent."""

from __future__ import annotations

import json
from typing import Mapping

from rebyte_local.agents.program import Environment, Program
from rebyte_local.agents.records import parse_line
from rebyte_local.formats import JsonObject

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
