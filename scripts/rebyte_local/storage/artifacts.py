"""The artifacts of each workspace: a row per name, and the blob with its bytes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator

from rebyte_local.formats import JsonObject
from rebyte_local.storage.blobs import BlobStore
from rebyte_local.storage.database import Database

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What the store takes: suffix -> MIME type.
ARTIFACT_TYPES = {
    "pdf": "application/pdf",
    "doc": "application/msword",
    "rtf": "application/rtf",
    "epub": "application/epub+zip",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "ppt": "application/vnd.ms-powerpoint",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "html": "text/html",
    "htm": "text/html",
    "zip": "application/zip",
    "gz": "application/gzip",
    "tar": "application/x-tar",
    "tgz": "application/gzip",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "svg": "image/svg+xml",
    "tiff": "image/tiff",
    "tif": "image/tiff",
    "bmp": "image/bmp",
    "avif": "image/avif",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mov": "video/quicktime",
    "avi": "video/x-msvideo",
    "mkv": "video/x-matroska",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "ogg": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
}


def artifact_type(name: str) -> str | None:
    """Return the MIME type of a name that the store takes, None when its kind is refused."""
    return ARTIFACT_TYPES.get(name.rpartition(".")[2].lower()) if "." in name else None


def file_fingerprint(state: os.stat_result) -> str:
    """Return what tells a file from a later one of the same name."""
    return json.dumps([state.st_mtime_ns, state.st_size, state.st_ino])


class ArtifactStore:
    """Artifacts by workspace and name."""

    def __init__(self, database: Database, blobs: BlobStore, workspaces: str) -> None:
        self._database = database
        self._blobs = blobs
        self._workspaces = workspaces

    @contextlib.contextmanager
    def published_folder(self, workspace: str) -> Iterator[int]:
        """Open /code/artifacts of a workspace, where prompts leave what becomes an artifact.

        Raises OSError for anything but a real folder: a prompt may have put a link in its place.
        """
        root = os.open(os.path.join(self._workspaces, workspace), FOLDER_FLAGS)
        try:
            folder = os.open("artifacts", FOLDER_FLAGS, dir_fd=root)
        finally:
            os.close(root)
        try:
            yield folder
        finally:
            os.close(folder)

    def in_workspace(self, workspace: str) -> list[JsonObject]:
        """Return all artifacts of a workspace, by name."""
        return self._database.rows(
            "SELECT * FROM artifacts WHERE workspace=? ORDER BY name", workspace
        )

    def find(self, workspace: str, name: str) -> JsonObject | None:
        """Return the artifact, or None."""
        return self._database.row(
            "SELECT * FROM artifacts WHERE workspace=? AND name=?", workspace, name
        )

    def put(
        self,
        workspace: str,
        name: str,
        blob: tuple[str, int],
        content_type: str,
        source: str | None = None,
    ) -> None:
        """Add an artifact, or replace the one of that name.

        `blob` is (id, bytes). `source` is the fingerprint of the published file; without it, the
        file that lies in the workspace is taken as older and will not be published over this one.
        """
        if source is None:
            with contextlib.suppress(OSError), self.published_folder(
                workspace
            ) as folder:
                source = file_fingerprint(
                    os.stat(name, dir_fd=folder, follow_symlinks=False)
                )
        old = self.find(workspace, name)
        self._database.write(
            "INSERT OR REPLACE INTO artifacts VALUES(?,?,?,?,?,?)",
            workspace,
            name,
            blob[1],
            content_type,
            blob[0],
            source,
        )
        if old:
            self._blobs.delete(old["blob"])

    def delete(self, artifact: JsonObject) -> None:
        """Remove an artifact and the file it came from, else the next prompt would publish it."""
        workspace = artifact["workspace"]
        name = artifact["name"]
        self._database.write(
            "DELETE FROM artifacts WHERE workspace=? AND name=?", workspace, name
        )
        with contextlib.suppress(OSError), self.published_folder(workspace) as folder:
            os.unlink(name, dir_fd=folder)
        self._blobs.delete(artifact["blob"])
