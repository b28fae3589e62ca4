"""Routes of artifacts: list, fetch, put, remove, and their signed addresses."""
from __future__ import annotations

from urllib.parse import quote

from rebyte_local import answers
from rebyte_local.answers import Answer, FileAnswer, StorageRefusal, invalid, json_answer, no_content, not_found
from rebyte_local.bodies import read_parts
from rebyte_local.faults import HOSTILE_BYTES, HOSTILE_NAMES
from rebyte_local.files import receive
from rebyte_local.shelves import ARTIFACT_UPLOAD_SECONDS, DOWNLOAD_SECONDS, TooLarge, artifact_type
from rebyte_local.store import MICROSECONDS, short_form

PARTS_LIMIT = 10
PART_LIMIT_BYTES = 10 * 1024 * 1024
UPLOADS_LIMIT = 50
SIGNED_LIMIT_BYTES = 2 * 1024 * 1024 * 1024
UNTYPED = "application/octet-stream"


def _check_artifact_name(name):
    answers.check_filename(name, "name")
    if artifact_type(name) is None:
        raise invalid("File type not allowed: %s" % name)
    return name


def _show(service, workspace, name, size, content_type):
    url, _ = service.sign("GET", ["artifacts", workspace, name], DOWNLOAD_SECONDS)
    return {"name": name, "size": size, "contentType": content_type, "downloadUrl": url}


def list_artifacts(service, request):
    """GET /workspaces/:id/artifacts"""
    workspace = service.find_workspace(request)
    data = [_show(service, workspace, a["name"], a["size"], a["content_type"])
            for a in service.shelves.artifacts(workspace)]
    if service.faults.is_on("hostile-names"):
        data += [_show(service, workspace, name, len(HOSTILE_BYTES), "text/csv") for name in HOSTILE_NAMES]
    return json_answer(200, {"data": data})


def _send(service, workspace, name, disposition_name):
    artifact = service.shelves.artifact(workspace, name)
    plain = "".join(c if 32 <= ord(c) < 127 and c not in '"\\%' else "_" for c in disposition_name)
    headers = {"Content-Disposition": "attachment; filename=\"%s\"; filename*=UTF-8''%s" % (
        plain, quote(disposition_name, safe="", errors="replace")), "X-Content-Type-Options": "nosniff"}
    if artifact:
        return FileAnswer(service.shelves.path(artifact["blob"]), artifact["size"], artifact["content_type"], headers)
    if service.faults.is_on("hostile-names") and name in HOSTILE_NAMES:
        return Answer(200, HOSTILE_BYTES, "text/csv", headers)
    return None


def get_artifact(service, request):
    """GET /workspaces/:id/artifacts/:filename: the bytes, as an attachment."""
    workspace, name = service.find_workspace(request), request.params[1]
    answer = _send(service, workspace, name, name)
    if answer is None:
        raise not_found("Artifact")
    return answer


def upload_artifacts(service, request):
    """POST /workspaces/:id/artifacts -> 201: multipart, at most 10 files of 10 MB; all of them or none."""
    workspace = service.find_workspace(request)
    parts = []
    try:
        for name, content_type, read in read_parts(request):
            if len(parts) >= PARTS_LIMIT:
                raise invalid("at most %d files at once" % PARTS_LIMIT)
            kind = artifact_type(_check_artifact_name(name))
            try:
                blob, size = service.shelves.take_in(read, PART_LIMIT_BYTES)
            except TooLarge:
                raise invalid("%s is larger than %d bytes" % (name, PART_LIMIT_BYTES)) from None
            parts.append((name, blob, size, kind if content_type in (None, UNTYPED) else content_type))
        if not parts:
            raise invalid("no files: send them as multipart fields named files")
    except BaseException:
        for part in parts:
            service.shelves.discard(part[1])
        raise
    for name, blob, size, content_type in parts:
        service.shelves.put_artifact(workspace, name, blob, size, content_type)
    uploaded = [{"name": name, "size": size, "contentType": kind} for name, _, size, kind in parts]
    return json_answer(201, {"uploaded": uploaded})


def request_uploads(service, request):
    """POST /workspaces/:id/artifacts/upload-url: signed addresses for 15 minutes, at most 50."""
    workspace = service.find_workspace(request)
    files = request.body.json_object().get("files")
    if not isinstance(files, list) or not files or not all(isinstance(f, dict) for f in files):
        raise invalid("files must be a list of objects with a name")
    if len(files) > UPLOADS_LIMIT:
        raise invalid("at most %d files at once" % UPLOADS_LIMIT)
    slots = []
    for file in files:
        name, content_type = _check_artifact_name(file.get("name")), answers.check_content_type(file.get("contentType"))
        url, expires = service.sign("PUT", ["artifacts", workspace, name], ARTIFACT_UPLOAD_SECONDS, content_type)
        slots.append({"name": name, "uploadUrl": url, "expiresAt": short_form(expires * MICROSECONDS)})
    return json_answer(200, {"files": slots})


def delete_artifact(service, request):
    """DELETE /workspaces/:id/artifacts/:filename -> 204"""
    if not service.shelves.remove_artifact(service.find_workspace(request), request.params[1]):
        raise not_found("Artifact")
    return no_content()


def delete_artifacts(service, request):
    """DELETE /workspaces/:id/artifacts -> 204"""
    workspace = service.find_workspace(request)
    for artifact in service.shelves.artifacts(workspace):
        service.shelves.remove_artifact(workspace, artifact["name"])
    return no_content()


def receive_artifact(service, request):
    """PUT of a signed artifact address."""
    service.signer.check(request)
    workspace, name = request.params
    declared = request.headers.get("Content-Type") or UNTYPED
    blob, size = receive(service, request, SIGNED_LIMIT_BYTES)
    kind = artifact_type(name) if declared == UNTYPED else declared
    service.shelves.put_artifact(workspace, name, blob, size, kind)
    return Answer(200, b"", "text/plain")


def send_artifact(service, request):
    """GET of a signed download address."""
    service.signer.check(request)
    workspace, name = request.params
    answer = _send(service, workspace, name, name)
    if answer is None:
        raise StorageRefusal(404, "NoSuchKey", "The specified key does not exist.")
    return answer
