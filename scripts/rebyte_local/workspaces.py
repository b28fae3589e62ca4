"""The folder a task works in, the real machine's /code: what is laid into it before, what is taken from it after."""
from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile

from rebyte_local.shelves import artifact_type

NAME_LIMIT_BYTES = 255  # of one file name, on every usual file system
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER", "LOGNAME")
GIT_SECONDS = 120


class SetupFailed(Exception):
    """The workspace cannot be made ready; the message is for the task."""


class Workspaces:
    """The workspace folders of one server and where files, skills and repositories come from."""

    def __init__(self, folder, shelves, repos=None, skills=None):
        self._folder = os.path.join(folder, "workspaces")
        self._scratch = os.path.join(folder, "scratch")
        self._shelves = shelves
        self._repos = os.path.abspath(repos) if repos else None
        self._skills = os.path.abspath(skills) if skills else None
        shutil.rmtree(self._scratch, ignore_errors=True)
        for path in (self._folder, self._scratch):
            os.makedirs(path, 0o700, exist_ok=True)

    def __repr__(self):
        return "Workspaces(%r)" % (self._folder,)

    def path(self, workspace):
        """The folder of a workspace, made if need be."""
        path = os.path.join(self._folder, workspace)
        os.makedirs(path, 0o700, exist_ok=True)
        return path

    def remove(self, workspace):
        """Remove the folder of a workspace and all that lies in it."""
        shutil.rmtree(os.path.join(self._folder, workspace), ignore_errors=True)

    def make_scratch(self):
        """A folder for one prompt's scripts and temporary files; the caller removes it."""
        return tempfile.mkdtemp(dir=self._scratch)

    def environment(self, workspace_path, scratch):
        """What a prompt's process may know: nothing of the server's own environment but harmless words."""
        env = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        env.setdefault("PATH", os.defpath)
        env.setdefault("LANG", "C.UTF-8")
        env.update(HOME=workspace_path, PWD=workspace_path, TMPDIR=scratch, TERM="dumb", PYTHONUNBUFFERED="1",
                   PYTHONDONTWRITEBYTECODE="1", ARTIFACTS_DIR=os.path.join(workspace_path, "artifacts"))
        return env

    def copy_file(self, workspace_path, reference):
        """Copy an uploaded file into the workspace under its name; an earlier one of that name is replaced."""
        name = fit_name(reference["filename"])
        target = os.path.join(workspace_path, name)
        if os.path.isdir(target) and not os.path.islink(target):
            raise SetupFailed("the file %s cannot be placed: there is a folder of that name" % name)
        handle, temporary = tempfile.mkstemp(dir=workspace_path)
        os.close(handle)
        try:
            shutil.copyfile(self._shelves.path(reference["id"]), temporary)
            os.replace(temporary, target)  # replaces a planted link, never follows it
        except OSError as error:
            os.unlink(temporary)
            raise SetupFailed("the file %s cannot be placed: %s" % (name, error.strerror)) from error
        return name

    def copy_skill(self, workspace_path, slug):
        """Copy a skill to .skills/<slug>; None when it is there, else why it is not."""
        if self._skills is None:
            return "skill %s is not installed: this local server was started without a folder of skills" % slug
        name = slug.rpartition("/")[2]
        source = os.path.join(self._skills, name)
        if name.startswith(".") or "\x00" in name or slug.startswith("github:") or not os.path.isdir(source):
            return "skill %s is not installed: there is no such folder in %s" % (slug, self._skills)
        target = os.path.join(workspace_path, ".skills", name)
        if not os.path.lexists(target):
            shutil.copytree(source, target, symlinks=True)
        return None

    def repository_source(self, repository):
        """What git is to clone: the local stand-in if there is one, else the address at GitHub."""
        for suffix in ("", ".git") if self._repos else ():
            path = os.path.join(self._repos, *repository.split("/")) + suffix
            if os.path.isdir(path):
                return path
        return "https://github.com/%s" % repository

    def clone_command(self, repository, branch, workspace_path):
        """(argv, env, target) of the clone; target is /code/<repo>."""
        target = os.path.join(workspace_path, repository.rpartition("/")[2])
        argv = ["git", "clone", "--quiet", "--no-hardlinks", "--branch", branch, "--",
                self.repository_source(repository), target]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("REBYTE_", "GIT_"))}
        env.update(GIT_TERMINAL_PROMPT="0", GIT_ASKPASS="true", GIT_SSH_COMMAND="ssh -oBatchMode=yes")
        return argv, env, target

    def publish(self, workspace, workspace_path):
        """Copy what is new in /code/artifacts to the artifact store; gives what was refused, one sentence each."""
        folder = os.path.join(workspace_path, "artifacts")
        refused = []
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        for name in names:
            problem = self._publish_one(workspace, os.path.join(folder, name), name)
            if problem:
                shown = name.encode("utf-8", "replace").decode()
                refused.append("artifacts/%s was not published: %s" % (shown, problem))
        return refused

    def _publish_one(self, workspace, path, name):
        try:
            name.encode("utf-8")
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except UnicodeEncodeError:
            return "its name is not UTF-8"
        except OSError as error:
            return "it cannot be read as a plain file (%s)" % error.strerror
        try:
            return self._publish_handle(workspace, handle, name)
        finally:
            os.close(handle)

    def _publish_handle(self, workspace, handle, name):
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            return "it is not a plain file; folders have to be zipped"
        content_type = artifact_type(name)
        if content_type is None:
            return "the store does not take this kind of file; zip it"
        source = json.dumps([state.st_mtime_ns, state.st_size, state.st_ino])
        known = self._shelves.artifact(workspace, name)
        if known is None or known["source"] != source:
            blob, size = self._shelves.take_in(lambda count: os.read(handle, count))
            self._shelves.put_artifact(workspace, name, blob, size, content_type, source)
        return None


def fit_name(name):
    """A name that fits a file system: the end, with its suffix, stays; the middle goes."""
    if len(name.encode("utf-8")) <= NAME_LIMIT_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    tail = (dot + suffix).encode("utf-8")
    if not stem or len(tail) > 32:
        stem, tail = name, b""
    head = stem.encode("utf-8")[:NAME_LIMIT_BYTES - len(tail)].decode("utf-8", "ignore")
    return head + tail.decode("utf-8")
