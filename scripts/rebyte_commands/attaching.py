"""From words such as data.csv, photos (with --zip), -=NAME and --skill ./FOLDER to attachments."""
from __future__ import annotations

import os

from rebyte_flows.attachments import FILE_LIMIT_BYTES, Attachment
from rebyte_wire.errors import InputError

STREAM = "-="
LOCAL_STARTS = ("./", "../", "/", "~/", ".\\", "..\\")


def attach(word, pack_folders=False, limit=FILE_LIMIT_BYTES):
    """Return what --file or upload names: a path, a folder with --zip, or -=NAME for stdin."""
    if word == "-":
        raise InputError("stdin needs a name in the task", hint="pass -=NAME, for example -=data.csv")
    if not word.startswith(STREAM) and not (pack_folders and os.path.isdir(word)):
        return Attachment(word, limit)
    # Second lazy seam: only what is packed or piped pays for zipfile.
    from rebyte_flows.packing import Packed, Stream
    return Stream(word, limit=limit) if word.startswith(STREAM) else Packed(word, limit)


def attach_all(words, pack_folders=False):
    """Return what several words name; stdin can be read only once."""
    if sum(word.startswith(STREAM) for word in words) > 1:
        raise InputError("stdin was named twice; it can be read only once", code="usage")
    return [attach(word, pack_folders) for word in words]


def attach_artifact(word, pack):
    """Return what artifacts put names: of any size, and with --zip a file of a type that the store refuses is packed too."""
    from rebyte_flows.orders import type_of
    if pack and os.path.isfile(word) and not type_of(word):
        from rebyte_flows.packing import Packed
        return Packed(word, None)
    return attach(word, pack, None)


def attach_skill(word):
    """Return a skill's folder on this machine, packed."""
    from rebyte_flows.packing import LocalSkill
    return LocalSkill(word)


def is_local_skill(word):
    """Say whether --skill names a folder of this machine: it begins with ./ ../ / or ~/, or is . itself."""
    return word in (".", "..") or word.startswith(LOCAL_STARTS)


def tell_links(session, attachments):
    """Say which links were left out of what was packed."""
    for item in attachments:
        links = getattr(item, "links", ())
        if links:
            session.say("%s holds links, which are not packed: %s%s" % (item.path, ", ".join(links[:3]), " ..." * (len(links) > 3)))
