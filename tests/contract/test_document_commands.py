"""Every command line that the documents show really runs, and no verb says too much."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent_programs import make_programs
from measure import (
    ROOT,
    SCRIPTS,
    documents,
    fences,
    hostile_service,
    read,
    run_quietly,
    said_by,
    short,
)
from rebyte_commands.verb_table import VERBS

PLACEHOLDER = "<absolute path of the directory containing this SKILL.md>"
SHELLS = [shell for shell in ("sh", "bash", "dash", "zsh") if shutil.which(shell)]
COMMAND = re.compile(
    r"^ *(?:rebyte|make|npx|git|curl|pip|python3?|\$ \S+|[a-z]+ (?:skills|plugin)\b)",
    re.M,
)
# Stands in for an agent: no model, it publishes the names that the prompt's publish line asks for,
# sends code back with a line more, and says so.
SAMPLE_AGENT = r"""
import os, re, sys, tarfile, zipfile
prompt = sys.stdin.read()
for name in re.findall(r"^The code to work on lies packed in /code/(.*?)\.tar\.gz:", prompt, re.M):
    home = zipfile.ZipFile(os.path.join(os.environ["ARTIFACTS_DIR"], name + "-home.zip"), "w")
    with tarfile.open(name + ".tar.gz") as tree, home:
        for member in tree:
            if member.isfile():
                home.writestr(member.name, tree.extractfile(member).read() + b"more = 1\n")
lines = re.findall(r"^When you are done, publish these as artifacts of this workspace: (.*?)\.(?:\s|$)", prompt, re.M)
names = [name for line in lines for name in line.split(", ")]
for name in names:
    place = os.path.join(os.environ["ARTIFACTS_DIR"], name)
    if name.endswith(".zip"):
        with zipfile.ZipFile(place, "w") as archive:
            archive.writestr(os.path.splitext(name)[0] + ".txt", "sample\n")
    else:
        with open(place, "w", encoding="utf-8") as file:
            file.write("sample,1\n")
print("Sample answer: %d files published." % len(names))
for example in re.findall(r"^A made-up example of its shape: (.*)$", prompt, re.M):
    print("```json\n%s\n```" % example)
"""
# (document, how the first command begins): why no test runs it.
NOT_RUN = {
    (
        "README.md",
        "make demo",
    ): "the demo has its own test, and the tests cannot run themselves",
    ("README.md", "git clone"): "needs the network and an account somewhere",
    ("README.md", "npx"): "needs the network and a package of others",
    ("CONTRIBUTING.md", "make test"): "the tests cannot run themselves",
    (
        "CONTRIBUTING.md",
        "python3 tests/evals/judge.py",
    ): "it judges what somebody did; it has its own tests",
}
NOT_RUN_MOST = 8

RUN_DOCUMENTS = [
    path
    for path in documents()
    if short(path) in ("SKILL.md", "README.md") or "references" in path
]
each_run_document = pytest.mark.parametrize("path", RUN_DOCUMENTS, ids=short)


def setup_block(folder=ROOT):
    """Return what the documents take for granted: SKILL.md's directory, and what `rebyte` means."""
    skill = read("SKILL.md")
    assert "python3 ${CLAUDE_SKILL_DIR}/scripts/rebyte_cli.py" in skill
    assert "`rebyte` stands for that `python3 .../rebyte_cli.py`" in skill
    place = shlex.quote(folder)
    return (
        "CLAUDE_SKILL_DIR=%s\n" % place
        + 'rebyte() { python3 %s/scripts/rebyte_cli.py "$@"; }\n' % place
    )


def expected_exit(text):
    """Return the exit code that a block announces on its last line, else 0."""
    announced = re.search(r"# exit (\d+)\s*$", text)
    return int(announced.group(1)) if announced else 0


def argv_of(fence, shell="sh"):
    """Return the process that runs a block, or None for one that is only text."""
    if fence.language == "sh":
        text = setup_block() + fence.text.replace(PLACEHOLDER, ROOT)
        return [shell, "-e", "-c", text]
    if fence.language == "python":
        return [sys.executable, "-B", "-c", fence.text.replace(PLACEHOLDER, ROOT)]
    return None


def git(folder, *arguments):
    """Run git with a name to commit under."""
    run_quietly(
        [
            "git",
            "-c",
            "user.name=reader",
            "-c",
            "user.email=reader@example.invalid",
            "-C",
            str(folder),
        ]
        + list(arguments),
        check=True,
    )


def make_repository(repos, desk):
    """Make owner/repo with the branches main and fix-42 below `repos`, and `desk` a clone of it."""
    origin = repos / "owner" / "repo"
    origin.mkdir(parents=True)
    desk.mkdir()
    if not shutil.which("git"):
        return
    git(origin, "init", "-q", ".")
    git(origin, "checkout", "-q", "-b", "main")
    for branch, name in (("main", "login.py"), ("fix-42", "fix.py")):
        if branch != "main":
            git(origin, "checkout", "-q", "-b", branch)
        (origin / name).write_text("sample = 1\n")
        git(origin, "add", ".")
        git(origin, "commit", "-q", "-m", "sample")
    git(origin, "checkout", "-q", "main")
    git(desk, "clone", "-q", str(origin), ".")


@contextlib.contextmanager
def reader(tmp_path):
    """Yield (folder, environment) of someone who types what the documents show; end what was
    started.
    """
    from rebyte_local.server import LocalServer

    folder, state, repos = tmp_path / "desk", tmp_path / "state", tmp_path / "repos"
    make_repository(repos, folder)
    shutil.copy(os.path.join(ROOT, "examples", "orders.csv"), str(folder))
    for name in ("scripts", "examples"):
        os.symlink(os.path.join(ROOT, name), str(folder / name))
    with LocalServer(
        str(tmp_path / "server"),
        agent=[sys.executable, "-c", SAMPLE_AGENT],
        repos=str(repos),
    ) as server:
        environ = dict(os.environ, **make_programs(tmp_path / "programs"))
        environ.update(
            REBYTE_API_KEY=server.key,
            REBYTE_BASE_URL=server.base_url,
            REBYTE_STATE_DIR=str(state),
            PATH=os.path.dirname(sys.executable) + os.pathsep + environ["PATH"],
        )
        try:
            yield folder, environ
        finally:
            if (state / "local").exists():
                run_quietly(
                    [
                        sys.executable,
                        "-B",
                        os.path.join(SCRIPTS, "rebyte_cli.py"),
                        "local",
                        "stop",
                    ],
                    env=environ,
                )


def run_block(argv, folder, environ):
    """Run one block; return (exit code, what it printed)."""
    done = run_quietly(argv, cwd=str(folder), env=environ, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def type_all(path, tmp_path):
    """Run the blocks of a document one after the other, up to the first that goes wrong; return
    what went wrong.
    """
    tmp_path.mkdir()
    with reader(tmp_path) as (folder, environ):
        for fence in fences(path):
            argv = argv_of(fence)
            missing = [
                tool
                for tool in ("curl", "jq", "git", "unzip")
                if re.search(r"\b%s " % tool, fence.text) and not shutil.which(tool)
            ]
            if argv is None or missing:
                continue
            status, printed = run_block(argv, folder, environ)
            if status != expected_exit(fence.text) or "Traceback" in printed:
                return "%s:%d ended with %d\n%s\n%s" % (
                    short(path),
                    fence.line,
                    status,
                    fence.text,
                    printed,
                )
    return None


def test_what_the_documents_show_runs_as_written(tmp_path):
    with ThreadPoolExecutor(
        len(RUN_DOCUMENTS)
    ) as pool:  # side by side: they mostly wait
        wrong = pool.map(
            lambda path: type_all(path, tmp_path / short(path).replace("/", "-")),
            RUN_DOCUMENTS,
        )
    assert [words for words in wrong if words] == []


def test_the_document_in_the_readme_is_what_its_command_prints(tmp_path):
    shown = {
        fence.language: fence
        for fence in reversed(fences(os.path.join(ROOT, "README.md")))
    }
    with reader(tmp_path) as (folder, environ):
        argv = argv_of(shown["sh"])
        done = run_quietly(argv, cwd=str(folder), env=environ)
    told, real = json.loads(shown["json"].text), json.loads(done.stdout.decode())
    steady = (
        "status",
        "answer",
        "answerBytes",
        "warnings",
        "model",
        "service",
        "rehearsal",
    )
    # A run that took no time to speak of tells no seconds.
    assert [key for key in told if key in real or key != "seconds"] == list(real)
    assert [told[key] for key in steady] == [real[key] for key in steady]
    assert told["files"][0]["sha256"] == real["files"][0]["sha256"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_first_lines_of_the_skill_work_in_every_shell(shell, tmp_path):
    with reader(tmp_path) as (folder, environ):
        first = next(
            fence
            for fence in fences(os.path.join(ROOT, "SKILL.md"))
            if fence.language == "sh"
        )
        status, printed = run_block(argv_of(first, shell), folder, environ)
        assert status == 0, printed


@pytest.mark.parametrize("shell", SHELLS)
def test_the_skill_works_through_a_link_with_a_blank_in_a_bare_world(shell, tmp_path):
    link = tmp_path / "my skills"
    link.symlink_to(ROOT)
    text = (
        setup_block(str(link)) + "rebyte run --dry-run --field body.prompt 'Say hello.'"
    )
    environ = {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C",
        "PYTHONSAFEPATH": "1",
        "REBYTE_API_KEY": "sample",
    }
    status, printed = run_block([shell, "-c", text], tmp_path, environ)
    assert (status, printed) == (0, "Say hello.\n")


@each_run_document
def test_documents_shown_as_json_are_json(path):
    for fence in fences(path):
        if fence.language == "json":
            json.loads(fence.text)


def test_few_commands_are_shown_that_no_test_runs():
    shown = set()
    for path in documents():
        for fence in fences(path):
            command = COMMAND.search(fence.text)
            if fence.language not in ("sh", "python", "json") and command:
                shown.add(
                    (short(path), fence.text[command.start() :].strip().split("\n")[0])
                )
    unlisted = [
        (name, line)
        for name, line in sorted(shown)
        if not any(name == known and line.startswith(start) for known, start in NOT_RUN)
    ]
    assert unlisted == []
    assert len(NOT_RUN) <= NOT_RUN_MOST


# Whatever the service says, a verb's document stays under 8 KB; only `watch` has lines, and each
# of those is short.

BUDGET_BYTES = 8_192
# 200 characters of text, each of which may need 12 bytes in ASCII, and names.
WATCHED_LINE_BYTES = 4_000


@pytest.fixture(scope="module")
def hostile():
    """The address of a service that says too much."""
    with hostile_service() as service:
        yield service.url


# A host speaks to mcp; tests/commands/test_mcp.py measures what it is told.
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "mcp"])
def test_a_document_stays_under_its_budget(verb, hostile, tmp_path):
    code, out, err = said_by(verb, hostile, str(tmp_path))
    assert b"Traceback" not in err and code != 1, err
    out.decode("ascii")
    if verb == "watch":
        assert max(map(len, out.splitlines())) <= WATCHED_LINE_BYTES
    else:
        assert 0 < len(out) <= BUDGET_BYTES
        json.loads(out)
    assert len(err) <= BUDGET_BYTES
