"""The executor without a model: runs the fences of a prompt that ask for it, in order."""

from __future__ import annotations

import os
import re
import sys

from rebyte_local.execution.processes import ProcessResult
from rebyte_local.execution.prompt_run import Answer, PromptRun

OPENING = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^`\r]*?)[ \t]*\r?")
RUNNABLE = {
    "python run": "python",
    "bash run": "bash",
    "sh run": "sh",
    "ask run": "ask",
}
CODE_PATH = re.compile(r"(?<![\w.\-/~$}])/code(?=/|[\s\"'`);:&|,]|$)")
REAL_CODE = "/code"
ANSWER_LIMIT_CHARS = 1024 * 1024
TOOL_OUTPUT_LIMIT_CHARS = 64 * 1024
ASK_VIEW = "ask_user_question"
ACKNOWLEDGEMENT = (
    "This is a rehearsal on the local server: no model reads the prompt. "
    "Its runnable fences are run."
)
NOTHING_TO_RUN = (
    "This was a rehearsal on the local server: no model read the prompt, and it holds no fence "
    "marked `python run`, `bash run` or `sh run`, so there was nothing to run."
)
NO_OUTPUT = "The fences ran and wrote nothing to stdout."


def find_steps(prompt: str) -> list[tuple[str, str]]:
    """Return (kind, text) of each runnable fence, kind one of python, bash, sh, ask.

    A fence inside a longer fence is its content; one that never closes is not run.
    """
    steps = []
    fence = ""
    kind: str | None = None
    lines: list[str] = []
    for line in prompt.split("\n"):
        if not fence:
            opening = OPENING.fullmatch(line)
            if opening:
                fence = opening.group(1)
                kind = RUNNABLE.get(opening.group(2).strip())
                lines = []
        elif _closes(line, fence):
            if kind:
                steps.append((kind, "\n".join(lines) + "\n"))
            fence = ""
        else:
            lines.append(line[:-1] if line.endswith("\r") else line)
    return steps


def _closes(line: str, fence: str) -> bool:
    text = line.strip()
    indent = len(line) - len(line.lstrip(" "))
    return len(text) >= len(fence) and not text.strip(fence[0]) and indent < 4


def substitute_code_path(text: str, workspace: str) -> str:
    """Return the text with /code, the folder of the real machine, replaced by the workspace."""
    return CODE_PATH.sub(lambda match: workspace, text)


def parse_question(text: str) -> tuple[str, list[str]]:
    """Return (question, option labels) of an ask fence."""
    question: list[str] = []
    options: list[str] = []
    for line in text.strip().split("\n"):
        if line.startswith("- "):
            options.append(line[2:].strip())
        elif not options:
            question.append(line)
    return "\n".join(question).strip() or "What now?", options


def rehearse(run: PromptRun) -> Answer:
    """Run the fences; the answer is what they wrote to stdout, or why the first failed."""
    steps = find_steps(run.prompt["text"])
    if not steps:
        return Answer(NOTHING_TO_RUN)
    run.emit("text", content=ACKNOWLEDGEMENT)
    outputs = []
    for number, (kind, text) in enumerate(steps, 1):
        if kind == "ask":
            _ask(run, text)
            continue
        result = _run_fence(run, number, kind, text)
        if result.code != 0:
            return Answer(result.failure("The %s fence" % kind), is_failure=True)
        outputs.append(result.stdout.text())
    return Answer("\n".join(filter(None, outputs))[:ANSWER_LIMIT_CHARS] or NO_OUTPUT)


def _ask(run: PromptRun, text: str) -> None:
    computer = run.service.database.find("computers", run.task["workspace"])
    if computer and ASK_VIEW in computer["off"]:
        run.emit(
            "text", content="Not asked: the view %s of this computer is off." % ASK_VIEW
        )
        return
    question, options = parse_question(text)
    run.ask(question, options)


def _run_fence(run: PromptRun, number: int, kind: str, text: str) -> ProcessResult:
    if not os.path.isdir(REAL_CODE):
        text = substitute_code_path(text, run.path)
    tool = "fence-%d" % number
    is_python = kind == "python"
    path = run.write_scratch(tool + (".py" if is_python else ".sh"), text)
    run.emit(
        "tool_use",
        id=tool,
        name="rehearsal_" + kind,
        input={"fence": number, "code": text},
    )
    argv = [sys.executable, "-u", path] if is_python else [kind, path]
    env = dict(run.env, PYTHONPATH=run.path) if is_python else run.env
    result = run.execute(argv, env)
    output = (result.stdout.text() or result.stderr.text())[:TOOL_OUTPUT_LIMIT_CHARS]
    run.emit("tool_result", tool_id=tool, output=output, is_error=result.code != 0)
    return result
