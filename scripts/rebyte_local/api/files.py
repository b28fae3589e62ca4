"""Files: a slot with a signed address, and the storage behind that address."""

from __future__ import annotations

import uuid

from rebyte_local.api.checks import check_content_type, check_filename
from rebyte_local.api.signed_urls import receive_upload, sign
from rebyte_local.http.messages import Request, Response, json_response
from rebyte_local.service import Service

FILE_LIMIT_BYTES = 52428800


def create_upload(service: Service, request: Request) -> Response:
    """POST /files -> 201 with a signed address for one hour."""
    body = request.json_object()
    filename = check_filename(body.get("filename"))
    content_type = check_content_type(body.get("contentType"))
    file_id = str(uuid.uuid4())
    service.database.write("INSERT INTO files VALUES(?,?,?,NULL)", file_id, filename, content_type)
    return json_response(
        201,
        {
            "id": file_id,
            "filename": filename,
            "uploadUrl": sign(service, "PUT", ("files", file_id, filename), content_type)[0],
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
