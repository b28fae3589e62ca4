"""One turn of a program as its stream tells it: events for the task, and the account of the end."""

from __future__ import annotations

import re
import time
from typing import Callable

from rebyte_local.agents.findings import SHOWN, Finding, unknown
from rebyte_local.agents.program import Program
from rebyte_local.agents.records import parse_line
from rebyte_local.formats import JsonObject

# Limits of a turn. Some programs never end by themselves when their service is away.
# Without a line that says that it gets on; a tool may take long.
SILENCE_SECONDS = 1200.0
RETRY_SECONDS = 120.0  # while it only tries its service again
REFUSED_SECONDS = 10.0  # while its service refuses it, which no try will change
TURN_SECONDS = 7200.0  # in all
END_SECONDS = 20.0  # between its last word and its end
GOING_ON = frozenset(("text", "thinking", "tool_use"))
REFUSALS = frozenset((400, 401, 403, 404))
STACK = "    at "  # how a line begins that tells where in a program something happened
SESSION_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,199}", re.ASCII)
WARNING_CHARACTERS = 300
DENIALS_SHOWN = 5
STDERR_CHARACTERS = 16 * 1024  # of a line of stderr, in which a reason is looked for


class Limits:
    """How long a turn may take, in seconds."""

    def __init__(
        self,
        silence: float = SILENCE_SECONDS,
        turn: float = TURN_SECONDS,
        retries: float = RETRY_SECONDS,
    ) -> None:
        self.silence = silence
        self.turn = turn
        self.retries = min(retries, silence)
        self.refusals = min(REFUSED_SECONDS, retries)


def _of_retries(
    is_refused: bool, limit: float, status: float | None, reason: str
) -> str:
    verb = "did not answer"
    if is_refused:
        verb = "refused it"
    reason = reason or "no reason was given"
    words = "its model service %s for %d seconds: %s" % (verb, limit, reason)
    if status:
        words += " (status %d)" % status
    return words


class TurnReader:
    """Takes a program's lines; has what they said and, at the end, what to make of it.

    `clock` tells seconds; `on_session(id)` is called once for the id of the conversation.
    """

    def __init__(
        self,
        program: Program,
        limits: Limits,
        on_session: Callable[[str], object] = lambda session_id: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._program = program
        self._limits = limits
        self._on_session = on_session
        self._clock = clock
        self._began = clock()
        self._progress_at = self._began
        self._retry: JsonObject | None = None
        self._denied: dict[str, str] = {}
        self._end: JsonObject | None = None
        self._pieces: list[str] = []
        self._is_open = False
        self._told = ""  # on stderr, of why it failed
        self._tool_ids: set[str] = set()
        self.session = ""
        self.model = ""
        self.tools = 0
        self.failed_tools = 0
        self.failure = ""
        self.usage: JsonObject = {}
        self.cost: float | None = None

    def __repr__(self) -> str:
        return "TurnReader(%s, ended=%r)" % (self._program.name, self._end is not None)

    def read(self, line: str) -> list[Finding]:
        """Take a line of stdout; return the events that it makes."""
        if not line.strip():
            return []
        record = parse_line(line)
        if record is None:
            return [("stdout", {"content": line})]
        shown = []
        for kind, payload in self._program.read(record):
            if kind == "tool_use" and self._is_known(payload["id"]):
                continue
            self._take(kind, payload)
            if kind == "text" and not payload["content"]:
                shown.append(unknown(record))  # its words stand where nobody looks
            elif kind in SHOWN and payload.get("content", True):
                shown.append((kind, payload))
        return shown

    def _is_known(self, tool_id: str) -> bool:
        """Return True for the use of a tool that was told before: some tell it twice."""
        is_known = bool(tool_id) and tool_id in self._tool_ids
        self._tool_ids.add(tool_id)
        return is_known

    def read_stderr(self, line: str) -> list[Finding]:
        """Take a line of stderr; return it as an event, unless it is one of a stack of calls."""
        head = line[:STDERR_CHARACTERS]
        retried = self._program.retry_line.search(head)
        if retried:
            self._retry = {"reason": retried.group(1), "status": None}
        told = self._program.reason_line.search(head)
        if told:
            self._told = told.group(1)
        if line.startswith(STACK):
            return []
        return [("stderr", {"content": line})]

    def _take(self, kind: str, payload: JsonObject) -> None:
        if kind == "retry":
            self._retry = payload
            return
        if kind in SHOWN:
            self._retry = None
            self._progress_at = self._clock()
        is_own = not payload.get("parent")
        if kind in GOING_ON and is_own:
            self._end = None  # it was the last word on an earlier part only
        takers = {
            "session": self._take_session,
            "text": self._take_text,
            "tool_use": self._take_tool_use,
            "tool_result": self._take_tool_result,
            "denied": self._take_denial,
            "failure": self._take_failure,
            "spent": self._take_costs,
            "end": self._take_end,
        }
        take = takers.get(kind)
        if take and is_own:
            take(payload)

    def _take_session(self, payload: JsonObject) -> None:
        self.model = payload.get("model") or self.model
        session = payload["id"]
        is_id = SESSION_ID.fullmatch(session)  # it goes into a command line later
        if is_id and session != self.session:
            self.session = session
            self._on_session(session)

    def _take_text(self, payload: JsonObject) -> None:
        content = payload["content"]
        if not content:
            return
        is_delta = bool(payload.get("is_delta"))
        if is_delta and self._is_open:
            self._pieces[-1] += content
        else:
            self._pieces.append(content)
        self._is_open = is_delta

    def _take_tool_use(self, payload: JsonObject) -> None:
        self.tools += 1
        self._pieces.clear()
        self._is_open = False

    def _take_tool_result(self, payload: JsonObject) -> None:
        self.failed_tools += payload["is_error"]

    def _take_denial(self, payload: JsonObject) -> None:
        key = payload["id"] or str(len(self._denied))
        words = payload["name"] or "a tool"
        if payload["reason"]:
            words += " (%s)" % payload["reason"]
        self._denied.setdefault(key, words)

    def _take_failure(self, payload: JsonObject) -> None:
        self.failure = payload["reason"] or self.failure
        self._end = None  # what fails after it outranks it

    def _take_costs(self, payload: JsonObject) -> None:
        """Add to what earlier parts cost, or take the new total where the program counts on."""
        usage = payload.get("usage") or {}
        cost = payload.get("cost")
        for name, count in usage.items():
            if not self._program.is_usage_cumulative:
                count += self.usage.get(name, 0)
            self.usage[name] = count
        if cost is None:
            return
        if not self._program.is_cost_cumulative:
            cost += self.cost or 0.0
        self.cost = cost

    def _take_end(self, payload: JsonObject) -> None:
        self._end = payload
        self._progress_at = self._clock()
        self._take_costs(payload)

    @property
    def words(self) -> str:
        """What was said after the last use of a tool."""
        said = []
        for piece in self._pieces:
            if piece.strip():
                said.append(piece.strip("\n"))
        return "\n\n".join(said)

    def overdue(self) -> str | None:
        """Return why the turn is to be ended now, None while it may go on."""
        now = self._clock()
        limits = self._limits
        quiet = now - self._progress_at
        took = now - self._began
        if took > limits.turn:
            return "it ran for more than %d seconds" % limits.turn
        if self._retry is not None:
            status = self._retry.get("status")
            is_refused = status in REFUSALS
            limit = limits.retries
            if is_refused:
                limit = limits.refusals
            if quiet > limit:
                reason = self._retry["reason"]
                return _of_retries(is_refused, limit, status, reason)
        if self._end is not None and quiet > END_SECONDS:
            return "it said that it was done, and did not end"
        if quiet > limits.silence:
            return "it gave no sign of life for %d seconds" % limits.silence
        return None

    def failed(self, code: int, last_words: str) -> str | None:
        """Return why the turn failed, None when it did not.

        The program's own last word outranks its exit code; without one it did not end well.
        """
        if self._has_ended_well():
            return None
        last_word = self._last_word()
        if last_word:
            return last_word
        if self.failure and self._told:
            return "%s (%s)" % (self.failure, self._told)
        if self.failure:
            return self.failure
        if last_words:
            return last_words
        name = self._program.name
        if code < 0:
            return "%s was ended by signal %d" % (name, -code)
        return "%s ended with exit code %d and no last word" % (name, code)

    def answer(self) -> str:
        """Return what it finally said."""
        return self.words or self._last_word()

    def _last_word(self) -> str:
        """Return what its end says, empty without an end."""
        if self._end is None:
            return ""
        return str(self._end["words"] or "")

    def warnings(self, code: int) -> list[str]:
        """Return what an honest reader wants to know of a turn besides its answer."""
        found = self._warnings_of_end(code)
        found += self._warnings_of_tools()
        is_empty = not self.answer().strip()
        if is_empty and self._has_ended_well():
            found.append("its answer is empty")
        return [words[:WARNING_CHARACTERS] for words in found]

    def _has_ended_well(self) -> bool:
        if self._end is None:
            return False
        return not self._end["is_error"]

    def _warnings_of_end(self, code: int) -> list[str]:
        if code == 0 or not self._has_ended_well():
            return []
        how = "exit code %d" % code
        if code < 0:
            how = "signal %d" % -code
        return ["it said that it was done, and ended with " + how]

    def _warnings_of_tools(self) -> list[str]:
        found = []
        if self._denied:
            names = list(self._denied.values())
            shown = ", ".join(names[:DENIALS_SHOWN])
            count = len(names)
            found.append("%d uses of tools were denied: %s" % (count, shown))
        has_failed = self.failed_tools >= self.tools
        if self.tools and has_failed:
            found.append("none of its %d uses of tools went well" % self.tools)
        return found
