"""Calls webhooks: in order for each, with retries, to addresses of this machine only."""

from __future__ import annotations

import http.client
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from rebyte_local.formats import JsonObject, iso_microseconds, now_us
from rebyte_local.storage.database import Database
from rebyte_local.storage.task_table import TaskTable

RETRY_SECONDS = (0.25, 1.0, 4.0)  # after the first try
RECEIVER_SECONDS = 5.0
FAILURES_MOST = 20  # in a row; then the webhook is switched off
LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1", re.IGNORECASE)
LOCALHOST_ADDRESSES = ("127.0.0.1", "::1")  # localhost is never asked of a resolver


def is_loopback(host: str | None) -> bool:
    """Return True for a name or address of this machine."""
    return LOOPBACK.fullmatch(host or "") is not None


class Deliveries:
    """Sends the events of tasks to webhooks, one after the other, in one thread."""

    def __init__(
        self, database: Database, tasks: TaskTable, stopping: threading.Event
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._stopping = stopping
        self._lock = threading.Lock()
        self._queue = ThreadPoolExecutor(max_workers=1)
        self._running: set[str] = (
            set()
        )  # tasks whose start was sent and whose end was not

    def send_running(self, task_id: str) -> None:
        """Send task.running, once until the task's end was sent."""
        with self._lock:
            if task_id in self._running:
                return
            self._running.add(task_id)
        self.send("task.running", task_id)

    def send_end(self, task_id: str) -> None:
        """Send how a task ended, unless more of its prompts are to run."""
        status = self._tasks.status(task_id)[0]
        if status == "running":
            return
        with self._lock:
            self._running.discard(task_id)
        self.send("task." + status, task_id)

    def send(self, event: str, task_id: str) -> None:
        """Queue an event for every webhook that wants it."""
        body = json.dumps(
            {
                "event": event,
                "taskId": task_id,
                "timestamp": iso_microseconds(now_us()),
                "rehearsal": True,
            }
        ).encode("ascii")
        for webhook in self._database.rows("SELECT * FROM webhooks WHERE active=1"):
            if event in webhook["events"] and is_loopback(
                urlsplit(webhook["url"]).hostname
            ):
                self._queue.submit(self._deliver, webhook["id"], body)

    def _deliver(self, webhook_id: str, body: bytes) -> None:
        for pause in (0.0, *RETRY_SECONDS):
            if self._stopping.wait(pause):
                return
            webhook = self._database.find("webhooks", webhook_id)
            if webhook is None or not webhook["active"] or self._try(webhook, body):
                return

    def _try(self, webhook: JsonObject, body: bytes) -> bool:
        is_taken = post(webhook["url"], webhook["secret"], body)
        failures = 0 if is_taken else webhook["failures"] + 1
        self._database.write(
            "UPDATE webhooks SET triggered=?, failures=?, active=? WHERE id=?",
            now_us(),
            failures,
            failures < FAILURES_MOST,
            webhook["id"],
        )
        return is_taken

    def close(self) -> None:
        """Drop what was not delivered and end the thread; `stopping` is set by then."""
        self._queue.shutdown()


def post(url: str, secret: str | None, body: bytes) -> bool:
    """POST a message to a receiver on this machine; return True for a 2xx.

    No redirect is followed and no proxy is used. Any other host is refused with False.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not is_loopback(host):
        return False
    connect = (
        http.client.HTTPSConnection
        if parts.scheme == "https"
        else http.client.HTTPConnection
    )
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "rebyte-local",
        "Host": parts.netloc,
    }
    if secret is not None:
        headers["X-Webhook-Secret"] = secret
    target = parts.path or "/"
    if parts.query:
        target += "?" + parts.query
    for address in LOCALHOST_ADDRESSES if host.lower() == "localhost" else (host,):
        connection = connect(address, parts.port, timeout=RECEIVER_SECONDS)
        try:
            connection.request("POST", target, body, headers)
            return 200 <= connection.getresponse().status < 300
        except (OSError, http.client.HTTPException):
            pass  # the next address, or the next try
        finally:
            connection.close()
    return False
