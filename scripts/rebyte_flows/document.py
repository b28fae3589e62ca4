"""The one document of a task: which keys, in which order, and nothing empty."""
from __future__ import annotations

KEYS = ("id", "workspaceId", "url", "once", "status", "promptId", "next", "answer", "answerBytes", "answerPath", "question",
        "failure", "files", "missing", "refused", "warnings", "requested", "executor", "model", "seconds", "events", "transcriptPath",
        "reused", "service", "rehearsal", "error")


def task_document(**values):
    """Return a task document with the keys in their order, empty ones left out."""
    unknown = set(values) - set(KEYS)
    if unknown:
        raise KeyError("no such key in the document: %s" % ", ".join(sorted(unknown)))
    return {key: values[key] for key in KEYS if values.get(key) not in (None, "", [], {}, False)}


def exit_name(document):
    """Return the name in the exit table for how a document ended: done, task_failed, canceled, question, running, some_failed."""
    status = document.get("status")
    if status == "completed":
        return "some_failed" if document.get("missing") or document.get("refused") else "done"
    return {"failed": "task_failed", "canceled": "canceled", "question": "question"}.get(status, "running")
