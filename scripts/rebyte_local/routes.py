"""Path -> function, in the order of the nouns; and what stands before every function: host, key, faults."""

from __future__ import annotations

import hmac
import math
import re
from urllib.parse import unquote

from rebyte_local import artifacts, computers, credits, files, pages, streams, tasks, webhooks
from rebyte_local.files import KEY_HEADERS
from rebyte_local.messages import Answer, ConnectionCut, Refusal, json_answer

ROUTES = (
    (
        "GET",
        "/health",
        lambda service, request: json_answer(200, {"status": "ok", "service": "rebyte-local"}),
    ),
    # tasks
    ("POST", "/v1/tasks", tasks.create_task),
    ("GET", "/v1/tasks", tasks.list_tasks),
    ("GET", "/v1/tasks/*", tasks.get_task),
    ("POST", "/v1/tasks/*/prompts", tasks.follow_up),
    ("POST", "/v1/tasks/*/cancel", tasks.cancel_task),
    ("GET", "/v1/tasks/*/events", streams.stream_events),
    ("PATCH", "/v1/tasks/*/visibility", tasks.set_visibility),
    ("DELETE", "/v1/tasks/*", tasks.delete_task),
    ("GET", "/v1/tasks/*/content", streams.get_content),
    ("GET", "/v1/tasks/*/prompts/*/events", streams.list_prompt_events),
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
    ("GET", "/", pages.show_list),
    ("GET", "/run/*", pages.show_task),
    ("GET", "/run/*/stream", pages.stream_task),
    ("GET", "/agent/computer/*", pages.show_computer),
    ("GET", "/share/*", pages.show_task),
    ("GET", "/share/*/stream", pages.stream_task),
)
STARTS = (tasks.create_task, tasks.follow_up, computers.create_computer)
LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)
HTML_PAGE = (
    "<html>\r\n<head><title>%s</title></head>\r\n"
    "<body><center><h1>%s</h1></center><hr><center>nginx</center></body>\r\n</html>\r\n"
)


def _compile(pattern):
    return re.compile(
        "/".join("([^/]*)" if part == "*" else re.escape(part) for part in pattern.split("/"))
    )


TABLE = [(method, _compile(pattern), function) for method, pattern, function in ROUTES]


def find_route(method, path):
    """(function, path parameters), or a Refusal: 404 no such route, 405 another method."""
    allowed = []
    for known, pattern, function in TABLE:
        match = pattern.fullmatch(path)
        if match and known == method:
            try:
                return function, [unquote(text, errors="strict") for text in match.groups()]
            except UnicodeDecodeError:
                raise Refusal(400, "bad_request", "the path is not UTF-8") from None
        if match:
            allowed.append(known)
    if allowed:
        raise Refusal(
            405,
            "method_not_allowed",
            "%s is not allowed here" % method,
            {"Allow": ", ".join(sorted(allowed))},
        )
    raise Refusal(404, "not_found", "Route %s %s not found" % (method, path))


def respond(service, request):
    """The answer to a request; raises Refusal or ConnectionCut."""
    if not LOOPBACK.fullmatch(
        request.headers.get("Host", "")
    ):  # a page elsewhere may have a name that leads here
        raise Refusal(403, "forbidden", "the Host header must name this machine")
    if not request.path.startswith("/v1/"):
        function, request.params = find_route(request.method, request.path)
        return function(service, request)
    _check_key(service, request)
    line = "%s %s" % (request.method, request.path)
    refused = _answer_of_fault(service.faults, request, line)
    if refused:
        return refused
    function, request.params = find_route(request.method, request.path)
    answer = function(service, request)
    if function in STARTS:
        is_create = (
            function is tasks.create_task
        )  # the other starts are disturbed only when they are named
        if service.faults.strikes("drop-after-accept", line, is_create):
            raise ConnectionCut()
        if service.faults.concerns("cut-answer", line, is_create):
            answer.body = answer.body[: answer.length // 2]
    return answer


def _check_key(service, request):
    given = next((value for value in map(request.headers.get, KEY_HEADERS) if value), None)
    if given is None:
        raise Refusal(401, "missing_api_key", "API key is required in the API_KEY header")
    if not hmac.compare_digest(
        given.strip().encode("utf-8", "replace"), service.key.encode("utf-8")
    ):
        raise Refusal(401, "invalid_api_key", "Invalid API key")


def _answer_of_fault(faults, request, line):
    """The answer of a fault that stands before everything, or None."""
    if (
        faults.concerns("too-many-retry-after", line)
        and faults.count("too-many-retry-after", line) % 2 == 0
    ):
        return _too_many({"Retry-After": "%d" % math.ceil(faults.value("too-many-retry-after"))})
    if faults.strikes("too-many", line):
        return _too_many(None)
    if faults.strikes("server-error", line):
        return Refusal(500, "internal_error", "Internal server error").answer
    if faults.strikes("html-error", line):
        return _html_error(502, "502 Bad Gateway")
    if request.method == "GET" and faults.strikes("html-now-and-then", line):
        return _html_error(503, "503 Service Temporarily Unavailable")
    return None


def _too_many(headers):
    return Refusal(429, "rate_limited", "Too many requests", headers).answer


def _html_error(status, words):
    return Answer(status, (HTML_PAGE % (words, words)).encode("ascii"), "text/html")
