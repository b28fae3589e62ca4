"""The API of skill-as-a-service, one method per endpoint: dictionaries in and out, as sent.

    import sys; sys.path.insert(0, "scripts")          # this folder: its neighbours are needed too
    from rebyte_client import RebyteClient
    client = RebyteClient()                       # the key comes from REBYTE_API_KEY or a key file
    task = client.create_task("Write a haiku about sockets to /code/haiku.txt")
    for event in client.stream_events(task["id"]): print(event.event, event.data)

Every method may raise a RebyteError (rebyte_wire/errors.py draws the family). create_task,
follow_up and create_computer cost money and are never repeated on a doubt: they raise
OutcomeUnknown instead. Nothing is sent that was not asked for.
"""

# What the service sends is Any; the return types below are where it gets a shape.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable

from rebyte_wire.errors import (
    AnswerUnreadable,
    DeadlineReached,
    InputError,
    StorageRefused,
)
from rebyte_wire.multipart import (
    DEFAULT_CONTENT_TYPE,
    MAX_UPLOAD_BYTES,
    FileBody,
    MultipartBody,
    check_size,
    form_part,
    opener,
    size_of,
)
from rebyte_wire.paths import artifact_path, check_path, format_path
from rebyte_wire.payloads import omit_none, page_of, redact
from rebyte_wire.requests import Deadline
from rebyte_wire.retry import EXPIRED_STATUSES
from rebyte_wire.session import Session
from rebyte_wire.status import terminal_status
from rebyte_wire.transport import ANY_JSON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    from rebyte_types import (
        ArtifactPage,
        Computer,
        ComputerPage,
        FileReference,
        Json,
        JsonValue,
        PromptPage,
        Task,
        TaskPage,
        UploadSlot,
        Webhook,
        WebhookPage,
    )
    from rebyte_wire.multipart import ArtifactSource, Path, Source
    from rebyte_wire.responses import EventStream, Response
    from rebyte_wire.transport import Query

    BeforeSend = Union[Callable[[], object], None]

__all__ = ["Deadline", "RebyteClient"]

CONTENT_TYPE = r"[\x20-\x7e]+"


class RebyteClient(Session):
    """A client for one service and one key. Safe across threads; close it, or use `with`.

    What is not an endpoint (the key, the deadline, closing) is in rebyte_wire/session.py.
    """

    # tasks

    def create_task(
        self,
        prompt: str,
        *,
        executor: str | None = None,
        model: str | None = None,
        workspace_id: str | None = None,
        files: list[FileReference] | None = None,
        skills: list[str] | None = None,
        github_url: str | None = None,
        branch_name: str | None = None,
        before_send: BeforeSend = None,
    ) -> Task:
        """Start a task: POST /tasks. Paid; blocks until a machine is up, at most 300 s.

        `files` are as upload_file returns them. `before_send()` runs once connected.
        """
        body = omit_none(
            prompt=prompt,
            executor=executor,
            model=model,
            workspaceId=workspace_id,
            files=files,
            skills=skills,
            githubUrl=github_url,
            branchName=branch_name,
        )
        return self._transport.fetch(
            "POST", "/tasks", body=body, before_send=before_send
        )

    def list_tasks(
        self, limit: int | None = None, offset: int | None = None
    ) -> TaskPage:
        """List tasks made through the API, newest first: GET /tasks. At most 100, no status."""
        return self._transport.fetch(
            "GET", "/tasks", query={"limit": limit, "offset": offset}
        )

    def get_task(self, id: str) -> Task:
        """Get a task with its status and prompts, but never its answer: GET /tasks/:id."""
        return self._transport.fetch("GET", format_path("/tasks/{}", id))

    def follow_up(
        self,
        id: str,
        prompt: str,
        skills: list[str] | None = None,
        *,
        files: list[FileReference] | None = None,
        before_send: BeforeSend = None,
    ) -> Json:
        """Send one more prompt to a task's machine: POST /tasks/:id/prompts. Paid; {"promptId"}."""
        path = format_path("/tasks/{}/prompts", id)
        body = omit_none(prompt=prompt, skills=skills, files=files)
        return self._transport.fetch("POST", path, body=body, before_send=before_send)

    def cancel_task(self, id: str) -> Json:
        """Cancel what runs or waits: POST /tasks/:id/cancel. A late answer can still arrive."""
        return self._transport.fetch(
            "POST", format_path("/tasks/{}/cancel", id), empty_allowed=True
        )

    def stream_events(self, id: str, *, read_seconds: float = 60) -> EventStream:
        """Stream the latest prompt's events from its start: GET /tasks/:id/events.

        Minutes of silence are normal. Iterate it for events, or its chunks() for bytes; close()
        ends it, from another thread too.
        """
        return self._transport.open_stream(
            format_path("/tasks/{}/events", id), read_seconds
        )

    def set_visibility(self, id: str, visibility: str) -> Json:
        """Set who sees a task (private, shared, public): PATCH /tasks/:id/visibility."""
        path = format_path("/tasks/{}/visibility", id)
        body = {"visibility": visibility}
        return self._transport.fetch("PATCH", path, body=body, empty_allowed=True)

    def delete_task(self, id: str) -> None:
        """Delete a task softly: DELETE /tasks/:id. It may run on: cancel it first."""
        self._delete(format_path("/tasks/{}", id))

    def wait_for_task(
        self, id: str, poll_interval: float = 5, timeout: float = 600
    ) -> Task:
        """Ask GET /tasks/:id until it has ended; DeadlineReached after `timeout` seconds."""
        client = self.within(timeout)
        while True:
            task = client.get_task(id)
            if terminal_status(task.get("status")):
                return task
            if client.deadline.expired:
                raise DeadlineReached(
                    "The task is still running after {} s.".format(timeout)
                )
            left = client.deadline.left()
            self._transport.sleep(
                poll_interval if left is None else min(poll_interval, left)
            )

    # files

    def create_upload(
        self, filename: str, content_type: str | None = None
    ) -> UploadSlot:
        """Ask for a place to upload a file to: POST /files. Its address is secret, for an hour."""
        body = omit_none(filename=filename, contentType=content_type)
        return self._transport.fetch("POST", "/files", body=body)

    def put_bytes(
        self, upload_url: str, source: Source, length: int, content_type: str
    ) -> None:
        """Send `length` bytes to a signed upload address: PUT.

        `source` is a function that opens a binary file, or a seekable one.
        """
        if not re.fullmatch(CONTENT_TYPE, content_type):
            raise InputError(
                "The content type {!r} cannot travel in a header.".format(content_type)
            )
        self._transport.put_signed(upload_url, FileBody(source, length), content_type)

    def upload_file(
        self, path: Path, filename: str | None = None, content_type: str | None = None
    ) -> UploadSlot:
        """Upload a file from disk: POST /files, then PUT. Returns {"id", "filename"}."""
        name = filename or os.path.basename(path)
        return self.upload_source(opener(path), size_of(path), name, content_type)

    def upload_source(
        self,
        source: Source,
        length: int,
        filename: str,
        content_type: str | None = None,
    ) -> UploadSlot:
        """Upload `length` bytes under a name: POST /files, then PUT. `source` as for put_bytes.

        An address that has expired is replaced by a fresh one, once.
        """
        check_size(filename, length, MAX_UPLOAD_BYTES)
        kind = content_type or DEFAULT_CONTENT_TYPE
        url, slot = self._upload_slot(filename, length, content_type)
        try:
            self.put_bytes(url, source, length, kind)
        except StorageRefused as error:
            if error.http_status not in EXPIRED_STATUSES:
                raise
            url, slot = self._upload_slot(filename, length, content_type)
            self.put_bytes(url, source, length, kind)
        return slot

    def _upload_slot(
        self, filename: str, length: int, content_type: str | None
    ) -> tuple[str, UploadSlot]:
        slot = self.create_upload(filename, content_type)
        url = slot.pop("uploadUrl", None)
        if not isinstance(url, str) or not isinstance(slot.get("id"), str):
            raise AnswerUnreadable("The service gave no id or address to upload to.")
        check_size(filename, length, slot.pop("maxFileSize", None))
        return url, slot

    # artifacts

    def list_artifacts(self, workspace_id: str) -> ArtifactPage:
        """List artifacts with their signed addresses: GET /workspaces/:id/artifacts."""
        return self._transport.fetch(
            "GET", format_path("/workspaces/{}/artifacts", workspace_id)
        )

    def open_artifact(self, workspace_id: str, name: str) -> Response:
        """Open an artifact to read(n) and close: GET /workspaces/:id/artifacts/:name."""
        return self._transport.open(artifact_path(workspace_id, name))

    def open_address(self, url: str) -> Response:
        """Open a signed download address to read(n) and close: GET, without the key."""
        return self._transport.open_signed(url)

    def upload_artifacts(
        self, workspace_id: str, files: Iterable[ArtifactSource]
    ) -> Json:
        """Upload at most 10 files of 10 MB as artifacts: POST /workspaces/:id/artifacts.

        Each is a path, or (name, content type, source, length) with a source as for put_bytes.
        Artifacts of the same names are replaced.
        """
        form = MultipartBody(form_part(file) for file in files)
        path = format_path("/workspaces/{}/artifacts", workspace_id)
        return self._transport.fetch(
            "POST", path, body=form, content_type=form.content_type
        )

    def request_artifact_uploads(self, workspace_id: str, files: list[Json]) -> Json:
        """Ask to put up to 50 artifacts: POST /workspaces/:id/artifacts/upload-url. For 15 min."""
        path = format_path("/workspaces/{}/artifacts/upload-url", workspace_id)
        return self._transport.fetch("POST", path, body={"files": files})

    def delete_artifact(self, workspace_id: str, name: str) -> None:
        """Delete one artifact: DELETE /workspaces/:id/artifacts/:name."""
        self._delete(artifact_path(workspace_id, name))

    def delete_artifacts(self, workspace_id: str) -> None:
        """Delete all artifacts of a workspace: DELETE /workspaces/:id/artifacts."""
        self._delete(format_path("/workspaces/{}/artifacts", workspace_id))

    # computers

    def create_computer(
        self,
        name: str | None = None,
        icon: str | None = None,
        *,
        before_send: BeforeSend = None,
    ) -> Computer:
        """Start a machine that lasts: POST /agent-computers. Paid; returns while it is made."""
        body = omit_none(name=name, icon=icon)
        return redact(
            self._transport.fetch(
                "POST", "/agent-computers", body=body, before_send=before_send
            )
        )

    def list_computers(
        self, limit: int | None = None, offset: int | None = None
    ) -> ComputerPage:
        """List the organization's computers, newest first: GET /agent-computers. At most 100."""
        query = {"limit": limit, "offset": offset}
        return redact(self._transport.fetch("GET", "/agent-computers", query=query))

    def get_computer(self, id: str, *, reveal: Collection[str] = ()) -> Computer:
        """Get a computer: GET /agent-computers/:id. `reveal` names secret fields to show."""
        return redact(
            self._transport.fetch("GET", format_path("/agent-computers/{}", id)), reveal
        )

    # webhooks

    def create_webhook(
        self,
        url: str,
        events: Iterable[str],
        description: str | None = None,
        secret: str | None = None,
    ) -> Webhook:
        """Have an https address told of events: POST /webhooks. At most 3.

        List first: the same address may then be told twice.
        """
        body = omit_none(
            url=url, events=list(events), description=description, secret=secret
        )
        return self._transport.fetch("POST", "/webhooks", body=body)

    def list_webhooks(self) -> WebhookPage:
        """List the webhooks: GET /webhooks. Whatever the service calls the list, it is `data`."""
        answer = self._transport.fetch("GET", "/webhooks", expected=(dict, list))
        return page_of(answer, "webhooks")

    def get_webhook(self, id: str) -> Webhook:
        """Get a webhook and its count of failures, never its secret: GET /webhooks/:id."""
        return self._transport.fetch("GET", format_path("/webhooks/{}", id))

    def delete_webhook(self, id: str) -> None:
        """Delete a webhook: DELETE /webhooks/:id."""
        self._delete(format_path("/webhooks/{}", id))

    def get_webhook_key(self) -> Json:
        """Get the key that signatures are checked with: GET /webhooks/public_key."""
        return self._transport.fetch("GET", "/webhooks/public_key")

    # undocumented: seen in use by others, may answer RouteMissing on some deployments

    def task_content(self, id: str, events: bool = False) -> PromptPage:
        """Get the prompts with their answers, and events if asked: GET /tasks/:id/content."""
        query = {"include": "events" if events else None}
        return self._transport.fetch(
            "GET", format_path("/tasks/{}/content", id), query=query
        )

    def prompt_events(self, id: str, prompt_id: str) -> Json:
        """Get the events of a delegated prompt: GET /tasks/:id/prompts/:promptId/events."""
        path = format_path("/tasks/{}/prompts/{}/events", id, prompt_id)
        return self._transport.fetch("GET", path)

    def answer_question(self, id: str, answer: Json) -> Json:
        """Answer what a task asks: POST /tasks/:id/answer. 409: nothing is asked any more."""
        path = format_path("/tasks/{}/answer", id)
        return self._transport.fetch("POST", path, body=answer, empty_allowed=True)

    def update_computer(
        self,
        id: str,
        *,
        instructions: str | None = None,
        views: dict[str, bool] | None = None,
    ) -> Computer:
        """Change standing instructions or switch views: PATCH /agent-computers/:id."""
        path = format_path("/agent-computers/{}", id)
        body = omit_none(agent_instructions=instructions, views=views)
        return redact(
            self._transport.fetch("PATCH", path, body=body, empty_allowed=True)
        )

    def delete_computer(self, id: str) -> None:
        """Delete a computer and free its machine: DELETE /agent-computers/:id."""
        self._delete(format_path("/agent-computers/{}", id))

    def get_health(self) -> Json:
        """Ask whether the service is up: GET /health, beside /v1."""
        return self._transport.fetch(
            "GET", "/health", base=self.base_url[: -len("/v1")]
        )

    # credits, undocumented too

    def get_credits(self) -> Json:
        """Get what the organization has left to spend: GET /billing/credits."""
        return self._transport.fetch("GET", "/billing/credits")

    # any other call

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = None,
        body: Any = None,
        before_send: BeforeSend = None,
    ) -> JsonValue:
        """Make any API call and return its JSON, a sandbox's key hidden, or None for 204.

        `path` is below /v1; `query` is a dictionary, or pairs where a name comes again.
        """
        answer = self._transport.fetch(
            method.upper(),
            check_path(path),
            query=query,
            body=body,
            expected=ANY_JSON,
            empty_allowed=True,
            before_send=before_send,
        )
        return redact(answer)

    def _delete(self, path: str) -> None:
        self._transport.fetch("DELETE", path, empty_allowed=True)
