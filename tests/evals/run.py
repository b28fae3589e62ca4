"""make evals: give the jobs of evals.json to a real agent program, with the skill and without it.

python3 tests/evals/run.py [--program claude|codex|gemini|opencode] [--jobs 1,2] [--keep]

The program has to be installed and logged in: it is called as you would, with your home, and each
job costs what your model costs. One that is missing or does not answer a first question is named
and skipped; opencode, which without a login would send the prompts to a free model of its maker, is
only used when --program names it. The Tasks API is a local server of this runner, so nothing is started in the cloud. A
job is done in a folder of its own, with the skill in .claude/skills and .agents/skills there, or
with neither; then judge.py says which rules held. It prints a table of held rules.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "scripts"), HERE]

import judge

from rebyte_local.server import LocalServer

KEY = "rbk_" + "evals" * 5
QUESTION = "Answer with the word ready and nothing else."
ASK_SECONDS, JOB_SECONDS = 120, 900
# The prompt comes on stdin; each may use its shell without asking, in a folder of its own.
PROGRAMS = {
    "claude": ["claude", "-p", "--permission-mode", "acceptEdits", "--allowedTools"]
    + ["Bash"],
    "codex": ["codex", "exec", "--skip-git-repo-check", "-s", "workspace-write"]
    + ["-c", "sandbox_workspace_write.network_access=true", "-"],
    "gemini": ["gemini", "--skip-trust", "--approval-mode", "yolo"],
    "opencode": ["opencode", "run"],
}


def ask(words, prompt: str, folder: str, seconds: float, **more) -> str:
    """Give a program a prompt in a folder and return what it said; raises OSError when it failed."""
    try:
        done = subprocess.run(
            words,
            input=prompt.encode(),
            cwd=folder,
            env=dict(os.environ, **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise OSError("no end after %d s" % seconds) from None
    said = done.stdout.decode(errors="replace")
    if done.returncode:
        raise OSError("exit %d: %s" % (done.returncode, said.strip()[-200:]))
    return said


def why_not(name: str, words, base: str):
    """Say why a program cannot be used here, None when it answers."""
    if not shutil.which(words[0]):
        return "%s is not installed" % name
    try:
        said = ask(words, QUESTION, base, ASK_SECONDS)
    except OSError as problem:
        return "%s reaches no model (%s)" % (name, problem)
    return None if "ready" in said.lower() else "%s answers something else" % name


def do_job(words, job: dict, folder: str, with_skill: bool) -> list:
    """Let a program do a job in a folder and return what each rule says."""
    work = os.path.join(folder, "work")
    os.makedirs(work)
    for path in job["files"]:
        shutil.copy(os.path.join(ROOT, path), work)
    for place in (".claude", ".agents") if with_skill else ():
        subprocess.run(
            [sys.executable, os.path.join(ROOT, "tools", "bundle.py"), "install"],
            env=dict(os.environ, PREFIX=os.path.join(work, place, "skills")),
            stdout=subprocess.DEVNULL,
            check=True,
        )
    server = os.path.join(folder, "server")
    key_file = os.path.join(folder, "api_key")
    with open(key_file, "w", encoding="ascii") as file:
        file.write(KEY)
    with LocalServer(server, key=KEY) as cloud:
        try:
            ask(
                words,
                job["prompt"],
                work,
                JOB_SECONDS,
                REBYTE_BASE_URL=cloud.url,
                REBYTE_API_KEY_FILE=key_file,
                REBYTE_STATE_DIR=os.path.join(folder, "state"),
            )
        except OSError as problem:
            print("job %d: %s" % (job["id"], problem), file=sys.stderr)
    for place in (".claude", ".agents"):
        # The skill's own files are no work of the program's.
        shutil.rmtree(os.path.join(work, place), ignore_errors=True)
    return judge.judge(job, judge.gather(server, work, None, key_file))


def compare(name: str, jobs, base: str) -> list:
    """Return the lines of the table for one program."""
    lines = []
    for job in jobs:
        cells = []
        for with_skill in (True, False):
            folder = os.path.join(base, "%s-%d-%d" % (name, job["id"], with_skill))
            rules = do_job(PROGRAMS[name], job, folder, with_skill)
            held = sum(1 for rule in rules if rule["passed"])
            cells.append("%d of %d" % (held, len(rules)))
        lines.append("| %s | %s | %s |" % (name, job["name"], " | ".join(cells)))
    return lines


def main() -> int:
    """Compare in each program that can be used, and return 1 when there was none."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", choices=sorted(PROGRAMS), action="append")
    parser.add_argument("--jobs", metavar="1,2", help="ids of evals.json; all without")
    parser.add_argument(
        "--keep", action="store_true", help="leave the folders, name them"
    )
    options = parser.parse_args()
    known = judge.jobs()
    ids = map(int, options.jobs.split(",")) if options.jobs else sorted(known)
    jobs = [known[number] for number in ids]
    base = tempfile.mkdtemp(prefix="evals-")
    lines = []
    try:
        for name in options.program or sorted(set(PROGRAMS) - {"opencode"}):
            reason = why_not(name, PROGRAMS[name], base)
            if reason:
                print("skipped: %s" % reason, file=sys.stderr)
            else:
                lines += compare(name, jobs, base)
    finally:
        if options.keep:
            print("kept: " + base, file=sys.stderr)
        else:
            shutil.rmtree(base, ignore_errors=True)
    if lines:
        print("| Program | Job | With the skill | Without |\n|---|---|---|---|")
        print("\n".join(lines))
    return 0 if lines else 1


if __name__ == "__main__":
    sys.exit(main())
