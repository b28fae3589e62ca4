"""Computers, machines that last: create, list, get, update, delete."""

from __future__ import annotations

import json
import secrets
import shutil
import uuid

from rebyte_local.api.checks import list_response, optional_string, or_404
from rebyte_local.api.credits import charge_start
from rebyte_local.formats import (
    MICROSECONDS_PER_SECOND,
    JsonObject,
    iso_microseconds,
    now_us,
)
from rebyte_local.http.messages import (
    Request,
    Response,
    json_response,
    no_content,
    validation_error,
)
from rebyte_local.service import Service

NAME_LIMIT_CHARS = 200
ICON_LIMIT_CHARS = 50
INSTRUCTIONS_LIMIT_CHARS = 100000
PROVISION_SECONDS = 0.5
DEFAULT_NAME = "Agent Computer"
PROVISION_ERROR = "No machine could be provisioned (the fault computer-error is on)."
FACTS = ("name", "icon", "fails", "instructions", "key", "sandbox", "off")
VIEWS = (
    "web_search_&_browse",
    "sandbox",
    "coding_agent",
    "skills",
    "ask_user_question",
    "interactive_content",
)


def create_computer(service: Service, request: Request) -> Response:
    """POST /agent-computers -> 201 at once, while it is still provisioned."""
    body = request.json_object()
    name = optional_string(body, "name", NAME_LIMIT_CHARS)
    facts: JsonObject = {
        "name": name or DEFAULT_NAME,
        "icon": optional_string(body, "icon", ICON_LIMIT_CHARS),
        "fails": service.faults.is_on("computer-error"),
        "instructions": None,
        "key": "sbx_local_" + secrets.token_hex(16),
        "sandbox": secrets.token_hex(10),
        "off": [],
    }
    charge_start(service)
    computer_id = str(uuid.uuid4())
    now = now_us()
    with service.database.transaction() as connection:
        connection.execute("INSERT INTO workspaces VALUES(?,?)", (computer_id, now))
        connection.execute(
            "INSERT INTO computers(id,created,updated,facts) VALUES(?,?,?,?)",
            (computer_id, now, now, json.dumps(facts)),
        )
    return json_response(
        201, _show(service, dict(facts, id=computer_id, created=now, updated=now))
    )


def list_computers(service: Service, request: Request) -> Response:
    """GET /agent-computers?limit&offset, newest first."""
    return list_response(
        request,
        lambda limit, offset: service.database.page("computers", limit, offset),
        lambda computers: [_show(service, computer) for computer in computers],
    )


def get_computer(service: Service, request: Request) -> Response:
    """GET /agent-computers/:id, with undocumented fields, its secret key among them."""
    return json_response(200, _show_details(service, computer_of(service, request)))


def update_computer(service: Service, request: Request) -> Response:
    """PATCH /agent-computers/:id (undocumented): agent_instructions and views.

    Snake case comes in, camel case goes out.
    """
    computer = computer_of(service, request)
    body = request.json_object()
    instructions = _check_instructions(body.get("agent_instructions"))
    if instructions is not None:
        computer["instructions"] = instructions
    enabled = _check_views(body.get("views"))
    off = [view for view in VIEWS if not enabled.get(view, view not in computer["off"])]
    computer.update(off=off, updated=now_us())
    service.database.write(
        "UPDATE computers SET facts=?, updated=? WHERE id=?",
        json.dumps({name: computer[name] for name in FACTS}),
        computer["updated"],
        computer["id"],
    )
    return json_response(200, _show_details(service, computer))


def _check_instructions(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > INSTRUCTIONS_LIMIT_CHARS:
        raise validation_error(
            "agent_instructions must be a string of at most %d characters"
            % INSTRUCTIONS_LIMIT_CHARS
        )
    return value


def _check_views(value: object) -> dict[str, bool]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        isinstance(on, bool) for on in value.values()
    ):
        raise validation_error("views must map the id of a view to true or false")
    return value


def delete_computer(service: Service, request: Request) -> Response:
    """DELETE /agent-computers/:id (undocumented) -> 204.

    What runs on it is canceled, and its folder is removed.
    """
    computer_id = computer_of(service, request)["id"]
    for task in service.tasks.in_workspace(computer_id):
        service.runner.cancel(task["id"])
    with service.database.transaction() as connection:
        connection.execute("DELETE FROM computers WHERE id=?", (computer_id,))
        connection.execute("DELETE FROM workspaces WHERE id=?", (computer_id,))
    shutil.rmtree(service.workspace_path(computer_id), ignore_errors=True)
    return no_content()


def computer_of(service: Service, request: Request) -> JsonObject:
    """Return the computer that a path names; raises ApiError 404."""
    return or_404(
        service.database.find("computers", request.params[0].lower()), "Agent computer"
    )


def computer_status(service: Service, computer: JsonObject) -> str:
    """Return provisioning, ready or error, as the service would say now."""
    seconds = service.faults.value("slow-computer", PROVISION_SECONDS)
    if now_us() - computer["created"] < seconds * MICROSECONDS_PER_SECOND:
        return "provisioning"
    return "error" if computer["fails"] else "ready"


def _show(service: Service, computer: JsonObject) -> JsonObject:
    status = computer_status(service, computer)
    sandbox = computer["sandbox"] if status == "ready" else None
    if sandbox and service.faults.is_on("sandbox-first"):
        status = "provisioning"
    return {
        "id": computer["id"],
        "name": computer["name"],
        "status": status,
        "sandboxId": sandbox,
        "icon": computer["icon"],
        "url": service.page_url("/agent/computer/" + computer["id"]),
        "provisionError": PROVISION_ERROR if status == "error" else None,
        "createdAt": iso_microseconds(computer["created"]),
        "updatedAt": iso_microseconds(computer["updated"]),
        "rehearsal": True,
    }


def _show_view(computer: JsonObject, view: str) -> JsonObject:
    return {
        "id": view,
        "name": view,
        "enabled": view not in computer["off"],
        "server": {"type": "internal", "internalName": view, "remoteId": None},
    }


def _show_details(service: Service, computer: JsonObject) -> JsonObject:
    shown = _show(service, computer)
    return dict(
        shown,
        sandboxBaseUrl=None,
        sandboxApiKey=computer["key"] if shown["sandboxId"] else None,
        agentInstructions=computer["instructions"],
        views=[_show_view(computer, view) for view in VIEWS],
    )
