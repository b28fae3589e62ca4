"""The Model Context Protocol on a line: JSON-RPC 2.0 in both its eras, without any transport.

Until 2025-11-25 a session begins with `initialize`; from 2026-07-28 on each request says in its
`_meta` which version it speaks and what its client can do. A message without that is of the old
era. Source: modelcontextprotocol.io/specification/2025-11-25 and /2026-07-28.
"""

from __future__ import annotations

import json

from rebyte_wire.payloads import parse_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any, Union

    from rebyte_types import Json

    RequestId = Union[str, int]

HANDSHAKE_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
MODERN_VERSION = "2026-07-28"
META = "io.modelcontextprotocol/"
TASKS_EXTENSION = "io.modelcontextprotocol/tasks"
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
UNSUPPORTED_VERSION = -32022
LINE_LIMIT_BYTES = 4 << 20
NO_MESSAGE = "one JSON-RPC 2.0 object a line was expected; no batches"


class ProtocolError(Exception):
    """A message that cannot be served: answered as a JSON-RPC error, to the request with `id` where
    that is known.
    """

    def __init__(
        self,
        code: int,
        message: str,
        data: Json | None = None,
        id: RequestId | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.id = id


class Message:
    """One message of the client: a request, a notification (`id` is None), or a response.

    `method` is None for a response; `version` the one that its `_meta` names, None in the old era.
    """

    def __init__(self, fields: Json) -> None:
        self.id: RequestId | None = fields.get("id")
        self.method: str | None = fields.get("method")
        params = fields.get("params")
        self.params: Json = params if isinstance(params, dict) else {}
        self.result: Json | None = fields.get("result")
        meta = self.params.get("_meta")
        self.meta: Json = meta if isinstance(meta, dict) else {}
        self.version = self.meta.get(META + "protocolVersion")

    def __repr__(self) -> str:
        return "Message(%r, %r)" % (self.id, self.method)

    @property
    def is_modern(self) -> bool:
        """True where the request itself says which version it speaks."""
        return self.version is not None

    @property
    def takes_tasks(self) -> bool:
        """True where this very request declares the tasks extension."""
        capabilities = self.meta.get(META + "clientCapabilities")
        extensions = (
            capabilities.get("extensions") if isinstance(capabilities, dict) else None
        )
        return isinstance(extensions, dict) and TASKS_EXTENSION in extensions


def read_message(line: bytes) -> Message:
    """Return the message on a line; ProtocolError for what is none.

    Such an error has the id of the request where that can be read, so that nobody waits for it.
    """
    try:
        fields = parse_json(line.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise ProtocolError(PARSE_ERROR, "not JSON: %s" % problem) from problem
    if not isinstance(fields, dict):
        raise ProtocolError(INVALID_REQUEST, NO_MESSAGE)
    id = fields.get("id")
    known = id if is_id(id) and "method" in fields else None
    if fields.get("jsonrpc") != "2.0":
        raise ProtocolError(INVALID_REQUEST, NO_MESSAGE, id=known)
    has_no_id = "id" in fields and not is_id(id)
    if has_no_id or not _is_well_formed(fields):
        words = "no valid request, response or notice"
        raise ProtocolError(INVALID_REQUEST, words, id=known)
    return Message(fields)


def is_id(value: object) -> bool:
    """Tell whether a value can be the id of a request."""
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _is_well_formed(fields: Json) -> bool:
    if "method" in fields:
        params = fields.get("params") or {}
        return isinstance(fields["method"], str) and isinstance(params, (dict, list))
    return "id" in fields and ("result" in fields or "error" in fields)


def check_version(message: Message) -> None:
    """Raise ProtocolError for a request of a version that is not spoken here."""
    if message.is_modern and message.version != MODERN_VERSION:
        raise ProtocolError(
            UNSUPPORTED_VERSION,
            "this protocol version is not supported",
            {"supported": [MODERN_VERSION], "requested": str(message.version)},
        )


def agreed_version(asked: Any) -> str:
    """Return the version of a session that begins with `initialize`: the one asked for, else the
    newest of that era.
    """
    return asked if asked in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[0]


def result_line(message: Message, result: Json, server_info: Json) -> bytes:
    """Return the line that answers a request in the form of its era."""
    if message.is_modern:
        meta = {**result.get("_meta", {}), META + "serverInfo": server_info}
        result = {"resultType": "complete", **result, "_meta": meta}
    return to_line({"id": message.id, "result": result})


def error_line(id: RequestId | None, problem: ProtocolError) -> bytes:
    """Return the line that answers with an error."""
    error: Json = {"code": problem.code, "message": problem.message}
    if problem.data is not None:
        error["data"] = problem.data
    return to_line({"id": id, "error": error})


def notice_line(method: str, params: Json) -> bytes:
    """Return the line of a notification."""
    return to_line({"method": method, "params": params})


def to_line(fields: Json) -> bytes:
    """Return a message as the bytes that are written: one line, ASCII."""
    text = json.dumps({"jsonrpc": "2.0", **fields}, separators=(",", ":"))
    return text.encode("ascii") + b"\n"


def lines_of(stdin: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of the input; one that is far too long is told as what it is not."""
    while True:
        line = stdin.readline(LINE_LIMIT_BYTES)
        if not line:
            return
        if len(line) >= LINE_LIMIT_BYTES and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stdin.readline(LINE_LIMIT_BYTES)
            yield b"a line that is too long"
            continue
        yield line
