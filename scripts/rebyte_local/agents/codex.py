"""Codex, `codex exec --json`: items that start and complete, and a line for the end of the turn."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from rebyte_local.agents.findings import (
    CACHED_TOKENS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    REASONING_TOKENS,
    Finding,
    counts,
    denied,
    end,
    failure,
    note,
    retry,
    session,
    text,
    thinking,
    tool_result,
    tool_use,
    unknown,
    unless_silent,
)
from rebyte_local.agents.program import BOXED, DEFAULT, FULL, Program, Turn, option
from rebyte_local.agents.records import (
    at,
    object_at,
    parse_line,
    string_at,
    words_at,
    words_of,
)
from rebyte_local.formats import JsonObject

SANDBOXES = {DEFAULT: "workspace-write"}
FREE = "danger-full-access"
# /tmp is everybody's; TMPDIR, a folder of its own, stays.
NO_SLASH_TMP = "sandbox_workspace_write.exclude_slash_tmp=true"
SILENT = frozenset(("turn.started",))
# What an item shows of what was given to a tool, and of what came back.
TOOL_INPUTS = {
    "command_execution": ("command",),
    "file_change": ("changes",),
    "mcp_tool_call": ("server", "tool", "arguments"),
    "web_search": ("query",),
}
TOOL_OUTPUTS = ("aggregated_output", "result", "error", "changes")
STATUS = re.compile(r"unexpected status (\d{3})")
PROVIDER = re.compile(r"^\s*model_provider\s*=\s*[\"']([^\"']+)", re.M)
OWN_PROVIDER = "openai"


def command(turn: Turn) -> list[str]:
    """Return the words for a turn; resume has no -s of its own, so that comes before it."""
    words = ["codex", "exec", "--json", "--skip-git-repo-check"]
    words += ["-s", SANDBOXES.get(turn.level, FREE)]
    words += ["-c", NO_SLASH_TMP] if turn.level == DEFAULT else []
    words += option("-m", turn.model)
    words += option("resume", turn.session)
    return [*words, "-"]


def read(record: JsonObject) -> list[Finding]:
    """Return what a record says."""
    kind = string_at(record, "type")
    if kind in ("item.started", "item.updated", "item.completed"):
        return _item(object_at(record, "item"), kind)
    if kind == "thread.started":
        return [session(string_at(record, "thread_id"))]
    if kind == "turn.completed":
        return [end(False, usage=_usage(object_at(record, "usage")))]
    if kind == "turn.failed":
        words = _plain(words_of(at(record, "error", "message")))
        return [end(True, words or "turn.failed")]
    if kind == "error":
        return [_error(_plain(words_of(record.get("message"))))]
    return unless_silent(kind, SILENT, record)


def _plain(words: str) -> str:
    """Return the words in an error that is a service's JSON, passed on as it came."""
    record = parse_line(words)
    return words_of(record) if record else words


def _error(words: str) -> Finding:
    if not words.startswith("Reconnecting"):
        return failure(words)
    status = STATUS.search(words)
    return retry(words, int(status.group(1)) if status else None)


def _usage(usage: JsonObject) -> JsonObject:
    return counts(
        usage,
        **{
            INPUT_TOKENS: "input_tokens",
            OUTPUT_TOKENS: "output_tokens",
            CACHED_TOKENS: "cached_input_tokens",
            REASONING_TOKENS: "reasoning_output_tokens",
        },
    )


def _item(item: JsonObject, news: str) -> list[Finding]:
    """Return what an item says; one that says words says them when it is completed."""
    kind = string_at(item, "type")
    if kind in TOOL_INPUTS:
        return _tool(item, kind, news == "item.completed")
    tellers = {"agent_message": text, "reasoning": thinking, "error": note}
    teller = tellers.get(kind)
    if teller is None:
        return [unknown(item)]
    return [teller(words_at(item, "text"))] if news == "item.completed" else []


def _tool(item: JsonObject, kind: str, is_completed: bool) -> list[Finding]:
    """Return the use of a tool, told again at its end for items that were never started."""
    tool_id = words_of(item.get("id"))
    given = {name: item[name] for name in TOOL_INPUTS[kind] if name in item}
    used = tool_use(tool_id, kind, given)
    if not is_completed:
        return [used]
    output = next((item[name] for name in TOOL_OUTPUTS if item.get(name)), "")
    status = words_of(item.get("status"))
    is_error = status in ("failed", "declined") or item.get("exit_code") not in (
        None,
        0,
    )
    found = [used, tool_result(tool_id, output, is_error)]
    if status == "declined":
        found.append(denied(tool_id, kind, words_of(item.get("command"))))
    return found


def needs_login(environ: Mapping[str, str]) -> bool:
    """Tell whether codex would use its owner's login: no key is set, and no other provider."""
    if environ.get("CODEX_API_KEY"):
        return False
    home = environ.get("CODEX_HOME") or os.path.join(environ.get("HOME", ""), ".codex")
    try:
        with open(os.path.join(home, "config.toml"), encoding="utf-8") as file:
            providers = PROVIDER.findall(file.read())
    except (OSError, ValueError):
        return True
    return all(provider == OWN_PROVIDER for provider in providers)


PROGRAM = Program(
    name="codex",
    command=command,
    read=read,
    package="@openai/codex",
    sign_in="codex login",
    levels={
        DEFAULT: ("reading files outside its folder",),
        FULL: (
            "the network",
            "reading and writing files outside its folder",
            "everything else that you may do",
        ),
        BOXED: ("the network", "reading files outside its folder"),
    },
    state_paths=("CODEX_HOME::.codex",),
    login_check=("codex", "login", "status"),
    needs_login=needs_login,
    is_usage_cumulative=True,
    no_session=re.compile(
        r"no rollout found|thread.{0,20}not found|session.{0,20}not found"
        r"|No saved session|no such session",
        re.I,
    ),
    not_logged_in=re.compile("Missing bearer|Not logged in"),
)
