"""What starts take along: words such as data.csv, photos (with --zip), -=NAME and --skill
./FOLDER.
"""

from __future__ import annotations

import os

from rebyte_flows.files.names import expand_user
from rebyte_flows.files.uploads import STREAM, Attachment
from rebyte_wire.errors import InputError
from rebyte_wire.multipart import MAX_UPLOAD_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rebyte_commands.shell.context import Context
    from rebyte_commands.shell.stdin import Stdin

LOCAL_STARTS = ("./", "../", "/", "~/", ".\\", "..\\")
LINKS_SHOWN = 3


def attach(
    word: str,
    stdin: Stdin,
    pack_folders: bool = False,
    limit: int | None = MAX_UPLOAD_BYTES,
) -> Attachment:
    """Return what --file or upload names: a path, a folder with --zip, or -=NAME for stdin."""
    if word == "-":
        raise InputError(
            "stdin needs a name in the task", hint="pass -=NAME, for example -=data.csv"
        )
    path = expand_user(word)
    is_stream = word.startswith(STREAM)
    if not is_stream and not (pack_folders and os.path.isdir(path)):
        return Attachment(path, limit)
    # Lazy: only what is packed or piped pays for zipfile.
    from rebyte_flows.files.packing import Packed, Stream

    return Stream(word, stdin, limit) if is_stream else Packed(path, limit)


def attach_all(
    words: Sequence[str], stdin: Stdin, pack_folders: bool = False
) -> list[Attachment]:
    """Return what several words name; stdin can be read only once."""
    if sum(word.startswith(STREAM) for word in words) > 1:
        raise InputError(
            "stdin was named twice; it can be read only once", code="usage"
        )
    return [attach(word, stdin, pack_folders) for word in words]


def attach_artifact(word: str, stdin: Stdin, pack: bool) -> Attachment:
    """Return what artifacts put names, of any size.

    With --zip a file of a type that the store refuses is packed too.
    """
    from rebyte_flows.files.types import type_of

    path = expand_user(word)
    if pack and os.path.isfile(path) and not type_of(path):
        from rebyte_flows.files.packing import Packed

        return Packed(path, None)
    return attach(word, stdin, pack, None)


def attach_skill(word: str) -> Attachment:
    """Return a skill's folder on this machine, packed."""
    from rebyte_flows.files.packing import LocalSkill

    return LocalSkill(word)


def is_local_skill(word: str) -> bool:
    """Say whether --skill names a folder of this machine: it begins with ./ ../ / or ~/, or is .

    itself.
    """
    return word in (".", "..") or word.startswith(LOCAL_STARTS)


def tell_links(context: Context, attachments: Iterable[Attachment]) -> None:
    """Say which links were left out of what was packed."""
    for item in attachments:
        links = getattr(item, "links", ())
        if links:
            more = " ..." if len(links) > LINKS_SHOWN else ""
            names = ", ".join(links[:LINKS_SHOWN])
            context.info(
                "%s holds links, which are not packed: %s%s" % (item.path, names, more)
            )
