"""Repositories to send, and the command line in this process against a local server."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from commands.conftest import rebyte, shell, world

__all__ = ["rebyte", "shell", "world"]
IDENTITY = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.invalid",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.invalid",
    "GIT_CONFIG_NOSYSTEM": "1",
}

if not shutil.which("git"):
    collect_ignore_glob = ["test_*.py"]


def git(folder, *words, data=None, check=True):
    """Run git as a user would; return what it writes."""
    done = subprocess.run(
        ["git", *words],
        cwd=str(folder),
        env=dict(os.environ, **IDENTITY),
        input=data,
        capture_output=True,
        timeout=60,
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def write(folder, files):
    """Write files, {path: text or bytes}, None for one that is to go."""
    for path, content in files.items():
        place = os.path.join(str(folder), path)
        if content is None:
            os.unlink(place)
            continue
        os.makedirs(os.path.dirname(place), exist_ok=True)
        data = content if isinstance(content, bytes) else content.encode()
        with open(place, "wb") as file:
            file.write(data)


def make_repository(folder, files, *settings):
    """Make a repository with one commit of some files."""
    os.makedirs(str(folder), exist_ok=True)
    git(folder, "init", "-q", "-b", "main", ".")
    for setting in settings:
        git(folder, "config", *setting.split("=", 1))
    write(folder, files)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.fixture
def repo(world, monkeypatch):
    """A repository with a failing program, an executable file and a folder; it is the current
    folder.
    """
    folder = make_repository(
        world / "demo",
        {
            "calc.py": "def add(a, b):\n    return a - b\n",
            "docs/notes.txt": "one\ntwo\nthree\n",
            "docs/more.txt": "more\n",
            "run.sh": "#!/bin/sh\necho run\n",
            "README": "read\n",
        },
    )
    os.chmod(str(folder / "run.sh"), 0o755)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "modes")
    monkeypatch.chdir(folder)
    return folder


def far(script, name="demo"):
    """Return a prompt whose rehearsal unpacks the code, runs a shell script in it, and publishes
    it.
    """
    return (
        "Work.\n```bash run\nset -e\ncd /code\nrm -rf %(name)s\ntar xzf %(name)s.tar.gz\n"
        "cd %(name)s\n%(script)s\ncd ..\nrm -f artifacts/%(name)s-home.zip\n"
        "python3 -m zipfile -c artifacts/%(name)s-home.zip %(name)s\n```"
        % {"name": name, "script": script}
    )


MEND = far(
    "sed -i.orig 's/a - b/a + b/' calc.py; rm calc.py.orig; echo new > added.txt"
)
