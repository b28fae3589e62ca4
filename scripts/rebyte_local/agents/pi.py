"""pi, `pi -p --mode json`: messages that end, tools that run, and an agent that ends."""

from __future__ import annotations

import re

from rebyte_local.agents.findings import (
    CACHED_TOKENS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    Finding,
    counts,
    end,
    failure,
    retry,
    session,
    spent,
    text,
    thinking,
    tool_result,
    tool_use,
    unknown,
    unless_silent,
)
from rebyte_local.agents.program import BOXED, FULL, Program, Turn, option
from rebyte_local.agents.records import (
    number_at,
    object_at,
    objects_at,
    string_at,
    words_at,
    words_of,
)
from rebyte_local.formats import JsonObject

OTHER_ROLES = frozenset(("user", "toolResult"))
FAILURES = ("error", "aborted")
SILENT = frozenset(
    ("agent_start", "turn_start", "turn_end", "message_start", "message_update")
    + ("tool_execution_update", "auto_retry_end", "queue_update")
)


def command(turn: Turn) -> list[str]:
    """Return the words for a turn."""
    words = ["pi", "-p", "--mode", "json"]
    words += option("--model", turn.model)
    return words + option("--session", turn.session)


def read(record: JsonObject) -> list[Finding]:
    """Return what a record says."""
    kind = string_at(record, "type")
    if kind == "session":
        return [session(string_at(record, "id"))]
    if kind == "message_end":
        return _message(object_at(record, "message"))
    tool_id = string_at(record, "toolCallId")
    if kind == "tool_execution_start":
        return [tool_use(tool_id, string_at(record, "toolName"), record.get("args"))]
    if kind == "tool_execution_end":
        is_error = record.get("isError") is True
        return [tool_result(tool_id, record.get("result"), is_error)]
    if kind == "auto_retry_start":
        return [retry(words_of(record.get("errorMessage")))]
    if kind == "agent_end":
        return [_end(objects_at(record, "messages"))]
    return unless_silent(kind, SILENT, record)


def _message(message: JsonObject) -> list[Finding]:
    role = string_at(message, "role")
    if role != "assistant":
        return unless_silent(role, OTHER_ROLES, message)
    found = [session("", string_at(message, "model"))]
    for block in objects_at(message, "content"):
        kind = string_at(block, "type")
        if kind == "thinking":
            found.append(thinking(words_at(block, "thinking")))
        elif kind == "text":
            found.append(text(words_at(block, "text")))
        elif kind != "toolCall":  # its execution is told by lines of its own
            found.append(unknown(block))
    if isinstance(message.get("content"), str):
        found.append(text(string_at(message, "content")))
    usage = object_at(message, "usage")
    names = {INPUT_TOKENS: "input", OUTPUT_TOKENS: "output", CACHED_TOKENS: "cacheRead"}
    found.append(spent(counts(usage, **names), number_at(usage, "cost", "total")))
    if string_at(message, "stopReason") in FAILURES:
        found.append(failure(words_of(message.get("errorMessage"))))
    return found


def _end(messages: list[JsonObject]) -> Finding:
    """Return the last word: it ends with 0 also where its service refused it."""
    last = messages[-1] if messages else {}
    is_error = string_at(last, "stopReason") in FAILURES
    return end(is_error, words_of(last.get("errorMessage")))


PROGRAM = Program(
    name="pi",
    command=command,
    read=read,
    package="@mariozechner/pi-coding-agent",
    sign_in="start pi once and type /login, or set the key of a provider",
    # It has no setting that keeps it from anything.
    levels={
        FULL: (
            "the network",
            "reading and writing files outside its folder",
            "everything else that you may do",
        ),
        BOXED: ("the network", "reading files outside its folder"),
    },
    state_paths=("PI_CODING_AGENT_DIR::.pi/agent",),
    no_session=re.compile("No session found|session.{0,60}not found", re.I),
    not_logged_in=re.compile("No API key found|No models? available"),
)
