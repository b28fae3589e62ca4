"""The state folder: where it lies, who may read it, which run is alive, and what is too old."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
import time
from contextlib import suppress

from rebyte_flows import places
from rebyte_flows.places import (
    folder_name,
    is_found_from_elsewhere,
    is_private,
    temporary_places,
    usual_places,
)
from rebyte_wire.errors import LedgerUnwritable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import IO, Any, TextIO

KEPT_SECONDS = 30 * 86_400
PRUNE_EVERY_SECONDS = 86_400
FOLDER_MODE = 0o700
FILE_MODE = 0o600
MARK_FILE = "rebyte-state"
PRUNED_FILE = "pruned"
# The names that are made here, in each folder: nothing else is ever removed.
OWN_NAMES = {
    "transcripts": re.compile(r"[A-Za-z0-9_.~:-]+\.jsonl"),
    "answers": re.compile(r"[a-z-]+-[0-9a-f]{12}\.txt"),
    "batches": re.compile(r"[0-9a-f]{16}"),
    "homecomings": re.compile(r"[0-9a-f-]{36}"),
}
OWN_FOLDERS = ("batches", "homecomings")
OWNER_NAME = re.compile(r"(\d+)-[0-9a-f]{12}")
HELD_ERRORS = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class StateFolder:
    """A private folder (0700) for the ledger, transcripts and answers.

    `lasting` is False under the temp directory, `own` for a folder that others made and use.
    `others` are paths where runs of the same user may keep theirs; `is_found` says whether such a
    run looks here as well.
    """

    def __init__(
        self,
        path: str,
        lasting: bool = True,
        own: bool = True,
        *,
        others: Sequence[str] = (),
        is_found: bool = True,
    ) -> None:
        self.path = path
        self.lasting = lasting
        self.own = own
        self.others = list(others)
        self.is_found = is_found

    def __repr__(self) -> str:
        return "StateFolder(%r%s)" % (
            self.path,
            "" if self.lasting else ", not lasting",
        )

    def folder(self, *names: str) -> str:
        """Return a folder below this one, made when missing; OSError when the disk says no."""
        path = os.path.join(self.path, *names)
        os.makedirs(path, FOLDER_MODE, exist_ok=True)
        return path

    def file(self, *names: str) -> str:
        """Return the path of a file below this folder, its parent made when missing."""
        return os.path.join(self.folder(*names[:-1]), names[-1])


def find_state(
    environ: Mapping[str, str], say: Callable[[str], object] | None = None
) -> StateFolder:
    """Return the folder of REBYTE_STATE_DIR, else the usual one, else a checked temporary one.

    The usual one is below XDG_STATE_HOME or ~/.local/state. Raises LedgerUnwritable when
    REBYTE_STATE_DIR is set and unusable, or when no place can be had.
    """
    asked = environ.get("REBYTE_STATE_DIR")
    if asked:
        return _asked_folder(os.path.abspath(os.path.expanduser(asked)))
    usual = usual_places(environ)
    temporary = temporary_places(environ)
    for place in usual:
        if _is_usable(place):
            others = _without(place, usual + temporary)
            return StateFolder(place, others=others)
    place = _temporary_place(temporary)
    if say:
        say(
            "the ledger is kept in %s, which may not outlive this machine;"
            " set REBYTE_STATE_DIR to keep it" % place
        )
    return StateFolder(
        place,
        lasting=False,
        others=_without(place, usual + temporary),
        is_found=is_found_from_elsewhere(place),
    )


def _without(place: str, places: Sequence[str]) -> list[str]:
    """Return places in their order, each once, less one; a link to a folder is that folder."""
    seen = {os.path.realpath(place)}
    kept: list[str] = []
    for other in places:
        real = os.path.realpath(other)
        if real not in seen:
            kept.append(other)
        seen.add(real)
    return kept


def _asked_folder(path: str) -> StateFolder:
    if not _is_usable(path):
        raise LedgerUnwritable(
            "REBYTE_STATE_DIR is %s, and nothing can be written there" % path,
            hint="make it writable, or point REBYTE_STATE_DIR elsewhere",
        )
    mark = os.path.join(path, MARK_FILE)
    with suppress(OSError):
        if not os.listdir(path):
            _touch(mark)
    return StateFolder(path, own=os.path.exists(mark))


def _temporary_place(known: Sequence[str]) -> str:
    """Return the folder that another run has made, else one that every run finds, else one below
    the temp directory.

    Raises LedgerUnwritable if there is none of mine.
    """
    made = [place for place in known if is_private(place)]
    shared = [os.path.join(root, folder_name()) for root in places.SHARED_ROOTS]
    for place in made + shared:
        if _is_usable(place) and is_private(place):
            return place
    reason = "neither the home folder nor a temp directory is writable"
    with suppress(OSError):
        place = os.path.join(tempfile.gettempdir(), folder_name())
        if _is_usable(place) and is_private(place):
            return place
        if os.path.lexists(place):
            reason = "the home folder is not writable, and %s is not mine alone" % place
    raise LedgerUnwritable(
        "no folder for the ledger: " + reason,
        hint="set REBYTE_STATE_DIR to a folder of your own that lasts",
    )


def _is_usable(path: str) -> bool:
    try:
        os.makedirs(path, FOLDER_MODE, exist_ok=True)
        handle, probe = tempfile.mkstemp(prefix="probe-", dir=path)
        os.close(handle)
        os.unlink(probe)
    except OSError:
        return False
    return True


class Owner:
    """A run that is alive: it holds a lock on its own file, which ends with the process."""

    def __init__(self, state: StateFolder) -> None:
        folder = state.folder("owners")
        self.name = "%d-%s" % (os.getpid(), os.urandom(6).hex())
        self._path = os.path.join(folder, self.name)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE)
        self._file = os.fdopen(handle, "r+b")
        lock_file(self._file)

    def __repr__(self) -> str:
        return "Owner(%s, %s)" % (self.name, "closed" if self._file.closed else "alive")

    def close(self) -> None:
        """Give the lock back; the file goes with it."""
        if not self._file.closed:
            with suppress(OSError):
                os.unlink(self._path)
            self._file.close()


def is_alive(
    state: StateFolder, name: str | None, *, only_by_lock: bool = False
) -> bool:
    """Say whether the run that wrote this owner name still lives; the file of a dead one goes.

    `only_by_lock`: where no lock can tell, the number of a process is not believed.
    """
    path = os.path.join(state.path, "owners", name or "")
    if not name or not os.path.isfile(path):
        return False
    try:
        with _open_for_lock(path) as file:
            locked = try_lock(file)
            if locked is None and only_by_lock:
                return False
            if locked is False or (locked is None and _is_running(name)):
                return True
            os.unlink(path)
    except OSError:
        return False
    return False


def _open_for_lock(path: str) -> IO[bytes]:
    """Open an owner's file; where it can only be read, a lock can still be tried."""
    try:
        return open(path, "r+b")
    except OSError:
        return open(path, "rb")


def _is_running(name: str) -> bool:
    """Say whether the process that an owner name begins with runs, where no locks can tell."""
    found = OWNER_NAME.fullmatch(name)
    if not found:
        return False
    try:
        os.kill(int(found.group(1)), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def try_lock(file: IO[Any]) -> bool | None:
    """Take an exclusive lock without waiting: False when another process has it.

    None where the file system knows no locks. It is released when the file closes.
    """
    try:
        import fcntl
    except ImportError:
        return _try_lock_on_windows(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        return False if problem.errno in HELD_ERRORS else None
    return True


def lock_file(file: IO[Any]) -> bool:
    """Take an exclusive lock without waiting; False only when another process has it."""
    return try_lock(file) is not False


def _try_lock_on_windows(file: IO[Any]) -> bool:
    import msvcrt

    locks: Any = msvcrt
    try:
        locks.locking(file.fileno(), locks.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def prune(state: StateFolder, now: float | None = None) -> None:
    """Once a day remove what is older than 30 days (see OWN_NAMES), and dead owners.

    Only what was made here goes; what cannot be removed is left.
    """
    now = time.time() if now is None else now
    mark = os.path.join(state.path, PRUNED_FILE)
    # A mark from the future was made under a wrong clock.
    if not state.own or 0 <= now - _modified(mark) < PRUNE_EVERY_SECONDS:
        return
    for kind, names in OWN_NAMES.items():
        for path in _old_entries(
            os.path.join(state.path, kind), names, now - KEPT_SECONDS
        ):
            if kind in OWN_FOLDERS:
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    os.unlink(path)
    owners = os.path.join(state.path, "owners")
    for path in _old_entries(owners, OWNER_NAME, now - PRUNE_EVERY_SECONDS):
        is_alive(state, os.path.basename(path))
    with suppress(OSError):
        _touch(mark)
        os.utime(mark, (now, now))


def _old_entries(
    folder: str,
    names: re.Pattern[str],
    oldest: float,
) -> Iterator[str]:
    """Yield the entries of a folder with such names that were last changed before a moment."""
    with suppress(OSError):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if names.fullmatch(name) and 0 < _modified(path) < oldest:
                yield path


def _modified(path: str) -> float:
    """Return when a file was last changed, 0 when it is not there."""
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, FILE_MODE))


def open_private(path: str, mode: int = FILE_MODE) -> TextIO:
    """Open a new text file of ours (0600) that takes the place of whatever has the name.

    So a link, a FIFO or a file with a second name is not written through; OSError for a device.
    """
    with suppress(FileNotFoundError):
        mode_there = os.lstat(path).st_mode
        if stat.S_ISCHR(mode_there) or stat.S_ISBLK(mode_there):
            raise OSError(errno.EINVAL, "it is a device", path)
    temporary = "%s.%s.part" % (path, os.urandom(4).hex())
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        os.replace(temporary, path)
    except OSError:
        os.close(handle)
        os.unlink(temporary)
        raise
    return os.fdopen(
        handle, "w", encoding="utf-8", errors="backslashreplace", newline="\n"
    )
