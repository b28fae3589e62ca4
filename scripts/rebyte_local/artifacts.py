"""Artifacts: the kinds of files the store takes, list, fetch, put, remove, and their signed addresses."""

from __future__ import annotations

import email
import email.utils
import io
import json
import mmap
import os
import re
import tempfile
from contextlib import suppress
from urllib.parse import quote, unquote

from rebyte_local.faults import HOSTILE_BYTES, HOSTILE_NAMES
from rebyte_local.files import (
    UNTYPED,
    blob_path,
    check_content_type,
    check_filename,
    check_signature,
    discard,
    receive,
    sign,
    take_in,
)
from rebyte_local.messages import Answer, StorageRefusal, found, invalid, json_answer, no_content
from rebyte_local.store import MICROSECONDS, short_form

PARTS_LIMIT = 10
PART_LIMIT_BYTES = 10 * 1024 * 1024
FORM_LIMIT_BYTES = 128 * 1024 * 1024
UPLOADS_LIMIT = 50
UPLOAD_SECONDS = 15 * 60
SIGNED_LIMIT_BYTES = 2 * 1024 * 1024 * 1024
TYPES = {
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
UNESCAPED = re.compile("%22|%0D|%0A")  # what browsers escape in the name of a file
BOUNDARY = re.compile(r'multipart/form-data\s*;.*?boundary="?([^";,]{1,200})"?', re.IGNORECASE)


def artifact_type(name):
    """The MIME type of an allowed artifact name, None when its kind is refused."""
    return TYPES.get(name.rpartition(".")[2].lower()) if "." in name else None


def artifacts_of(service, workspace):
    """All artifacts of a workspace, by name."""
    return service.store.rows("SELECT * FROM artifacts WHERE workspace=? ORDER BY name", workspace)


def find_artifact(service, workspace, name):
    """The artifact's row, or None."""
    return service.store.row(
        "SELECT * FROM artifacts WHERE workspace=? AND name=?", workspace, name
    )


def left_behind(service, workspace, name):
    """Where a prompt of a workspace leaves a file that is to be an artifact."""
    return os.path.join(service.folder, "workspaces", workspace, "artifacts", name)


def mark_of(state):
    """What tells a file from a later one of its name."""
    return json.dumps([state.st_mtime_ns, state.st_size, state.st_ino])


def put_artifact(service, workspace, name, blob, size, content_type, source=None):
    """Put an artifact into the store of a workspace; the same name is replaced. `source` is the mark of the file it came from."""
    if source is None and os.path.exists(left_behind(service, workspace, name)):
        # What lies there is older, and not to be published over this one.
        source = mark_of(os.stat(left_behind(service, workspace, name)))
    old = find_artifact(service, workspace, name)
    service.store.write(
        (
            "INSERT OR REPLACE INTO artifacts VALUES(?,?,?,?,?,?)",
            workspace,
            name,
            size,
            content_type,
            blob,
            source,
        )
    )
    if old:
        discard(service, old["blob"])


def signed_download(service, workspace, name):
    """The address at which an artifact can be fetched for an hour, without the key."""
    return sign(service, "GET", ("artifacts", workspace, name))[0]


def _find_workspace(service, request):
    workspace = request.params[0].lower()
    found("Workspace", service.store.workspace_exists(workspace))
    return workspace


def list_artifacts(service, request):
    """GET /workspaces/:id/artifacts"""
    workspace = _find_workspace(service, request)
    found = [
        (row["name"], row["size"], row["content_type"]) for row in artifacts_of(service, workspace)
    ]
    if service.faults.is_on("hostile-names"):
        found += [(name, len(HOSTILE_BYTES), "text/csv") for name in HOSTILE_NAMES]
    return json_answer(
        200,
        {
            "data": [
                {
                    "name": name,
                    "size": size,
                    "contentType": content_type,
                    "downloadUrl": signed_download(service, workspace, name),
                }
                for name, size, content_type in found
            ]
        },
    )


def _open_artifact(service, workspace, name):
    """The bytes as an attachment, or None."""
    plain = "".join(
        letter if 32 <= ord(letter) < 127 and letter not in '"\\%' else "_" for letter in name
    )
    headers = {
        "Content-Disposition": "attachment; filename=\"%s\"; filename*=UTF-8''%s"
        % (plain, quote(name, safe="", errors="replace")),
        "X-Content-Type-Options": "nosniff",
    }
    artifact = find_artifact(service, workspace, name)
    if artifact:
        try:
            file = open(blob_path(service, artifact["blob"]), "rb")
        except FileNotFoundError:  # replaced or removed at this moment
            return None
        return Answer(200, file, artifact["content_type"], headers, artifact["size"])
    if service.faults.is_on("hostile-names") and name in HOSTILE_NAMES:
        return Answer(200, HOSTILE_BYTES, "text/csv", headers)
    return None


def get_artifact(service, request):
    """GET /workspaces/:id/artifacts/:filename: the bytes, as an attachment."""
    return found(
        "Artifact", _open_artifact(service, _find_workspace(service, request), request.params[1])
    )


def upload_artifacts(service, request):
    """POST /workspaces/:id/artifacts -> 201: multipart, at most 10 files of 10 MB; all of them or none."""
    workspace = _find_workspace(service, request)
    kept = []
    try:
        for name, content_type, data in _read_parts(service, request):
            if len(kept) >= PARTS_LIMIT:
                raise invalid("at most %d files at once" % PARTS_LIMIT)
            kind = _check_artifact_name(name)
            if len(data) > PART_LIMIT_BYTES:
                raise invalid("%s is larger than %d bytes" % (name, PART_LIMIT_BYTES))
            blob, size = take_in(service, io.BytesIO(data).read)
            kept.append(
                (name, blob, size, kind if content_type in (None, UNTYPED) else content_type)
            )
        if not kept:
            raise invalid("no files: send them as multipart fields named files")
    except BaseException:
        for _, blob, _, _ in kept:
            discard(service, blob)
        raise
    for name, blob, size, content_type in kept:
        put_artifact(service, workspace, name, blob, size, content_type)
    return json_answer(
        201,
        {
            "uploaded": [
                {"name": name, "size": size, "contentType": kind} for name, _, size, kind in kept
            ]
        },
    )


def _check_artifact_name(name):
    kind = artifact_type(check_filename(name, "name"))
    if kind is None:
        raise invalid("File type not allowed: %s" % name)
    return kind


def _read_parts(service, request):
    """Yield (filename, content type or None, bytes) for each file in the field files of a form, which waits on the disk."""
    match = BOUNDARY.match(request.headers.get("Content-Type", ""))
    if not match:
        raise invalid("the body must be multipart/form-data with a boundary")
    delimiter = b"\r\n--" + match.group(1).encode("latin-1")
    with tempfile.TemporaryFile(dir=service.folder) as spool:
        spool.write(b"\r\n")  # so that the first delimiter looks like the others
        for piece in iter(request.body.read, b""):
            if spool.tell() > FORM_LIMIT_BYTES:
                raise invalid("the form is larger than %d bytes" % FORM_LIMIT_BYTES)
            spool.write(piece)
        spool.flush()
        with mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ) as form:
            start = form.find(delimiter) + len(delimiter)
            while form[start : start + 2] != b"--":
                head_end, end = form.find(b"\r\n\r\n", start), form.find(delimiter, start)
                if (
                    start < len(delimiter)
                    or form[start : start + 2] != b"\r\n"
                    or not -1 < head_end < end
                ):
                    raise invalid("the multipart body is malformed or ended too early")
                head = email.message_from_string(
                    form[start + 2 : head_end].decode("utf-8", "replace")
                )
                fields = dict(
                    head.get_params((), "content-disposition")
                )  # of filename and filename* the latter wins
                if fields.get("name") == "files" and "filename" in fields:
                    filename = email.utils.collapse_rfc2231_value(fields["filename"])
                    yield (
                        UNESCAPED.sub(lambda match: unquote(match.group()), filename),
                        head["content-type"],
                        form[head_end + 4 : end],
                    )
                start = end + len(delimiter)


def request_uploads(service, request):
    """POST /workspaces/:id/artifacts/upload-url: signed addresses for 15 minutes, at most 50."""
    workspace = _find_workspace(service, request)
    files = request.body.json_object().get("files")
    if (
        not isinstance(files, list)
        or not files
        or not all(isinstance(file, dict) for file in files)
    ):
        raise invalid("files must be a list of objects with a name")
    if len(files) > UPLOADS_LIMIT:
        raise invalid("at most %d files at once" % UPLOADS_LIMIT)
    slots = []
    for file in files:
        name, content_type = file.get("name"), check_content_type(file.get("contentType"))
        _check_artifact_name(name)
        url, expires = sign(
            service, "PUT", ("artifacts", workspace, name), content_type, UPLOAD_SECONDS
        )
        slots.append(
            {"name": name, "uploadUrl": url, "expiresAt": short_form(expires * MICROSECONDS)}
        )
    return json_answer(200, {"files": slots})


def _remove(service, artifact):
    service.store.write(
        (
            "DELETE FROM artifacts WHERE workspace=? AND name=?",
            artifact["workspace"],
            artifact["name"],
        )
    )
    with suppress(OSError):
        # Else the end of the next prompt would publish it again.
        os.unlink(left_behind(service, artifact["workspace"], artifact["name"]))
    discard(service, artifact["blob"])


def delete_artifact(service, request):
    """DELETE /workspaces/:id/artifacts/:filename -> 204"""
    _remove(
        service,
        found(
            "Artifact", find_artifact(service, _find_workspace(service, request), request.params[1])
        ),
    )
    return no_content()


def delete_artifacts(service, request):
    """DELETE /workspaces/:id/artifacts -> 204"""
    for artifact in artifacts_of(service, _find_workspace(service, request)):
        _remove(service, artifact)
    return no_content()


def receive_artifact(service, request):
    """PUT of a signed artifact address."""
    check_signature(service, request)
    workspace, name = request.params
    declared = request.headers.get("Content-Type") or UNTYPED
    blob, size = receive(service, request, SIGNED_LIMIT_BYTES)
    put_artifact(
        service,
        workspace,
        name,
        blob,
        size,
        artifact_type(name) if declared == UNTYPED else declared,
    )
    return Answer(200, b"", "text/plain")


def send_artifact(service, request):
    """GET of a signed download address."""
    check_signature(service, request)
    answer = _open_artifact(service, *request.params)
    if answer is None:
        raise StorageRefusal(404, "NoSuchKey", "The specified key does not exist.")
    return answer
