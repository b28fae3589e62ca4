"""The state folder: where it lies, who may read it, and which run is still alive."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time

from rebyte_wire.errors import LedgerUnwritable

TRANSCRIPT_DAYS = 30
PRUNE_EVERY_SECONDS = 86_400
FOLDER_MODE = 0o700
FILE_MODE = 0o600


class StateFolder:
    """A private folder (0700) for the ledger, transcripts and answers; `lasting` is False under the temp directory."""

    def __init__(self, path, lasting=True):
        self.path = path
        self.lasting = lasting

    def __repr__(self):
        return "StateFolder(%r%s)" % (self.path, "" if self.lasting else ", not lasting")

    def folder(self, *names):
        """Return a folder below this one, made when missing; OSError when the disk says no."""
        path = os.path.join(self.path, *names)
        os.makedirs(path, FOLDER_MODE, exist_ok=True)
        return path

    def file(self, *names):
        """Return the path of a file below this folder, its parent made when missing."""
        return os.path.join(self.folder(*names[:-1]), names[-1])


def find_state(environ, say=None):
    """Return the StateFolder: REBYTE_STATE_DIR, else XDG_STATE_HOME, else ~/.local/state, else a checked temp folder.

    Raises LedgerUnwritable when REBYTE_STATE_DIR is set and unusable, or when no place can be had.
    """
    asked = environ.get("REBYTE_STATE_DIR")
    if asked:
        return _asked_folder(os.path.abspath(os.path.expanduser(asked)))
    for place in _usual_places(environ):
        if _usable(place):
            return StateFolder(place)
    place = os.path.join(tempfile.gettempdir(), "rebyte-%s" % _user_id())
    if not _usable(place) or not _is_mine(place):
        raise LedgerUnwritable(
            "no folder for the ledger: the home folder is not writable and %s is not mine alone"
            % place,
            hint="set REBYTE_STATE_DIR to a folder of your own that lasts",
        )
    if say:
        say(
            "the ledger is kept in %s, which may not outlive this machine; set REBYTE_STATE_DIR to keep it"
            % place
        )
    return StateFolder(place, lasting=False)


def _asked_folder(path):
    if not _usable(path):
        raise LedgerUnwritable(
            "REBYTE_STATE_DIR is %s, and nothing can be written there" % path,
            hint="make it writable, or point REBYTE_STATE_DIR elsewhere",
        )
    return StateFolder(path)


def _usual_places(environ):
    xdg = environ.get("XDG_STATE_HOME")
    if xdg and os.path.isabs(xdg):
        yield os.path.join(xdg, "rebyte")
    home = environ.get("HOME") or os.path.expanduser("~")
    if os.path.isabs(home):
        yield os.path.join(home, ".local", "state", "rebyte")


def _usable(path):
    try:
        os.makedirs(path, FOLDER_MODE, exist_ok=True)
        handle, probe = tempfile.mkstemp(prefix="probe-", dir=path)
        os.close(handle)
        os.unlink(probe)
    except OSError:
        return False
    return True


def _is_mine(path):
    found = os.lstat(path)
    mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return mine and stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077


def _user_id():
    return os.getuid() if hasattr(os, "getuid") else "user"


class Owner:
    """A run that is alive: it holds a lock on its own file, which the system drops when the process dies."""

    def __init__(self, state):
        folder = state.folder("owners")
        self.name = "%d-%s" % (os.getpid(), os.urandom(6).hex())
        self._path = os.path.join(folder, self.name)
        self._file = os.fdopen(
            os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE), "r+b"
        )
        lock_file(self._file)

    def __repr__(self):
        return "Owner(%s, %s)" % (self.name, "closed" if self._file.closed else "alive")

    def close(self):
        """Give the lock back; the file goes with it."""
        if not self._file.closed:
            _remove(self._path)
            self._file.close()


def is_alive(state, name):
    """Tell whether the run that wrote this owner name still holds its lock."""
    path = os.path.join(state.path, "owners", name or "")
    if not name or not os.path.isfile(path):
        return False
    try:
        with open(path, "r+b") as file:
            if not lock_file(file):
                return True
            _remove(path)
    except OSError:
        return False
    return False


def lock_file(file):
    """Take an exclusive lock without waiting; False when another process has it. Released when the file closes."""
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _lock_on_windows(file):
    import msvcrt

    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def _remove(path):
    try:
        os.unlink(path)
    except OSError:
        pass


def prune(state, now=None):
    """Once a day remove transcripts, answers and batches older than 30 days, and the marks of dead runs; what cannot go is left."""
    now = time.time() if now is None else now
    mark = os.path.join(state.path, "pruned")
    try:
        if now - os.path.getmtime(mark) < PRUNE_EVERY_SECONDS:
            return
    except OSError:
        pass
    for kind in ("transcripts", "answers"):
        for path in _old_files(os.path.join(state.path, kind), now - TRANSCRIPT_DAYS * 86400):
            _remove(path)
    for path in _old_files(os.path.join(state.path, "batches"), now - TRANSCRIPT_DAYS * 86400):
        shutil.rmtree(path, ignore_errors=True)
    for path in _old_files(os.path.join(state.path, "owners"), now - PRUNE_EVERY_SECONDS):
        is_alive(state, os.path.basename(path))
    try:
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT, FILE_MODE))
        os.utime(mark, (now, now))
    except OSError:
        pass


def _old_files(folder, oldest):
    """Return the files and folders in a folder that were last changed before a moment."""
    found = []
    try:
        names = os.listdir(folder)
    except OSError:
        return found
    for name in names:
        path = os.path.join(folder, name)
        try:
            if os.lstat(path).st_mtime < oldest:
                found.append(path)
        except OSError:
            pass
    return found


def open_private(path, mode="w"):
    """Open a text file of ours for writing with mode 0600 whatever the umask; a planted link is not followed."""
    flags = (
        os.O_WRONLY
        | os.O_CREAT
        | getattr(os, "O_NOFOLLOW", 0)
        | (os.O_APPEND if mode == "a" else os.O_TRUNC)
    )
    return os.fdopen(os.open(path, flags, FILE_MODE), mode, encoding="utf-8", newline="\n")
