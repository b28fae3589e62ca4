"""The working tree as an attachment: an archive, the lines that the prompt gets, and the base that
the changes will be told against.
"""

from __future__ import annotations

import os
import re
import threading
import unicodedata

from rebyte_flows.code.prompts import location_line, publish_line
from rebyte_flows.code.records import CodeRecord, write_record
from rebyte_flows.code.sending.snapshot import look_at
from rebyte_flows.code.sending.storing import commit
from rebyte_flows.code.sending.tree_archive import TooLarge, write_archive
from rebyte_flows.files.packing import Spooled
from rebyte_wire.errors import InputError
from rebyte_wire.multipart import MAX_UPLOAD_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from rebyte_flows.code.git import Repository
    from rebyte_flows.state import StateFolder
    from rebyte_types import Json

NAME_CHARACTERS = 60
LARGEST_SHOWN = 10
LEFT_OUT_SHOWN = 20
REFS = "refs/rebyte/"
ENDING = ".tar.gz"
# Folders that have a meaning of their own on the far side.
TAKEN = ("artifacts", "files")


class CodeTree(Spooled):
    """A working tree as it lies, packed; see snapshot.look_at for what is left out."""

    is_listed = False

    def __init__(
        self,
        repository: Repository,
        *,
        send_secret: Sequence[str] = (),
        leave: Sequence[str] = (),
        own_keys: Sequence[bytes] = (),
        limit: int = MAX_UPLOAD_BYTES,
    ) -> None:
        self.repository = repository
        self.tree = look_at(
            repository, send_secret=send_secret, leave=leave, own_keys=own_keys
        )
        if not self.tree.files:
            raise InputError(
                "%s holds nothing to send" % repository.root,
                hint="files that git ignores are not sent",
            )
        self.code_name = code_name(repository.root)
        self._limit = limit
        self._lock = threading.Lock()
        self._base: str | None = None
        self._differs: dict[str, str] = {}
        super().__init__(repository.root, self.code_name + ENDING, self._pack, limit)

    def _pack(self, file: BinaryIO) -> None:
        try:
            self._sha256 = write_archive(
                self.repository.root,
                self.code_name,
                self.tree.files,
                file,
                self._limit,
            )
        except TooLarge:
            raise self._too_large() from None

    def _too_large(self) -> InputError:
        largest = self.tree.largest(LARGEST_SHOWN)
        shown = ", ".join("%s (%d)" % (file.path, file.bytes) for file in largest)
        return InputError(
            "the code of %s has more than the %d bytes that a file may have when packed"
            % (self.path, self._limit),
            code="code_too_large",
            hint="nothing was sent; --leave PATH keeps a file or folder at home, the largest are: "
            + shown,
            details={
                "largest": [
                    {"path": file.path, "bytes": file.bytes} for file in largest
                ]
            },
        )

    def prompt_lines(self, name: str) -> list[str]:
        """Return the lines that say where the code lies, and how its changes come home."""
        return [location_line(name, self.code_name), publish_line(self.code_name)]

    def note_start(self, state: StateFolder, digest: str) -> None:
        """Write the base commit and what this line takes along, before it is sent."""
        with self._lock:
            # Lines of a batch share the tree, and its commit.
            if self._base is None:
                self._base, self._differs = commit(self.tree)
        self.repository.update_ref(REFS + "starts/" + digest[:16], self._base)
        record = CodeRecord(
            {
                "repository": self.repository.root,
                "name": self.code_name,
                "base": self._base,
                "kept": list(self.tree.kept),
                "differs": self._differs,
                "submodules": self.tree.submodules,
                "left_out": self.tree.left_out,
            }
        )
        write_record(state, digest, record)

    def preview(self) -> Json:
        """Return what --dry-run shows of the code: how much, the largest, what is left out."""
        left_out = sorted(self.tree.left_out.items())
        return {
            "repository": self.repository.root,
            "name": self.name,
            "files": len(self.tree.files),
            "bytes": self.tree.bytes,
            "packed": self.bytes,
            "largest": [
                {"path": file.path, "bytes": file.bytes}
                for file in self.tree.largest(LARGEST_SHOWN)
            ],
            "leftOut": [
                {"path": path, "why": why} for path, why in left_out[:LEFT_OUT_SHOWN]
            ],
            "leftOutCount": len(left_out),
        }


def code_name(root: str) -> str:
    """Return the name that the folder of a repository gets on the far side: plain ASCII."""
    plain = unicodedata.normalize("NFKD", os.path.basename(root))
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip(".-")[:NAME_CHARACTERS]
    if name.lower() in TAKEN:
        return name + "-code"
    return name or "code"
