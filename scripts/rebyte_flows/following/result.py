"""The one document about a task: its keys in their order, and what it means for the exit code."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    "warnings",
    "requested",
    "executor",
    "model",
    "seconds",
    "events",
    "transcriptPath",
    "reused",
    "recovered",
    "service",
    "rehearsal",
    "error",
)
EXIT_NAMES = {"failed": "task_failed", "canceled": "canceled", "question": "question"}


def task_document(**values: Any) -> TaskDocument:
    """Return a task document with the keys in their order, empty ones left out."""
    unknown = set(values) - set(KEYS)
    if unknown:
        raise KeyError("no such key in the document: %s" % ", ".join(sorted(unknown)))
    given = [key for key in KEYS if values.get(key) not in (None, "", [], {}, False)]
    return {key: values[key] for key in given}  # type: ignore[return-value]


def exit_name(document: TaskDocument) -> str:
    """Return the name in the table of exit codes for how a document ended."""
    status = document.get("status", "running")
    if status == "completed":
        return (
            "some_failed"
            if document.get("missing") or document.get("refused")
            else "done"
        )
    return EXIT_NAMES.get(status, "running")
