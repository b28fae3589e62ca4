"""The folder of --out: answer.md, transcript.jsonl, manifest.json, and the artifacts in files/."""

from __future__ import annotations

import json
import os
from contextlib import suppress

from rebyte_flows.files.atomic import (
    FILE_MODE,
    disk_words,
    open_folder,
    read_plain,
    write_whole,
)
from rebyte_flows.files.downloads import download_artifacts
from rebyte_flows.files.names import expand_user
from rebyte_flows.state import FILE_MODE as PRIVATE_MODE
from rebyte_flows.state import open_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TextIO

    from rebyte_client import RebyteClient
    from rebyte_types import Artifact, Event, FileHome, Refusal

ANSWER_FILE = "answer.md"
TRANSCRIPT_FILE = "transcript.jsonl"
MANIFEST_FILE = "manifest.json"
DOCUMENT_FILE = "document.json"
FILES_FOLDER = "files"


class OutFolder:
    """Where one task's results go; `refused` collects what the disk did not take."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(expand_user(path))
        self.refused: list[Refusal] = []

    def __repr__(self) -> str:
        return "OutFolder(%r)" % self.path

    def transcript_path(self) -> str:
        """Return where the transcript goes, the folder made when missing."""
        open_folder(self.path)
        return os.path.join(self.path, TRANSCRIPT_FILE)

    def holds_another(self, task_id: str) -> bool:
        """Say whether the folder holds the manifest of another task."""
        try:
            manifest = json.loads(read_plain(os.path.join(self.path, MANIFEST_FILE)))
            return bool(manifest["taskId"] != task_id)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return False

    def write(
        self,
        name: str,
        text: str,
    ) -> str | None:
        """Write a file of our own and return its path, None when the disk refuses it."""
        path = os.path.join(self.path, name)
        try:
            write_whole(path, text if text.endswith("\n") else text + "\n", FILE_MODE)
        except OSError as problem:
            self.refused.append({"name": name, "reason": disk_words(problem)})
            return None
        return path

    def bring(
        self,
        client: RebyteClient,
        workspace_id: str,
        task_id: str,
        listing: list[Artifact],
    ) -> list[FileHome]:
        """Download the listed artifacts into files/ and write the manifest; returns the files."""
        folder = os.path.join(self.path, FILES_FOLDER)
        files: list[FileHome] = []
        if os.path.islink(folder):
            reason = "it is a link, and what is brought here is not written through one"
            self.refused.append({"name": FILES_FOLDER, "reason": reason})
        elif listing:
            files, refused = download_artifacts(
                client, workspace_id, folder, listing=listing, force=True
            )
            self.refused += refused
        manifest = {
            "taskId": task_id,
            "workspaceId": workspace_id,
            "files": [_manifest_entry(file) for file in files],
        }
        self.write(MANIFEST_FILE, json.dumps(manifest, indent=1))
        return files


def _manifest_entry(file: FileHome) -> FileHome:
    return {
        "name": file["name"],
        "bytes": file["bytes"],
        "sha256": file["sha256"],
    }


class Transcript:
    """A task's events, a line each, written anew each time; a disk that refuses stops nothing."""

    def __init__(self, find_path: Callable[[], str], goes_on: bool = False) -> None:
        """Open the file whose path `find_path()` gives; with `goes_on` add to what is there."""
        self.path: str | None = None
        self.warnings: list[str] = []
        self._file: Any = None
        try:
            path = find_path()
            self._file = _open_to_add(path) if goes_on else open_private(path)
            self.path = path
        except OSError as problem:
            self._give_up(problem)

    def __repr__(self) -> str:
        return "Transcript(%r)" % self.path

    def write(self, event: Event) -> None:
        """Write one event."""
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(event) + "\n")
        except OSError as problem:
            self._give_up(problem)

    def close(self) -> list[str]:
        """Close the file and return the warnings."""
        try:
            if self._file is not None:
                self._file.close()
        except OSError as problem:
            self._give_up(problem)
        return self.warnings

    def _give_up(self, problem: OSError) -> None:
        file = self._file
        self._file = None
        if file is not None:
            with suppress(OSError):
                file.close()
        self.warnings.append("the transcript is not whole: %s" % disk_words(problem))


def _open_to_add(path: str) -> TextIO:
    """Open a file of ours to write behind what is there; never through a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(
        os.open(path, flags, PRIVATE_MODE),
        "a",
        encoding="utf-8",
        errors="backslashreplace",
        newline="\n",
    )
