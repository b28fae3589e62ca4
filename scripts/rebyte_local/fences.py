"""Pure: the fenced blocks of a prompt that ask to be run; every other fence is quoted text."""
from __future__ import annotations

import re

OPENING = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^`\r]*?)[ \t]*\r?")
RUNNABLE = {"python run": "python", "bash run": "bash", "sh run": "sh", "ask run": "ask"}
CODE_PATH = re.compile(r"(?<![\w.\-/~$}])/code(?=/|[\s\"'`);:&|,]|$)")


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
    return len(text) >= len(fence) and not text.strip(fence[0]) and len(line) - len(line.lstrip(" ")) < 4


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
