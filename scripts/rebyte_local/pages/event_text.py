"""One event as a person wants to read it: a piece of text, folded where it may be long."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from rebyte_local.formats import JsonObject

SUMMARY_CHARACTERS = 120
RULE = "\u2500\u2500 "
CAPITAL = re.compile("[A-Z]")
# Of what is given to a tool, the first of these says most.
TELLING_KEYS = ("command", "cmd", "file_path", "filePath", "path", "query", "code")


class Piece(NamedTuple):
    """Text of a kind (a class of the page's style); with a summary it is folded behind that."""

    kind: str
    text: str
    summary: str = ""


def readable_event(line: str) -> Piece:
    """Return a stored event as a piece; an event of an unknown type is an empty note."""
    event = json.loads(line)
    kind = event["eventType"]
    payload = event["payload"]
    if kind in ("stdout", "stderr"):
        return Piece(kind, payload["content"] + "\n")
    if kind == "text":
        return _words(payload["content"], payload)
    if kind == "result":
        return _result(payload)
    tellers = {
        "init": _init,
        "thinking": _thinking,
        "tool_use": _tool_use,
        "tool_result": _tool_result,
        "agent_event": _agent_event,
        "files_changed": _files_changed,
        "ask_user_question": _question,
    }
    tell = tellers.get(kind)
    return tell(payload) if tell else Piece("note", "")


def _words(words: str, payload: JsonObject) -> Piece:
    return Piece("text", words if payload.get("is_delta") else words + "\n")


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0]
    if len(line) <= SUMMARY_CHARACTERS:
        return line
    return line[: SUMMARY_CHARACTERS - 1] + "\u2026"


def _init(payload: JsonObject) -> Piece:
    model = payload.get("model")
    if not model or payload.get("rehearsal") or not payload.get("executor"):
        return Piece("note", "")
    return Piece("note", "%s%s, %s\n" % (RULE, payload["executor"], model))


def _thinking(payload: JsonObject) -> Piece:
    words = payload.get("content") or ""
    return Piece("note", words, "thinking: " + _first_line(words))


def _tool_use(payload: JsonObject) -> Piece:
    given = payload.get("input")
    text = given if isinstance(given, str) else json.dumps(given, indent=1)
    shown = text
    if isinstance(given, dict):
        texts = [given.get(key) for key in TELLING_KEYS]
        shown = next((text for text in texts if isinstance(text, str)), "")
    summary = "%s%s  %s" % (RULE, payload["name"], _first_line(shown))
    return Piece("note", text, summary.rstrip())


def _tool_result(payload: JsonObject) -> Piece:
    output = payload.get("output") or ""
    kind = "note"
    word = "done"
    if payload["is_error"]:
        kind = "failed"
        word = "failed"
    if not output:
        return Piece(kind, "%s%s\n" % (RULE, word))
    return Piece(kind, output, "%s%s  %s" % (RULE, word, _first_line(output)))


def _agent_event(payload: JsonObject) -> Piece:
    words = payload["content"]
    if payload["name"] == "note":
        return Piece("note", words + "\n")
    return Piece("note", words, RULE + payload["name"])


def _files_changed(payload: JsonObject) -> Piece:
    lines = ["%(kind)-8s %(path)s" % file for file in payload["files"]]
    return Piece("note", "\n".join(["%schanged files" % RULE, *lines, ""]))


def _result(payload: JsonObject) -> Piece:
    """Return what the end tells: words, if any stand there alone, and what they cost."""
    words = payload.get("result")
    if words:
        return _words(words, payload)
    usage = payload.get("usage") or {}
    told = ["%s %s" % (n, _spaced(name)) for name, n in usage.items() if n]
    if payload.get("costUsd"):
        told.append("%.4f USD" % payload["costUsd"])
    return Piece("note", "%s%s\n" % (RULE, ", ".join(told)) if told else "")


def _spaced(name: str) -> str:
    """Return a name of the API in words: inputTokens as input tokens."""
    return CAPITAL.sub(lambda found: " " + found.group().lower(), name)


def _question(payload: JsonObject) -> Piece:
    lines = ["? " + payload["question"]]
    lines += ["  %d. %s" % (n, o["label"]) for n, o in enumerate(payload["options"], 1)]
    return Piece("ask", "\n".join(lines) + "\n")
