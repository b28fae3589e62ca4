"""A task document as the tasks extension tells it: io.modelcontextprotocol/tasks, 2026-07-28."""

from __future__ import annotations

import time

from rebyte_commands.mcp import protocol
from rebyte_commands.mcp.documents import tool_result, without_flags
from rebyte_commands.mcp.protocol import ProtocolError
from rebyte_wire.status import dict_items, parse_timestamp

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
# Codes of errors that say that no such task is known, or none can be meant.
REQUEST_FAULTS = ("not_found", "invalid_input", "usage", "no_question")
TIMESTAMP = "%Y-%m-%dT%H:%M:%SZ"
# What the service tells of a task and its turns.
MOMENTS = ("createdAt", "submittedAt", "completedAt")


class Moments:
    """When a task was created and when it last changed, in seconds since 1970."""

    def __init__(self, created: float, updated: float) -> None:
        self.created = created
        self.updated = updated

    def __repr__(self) -> str:
        return "Moments(%.0f, %.0f)" % (self.created, self.updated)


def moments_of(task: Json, document: Json, now: float) -> Moments:
    """Return the moments that the service's words on a task tell, `now` where they tell none.

    Of a question nothing tells since when it is asked: it is as old as it is known here.
    """
    created = parse_timestamp(task.get("createdAt"))
    if created is None:
        return Moments(now, now)
    told = [
        parse_timestamp(part.get(name))
        for part in (task, *dict_items(task, "prompts"))
        for name in MOMENTS
    ]
    known = [moment for moment in told if moment is not None]
    is_asking = document.get("status") == "question"
    return Moments(created, now if is_asking else max(known))


def created(document: Json, moments: Moments) -> Json:
    """Return what a start answers to a client that takes tasks: the handle, durable by now."""
    task = _task(document["id"], "working", document, moments)
    return {"resultType": "task", **task}


def state(document: Json, moments: Moments) -> Json:
    """Return a task as tasks/get tells it: its result once it has ended, or what it asks."""
    status = STATES.get(document["status"], "working")
    task = _task(document["id"], status, document, moments)
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


def task_error(document: Json) -> ProtocolError:
    """Return the protocol's error for a task that could not be looked at or changed: the request's
    fault, or the network's and the service's, which may pass.
    """
    error = without_flags(document.get("error") or {})
    words = str(error.get("message") or "no such task")
    code = protocol.INTERNAL_ERROR
    if error.get("code") in REQUEST_FAULTS:
        code = protocol.INVALID_PARAMS
    return ProtocolError(code, words, error)


def _accepted(response: Any) -> Any:
    """Return what a client's human answered, None where that was declined or is nothing."""
    fields = _dict(response)
    if fields.get("action") != "accept":
        return None
    return _dict(fields.get("content")).get(ANSWER)


def _dict(value: Any) -> Json:
    """Return foreign JSON as the object that it should be, empty where it is none."""
    return value if isinstance(value, dict) else {}


def _task(id: str, status: str, document: Json, moments: Moments) -> Json:
    task: Json = {
        "taskId": id,
        "status": status,
        "createdAt": _timestamp(moments.created),
        "lastUpdatedAt": _timestamp(moments.updated),
        "ttlMs": None,
        "pollIntervalMs": POLL_INTERVAL_MILLISECONDS,
    }
    told = list(document.get("warnings", []))
    if document.get("url"):
        told.append("live: %s" % document["url"])
    if told:
        task["statusMessage"] = "; ".join(told)
    return task


def _timestamp(moment: float) -> str:
    return time.strftime(TIMESTAMP, time.gmtime(moment))


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
