"""The one document about a task: its keys in their order, and who answered."""

from __future__ import annotations

from rebyte_wire.credentials import DEFAULT_BASE_URL
from rebyte_wire.errors import NetworkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from rebyte_client import RebyteClient
    from rebyte_types import TaskDocument

KEYS = (
    "id",
    "workspaceId",
    "url",
    "once",
    "status",
    "promptId",
    "next",
    "answer",
    "answerBytes",
    "answerPath",
    "question",
    "failure",
    "files",
    "missing",
    "refused",
    "changes",
    "conflicts",
    "value",
    "candidate",
    "valueErrors",
    "repaired",
    "warnings",
    "requested",
    "executor",
    "model",
    "usage",
    "costUsd",
    "seconds",
    "events",
    "transcriptPath",
    "reused",
    "recovered",
    "service",
    "rehearsal",
    "error",
)


# What stands there was asked for, or found, whatever it is.
ANY_VALUE_KEYS = ("value", "candidate")
# The Server header of our own server.
LOCAL_SOFTWARE = "rebyte-local"
# How it begins the answer of a prompt that it found cut off when it started.
CUT_OFF = "The local server was stopped while this prompt ran"


def task_document(**values: Any) -> TaskDocument:
    """Return a task document with the keys in their order, empty ones left out.

    A value that was asked for is never left out: it may be 0, false, empty or null.
    """
    unknown = set(values) - set(KEYS)
    if unknown:
        raise KeyError("no such key in the document: %s" % ", ".join(sorted(unknown)))
    given = [key for key in KEYS if _is_given(key, values)]
    return {key: values[key] for key in given}  # type: ignore[return-value]


def _is_given(key: str, values: Mapping[str, Any]) -> bool:
    if key in ANY_VALUE_KEYS:
        return key in values
    return values.get(key) not in (None, "", [], {}, False)


def service_of(client: RebyteClient) -> str:
    """Return local for our own server on this machine, cloud for the usual address, else other.

    Which server answers on this machine is known from its first answer on.
    """
    if client.base_url == DEFAULT_BASE_URL:
        return "cloud"
    is_ours = client.software in (None, LOCAL_SOFTWARE)
    return "local" if client.is_loopback and is_ours else "other"


def cut_off_error(answer: str) -> NetworkError | None:
    """Return the error for a rehearsal that failed with these words, None if its server stayed."""
    if not answer.startswith(CUT_OFF):
        return None
    return NetworkError(
        "the local server went away while this rehearsal ran, and the task with it",
        code="local_server_gone",
        hint="a sandbox ends it with the call: choose a --max-wait in which it can finish",
        retryable=False,
    )
