"""Routes of tasks: create, list, get, follow up, cancel, answer, share, delete."""
from __future__ import annotations

from rebyte_local import answers
from rebyte_local.answers import Refusal, invalid, json_answer, no_content, not_found
from rebyte_local.store import long_form, short_form


def create_task(service, request):
    """POST /tasks -> 201; blocks until the workspace exists."""
    body = request.body.json_object()
    prompt = answers.check_prompt(body)
    executor, model = answers.check_executor(body), answers.check_text(body, "model", 100)
    workspace = answers.check_workspace_id(body)
    setup = _read_setup(service, body)
    setup["repository"], setup["branch"] = answers.check_repository(body)
    if workspace is not None and not service.records.workspace_exists(workspace):
        raise not_found("Workspace")
    _check_computer(service, workspace)
    service.purse.pay_start()
    task, first = service.begin_task(prompt, setup, executor, model, workspace)
    service.runner.submit(task["id"], first["id"])
    if service.faults.is_on("slow-create"):
        service.stopping.wait(service.faults.value("slow-create"))
    answer = {"id": task["id"], "workspaceId": task["workspace"], "url": _url(service, task),
              "status": "queued" if service.faults.is_on("odd-status") else "running",
              "createdAt": short_form(task["created"])}
    return json_answer(201, _marked(task, answer))


def _check_computer(service, workspace):
    computer = service.fleet.find(workspace) if workspace else None
    if computer and service.fleet.state_of(computer)[0] == "error":
        raise invalid("workspaceId: this agent computer could not be provisioned")


def _read_setup(service, body):
    files = answers.check_file_references(body)
    service.check_files(files)
    return {"files": files, "skills": answers.check_skills(body)}


def _url(service, task):
    return "%s/run/%s" % (service.origin, task["id"])


def _marked(task, answer):
    if task["rehearsal"]:
        answer["rehearsal"] = True
    return answer


def _show(service, task, completed):
    return {"id": task["id"], "url": _url(service, task), "title": service.show_title(task),
            "executor": task["executor"], "model": task["model"], "createdAt": long_form(task["created"]),
            "completedAt": long_form(completed)}


def list_tasks(service, request):
    """GET /tasks?limit&offset, newest first; items have neither status nor workspaceId."""
    limit, offset = answers.check_page(request.query)
    tasks, total = service.records.tasks(limit, offset)
    ends = service.records.ends([task["id"] for task in tasks])
    data = [_marked(task, _show(service, task, ends[task["id"]][1])) for task in tasks]
    return json_answer(200, {"data": data, "total": total, "limit": limit, "offset": offset})


def get_task(service, request):
    """GET /tasks/:id, prompts newest first, without workspaceId."""
    task = service.find_task(request)
    status, completed = service.records.end(task["id"])
    answer = _show(service, task, completed)
    answer["status"] = service.shown_status(status)
    answer["prompts"] = [service.show_prompt(p) for p in reversed(service.records.prompts(task["id"]))]
    return json_answer(200, _marked(task, answer))


def follow_up(service, request):
    """POST /tasks/:id/prompts -> 201; runs after the task's earlier prompts."""
    task = service.find_task(request)
    body = request.body.json_object()
    prompt = answers.check_prompt(body)
    setup = _read_setup(service, body)
    service.purse.pay_start()
    record = service.begin_prompt(task["id"], prompt, setup)
    return json_answer(201, _marked(task, {"promptId": record["id"]}))


def cancel_task(service, request):
    """POST /tasks/:id/cancel; on an ended task it changes nothing and says 0."""
    task = service.find_task(request)
    count = service.runner.cancel(task["id"])
    return json_answer(200, {"id": task["id"], "status": service.records.end(task["id"])[0], "canceledPrompts": count})


def set_visibility(service, request):
    """PATCH /tasks/:id/visibility"""
    task = service.find_task(request)
    visibility = request.body.json_object().get("visibility")
    if visibility not in answers.VISIBILITIES:
        raise invalid("visibility must be one of %s" % ", ".join(answers.VISIBILITIES))
    service.records.set_visibility(task["id"], visibility)
    answer = {"visibility": visibility}
    if visibility == "public":
        answer["shareUrl"] = "%s/share/%s" % (service.origin, task["id"])
    return json_answer(200, answer)


def delete_task(service, request):
    """DELETE /tasks/:id -> 204; what still ran is canceled."""
    task = service.find_task(request)
    service.runner.cancel(task["id"])
    service.records.delete_task(task["id"])
    return no_content()


def answer_question(service, request):
    """POST /tasks/:id/answer (undocumented); 409 when nothing waits for this answer."""
    task = service.find_task(request)
    body = request.body.json_object()
    replies = body.get("answers", [body])
    if not isinstance(replies, list) or not replies or not all(isinstance(a, dict) for a in replies):
        raise invalid("answers must be a list of objects")
    run = service.runner.find(task["id"])
    question = run.question if run else None
    for given in replies:
        if question and str(given.get("messageId")) == question.message_id \
                and str(given.get("actionId")) == str(question.action_id):
            if question.settle(_read_answer(question, given.get("answer"))):
                return json_answer(200, {"id": task["id"], "status": "running"})
    raise Refusal(409, "conflict", "nothing waits for this answer")


def _read_answer(question, answer):
    if not isinstance(answer, dict):
        raise invalid("answer must be an object with selectedOptions, customResponse or both")
    chosen, custom = answer.get("selectedOptions", []), answer.get("customResponse")
    last = len(question.options) - 1
    if not isinstance(chosen, list) or not all(type(i) is int and 0 <= i <= last for i in chosen):
        raise invalid("selectedOptions must be a list of indexes from 0 to %d" % last)
    if custom is not None and not isinstance(custom, str):
        raise invalid("customResponse must be a string")
    if not chosen and not custom:
        raise invalid("answer is empty")
    return ", ".join([question.options[i] for i in chosen] + ([custom] if custom else []))
