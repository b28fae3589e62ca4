"""Where the key and the base address come from; nothing prints, and no message shows the key."""

from __future__ import annotations

import codecs
import os
import re
import select
import stat
from collections.abc import Callable, Mapping

from rebyte_wire.addresses import origin_of
from rebyte_wire.errors import AuthError, InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from rebyte_wire.requests import Deadline

    Environ = Mapping[str, str]
    Path = Union[str, os.PathLike[str]]
    FoundKey = Union[tuple[str, str], tuple[None, None]]

DEFAULT_BASE_URL = "https://api.rebyte.ai/v1"
MAX_KEY_BYTES = 4096
PIPE_SECONDS = 10
KEY = re.compile("[\x21-\x7e]+")


def find_key(
    environ: Environ,
    key_file: Path | None = None,
    deadline: Deadline | None = None,
) -> FoundKey:
    """Return (key, source), or (None, None) if there is none.

    Asked in this order: the named file, REBYTE_API_KEY, REBYTE_API_KEY_FILE, the user's own file.
    AuthError if a named file cannot be read or what it holds cannot be a key. A file may be a
    pipe; it is waited for until the deadline, ten seconds at most.
    """
    if not key_file and environ.get("REBYTE_API_KEY", "").strip():
        return check_key(environ["REBYTE_API_KEY"]), "REBYTE_API_KEY"
    path = key_file_path(environ, key_file)
    if path is None:
        return None, None
    key = check_key(read_key(path, deadline))
    named_by_variable = not key_file and environ.get("REBYTE_API_KEY_FILE")
    return key, "REBYTE_API_KEY_FILE" if named_by_variable else path


def key_file_path(environ: Environ, key_file: Path | None = None) -> str | None:
    """Return the path of the key file that is named, or of the user's own one if it is there."""
    named = key_file or environ.get("REBYTE_API_KEY_FILE")
    if named:
        return os.path.expanduser(str(named))
    own_file = own_key_file(environ)
    return own_file if os.path.isfile(own_file) else None


def find_key_for(
    environ: Environ,
    base: str,
    key_file: Path | None = None,
    deadline: Deadline | None = None,
) -> FoundKey:
    """Return (key, source) as find_key, for a base address.

    The environment's own key goes to the environment's own origin only.
    """
    if not key_file and origin_of(base) != origin_of(find_base(environ)):
        raise AuthError(
            "No API key for {}.".format(base),
            code="missing_api_key",
            hint="The environment's key is not sent to another address:"
            " name a key file for this one with --api-key-file.",
        )
    return find_key(environ, key_file, deadline)


def key_for(
    environ: Environ,
    base: str,
    key_file: Path | None = None,
    deadline: Deadline | None = None,
    warn: Callable[[str], object] | None = None,
) -> str:
    """Return the key to send to a base address; AuthError if there is none.

    `warn` is told in one sentence if the key comes from a file of another user.
    """
    key, source = find_key_for(environ, base, key_file, deadline)
    if not key:
        raise AuthError("No API key was found.", code="missing_api_key")
    path = key_file_path(environ, key_file)
    if warn and path and source != "REBYTE_API_KEY" and is_of_another_user(path):
        warn("the key file {} belongs to another user of this machine".format(path))
    return key


def is_of_another_user(path: Path) -> bool:
    """Say whether a file belongs to neither this user nor root, who can read every file anyway."""
    try:
        return os.name == "posix" and os.stat(path).st_uid not in (os.geteuid(), 0)
    except OSError:
        return False


def own_key_file(environ: Environ) -> str:
    """Return the path of the user's own key file, whether or not it exists."""
    home = environ.get("HOME") or os.path.expanduser("~")
    config = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    return os.path.join(config, "rebyte", "api_key")


def read_key(path: Path, deadline: Deadline | None = None) -> str:
    """Read a key file; a missing or unreadable one raises AuthError.

    A pipe by name, as <(...) of a shell, is read too, but not waited for without end.
    """
    left = deadline.left() if deadline else None
    wait = PIPE_SECONDS if left is None else min(PIPE_SECONDS, left)
    try:
        with open(path, "rb", opener=open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                select.select([file], [], [], wait)
            return decode_key(file.read(MAX_KEY_BYTES) or b"")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "bad path"
        raise AuthError(
            "The key file {} cannot be read: {}.".format(path, reason),
            code="missing_api_key",
            hint="Check its path, and that you may read it.",
        ) from None


def decode_key(data: bytes) -> str:
    """Return the text of a key file; editors of Windows mark UTF-8 and write UTF-16."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


def open_without_waiting(path: str, flags: int) -> int:
    """Open a file, or a pipe without waiting until somebody writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def check_key(key: object) -> str:
    """Return the key without blanks around it; AuthError if it could not travel in a header."""
    key = key.strip() if isinstance(key, str) else ""
    if not key:
        raise AuthError("The API key is empty.", code="missing_api_key")
    if not KEY.fullmatch(key):
        raise AuthError(
            "The API key holds blanks, control or non-ASCII characters;"
            " a key is one line of plain text.",
            hint="Copy the key again; the file or variable may hold more than the key.",
        )
    return key


def find_base(environ: Environ, base_url: str | None = None) -> str:
    """Return the base address, ending in /v1: the argument, REBYTE_BASE_URL or the default.

    An origin alone is completed. InputError for anything but https, or http to this machine.
    """
    base = (base_url or environ.get("REBYTE_BASE_URL") or DEFAULT_BASE_URL).strip()
    expected = "Expected something like {} (see REBYTE_BASE_URL, --base-url).".format(
        DEFAULT_BASE_URL
    )
    try:
        origin_of(base)
    except InputError as error:
        raise InputError(
            "The base address cannot be used. " + error.message,
            hint=error.hint or expected,
        ) from None
    if "?" in base or "#" in base:
        raise InputError(
            "The base address holds a query or a fragment; expected an origin, with or without /v1."
        )
    base = base.rstrip("/")
    return base if base.endswith("/v1") else base + "/v1"
