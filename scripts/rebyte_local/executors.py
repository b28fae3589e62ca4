"""What is done with a prompt: its fences run by the rehearsal, or all of it given to an agent program."""
from __future__ import annotations

import os
import sys

from rebyte_local import fences

ANSWER_LIMIT_CHARS = 1024 * 1024
ASK_VIEW = "ask_user_question"
OUTPUT_LIMIT_CHARS = 64 * 1024  # of a tool_result
ACKNOWLEDGEMENT = "This is a rehearsal on the local server: no model reads the prompt. Its runnable fences are run."
NOTHING_TO_RUN = ("This was a rehearsal on the local server: no model read the prompt, and it holds no fence marked "
                  "`python run`, `bash run` or `sh run`, so there was nothing to run.")
PROGRAMS = {"python": ("fence-%d.py", lambda path: [sys.executable, "-u", path]),
            "bash": ("fence-%d.sh", lambda path: ["bash", path]), "sh": ("fence-%d.sh", lambda path: ["sh", path])}


def run_agent(run, agent):
    """Give the whole prompt to an agent program on its stdin; gives (succeeded, answer)."""
    path = os.path.join(run.scratch, "prompt.txt")
    computer = run.service.fleet.find(run.task["workspace"])
    standing = (computer["instructions"] + "\n\n") if computer and computer["instructions"] else ""
    with open(path, "w", encoding="utf-8", errors="replace") as file:
        file.write(standing + run.prompt["text"])
    code, out, errors = run.execute(
        agent, stdin_path=path, on_stdout=lambda line: ("text", {"content": line + "\n", "is_delta": True}))
    if code != 0:
        return False, _failure_words("the agent program", code, errors)
    return True, out.text()


def rehearse(run):
    """Run the fences that ask for it, in order; gives (succeeded, answer)."""
    steps = fences.find_steps(run.prompt["text"])
    if steps:
        run.emit("text", content=ACKNOWLEDGEMENT)
    said = []
    for number, (kind, text) in enumerate(steps, 1):
        if kind == "ask":
            _ask(run, text)
            continue
        code, out, errors = _run_fence(run, number, kind, text)
        if code != 0:
            return False, _failure_words("the %s fence" % kind, code, errors)
        if out.text():
            said.append(out.text())
    if not steps:
        return True, NOTHING_TO_RUN
    return True, "\n".join(said)[:ANSWER_LIMIT_CHARS] or "The fences ran and wrote nothing to stdout."


def _ask(run, text):
    computer = run.service.fleet.find(run.task["workspace"])
    if computer and ASK_VIEW in computer["off"]:
        run.emit("text", content="Not asked: the view %s of this computer is off." % ASK_VIEW)
    else:
        run.ask(*fences.read_question(text))


def _run_fence(run, number, kind, text):
    pattern, command = PROGRAMS[kind]
    path = os.path.join(run.scratch, pattern % number)
    if not run.service.has_real_code:
        text = fences.place_code(text, run.path)
    with open(path, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
    tool = "fence-%d" % number
    run.emit("tool_use", id=tool, name="rehearsal_" + kind, input={"fence": number, "code": text})
    env = dict(run.env, PYTHONPATH=run.path) if kind == "python" else run.env
    code, out, errors = run.execute(command(path), env=env)
    output = (out.text() or errors.text())[:OUTPUT_LIMIT_CHARS]
    run.emit("tool_result", tool_id=tool, output=output, is_error=code != 0)
    return code, out, errors


def _failure_words(what, code, errors):
    reason = "was ended by signal %d" % -code if code < 0 else "ended with exit code %d" % code
    return "\n".join(["%s %s" % (what[0].upper() + what[1:], reason)] + errors.last)
