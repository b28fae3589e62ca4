"""Files: a slot with a signed address, and the storage behind signed addresses."""

from __future__ import annotations

import re
import time
import uuid
from urllib.parse import quote

from rebyte_local.api.checks import (
    KEY_HEADERS,
    check_content_type,
    check_filename,
    is_equal,
)
from rebyte_local.http.messages import Request, Response, StorageError, json_response
from rebyte_local.service import Service
from rebyte_local.storage.blobs import TooLarge

FILE_LIMIT_BYTES = 52428800
SIGNED_SECONDS = 3600  # of downloads and of uploads of files


def create_upload(service: Service, request: Request) -> Response:
    """POST /files -> 201 with a signed address for one hour."""
    body = request.json_object()
    filename = check_filename(body.get("filename"))
    content_type = check_content_type(body.get("contentType"))
    file_id = str(uuid.uuid4())
    service.database.write(
        "INSERT INTO files VALUES(?,?,?,NULL)", file_id, filename, content_type
    )
    return json_response(
        201,
        {
            "id": file_id,
            "filename": filename,
            "uploadUrl": sign(
                service, "PUT", ("files", file_id, filename), content_type
            )[0],
            "maxFileSize": FILE_LIMIT_BYTES,
        },
    )


def receive_file(service: Service, request: Request) -> Response:
    """PUT of a signed file address: the declared type, no key, at most 52,428,800 bytes.

    A later upload replaces an earlier one.
    """
    file_id = request.params[0]
    blob_id, size = receive_upload(service, request, FILE_LIMIT_BYTES)
    service.blobs.rename(blob_id, file_id)
    service.database.write("UPDATE files SET size=? WHERE id=?", size, file_id)
    return Response(200, b"", "text/plain")


def sign(
    service: Service,
    method: str,
    segments: tuple[str, ...],
    content_type: str = "",
    seconds: float = SIGNED_SECONDS,
) -> tuple[str, int]:
    """Return (signed address, second since 1970 in which it expires).

    `segments` are quoted; the Content-Type of a PUT is part of what is signed.
    """
    if service.signed_seconds is not None:
        seconds = service.signed_seconds
    quoted = [quote(segment, safe="", errors="surrogatepass") for segment in segments]
    path = "/storage/" + "/".join(quoted)
    expires = int(time.time() + seconds)
    signature = _signature(service, method, path, expires, content_type)
    return "%s%s?expires=%d&signature=%s" % (
        service.origin,
        path,
        expires,
        signature,
    ), expires


def _signature(
    service: Service, method: str, path: str, expires: int, content_type: str
) -> str:
    return service.token("%s\n%s\n%s\n%s" % (method, path, expires, content_type))


def check_signature(service: Service, request: Request) -> None:
    """Raise StorageError unless this request was signed, is in time and carries no key."""
    if any(request.header(name) for name in KEY_HEADERS):
        raise StorageError(
            400, "InvalidArgument", "An API key must not be sent to a storage address."
        )
    text = request.query.get("expires", "")
    if not re.fullmatch("[0-9]{1,14}", text):
        raise StorageError(
            403, "AccessDenied", "Anonymous caller does not have access."
        )
    expires = int(text)
    content_type = request.header("Content-Type") if request.method == "PUT" else ""
    wanted = _signature(service, request.method, request.path, expires, content_type)
    if not is_equal(request.query.get("signature", ""), wanted):
        raise StorageError(
            403,
            "SignatureDoesNotMatch",
            "The request signature does not match: method, path, expiry "
            "and, for an upload, the declared Content-Type are signed.",
        )
    if time.time() > expires:
        raise StorageError(400, "ExpiredToken", "The provided token has expired.")


def receive_upload(service: Service, request: Request, limit: int) -> tuple[str, int]:
    """Check the signature and stream the body into a blob; return (blob id, bytes).

    A body that is too large is refused before its bytes are read.
    """
    check_signature(service, request)
    try:
        if request.body.length > limit:
            raise TooLarge(request.body.length)
        return service.blobs.store(request.body.read, limit)
    except TooLarge:
        raise StorageError(
            400, "EntityTooLarge", ("The upload is larger than %d bytes." % limit)
        ) from None
