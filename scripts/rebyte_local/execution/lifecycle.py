"""The life of one prompt: workspace made ready, executor run, files published, end told."""

from __future__ import annotations

import contextlib
import sqlite3

from rebyte_local.execution.executors import describe_executor, executor_for
from rebyte_local.execution.prompt_run import Answer, PromptRun, Stopped
from rebyte_local.execution.workspaces import SetupFailed, prepare, publish
from rebyte_local.faults import HOSTILE_TEXT, Faults
from rebyte_local.formats import JsonObject
from rebyte_local.service import Service

# Fault -> the one place where it leaves the answer.
ANSWER_PLACES = {
    "answer-in-result": "result",
    "answer-in-final": "final",
    "answer-in-content": "response",
}
COSTS = ("usage", "costUsd")
DEFAULT_PLACES = {"text", "final", "response"}
INTERRUPTED = (
    "The local server was stopped while this prompt ran; it was not run again."
)


def run_prompt(run: PromptRun) -> None:
    """Run a prompt from its workspace to its end."""
    try:
        run.service.database.refill_reserve()
        with run:
            answer = _answer(run)
            if run.service.faults.is_on("question"):
                run.ask("May this task end now?", ["Yes", "No"])
            publish(run)
            run.raise_if_stopped()
        _finish(run, answer)
    except Stopped:
        if run.is_canceled:
            run.service.tasks.finish_prompt(run.prompt["id"], "canceled")
        else:
            fail_prompt(run.service, run.prompt["id"], INTERRUPTED)


def fail_prompt(service: Service, prompt_id: str, message: str) -> None:
    """End a prompt as failed, with a message of the server's own as its answer."""
    with contextlib.suppress(
        sqlite3.Error
    ):  # a full disk takes the status, if not the event
        service.events.timeline(prompt_id).append(("text", {"content": message}))
    service.tasks.finish_prompt(prompt_id, "failed", final=message, response=message)


def _answer(run: PromptRun) -> Answer:
    run.emit(
        "init",
        session_id=run.prompt["id"],
        cwd=run.path,
        **describe_executor(run),
    )
    try:
        prepare(run)
    except SetupFailed as error:
        return Answer(str(error), is_failure=True)
    return executor_for(run)(run)


def _answer_places(faults: Faults) -> set[str]:
    chosen = {place for name, place in ANSWER_PLACES.items() if faults.is_on(name)}
    return chosen or DEFAULT_PLACES


def _end_of(answer: Answer) -> JsonObject:
    """Return what a result event says of the end, words apart."""
    told = {name: answer.account[name] for name in COSTS if name in answer.account}
    return dict(told, status="error" if answer.is_failure else "success")


def _finish(run: PromptRun, answer: Answer) -> None:
    """Put the answer where the faults want it, and keep the end."""
    faults = run.service.faults
    prompt_id = run.prompt["id"]
    status = "failed" if answer.is_failure else "succeeded"
    text = answer.text
    if faults.is_on("hostile-text"):
        text = HOSTILE_TEXT + "\n" + text
    places = _answer_places(faults)
    if faults.is_on("late-tail"):
        run.service.tasks.finish_prompt(prompt_id, status)
        run.timeline.close()
        run.stopped.wait(faults.value("late-tail"))
    if "text" in places and not answer.is_streamed:
        run.emit("text", content=text)
    if "result" in places:
        run.emit("result", result=text, **_end_of(answer))
    elif "usage" in answer.account:
        run.emit("result", **_end_of(answer))
    outcome = dict(answer.account)
    outcome.update({place: text for place in ("final", "response") if place in places})
    run.service.tasks.finish_prompt(prompt_id, status, **outcome)
