"""What was asked, for tests and for reading later; neither keys nor signatures are kept."""
from __future__ import annotations

import json
import os
import re
import threading

MEMORY_LIMIT = 10000  # requests kept in the list
FILE_LIMIT_BYTES = 4 * 1024 * 1024  # then the file becomes requests.jsonl.1 and a new one begins
SECRET_HEADERS = ("api_key", "api-key", "x-api-key", "authorization", "proxy-authorization", "cookie")
SIGNATURE = re.compile(r"(signature=)[^&\s]*", re.IGNORECASE)


class RequestLog:
    """A list of dictionaries and a file of the same."""

    def __init__(self, folder):
        self._path = os.path.join(folder, "requests.jsonl")
        self._lock = threading.Lock()
        self._file = self._open()
        self.entries = []

    def __repr__(self):
        return "RequestLog(%d)" % len(self.entries)

    def _open(self):
        return open(os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")

    def add(self, method, target, headers, status, size):
        """Note a request as it is about to be answered; status 0 is a connection closed without an answer."""
        kept = {name.lower(): "***" if name.lower() in SECRET_HEADERS else SIGNATURE.sub(r"\1***", value)
                for name, value in headers.items()}
        entry = {"method": method, "path": SIGNATURE.sub(r"\1***", target), "headers": kept, "status": status,
                 "bytes": size}
        line = json.dumps(entry).encode("ascii") + b"\n"
        with self._lock:
            self.entries.append(entry)
            if len(self.entries) > MEMORY_LIMIT:
                del self.entries[:MEMORY_LIMIT // 2]
            if self._file.closed:
                return
            if self._file.tell() + len(line) > FILE_LIMIT_BYTES:
                self._file.close()
                os.replace(self._path, self._path + ".1")
                self._file = self._open()
            self._file.write(line)
            self._file.flush()

    def close(self):
        """Close the file; the list stays."""
        with self._lock:
            self._file.close()
