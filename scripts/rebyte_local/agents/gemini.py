"""Gemini CLI, `--output-format stream-json`: messages in deltas, tools, and a result line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

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
    session,
    text,
    tool_result,
    tool_use,
    unknown,
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

MODES = {DEFAULT: ["--approval-mode", "auto_edit", "--allowed-tools=run_shell_command"]}
FREE_MODE = ["--approval-mode", "yolo"]
DENIALS = re.compile(
    "denied|not allowed|policy|require.{0,12} confirmation|not in workspace|Blocked Host",
    re.I,
)
BLOCKED = "Blocked: "
KEYS = (
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_GENAI_USE_GCA",
)
SETTINGS_BYTES = 1024 * 1024


def command(turn: Turn) -> list[str]:
    """Return the words for a turn."""
    words = ["gemini", "--output-format", "stream-json", "--skip-trust"]
    words += MODES.get(turn.level, FREE_MODE)
    words += option("-m", turn.model)
    words += option("--resume", turn.session)
    return words


def read(record: JsonObject) -> list[Finding]:
    """Return what a record says; what the owner said is not told again."""
    kind = string_at(record, "type")
    if kind == "message":
        return _message(record, words_at(record, "content"))
    if kind == "init":
        return [session(string_at(record, "session_id"), string_at(record, "model"))]
    if kind == "tool_use":
        name = string_at(record, "tool_name")
        return [tool_use(string_at(record, "tool_id"), name, record.get("parameters"))]
    if kind == "tool_result":
        return _tool_result(record)
    if kind == "error":
        words = words_at(record, "message")
        return [note(words), failure(words)]
    if kind == "result":
        return [_result(record)]
    return [unknown(record)]


def _message(record: JsonObject, words: str) -> list[Finding]:
    role = record.get("role")
    if role == "user":
        return []
    if role in ("assistant", "model", None):
        return [text(words, is_delta=record.get("delta") is True)]
    return [note(words)]


def _tool_result(record: JsonObject) -> list[Finding]:
    tool_id = string_at(record, "tool_id")
    reason = words_of(record.get("error"))
    output = words_of(record.get("output")) or reason
    is_blocked = output.startswith(BLOCKED)  # told as a success
    is_error = record.get("status") == "error" or is_blocked
    reason = reason or output
    found = [tool_result(tool_id, output, is_error)]
    if is_blocked or (is_error and DENIALS.search(reason)):
        found.append(denied(tool_id, tool_id.partition("__")[0], reason))
    return found


def _result(record: JsonObject) -> Finding:
    stats = object_at(record, "stats")
    usage = counts(
        stats,
        **{
            INPUT_TOKENS: "input_tokens",
            OUTPUT_TOKENS: "output_tokens",
            CACHED_TOKENS: "cached",
        },
    )
    is_error = record.get("status") == "error" or bool(record.get("error"))
    return end(is_error, words_of(record.get("error")), usage)


def login_problem(environ: Mapping[str, str], model: str | None) -> str | None:
    """Return why nobody is logged in: neither a key in the environment nor a chosen method."""
    home = environ.get("GEMINI_CLI_HOME") or environ.get("HOME", "")
    files = [os.path.join(home, *parts) for parts in ((".gemini", ".env"), (".env",))]
    if any(environ.get(name) for name in KEYS) or any(map(os.path.exists, files)):
        return None
    try:
        path = os.path.join(home, ".gemini", "settings.json")
        with open(path, encoding="utf-8") as file:
            settings = parse_line(file.read(SETTINGS_BYTES))
    except (OSError, ValueError):
        settings = {}
    if settings is None:  # with comments: it reads them, we do not
        return None
    if at(settings, "security", "auth", "selectedType"):
        return None
    return "gemini is not logged in"


PROGRAM = Program(
    name="gemini",
    command=command,
    read=read,
    package="@google/gemini-cli",
    sign_in="start gemini once and choose how to log in, or set GEMINI_API_KEY",
    levels={
        DEFAULT: (
            "the network",
            "reading and writing files outside its folder, by shell commands",
        ),
        FULL: (
            "the network",
            "reading and writing files outside its folder, by shell commands",
            "everything else that you may do",
        ),
        BOXED: ("the network", "reading files outside its folder"),
    },
    state_paths=("GEMINI_CLI_HOME:.gemini:.gemini",),
    login_problem=login_problem,
    # It starts itself a second time, and signals to the first process do nothing.
    variables={"GEMINI_CLI_NO_RELAUNCH": "true"},
    retry_line=re.compile(r"(Attempt \d+ failed.*)"),
    no_session=re.compile("No previous sessions found|Error resuming session", re.I),
    not_logged_in=re.compile("set an Auth method|must specify the GEMINI_API_KEY"),
)
