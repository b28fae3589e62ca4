"""One prompt while it runs: what its executor can do, and how others stop it."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from functools import partial

from rebyte_local.execution.processes import (
    Allowance,
    Process,
    ProcessResult,
    why_not_started,
)
from rebyte_local.formats import JsonObject
from rebyte_local.service import Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    AnswerFuture = Future[str | None]
    # Makes events, (type, payload) pairs, of a stream's name and one of its lines.
    LineReader = Callable[[str, str], list[tuple[str, JsonObject]]]
else:
    AnswerFuture = Future

KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME")


def run_mark(service: Service, prompt_id: str) -> tuple[str, str]:
    """Return the variable that marks the processes of a prompt, also for a later server."""
    return "LOCAL_SERVER_RUN", service.token("run " + prompt_id)[:32]


def _plain_events(stream: str, line: str) -> list[tuple[str, JsonObject]]:
    return [(stream, {"content": line})]


class Stopped(Exception):
    """The prompt was canceled, or the server is stopping."""


class Answer:
    """What an executor answers: the text, and whether it is the reason of a failure.

    `is_streamed` says that the text went out as events already. `account` is what the prompt
    tells besides: executor, model, usage, costUsd, warnings.
    """

    def __init__(
        self,
        text: str,
        is_failure: bool = False,
        is_streamed: bool = False,
        account: JsonObject | None = None,
    ) -> None:
        self.text = text
        self.is_failure = is_failure
        self.is_streamed = is_streamed
        self.account = account or {}


class Question(AnswerFuture):
    """Its result is the answer, or None when the run was stopped; the first answer counts."""

    def __init__(self, action_id: int, options: list[str]) -> None:
        super().__init__()
        self.action_id = action_id
        self.message_id = str(uuid.uuid4())
        self.options = options

    def is_meant_by(self, reply: JsonObject) -> bool:
        """Return True when a reply names this question."""
        given = (str(reply.get("messageId")), str(reply.get("actionId")))
        return given == (self.message_id, str(self.action_id))

    def resolve(self, answer: str | None) -> bool:
        """Give the answer; return False when there was one before."""
        try:
            self.set_result(answer)
        except InvalidStateError:
            return False
        return True


class PromptRun:
    """A running prompt; a context manager that holds its scratch folder.

    Attributes: task and prompt (rows), path (the workspace, the real machine's /code), env (of
    its processes), timeline (its events).
    """

    def __init__(self, service: Service, prompt_id: str) -> None:
        self.service = service
        self.prompt = service.tasks.prompt(prompt_id)
        self.task = service.tasks.get_with_deleted(self.prompt["task"])
        self.timeline = service.events.timeline(prompt_id)
        self.path = ""
        self.env: dict[str, str] = {}
        self.question: Question | None = None
        self.stopped = threading.Event()
        self.is_canceled = False
        self._scratch = ""
        self._process: Process | None = None
        self._lock = threading.Lock()
        self._is_truncated = False

    def __repr__(self) -> str:
        return "PromptRun(%s, stopped=%r)" % (self.prompt["id"], self.stopped.is_set())

    def __enter__(self) -> PromptRun:
        self.path = self.service.workspace_path(self.task["workspace"])
        self._scratch = tempfile.mkdtemp(
            dir=os.path.join(self.service.folder, "scratch")
        )
        self.env = self._environment()
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        """Return the variables of the prompt's processes: little of the server's own."""
        env = {"PATH": os.defpath, "LANG": "C.UTF-8"}
        env.update(
            (name, os.environ[name]) for name in KEPT_VARIABLES if name in os.environ
        )
        env.update(
            HOME=self.path,
            PWD=self.path,
            TMPDIR=self._scratch,
            TERM="dumb",
            PYTHONUNBUFFERED="1",
            PYTHONDONTWRITEBYTECODE="1",
            ARTIFACTS_DIR=os.path.join(self.path, "artifacts"),
        )
        return env

    def write_scratch(self, name: str, text: str) -> str:
        """Write a file that goes with the run; return its path."""
        path = os.path.join(self._scratch, name)
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        return path

    def instructed(self, text: str) -> str:
        """Return a text with the standing instructions of the workspace's computer before it."""
        computer = self.service.database.find("computers", self.task["workspace"])
        instructions = computer["instructions"] if computer else None
        return "%s\n\n%s" % (instructions, text) if instructions else text

    @property
    def scratch(self) -> str:
        """The folder for temporary files; it goes with the run."""
        return self._scratch

    def emit(self, event_type: str, **payload: object) -> None:
        """Add an event to the prompt's timeline."""
        self.timeline.append((event_type, payload))

    def stop(self, is_canceled: bool) -> None:
        """End the run from another thread: its process and its question."""
        with self._lock:
            if not self.stopped.is_set():
                self.is_canceled = is_canceled
                self.stopped.set()
            if self._process:
                self._process.kill()
            if self.question:
                self.question.resolve(None)

    def raise_if_stopped(self) -> None:
        """Raise Stopped when `stop` was called."""
        if self.stopped.is_set():
            raise Stopped

    def execute(
        self,
        argv: list[str],
        env: dict[str, str] | None = None,
        stdin_path: str = os.devnull,
        allowance: Allowance | None = None,
        read_line: LineReader | None = None,
    ) -> ProcessResult:
        """Run a program in the workspace, with its lines as events; blocks until it has ended.

        `read_line` makes other events of its lines. Raises Stopped.
        """
        result = ProcessResult()
        on_lines = partial(self._take_lines, result, read_line or _plain_events)
        try:
            with self._lock:
                self.raise_if_stopped()
                process = Process(
                    argv,
                    self.path,
                    env or self.env,
                    run_mark(self.service, self.prompt["id"]),
                    stdin_path,
                    allowance,
                )
                self._process = process
        except OSError as error:
            on_lines("stderr", [why_not_started(argv[0], self.path, error)])
            result.code = 127
            return result
        try:
            result.code = process.run(on_lines)
        finally:
            self._process = None
        self.raise_if_stopped()
        if process.overdue:
            on_lines("stderr", [process.overdue])
            result.overdue = process.overdue
        return result

    def _take_lines(
        self,
        result: ProcessResult,
        read_line: LineReader,
        stream: str,
        lines: list[str],
    ) -> None:
        """Keep lines of a stream and make events of them."""
        result.add(stream, lines)
        if not lines:
            return
        events = [event for line in lines for event in read_line(stream, line)]
        if not events:
            return
        if not self.timeline.is_full:
            self.timeline.append(*events)
        elif not self._is_truncated:
            self._is_truncated = True
            self.emit(
                "stderr", content="[the output is too long; from here on it is dropped]"
            )

    def ask(self, text: str, options: list[str]) -> None:
        """Ask the caller and wait until an answer comes, which later processes find in ANSWER.

        The run gives its slot away meanwhile. Raises Stopped.
        """
        question = Question(self.timeline.count, options)
        with self._lock:
            self.raise_if_stopped()
            self.question = question
        self.emit(
            "ask_user_question",
            actionId=question.action_id,
            messageId=question.message_id,
            question=text,
            options=[{"label": label} for label in options],
            multiSelect=False,
        )
        self.service.runner.release_slot()
        answer = question.result()
        self.service.runner.acquire_slot()
        self.question = None
        self.raise_if_stopped()
        # No variable can hold a NUL or a lone surrogate.
        answer = str(answer)
        self.env["ANSWER"] = (
            answer.replace("\x00", "").encode("utf-8", "replace").decode()
        )
        self.emit(
            "tool_result",
            tool_id=question.message_id,
            output="Answer: " + answer,
            is_error=False,
        )
