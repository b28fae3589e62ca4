"""One turn of an agent program: its prompt in, its stream as events, its conversation kept."""

from __future__ import annotations

import os
import re
from functools import partial

from rebyte_local.agents.environment import agent_environment
from rebyte_local.agents.program import Program, Turn
from rebyte_local.agents.readiness import telling_words, why_not_ready
from rebyte_local.agents.reading import TurnReader
from rebyte_local.agents.roster import Agent, command_of
from rebyte_local.execution.file_changes import Snapshot
from rebyte_local.execution.guard import INSTANCE
from rebyte_local.execution.processes import (
    AGENT_GRACE_SECONDS,
    AGENT_LINE_LIMIT_BYTES,
    Allowance,
    ProcessResult,
)
from rebyte_local.execution.prompt_run import Answer, PromptRun
from rebyte_local.execution.rehearsal import substitute_code_path
from rebyte_local.formats import JsonObject

MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.:/@+\[\]-]*")
EARLIER_CHARACTERS = 20000  # of what was asked and answered before, each
ARTIFACTS_LINE = (
    "(This is the folder %s. Files that are to be handed over go into its folder artifacts/;"
    " nothing else is published.)"
)
NEW_CONVERSATION = (
    "the earlier conversation is not there any more: a new one begins, with what was asked and"
    " answered before in front"
)
# Words that begin with a slash would be a command of the program itself.
IS_NO_COMMAND = "(The next turn.)\n\n"
EARLIER = "Earlier you were asked:\n\n%s\n\nand answered:\n\n%s\n\nNow:\n\n%s"
NO_CHANGE = "no file in its folder changed"
NO_TOOL = " and no tool was used"


def run_agent(run: PromptRun) -> Answer:
    """Let the task's program answer; what stands in its way is told at once, with the remedy."""
    agents = run.service.agents
    agent = agents.get(run.task["program"])
    if agent is None:
        words = (
            "%s is not switched on here: `local stop`, then `local start --agents %s`"
        )
        names = [*(one.spelled for one in agents.values()), run.task["program"]]
        return Answer(words % (run.task["program"], ",".join(names)), is_failure=True)
    model = run.task["model"]
    if model and not MODEL_NAME.fullmatch(model):
        return Answer("%r is no name of a model" % model, is_failure=True)
    return AgentTurn(run, agent).take()


class AgentTurn:
    """Runs a program once, or twice where its earlier conversation turns out to be gone."""

    def __init__(self, run: PromptRun, agent: Agent) -> None:
        self._run = run
        self._agent = agent
        self._task = run.task["id"]
        self._program = agent.program
        self._sessions = run.service.sessions
        self._env = agent_environment(
            os.environ, agent.program, agent.level, run.path, run.scratch
        )
        self._env[INSTANCE] = run.service.instance

    def __repr__(self) -> str:
        return "AgentTurn(%r, %s)" % (self._run, self._agent.spelled)

    def take(self) -> Answer:
        """Run the program to the end of its turn. Raises Stopped."""
        run = self._run
        problem = why_not_ready(self._agent, self._env, run.task["model"])
        if problem:
            return Answer(problem, is_failure=True)
        before = Snapshot(run.path)
        session = self._sessions.find(self._task, self._program.name)
        result, reader = self._execute(session)
        if session and self._is_gone(result, reader):
            self._sessions.forget(self._task, self._program.name)
            run.emit("agent_event", name="note", content=NEW_CONVERSATION)
            result, reader = self._execute(None)
        changes = before.changes()
        if changes:
            run.emit("files_changed", files=changes)
        is_idle = changes == [] and before.trouble is None
        answer = self._conclude(result, reader, is_idle=is_idle)
        if before.trouble:
            answer.account["warnings"].append(before.trouble)
        return answer

    def _execute(self, session: str | None) -> tuple[ProcessResult, TurnReader]:
        run = self._run
        reader = TurnReader(self._program, run.service.limits, self._keep_session)
        turn = Turn(self._agent.level, run.task["model"], session)
        command = command_of(self._agent, turn, self._env, run.path)
        prompt = self._prompt(session)
        allowance = Allowance(
            reader.overdue, AGENT_LINE_LIMIT_BYTES, AGENT_GRACE_SECONDS
        )
        result = run.execute(
            command,
            env=self._env,
            stdin_path=run.write_scratch("prompt.txt", prompt),
            allowance=allowance,
            read_line=partial(self._events, reader),
        )
        return result, reader

    def _events(
        self, reader: TurnReader, stream: str, line: str
    ) -> list[tuple[str, JsonObject]]:
        if stream == "stderr":
            return reader.read_stderr(line)
        known = reader.model
        events = reader.read(line)
        if reader.model != known:
            init = {
                "session_id": reader.session,
                "model": reader.model,
                "executor": self._program.name,
            }
            events.insert(0, ("init", init))
        return events

    def _keep_session(self, session: str) -> None:
        self._sessions.keep(self._task, self._program.name, session)

    def _prompt(self, session: str | None) -> str:
        """Return what is said to the program: less to one that knows the conversation."""
        text = str(self._run.prompt["text"])
        text = substitute_code_path(text, self._run.path)
        return _next_words(text) if session else self._first_words(text)

    def _first_words(self, text: str) -> str:
        before = self._turn_before()
        if before is not None:
            asked = str(before["text"])[:EARLIER_CHARACTERS]
            answered = _answer_of(before)[:EARLIER_CHARACTERS]
            text = EARLIER % (asked, answered, text)
        text = self._run.instructed(text)
        where = ARTIFACTS_LINE % self._run.path
        return "%s\n\n%s" % (where, text)

    def _turn_before(self) -> JsonObject | None:
        """Return the prompt before this one, if there was one."""
        before = None
        for prompt in self._run.service.tasks.prompts(self._task):
            if prompt["id"] == self._run.prompt["id"]:
                break
            before = prompt
        return before

    def _is_gone(self, result: ProcessResult, reader: TurnReader) -> bool:
        """Return True when the program says that it does not know the conversation."""
        last = "\n".join(result.stderr.last)
        reason = reader.failed(result.code, last)
        if reason is None or reader.tools:
            return False
        said = reason + "\n" + result.stderr.text()
        return bool(self._program.no_session.search(said))

    def _conclude(
        self, result: ProcessResult, reader: TurnReader, *, is_idle: bool
    ) -> Answer:
        account = self._account(reader)
        warnings = reader.warnings(result.code)
        account["warnings"] = warnings
        reason = reader.failed(result.code, telling_words(result.stderr.text()))
        if reason and result.overdue:
            reason = "%s was ended: %s" % (self._program.name, result.overdue)
        if reason:
            reason += self._remedy(reason + "\n" + result.stderr.text())
            is_said = reason == reader.words
            return Answer(reason, True, is_streamed=is_said, account=account)
        if is_idle:
            warnings.append(NO_CHANGE + ("" if reader.tools else NO_TOOL))
        return Answer(reader.answer(), is_streamed=bool(reader.words), account=account)

    def _remedy(self, said: str) -> str:
        """Return the line that says how to log in, where a failure says that nobody is."""
        program = self._program
        if not program.not_logged_in.search(said):
            return ""
        return "\n%s is not logged in: %s" % (program.name, program.sign_in)

    def _account(self, reader: TurnReader) -> JsonObject:
        """Return the model and this turn's share of the costs."""
        totals = _totals_of(self._program, reader)
        shares = self._sessions.share(self._task, self._program.name, totals)
        account: JsonObject = {}
        usage = dict(reader.usage)
        usage.update((name, shares[name]) for name in usage if name in shares)
        if any(usage.values()):
            account["usage"] = usage
        cost = shares.get("cost", reader.cost)
        if cost is not None:
            account["costUsd"] = round(cost, 6)
        if reader.model:
            account["model"] = reader.model
        return account


def _next_words(text: str) -> str:
    """Return the words of a later turn so that they are no command of the program itself."""
    is_command = text.lstrip().startswith("/")
    return IS_NO_COMMAND + text if is_command else text


def _answer_of(prompt: JsonObject) -> str:
    return prompt.get("response") or prompt.get("final") or "(nothing)"


def _totals_of(program: Program, reader: TurnReader) -> JsonObject:
    """Return what a program counts over its conversation; the rest is the turn's own."""
    totals: JsonObject = {}
    if program.is_usage_cumulative:
        totals.update(reader.usage)
    if program.is_cost_cumulative and reader.cost is not None:
        totals["cost"] = reader.cost
    return totals
