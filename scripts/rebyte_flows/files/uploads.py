"""Files out: what a task takes along, uploads with equal content sent once, and files into a workspace's artifact store."""

from __future__ import annotations

import hashlib
import os
import threading

from rebyte_flows.concurrency import map_concurrently
from rebyte_flows.starting.orders import ARTIFACT_TYPES, type_of
from rebyte_wire.errors import AnswerUnreadable, InputError, StorageRefused
from rebyte_wire.multipart import MAX_UPLOAD_BYTES
from rebyte_wire.retry import EXPIRED_STATUSES
from rebyte_wire.status import dict_items

FILENAME_LIMIT_CHARACTERS = 255
PIECE_BYTES = 1 << 18
# What stands before the name that stdin gets: -=NAME.
STREAM = "-="
UPLOADS_AT_ONCE = 4
PUTS_AT_ONCE = 4
FORM_FILES, FORM_FILE_BYTES = 10, 10 * 1024 * 1024
ADDRESSES_AT_ONCE = 50


class Attachment:
    """A local file: path, name and bytes, and its SHA-256 once somebody asks."""

    is_skill = False

    def __init__(self, path, limit=MAX_UPLOAD_BYTES):
        if os.path.isdir(path):
            raise InputError("%s is a folder; a task takes files" % path, hint="--zip packs it")
        if os.path.exists(path) and not os.path.isfile(path):
            # To open a pipe without a writer would wait for ever.
            raise InputError(
                "%s is no plain file" % path, hint="for a stream pass -=NAME and pipe it in"
            )
        try:
            self.path, self.name, self.bytes = (
                os.path.abspath(path),
                os.path.basename(path),
                os.path.getsize(path),
            )
            open(path, "rb").close()
        except OSError as problem:
            raise InputError(
                "cannot read %s: %s" % (path, problem.strerror),
                hint="check the path; --file takes a file on this machine",
            )
        self._check(limit)

    def __repr__(self):
        return "%s(%r, %d bytes)" % (type(self).__name__, self.name, self.bytes)

    def _check(self, limit):
        if limit is not None and self.bytes > limit:
            raise InputError(
                "%s has %d bytes; a task's file may have %d" % (self.path, self.bytes, limit),
                hint="artifacts put takes larger files into a workspace",
            )
        if len(self.name) > FILENAME_LIMIT_CHARACTERS:
            raise InputError(
                "the file name %s... has more than %d characters"
                % (self.name[:40], FILENAME_LIMIT_CHARACTERS)
            )

    def open(self):
        """Open it from its start, to read in binary; the caller closes."""
        return open(self.path, "rb")

    @property
    def sha256(self):
        """The SHA-256 of the content as hexadecimal text; read when first asked for, in flat memory."""
        if not hasattr(self, "_sha256"):
            with self.open() as file:
                self._sha256 = digest_of(file)
        return self._sha256


def digest_of(file):
    """Return the SHA-256 of what is left of an open binary file."""
    seen = hashlib.sha256()
    for piece in iter(lambda: file.read(PIECE_BYTES), b""):
        seen.update(piece)
    return seen.hexdigest()


class Uploads:
    """Uploads attachments through one client and remembers them; safe to share by threads. `moved(bytes)` is told."""

    def __init__(self, client, moved=None):
        self.client, self.moved = client, moved
        self._slots, self._lock = {}, threading.Lock()

    def __repr__(self):
        return "Uploads(%d names)" % len(self._slots)

    def send(self, items):
        """Upload all and return what the service takes as `files`, in order; the first failure is raised."""
        outcomes = self.try_each(items)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return outcomes

    def try_each(self, items):
        """Upload each; return an entry of `files` or the exception for each, in order."""
        return map_concurrently(self.send_one, items, UPLOADS_AT_ONCE)

    def send_one(self, item):
        """Upload one attachment unless the same was; returns {"id", "filename"} with the name that the service chose."""
        slot = self._slot_for(item)
        with slot.lock:
            if slot.entry is None:
                answer = self.client.upload_source(
                    lambda: counted(item.open(), self.moved), item.bytes, item.name
                )
                slot.entry = {"id": answer["id"], "filename": answer.get("filename") or item.name}
        return dict(slot.entry)

    def _slot_for(self, item):
        """Return the place of an item; only files of equal name and size are read to compare them."""
        with self._lock:
            alike = self._slots.setdefault((item.name, item.bytes), [])
            for slot in alike:
                if slot.item is item or slot.item.sha256 == item.sha256:
                    return slot
            alike.append(_Slot(item))
            return alike[-1]


class _Slot:
    """One content under one name, and what the service called it."""

    def __init__(self, item):
        self.item, self.entry, self.lock = item, None, threading.Lock()


def counted(file, moved):
    """Return an open file that tells `moved` of each piece it gives; the file itself when nobody listens."""
    return _Counted(file, moved) if moved else file


class _Counted:
    """A file that is read to be sent."""

    def __init__(self, file, moved):
        self._file, self._moved = file, moved

    def read(self, size):
        """Read on, and tell how much it was."""
        piece = self._file.read(size)
        if piece:
            self._moved(len(piece))
        return piece

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def check_items(items):
    """Raise InputError for types that the store refuses and for names that collide; nothing was sent."""
    refused = [item.name for item in items if not type_of(item.name)]
    if refused:
        raise InputError(
            "the artifact store does not take the type of: %s" % ", ".join(refused),
            code="type_refused",
            hint="the same line with --zip packs %s; taken as they are: %s"
            % ("it" if len(refused) == 1 else "them", " ".join(sorted(ARTIFACT_TYPES))),
        )
    names = [item.name for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            "two files are named %s; in the workspace they would be one" % ", ".join(twice),
            hint="rename one of them",
        )


def put_all(client, workspace_id, items, moved=None):
    """Put attachments into a workspace; returns (uploaded, failed): [{"name","size"}] and [(name, exception)]."""
    small = [item for item in items if item.bytes <= FORM_FILE_BYTES]
    large = [item for item in items if item.bytes > FORM_FILE_BYTES]
    # One large file is worth a form of ten: the lanes take whichever is next.
    work = [[item] for item in large] + groups(small, FORM_FILES)
    addresses = {}
    for group in groups(large, ADDRESSES_AT_ONCE):
        addresses.update(addresses_for(client, workspace_id, group))

    def put(group):
        """Put one large file, or a form of small ones; return what is in the store now."""
        if group[0].bytes > FORM_FILE_BYTES:
            return [put_large(client, workspace_id, group[0], addresses.get(group[0].name), moved)]
        parts = [(item.name, type_of(item.name), opener(item, moved), item.bytes) for item in group]
        answer = client.upload_artifacts(workspace_id, parts)
        return dict_items(answer, "uploaded") or [
            {"name": item.name, "size": item.bytes} for item in group
        ]

    uploaded, failed = [], []
    for group, outcome in zip(work, map_concurrently(put, work, PUTS_AT_ONCE)):
        if isinstance(outcome, Exception):
            failed += [(item.name, outcome) for item in group]
        else:
            uploaded += outcome
    return uploaded, failed


def addresses_for(client, workspace_id, items):
    """Ask for the upload addresses of at most 50 files; returns {name: address}."""
    answer = client.request_artifact_uploads(
        workspace_id, [{"name": item.name, "contentType": type_of(item.name)} for item in items]
    )
    return {
        slot["name"]: slot.get("uploadUrl")
        for slot in dict_items(answer, "files")
        if isinstance(slot.get("name"), str)
    }


def put_large(client, workspace_id, item, address, moved):
    """Put one file to its signed address; an expired one is replaced once."""
    for may_ask_again in (True, False):
        if not isinstance(address, str):
            raise AnswerUnreadable("The service gave no address to upload %s to." % item.name)
        try:
            client.put_bytes(address, opener(item, moved), item.bytes, type_of(item.name))
            return {"name": item.name, "size": item.bytes}
        except StorageRefused as problem:
            if not may_ask_again or problem.http_status not in EXPIRED_STATUSES:
                raise
            address = addresses_for(client, workspace_id, [item]).get(item.name)


def groups(items, most):
    """Cut a list into lists of at most `most`."""
    return [items[place : place + most] for place in range(0, len(items), most)]


def opener(item, moved):
    """Return a function that opens an attachment from its start and counts what is read."""
    return lambda: counted(item.open(), moved)
