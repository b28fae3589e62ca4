"""Artifacts home safely: hostile names refused, several at once, each only when it is whole."""

from __future__ import annotations

import hashlib
import os

from rebyte_flows.concurrency import map_concurrently
from rebyte_flows.files.atomic import (
    AtomicFile,
    check_target,
    disk_words,
    open_folder,
    remove_stale,
)
from rebyte_flows.files.names import expand_user, is_obeyed, normalize, reject_reasons
from rebyte_wire.errors import (
    AnswerUnreadable,
    InputError,
    NetworkError,
    RebyteError,
    StorageRefused,
)
from rebyte_wire.status import dict_items

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from rebyte_client import RebyteClient
    from rebyte_types import Artifact, FileHome, Refusal
    from rebyte_wire.responses import Response

DOWNLOADS_AT_ONCE = 8
PIECE_BYTES = 1 << 20
MAX_SIZE_DIGITS = 19
PARTIAL_CONTENT = 206
OBEYED_HERE = (
    "programs and agents obey a file of that name in the folder they work in; ask for it by name,"
    " or pass --out another folder"
)
NOT_LISTED = "the workspace has no artifact of that name"


def list_files(
    client: RebyteClient,
    workspace_id: str,
) -> list[Artifact]:
    """Return the artifacts of a workspace as the service lists them, objects only."""
    items: list[Any] = dict_items(client.list_artifacts(workspace_id))
    return items


def plan(
    listing: Iterable[Artifact],
    names: Iterable[str] | None = None,
    *,
    is_working_folder: bool = False,
) -> tuple[list[Artifact], list[Refusal], list[str]]:
    """Decide what to download, of all artifacts or of those named; returns three lists.

    The artifacts to download, those whose names must not become files with the reason, and the
    names that are not listed. Names are compared whatever Unicode form they come in. What programs
    obey is not put unasked into the folder that the caller works in.
    """
    items = list(listing)
    missing: list[str] = []
    if names is not None:
        items, missing = choose(items, names)
    is_unasked = names is None and is_working_folder
    downloads: list[Artifact] = []
    refused: list[Refusal] = []
    for item, reason in zip(items, reject_reasons(item.get("name") for item in items)):
        if reason is None and is_unasked and is_obeyed(item["name"]):
            reason = OBEYED_HERE
        if reason is None:
            downloads.append(item)
        else:
            refused.append({"name": _shown(item.get("name")), "reason": reason})
    return downloads, refused, missing


def choose(
    listing: Iterable[Artifact],
    names: Iterable[str],
) -> tuple[list[Artifact], list[str]]:
    """Return the listed artifacts of these names, and the names that are not listed."""
    wanted = {normalize(name): name for name in names}
    chosen = {}
    for item in listing:
        shown = _shown(item.get("name"))
        name = normalize(shown)
        # Of two that differ in form alone, the one that is spelled as asked counts.
        if name in wanted and (name not in chosen or shown == wanted[name]):
            chosen[name] = item
    return list(chosen.values()), [
        wanted[name] for name in wanted if name not in chosen
    ]


def download_artifacts(
    client: RebyteClient,
    workspace_id: str,
    folder: str,
    *,
    names: Iterable[str] | None = None,
    force: bool = False,
    listing: Iterable[Artifact] | None = None,
    digests: bool = True,
    on_progress: Callable[[int], object] | None = None,
    say: Callable[[str], object] | None = None,
) -> tuple[list[FileHome], list[Refusal]]:
    """Download artifacts into a folder (all, or those named); returns (files, refused).

    files: [{"name","path","bytes"}], with "sha256" if `digests`; refused: [{"name","reason"}].
    Unless `force`, a file that is there is kept (and says so: "kept") when its size is the listed
    one, else refused. A failure leaves no file behind and does not hide the others; a refused key
    and the end of the time are raised. `on_progress(bytes)` is told of what comes, `say(text)` of
    a detour.
    """
    listing = list_files(client, workspace_id) if listing is None else listing
    folder = expand_user(folder)
    is_working_folder = os.path.realpath(folder) == os.path.realpath(os.curdir)
    downloads, refused, missing = plan(
        listing, names, is_working_folder=is_working_folder
    )
    refused += [{"name": name, "reason": NOT_LISTED} for name in missing]
    open_folder(folder)
    remove_stale(folder)
    downloader = Downloader(
        client, workspace_id, folder, force, digests, on_progress, say
    )
    files: list[FileHome] = []
    outcomes = map_concurrently(downloader.download, downloads, DOWNLOADS_AT_ONCE)
    for item, outcome in zip(downloads, outcomes):
        if isinstance(outcome, RebyteError):
            refused.append({"name": item["name"], "reason": outcome.message})
        elif isinstance(outcome, OSError):
            refused.append({"name": item["name"], "reason": disk_words(outcome)})
        elif isinstance(outcome, Exception):
            raise outcome
        else:
            files.append(outcome)
    return files, refused


class Downloader:
    """Downloads artifacts of a workspace into a folder; threads may share it."""

    def __init__(
        self,
        client: RebyteClient,
        workspace_id: str,
        folder: str,
        force: bool = False,
        digests: bool = True,
        on_progress: Callable[[int], object] | None = None,
        say: Callable[[str], object] | None = None,
    ) -> None:
        self._client = client
        self._workspace_id = workspace_id
        self._folder = folder
        self._force = force
        self._digests = digests
        self._on_progress = on_progress or (lambda count: None)
        self._say = say or (lambda text: None)
        # False once the storage's host turned out to be out of reach.
        self._by_address = True

    def __repr__(self) -> str:
        return "Downloader(%s)" % self._folder

    def download(self, item: Artifact) -> FileHome:
        """Bring one artifact home, or keep what an earlier run brought."""
        path = os.path.join(self._folder, item["name"])
        check_target(path)
        if not self._force and os.path.exists(path):
            return self._keep(path, item)
        with AtomicFile(self._folder) as file:
            size, digest = self._receive(item, file)
            file.commit(path, self._force)
        return self._file_home(item, path, size, digest)

    def _keep(
        self,
        path: str,
        item: Artifact,
    ) -> FileHome:
        size = os.path.getsize(path)
        if listed_size(item) != size:
            raise InputError(
                "%s is there already and differs" % path, hint="--force overwrites it"
            )
        digest = hashlib.sha256()
        if self._digests:
            with open(path, "rb") as file:
                for piece in iter(lambda: file.read(PIECE_BYTES), b""):
                    digest.update(piece)
        home = self._file_home(item, path, size, digest)
        home["kept"] = True
        return home

    def _file_home(
        self,
        item: Artifact,
        path: str,
        size: int,
        digest: Any,
    ) -> FileHome:
        home: FileHome = {
            "name": item["name"],
            "path": os.path.abspath(path),
            "bytes": size,
        }
        if self._digests:
            home["sha256"] = digest.hexdigest()
        return home

    def _receive(
        self,
        item: Artifact,
        file: AtomicFile,
    ) -> tuple[int, Any]:
        """Write an artifact's bytes to a file; Content-Length, listing and bytes have to agree."""
        listed = listed_size(item)
        digest = hashlib.sha256()
        size = 0
        buffer = memoryview(bytearray(_buffer_size(listed)))
        with self._open(item) as source:
            if source.status == PARTIAL_CONTENT:
                raise wrong_length(
                    "a part of it came (HTTP 206), which was not asked for"
                )
            if listed is not None and source.length not in (None, listed):
                raise wrong_length(
                    "%d bytes are announced, and the service lists %d"
                    % (source.length, listed)
                )
            for count in iter(lambda: source.readinto(buffer), 0):
                piece = buffer[:count]
                size += count
                if listed is not None and size > listed:
                    raise wrong_length(
                        "more came than the %d bytes that it lists" % listed
                    )
                file.write(piece)
                if self._digests:
                    digest.update(piece)
                self._on_progress(count)
        if listed is not None and listed != size:
            raise wrong_length(
                "%d bytes came, and the service lists %d" % (size, listed)
            )
        return size, digest

    def _open(self, item: Artifact) -> Response:
        """Open the signed address, else the artifact itself: a sandbox may reach only one of them.

        An address that has expired costs only its own file a detour.
        """
        url = item.get("downloadUrl")
        if self._by_address and isinstance(url, str):
            try:
                return self._client.open_address(url)
            except (AnswerUnreadable, NetworkError, StorageRefused) as problem:
                if isinstance(problem, NetworkError):
                    self._by_address = False
                self._say(
                    "%s Taking the way through the API instead." % problem.message
                )
        return self._client.open_artifact(self._workspace_id, item["name"])


def listed_size(item: Artifact) -> int | None:
    """Return the size that the service lists, or None where it lists none."""
    size: Any = item.get("size")
    if (
        isinstance(size, str)
        and size.isascii()
        and size.isdigit()
        and len(size) < MAX_SIZE_DIGITS
    ):
        return int(size)
    return size if type(size) is int else None


def wrong_length(why: str) -> NetworkError:
    """Return the error for a file of another length than was told."""
    return NetworkError(why, code="wrong_length", hint="type the same line again")


def _buffer_size(listed: int | None) -> int:
    """Return room for a small file and one byte more, so that more than is listed is noticed."""
    return PIECE_BYTES if listed is None else min(PIECE_BYTES, max(0, listed) + 1)


def _shown(name: Any) -> str:
    return name if isinstance(name, str) else repr(name)
