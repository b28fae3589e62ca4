"""Tasks: create, list, get, follow up, cancel, answer, share, delete; and the documented limits of what they take."""

from __future__ import annotations

import re

from rebyte_local import computers, credits
from rebyte_local.faults import HOSTILE_TEXT
from rebyte_local.files import check_filename
from rebyte_local.messages import (
    Refusal,
    check_text,
    found,
    invalid,
    is_uuid,
    json_answer,
    list_answer,
    no_content,
)
from rebyte_local.store import MICROSECONDS, long_form, now_us, short_form
from rebyte_local.workspaces import workspace_path

PROMPT_LIMIT_CHARS = 100000
EXECUTORS = ("claude", "gemini", "codex", "opencode")
VISIBILITIES = ("private", "shared", "public")
SKILLS_LIMIT = 50
FILES_LIMIT = 100
REPOSITORY = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII
)
BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@#=-]{0,249}", re.ASCII)
ODD_WORDS = {"pending": "queued", "running": "processing"}


def create_task(service, request):
    """POST /tasks -> 201; blocks until the workspace exists."""
    body = request.body.json_object()
    prompt, executor, model = (
        _check_prompt(body),
        _check_executor(body),
        check_text(body, "model", 100),
    )
    workspace = _check_workspace_id(body)
    setup = dict(_check_setup(service, body), **_check_repository(body))
    found("Workspace", workspace is None or service.store.workspace_exists(workspace))
    computer = computers.find_computer(service, workspace)
    if computer and computers.state_of(service, computer)[0] == "error":
        raise invalid("workspaceId: this agent computer could not be provisioned")
    credits.pay_start(service.store)
    task, first = service.store.add_task(
        prompt, setup, executor, model, workspace, rehearsal=not service.agent
    )
    workspace_path(service, task["workspace"])
    service.timelines.begin(first["id"])
    service.deliveries.tell("task.created", task["id"])
    service.runner.submit(task["id"], first["id"])
    service.stopping.wait(service.faults.value("slow-create", 0))
    return json_answer(
        201,
        mark(
            {
                "id": task["id"],
                "workspaceId": task["workspace"],
                "url": _url(service, task),
                "status": "queued" if service.faults.is_on("odd-status") else "running",
                "createdAt": short_form(task["created"]),
            },
            task,
        ),
    )


def _check_prompt(body):
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise invalid("prompt is required and must be a non-empty string")
    if len(prompt) > PROMPT_LIMIT_CHARS:
        raise invalid("prompt is longer than %d characters" % PROMPT_LIMIT_CHARS)
    return prompt


def _check_executor(body):
    executor = check_text(body, "executor")
    if executor is not None and executor not in EXECUTORS:
        raise invalid("executor must be one of %s" % ", ".join(EXECUTORS))
    return executor


def _check_workspace_id(body):
    value = body.get("workspaceId")
    if value is not None and not is_uuid(value):
        raise invalid("workspaceId must be a UUID")
    return value and value.lower()


def _check_repository(body):
    repository, branch = check_text(body, "githubUrl"), check_text(body, "branchName", 250)
    if repository is not None and (not REPOSITORY.fullmatch(repository) or ".." in repository):
        raise invalid("githubUrl must look like owner/repo")
    if branch is not None and (not BRANCH.fullmatch(branch) or ".." in branch):
        raise invalid("branchName is not a branch name")
    return {"repository": repository, "branch": branch or "main"}


def _check_setup(service, body):
    """What a prompt brings along: uploaded files, and skills, of which any text is one, since there are several spellings."""
    files = _check_files(service, [] if body.get("files") is None else body["files"])
    skills = [] if body.get("skills") is None else body["skills"]
    if not isinstance(skills, list) or len(skills) > SKILLS_LIMIT:
        raise invalid("skills must be a list of at most %d strings" % SKILLS_LIMIT)
    if not all(isinstance(skill, str) and 0 < len(skill) <= 500 for skill in skills):
        raise invalid("each skill must be a non-empty string")
    return {"files": files, "skills": skills}


def _check_files(service, files):
    if (
        not isinstance(files, list)
        or len(files) > FILES_LIMIT
        or not all(isinstance(file, dict) for file in files)
    ):
        raise invalid(
            "files must be a list of at most %d objects with id and filename" % FILES_LIMIT
        )
    names = [check_filename(file.get("filename"), "files[].filename") for file in files]
    if len(set(names)) != len(names):
        raise invalid("two files have the same filename")
    if not all(is_uuid(file.get("id")) for file in files):
        raise invalid("files[].id must be the id that POST /files gave")
    for file in files:
        row = service.store.row("SELECT size FROM files WHERE id=?", file["id"].lower())
        if row is None:
            raise invalid("files: no file has the id %s" % file["id"])
        if row["size"] is None:
            raise invalid(
                "files: %s has no content yet; PUT it to its uploadUrl first" % file["id"]
            )
    return [{"id": file["id"].lower(), "filename": file["filename"]} for file in files]


def find_task(service, request):
    """The task of a /tasks/:id route, or 404, also while late-visible hides it."""
    task = found("Task", service.store.task(request.params[0].lower()))
    found(
        "Task", now_us() - task["created"] >= service.faults.value("late-visible", 0) * MICROSECONDS
    )
    return task


def _url(service, task):
    return "%s/run/%s" % (service.origin, task["id"])


def mark(answer, task):
    """The answer, which says so when the task is a rehearsal."""
    return dict(answer, rehearsal=True) if task["rehearsal"] else answer


def shown_status(service, word):
    """A status as it is told, which odd-status may change."""
    return ODD_WORDS.get(word, word) if service.faults.is_on("odd-status") else word


def show_title(service, task):
    """A title as it is told, which hostile-text may change."""
    return HOSTILE_TEXT + task["title"] if service.faults.is_on("hostile-text") else task["title"]


def show_prompt(service, prompt):
    """A prompt as GET /tasks/:id lists it."""
    return {
        "id": prompt["id"],
        "status": shown_status(service, prompt["status"]),
        "submittedAt": long_form(prompt["submitted"]),
        "completedAt": long_form(prompt["completed"]),
    }


def _show(service, task, completed, **more):
    return mark(
        dict(
            {
                "id": task["id"],
                "url": _url(service, task),
                "title": show_title(service, task),
                "executor": task["executor"],
                "model": task["model"],
                "createdAt": long_form(task["created"]),
                "completedAt": long_form(completed),
            },
            **more,
        ),
        task,
    )


def list_tasks(service, request):
    """GET /tasks?limit&offset, newest first; items have neither status nor workspaceId."""

    def show_all(tasks):
        """The tasks as the list has them."""
        ends = service.store.ends([task["id"] for task in tasks])
        return [_show(service, task, ends[task["id"]][1]) for task in tasks]

    return list_answer(
        request, lambda limit, offset: service.store.page("tasks", limit, offset), show_all
    )


def get_task(service, request):
    """GET /tasks/:id, prompts newest first, without workspaceId."""
    task = find_task(service, request)
    status, completed = service.store.end(task["id"])
    prompts = [
        show_prompt(service, prompt) for prompt in reversed(service.store.prompts(task["id"]))
    ]
    return json_answer(
        200, _show(service, task, completed, status=shown_status(service, status), prompts=prompts)
    )


def follow_up(service, request):
    """POST /tasks/:id/prompts -> 201; runs after the task's earlier prompts."""
    task, body = find_task(service, request), request.body.json_object()
    prompt, setup = _check_prompt(body), _check_setup(service, body)
    credits.pay_start(service.store)
    prompt_id = service.store.add_prompt(task["id"], prompt, setup)["id"]
    service.timelines.begin(prompt_id)
    service.runner.submit(task["id"], prompt_id)
    return json_answer(201, mark({"promptId": prompt_id}, task))


def cancel_task(service, request):
    """POST /tasks/:id/cancel; on an ended task it changes nothing and says 0."""
    task_id = find_task(service, request)["id"]
    count = service.runner.cancel(task_id)
    return json_answer(
        200, {"id": task_id, "status": service.store.end(task_id)[0], "canceledPrompts": count}
    )


def set_visibility(service, request):
    """PATCH /tasks/:id/visibility"""
    task_id, visibility = (
        find_task(service, request)["id"],
        request.body.json_object().get("visibility"),
    )
    if visibility not in VISIBILITIES:
        raise invalid("visibility must be one of %s" % ", ".join(VISIBILITIES))
    service.store.write(("UPDATE tasks SET visibility=? WHERE id=?", visibility, task_id))
    shared = (
        {"shareUrl": "%s/share/%s" % (service.origin, task_id)} if visibility == "public" else {}
    )
    return json_answer(200, dict(shared, visibility=visibility))


def delete_task(service, request):
    """DELETE /tasks/:id -> 204; what still ran is canceled, and the rows stay, but nobody finds them."""
    task_id = find_task(service, request)["id"]
    service.runner.cancel(task_id)
    service.store.write(("UPDATE tasks SET deleted=1 WHERE id=?", task_id))
    return no_content()


def answer_question(service, request):
    """POST /tasks/:id/answer (undocumented); 409 when nothing waits for this answer."""
    task_id, body = find_task(service, request)["id"], request.body.json_object()
    replies = body.get("answers", [body])
    if (
        not isinstance(replies, list)
        or not replies
        or not all(isinstance(given, dict) for given in replies)
    ):
        raise invalid("answers must be a list of objects")
    run = service.runner.find(task_id)
    question = run and run.question
    for given in replies if question else ():
        if (str(given.get("messageId")), str(given.get("actionId"))) == (
            question.message_id,
            str(question.action_id),
        ):
            if question.settle(_read_answer(question, given.get("answer"))):
                return json_answer(200, {"id": task_id, "status": "running"})
    raise Refusal(409, "conflict", "nothing waits for this answer")


def _read_answer(question, answer):
    if not isinstance(answer, dict):
        raise invalid("answer must be an object with selectedOptions, customResponse or both")
    chosen, custom = answer.get("selectedOptions", []), answer.get("customResponse")
    last = len(question.options) - 1
    if not isinstance(chosen, list) or not all(
        type(index) is int and 0 <= index <= last for index in chosen
    ):
        raise invalid("selectedOptions must be a list of indexes from 0 to %d" % last)
    if custom is not None and not isinstance(custom, str):
        raise invalid("customResponse must be a string")
    if not chosen and not custom:
        raise invalid("answer is empty")
    return ", ".join([question.options[index] for index in chosen] + ([custom] if custom else []))
