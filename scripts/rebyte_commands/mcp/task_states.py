"""A task document as the tasks extension tells it: io.modelcontextprotocol/tasks, 2026-07-28."""

from __future__ import annotations

import time

from rebyte_commands.mcp.documents import tool_result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rebyte_types import Json

POLL_INTERVAL_MILLISECONDS = 5000
STATES = {
    "running": "working",
    "question": "input_required",
    "completed": "completed",
    "failed": "completed",
    "canceled": "cancelled",
}
ANSWER = "answer"


def created(document: Json) -> Json:
    """Return what a start answers to a client that takes tasks: the handle, durable by now."""
    return {"resultType": "task", **_task(document["id"], "working", document)}


def state(document: Json) -> Json:
    """Return a task as tasks/get tells it: its result once it has ended, or what it asks."""
    status = STATES.get(document["status"], "working")
    task = _task(document["id"], status, document)
    if status == "completed":
        result = tool_result(document)
        # The call came to nothing, though nothing of the protocol did.
        is_error = result["isError"] or document["status"] == "failed"
        task["result"] = {**result, "isError": is_error}
    elif status == "input_required":
        question = document.get("question") or {}
        task["inputRequests"] = {_key(question): _elicitation(question)}
    return task


def reply_to(document: Json, responses: Any) -> Json | None:
    """Return the arguments of `reply` for what a client answered, None where it answered nothing
    that is asked.
    """
    question = document.get("question") or {}
    answer = _accepted(_dict(responses).get(_key(question)))
    if not question or not answer:
        return None
    if not question.get("options"):
        return {"id": document["id"], "say": str(answer)}
    chosen = answer if isinstance(answer, list) else [answer]
    return {"id": document["id"], "option": [str(label) for label in chosen]}


def _accepted(response: Any) -> Any:
    """Return what a client's human answered, None where that was declined or is nothing."""
    fields = _dict(response)
    if fields.get("action") != "accept":
        return None
    return _dict(fields.get("content")).get(ANSWER)


def _dict(value: Any) -> Json:
    """Return foreign JSON as the object that it should be, empty where it is none."""
    return value if isinstance(value, dict) else {}


def _task(id: str, status: str, document: Json) -> Json:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    task: Json = {
        "taskId": id,
        "status": status,
        "createdAt": document.get("createdAt") or now,
        "lastUpdatedAt": now,
        "ttlMs": None,
        "pollIntervalMs": POLL_INTERVAL_MILLISECONDS,
    }
    if document.get("url"):
        task["statusMessage"] = "live: %s" % document["url"]
    return task


def _key(question: Json) -> str:
    return "question-%s" % (question.get("id") or "1")


def _elicitation(question: Json) -> Json:
    """Return the request that puts a question to the client's human."""
    labels = [option["label"] for option in question.get("options") or []]
    shape: Json = {"type": "string"}
    if labels:
        shape["enum"] = labels
    if labels and question.get("multi"):
        shape = {"type": "array", "items": shape}
    schema = {"type": "object", "properties": {ANSWER: shape}, "required": [ANSWER]}
    params = {
        "mode": "form",
        "message": question.get("text", ""),
        "requestedSchema": schema,
    }
    return {"method": "elicitation/create", "params": params}
