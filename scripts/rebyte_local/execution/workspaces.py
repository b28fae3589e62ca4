"""The folder a prompt works in: what is laid into it before, what is published from it after."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile

from rebyte_local.execution.processes import within
from rebyte_local.execution.prompt_run import PromptRun
from rebyte_local.formats import JsonObject
from rebyte_local.storage.artifacts import artifact_type, file_fingerprint

NAME_LIMIT_BYTES = 255  # of one file name, on every usual file system
SUFFIX_LIMIT_BYTES = 32
GIT_SECONDS = 120
# Where skills are looked for, in a workspace.
REHEARSAL_SKILLS = ((".skills",),)
AGENT_SKILLS = ((".claude", "skills"), (".agents", "skills"))


class SetupFailed(Exception):
    """The workspace cannot be made ready; the message is for the task."""


def prepare(run: PromptRun) -> None:
    """Lay the prompt's files, skills and repository into its workspace; raises SetupFailed."""
    if os.path.islink(run.path):
        raise SetupFailed("the workspace was replaced by a link; it is not followed")
    with contextlib.suppress(FileExistsError):
        os.mkdir(os.path.join(run.path, "artifacts"), 0o700)
    setup = run.prompt["setup"]
    for file in setup["files"]:
        name = _copy_file(run, file)
        if name != file["filename"]:
            _say(run, "a file name was too long for this machine; it is %s here" % name)
    for slug in setup["skills"]:
        problem = _copy_skill(run, slug)
        if problem:
            _say(run, "skill %s is not installed: %s" % (slug, problem))
    if setup.get("repository"):
        _clone(run, setup["repository"], setup["branch"])


def _copy_file(run: PromptRun, file: JsonObject) -> str:
    """Copy an uploaded file; return its name in the workspace."""
    name = fit_name(file["filename"])
    target = os.path.join(run.path, name)
    if os.path.isdir(target) and not os.path.islink(target):
        raise SetupFailed(
            "the file %s cannot be placed: there is a folder of that name" % name
        )
    handle, temporary = tempfile.mkstemp(dir=run.path)
    os.close(handle)
    try:
        shutil.copyfile(run.service.blobs.path(file["id"]), temporary)
        os.replace(temporary, target)  # replaces a planted link, never follows it
    except OSError as error:
        os.unlink(temporary)
        raise SetupFailed(
            "the file %s cannot be placed: %s" % (name, error.strerror)
        ) from error
    return name


def _copy_skill(run: PromptRun, slug: str) -> str | None:
    """Copy a skill to where it is looked for; return None, or why it is not there."""
    skills = run.service.skills
    if skills is None:
        return "this local server was started without a folder of skills"
    name = slug.rpartition("/")[2]
    is_name = (
        bool(name)
        and not name.startswith(".")
        and "\x00" not in name
        and not slug.startswith("github:")
    )
    source = os.path.join(skills, name)
    if not is_name or not os.path.isdir(source):
        return "there is no such folder in %s" % skills
    folders = AGENT_SKILLS if run.task.get("program") else REHEARSAL_SKILLS
    for folder in folders:
        problem = _copy_folder(source, run.path, *folder, name)
        if problem:
            return problem
    return None


def _copy_folder(source: str, *path: str) -> str | None:
    """Copy a folder to a path of the workspace, but through no link; return None, or why not."""
    folder = path[0]
    for name in path[1:-1]:
        folder = os.path.join(folder, name)
        if os.path.islink(folder):
            return "%s is a link, which is not followed" % name
    target = os.path.join(folder, path[-1])
    if not os.path.lexists(target):
        shutil.copytree(source, target, symlinks=True)
    return None


def _clone_source(repos: str | None, repository: str) -> str:
    """Return what git is to clone: the local stand-in if there is one, else GitHub's address."""
    path = os.path.join(repos or os.devnull, *repository.split("/"))
    for candidate in (path, path + ".git"):
        if os.path.isdir(candidate):
            return candidate
    return "https://github.com/%s" % repository


def _clone(run: PromptRun, repository: str, branch: str) -> None:
    name = repository.rpartition("/")[2]
    target = os.path.join(run.path, name)
    if os.path.lexists(target):
        _say(run, "%s is already in the workspace; it was left as it is" % name)
        return
    run.emit(
        "tool_use",
        id="clone",
        name="git_clone",
        input={"repository": repository, "branch": branch},
    )
    git = [
        "git",
        "clone",
        "--quiet",
        "--no-hardlinks",
        "--branch",
        branch,
        "--",
        _clone_source(run.service.repos, repository),
        target,
    ]
    result = run.execute(git, env=_git_environment(), allowance=within(GIT_SECONDS))
    words = "\n".join(result.stderr.last)
    is_error = result.code != 0
    output = words or "cloned to " + target
    run.emit("tool_result", tool_id="clone", output=output, is_error=is_error)
    if is_error:
        reason = words or "no words (%d)" % result.code
        raise SetupFailed(
            "git could not clone %s at %s:\n%s" % (repository, branch, reason)
        )


def _git_environment() -> dict[str, str]:
    """Return the user's own environment, so that their credentials work; git never asks."""
    hidden = ("REBYTE_", "GIT_")
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(hidden)
    }
    env.update(
        GIT_TERMINAL_PROMPT="0",
        GIT_ASKPASS="true",
        GIT_SSH_COMMAND="ssh -oBatchMode=yes",
    )
    return env


def publish(run: PromptRun) -> None:
    """Copy what is new in /code/artifacts to the store; say in an event what was refused."""
    try:
        with run.service.artifacts.published_folder(run.task["workspace"]) as folder:
            for name in sorted(os.listdir(folder)):
                problem = _publish_file(run, folder, name)
                if problem:
                    shown = name.encode("utf-8", "replace").decode()
                    _say(run, "artifacts/%s was not published: %s" % (shown, problem))
    except FileNotFoundError:
        return
    except PermissionError:
        _say(run, "nothing was published: artifacts cannot be read any more")
    except NotADirectoryError:  # what O_NOFOLLOW makes of a link, too
        _say(
            run,
            "nothing was published: artifacts is no longer a folder of the workspace",
        )


def _say(run: PromptRun, message: str) -> None:
    run.emit("stderr", content=message)


def _publish_file(run: PromptRun, folder: int, name: str) -> str | None:
    """Publish one file; return None, or why it was refused."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        name.encode("utf-8")
        handle = os.open(name, flags, dir_fd=folder)
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    except OSError as error:
        return "it cannot be read as a plain file (%s)" % error.strerror
    try:
        return _publish_handle(run, handle, name)
    except OSError as error:
        # A full disk, most of all: the answer is kept all the same.
        return "it cannot be kept (%s)" % error.strerror
    finally:
        os.close(handle)


def _publish_handle(run: PromptRun, handle: int, name: str) -> str | None:
    state = os.fstat(handle)
    content_type = artifact_type(name)
    if not stat.S_ISREG(state.st_mode):
        return "it is not a plain file; folders have to be zipped"
    if content_type is None:
        return "the store does not take this kind of file; zip it"
    artifacts = run.service.artifacts
    workspace = run.task["workspace"]
    source = file_fingerprint(state)
    known = artifacts.find(workspace, name)
    if known is None or known["source"] != source:
        blob = run.service.blobs.store(lambda size: os.read(handle, size))
        artifacts.put(workspace, name, blob, content_type, source)
    return None


def fit_name(name: str) -> str:
    """Return a name that fits a file system: the suffix stays, the middle goes."""
    if len(name.encode("utf-8")) <= NAME_LIMIT_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    tail = (dot + suffix).encode("utf-8")
    if not stem or len(tail) > SUFFIX_LIMIT_BYTES:
        stem = name
        tail = b""
    head = stem.encode("utf-8")[: NAME_LIMIT_BYTES - len(tail)].decode(
        "utf-8", "ignore"
    )
    return head + tail.decode("utf-8")
