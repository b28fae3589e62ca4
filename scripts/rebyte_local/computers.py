"""Routes of computers: create, list, get, update, delete."""
from __future__ import annotations

from rebyte_local import answers
from rebyte_local.answers import invalid, json_answer, no_content, not_found

NAME_LIMIT_CHARS, ICON_LIMIT_CHARS = 200, 50
INSTRUCTIONS_LIMIT_CHARS = 100000


def create_computer(service, request):
    """POST /agent-computers -> 201 at once, while it is still provisioned."""
    body = request.body.json_object()
    name, icon = answers.check_text(body, "name", NAME_LIMIT_CHARS), answers.check_text(body, "icon", ICON_LIMIT_CHARS)
    service.purse.pay_start()
    return json_answer(201, service.fleet.show(service.fleet.add(name, icon), service.origin))


def list_computers(service, request):
    """GET /agent-computers?limit&offset, newest first."""
    limit, offset = answers.check_page(request.query)
    computers, total = service.fleet.page(limit, offset)
    return json_answer(200, {"data": [service.fleet.show(computer, service.origin) for computer in computers],
                             "total": total, "limit": limit, "offset": offset})


def get_computer(service, request):
    """GET /agent-computers/:id, with the undocumented fields that others saw there."""
    return json_answer(200, service.fleet.show(_find(service, request), service.origin, whole=True))


def update_computer(service, request):
    """PATCH /agent-computers/:id (undocumented): agent_instructions and views, snake case in, camel case out."""
    computer, body = _find(service, request), request.body.json_object()
    instructions, views = body.get("agent_instructions"), body.get("views")
    if instructions is not None and (not isinstance(instructions, str) or len(instructions) > INSTRUCTIONS_LIMIT_CHARS):
        raise invalid("agent_instructions must be a string of at most %d characters" % INSTRUCTIONS_LIMIT_CHARS)
    if views is not None and not (isinstance(views, dict) and all(isinstance(value, bool) for value in views.values())):
        raise invalid("views must map the id of a view to true or false")
    return json_answer(200, service.fleet.show(service.fleet.change(computer, instructions, views), service.origin, whole=True))


def delete_computer(service, request):
    """DELETE /agent-computers/:id (undocumented) -> 204; what runs on it is canceled and its folder is removed."""
    computer = _find(service, request)
    for task_id in service.records.tasks_of(computer["id"]):
        service.runner.cancel(task_id)
    service.fleet.remove(computer["id"])
    service.workspaces.remove(computer["id"])
    return no_content()


def _find(service, request):
    computer_id = request.params[0].lower()
    computer = service.fleet.find(computer_id) if answers.is_uuid(computer_id) else None
    if computer is None:
        raise not_found("Agent computer")
    return computer
