"""Signed addresses: who holds one may do that one thing until it expires."""
from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import quote

from rebyte_local.answers import StorageRefusal

FILE_UPLOAD_SECONDS = 3600
ARTIFACT_UPLOAD_SECONDS = 15 * 60
DOWNLOAD_SECONDS = 3600
KEY_HEADERS = ("api_key", "api-key", "x-api-key")


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
        """(path with query, moment it expires): segments are quoted, `signed_seconds` beats `seconds`."""
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
