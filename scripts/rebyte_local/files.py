"""Routes of files: a slot with a signed address, and the storage behind that address."""
from __future__ import annotations

from rebyte_local import answers
from rebyte_local.answers import Answer, StorageRefusal, json_answer
from rebyte_local.shelves import FILE_UPLOAD_SECONDS, TooLarge

FILE_LIMIT_BYTES = 52428800


def create_upload(service, request):
    """POST /files -> 201 with a signed address for one hour."""
    body = request.body.json_object()
    filename = answers.check_filename(body.get("filename"))
    content_type = answers.check_content_type(body.get("contentType"))
    file_id = service.shelves.add_file(filename, content_type)
    url, _ = service.sign("PUT", ["files", file_id, filename], FILE_UPLOAD_SECONDS, content_type)
    return json_answer(201, {"id": file_id, "filename": filename, "uploadUrl": url, "maxFileSize": FILE_LIMIT_BYTES})


def receive_file(service, request):
    """PUT of a signed file address: the declared Content-Type, no key, at most 52,428,800 bytes."""
    service.signer.check(request)
    file = service.shelves.file(request.params[0])
    if file is None:
        raise StorageRefusal(404, "NoSuchKey", "The specified key does not exist.")
    blob, size = receive(service, request, FILE_LIMIT_BYTES)
    service.shelves.fill_file(file["id"], blob, size)
    return Answer(200, b"", "text/plain")


def receive(service, request, limit):
    """Stream an upload to a blob, refusing one that is too large before its bytes when its length is told."""
    if (request.body.length or 0) > limit:
        raise StorageRefusal(400, "EntityTooLarge", "The upload is larger than %d bytes." % limit)
    try:
        return service.shelves.take_in(request.body.read, limit)
    except TooLarge:
        raise StorageRefusal(400, "EntityTooLarge", "The upload is larger than %d bytes." % limit) from None
