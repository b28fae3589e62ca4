"""Which names of artifacts may become files, and when two names are one."""

from __future__ import annotations

import os
import unicodedata

from rebyte_flows.files.types import wanted_name
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

NAME_LIMIT_BYTES = 255
NUMBERED_DEVICES = [
    word + digit for word in ("com", "lpt") for digit in "123456789\u00b9\u00b2\u00b3"
]
DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"] + NUMBERED_DEVICES
)
SEPARATORS = frozenset("/\\:\u2044\u2215\u29f8\uff0f\uff3c")
NOT_ON_WINDOWS = frozenset('<>"|?*')
# Control, format and surrogate characters, line and paragraph separators.
INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
# Some scripts and emoji cannot be written without them.
JOINERS = "\u200c\u200d"
JOINED = ("L", "M", "S")
# What programs and agents read and obey when it lies in the folder they work in.
OBEYED = frozenset(
    (
        "agents.md",
        "claude.md",
        "gemini.md",
        "skill.md",
        "makefile",
        "gnumakefile",
        "justfile",
        "rakefile",
        "gemfile",
        "dockerfile",
        "cmakelists.txt",
        "package.json",
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "tox.ini",
        "pytest.ini",
        "conftest.py",
        "sitecustomize.py",
        "usercustomize.py",
        "cargo.toml",
        "build.rs",
        "build.gradle",
        "pom.xml",
    )
)


def reject_reason(name: Any) -> str | None:
    """Return why a name must not become a file, or None when it may."""
    if not isinstance(name, str) or not name:
        return "it is empty"
    return next((reason for is_wrong, reason in RULES if is_wrong(name)), None)


def _begins_badly(name: str) -> bool:
    return name[0] in "-~" or name[0].isspace()


def _ends_badly(name: str) -> bool:
    return name[-1] == "." or name[-1].isspace()


def is_invisible(name: str) -> bool:
    """Say whether a name holds characters that nobody sees, and that it does not need."""
    return any(
        unicodedata.category(letter) in INVISIBLE and not _joins(name, index)
        for index, letter in enumerate(name)
    )


def _joins(name: str, index: int) -> bool:
    """Say whether a joiner stands between two letters or symbols that need one: none in ASCII."""
    if name[index] not in JOINERS or not 0 < index < len(name) - 1:
        return False
    neighbours = name[index - 1] + name[index + 1]
    return all(
        letter > "\x7f" and unicodedata.category(letter)[0] in JOINED
        for letter in neighbours
    )


def is_device(name: str) -> bool:
    """Say whether Windows takes a name for a device, whatever follows its first dot."""
    return name.split(".")[0].strip().casefold() in DEVICES


RULES = (
    (lambda name: name in (".", ".."), "it names a folder"),
    (lambda name: not SEPARATORS.isdisjoint(name), "it holds a separator"),
    (is_invisible, "it holds control or invisible characters"),
    (_begins_badly, "it begins with a dash, a tilde or a blank"),
    (_ends_badly, "it ends with a dot or a blank"),
    (
        lambda name: not NOT_ON_WINDOWS.isdisjoint(name),
        "it holds a character that some systems do not allow",
    ),
    (is_device, "it is the name of a device"),
    (
        lambda name: len(name.encode("utf-8")) > NAME_LIMIT_BYTES,
        "it has more than %d bytes" % NAME_LIMIT_BYTES,
    ),
)


def normalize(name: str) -> str:
    """Return a name in the one of Unicode's two forms in which names are compared here."""
    return unicodedata.normalize("NFC", name)


def fold(name: str) -> str:
    """Return a name as a reader compares it, who sees neither its case nor its joiners."""
    plain = "".join(letter for letter in name if letter not in JOINERS)
    return normalize(normalize(plain).casefold())


def is_obeyed(name: str) -> bool:
    """Say whether programs or agents obey a file of that name where they find it."""
    return name.startswith(".") or fold(name) in OBEYED


def expand_user(path: str) -> str:
    """Return a path as the system takes it, with ~ in front expanded, which a shell leaves to us
    in --out=~/x.

    InputError for a text that cannot be a path.
    """
    try:
        path = _for_file_system(path)
        return path if os.path.lexists(path) else os.path.expanduser(path)
    except ValueError:
        raise InputError("%r cannot be a path" % path) from None


def _for_file_system(path: str) -> str:
    """Return a path that an ASCII locale cannot encode by its bytes in UTF-8."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return os.fsdecode(path.encode("utf-8", "surrogateescape"))
    if "\0" in path:
        raise ValueError(path)
    return path


def name_of(path: str) -> str:
    """Return the last part of a path as text: its bytes are UTF-8, also under an ASCII locale."""
    return os.fsencode(os.path.basename(path)).decode("utf-8", "surrogateescape")


def reject_reasons(names: Iterable[Any]) -> list[str | None]:
    """Return for each name why it must not become a file, or None; names that collide must not."""
    checked = [(name, reject_reason(name)) for name in names]
    counts: dict[str, int] = {}
    for name, reason in checked:
        if reason is None:
            counts[fold(name)] = counts.get(fold(name), 0) + 1
    return [reason or _collision(counts[fold(name)] - 1) for name, reason in checked]


def _collision(others: int) -> str | None:
    if not others:
        return None
    return "it collides with %d other%s" % (others, "" if others == 1 else "s")


def missing_names(wanted: Iterable[str], published: Iterable[str]) -> list[str]:
    """Return the wanted names that were not published, neither as they are nor zipped."""
    names = {normalize(name) for name in published}
    return [
        name
        for name in wanted
        if names.isdisjoint((normalize(name), normalize(wanted_name(name))))
    ]
