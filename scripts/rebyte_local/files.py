"""Files: a slot with a signed address, the storage behind that address, and the blobs that hold all bytes."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import time
import uuid
from urllib.parse import quote

from rebyte_local.messages import Answer, StorageRefusal, invalid, json_answer

FILE_LIMIT_BYTES = 52428800
FILENAME_LIMIT_CHARS = 255
SIGNED_SECONDS = 3600  # of downloads and of uploads of files
PIECE_BYTES = 64 * 1024
KEY_HEADERS = ("api_key", "api-key", "x-api-key")
UNTYPED = "application/octet-stream"


def create_upload(service, request):
    """POST /files -> 201 with a signed address for one hour."""
    body = request.body.json_object()
    filename, content_type = (
        check_filename(body.get("filename")),
        check_content_type(body.get("contentType")),
    )
    file_id = str(uuid.uuid4())
    service.store.write(("INSERT INTO files VALUES(?,?,?,NULL)", file_id, filename, content_type))
    url, _ = sign(service, "PUT", ("files", file_id, filename), content_type)
    return json_answer(
        201,
        {"id": file_id, "filename": filename, "uploadUrl": url, "maxFileSize": FILE_LIMIT_BYTES},
    )


def receive_file(service, request):
    """PUT of a signed file address: the declared Content-Type, no key, at most 52,428,800 bytes; a later one replaces it."""
    check_signature(service, request)
    file_id = request.params[0]
    blob, size = receive(service, request, FILE_LIMIT_BYTES)
    os.replace(blob_path(service, blob), blob_path(service, file_id))
    service.store.write(("UPDATE files SET size=? WHERE id=?", size, file_id))
    return Answer(200, b"", "text/plain")


def check_filename(value, field="filename"):
    """A plain file name: no folders, no control characters, at most 255 characters."""
    if not isinstance(value, str) or not value.strip():
        raise invalid("%s is required and must be a non-empty string" % field)
    if len(value) > FILENAME_LIMIT_CHARS:
        raise invalid("%s is longer than %d characters" % (field, FILENAME_LIMIT_CHARS))
    if value.strip() in (".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", value):
        raise invalid("%s must be a plain file name" % field)
    if re.search("[\ud800-\udfff]", value):
        raise invalid("%s is not valid Unicode" % field)
    return value


def check_content_type(value):
    """A MIME type as declared for an upload; application/octet-stream when absent."""
    if value is None:
        return UNTYPED
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= 255
        or not re.fullmatch(r"[\x20-\x7e]+/[\x20-\x7e]+", value)
    ):
        raise invalid("contentType must look like text/csv")
    return value


def sign(service, method, segments, content_type="", seconds=SIGNED_SECONDS):
    """(signed address, moment it expires): segments are quoted; a PUT's Content-Type is part of what is signed."""
    path = "/storage/" + "/".join(
        quote(segment, safe="", errors="surrogatepass") for segment in segments
    )
    expires = int(
        time.time() + (seconds if service.signed_seconds is None else service.signed_seconds)
    )
    signature = _signature(service, method, path, expires, content_type)
    return "%s%s?expires=%d&signature=%s" % (service.origin, path, expires, signature), expires


def _signature(service, method, path, expires, content_type):
    text = "%s\n%s\n%s\n%s" % (method, path, expires, content_type)
    return hmac.new(
        service.secret.encode("ascii"), text.encode("utf-8", "surrogatepass"), hashlib.sha256
    ).hexdigest()


def check_signature(service, request):
    """Raise StorageRefusal unless this very request was signed, has not expired and carries no key."""
    if any(request.headers.get(name) for name in KEY_HEADERS):
        raise StorageRefusal(
            400, "InvalidArgument", "An API key must not be sent to a storage address."
        )
    expires = request.query.get("expires", "")
    if not re.fullmatch("[0-9]{1,14}", expires):
        raise StorageRefusal(403, "AccessDenied", "Anonymous caller does not have access.")
    content_type = request.headers.get("Content-Type", "") if request.method == "PUT" else ""
    wanted = _signature(service, request.method, request.path, expires, content_type)
    if not hmac.compare_digest(
        wanted.encode("ascii"), request.query.get("signature", "").encode("utf-8", "replace")
    ):
        raise StorageRefusal(
            403,
            "SignatureDoesNotMatch",
            "The request signature does not match: method, path, expiry "
            "and, for an upload, the declared Content-Type are signed.",
        )
    if time.time() > int(expires):
        raise StorageRefusal(400, "ExpiredToken", "The provided token has expired.")


class TooLarge(Exception):
    """More bytes came than are allowed."""


def blob_path(service, blob):
    """Where a blob lies; it never changes once it has its name, so readers need no lock."""
    return os.path.join(service.folder, "blobs", blob)


def take_in(service, read, limit=None):
    """Stream `read(size)` to a new blob; gives (blob, size), or raises TooLarge and leaves nothing."""
    blob, size = str(uuid.uuid4()), 0
    try:
        handle = os.open(
            blob_path(service, blob), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600
        )
        with open(handle, "wb") as out:
            for piece in iter(lambda: read(PIECE_BYTES), b""):
                size += len(piece)
                if limit is not None and size > limit:
                    raise TooLarge(size)
                out.write(piece)
        return blob, size
    except BaseException:
        discard(service, blob)
        raise


def discard(service, blob):
    """Forget a blob; one that is being read stays readable to its reader."""
    try:
        os.unlink(blob_path(service, blob))
    except FileNotFoundError:
        pass


def receive(service, request, limit):
    """Stream an upload to a blob, refusing one that is too large before its bytes when its length is told."""
    try:
        if (request.body.length or 0) > limit:
            raise TooLarge(request.body.length)
        return take_in(service, request.body.read, limit)
    except TooLarge:
        raise StorageRefusal(
            400, "EntityTooLarge", "The upload is larger than %d bytes." % limit
        ) from None
