"""opencode, `opencode run --format json`: parts of messages; no line for the end."""

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
    session,
    spent,
    text,
    thinking,
    tool_result,
    tool_use,
    unless_silent,
)
from rebyte_local.agents.program import BOXED, DEFAULT, FULL, Program, Turn, option
from rebyte_local.agents.records import (
    at,
    number_at,
    object_at,
    parse_line,
    string_at,
    words_at,
    words_of,
)
from rebyte_local.formats import JsonObject

OPTIONS = "OPENCODE_CONFIG_CONTENT"
# Without it, it asks; nobody answers, and then it stops without a word.
DENY_OUTSIDE = {"permission": {"external_directory": "deny"}}
ALLOW_OUTSIDE = {"permission": {"external_directory": "allow"}}
# Without its log it says nothing at all while its service is away.
LOGS = ("--print-logs", "--log-level", "ERROR")
SILENT = frozenset(("step_start",))
GOES_ON = ("tool-calls", "unknown", "")
DENIALS = re.compile(
    "rejected permission|permission.{0,40}den|rule.{0,40}prevent", re.I
)
MODEL = re.compile(r"[\"']?model[\"']?\s*:\s*[\"']")
FILE_BYTES = 1024 * 1024


def command(turn: Turn) -> list[str]:
    """Return the words for a turn."""
    words = ["opencode", "run", "--format", "json", *LOGS]
    words += option("-m", turn.model)
    words += option("--session", turn.session)
    return words


def read(record: JsonObject) -> list[Finding]:
    """Return what a record says; each carries the id of the conversation."""
    session_id = string_at(record, "sessionID")
    found = [session(session_id)] if session_id else []
    return found + _part(record, object_at(record, "part"))


def _part(record: JsonObject, part: JsonObject) -> list[Finding]:
    kind = string_at(record, "type")
    if kind == "text":
        return [text(words_at(part, "text"))]
    if kind == "reasoning":
        return [thinking(words_at(part, "text"))]
    if kind == "tool_use":
        return _tool(part)
    if kind == "step_finish":
        return _step(part)
    if kind == "error":
        return [failure(_reason(record))]
    return unless_silent(kind, SILENT, record)


def _reason(record: JsonObject) -> str:
    error = record.get("error")
    words = words_of(at(error, "data", "message")) or words_of(at(error, "name"))
    status = number_at(error, "data", "statusCode")
    words = words or words_of(error)
    return "%s (status %d)" % (words, status) if status else words


def _tool(part: JsonObject) -> list[Finding]:
    """Return the use of a tool and what came of it: it is told when it is over."""
    tool_id = string_at(part, "callID")
    name = string_at(part, "tool")
    state = object_at(part, "state")
    is_error = state.get("status") == "error"
    if number_at(state, "metadata", "exit"):
        is_error = True
    reason = words_of(state.get("error"))
    output = state.get("output") or reason
    found = [
        tool_use(tool_id, name, state.get("input")),
        tool_result(tool_id, output, is_error),
    ]
    if is_error and DENIALS.search(reason):
        found.append(denied(tool_id, name, reason))
    return found


def _step(part: JsonObject) -> list[Finding]:
    tokens = object_at(part, "tokens")
    names = {
        INPUT_TOKENS: "input",
        OUTPUT_TOKENS: "output",
        REASONING_TOKENS: "reasoning",
    }
    usage = counts(tokens, **names)
    usage.update(counts(object_at(tokens, "cache"), **{CACHED_TOKENS: "read"}))
    found = [spent(usage, number_at(part, "cost"))]
    reason = words_of(part.get("reason"))
    if reason == "stop":
        return [*found, end(False)]
    words = "its last step ended with %s, and no answer followed" % (
        reason or "nothing"
    )
    return [*found, failure(words) if reason in GOES_ON else end(True, words)]


def login_problem(environ: Mapping[str, str], model: str | None) -> str | None:
    """Return why it is not run: without a login or a model it asks a free service of its vendor."""
    if model or MODEL.search(environ.get(OPTIONS, "")) or _has_login(environ):
        return None
    paths = [environ.get("OPENCODE_CONFIG", "")]
    paths += [
        os.path.join(_folder(environ, "XDG_CONFIG_HOME", ".config"), name)
        for name in ("opencode.json", "opencode.jsonc", "config.json")
    ]
    if any(MODEL.search(_text(path)) for path in paths):
        return None
    return (
        "opencode has neither a login nor a model, and would send the prompt to a free service"
        " of its vendor; name one with --model PROVIDER/NAME, or log in"
    )


def _has_login(environ: Mapping[str, str]) -> bool:
    folder = _folder(environ, "XDG_DATA_HOME", ".local/share")
    return bool(parse_line(_text(os.path.join(folder, "auth.json"))))


def _folder(environ: Mapping[str, str], variable: str, usual: str) -> str:
    home = os.path.join(environ.get("HOME", ""), usual)
    return os.path.join(environ.get(variable) or home, "opencode")


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(FILE_BYTES)
    except (OSError, ValueError):
        return ""


PROGRAM = Program(
    name="opencode",
    command=command,
    read=read,
    package="opencode-ai",
    sign_in="opencode auth login",
    levels={
        DEFAULT: (
            "the network",
            "reading and writing files outside its folder, by programs that it runs",
        ),
        FULL: (
            "the network",
            "reading and writing files outside its folder",
            "everything else that you may do",
        ),
        BOXED: ("the network", "reading files outside its folder"),
    },
    state_paths=(
        "XDG_DATA_HOME:opencode:.local/share/opencode",
        "XDG_CONFIG_HOME:opencode:.config/opencode",
        "XDG_STATE_HOME:opencode:.local/state/opencode",
        "XDG_CACHE_HOME:opencode:.cache/opencode",
    ),
    login_problem=login_problem,
    variables={"OPENCODE_DISABLE_AUTOUPDATE": "1"},
    options={
        DEFAULT: (OPTIONS, DENY_OUTSIDE),
        FULL: (OPTIONS, ALLOW_OUTSIDE),
        BOXED: (OPTIONS, ALLOW_OUTSIDE),
    },
    retry_line=re.compile(r'"stream error".* small=false .*error\.error="([^"]*)"'),
    reason_line=re.compile(r'message=failed .*\berror="((?:[^"\\]|\\.)*)"'),
    no_session=re.compile("Session not found", re.I),
)
