"""The shapes that travel through the bundle: what the API answers, and the one document.

Read it instead of guessing what is in a dictionary. Nothing is imported from here at run time:
import it under TYPE_CHECKING. Every field of the service may be missing, and unknown ones are kept.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, TypedDict, Union

Json = Dict[str, Any]
# Any of the shapes below, to read from.
Shape = Mapping[str, Any]
JsonValue = Union[Json, List[Any], str, int, float, bool, None]


class Prompt(TypedDict, total=False):
    """One turn of a task: GET /tasks/:id and /tasks/:id/content list them under `prompts`."""

    id: str
    status: str
    error: str
    submittedAt: str
    completedAt: str
    userPrompt: str
    content: str
    events: List[Event]
    model: str
    usage: Json
    costUsd: float
    warnings: List[str]


class Task(TypedDict, total=False):
    """A task as the service tells it: POST /tasks, GET /tasks/:id, an item of GET /tasks."""

    id: str
    workspaceId: str
    url: str
    title: str
    status: str
    executor: str
    model: str
    createdAt: str
    completedAt: str
    result: Any
    prompts: List[Prompt]
    rehearsal: bool


class Event(TypedDict, total=False):
    """The envelope of one event in a task's stream; `payload` depends on `eventType`."""

    seq: int
    timestamp: str
    promptId: str
    eventType: str
    eventKey: str
    payload: Json
    parent: str
    subPromptId: str


class Artifact(TypedDict, total=False):
    """An item of GET /workspaces/:id/artifacts; `downloadUrl` is signed, hence a secret."""

    name: str
    size: int
    contentType: str
    downloadUrl: str


class UploadSlot(TypedDict, total=False):
    """POST /files: an id, and for an hour an address (a secret) that takes the bytes."""

    id: str
    filename: str
    uploadUrl: str
    maxFileSize: int


class FileReference(TypedDict):
    """An uploaded file as POST /tasks and follow-ups take it under `files`."""

    id: str
    filename: str


class TaskPage(TypedDict, total=False):
    """GET /tasks: newest first; the items carry no status."""

    data: List[Task]
    total: int
    limit: int
    offset: int


class PromptPage(TypedDict, total=False):
    """GET /tasks/:id/content: the turns of a task with what was said in them."""

    prompts: List[Prompt]


class ArtifactPage(TypedDict, total=False):
    """GET /workspaces/:id/artifacts; no paging is documented."""

    data: List[Artifact]


class Computer(TypedDict, total=False):
    """A machine that lasts: GET /agent-computers/:id. `sandboxApiKey` is a secret."""

    id: str
    name: str
    icon: str
    url: str
    status: str
    provisionError: str
    sandboxId: str
    sandboxBaseUrl: str
    sandboxApiKey: str
    agentInstructions: str
    views: List[Json]
    createdAt: str
    updatedAt: str


class ComputerPage(TypedDict, total=False):
    """GET /agent-computers: newest first."""

    data: List[Computer]


class Webhook(TypedDict, total=False):
    """GET /webhooks/:id; its secret is never told again."""

    id: str
    url: str
    events: List[str]
    description: str
    hasSecret: bool
    isActive: bool
    createdAt: str
    lastTriggeredAt: str
    failureCount: int


class WebhookPage(TypedDict, total=False):
    """GET /webhooks, whatever the service calls the list."""

    data: List[Webhook]


class Option(TypedDict):
    """One choice of a question; `n` counts from 1."""

    n: int
    label: str


class QuestionView(TypedDict, total=False):
    """What a task asks, as the document shows it."""

    id: str
    text: str
    multi: bool
    options: List[Option]


class Step(TypedDict, total=False):
    """An entry of `next`: why, and a line to `run` or a sentence to `ask` a human."""

    why: str
    run: str
    ask: str


class FileHome(TypedDict, total=False):
    """A file of the document: brought home (path, sha256) or only listed."""

    name: str
    path: str
    bytes: int
    sha256: str
    kept: bool
    fetched: bool


class Refusal(TypedDict):
    """A file that was not taken, and why."""

    name: str
    reason: str


class EventLine(TypedDict, total=False):
    """An event in the few fields that a caller reads."""

    type: str
    tool: str
    text: str
    parent: str
    isError: bool


class Failure(TypedDict):
    """Why a task failed: the service's or the agent's words, and the last events."""

    reason: str
    lastEvents: List[EventLine]


class ErrorView(TypedDict, total=False):
    """An error as stdout shows it."""

    code: str
    message: str
    hint: str
    retryable: bool
    httpStatus: int


class TaskDocument(TypedDict, total=False):
    """The one document about one task; keys that are empty are absent."""

    id: str
    workspaceId: str
    url: str
    once: str
    status: str
    promptId: str
    next: List[Step]
    answer: str
    answerBytes: int
    answerPath: str
    question: QuestionView
    failure: Failure
    files: List[FileHome]
    missing: List[str]
    refused: List[Refusal]
    changes: Dict[str, Any]
    conflicts: List[str]
    value: Any
    candidate: Any
    valueErrors: List[Dict[str, Any]]
    repaired: int
    warnings: List[str]
    requested: Dict[str, str]
    executor: str
    model: str
    usage: Dict[str, Any]
    costUsd: float
    seconds: float
    transcriptPath: str
    reused: bool
    recovered: bool
    service: str
    rehearsal: bool
    error: ErrorView
