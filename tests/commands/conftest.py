"""The command line in this process, against a local server in this process."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from rebyte_commands.main import main

DOOR = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
    "scripts",
    "rebyte_cli.py",
)
SUM = """Sum the numbers.
```python run
import os
total = sum(int(line) for line in open("/code/numbers.csv"))
os.makedirs("/code/artifacts", exist_ok=True)
open("/code/artifacts/total.csv", "w").write(str(total))
print("the total is", total)
```"""


def sh(script):
    """Return a prompt that asks to run a shell script."""
    return "```bash run\n%s\n```" % script


def ask(question, *options):
    """Return a prompt that asks a question first."""
    return "\n- ".join(("```ask run\n" + question,) + options) + "\n```"


class Ran:
    """What one command line did."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return "Ran(%r, out=%r, err=%r)" % (self.code, self.out, self.err)

    @property
    def document(self):
        assert self.out.count("\n") == 1, self
        return json.loads(self.out)

    def __getitem__(self, key):
        return self.document[key]

    @property
    def error(self):
        return self["error"]


def with_agent(line):
    """Let a test speak to a server whose agent program is a shell line."""
    return pytest.mark.parametrize("server", [line], indirect=True, ids=["agent"])


@pytest.fixture
def world(server, monkeypatch, tmp_path):
    """An environment that reaches the server, in a folder of its own with a file of numbers."""
    monkeypatch.setenv("REBYTE_BASE_URL", server.url)
    monkeypatch.setenv("REBYTE_API_KEY", server.key)
    monkeypatch.setenv("REBYTE_STATE_DIR", str(tmp_path / "state"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "numbers.csv").write_text("1\n2\n3\n")
    return folder


@pytest.fixture
def rebyte(world, impatient, monkeypatch):
    """Run a command line in this process: rebyte("run", "...") -> Ran."""
    hook = sys.unraisablehook
    before = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }

    def run(*words, stdin=""):
        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            code = main(list(words), time.time())
        return Ran(code, out.getvalue(), err.getvalue())

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)
    sys.unraisablehook = hook


@pytest.fixture
def shell(world):
    """Run a command line as a process: shell("run", "...") -> Ran."""

    def run(*words, stdin=None, env=None, python=None, **more):
        done = subprocess.run(
            [python or sys.executable, DOOR] + list(words),
            input=stdin,
            env=dict(os.environ, **(env or {})),
            capture_output=True,
            text=True,
            timeout=60,
            **dict({} if stdin is not None else {"stdin": subprocess.DEVNULL}, **more),
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


def posts(server, path="/v1/tasks"):
    """Return the requests that started a task, or something else."""
    return [
        seen
        for seen in server.requests
        if seen["method"] == "POST" and seen["path"] == path
    ]


def wait_until(is_so):
    """Look often until something is so."""
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)
