"""A command's document as a tool's result: the same error and next, in the words of the tools."""

from __future__ import annotations

import json
import re
import shlex

from rebyte_commands.mcp.tools import CANCEL, FETCH, LIST, LOOK, REPLY, START
from rebyte_commands.shell.arguments import parse
from rebyte_wire.errors import RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from rebyte_types import Json

BUDGET_BYTES = 8192
# Longer than this, a text is cut where the whole does not fit.
TEXT_LEAST_CHARACTERS = 200
PROGRAM = "rebyte_cli.py"
SAME = "the same arguments as before"
ASK = "Please run this in a terminal, if you agree: %s"
CUT = " [cut]"
# What a tool takes is worth to be told again.
WRONG_CALL = ("usage", "invalid_input", "validation_error")
# What to do about an error that says nothing of it itself.
REMEDIES = {
    "not_found": "list_tasks shows the tasks that were started from here, with their ids",
    "no_question": "look tells what a task asks; reply with prompt gives it one more turn",
    "no_repository": "code is a folder of a git repository; single files go with files",
}
LEADING_FLAG = re.compile("--(?=[a-z]+ )")
# What is of no use in part: where the whole lies, and what is to be called.
WHOLE = frozenset(("id", "url", "answerPath", "transcriptPath", "files", "next"))
# More entries than this, at two bytes each, do not fit anyway.
ENTRIES_MOST = BUDGET_BYTES // 2
SHORTENED = "of each list and object in here at most %d entries are shown"


def tool_result(document: Json, hint: str = "") -> Json:
    """Return the result of tools/call: the document as text and as structured content, 8 KB at
    most; an error of the tool sets the flag.

    `hint` says what a wrong call should have been, where the error says nothing of its own.
    """
    shown = _translated(document, hint)
    if "tasks" in shown:
        shown["tasks"] = [_translated(row, hint) for row in shown["tasks"]]
    shown = _within_budget(shown)
    return {
        "content": [{"type": "text", "text": _text(shown)}],
        "structuredContent": shown,
        "isError": "error" in shown,
    }


def _translated(document: Json, hint: str) -> Json:
    """Return a document, or one task's row of it, with its error and its steps in our words."""
    shown = _without_next(document)
    if "error" in shown:
        shown["error"] = _with_hint(without_flags(shown["error"]), hint)
    steps = [_step(step) for step in document.get("next", [])]
    return {**shown, "next": steps} if steps else shown


def error_result(problem: RebyteError, hint: str) -> Json:
    """Return the result of a call that came to nothing before any command ran."""
    result = tool_result({"error": problem.as_dict(), "next": problem.next}, hint)
    # These words are our own, for the owner of this server.
    if problem.hint:
        result["structuredContent"]["error"]["hint"] = problem.hint
        result["content"][0]["text"] = _text(result["structuredContent"])
    return result


def _with_hint(error: Json, hint: str) -> Json:
    """Return an error with something to do about it, where the request is at fault."""
    code = error.get("code")
    told = error.get("hint") or REMEDIES.get(str(code))
    if code in WRONG_CALL:
        told = told or hint
    return {**error, "hint": told} if told else error


def without_flags(error: Json) -> Json:
    """Return an error whose words speak of no flags: nobody types them here."""
    hint = error.get("hint", "")
    named = LEADING_FLAG.match(error.get("message", ""))
    if named:
        error = {**error, "message": error["message"][named.end() :]}
    if "--" in hint or PROGRAM in hint:
        return {name: value for name, value in error.items() if name != "hint"}
    return error


def _step(step: Json) -> Json:
    """Return an entry of next: a call of a tool, or words for the human."""
    if "run" not in step:
        return step
    call = _call_for(step["run"])
    if call is None:
        return {"why": step["why"], "ask": ASK % step["run"]}
    return {"why": step["why"], **call}


def _call_for(line: str) -> Json | None:
    """Return the tool and the arguments that stand for a command line, None where no tool does."""
    try:
        # The first two words are the interpreter and the program.
        options, _ = parse(shlex.split(line)[2:], PROGRAM)
    except (RebyteError, ValueError, SystemExit):
        return None
    make = CALLS.get(options.verb)
    return make(options) if make else None


def _look(options: Namespace) -> Json:
    if getattr(options, "out", None):
        return _call(FETCH, id=options.id, folder=options.out)
    return _call(LOOK, ids=[options.id])


def _wait(options: Namespace) -> Json:
    return _call(LOOK, ids=options.id)


def _follow_up(options: Namespace) -> Json:
    prompt = options.prompt or options.prompt_flag
    return _call(REPLY, id=options.id, prompt=prompt or SAME)


def _reply(options: Namespace) -> Json:
    if options.option:
        return _call(
            REPLY, id=options.id, option=[str(word) for word in options.option]
        )
    return _call(REPLY, id=options.id, say=options.say)


def _fetch(options: Namespace) -> Json:
    return _call(FETCH, id=options.id, folder=options.out)


def _cancel(options: Namespace) -> Json:
    return _call(CANCEL, ids=options.id)


def _list(options: Namespace) -> Json:
    return _call(LIST)


def _start(options: Namespace) -> Json | None:
    # A second paid task is for the human to decide.
    return None if options.again else _call(START, **{"...": SAME})


def _call(name: str, **arguments: Any) -> Json:
    given = {key: value for key, value in arguments.items() if value not in (None, [])}
    return {"tool": name, "arguments": given}


CALLS = {
    "result": _look,
    "wait": _wait,
    "follow-up": _follow_up,
    "reply": _reply,
    "artifacts get": _fetch,
    "cancel": _cancel,
    "ledger list": _list,
    "create": _start,
    "run": _start,
}


def _within_budget(document: Json) -> Json:
    """Return a document that is short enough: its longest texts cut where that is needed, and where
    that does not do, its lists and the objects in it. A step of next is there whole or not at all.
    """
    if len(_text({"next": document.get("next")})) > BUDGET_BYTES // 2:
        document = _without_next(document)
    limit = BUDGET_BYTES
    while _is_too_long(document) and limit > TEXT_LEAST_CHARACTERS:
        limit = max(limit // 2, TEXT_LEAST_CHARACTERS)
        document = {
            name: value if name in WHOLE else _cut(value, limit)
            for name, value in document.items()
        }
    most = ENTRIES_MOST
    while _is_too_long(document) and most > 1:
        most //= 2
        shown = {
            name: value if name == "next" else _shortened(value, most)
            for name, value in document.items()
        }
        document = {**shown, "cut": SHORTENED % most}
    if not _is_too_long(document):
        return document
    cut: Json = _cut(_without_next(document), TEXT_LEAST_CHARACTERS)
    return cut


def _without_next(document: Json) -> Json:
    return {name: value for name, value in document.items() if name != "next"}


def _is_too_long(document: Json) -> bool:
    return len(_text(document)) > BUDGET_BYTES


def _shortened(value: Any, most: int) -> Any:
    """Return a value with so many entries in each list and each object."""
    if isinstance(value, list):
        return [_shortened(item, most) for item in value[:most]]
    if isinstance(value, dict):
        short = [name for name in value if len(name) <= TEXT_LEAST_CHARACTERS]
        return {name: _shortened(value[name], most) for name in short[:most]}
    return value


def _cut(value: Any, limit: int) -> Any:
    if isinstance(value, dict):
        return {name: _cut(item, limit) for name, item in value.items()}
    if isinstance(value, list):
        return [_cut(item, limit) for item in value]
    if isinstance(value, str) and len(value) > limit:
        return value[: limit - len(CUT)] + CUT
    return value


def _text(document: Json) -> str:
    return json.dumps(document, separators=(",", ":"))
