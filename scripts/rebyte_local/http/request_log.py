"""What was asked, in memory and as a file of JSON lines; without keys, signatures and tokens."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from email.message import Message

from rebyte_local.formats import JsonObject
from rebyte_local.private_files import private

MEMORY_LIMIT = 10000  # requests kept in the list
FILE_LIMIT_BYTES = (
    4 * 1024 * 1024
)  # then the file becomes requests.jsonl.1 and a new one begins
SECRET_HEADERS = (
    "api_key",
    "api-key",
    "x-api-key",
    "authorization",
    "proxy-authorization",
    "cookie",
)
SECRET_PARAMETERS = re.compile(r"((?:signature|token)=)[^&\s]*", re.IGNORECASE)


class RequestLog:
    """The log of one server; safe across threads."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, "requests.jsonl")
        self._lock = threading.Lock()
        self._open()
        self.entries: list[JsonObject] = []

    def _open(self) -> None:
        # Open as long as the log is, so no `with`.
        self._file = open(self._path, "ab", buffering=0, opener=private)  # noqa: SIM115

    def add(
        self, method: str, target: str, headers: Message, status: int, size: int
    ) -> None:
        """Note a request that is about to be answered; status 0 means without an answer."""
        entry = {
            "method": method,
            "path": _redact(target),
            "headers": {
                name.lower(): _header(name, value) for name, value in headers.items()
            },
            "status": status,
            "bytes": size,
        }
        line = json.dumps(entry).encode("ascii") + b"\n"
        with self._lock:
            self.entries.append(entry)
            if len(self.entries) > MEMORY_LIMIT:
                del self.entries[: MEMORY_LIMIT // 2]
            # A full disk loses this line, not the answer that is being sent.
            with contextlib.suppress(OSError):
                self._write(line)

    def _write(self, line: bytes) -> None:
        if self._file.closed:
            return
        if self._file.tell() + len(line) > FILE_LIMIT_BYTES:
            self._file.close()
            os.replace(self._path, self._path + ".1")
            self._open()
        self._file.write(line)

    def close(self) -> None:
        """Close the file; the list stays."""
        with self._lock:
            self._file.close()


def _redact(text: str) -> str:
    return SECRET_PARAMETERS.sub(r"\1***", text)


def _header(name: str, value: str) -> str:
    return "***" if name.lower() in SECRET_HEADERS else _redact(value)
