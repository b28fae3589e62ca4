"""The folder a task works in, the real machine's /code: what is laid into it before, what is taken from it after."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile

from rebyte_local.artifacts import artifact_type, find_artifact, mark_of, put_artifact
from rebyte_local.files import blob_path, take_in

NAME_LIMIT_BYTES = 255  # of one file name, on every usual file system
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME")
GIT_SECONDS = 120


class SetupFailed(Exception):
    """The workspace cannot be made ready; the message is for the task."""


def workspace_path(service, workspace):
    """The folder of a workspace, made if need be."""
    path = os.path.join(service.folder, "workspaces", workspace)
    os.makedirs(path, 0o700, exist_ok=True)
    return path


def environment(path, scratch):
    """What a prompt's process may know: nothing of the server's own environment but harmless words."""
    env = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    env.update((name, os.environ[name]) for name in KEPT_VARIABLES if name in os.environ)
    env.update(
        HOME=path,
        PWD=path,
        TMPDIR=scratch,
        TERM="dumb",
        PYTHONUNBUFFERED="1",
        PYTHONDONTWRITEBYTECODE="1",
        ARTIFACTS_DIR=os.path.join(path, "artifacts"),
    )
    return env


def prepare(run):
    """Lay the prompt's files, skills and repository into its workspace; raises SetupFailed."""
    setup = run.prompt["setup"]
    for reference in setup["files"]:
        name = _copy_file(run, reference)
        if name != reference["filename"]:
            run.emit(
                "stderr", content="a file name was too long for this machine; it is %s here" % name
            )
    for slug in setup["skills"]:
        problem = _copy_skill(run, slug)
        if problem:
            run.emit("stderr", content="skill %s is not installed: %s" % (slug, problem))
    if setup.get("repository"):
        _clone(run, setup["repository"], setup["branch"])


def _copy_file(run, reference):
    name = fit_name(reference["filename"])
    target = os.path.join(run.path, name)
    if os.path.isdir(target) and not os.path.islink(target):
        raise SetupFailed("the file %s cannot be placed: there is a folder of that name" % name)
    handle, temporary = tempfile.mkstemp(dir=run.path)
    os.close(handle)
    try:
        shutil.copyfile(blob_path(run.service, reference["id"]), temporary)
        os.replace(temporary, target)  # replaces a planted link, never follows it
    except OSError as error:
        os.unlink(temporary)
        raise SetupFailed("the file %s cannot be placed: %s" % (name, error.strerror)) from error
    return name


def _copy_skill(run, slug):
    """Copy a skill to .skills/<name>; None when it is there, else why it is not."""
    skills = run.service.skills
    if skills is None:
        return "this local server was started without a folder of skills"
    name = slug.rpartition("/")[2]
    source = os.path.join(skills, name)
    if (
        name.startswith(".")
        or "\x00" in name
        or slug.startswith("github:")
        or not os.path.isdir(source)
    ):
        return "there is no such folder in %s" % skills
    target = os.path.join(run.path, ".skills", name)
    if not os.path.lexists(target):
        shutil.copytree(source, target, symlinks=True)
    return None


def _find_source(service, repository):
    """What git is to clone: the local stand-in if there is one, else the address at GitHub."""
    for suffix in ("", ".git") if service.repos else ():
        path = os.path.join(service.repos, *repository.split("/")) + suffix
        if os.path.isdir(path):
            return path
    return "https://github.com/%s" % repository


def _clone(run, repository, branch):
    name = repository.rpartition("/")[2]
    target = os.path.join(run.path, name)
    if os.path.lexists(target):
        run.emit("stderr", content="%s is already in the workspace; it was left as it is" % name)
        return
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("REBYTE_", "GIT_"))
    }
    env.update(GIT_TERMINAL_PROMPT="0", GIT_ASKPASS="true", GIT_SSH_COMMAND="ssh -oBatchMode=yes")
    run.emit(
        "tool_use", id="clone", name="git_clone", input={"repository": repository, "branch": branch}
    )
    code, _, errors = run.execute(
        [
            "git",
            "clone",
            "--quiet",
            "--no-hardlinks",
            "--branch",
            branch,
            "--",
            _find_source(run.service, repository),
            target,
        ],
        env=env,
        limit_seconds=GIT_SECONDS,
    )
    words = "\n".join(errors.last)
    run.emit(
        "tool_result", tool_id="clone", output=words or "cloned to " + target, is_error=code != 0
    )
    if code != 0:
        raise SetupFailed(
            "git could not clone %s at %s:\n%s"
            % (repository, branch, words or "no words (%s)" % code)
        )


def publish(run):
    """Copy what is new in /code/artifacts to the artifact store, and say what was refused."""
    folder = os.path.join(run.path, "artifacts")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        problem = _publish_one(run, os.path.join(folder, name), name)
        if problem:
            shown = name.encode("utf-8", "replace").decode()
            run.emit("stderr", content="artifacts/%s was not published: %s" % (shown, problem))


def _publish_one(run, path, name):
    try:
        name.encode("utf-8")
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    except OSError as error:
        return "it cannot be read as a plain file (%s)" % error.strerror
    try:
        return _publish_handle(run.service, run.task["workspace"], handle, name)
    finally:
        os.close(handle)


def _publish_handle(service, workspace, handle, name):
    state = os.fstat(handle)
    content_type = artifact_type(name)
    if not stat.S_ISREG(state.st_mode):
        return "it is not a plain file; folders have to be zipped"
    if content_type is None:
        return "the store does not take this kind of file; zip it"
    source = mark_of(state)
    known = find_artifact(service, workspace, name)
    if known is None or known["source"] != source:
        blob, size = take_in(service, lambda count: os.read(handle, count))
        put_artifact(service, workspace, name, blob, size, content_type, source)
    return None


def fit_name(name):
    """A name that fits a file system: the end, with its suffix, stays; the middle goes."""
    if len(name.encode("utf-8")) <= NAME_LIMIT_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    tail = (dot + suffix).encode("utf-8")
    if not stem or len(tail) > 32:
        stem, tail = name, b""
    head = stem.encode("utf-8")[: NAME_LIMIT_BYTES - len(tail)].decode("utf-8", "ignore")
    return head + tail.decode("utf-8")
