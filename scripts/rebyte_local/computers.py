"""Computers, machines that last: create, list, get, update, delete."""

from __future__ import annotations

import json
import secrets
import shutil
import uuid

from rebyte_local import credits
from rebyte_local.messages import check_text, found, invalid, json_answer, list_answer, no_content
from rebyte_local.store import MICROSECONDS, long_form, now_us
from rebyte_local.workspaces import workspace_path

NAME_LIMIT_CHARS, ICON_LIMIT_CHARS = 200, 50
INSTRUCTIONS_LIMIT_CHARS = 100000
PROVISION_SECONDS = 0.5
DEFAULT_NAME = "Agent Computer"
FAILED_WORDS = "No machine could be provisioned (the fault computer-error is on)."
VIEWS = (
    "web_search_&_browse",
    "sandbox",
    "coding_agent",
    "skills",
    "ask_user_question",
    "interactive_content",
)


def create_computer(service, request):
    """POST /agent-computers -> 201 at once, while it is still provisioned."""
    body = request.body.json_object()
    name, icon = (
        check_text(body, "name", NAME_LIMIT_CHARS),
        check_text(body, "icon", ICON_LIMIT_CHARS),
    )
    credits.pay_start(service.store)
    computer_id, now = str(uuid.uuid4()), now_us()
    facts = {
        "name": name or DEFAULT_NAME,
        "icon": icon,
        "fails": service.faults.is_on("computer-error"),
        "instructions": None,
        "key": "sbx_local_" + secrets.token_hex(16),
        "sandbox": secrets.token_hex(10),
        "off": [],
    }
    service.store.write(
        ("INSERT INTO workspaces VALUES(?,?)", computer_id, now),
        (
            "INSERT INTO computers(id,created,updated,facts) VALUES(?,?,?,?)",
            computer_id,
            now,
            now,
            json.dumps(facts),
        ),
    )
    return json_answer(201, _show(service, find_computer(service, computer_id)))


def list_computers(service, request):
    """GET /agent-computers?limit&offset, newest first."""
    return list_answer(
        request,
        lambda limit, offset: service.store.page("computers", limit, offset),
        lambda computers: [_show(service, computer) for computer in computers],
    )


def get_computer(service, request):
    """GET /agent-computers/:id, with the undocumented fields that others saw there, its secret key among them."""
    return json_answer(200, _show_whole(service, find_or_refuse(service, request)))


def update_computer(service, request):
    """PATCH /agent-computers/:id (undocumented): agent_instructions and views, snake case in, camel case out."""
    computer, body = find_or_refuse(service, request), request.body.json_object()
    instructions, views = body.get("agent_instructions"), body.get("views")
    views = {} if views is None else views
    if instructions is not None and (
        not isinstance(instructions, str) or len(instructions) > INSTRUCTIONS_LIMIT_CHARS
    ):
        raise invalid(
            "agent_instructions must be a string of at most %d characters"
            % INSTRUCTIONS_LIMIT_CHARS
        )
    if not isinstance(views, dict) or not all(isinstance(value, bool) for value in views.values()):
        raise invalid("views must map the id of a view to true or false")
    facts = {
        name: computer[name] for name in ("name", "icon", "fails", "instructions", "key", "sandbox")
    }
    facts["instructions"] = computer["instructions"] if instructions is None else instructions
    facts["off"] = [view for view in VIEWS if not views.get(view, view not in computer["off"])]
    service.store.write(
        (
            "UPDATE computers SET facts=?, updated=? WHERE id=?",
            json.dumps(facts),
            now_us(),
            computer["id"],
        )
    )
    return json_answer(200, _show_whole(service, find_computer(service, computer["id"])))


def delete_computer(service, request):
    """DELETE /agent-computers/:id (undocumented) -> 204; what runs on it is canceled and its folder is removed."""
    computer_id = find_or_refuse(service, request)["id"]
    for task in service.store.tasks_of(computer_id):
        service.runner.cancel(task["id"])
    service.store.write(
        ("DELETE FROM computers WHERE id=?", computer_id),
        ("DELETE FROM workspaces WHERE id=?", computer_id),
    )
    shutil.rmtree(workspace_path(service, computer_id), ignore_errors=True)
    return no_content()


def find_computer(service, computer_id):
    """The computer, or None."""
    return service.store.row("SELECT * FROM computers WHERE id=?", computer_id)


def find_or_refuse(service, request):
    """The computer that a path names, or 404."""
    return found("Agent computer", find_computer(service, request.params[0].lower()))


def state_of(service, computer):
    """(status, sandbox id or None) as the service would tell them now."""
    if (
        now_us() - computer["created"]
        < service.faults.value("slow-computer", PROVISION_SECONDS) * MICROSECONDS
    ):
        return "provisioning", None
    if computer["fails"]:
        return "error", None
    return "provisioning" if service.faults.is_on("sandbox-first") else "ready", computer["sandbox"]


def _show(service, computer):
    status, sandbox = state_of(service, computer)
    return {
        "id": computer["id"],
        "name": computer["name"],
        "status": status,
        "sandboxId": sandbox,
        "icon": computer["icon"],
        "url": "%s/agent/computer/%s" % (service.origin, computer["id"]),
        "provisionError": FAILED_WORDS if status == "error" else None,
        "createdAt": long_form(computer["created"]),
        "updatedAt": long_form(computer["updated"]),
        "rehearsal": True,
    }


def _show_whole(service, computer):
    shown = _show(service, computer)
    views = [
        {
            "id": view,
            "name": view,
            "enabled": view not in computer["off"],
            "server": {"type": "internal", "internalName": view, "remoteId": None},
        }
        for view in VIEWS
    ]
    return dict(
        shown,
        sandboxBaseUrl=None,
        sandboxApiKey=computer["key"] if shown["sandboxId"] else None,
        agentInstructions=computer["instructions"],
        views=views,
    )
