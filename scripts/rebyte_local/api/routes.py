"""Path -> function; and what stands before every function: the Host header, the key, faults."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from urllib.parse import unquote

from rebyte_local.api import (
    artifacts,
    computers,
    credits,
    events,
    files,
    tasks,
    webhooks,
)
from rebyte_local.api.checks import check_key
from rebyte_local.faults import Faults
from rebyte_local.http.messages import (
    ApiError,
    DropConnection,
    Request,
    Response,
    json_response,
)
from rebyte_local.pages import views
from rebyte_local.service import Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    View = Callable[[Service, Request], Response]


def get_health(service: Service, request: Request) -> Response:
    """GET /health, without the key."""
    return json_response(200, {"status": "ok", "service": "rebyte-local"})


ROUTES: tuple[tuple[str, str, View], ...] = (
    ("GET", "/health", get_health),
    # tasks
    ("POST", "/v1/tasks", tasks.create_task),
    ("GET", "/v1/tasks", tasks.list_tasks),
    ("GET", "/v1/tasks/*", tasks.get_task),
    ("POST", "/v1/tasks/*/prompts", tasks.follow_up),
    ("POST", "/v1/tasks/*/cancel", tasks.cancel_task),
    ("GET", "/v1/tasks/*/events", events.stream_events),
    ("PATCH", "/v1/tasks/*/visibility", tasks.set_visibility),
    ("DELETE", "/v1/tasks/*", tasks.delete_task),
    ("GET", "/v1/tasks/*/content", events.get_content),
    ("GET", "/v1/tasks/*/prompts/*/events", events.list_prompt_events),
    ("POST", "/v1/tasks/*/answer", tasks.answer_question),
    # files
    ("POST", "/v1/files", files.create_upload),
    ("PUT", "/storage/files/*/*", files.receive_file),
    # artifacts
    ("GET", "/v1/workspaces/*/artifacts", artifacts.list_artifacts),
    ("GET", "/v1/workspaces/*/artifacts/*", artifacts.get_artifact),
    ("POST", "/v1/workspaces/*/artifacts", artifacts.upload_artifacts),
    ("POST", "/v1/workspaces/*/artifacts/upload-url", artifacts.request_uploads),
    ("DELETE", "/v1/workspaces/*/artifacts/*", artifacts.delete_artifact),
    ("DELETE", "/v1/workspaces/*/artifacts", artifacts.delete_artifacts),
    ("PUT", "/storage/artifacts/*/*", artifacts.receive_artifact),
    ("GET", "/storage/artifacts/*/*", artifacts.send_artifact),
    # computers
    ("POST", "/v1/agent-computers", computers.create_computer),
    ("GET", "/v1/agent-computers", computers.list_computers),
    ("GET", "/v1/agent-computers/*", computers.get_computer),
    ("PATCH", "/v1/agent-computers/*", computers.update_computer),
    ("DELETE", "/v1/agent-computers/*", computers.delete_computer),
    # webhooks
    ("POST", "/v1/webhooks", webhooks.create_webhook),
    ("GET", "/v1/webhooks", webhooks.list_webhooks),
    ("GET", "/v1/webhooks/public_key", webhooks.get_webhook_key),
    ("GET", "/v1/webhooks/*", webhooks.get_webhook),
    ("DELETE", "/v1/webhooks/*", webhooks.delete_webhook),
    # credits
    ("GET", "/v1/billing/credits", credits.get_credits),
    # pages
    ("GET", "/", views.show_list),
    ("GET", "/run/*", views.show_task),
    ("GET", "/run/*/stream", views.stream_task),
    ("GET", "/agent/computer/*", views.show_computer),
    ("GET", "/share/*", views.show_task),
    ("GET", "/share/*/stream", views.stream_task),
)
STARTS = (tasks.create_task, tasks.follow_up, computers.create_computer)
LOOPBACK_HOST = re.compile(
    r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE
)
HTML_PAGE = (
    "<html>\r\n<head><title>%s</title></head>\r\n"
    "<body><center><h1>%s</h1></center><hr><center>nginx</center></body>\r\n</html>\r\n"
)


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", "([^/]*)"))


TABLE = [(method, _compile(pattern), view) for method, pattern, view in ROUTES]


def find_route(method: str, path: str) -> tuple[View, list[str]]:
    """Return (function, path parameters); raises ApiError 404, or 405 for another method."""
    allowed = []
    for known_method, pattern, view in TABLE:
        match = pattern.fullmatch(path)
        if match and known_method == method:
            try:
                return view, [unquote(text, errors="strict") for text in match.groups()]
            except UnicodeDecodeError:
                raise ApiError(400, "bad_request", "the path is not UTF-8") from None
        if match:
            allowed.append(known_method)
    if allowed:
        raise ApiError(
            405,
            "method_not_allowed",
            "%s is not allowed here" % method,
            {"Allow": ", ".join(sorted(allowed))},
        )
    raise ApiError(404, "not_found", "Route %s %s not found" % (method, path))


def respond(service: Service, request: Request) -> Response:
    """Return the answer to a request; raises ApiError or DropConnection."""
    # A page elsewhere may have a name that leads to this machine.
    if not LOOPBACK_HOST.fullmatch(request.header("Host")):
        raise ApiError(403, "forbidden", "the Host header must name this machine")
    if not request.path.startswith("/v1/"):
        view, request.params = find_route(request.method, request.path)
        return view(service, request)
    check_key(service, request)
    line = "%s %s" % (request.method, request.path)
    refusal = _fault_response(service.faults, request.method, line)
    if refusal:
        return refusal
    view, request.params = find_route(request.method, request.path)
    response = view(service, request)
    if view in STARTS:
        # The other starts are disturbed only when the fault names them.
        _disturb_start(
            service.faults, response, line, by_default=view is tasks.create_task
        )
    return response


def _disturb_start(
    faults: Faults, response: Response, line: str, by_default: bool
) -> None:
    """Lose the answer to a start that was accepted, or cut it, when a fault says so."""
    if faults.hits("drop-after-accept", line, by_default):
        raise DropConnection
    if faults.applies_to("cut-answer", line, by_default):
        response.body = response.body[: len(response.body) // 2]


def _fault_response(faults: Faults, method: str, line: str) -> Response | None:
    """Return the answer of a fault that stands before everything, or None."""
    retry_after = "too-many-retry-after"
    if (
        faults.applies_to(retry_after, line)
        and faults.count(retry_after, line) % 2 == 0
    ):
        return _too_many({"Retry-After": "%d" % math.ceil(faults.value(retry_after))})
    if faults.hits("too-many", line):
        return _too_many({})
    if faults.hits("server-error", line):
        return ApiError(500, "internal_error", "Internal server error").response
    if faults.hits("html-error", line):
        return _html_error(502, "502 Bad Gateway")
    if method == "GET" and faults.hits("html-now-and-then", line):
        return _html_error(503, "503 Service Temporarily Unavailable")
    return None


def _too_many(headers: dict[str, str]) -> Response:
    return ApiError(429, "rate_limited", "Too many requests", headers).response


def _html_error(status: int, title: str) -> Response:
    return Response(status, (HTML_PAGE % (title, title)).encode("ascii"), "text/html")
