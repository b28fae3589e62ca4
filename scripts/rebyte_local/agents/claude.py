"""Claude Code, `claude -p`: a line for each block of a message, and a result line at the end."""

from __future__ import annotations

import json
import re

from rebyte_local.agents.findings import (
    CACHED_TOKENS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
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
    number_at,
    object_at,
    objects_at,
    string_at,
    words_at,
    words_of,
)
from rebyte_local.formats import JsonObject

# Its own sandbox runs shell commands without asking; what the sandbox denies stays denied.
SANDBOX = {
    "enabled": True,
    "autoAllowBashIfSandboxed": True,
    "allowUnsandboxedCommands": False,
    "failIfUnavailable": True,
}
SETTINGS = json.dumps({"sandbox": SANDBOX}, separators=(",", ":"))
FREE_TOOLS = "Bash,Edit,Write,Read,NotebookEdit,WebFetch,WebSearch"
# What is said while it works, and tells nothing that another line does not tell.
SILENT = frozenset(("stream_event", "rate_limit_event", "tool_progress", "keep_alive"))
SILENT_NEWS = frozenset(
    ("status", "hook_started", "hook_progress", "task_started", "task_progress")
)


def command(turn: Turn) -> list[str]:
    """Return the words for a turn."""
    words = ["claude", "-p", "--output-format", "stream-json", "--verbose"]
    if turn.level == DEFAULT:
        words += ["--permission-mode", "acceptEdits", "--settings", SETTINGS]
    else:
        words += ["--permission-mode", "dontAsk", "--allowedTools=" + FREE_TOOLS]
    words += option("--model", turn.model)
    words += option("--resume", turn.session)
    return words


def read(record: JsonObject) -> list[Finding]:
    """Return what a record says."""
    kind = string_at(record, "type")
    if kind in ("assistant", "user"):
        return _message(record, is_assistant=kind == "assistant")
    if kind == "system":
        return _system(record)
    if kind == "result":
        return _result(record)
    return unless_silent(kind, SILENT, record)


def _system(record: JsonObject) -> list[Finding]:
    subtype = string_at(record, "subtype")
    if subtype == "init":
        return [session(string_at(record, "session_id"), string_at(record, "model"))]
    if subtype == "api_retry":
        reason = words_of(record.get("error") or record.get("error_status"))
        return [retry(reason, number_at(record, "error_status"))]
    if subtype == "permission_denied":
        return [_denial(record, string_at(record, "message"))]
    return unless_silent(subtype, SILENT_NEWS, record)


def _denial(record: JsonObject, reason: str) -> Finding:
    tool_id = string_at(record, "tool_use_id")
    return denied(tool_id, string_at(record, "tool_name"), reason)


def _message(record: JsonObject, is_assistant: bool) -> list[Finding]:
    """Return what the blocks say; those of a sub-agent carry the tool use that began it."""
    content = at(record, "message", "content")
    blocks = content if isinstance(content, list) else [content]
    found = [_block(block, is_assistant) for block in blocks]
    if None in blocks:  # it stands elsewhere
        return [unknown(record)]
    if is_assistant and record.get("error"):
        found.append(failure(words_of(content) or words_of(record.get("error"))))
    parent = string_at(record, "parent_tool_use_id")
    if parent:
        found = [(kind, dict(payload, parent=parent)) for kind, payload in found]
    return found


def _words(words: str, is_assistant: bool) -> Finding:
    return text(words) if is_assistant else note(words)


def _block(block: object, is_assistant: bool) -> Finding:
    if not isinstance(block, dict):
        return _words(words_of(block), is_assistant)
    kind = string_at(block, "type")
    if kind == "text":
        return _words(words_at(block, "text"), is_assistant)
    if kind == "thinking":
        return thinking(words_at(block, "thinking"))
    if kind == "tool_use":
        name = string_at(block, "name")
        return tool_use(string_at(block, "id"), name, block.get("input"))
    if kind == "tool_result":
        is_error = block.get("is_error") is True
        tool_id = string_at(block, "tool_use_id")
        return tool_result(tool_id, block.get("content"), is_error)
    return unknown(block)


def _result(record: JsonObject) -> list[Finding]:
    found = [_denial(one, "") for one in objects_at(record, "permission_denials")]
    subtype = words_of(record.get("subtype"))
    is_error = record.get("is_error") is True or subtype.startswith("error")
    words = words_of(record.get("result"))
    if is_error:
        words = words or words_of(record.get("errors")) or subtype
    usage = counts(
        object_at(record, "usage"),
        **{
            INPUT_TOKENS: "input_tokens",
            OUTPUT_TOKENS: "output_tokens",
            CACHED_TOKENS: "cache_read_input_tokens",
        },
    )
    cost = number_at(record, "total_cost_usd")
    if record.get("session_id"):
        found.append(session(string_at(record, "session_id")))
    return [*found, end(is_error, words, usage, cost)]


PROGRAM = Program(
    name="claude",
    command=command,
    read=read,
    package="@anthropic-ai/claude-code",
    sign_in="claude auth login",
    levels={
        DEFAULT: (
            "reading files outside its folder",
            "changing what lies in its folder, hooks and settings there included",
        ),
        FULL: (
            "the network",
            "reading and writing files outside its folder",
            "everything else that you may do",
        ),
        BOXED: ("the network", "reading files outside its folder"),
    },
    state_paths=(
        "CLAUDE_CONFIG_DIR::.claude",
        "::.claude.json",
        "XDG_CACHE_HOME:claude:.cache/claude",
    ),
    login_check=("claude", "auth", "status"),
    needs=("bwrap", "socat"),
    variables={"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
    is_cost_cumulative=True,
    no_session=re.compile("No conversation found with session ID"),
    not_logged_in=re.compile("Not logged in|Please run /login"),
)
