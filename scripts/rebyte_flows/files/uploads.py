"""Files out: what a task takes along, each sent once, and files into a workspace's store."""

from __future__ import annotations

import hashlib
import os
import threading

from rebyte_flows.concurrency import map_concurrently
from rebyte_flows.files.names import expand_user, name_of
from rebyte_flows.files.types import ARTIFACT_TYPES, type_of
from rebyte_wire.errors import AnswerUnreadable, InputError, StorageRefused
from rebyte_wire.multipart import MAX_UPLOAD_BYTES
from rebyte_wire.retry import EXPIRED_STATUSES
from rebyte_wire.status import dict_items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, BinaryIO

    from rebyte_client import RebyteClient
    from rebyte_flows.state import StateFolder
    from rebyte_types import FileReference, Json

FILENAME_LIMIT_CHARACTERS = 255
PIECE_BYTES = 1 << 18
# What stands before the name that stdin gets: -=NAME.
STREAM = "-="
UPLOADS_AT_ONCE = 4
PUTS_AT_ONCE = 4
FORM_FILES = 10
FORM_FILE_BYTES = 10 * 1024 * 1024
ADDRESSES_AT_ONCE = 50


class Attachment:
    """A local file: path, name and bytes, and its SHA-256 once somebody asks."""

    # One line of the prompt names all of these.
    is_listed = True

    def __init__(
        self,
        path: str,
        limit: int | None = MAX_UPLOAD_BYTES,
    ) -> None:
        path = expand_user(path)
        if os.path.isdir(path):
            raise InputError(
                "%s is a folder; a task takes files" % path, hint="--zip packs it"
            )
        if os.path.exists(path) and not os.path.isfile(path):
            # To open a pipe without a writer would wait for ever.
            raise InputError(
                "%s is no plain file" % path,
                hint="for a stream pass -=NAME and pipe it in",
            )
        try:
            self.path = os.path.abspath(path)
            self.name = name_of(path)
            self.bytes = os.path.getsize(path)
            open(path, "rb").close()
        except OSError as problem:
            raise InputError(
                "cannot read %s: %s" % (path, problem.strerror),
                hint="check the path; --file takes a file on this machine",
            ) from problem
        self._check(limit)

    def __repr__(self) -> str:
        return "%s(%r, %d bytes)" % (type(self).__name__, self.name, self.bytes)

    def _check(self, limit: int | None) -> None:
        if limit is not None and self.bytes > limit:
            raise InputError(
                "%s has %d bytes; a task's file may have %d"
                % (self.path, self.bytes, limit),
                hint="artifacts put takes larger files into a workspace",
            )
        if any("\ud800" <= letter <= "\udfff" for letter in self.name):
            raise InputError("the name of %r is not text" % self.path, hint="rename it")
        if len(self.name) > FILENAME_LIMIT_CHARACTERS:
            raise InputError(
                "the file name %s... has more than %d characters"
                % (self.name[:40], FILENAME_LIMIT_CHARACTERS)
            )

    def prompt_lines(self, name: str) -> list[str]:
        """Return the lines that the prompt gets for it, none where one line names all files.

        `name` is what the service called it.
        """
        return []

    def note_start(self, state: StateFolder, digest: str) -> None:
        """Note what is to be known later of the start with this digest, before it is sent."""

    def preview(self) -> Json | None:
        """Return what --dry-run shows of it beside its name and size, None for a plain file."""
        return None

    def open(self) -> BinaryIO:
        """Open it from its start, to read in binary; the caller closes."""
        return open(self.path, "rb")

    @property
    def sha256(self) -> str:
        """The SHA-256 of the content as hexadecimal text; read when first asked for."""
        if not hasattr(self, "_sha256"):
            with self.open() as file:
                self._sha256 = digest_of(file)
        return self._sha256


def digest_of(file: BinaryIO) -> str:
    """Return the SHA-256 of what is left of an open binary file, in flat memory."""
    digest = hashlib.sha256()
    for piece in iter(lambda: file.read(PIECE_BYTES), b""):
        digest.update(piece)
    return digest.hexdigest()


class Uploads:
    """Uploads attachments through one client, each path once; threads may share it.

    `on_progress(bytes)` is told of what is sent.
    """

    def __init__(
        self, client: RebyteClient, on_progress: Callable[[int], object] | None = None
    ) -> None:
        self.client = client
        self.on_progress = on_progress
        self._sent: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "Uploads(%d files)" % len(self._sent)

    def send(self, items: Sequence[Attachment]) -> list[FileReference]:
        """Upload all and return what the service takes as `files`, in order.

        The first failure is raised.
        """
        outcomes = self.try_each(items)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return outcomes

    def try_each(self, items: Sequence[Attachment]) -> list[Any]:
        """Upload each; return an entry of `files` or the exception for each, in order."""
        return map_concurrently(self.send_one, items, UPLOADS_AT_ONCE)

    def send_one(self, item: Attachment) -> FileReference:
        """Upload one attachment unless it was; the service chooses the name in `filename`."""
        with self._lock:
            entry = self._sent.setdefault((item.path, item.name), _Sent())
        with entry.lock:
            if entry.reference is None:
                opened = opener(item, self.on_progress)
                answer = self.client.upload_source(opened, item.bytes, item.name)
                filename = answer.get("filename") or item.name
                entry.reference = {"id": answer["id"], "filename": filename}
        return dict(entry.reference)  # type: ignore[return-value]


class _Sent:
    """One file that was or is being uploaded, and what the service called it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reference: FileReference | None = None


def opener(
    item: Attachment, on_progress: Callable[[int], object] | None
) -> Callable[[], BinaryIO]:
    """Return a function that opens an attachment from its start and tells what is read."""
    if on_progress is None:
        return item.open
    told = on_progress
    return lambda: _ReportingFile(item.open(), told)  # type: ignore[return-value]


class _ReportingFile:
    """A file that is read to be sent."""

    def __init__(
        self,
        file: BinaryIO,
        on_progress: Callable[[int], object],
    ) -> None:
        self._file = file
        self._on_progress = on_progress

    def read(self, size: int) -> bytes:
        """Read on, and tell how much it was."""
        piece = self._file.read(size)
        if piece:
            self._on_progress(len(piece))
        return piece

    def __enter__(self) -> _ReportingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def check_items(items: Sequence[Attachment]) -> None:
    """Raise InputError for types that the store refuses and for names that collide."""
    refused = [item.name for item in items if not type_of(item.name)]
    if refused:
        them = "it" if len(refused) == 1 else "them"
        raise InputError(
            "the artifact store does not take the type of: %s" % ", ".join(refused),
            code="type_refused",
            hint="the same line with --zip packs %s; taken as they are: %s"
            % (them, " ".join(sorted(ARTIFACT_TYPES))),
        )
    names = [item.name for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            "two files are named %s; in the workspace they would be one"
            % ", ".join(twice),
            hint="rename one of them",
        )


def put_all(
    client: RebyteClient,
    workspace_id: str,
    items: Sequence[Attachment],
    on_progress: Callable[[int], object] | None = None,
) -> tuple[list[Json], list[tuple[str, Exception]]]:
    """Put attachments into a workspace: small ones in forms of ten, large ones one by one.

    Returns (uploaded, failed): [{"name","size"}] and [(name, exception)].
    """
    store = _Store(client, workspace_id, on_progress)
    large = [item for item in items if item.bytes > FORM_FILE_BYTES]
    small = [item for item in items if item.bytes <= FORM_FILE_BYTES]
    for group in groups(large, ADDRESSES_AT_ONCE):
        store.ask_addresses(group)
    # One large file is worth a form of ten: the threads take whichever is next.
    work = [[item] for item in large] + list(groups(small, FORM_FILES))
    uploaded: list[Json] = []
    failed: list[tuple[str, Exception]] = []
    for group, outcome in zip(work, map_concurrently(store.put, work, PUTS_AT_ONCE)):
        if isinstance(outcome, Exception):
            failed += [(item.name, outcome) for item in group]
        else:
            uploaded += outcome
    return uploaded, failed


class _Store:
    """A workspace's store of artifacts, and the upload addresses that it gave."""

    def __init__(
        self,
        client: RebyteClient,
        workspace_id: str,
        on_progress: Callable[[int], object] | None,
    ) -> None:
        self._client = client
        self._workspace_id = workspace_id
        self._on_progress = on_progress
        self._addresses: dict[str, Any] = {}

    def ask_addresses(self, items: Sequence[Attachment]) -> None:
        """Ask for the upload addresses of at most 50 files; an earlier one is replaced."""
        answer = self._client.request_artifact_uploads(
            self._workspace_id,
            [{"name": item.name, "contentType": type_of(item.name)} for item in items],
        )
        for slot in dict_items(answer, "files"):
            self._addresses[str(slot.get("name"))] = slot.get("uploadUrl")

    def put(self, group: Sequence[Attachment]) -> list[Json]:
        """Put one large file, or a form of small ones; return what is in the store now."""
        if group[0].bytes > FORM_FILE_BYTES:
            self._put_large(group[0])
        else:
            parts: list[Any] = [
                (
                    item.name,
                    type_of(item.name) or "",
                    opener(item, self._on_progress),
                    item.bytes,
                )
                for item in group
            ]
            answer = self._client.upload_artifacts(self._workspace_id, parts)
            if dict_items(answer, "uploaded"):
                return dict_items(answer, "uploaded")
        return [{"name": item.name, "size": item.bytes} for item in group]

    def _put_large(self, item: Attachment) -> None:
        """Put one file to its signed address; an expired one is replaced once."""
        try:
            self._put_bytes(item)
        except StorageRefused as problem:
            if problem.http_status not in EXPIRED_STATUSES:
                raise
            self.ask_addresses([item])
            self._put_bytes(item)

    def _put_bytes(self, item: Attachment) -> None:
        address = self._addresses.get(item.name)
        if not isinstance(address, str):
            raise AnswerUnreadable(
                "The service gave no address to upload %s to." % item.name
            )
        source = opener(item, self._on_progress)
        self._client.put_bytes(address, source, item.bytes, type_of(item.name) or "")


def groups(items: Sequence[Attachment], most: int) -> Iterator[Sequence[Attachment]]:
    """Cut a sequence into ones of at most `most`."""
    for start in range(0, len(items), most):
        yield items[start : start + most]
