"""Where the key and the base address come from; nothing here prints, and no message shows the key."""

from __future__ import annotations

import os
import re
import select
import stat

from rebyte_wire.addresses import origin_of
from rebyte_wire.errors import AuthError, InputError

DEFAULT_BASE_URL = "https://api.rebyte.ai/v1"
MAX_KEY_BYTES = 4096
PIPE_SECONDS = 10
KEY = re.compile("[\x21-\x7e]+")


def find_key(environ, key_file=None) -> tuple:
    """Return (key, source): the named file, REBYTE_API_KEY, REBYTE_API_KEY_FILE, then the user's own file.

    (None, None) if there is none; AuthError if a named file cannot be read or what it holds cannot be a key.
    """
    if key_file:
        return check_key(read_key(key_file)), str(key_file)
    if environ.get("REBYTE_API_KEY", "").strip():
        return check_key(environ["REBYTE_API_KEY"]), "REBYTE_API_KEY"
    if environ.get("REBYTE_API_KEY_FILE"):
        return check_key(read_key(environ["REBYTE_API_KEY_FILE"])), "REBYTE_API_KEY_FILE"
    own_file = own_key_file(environ)
    return (check_key(read_key(own_file)), own_file) if os.path.isfile(own_file) else (None, None)


def find_key_for(environ, base, key_file=None) -> tuple:
    """Return (key, source) as find_key, for a base address: the environment's own key only goes to the environment's own origin."""
    if not key_file and origin_of(base) != origin_of(find_base(environ)):
        raise AuthError(
            "No API key for {}.".format(base),
            code="missing_api_key",
            hint="The environment's key is not sent to another address: name a key file for this one with --api-key-file.",
        )
    return find_key(environ, key_file)


def own_key_file(environ) -> str:
    """Return the path of the user's own key file, whether or not it exists."""
    home = environ.get("HOME") or os.path.expanduser("~")
    return os.path.join(
        environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "rebyte", "api_key"
    )


def read_key(path) -> str:
    """Read a key file; a missing or unreadable one raises AuthError."""
    try:
        # A pipe by name, as <(...) of a shell, is read too, but not waited for without end.
        with open(
            path,
            "rb",
            opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)),
        ) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                select.select([file], [], [], PIPE_SECONDS)
            return (file.read(MAX_KEY_BYTES) or b"").decode("ascii", "replace")
    except (OSError, ValueError) as error:
        raise AuthError(
            "The key file {} cannot be read: {}.".format(
                path, getattr(error, "strerror", None) or "bad path"
            ),
            code="missing_api_key",
            hint="Check its path, and that you may read it.",
        ) from None


def check_key(key) -> str:
    """Return the key without blanks around it; one that could not travel in a header raises AuthError."""
    key = key.strip() if isinstance(key, str) else ""
    if not key:
        raise AuthError("The API key is empty.", code="missing_api_key")
    if not KEY.fullmatch(key):
        raise AuthError(
            "The API key holds blanks, control or non-ASCII characters; a key is one line of plain text.",
            hint="Copy the key again; the file or variable may hold more than the key.",
        )
    return key


def find_base(environ, base_url=None) -> str:
    """Return the base address, ending in /v1, from the argument, REBYTE_BASE_URL or the default.

    An origin alone is completed. Raises InputError for anything but https, or http to this machine.
    """
    base = (base_url or environ.get("REBYTE_BASE_URL") or DEFAULT_BASE_URL).strip()
    try:
        origin_of(base)
    except InputError as error:
        raise InputError(
            "The base address cannot be used. " + error.message,
            hint=error.hint
            or "Expected something like "
            + DEFAULT_BASE_URL
            + " (see REBYTE_BASE_URL, --base-url).",
        ) from None
    if "?" in base or "#" in base:
        raise InputError(
            "The base address holds a query or a fragment; expected an origin, with or without /v1."
        )
    base = base.rstrip("/")
    return base if base.endswith("/v1") else base + "/v1"
