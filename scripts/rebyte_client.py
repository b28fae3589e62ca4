"""The API of skill-as-a-service, one method per endpoint: dictionaries in, dictionaries out, as the service sends them.

    import sys; sys.path.insert(0, "scripts")          # this folder: its neighbours are needed too
    from rebyte_client import RebyteClient
    client = RebyteClient()                             # the key comes from REBYTE_API_KEY or a key file
    task = client.create_task("Write a haiku about sockets to /code/haiku.txt")
    for event in client.stream_events(task["id"]): print(event.event, event.data)

Every method may raise a RebyteError (rebyte_wire/errors.py draws the family). create_task, follow_up and
create_computer cost money and are never repeated on a doubt: they raise OutcomeUnknown instead. Nothing is sent that
was not asked for. The sections computers, webhooks, credits and undocumented stand in rebyte_services.py.
"""

from __future__ import annotations

import copy
import os
import re
from urllib.parse import quote, unquote

from rebyte_services import Services, format_path, omit_none, redact
from rebyte_wire.credentials import check_key, find_base, find_key_for
from rebyte_wire.errors import (
    AnswerUnreadable,
    AuthError,
    DeadlineReached,
    InputError,
    StorageRefused,
)
from rebyte_wire.multipart import MAX_UPLOAD_BYTES, FileBody, MultipartBody
from rebyte_wire.retry import EXPIRED_STATUSES
from rebyte_wire.status import terminal_status
from rebyte_wire.transport import ANY_JSON, Transport

DEFAULT_CONTENT_TYPE = "application/octet-stream"
PATH = r"/[A-Za-z0-9_.~:@!$&'()*+,;=%-][A-Za-z0-9_.~:@!$&'()*+,;=%/-]*(\?[A-Za-z0-9_.~:@!$&'()*+,;=%/?-]*)?"
CONTENT_TYPE = r"[\x20-\x7e]+"


class RebyteClient(Services):
    """A client for one service and one key. Safe across threads; close it, or use it in a `with` block."""

    def __init__(
        self,
        api_key=None,
        base_url=None,
        *,
        deadline=None,
        environ=None,
        key_file=None,
        transport=None,
    ):
        """Find key and address (arguments, then the environment); connect nothing yet. `deadline` bounds every call."""
        environ = os.environ if environ is None else environ
        base = find_base(environ, base_url)
        key = self._key = check_key(api_key) if api_key else key_for(environ, base, key_file)
        self._transport = transport or Transport(base, key, environ)
        self.base_url, self.is_loopback = self._transport.base_url, self._transport.is_loopback
        self.deadline = deadline or self._transport.deadline

    # tasks

    def create_task(
        self,
        prompt,
        *,
        executor=None,
        model=None,
        workspace_id=None,
        files=None,
        skills=None,
        github_url=None,
        branch_name=None,
        before_send=None,
    ) -> dict:
        """Start a task: POST /tasks. Paid; blocks until a machine is up, a minute or more, at most 300 s.

        `files` are dictionaries with the id and filename that upload_file gave. `before_send()` runs once connected.
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
        return self._transport.fetch("POST", "/tasks", body=body, before_send=before_send)

    def list_tasks(self, limit=None, offset=None) -> dict:
        """List tasks made through the API, newest first: GET /tasks. At most 100 at once; items carry no status."""
        return self._transport.fetch("GET", "/tasks", query={"limit": limit, "offset": offset})

    def get_task(self, id) -> dict:
        """Get a task with its status and prompts, but never its answer: GET /tasks/:id."""
        return self._transport.fetch("GET", format_path("/tasks/{}", id))

    def follow_up(self, id, prompt, skills=None, *, files=None, before_send=None) -> dict:
        """Send one more prompt to a task's machine: POST /tasks/:id/prompts. Paid, like create_task; {"promptId"}."""
        return self._transport.fetch(
            "POST",
            format_path("/tasks/{}/prompts", id),
            before_send=before_send,
            body=omit_none(prompt=prompt, skills=skills, files=files),
        )

    def cancel_task(self, id) -> dict:
        """Cancel what runs or waits in a task: POST /tasks/:id/cancel. A late answer can still arrive."""
        return self._transport.fetch("POST", format_path("/tasks/{}/cancel", id))

    def stream_events(self, id, *, read_seconds=60):
        """Stream the latest prompt's events from its start: GET /tasks/:id/events. Minutes of silence are normal.

        Iterate it for events or its chunks() for bytes; close() ends it, from another thread too.
        """
        return self._transport.open_stream(format_path("/tasks/{}/events", id), read_seconds)

    def set_visibility(self, id, visibility) -> dict:
        """Set who may see a task (private, shared, public): PATCH /tasks/:id/visibility."""
        return self._transport.fetch(
            "PATCH", format_path("/tasks/{}/visibility", id), body={"visibility": visibility}
        )

    def delete_task(self, id) -> None:
        """Delete a task softly: DELETE /tasks/:id. Whether that stops it is not documented: cancel first."""
        self._transport.fetch("DELETE", format_path("/tasks/{}", id))

    def wait_for_task(self, id, poll_interval=5, timeout=600) -> dict:
        """Ask GET /tasks/:id until the task has ended, and return it; DeadlineReached after `timeout` seconds."""
        deadline = self.deadline.within(timeout)
        while True:
            task = self.get_task(id)
            if terminal_status(task.get("status")):
                return task
            if deadline.expired:
                raise DeadlineReached("The task is still running after {} s.".format(timeout))
            left = deadline.left()
            self._transport.sleep(poll_interval if left is None else min(poll_interval, left))

    # files

    def create_upload(self, filename, content_type=None) -> dict:
        """Ask for a place to upload a file to: POST /files. The address is a secret and lasts an hour."""
        return self._transport.fetch(
            "POST", "/files", body=omit_none(filename=filename, contentType=content_type)
        )

    def put_bytes(self, upload_url, source, length, content_type) -> None:
        """Send `length` bytes to a signed upload address: PUT. `source` opens a binary file, or is a seekable one."""
        if not re.fullmatch(CONTENT_TYPE, content_type):
            raise InputError(
                "The content type {!r} cannot travel in a header.".format(content_type)
            )
        self._transport.put_signed(upload_url, FileBody(source, length), content_type)

    def upload_file(self, path, filename=None, content_type=None) -> dict:
        """Upload a file from disk: POST /files, then PUT. Returns {"id", "filename"}, ready for create_task's `files`."""
        return self.upload_source(
            opener(path), size_of(path), filename or os.path.basename(path), content_type
        )

    def upload_source(self, source, length, filename, content_type=None) -> dict:
        """Upload `length` bytes under a name: POST /files, then PUT. `source` is as put_bytes takes it."""
        check_size(filename, length, MAX_UPLOAD_BYTES)
        # An address may have expired; then one fresh one is asked for, once.
        for may_ask_again in (True, False):
            slot = self.create_upload(filename, content_type)
            if not isinstance(slot.get("uploadUrl"), str) or not isinstance(slot.get("id"), str):
                raise AnswerUnreadable("The service gave no id or address to upload to.")
            check_size(filename, length, slot.get("maxFileSize"))
            try:
                self.put_bytes(
                    slot.pop("uploadUrl"), source, length, content_type or DEFAULT_CONTENT_TYPE
                )
                return slot
            except StorageRefused as error:
                if not may_ask_again or error.http_status not in EXPIRED_STATUSES:
                    raise

    # artifacts

    def list_artifacts(self, workspace_id) -> dict:
        """List a workspace's artifacts with their signed addresses: GET /workspaces/:id/artifacts."""
        return self._transport.fetch("GET", format_path("/workspaces/{}/artifacts", workspace_id))

    def open_artifact(self, workspace_id, name):
        """Open an artifact to read(n) and close: GET /workspaces/:id/artifacts/:name. A short body raises."""
        return self._transport.open(artifact_path(workspace_id, name))

    def open_address(self, url):
        """Open a signed download address to read(n) and close: GET, without the key. A short body raises."""
        return self._transport.open_signed(url)

    def upload_artifacts(self, workspace_id, files) -> dict:
        """Upload files as artifacts: POST /workspaces/:id/artifacts. At most 10 of 10 MB; same names are replaced.

        Each is a path, or (name, content type, source, length) with a source as put_bytes takes it.
        """
        parts = [
            (os.path.basename(file), DEFAULT_CONTENT_TYPE, opener(file), size_of(file))
            if isinstance(file, (str, os.PathLike))
            else file
            for file in files
        ]
        form = MultipartBody(
            [
                ("files", name, kind, FileBody(source, length))
                for name, kind, source, length in parts
            ]
        )
        return self._transport.fetch(
            "POST",
            format_path("/workspaces/{}/artifacts", workspace_id),
            body=form,
            content_type=form.content_type,
        )

    def request_artifact_uploads(self, workspace_id, files) -> dict:
        """Ask for addresses to put up to 50 artifacts to: POST /workspaces/:id/artifacts/upload-url. They last 15 min."""
        return self._transport.fetch(
            "POST",
            format_path("/workspaces/{}/artifacts/upload-url", workspace_id),
            body={"files": files},
        )

    def delete_artifact(self, workspace_id, name) -> None:
        """Delete one artifact: DELETE /workspaces/:id/artifacts/:name."""
        self._transport.fetch("DELETE", artifact_path(workspace_id, name))

    def delete_artifacts(self, workspace_id) -> None:
        """Delete all artifacts of a workspace: DELETE /workspaces/:id/artifacts."""
        self._transport.fetch("DELETE", format_path("/workspaces/{}/artifacts", workspace_id))

    # the raw door, and the client itself

    def request(self, method, path, *, query=None, body=None, before_send=None):
        """Make any API call and return its JSON, or None for 204, without a machine's secret. `path` is below /v1."""
        if not re.fullmatch(PATH, path) or ".." in unquote(path.partition("?")[0]).split("/"):
            raise InputError(
                "The path {!r} cannot be used; expected one like /tasks?limit=10.".format(path)
            )
        return redact(
            self._transport.fetch(
                method.upper(),
                path,
                query=query,
                body=body,
                expected=ANY_JSON,
                before_send=before_send,
            )
        )

    @property
    def deadline(self):
        """The Deadline of every call, settable; only a paid start that has left takes its own time."""
        return self._transport.deadline

    @deadline.setter
    def deadline(self, deadline):
        """Set the deadline of the calls that follow."""
        self._transport.deadline = deadline

    def within(self, seconds) -> RebyteClient:
        """Return this client with a deadline of `seconds` from now, or the own one if earlier."""
        view = copy.copy(self)
        view._transport = copy.copy(self._transport)
        view._transport.deadline = self.deadline.within(seconds)
        return view

    @property
    def api_key(self) -> str:
        """The key: a secret, for telling accounts apart and nothing else."""
        return self._key

    @property
    def clock_skew(self):
        """Seconds by which the service's clock is ahead of this machine's; None before the first answer."""
        return self._transport.clock_skew

    def close(self):
        """Close the kept connections."""
        self._transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return "<RebyteClient {}>".format(self.base_url)


def key_for(environ, base, key_file) -> str:
    """Return the key to send to a base address; AuthError if there is none."""
    key, _ = find_key_for(environ, base, key_file)
    if not key:
        raise AuthError("No API key was found.", code="missing_api_key")
    return key


def artifact_path(workspace_id, name) -> str:
    """Return the path of one artifact; its name is quoted whole."""
    if not name or name in (".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", name):
        raise InputError("{!r} is not the name of an artifact.".format(name))
    return format_path("/workspaces/{}/artifacts", workspace_id) + "/" + quote(name, safe="")


def opener(path):
    """Return a function that opens a file from its start."""
    return lambda: open(path, "rb")


def size_of(path) -> int:
    """Return a file's size; one that cannot be read raises InputError."""
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        raise InputError("{} is not a file that can be read.".format(path))
    return os.path.getsize(path)


def check_size(name, length, limit):
    """Raise InputError for more bytes than a limit allows, if it is one."""
    if isinstance(limit, int) and length > limit:
        raise InputError(
            "The file {} has {} bytes; at most {} can be uploaded.".format(name, length, limit),
            hint="artifacts put takes larger files into a workspace.",
        )
