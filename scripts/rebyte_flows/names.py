"""Pure: which names from elsewhere may become files here. Names are refused with a reason, never cleaned."""
from __future__ import annotations

import unicodedata

NAME_LIMIT_BYTES = 255
DEVICES = frozenset(["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
                    + [word + digit for word in ("com", "lpt") for digit in "123456789\u00b9\u00b2\u00b3"])
SEPARATORS = frozenset("/\\:\u2044\u2215\u29f8\uff0f\uff3c")


def why_refused(name):
    """Return why a name must not become a file, or None when it may."""
    if not isinstance(name, str) or not name:
        return "it is empty"
    if name in (".", ".."):
        return "it names a folder"
    if any(letter in SEPARATORS for letter in name):
        return "it holds a separator"
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in name):
        return "it holds control or invisible characters"
    if name[0] in "-~" or name[0].isspace():
        return "it begins with a dash, a tilde or a blank"
    if name[-1] == "." or name[-1].isspace():
        return "it ends with a dot or a blank"
    if any(letter in '<>"|?*' for letter in name):
        return "it holds a character that some systems do not allow"
    if name.split(".")[0].strip().casefold() in DEVICES:
        return "it is the name of a device"
    if len(name.encode("utf-8")) > NAME_LIMIT_BYTES:
        return "it has more than %d bytes" % NAME_LIMIT_BYTES
    return None


def sort_names(names):
    """Return (names that may be kept, {name: reason} for the others); of names that collide none is kept."""
    refused, same = {}, {}
    for name in names:
        reason = why_refused(name)
        if reason:
            refused[name if isinstance(name, str) else repr(name)] = reason
        else:
            same.setdefault(_folded(name), []).append(name)
    kept = []
    for group in same.values():
        if len(group) == 1:
            kept += group
        else:
            for name in group:
                refused[name] = "it collides with %d other%s" % (len(group) - 1, "" if len(group) == 2 else "s")
    return kept, refused


def _folded(name):
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
