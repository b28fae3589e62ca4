"""Artifacts: which kinds of files the store takes; list, fetch, put, remove."""

from __future__ import annotations

import io
from urllib.parse import quote

from rebyte_local.api.checks import (
    CONTENT_TYPE,
    UNTYPED,
    check_content_type,
    check_filename,
    list_of,
    or_404,
)
from rebyte_local.api.files import check_signature, receive_upload, sign
from rebyte_local.faults import HOSTILE_BYTES, HOSTILE_NAMES
from rebyte_local.formats import MICROSECONDS_PER_SECOND, JsonObject, iso_milliseconds
from rebyte_local.http.forms import read_form_files
from rebyte_local.http.messages import (
    FileResponse,
    Request,
    Response,
    StorageError,
    json_response,
    no_content,
    require,
    validation_error,
)
from rebyte_local.service import Service
from rebyte_local.storage.artifacts import artifact_type

PARTS_LIMIT = 10
PART_LIMIT_BYTES = 10 * 1024 * 1024
UPLOADS_LIMIT = 50
UPLOAD_SECONDS = 15 * 60
SIGNED_LIMIT_BYTES = 2 * 1024 * 1024 * 1024


def _workspace_of(service: Service, request: Request) -> str:
    workspace = request.params[0].lower()
    or_404(service.database.find("workspaces", workspace), "Workspace")
    return workspace


def _artifact_of(service: Service, request: Request) -> JsonObject:
    workspace = _workspace_of(service, request)
    return or_404(service.artifacts.find(workspace, request.params[1]), "Artifact")


def _check_artifact_name(value: object) -> tuple[str, str]:
    """Return (name, MIME type) of a name that the store takes; raises ApiError 400."""
    name = check_filename(value, "name")
    content_type = artifact_type(name)
    if content_type is None:
        raise validation_error("File type not allowed: %s" % name)
    return name, content_type


def signed_download(service: Service, workspace: str, name: str) -> str:
    """Return the address at which an artifact can be fetched for an hour, without the key."""
    return sign(service, "GET", ("artifacts", workspace, name))[0]


def list_artifacts(service: Service, request: Request) -> Response:
    """GET /workspaces/:id/artifacts"""
    workspace = _workspace_of(service, request)
    artifacts = service.artifacts.in_workspace(workspace)
    if service.faults.is_on("hostile-names"):
        hostile = {"size": len(HOSTILE_BYTES), "content_type": "text/csv"}
        artifacts += [dict(hostile, name=name) for name in HOSTILE_NAMES]
    data = [
        {
            "name": artifact["name"],
            "size": artifact["size"],
            "contentType": artifact["content_type"],
            "downloadUrl": signed_download(service, workspace, artifact["name"]),
        }
        for artifact in artifacts
    ]
    return json_response(200, {"data": data})


def _send(service: Service, workspace: str, name: str) -> Response | None:
    """Return the bytes as an attachment, or None."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in name)
    quoted = quote(name, safe="", errors="replace")
    headers = {
        "Content-Disposition": "attachment; filename=\"%s\"; filename*=UTF-8''%s"
        % (plain, quoted),
        "X-Content-Type-Options": "nosniff",
    }
    artifact = service.artifacts.find(workspace, name)
    if artifact:
        try:
            file = open(service.blobs.path(artifact["blob"]), "rb")  # noqa: SIM115
        except FileNotFoundError:  # replaced or removed at this moment
            return None
        return FileResponse(file, artifact["size"], artifact["content_type"], headers)
    if service.faults.is_on("hostile-names") and name in HOSTILE_NAMES:
        return Response(200, HOSTILE_BYTES, "text/csv", headers)
    return None


def get_artifact(service: Service, request: Request) -> Response:
    """GET /workspaces/:id/artifacts/:filename: the bytes, as an attachment."""
    workspace = _workspace_of(service, request)
    return or_404(_send(service, workspace, request.params[1]), "Artifact")


def upload_artifacts(service: Service, request: Request) -> Response:
    """POST /workspaces/:id/artifacts -> 201: a form with at most 10 files of 10 MB.

    All of them are kept, or none.
    """
    workspace = _workspace_of(service, request)
    kept: list[tuple[str, str, tuple[str, int]]] = []
    try:
        for filename, declared, data in read_form_files(request, "files"):
            require(len(kept) < PARTS_LIMIT, "at most %d files at once" % PARTS_LIMIT)
            name, content_type = _check_artifact_name(filename)
            require(
                len(data) <= PART_LIMIT_BYTES,
                "%s is larger than %d bytes" % (name, PART_LIMIT_BYTES),
            )
            if declared != UNTYPED and CONTENT_TYPE.fullmatch(declared):
                content_type = declared
            kept.append(
                (name, content_type, service.blobs.store(io.BytesIO(data).read))
            )
        require(kept, "no files: send them as multipart fields named files")
    except BaseException:
        for _, _, blob in kept:
            service.blobs.delete(blob[0])
        raise
    for name, content_type, blob in kept:
        service.artifacts.put(workspace, name, blob, content_type)
    uploaded = [
        {"name": name, "size": blob[1], "contentType": content_type}
        for name, content_type, blob in kept
    ]
    return json_response(201, {"uploaded": uploaded})


def request_uploads(service: Service, request: Request) -> Response:
    """POST /workspaces/:id/artifacts/upload-url: at most 50 signed addresses for 15 minutes."""
    workspace = _workspace_of(service, request)
    message = "files must be a list of objects with a name"
    files = list_of(dict, request.json_object().get("files"), message)
    require(files, message)
    require(len(files) <= UPLOADS_LIMIT, "at most %d files at once" % UPLOADS_LIMIT)
    return json_response(
        200, {"files": [_upload_slot(service, workspace, file) for file in files]}
    )


def _upload_slot(service: Service, workspace: str, file: JsonObject) -> JsonObject:
    name = _check_artifact_name(file.get("name"))[0]
    content_type = check_content_type(file.get("contentType"))
    url, expires = sign(
        service, "PUT", ("artifacts", workspace, name), content_type, UPLOAD_SECONDS
    )
    return {
        "name": name,
        "uploadUrl": url,
        "expiresAt": iso_milliseconds(expires * MICROSECONDS_PER_SECOND),
    }


def delete_artifact(service: Service, request: Request) -> Response:
    """DELETE /workspaces/:id/artifacts/:filename -> 204"""
    service.artifacts.delete(_artifact_of(service, request))
    return no_content()


def delete_artifacts(service: Service, request: Request) -> Response:
    """DELETE /workspaces/:id/artifacts -> 204"""
    for artifact in service.artifacts.in_workspace(_workspace_of(service, request)):
        service.artifacts.delete(artifact)
    return no_content()


def receive_artifact(service: Service, request: Request) -> Response:
    """PUT of a signed artifact address."""
    workspace, name = request.params
    blob = receive_upload(service, request, SIGNED_LIMIT_BYTES)
    content_type = check_content_type(request.header("Content-Type") or UNTYPED)
    if content_type == UNTYPED:
        content_type = artifact_type(name) or UNTYPED
    service.artifacts.put(workspace, name, blob, content_type)
    return Response(200, b"", "text/plain")


def send_artifact(service: Service, request: Request) -> Response:
    """GET of a signed download address."""
    check_signature(service, request)
    workspace, name = request.params
    response = _send(service, workspace, name)
    if response is None:
        raise StorageError(404, "NoSuchKey", "The specified key does not exist.")
    return response
