"""Webhooks: create, list, get, delete, public key; and deliveries, in order for each, with retries, to this machine only."""

from __future__ import annotations

import http.client
import json
import re
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from rebyte_local.messages import Refusal, check_text, found, invalid, json_answer, no_content
from rebyte_local.store import long_form, now_us

EVENTS = ("task.created", "task.running", "task.completed", "task.failed", "task.canceled")
HOOKS_MOST = 3
URL_LIMIT_CHARS = 2048
RETRY_SECONDS = (0.25, 1.0, 4.0)  # after the first try
RECEIVER_SECONDS = 5.0
FAILURES_MOST = 20  # in a row; then the webhook is switched off
HERE = re.compile(r"localhost|127(\.\d{1,3}){3}|::1", re.IGNORECASE)
ADDRESSES = {"localhost": ("127.0.0.1", "::1")}  # never asked of a resolver
NOT_HERE_WORDS = "not delivered: this server calls addresses of this machine only"
# A well-formed key that nothing is signed with: how the real service signs, and the shape of this answer, are not known.
PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0MB75VuPUqY/jRL84R/x
QwGbUteS/Pc030zHiwnbhSULyiRYwKbeYt1IO0J6yRyjdKsUeSvmtcEULYEs633n
7qQTkISvydgGZt9i00YJk67Zw1b9v0ksWpyoX47vXQX1KUuR8hQa9nm/3NgnB+8L
HvcYywljW1GvM8E+m8L49PUpUkaonCERzMvKrWfmmwFDB4SBtalkVcex1xB1Dgr2
al6Lou6EaEaFMKChGC9pnWJOsJ7//DpN/quCKiyg1uWaVpGlT7Rx9PHWs3jBhtMk
SB0Ei0C2sfJsHbPk8B0Bu1ed46Z2JufcLLGX+6BetMTioRzXt+RZecH9Fh31wuvr
nwIDAQAB
-----END PUBLIC KEY-----
"""


def create_webhook(service, request):
    """POST /webhooks -> 201; the same address again gives the one that is there, as documented."""
    body = request.body.json_object()
    url, events = _check_url(body.get("url")), _check_events(body.get("events"))
    description, secret = check_text(body, "description"), check_text(body, "secret")
    if secret is not None and not re.fullmatch(r"[\x20-\x7e]+", secret):
        raise invalid("secret must be printable ASCII: it travels in a header")
    known = [hook for hook in _all(service.store) if hook["url"] == url]
    if known:
        return json_answer(200, _show(known[0]))
    hook_id, facts = (
        str(uuid.uuid4()),
        {"events": events, "description": description, "secret": secret},
    )
    if service.store.write(
        (
            "INSERT INTO webhooks(id,url,created,facts) SELECT ?,?,?,? WHERE (SELECT count(*) FROM webhooks)<?",
            hook_id,
            url,
            now_us(),
            json.dumps(facts),
            HOOKS_MOST,
        )
    ) == [0]:
        raise Refusal(
            400, "limit_exceeded", "An organization may have at most %d webhooks" % HOOKS_MOST
        )
    return json_answer(201, _show(_find(service.store, hook_id)))


def list_webhooks(service, request):
    """GET /webhooks; the list is called webhooks, as others saw it."""
    return json_answer(200, {"webhooks": [_show(hook) for hook in _all(service.store)]})


def get_webhook(service, request):
    """GET /webhooks/:id"""
    return json_answer(200, _show(_find_or_refuse(service, request)))


def delete_webhook(service, request):
    """DELETE /webhooks/:id -> 204; what waits for delivery is dropped."""
    service.store.write(
        ("DELETE FROM webhooks WHERE id=?", _find_or_refuse(service, request)["id"])
    )
    return no_content()


def get_webhook_key(service, request):
    """GET /webhooks/public_key; deliveries of this server carry no signature."""
    return json_answer(200, {"publicKey": PUBLIC_KEY, "algorithm": "RSA-SHA256", "rehearsal": True})


def _all(store):
    return store.rows("SELECT * FROM webhooks ORDER BY number")


def _find(store, hook_id):
    return store.row("SELECT * FROM webhooks WHERE id=?", hook_id)


def _find_or_refuse(service, request):
    return found("Webhook", _find(service.store, request.params[0].lower()))


def _show(hook):
    """A webhook as the service tells it, never with its secret."""
    shown = {
        "id": hook["id"],
        "url": hook["url"],
        "events": hook["events"],
        "description": hook["description"],
        "hasSecret": hook["secret"] is not None,
        "isActive": bool(hook["active"]),
        "createdAt": long_form(hook["created"]),
        "lastTriggeredAt": long_form(hook["triggered"]),
        "failureCount": hook["failures"],
        "rehearsal": True,
    }
    return shown if _is_here(urlsplit(hook["url"]).hostname) else dict(shown, note=NOT_HERE_WORDS)


def _check_url(url):
    if (
        not isinstance(url, str)
        or len(url) > URL_LIMIT_CHARS
        or not re.fullmatch(r"[\x21-\x7e]+", url)
    ):
        raise invalid("url is required and must be an https address")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise invalid("url is not a valid address") from None
    if parts.username is not None or parts.password is not None or not host or port == 0:
        raise invalid("url must name a host, without user name and password")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(host)):
        raise invalid("url must begin with https://; plain http is taken for this machine only")
    return url


def _check_events(events):
    if (
        not isinstance(events, list)
        or not events
        or not all(isinstance(event, str) for event in events)
    ):
        raise invalid("events is required and must be a list of: %s" % ", ".join(EVENTS))
    unknown = sorted(set(events) - set(EVENTS))
    if unknown:
        raise invalid(
            "events: there is no event %s; there are: %s" % (unknown[0][:50], ", ".join(EVENTS))
        )
    return list(dict.fromkeys(events))


def _is_here(host):
    return HERE.fullmatch(host) is not None


class Deliveries:
    """What is told to webhooks; each has a thread of its own once it has something to be told."""

    def __init__(self, store, stopping):
        self._store = store
        self._stopping = stopping
        self._lock = threading.Lock()
        self._lines = {}  # webhook id -> its thread
        self._running = set()  # tasks whose task.running was told and whose end was not

    def __repr__(self):
        return "Deliveries(%d lines)" % len(self._lines)

    def tell_running(self, task_id):
        """Tell that a task runs, once until its end is told."""
        with self._lock:
            told = task_id in self._running
            self._running.add(task_id)
        if not told:
            self.tell("task.running", task_id)

    def tell_end(self, task_id):
        """Tell how a task ended, unless more of its prompts are to run."""
        status, _ = self._store.end(task_id)
        if status != "running":
            with self._lock:
                self._running.discard(task_id)
            self.tell("task." + status, task_id)

    def tell(self, event, task_id):
        """Queue an event for every webhook that wants it."""
        message = {
            "event": event,
            "taskId": task_id,
            "timestamp": long_form(now_us()),
            "rehearsal": True,
        }
        for hook in _all(self._store):
            if (
                hook["active"]
                and event in hook["events"]
                and _is_here(urlsplit(hook["url"]).hostname)
            ):
                with self._lock:
                    line = self._lines.setdefault(hook["id"], ThreadPoolExecutor(max_workers=1))
                    line.submit(self._deliver, hook["id"], json.dumps(message).encode("ascii"))

    def _deliver(self, hook_id, body):
        for pause in (0.0,) + RETRY_SECONDS:
            hook = None if self._stopping.wait(pause) else _find(self._store, hook_id)
            if hook is None or not hook["active"]:
                return
            taken = send(hook["url"], hook["secret"], body)
            failures = 0 if taken else hook["failures"] + 1
            self._store.write(
                (
                    "UPDATE webhooks SET triggered=?, failures=?, active=? WHERE id=?",
                    now_us(),
                    failures,
                    int(failures < FAILURES_MOST),
                    hook_id,
                )
            )
            if taken:
                return

    def close(self):
        """Drop what was not delivered and end the threads; `stopping` is set by then."""
        with self._lock:
            lines, self._lines = self._lines, {}
        for line in lines.values():
            line.shutdown()


def send(url, secret, body):
    """POST a message to a receiver on this machine; True for a 2xx. No redirect is followed, no proxy asked."""
    parts = urlsplit(url)
    if not _is_here(parts.hostname):
        return False
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "rebyte-local",
        "Host": parts.netloc,
    }
    if secret is not None:
        headers["X-Webhook-Secret"] = secret
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    for address in ADDRESSES.get(parts.hostname.lower(), (parts.hostname,)):
        connection = kind(address, parts.port, timeout=RECEIVER_SECONDS)
        try:
            connection.request("POST", target, body, headers)
            return 200 <= connection.getresponse().status < 300
        except (OSError, http.client.HTTPException):
            pass  # the next address, or the next try
        finally:
            connection.close()
    return False
