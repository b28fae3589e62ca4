"""What a person watches in a browser: the list, a task as it runs, a shared task, a computer."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Generator
from html import escape

from rebyte_local.api.artifacts import signed_download
from rebyte_local.api.checks import check_page_access, or_404
from rebyte_local.api.computers import computer_of, computer_status
from rebyte_local.api.events import EVENT_STREAM, HEARTBEAT, heartbeat_seconds
from rebyte_local.api.tasks import show_title
from rebyte_local.formats import JsonObject, iso_milliseconds
from rebyte_local.http.messages import Request, Response, StreamResponse
from rebyte_local.pages import templates
from rebyte_local.pages.bars import Scale, bars_of, draw
from rebyte_local.pages.event_text import Piece, readable_event
from rebyte_local.service import Service
from rebyte_local.storage.task_table import OPEN_STATUSES

# Control characters, zero widths, bidi marks, surrogates and tags.
UNCLEAN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
POLICY = (
    "default-src 'none'; style-src 'nonce-%s'; script-src 'nonce-%s'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
LIST_ROWS = 100
OUTPUT_CHARS = 512 * 1024  # of a prompt's events; the end is what matters
TRUNCATED = Piece("note", "[earlier output left out]\n")


def _page(page_title: str, body: str, head: str = "", **parts: str) -> Response:
    """Fill the body's template and return the page; nothing runs in it that is not ours."""
    nonce = secrets.token_urlsafe(16)
    headers = {
        "Content-Security-Policy": POLICY % (nonce, nonce),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
    }
    html = templates.PAGE.format(
        nonce=nonce,
        style=templates.STYLE,
        title=page_title,
        head=head,
        body=body.format(nonce=nonce, **parts),
    )
    return Response(
        200, html.encode("utf-8", "replace"), "text/html; charset=utf-8", headers
    )


def _visible(text: str) -> str:
    """Return foreign text without characters that hide or reorder what is read."""
    return UNCLEAN.sub("\ufffd", text)


def _escaped(text: str) -> str:
    return escape(_visible(text))


def _title(service: Service, task: JsonObject) -> str:
    return _escaped(show_title(service, task)) or "(no title)"


def _created(task: JsonObject) -> str:
    return iso_milliseconds(task["created"])[:19].replace("T", " ")


def _show_program(program: JsonObject) -> str:
    """Return a line about a program that is here: is it on, and what it is not kept from."""
    words = "%s %s" % (program["name"], program.get("version") or "")
    fences = ", ".join(program.get("notKeptFrom") or ())
    state = "not switched on"
    if fences:
        state = "%s; not kept from: %s" % (program["level"], fences)
    if program.get("problem"):
        state += "; " + program["problem"]
    return templates.PROGRAM_ROW.format(_escaped("%s: %s" % (words.strip(), state)))


def _list_page(
    service: Service,
    heading: str,
    beside: str,
    tasks: list[JsonObject],
    programs: str = "",
) -> Response:
    bars = bars_of(service, tasks)
    scale = Scale(bars)
    rows = [
        templates.LIST_ROW.format(
            address=service.page_path("/run/" + task["id"]),
            title=_title(service, task),
            badge=templates.BADGE.format(bar.standing),
            bar=draw(bar, scale),
            seconds="%.1f s" % bar.seconds,
            created=_created(task),
        )
        for task, bar in zip(tasks, bars)
    ]
    is_live = any(bar.standing in OPEN_STATUSES for bar in bars)
    return _page(
        heading,
        templates.LIST_BODY,
        head=templates.REFRESH if is_live else "",
        live="yes" if is_live else "",
        heading=heading,
        beside=beside,
        rows="".join(rows),
        scale=scale.words() if tasks else "",
        legend=templates.LEGEND if tasks else "",
        programs=programs,
        script=templates.LIST_SCRIPT,
    )


def show_list(service: Service, request: Request) -> Response:
    """GET /: the tasks, newest first."""
    check_page_access(service, request, "/")
    tasks, total = service.tasks.page(LIST_ROWS, 0)
    return _list_page(
        service,
        "Tasks on this machine",
        ('<span class="soft">%d in all, newest first</span>' % total),
        tasks,
        "".join(map(_show_program, service.programs)),
    )


def show_computer(service: Service, request: Request) -> Response:
    """GET /agent/computer/:id: how a computer stands, and its tasks, newest first."""
    check_page_access(service, request, request.path)
    computer = computer_of(service, request)
    badge = templates.BADGE.format(computer_status(service, computer))
    return _list_page(
        service,
        _escaped(computer["name"]),
        badge,
        service.tasks.in_workspace(computer["id"]),
    )


def _task_of(service: Service, request: Request) -> JsonObject:
    """Return the task of a page; raises ApiError 404, or 401 without token and key.

    /share shows public tasks to everybody, and no others.
    """
    task_id = request.params[0].lower()
    task = service.tasks.get(task_id)
    if request.path.startswith("/run/"):
        check_page_access(service, request, "/run/" + task_id)
    elif task and task["visibility"] != "public":
        task = None
    return or_404(task, "Task")


def show_task(service: Service, request: Request) -> Response:
    """GET /run/:id, the address that create gives, and GET /share/:id."""
    task = _task_of(service, request)
    status = service.tasks.status(task["id"])[0]
    prompts = ""
    stream = ""
    for prompt in service.tasks.prompts(task["id"]):
        lines = service.events.tail(prompt["id"], OUTPUT_CHARS)
        prompts += _show_prompt(prompt, lines)
        if not stream and prompt["status"] in OPEN_STATUSES:
            seen = json.loads(lines[-1])["seq"] + 1 if lines else 0
            path = service.page_path(request.path) + "&prompt=%s&seen=%d" % (
                prompt["id"],
                seen,
            )
            stream = path.replace("?", "/stream?")
    title = _title(service, task)
    return _page(
        "%s: %s" % (status, title),
        templates.TASK_BODY,
        head=templates.REFRESH if stream else "",
        title=title,
        status=status,
        stream=escape(stream),
        kind=_escaped(_kind(task)),
        created=_created(task),
        id=task["id"],
        prompts=prompts,
        files=_show_files(service, task["workspace"]),
        script=templates.SCRIPT,
    )


def _kind(task: JsonObject) -> str:
    """Return who works on a task."""
    if task["rehearsal"]:
        return "rehearsal, no model"
    return str(task.get("program") or "agent program")


def _show_prompt(prompt: JsonObject, lines: list[str]) -> str:
    pieces = list(map(readable_event, lines))
    if lines and json.loads(lines[0])["seq"] > 0:
        pieces.insert(0, TRUNCATED)
    output = map(_show_piece, pieces)
    return templates.PROMPT_PART.format(
        id=prompt["id"],
        text=_escaped(prompt["text"].rstrip()),
        output="".join(output),
        status=prompt["status"],
    )


def _show_piece(piece: Piece) -> str:
    """Return a piece as HTML: folded where it has a line that stands for it."""
    if not piece.summary:
        return templates.OUTPUT_PIECE.format(piece.kind, _escaped(piece.text))
    return templates.FOLDED_PIECE.format(
        piece.kind, _escaped(piece.summary), _escaped(piece.text)
    )


def _show_files(service: Service, workspace: str) -> str:
    rows = [
        templates.FILE_ROW.format(
            address=escape(signed_download(service, workspace, artifact["name"])),
            name=_escaped(artifact["name"]),
            size=artifact["size"],
        )
        for artifact in service.artifacts.in_workspace(workspace)
    ]
    return templates.FILES_PART.format(rows="".join(rows)) if rows else ""


def stream_task(service: Service, request: Request) -> Response:
    """GET /run/:id/stream and /share/:id/stream: what the page listens to."""
    task = _task_of(service, request)
    return StreamResponse(
        _frames(
            service,
            task["id"],
            request.query.get("prompt", ""),
            request.number("seen", 0),
        ),
        EVENT_STREAM,
        dict(STREAM_HEADERS),
    )


def _frames(
    service: Service, task_id: str, prompt_id: str, seen: int
) -> Generator[bytes, None, None]:
    """Yield pieces of text for the page until nothing of the task runs; then its status.

    They begin at the `seen`-th event of a prompt; without a prompt, with the first.
    """
    prompts = service.tasks.prompts(task_id)
    ids = [prompt["id"] for prompt in prompts]
    if prompt_id in ids:
        ids = ids[ids.index(prompt_id) :]
    for index, current in enumerate(ids):
        start = seen if index == 0 else 0
        for lines in service.events.follow(current, heartbeat_seconds(service), start):
            pieces = [
                list(map(_visible, piece)) for piece in map(readable_event, lines)
            ]
            yield (
                b"data: %s\n\n"
                % json.dumps({"prompt": current, "pieces": pieces}).encode("ascii")
                if lines
                else HEARTBEAT
            )
    status = service.tasks.status(task_id)[0]
    yield b"event: end\ndata: %s\n\n" % json.dumps({"status": status}).encode("ascii")
