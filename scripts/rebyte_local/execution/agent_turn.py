"""One turn of an agent program: its prompt in, its stream as events, its conversation kept."""

from __future__ import annotations

import os
import re

from rebyte_local.agents.environment import agent_environment
from rebyte_local.agents.program import Turn
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
        session = run.service.sessions.find(self._task, self._program.name)
        result, reader = self._execute(session)
        if session and self._is_gone(result, reader):
            run.service.sessions.forget(self._task, self._program.name)
            run.emit("agent_event", name="note", content=NEW_CONVERSATION)
            result, reader = self._execute(None)
        changes = before.changes()
        if changes:
            run.emit("files_changed", files=changes)
        return self._conclude(result, reader, changes)

    def _execute(self, session: str | None) -> tuple[ProcessResult, TurnReader]:
        run = self._run
        reader = TurnReader(self._program, run.service.limits, self._keep_session)
        turn = Turn(self._agent.level, run.task["model"], session)
        result = run.execute(
            command_of(self._agent, turn, self._env, run.path),
            env=self._env,
            stdin_path=run.write_scratch("prompt.txt", self._prompt(session)),
            allowance=Allowance(
                reader.overdue, AGENT_LINE_LIMIT_BYTES, AGENT_GRACE_SECONDS
            ),
            read_line=lambda stream, line: self._events(reader, stream, line),
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
            told = {"session_id": reader.session, "model": reader.model}
            events.insert(0, ("init", dict(told, executor=self._program.name)))
        return events

    def _keep_session(self, session: str) -> None:
        self._run.service.sessions.keep(self._task, self._program.name, session)

    def _prompt(self, session: str | None) -> str:
        run = self._run
        text = substitute_code_path(str(run.prompt["text"]), run.path)
        if session:
            return IS_NO_COMMAND + text if text.lstrip().startswith("/") else text
        earlier = self._earlier()
        if earlier:
            asked, answered = earlier
            text = EARLIER % (asked, answered, text)
        return "%s\n\n%s" % (ARTIFACTS_LINE % run.path, run.instructed(text))

    def _earlier(self) -> tuple[str, str] | None:
        """Return what the turn before this one was asked and answered, if there was one."""
        prompts = self._run.service.tasks.prompts(self._task)
        ids = [prompt["id"] for prompt in prompts]
        index = ids.index(self._run.prompt["id"])
        if not index:
            return None
        prompt = prompts[index - 1]
        answer = prompt.get("response") or prompt.get("final") or "(nothing)"
        return prompt["text"][:EARLIER_CHARACTERS], answer[:EARLIER_CHARACTERS]

    def _is_gone(self, result: ProcessResult, reader: TurnReader) -> bool:
        """Return True when the program says that it does not know the conversation."""
        words = reader.failed(result.code, "\n".join(result.stderr.last))
        if words is None or reader.tools:
            return False
        said = "\n".join([words, result.stderr.text()])
        return bool(self._program.no_session.search(said))

    def _conclude(
        self,
        result: ProcessResult,
        reader: TurnReader,
        changes: list[JsonObject] | None,
    ) -> Answer:
        account = self._account(reader)
        warnings = reader.warnings(result.code)
        account["warnings"] = warnings
        reason = reader.failed(result.code, telling_words(result.stderr.text()))
        if reason and result.overdue:
            reason = "%s was ended: %s" % (self._program.name, result.overdue)
        if reason:
            said = reason + "\n" + result.stderr.text()
            if self._program.not_logged_in.search(said):
                reason += "\n%s is not logged in: %s" % (
                    self._program.name,
                    self._program.sign_in,
                )
            is_said = reason == reader.words
            return Answer(reason, True, is_streamed=is_said, account=account)
        if changes == []:
            warnings.append(NO_CHANGE + ("" if reader.tools else NO_TOOL))
        return Answer(reader.answer(), is_streamed=bool(reader.words), account=account)

    def _account(self, reader: TurnReader) -> JsonObject:
        """Return the model and this turn's share of the costs."""
        program = self._program
        totals: JsonObject = {}
        if program.is_usage_cumulative:
            totals.update(reader.usage)
        if program.is_cost_cumulative and reader.cost is not None:
            totals["cost"] = reader.cost
        shares = self._run.service.sessions.share(self._task, program.name, totals)
        usage = {name: shares.get(name, n) for name, n in reader.usage.items()}
        account: JsonObject = {"usage": usage} if any(usage.values()) else {}
        cost = shares.get("cost", reader.cost)
        if cost is not None:
            account["costUsd"] = round(cost, 6)
        if reader.model:
            account["model"] = reader.model
        return account
