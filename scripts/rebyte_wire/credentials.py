"""Where the key and the base address come from; nothing prints, and no message shows the key."""

from __future__ import annotations

import os
import re
import select
import stat
from collections.abc import Mapping

from rebyte_wire.addresses import origin_of
from rebyte_wire.errors import AuthError, InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Path = Union[str, os.PathLike[str]]

DEFAULT_BASE_URL = "https://api.rebyte.ai/v1"
MAX_KEY_BYTES = 4096
PIPE_SECONDS = 10
KEY = re.compile("[\x21-\x7e]+")


def find_key(
    environ: Mapping[str, str], key_file: Path | None = None
) -> tuple[str, str] | tuple[None, None]:
    """Return (key, source), or (None, None) if there is none.

    Asked in this order: the named file, REBYTE_API_KEY, REBYTE_API_KEY_FILE, the user's own file.
    AuthError if a named file cannot be read or what it holds cannot be a key.
    """
    if key_file:
        return check_key(read_key(key_file)), str(key_file)
    if environ.get("REBYTE_API_KEY", "").strip():
        return check_key(environ["REBYTE_API_KEY"]), "REBYTE_API_KEY"
    if environ.get("REBYTE_API_KEY_FILE"):
        return check_key(read_key(environ["REBYTE_API_KEY_FILE"])), "REBYTE_API_KEY_FILE"
    own_file = own_key_file(environ)
    if os.path.isfile(own_file):
        return check_key(read_key(own_file)), own_file
    return None, None


def find_key_for(
    environ: Mapping[str, str],
    base: str,
    key_file: Path | None = None,
) -> tuple[str, str] | tuple[None, None]:
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
    return find_key(environ, key_file)


def key_for(
    environ: Mapping[str, str],
    base: str,
    key_file: Path | None,
) -> str:
    """Return the key to send to a base address; AuthError if there is none."""
    key = find_key_for(environ, base, key_file)[0]
    if not key:
        raise AuthError("No API key was found.", code="missing_api_key")
    return key


def own_key_file(environ: Mapping[str, str]) -> str:
    """Return the path of the user's own key file, whether or not it exists."""
    home = environ.get("HOME") or os.path.expanduser("~")
    config = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    return os.path.join(config, "rebyte", "api_key")


def read_key(path: Path) -> str:
    """Read a key file; a missing or unreadable one raises AuthError.

    A pipe by name, as <(...) of a shell, is read too, but not waited for without end.
    """
    try:
        with open(path, "rb", opener=open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                select.select([file], [], [], PIPE_SECONDS)
            return (file.read(MAX_KEY_BYTES) or b"").decode("ascii", "replace")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "bad path"
        raise AuthError(
            "The key file {} cannot be read: {}.".format(path, reason),
            code="missing_api_key",
            hint="Check its path, and that you may read it.",
        ) from None


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


def find_base(environ: Mapping[str, str], base_url: str | None = None) -> str:
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
            "The base address cannot be used. " + error.message, hint=error.hint or expected
        ) from None
    if "?" in base or "#" in base:
        raise InputError(
            "The base address holds a query or a fragment; expected an origin, with or without /v1."
        )
    base = base.rstrip("/")
    return base if base.endswith("/v1") else base + "/v1"
