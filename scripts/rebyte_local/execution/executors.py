"""Who answers a prompt: an agent program that is switched on, the one of --agent, or the rehearsal
of its fences.

An executor takes a PromptRun and returns an Answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from rebyte_local.execution.agent_turn import run_agent
from rebyte_local.execution.prompt_run import Answer, PromptRun
from rebyte_local.execution.rehearsal import find_steps, rehearse
from rebyte_local.formats import JsonObject
from rebyte_local.service import Service

NOT_SWITCHED_ON = (
    "%s was named, and no agent program is switched on here, so this was a rehearsal;"
    " `local stop`, then `local start --agents %s` lets it run on this machine, and the same line"
    " then needs --again"
)


def choose_program(service: Service, named: str | None, prompt: str) -> str | None:
    """Return the program that is to answer a new task, None for --agent or a rehearsal.

    A named one is never replaced by another. Without a name it is the owner's first, unless the
    prompt marks code to run.
    """
    if not service.agents:
        return None
    if named:
        return named
    if service.agent or find_steps(prompt):
        return None
    return next(iter(service.agents))


def executor_for(run: PromptRun) -> Callable[[PromptRun], Answer]:
    """Return the executor of a prompt."""
    if run.task.get("program"):
        return run_agent
    return run_agent_program if run.service.agent else run_rehearsal


def describe_executor(run: PromptRun) -> JsonObject:
    """Return what the init event says of the executor."""
    if run.task.get("program"):
        return {"executor": run.task["program"]}
    if run.service.agent:
        return {"model": os.path.basename(run.service.agent[0])}
    return {"model": "none (rehearsal)", "rehearsal": True}


def run_rehearsal(run: PromptRun) -> Answer:
    """Rehearse, and say so where a program was named that is not switched on."""
    answer = rehearse(run)
    named = run.task["executor"]
    if named:
        answer.account["warnings"] = [NOT_SWITCHED_ON % (named, named)]
    return answer


def run_agent_program(run: PromptRun) -> Answer:
    """Give the whole prompt to the program on its stdin; its stdout is the answer."""
    result = run.execute(
        run.service.agent,
        stdin_path=run.write_scratch("prompt.txt", run.instructed(run.prompt["text"])),
        read_line=_delta,
    )
    if result.code != 0:
        return Answer(result.failure("The agent program"), is_failure=True)
    return Answer(result.stdout.text(), is_streamed=True)


def _delta(stream: str, line: str) -> list[tuple[str, JsonObject]]:
    if stream == "stderr":
        return [(stream, {"content": line})]
    return [("text", {"content": line + "\n", "is_delta": True})]
