"""Who answers a prompt: the rehearsal of its fences, or the agent program of --agent.

An executor takes a PromptRun and returns an Answer. Adapters for further programs belong here.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from rebyte_local.execution.prompt_run import Answer, PromptRun
from rebyte_local.execution.rehearsal import rehearse
from rebyte_local.formats import JsonObject
from rebyte_local.service import Service


def executor_for(service: Service) -> Callable[[PromptRun], Answer]:
    """Return the executor of a service's prompts."""
    return run_agent_program if service.agent else rehearse


def describe_executor(service: Service) -> JsonObject:
    """Return what the init event says of the executor."""
    if service.agent:
        return {"model": os.path.basename(service.agent[0])}
    return {"model": "none (rehearsal)", "rehearsal": True}


def run_agent_program(run: PromptRun) -> Answer:
    """Give the whole prompt to the program on its stdin; its stdout is the answer."""
    computer = run.service.database.find("computers", run.task["workspace"])
    instructions = computer["instructions"] if computer else None
    text = str(run.prompt["text"])
    if instructions:
        text = "%s\n\n%s" % (instructions, text)
    result = run.execute(
        run.service.agent,
        stdin_path=run.write_scratch("prompt.txt", text),
        stdout_event=_delta,
    )
    if result.code != 0:
        return Answer(result.failure("The agent program"), is_failure=True)
    return Answer(result.stdout.text(), is_streamed=True)


def _delta(line: str) -> tuple[str, JsonObject]:
    return "text", {"content": line + "\n", "is_delta": True}
