"""Files on their way in and artifacts on their way out: rows for the names, blobs for the bytes, signed addresses for who may fetch them."""
from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
import uuid
from urllib.parse import quote

from rebyte_local.answers import StorageRefusal

FILE_UPLOAD_SECONDS = 3600
ARTIFACT_UPLOAD_SECONDS = 15 * 60
DOWNLOAD_SECONDS = 3600
KEY_HEADERS = ("api_key", "api-key", "x-api-key")
PIECE_BYTES = 64 * 1024
TYPES = {
    "pdf": "application/pdf", "doc": "application/msword", "rtf": "application/rtf", "epub": "application/epub+zip",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel", "ppt": "application/vnd.ms-powerpoint",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "csv": "text/csv", "tsv": "text/tab-separated-values", "html": "text/html", "htm": "text/html",
    "zip": "application/zip", "gz": "application/gzip", "tar": "application/x-tar", "tgz": "application/gzip",
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
    "svg": "image/svg+xml", "tiff": "image/tiff", "tif": "image/tiff", "bmp": "image/bmp", "avif": "image/avif",
    "mp4": "video/mp4", "webm": "video/webm", "mov": "video/quicktime", "avi": "video/x-msvideo",
    "mkv": "video/x-matroska", "mp3": "audio/mpeg", "wav": "audio/wav", "ogg": "audio/ogg", "aac": "audio/aac",
    "flac": "audio/flac", "m4a": "audio/mp4",
}


class Signer:
    """Makes and checks signed addresses; a PUT's Content-Type is part of what is signed."""

    def __init__(self, secret, seconds=None):
        self._secret = secret.encode("ascii")
        self._seconds = seconds

    def __repr__(self):
        return "Signer(seconds=%r)" % (self._seconds,)

    def _sign(self, method, path, expires, content_type):
        text = "\n".join((method, path, str(expires), content_type))
        return hmac.new(self._secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def sign_path(self, method, segments, seconds, content_type=""):
        """(path with query, moment it expires): segments are quoted, `seconds` from now."""
        path = "/storage/" + "/".join(quote(s, safe="", errors="surrogatepass") for s in segments)
        expires = int(time.time() + (seconds if self._seconds is None else self._seconds))
        signature = self._sign(method, path, expires, content_type)
        return "%s?expires=%d&signature=%s" % (path, expires, signature), expires

    def check(self, request):
        """Raise StorageRefusal unless this very request was signed, has not expired and carries no key."""
        if any(request.headers.get(name) for name in KEY_HEADERS):
            raise StorageRefusal(400, "InvalidArgument", "An API key must not be sent to a storage address.")
        expires = request.query.get("expires", "")
        if not (expires.isascii() and expires.isdigit() and len(expires) < 15):
            raise StorageRefusal(403, "AccessDenied", "Anonymous caller does not have access.")
        content_type = request.headers.get("Content-Type", "") if request.method == "PUT" else ""
        wanted = self._sign(request.method, request.path, expires, content_type)
        given = request.query.get("signature", "")
        if not hmac.compare_digest(wanted.encode("ascii"), given.encode("utf-8", "replace")):
            raise StorageRefusal(403, "SignatureDoesNotMatch",
                                 "The request signature does not match: method, path, expiry and, for an upload, "
                                 "the declared Content-Type are signed.")
        if time.time() > int(expires):
            raise StorageRefusal(400, "ExpiredToken", "The provided token has expired.")


def artifact_type(name):
    """The MIME type of an allowed artifact name, None when its kind is refused."""
    return TYPES.get(name.rpartition(".")[2].lower()) if "." in name else None


class TooLarge(Exception):
    """More bytes came than are allowed."""


class Shelves:
    """The blobs of one folder; a blob never changes once it has its name, so readers need no lock."""

    def __init__(self, store, folder):
        self._store = store
        self._folder = os.path.join(folder, "blobs")
        os.makedirs(self._folder, 0o700, exist_ok=True)

    def __repr__(self):
        return "Shelves(%r)" % (self._folder,)

    def path(self, blob):
        """Where a blob lies."""
        return os.path.join(self._folder, blob)

    def take_in(self, read, limit=None):
        """Stream `read(size)` to a new blob; gives (blob, size), or raises TooLarge and leaves nothing."""
        blob = str(uuid.uuid4())
        size = 0
        try:
            handle = os.open(self.path(blob), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with open(handle, "wb") as out:
                while True:
                    piece = read(PIECE_BYTES)
                    if not piece:
                        return blob, size
                    size += len(piece)
                    if limit is not None and size > limit:
                        raise TooLarge(size)
                    out.write(piece)
        except BaseException:
            self.discard(blob)
            raise

    def discard(self, blob):
        """Forget a blob; one that is being read stays readable to its reader."""
        try:
            os.unlink(self.path(blob))
        except FileNotFoundError:
            pass

    def add_file(self, filename, content_type):
        """A slot for an upload; gives its id."""
        file_id = str(uuid.uuid4())
        self._store.write(("INSERT INTO files VALUES(?,?,?,NULL)", (file_id, json.dumps(filename), content_type)))
        return file_id

    def file(self, file_id):
        """{"id","filename","content_type","size"}, size None until uploaded; None when unknown."""
        row = self._store.row("SELECT * FROM files WHERE id=?", file_id)
        return dict(row, filename=json.loads(row["filename"])) if row else None

    def fill_file(self, file_id, blob, size):
        """Give the slot its bytes; a later upload replaces an earlier one."""
        os.replace(self.path(blob), self.path(file_id))
        self._store.write(("UPDATE files SET size=? WHERE id=?", (size, file_id)))

    def put_artifact(self, workspace, name, blob, size, content_type, source=None):
        """Put an artifact into the store of a workspace; the same name is replaced."""
        old = self.artifact(workspace, name)
        self._store.write(("INSERT OR REPLACE INTO artifacts VALUES(?,?,?,?,?,?)",
                           (workspace, name, size, content_type, blob, source)))
        if old:
            self.discard(old["blob"])

    def artifact(self, workspace, name):
        """The artifact's row, or None."""
        row = self._store.row("SELECT * FROM artifacts WHERE workspace=? AND name=?", workspace, name)
        return dict(row) if row else None

    def artifacts(self, workspace):
        """All artifacts of a workspace, by name."""
        return [dict(r) for r in self._store.rows("SELECT * FROM artifacts WHERE workspace=? ORDER BY name", workspace)]

    def remove_artifact(self, workspace, name):
        """Remove one artifact; False when there is none."""
        found = self.artifact(workspace, name)
        if found is None:
            return False
        self._store.write(("DELETE FROM artifacts WHERE workspace=? AND name=?", (workspace, name)))
        self.discard(found["blob"])
        return True
