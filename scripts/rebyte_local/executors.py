"""What is done with a prompt: the fences that ask for it are run or asked, or all of it is given to an agent program."""

from __future__ import annotations

import os
import re
import sys
import uuid
from concurrent.futures import Future, InvalidStateError

from rebyte_local.computers import find_computer

OPENING = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^`\r]*?)[ \t]*\r?")
RUNNABLE = {"python run": "python", "bash run": "bash", "sh run": "sh", "ask run": "ask"}
CODE_PATH = re.compile(r"(?<![\w.\-/~$}])/code(?=/|[\s\"'`);:&|,]|$)")
ANSWER_LIMIT_CHARS = 1024 * 1024
ASK_VIEW = "ask_user_question"
OUTPUT_LIMIT_CHARS = 64 * 1024  # of a tool_result
ACKNOWLEDGEMENT = "This is a rehearsal on the local server: no model reads the prompt. Its runnable fences are run."
NOTHING_TO_RUN = (
    "This was a rehearsal on the local server: no model read the prompt, and it holds no fence marked "
    "`python run`, `bash run` or `sh run`, so there was nothing to run."
)
REAL_CODE = "/code"


def find_steps(prompt):
    """[(kind, text)] in order, kind one of python, bash, sh, ask; a fence inside a longer fence is its content."""
    steps = []
    fence = kind = None
    lines = []
    for line in prompt.split("\n"):
        if fence is None:
            opening = OPENING.fullmatch(line)
            if opening:
                fence, kind, lines = opening.group(1), RUNNABLE.get(opening.group(2).strip()), []
        elif _closes(line, fence):
            if kind:
                steps.append((kind, "\n".join(lines) + "\n"))
            fence = None
        else:
            lines.append(line[:-1] if line.endswith("\r") else line)
    return steps  # a fence that never closes was cut off somewhere: it is not run


def _closes(line, fence):
    text = line.strip()
    return (
        len(text) >= len(fence)
        and not text.strip(fence[0])
        and len(line) - len(line.lstrip(" ")) < 4
    )


def place_code(text, workspace):
    """The text with /code, the folder of the real machine, read as the workspace."""
    return CODE_PATH.sub(lambda match: workspace, text)


def read_question(text):
    """(question, [option labels]) of an ask fence."""
    question, options = [], []
    for line in text.strip().split("\n"):
        if line.startswith("- "):
            options.append(line[2:].strip())
        elif not options:
            question.append(line)
    return "\n".join(question).strip() or "What now?", options


class Question(Future):
    """A question that waits for its answer, None to give up; the first answer counts."""

    def __init__(self, action_id, options):
        super().__init__()
        self.action_id = action_id
        self.message_id = str(uuid.uuid4())
        self.options = options

    def settle(self, answer):
        """Give the answer; False when it was settled before."""
        try:
            self.set_result(answer)
        except InvalidStateError:
            return False
        return True


def run_agent(run):
    """Give the whole prompt to an agent program on its stdin; gives (succeeded, answer)."""
    path = os.path.join(run.scratch, "prompt.txt")
    computer = find_computer(run.service, run.task["workspace"])
    standing = (computer["instructions"] + "\n\n") if computer and computer["instructions"] else ""
    _write(path, standing + run.prompt["text"])
    code, out, errors = run.execute(
        run.service.agent,
        stdin_path=path,
        on_stdout=lambda line: ("text", {"content": line + "\n", "is_delta": True}),
    )
    if code != 0:
        return False, _failure_words("The agent program", code, errors)
    return True, out.text()


def rehearse(run):
    """Run the fences that ask for it, in order; gives (succeeded, answer)."""
    steps = find_steps(run.prompt["text"])
    if not steps:
        return True, NOTHING_TO_RUN
    run.emit("text", content=ACKNOWLEDGEMENT)
    said = []
    for number, (kind, text) in enumerate(steps, 1):
        if kind == "ask":
            _ask(run, text)
            continue
        code, out, errors = _run_fence(run, number, kind, text)
        if code != 0:
            return False, _failure_words("The %s fence" % kind, code, errors)
        if out.text():
            said.append(out.text())
    return True, "\n".join(said)[
        :ANSWER_LIMIT_CHARS
    ] or "The fences ran and wrote nothing to stdout."


def _ask(run, text):
    computer = find_computer(run.service, run.task["workspace"])
    if computer and ASK_VIEW in computer["off"]:
        run.emit("text", content="Not asked: the view %s of this computer is off." % ASK_VIEW)
    else:
        run.ask(*read_question(text))


def _run_fence(run, number, kind, text):
    path = os.path.join(run.scratch, "fence-%d%s" % (number, ".py" if kind == "python" else ".sh"))
    if not os.path.isdir(REAL_CODE):
        text = place_code(text, run.path)
    _write(path, text)
    tool = "fence-%d" % number
    run.emit("tool_use", id=tool, name="rehearsal_" + kind, input={"fence": number, "code": text})
    if kind == "python":
        code, out, errors = run.execute(
            [sys.executable, "-u", path], env=dict(run.env, PYTHONPATH=run.path)
        )
    else:
        code, out, errors = run.execute([kind, path])
    output = (out.text() or errors.text())[:OUTPUT_LIMIT_CHARS]
    run.emit("tool_result", tool_id=tool, output=output, is_error=code != 0)
    return code, out, errors


def _write(path, text):
    with open(path, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)


def _failure_words(what, code, errors):
    reason = "was ended by signal %d" % -code if code < 0 else "ended with exit code %d" % code
    return "\n".join(["%s %s" % (what, reason)] + errors.last)
