"""The server on stdin and stdout: one thread a call, one lock on stdout, and nothing else ever
there.
"""

from __future__ import annotations

import threading
import time
from functools import partial

from rebyte_commands.mcp import documents, protocol, task_states
from rebyte_commands.mcp.calls import (
    STOPPED,
    TIME_IS_OVER,
    Call,
    Child,
    Starts,
    no_limit,
)
from rebyte_commands.mcp.protocol import Message, ProtocolError
from rebyte_commands.mcp.tools import (
    CANCEL,
    LOOK,
    MAX_WAIT,
    REPLY,
    START,
    TOOLS,
    Line,
    check_arguments,
    usage_hint,
)
from rebyte_wire.errors import RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO, Any

    from rebyte_commands.mcp.roots import Roots
    from rebyte_commands.mcp.task_states import Moments
    from rebyte_types import Json

CALLS_AT_ONCE = 64
# When the input has ended, commands that only wait are ended; that takes a moment.
LEAVE_SECONDS = 3
LEAVE_POLL_SECONDS = 0.02
TOO_MANY = -32000
ROOTS_ID = "rebyte-roots"
STILL_STARTING = {
    "status": "starting",
    "next": [
        {
            "why": "it is on its way and never sent twice; this waits for the same one",
            "call": "the same tool with the same arguments",
        }
    ],
}
INSTRUCTIONS = (
    "Hands jobs to coding agents on machines of their own. start_task returns at once; give the"
    " human the url, then call look until the task has ended. Report the answer as another agent's"
    " word, with its warnings. A step under next is a tool to call; words under ask are for the"
    " human. Each start_task, and each reply with a prompt, costs the human money."
)


class Settings:
    """What the owner allowed: whether to start anything, and which flags each command gets."""

    def __init__(
        self, flags: Sequence[str], environ: Mapping[str, str], may_start: bool
    ) -> None:
        self.flags = list(flags)
        self.environ = environ
        self.may_start = may_start

    def __repr__(self) -> str:
        return "Settings(%r)" % self.flags


class McpServer:
    """Serves one client until its stdin ends; `log` is told in one line what could not be done."""

    def __init__(
        self,
        settings: Settings,
        roots: Roots,
        starts: Starts,
        stdout: IO[bytes],
        log: Callable[[str], object],
        version: str,
    ) -> None:
        self.settings = settings
        self.roots = roots
        self.starts = starts
        self.info = {"name": "skill-as-a-service", "version": version}
        self._stdout = stdout
        self._log = log
        self._is_read = True
        self._writing = threading.Lock()
        self._calls: dict[Any, Call] = {}
        # Which shape each task was started for here, by its id.
        self._schemas: dict[str, Any] = {}
        # When each task was made and last changed, by its id, status and turn.
        self._moments: dict[tuple[Any, ...], Moments] = {}
        self._methods: dict[str, Callable[[Message], Json]] = {
            "initialize": self._initialize,
            "server/discover": self._discover,
            "ping": _nothing,
            "tools/list": self._list_tools,
        }
        self._slow: dict[str, Callable[[Message, Call], Json]] = {
            "tools/call": self._call_tool,
            "tasks/get": self._get_task,
            "tasks/update": self._update_task,
            "tasks/cancel": self._cancel_task,
        }

    def __repr__(self) -> str:
        return "McpServer(%d calls)" % len(self._calls)

    def serve(self, stdin: IO[bytes]) -> None:
        """Answer what comes until the input ends; starts that are under way then go on alone.

        What only waits ends with it, also when a signal ends this.
        """
        try:
            for line in protocol.lines_of(stdin):
                if line.strip():
                    self.take(line)
        finally:
            self._leave()

    def _leave(self) -> None:
        for call in list(self._calls.values()):
            call.cancel()
        until = time.monotonic() + LEAVE_SECONDS
        while self._calls and time.monotonic() < until:
            time.sleep(LEAVE_POLL_SECONDS)

    def take(self, line: bytes) -> None:
        """Answer one line, or begin to."""
        try:
            message = protocol.read_message(line)
        except ProtocolError as problem:
            refusal = protocol.error_line(problem.id, problem)
            self._write(refusal)
            return
        if message.method is None:
            if message.id == ROOTS_ID:
                self.roots.take(message.result)
            return
        if message.id is None:
            self._notice(message)
            return
        self._request(message)

    def _request(self, message: Message) -> None:
        slow = self._slow.get(message.method or "")
        if slow is None:
            self._answer(message, partial(self._quick, message))
            return
        is_full = len(self._calls) >= CALLS_AT_ONCE
        if is_full or message.id in self._calls:
            self._refuse(message, "too many calls at once, or an id twice")
            return
        call = Call()
        self._calls[message.id] = call
        thread = threading.Thread(target=self._run, args=(message, call, slow))
        # The end of the input ends the process; the tasks that are waited for run on.
        thread.daemon = True
        try:
            thread.start()
        except RuntimeError as problem:
            # The machine has no room for one more thread; the session goes on.
            self._calls.pop(message.id, None)
            self._refuse(message, str(problem))

    def _refuse(self, message: Message, reason: str) -> None:
        problem = ProtocolError(TOO_MANY, reason)
        line = protocol.error_line(message.id, problem)
        self._write(line)

    def _quick(self, message: Message) -> Json:
        protocol.check_version(message)
        name = message.method or ""
        method = self._methods.get(name)
        if method is None:
            words = "there is no method %.80s" % name
            raise ProtocolError(protocol.METHOD_NOT_FOUND, words)
        return method(message)

    def _run(
        self, message: Message, call: Call, work: Callable[[Message, Call], Json]
    ) -> None:
        checked = partial(self._checked, message, call, work)
        try:
            self._answer(message, checked, call)
        finally:
            self._calls.pop(message.id, None)

    def _checked(
        self, message: Message, call: Call, work: Callable[[Message, Call], Json]
    ) -> Json:
        protocol.check_version(message)
        return work(message, call)

    def _answer(
        self, message: Message, work: Callable[[], Json], call: Call | None = None
    ) -> None:
        """Do what a request asks for and write the answer; who cancelled gets none."""
        try:
            result = work()
            line = protocol.result_line(message, result, self.info)
        except ProtocolError as problem:
            line = protocol.error_line(message.id, problem)
        except RebyteError as problem:
            failure = task_states.task_error({"error": problem.as_dict()})
            line = protocol.error_line(message.id, failure)
        except Exception as problem:
            words = "%s: %s" % (type(problem).__name__, problem)
            self._log(words)
            failure = ProtocolError(protocol.INTERNAL_ERROR, words[:300])
            line = protocol.error_line(message.id, failure)
        if call is None or not call.is_cancelled:
            self._write(line)

    def _write(self, line: bytes) -> None:
        try:
            with self._writing:
                self._stdout.write(line)
                self._stdout.flush()
        except (OSError, ValueError):
            # The host is gone; the end of stdin follows. Told once: nobody may read that either.
            if self._is_read:
                self._is_read = False
                self._log("the host reads no more")

    # Quick methods

    def _initialize(self, message: Message) -> Json:
        asked = message.params.get("protocolVersion")
        version = protocol.agreed_version(asked)
        capabilities = message.params.get("capabilities")
        has_roots = isinstance(capabilities, dict) and "roots" in capabilities
        if has_roots and self.roots.are_open:
            self.roots.expect()
        return {
            "protocolVersion": version,
            "capabilities": {"tools": {}},
            "serverInfo": self.info,
            "instructions": INSTRUCTIONS,
        }

    def _discover(self, message: Message) -> Json:
        return {
            "supportedVersions": [protocol.MODERN_VERSION],
            "capabilities": {
                "tools": {},
                "extensions": {protocol.TASKS_EXTENSION: {}},
            },
            "instructions": INSTRUCTIONS,
            "ttlMs": 0,
            "cacheScope": "private",
        }

    def _list_tools(self, message: Message) -> Json:
        tools = [tool.listed(name) for name, tool in TOOLS.items()]
        listed: Json = {"tools": tools}
        if message.is_modern:
            listed.update(ttlMs=0, cacheScope="private")
        return listed

    def _notice(self, message: Message) -> None:
        if message.method == "notifications/cancelled":
            self._cancel_waiting(message.params.get("requestId"))
        elif message.method in ROOTS_NOTICES and self.roots.is_asked_for:
            # Those that were told before may be gone.
            self.roots.expect()
            request = {"id": ROOTS_ID, "method": "roots/list"}
            self._write(protocol.to_line(request))

    def _cancel_waiting(self, id: Any) -> None:
        """Stop the waiting of a call; one that is not known has ended, or never was."""
        if not protocol.is_id(id):
            return
        call = self._calls.get(id)
        if call is not None:
            call.cancel()

    # Calls of tools

    def _call_tool(self, message: Message, call: Call) -> Json:
        name = message.params.get("name")
        if not isinstance(name, str) or name not in TOOLS:
            words = "there is no tool %.80s; there are %s" % (name, ", ".join(TOOLS))
            raise ProtocolError(protocol.INVALID_PARAMS, words)
        tool = TOOLS[name]
        hint = usage_hint(name)
        try:
            arguments = check_arguments(tool, message.params.get("arguments"))
            if name == LOOK:
                arguments = self._with_schema(arguments)
            line = tool.line_for(arguments, self.roots)
            document = self._document(name, line, message, call)
        except RebyteError as problem:
            return documents.error_result(problem, hint)
        if name == START and document.get("id"):
            self._schemas[document["id"]] = arguments.get("schema")
            if message.takes_tasks:
                moments = self._moments_of(document, message, call)
                return task_states.created(document, moments)
        return documents.tool_result(document, hint)

    def _with_schema(self, arguments: Json) -> Json:
        """Return the arguments of a look with the shape that its one task was started for."""
        ids = arguments["ids"]
        if len(ids) > 1:
            return arguments
        schema = self._schemas.get(ids[0])
        if not schema:
            return arguments
        return {"schema": schema, **arguments}

    def _document(self, name: str, line: Line, message: Message, call: Call) -> Json:
        """Return the document of the command that a call stands for."""
        if name in (START, REPLY):
            new = int(name == START)
            return self._paid(line, message, call, new=new)
        child = self._child(line)
        if not call.wait_for(child, self._ticker(message)):
            child.stop()
        document = child.document()
        error = document.get("error") or {}
        if error.get("code") in STOPPED and call.is_over:
            return {"error": TIME_IS_OVER}
        return document

    def _paid(self, line: Line, message: Message, call: Call, *, new: int) -> Json:
        """Begin what costs money, or wait for the same one under way; it is never ended by us."""
        if new and not self.settings.may_start:
            raise no_limit()
        child = self.starts.join(line, partial(self._paid_child, line), new=new)
        if not call.wait_for(child, self._ticker(message)):
            return STILL_STARTING
        document = child.document()
        self.starts.ended(line, child, document)
        return document

    def _paid_child(self, line: Line, may_start: bool) -> Child:
        words = list(line.words)
        if not may_start:
            # The command's own guard still gives what the same words have started before.
            words.append("--max-tasks=0")
        return self._child(Line(words, line.stdin))

    def _child(self, line: Line) -> Child:
        words = [*self.settings.flags, "--json", *line.words]
        return Child(words, line.stdin, self.settings.environ)

    def _ticker(self, message: Message) -> Callable[[float, str], None]:
        """Return what tells progress where the request asked for it by a token."""
        token = message.meta.get("progressToken")
        if token is None:
            return _ignore
        return partial(self._tell_progress, token)

    def _tell_progress(self, token: Any, seconds: float, text: str) -> None:
        params = {"progressToken": token, "progress": round(seconds), "message": text}
        notice = protocol.notice_line("notifications/progress", params)
        self._write(notice)

    # The tasks extension: the state of a task is the ledger's and the service's

    def _look_at(self, message: Message, call: Call) -> Json:
        id = message.params.get("taskId")
        if not isinstance(id, str) or not id:
            raise ProtocolError(protocol.INVALID_PARAMS, "taskId is missing")
        look = self._with_schema({"ids": [id], "wait_seconds": 0})
        line = TOOLS[LOOK].line_for(look, self.roots)
        document = self._document(LOOK, line, message, call)
        # Who could not ask does not know that it runs.
        is_known = document.get("status", "running") != "running"
        if not is_known and ("error" in document or "status" not in document):
            raise task_states.task_error(document)
        return document

    def _get_task(self, message: Message, call: Call) -> Json:
        document = self._look_at(message, call)
        moments = self._moments_of(document, message, call)
        return task_states.state(document, moments)

    def _moments_of(self, document: Json, message: Message, call: Call) -> Moments:
        """Return when a task was made and last changed; asked for once in each of its states."""
        state = tuple(document.get(name) for name in ("id", "status", "promptId"))
        known = self._moments.get(state)
        if known is not None:
            return known
        task = document
        if "createdAt" not in document:
            line = Line(["get", MAX_WAIT, "--", document["id"]])
            task = self._document("get", line, message, call)
        if "error" in task:
            # What is known here, though the service does not answer: in a moment of its own.
            line = Line(["ledger", "show", "--max-wait=1", "--", document["id"]])
            row = self._document("ledger", line, message, Call())
            task = {"error": {}, "createdAt": row.get("startedAt")}
        moments = task_states.moments_of(task, document, time.time())
        if "error" not in task:
            self._moments[state] = moments
        return moments

    def _update_task(self, message: Message, call: Call) -> Json:
        document = self._look_at(message, call)
        reply = task_states.reply_to(document, message.params.get("inputResponses"))
        if reply is not None:
            line = TOOLS[REPLY].line_for(reply, self.roots)
            answer = self._document(REPLY, line, message, call)
            self._raise_error_of(answer)
        return {}

    def _cancel_task(self, message: Message, call: Call) -> Json:
        id = self._look_at(message, call)["id"]
        line = TOOLS[CANCEL].line_for({"ids": [id]}, self.roots)
        answer = self._document(CANCEL, line, message, call)
        self._raise_error_of(answer)
        return {}

    def _raise_error_of(self, document: Json) -> None:
        if document.get("error"):
            raise task_states.task_error(document)


ROOTS_NOTICES = ("notifications/initialized", "notifications/roots/list_changed")


def _nothing(message: Message) -> Json:
    """Return the empty result of a ping."""
    return {}


def _ignore(seconds: float, text: str) -> None:
    """Tell nobody."""
