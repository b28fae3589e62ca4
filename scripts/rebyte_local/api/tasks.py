"""Tasks: create, list, get, follow up, cancel, answer, share, delete, within documented limits."""

from __future__ import annotations

import re
from functools import partial

from rebyte_local.api.checks import (
    check_filename,
    is_uuid,
    list_of,
    list_response,
    optional_string,
    or_404,
)
from rebyte_local.api.computers import computer_status
from rebyte_local.api.credits import charge_start
from rebyte_local.execution.executors import choose_program
from rebyte_local.execution.prompt_run import Question
from rebyte_local.faults import HOSTILE_TEXT
from rebyte_local.formats import (
    MICROSECONDS_PER_SECOND,
    JsonObject,
    iso_microseconds,
    iso_milliseconds,
    now_us,
)
from rebyte_local.http.messages import (
    ApiError,
    Request,
    Response,
    json_response,
    no_content,
    require,
    validation_error,
)
from rebyte_local.service import Service
from rebyte_local.storage.task_table import OPEN_STATUSES

PROMPT_LIMIT_CHARS = 100000
EXECUTORS = ("claude", "gemini", "codex", "opencode")
VISIBILITIES = ("private", "shared", "public")
SKILLS_LIMIT = 50
SKILL_LIMIT_CHARS = 500
FILES_LIMIT = 100
REPOSITORY = re.compile(
    r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}",
    re.ASCII,
)
BRANCH = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./+@#=-]{0,249}", re.ASCII)
# What a prompt tells of itself besides, where an agent program answered it.
ACCOUNT = ("model", "usage", "costUsd", "warnings")
# Words that nobody documented, for the fault odd-status.
ODD_STATUSES = {"pending": "queued", "running": "processing"}
# A word for the end that nobody documented, for the fault unknown-status.
UNKNOWN_STATUS = "expired"


def create_task(service: Service, request: Request) -> Response:
    """POST /tasks -> 201; blocks until the workspace exists."""
    body = request.json_object()
    prompt = _check_prompt(body)
    executor = optional_string(body, "executor")
    known = [*EXECUTORS, *(name for name in service.agents if name not in EXECUTORS)]
    require(
        executor is None or executor in known,
        "executor must be one of %s" % ", ".join(known),
    )
    model = optional_string(body, "model", 100)
    workspace = _check_workspace(service, body)
    setup = dict(_check_setup(service, body), **_check_repository(body))
    charge_start(service)
    program = choose_program(service, executor, prompt)
    task, prompt_id = service.tasks.add(
        prompt,
        setup,
        workspace,
        executor=executor or program,
        model=model,
        program=program,
        rehearsal=not (program or service.agent),
    )
    service.events.open(prompt_id)
    service.deliveries.send("task.created", task["id"])
    service.runner.submit(task["id"], prompt_id)
    service.stopping.wait(service.faults.value("slow-create"))
    answer = {
        "id": task["id"],
        "workspaceId": task["workspace"],
        "url": _url(service, task),
        "status": "queued" if service.faults.is_on("odd-status") else "running",
        "createdAt": iso_milliseconds(task["created"]),
    }
    return json_response(201, label_rehearsal(answer, task))


def _check_prompt(body: JsonObject) -> str:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise validation_error("prompt is required and must be a non-empty string")
    require(
        len(prompt) <= PROMPT_LIMIT_CHARS,
        "prompt is longer than %d characters" % PROMPT_LIMIT_CHARS,
    )
    return prompt


def _check_workspace(service: Service, body: JsonObject) -> str | None:
    """Return the id of an existing workspace, None when a new one is wanted."""
    value = body.get("workspaceId")
    if value is None:
        return None
    require(is_uuid(value), "workspaceId must be a UUID")
    workspace = str(value).lower()
    or_404(service.database.find("workspaces", workspace), "Workspace")
    computer = service.database.find("computers", workspace)
    require(
        computer is None or computer_status(service, computer) != "error",
        "workspaceId: this agent computer could not be provisioned",
    )
    return workspace


def _check_repository(body: JsonObject) -> JsonObject:
    repository = optional_string(body, "githubUrl")
    require(
        repository is None or REPOSITORY.fullmatch(repository),
        "githubUrl must look like owner/repo",
    )
    branch = optional_string(body, "branchName", 250) or "main"
    require(BRANCH.fullmatch(branch), "branchName is not a branch name")
    return {"repository": repository, "branch": branch}


def _check_setup(service: Service, body: JsonObject) -> JsonObject:
    """Return what a prompt brings along: uploaded files, and skills in any spelling."""
    skills = list_of(
        str,
        _list_field(body, "skills"),
        "skills must be a list of at most %d strings" % SKILLS_LIMIT,
        SKILLS_LIMIT,
    )
    require(
        all(0 < len(skill) <= SKILL_LIMIT_CHARS for skill in skills),
        "each skill must be a non-empty string",
    )
    files = list_of(
        dict,
        _list_field(body, "files"),
        "files must be a list of at most %d objects with id and filename" % FILES_LIMIT,
        FILES_LIMIT,
    )
    names = [check_filename(file.get("filename"), "files[].filename") for file in files]
    require(len(set(names)) == len(names), "two files have the same filename")
    return {"files": [_check_file(service, file) for file in files], "skills": skills}


def _check_file(service: Service, file: JsonObject) -> JsonObject:
    require(is_uuid(file.get("id")), "files[].id must be the id that POST /files gave")
    file_id = file["id"].lower()
    row = service.database.find("files", file_id)
    if row is None:
        raise validation_error("files: no file has the id %s" % file_id)
    require(
        row["size"] is not None,
        "files: %s has no content yet; PUT it to its uploadUrl first" % file_id,
    )
    return {"id": file_id, "filename": file["filename"]}


def task_of(service: Service, request: Request) -> JsonObject:
    """Return the task that a path names; raises ApiError 404, also while late-visible hides it."""
    task = or_404(service.tasks.get(request.params[0].lower()), "Task")
    if (
        now_us() - task["created"]
        < service.faults.value("late-visible") * MICROSECONDS_PER_SECOND
    ):
        raise ApiError(404, "not_found", "Task not found")
    return task


def _url(service: Service, task: JsonObject) -> str:
    return service.page_url("/run/" + task["id"])


def label_rehearsal(answer: JsonObject, task: JsonObject) -> JsonObject:
    """Return the answer, with `rehearsal` when no agent program worked on the task."""
    return dict(answer, rehearsal=True) if task["rehearsal"] else answer


def show_status(service: Service, status: str) -> str:
    """Return a status as it is told, which odd-status and unknown-status may change."""
    if service.faults.is_on("unknown-status") and status not in OPEN_STATUSES:
        return UNKNOWN_STATUS
    return (
        ODD_STATUSES.get(status, status)
        if service.faults.is_on("odd-status")
        else status
    )


def show_title(service: Service, task: JsonObject) -> str:
    """Return a title as it is told, which hostile-text may change."""
    prefix = HOSTILE_TEXT if service.faults.is_on("hostile-text") else ""
    return prefix + str(task["title"])


def show_prompt(service: Service, prompt: JsonObject) -> JsonObject:
    """Return a prompt as GET /tasks/:id lists it, with the account of an agent program."""
    shown = {
        "id": prompt["id"],
        "status": show_status(service, prompt["status"]),
        "submittedAt": iso_microseconds(prompt["submitted"]),
        "completedAt": iso_microseconds(prompt["completed"]),
    }
    shown.update((name, prompt[name]) for name in ACCOUNT if name in prompt)
    return shown


def _show(
    service: Service, task: JsonObject, completed: int | None, **more: object
) -> JsonObject:
    shown = {
        "id": task["id"],
        "url": _url(service, task),
        "title": show_title(service, task),
        "executor": task["executor"],
        "model": task["model"],
        "createdAt": iso_microseconds(task["created"]),
        "completedAt": iso_microseconds(completed),
    }
    return label_rehearsal(dict(shown, **more), task)


def list_tasks(service: Service, request: Request) -> Response:
    """GET /tasks?limit&offset, newest first; items have neither status nor workspaceId."""
    return list_response(request, service.tasks.page, partial(_show_all, service))


def _show_all(service: Service, tasks: list[JsonObject]) -> list[JsonObject]:
    statuses = service.tasks.statuses([task["id"] for task in tasks])
    return [_show(service, task, statuses[task["id"]][1]) for task in tasks]


def get_task(service: Service, request: Request) -> Response:
    """GET /tasks/:id, prompts newest first, without workspaceId."""
    task = task_of(service, request)
    status, completed = service.tasks.status(task["id"])
    prompts = reversed(service.tasks.prompts(task["id"]))
    return json_response(
        200,
        _show(
            service,
            task,
            completed,
            status=show_status(service, status),
            prompts=[show_prompt(service, prompt) for prompt in prompts],
        ),
    )


def follow_up(service: Service, request: Request) -> Response:
    """POST /tasks/:id/prompts -> 201; runs after the task's earlier prompts."""
    task = task_of(service, request)
    body = request.json_object()
    prompt = _check_prompt(body)
    setup = _check_setup(service, body)
    charge_start(service)
    prompt_id = service.tasks.add_prompt(task["id"], prompt, setup)
    service.events.open(prompt_id)
    service.runner.submit(task["id"], prompt_id)
    return json_response(201, label_rehearsal({"promptId": prompt_id}, task))


def cancel_task(service: Service, request: Request) -> Response:
    """POST /tasks/:id/cancel; on an ended task it changes nothing and says 0."""
    task_id = task_of(service, request)["id"]
    count = service.runner.cancel(task_id)
    status = service.tasks.status(task_id)[0]
    return json_response(
        200, {"id": task_id, "status": status, "canceledPrompts": count}
    )


def set_visibility(service: Service, request: Request) -> Response:
    """PATCH /tasks/:id/visibility"""
    task_id = task_of(service, request)["id"]
    visibility = request.json_object().get("visibility")
    require(
        visibility in VISIBILITIES,
        "visibility must be one of %s" % ", ".join(VISIBILITIES),
    )
    service.database.write(
        "UPDATE tasks SET visibility=? WHERE id=?", visibility, task_id
    )
    answer = {"visibility": visibility}
    if visibility == "public":
        answer["shareUrl"] = "%s/share/%s" % (service.origin, task_id)
    return json_response(200, answer)


def delete_task(service: Service, request: Request) -> Response:
    """DELETE /tasks/:id -> 204; what still ran is canceled."""
    task_id = task_of(service, request)["id"]
    service.runner.cancel(task_id)
    service.tasks.delete(task_id)
    return no_content()


def answer_question(service: Service, request: Request) -> Response:
    """POST /tasks/:id/answer (undocumented); 409 when nothing waits for this answer."""
    task_id = task_of(service, request)["id"]
    body = request.json_object()
    message = "answers must be a list of objects"
    replies = list_of(dict, body.get("answers", [body]), message)
    require(replies, message)
    question = service.runner.question(task_id)
    for reply in replies:
        if question is None or not question.is_meant_by(reply):
            continue
        if question.resolve(_read_answer(question, reply)):
            return json_response(200, {"id": task_id, "status": "running"})
    raise ApiError(409, "conflict", "nothing waits for this answer")


def _read_answer(question: Question, reply: JsonObject) -> str:
    """Return the answer of a reply as the text that the prompt gets."""
    answer = reply.get("answer")
    if not isinstance(answer, dict):
        raise validation_error(
            "answer must be an object with selectedOptions, customResponse or both"
        )
    words = [
        _option(question, index) for index in _list_field(answer, "selectedOptions")
    ]
    custom = answer.get("customResponse")
    if custom is not None and not isinstance(custom, str):
        raise validation_error("customResponse must be a string")
    text = ", ".join(words + [custom] if custom else words)
    require(text, "answer is empty")
    return text


def _option(question: Question, index: object) -> str:
    # A bool is an int to isinstance, but no index.
    if type(index) is not int or not 0 <= index < len(question.options):
        raise validation_error(
            "selectedOptions must be a list of indexes from 0 to %d"
            % (len(question.options) - 1)
        )
    return question.options[index]


def _list_field(body: JsonObject, name: str) -> list[object]:
    value = body.get(name)
    return list_of(object, [] if value is None else value, "%s must be a list" % name)
