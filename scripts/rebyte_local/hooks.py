"""Webhooks as rows, and their deliveries: in order for each hook, with retries, and to this machine only."""
from __future__ import annotations

import http.client
import json
import queue
import re
import threading
import uuid
from urllib.parse import urlsplit

from rebyte_local.store import long_form, now_us

EVENTS = ("task.created", "task.running", "task.completed", "task.failed", "task.canceled")
HOOKS_MOST = 3
RETRY_SECONDS = (0.25, 1.0, 4.0)  # after the first try
RECEIVER_SECONDS = 5.0
FAILURES_MOST = 20  # in a row; then the hook is switched off
HERE = re.compile(r"localhost|127(\.\d{1,3}){3}|::1", re.IGNORECASE)
ADDRESSES = {"localhost": ("127.0.0.1", "::1")}  # never asked of a resolver
NOT_HERE_WORDS = "not delivered: this server calls addresses of this machine only"


def is_here(host):
    """True for a host that plainly is this machine."""
    return HERE.fullmatch(host) is not None


class Hooks:
    """The webhooks of one folder; each has a thread of its own once it has something to tell."""

    def __init__(self, store, stopping):
        self._store, self._stopping = store, stopping
        self._lock = threading.Lock()
        self._lines = {}  # hook id -> (queue, thread)
        self._running = set()  # tasks whose task.running was told and whose end was not

    def __repr__(self):
        return "Hooks(%d told just now)" % len(self._lines)

    def add(self, url, events, description, secret):
        """Make a hook; None when there are as many as there may be."""
        hook_id = str(uuid.uuid4())
        facts = json.dumps({"events": events, "description": description, "secret": secret})
        made = self._store.write((
            "INSERT INTO webhooks(id,url,created,facts) SELECT ?,?,?,? WHERE (SELECT count(*) FROM webhooks)<?",
            (hook_id, url, now_us(), facts, HOOKS_MOST)))
        return self.find(hook_id) if made[0] else None

    def find(self, hook_id):
        """The hook, or None."""
        row = self._store.row("SELECT * FROM webhooks WHERE id=?", hook_id)
        return _read(row) if row else None

    def all(self):
        """Every hook, oldest first."""
        return [_read(row) for row in self._store.rows("SELECT * FROM webhooks ORDER BY number")]

    def remove(self, hook_id):
        """Forget a hook."""
        self._store.write(("DELETE FROM webhooks WHERE id=?", (hook_id,)))

    @staticmethod
    def show(hook):
        """A hook as the service tells it, never with its secret."""
        shown = {"id": hook["id"], "url": hook["url"], "events": hook["events"], "description": hook["description"],
                 "hasSecret": hook["secret"] is not None, "isActive": bool(hook["active"]), "createdAt": long_form(hook["created"]),
                 "lastTriggeredAt": long_form(hook["triggered"]), "failureCount": hook["failures"], "rehearsal": True}
        if not is_here(urlsplit(hook["url"]).hostname):
            shown["note"] = NOT_HERE_WORDS
        return shown

    def tell_running(self, task_id):
        """Tell that a task runs, once until its end is told."""
        with self._lock:
            told = task_id in self._running
            self._running.add(task_id)
        if not told:
            self.tell("task.running", task_id)

    def tell_end(self, task_id, status):
        """Tell how a task ended: completed, failed or canceled."""
        with self._lock:
            self._running.discard(task_id)
        self.tell("task." + status, task_id)

    def tell(self, event, task_id):
        """Queue an event for every hook that wants it."""
        message = {"event": event, "taskId": task_id, "timestamp": long_form(now_us()), "rehearsal": True}
        for hook in self.all():
            if hook["active"] and event in hook["events"] and is_here(urlsplit(hook["url"]).hostname):
                self._line_of(hook["id"]).put(message)

    def _line_of(self, hook_id):
        with self._lock:
            if hook_id not in self._lines:
                line = queue.Queue()
                thread = threading.Thread(target=self._deliver_all, args=(hook_id, line), name="hook-" + hook_id[:8], daemon=True)
                self._lines[hook_id] = line, thread
                thread.start()
            return self._lines[hook_id][0]

    def _deliver_all(self, hook_id, line):
        while True:
            message = line.get()
            if message is None or self._stopping.is_set():
                return
            self._deliver(hook_id, json.dumps(message).encode("ascii"))

    def _deliver(self, hook_id, body):
        for pause in (0.0,) + RETRY_SECONDS:
            hook = None if self._stopping.wait(pause) else self.find(hook_id)
            if hook is None or not hook["active"]:
                return
            taken = send(hook["url"], hook["secret"], body)
            failures = 0 if taken else hook["failures"] + 1
            self._store.write(("UPDATE webhooks SET triggered=?, failures=?, active=? WHERE id=?",
                               (now_us(), failures, int(failures < FAILURES_MOST), hook_id)))
            if taken:
                return

    def close(self):
        """Drop what was not delivered and end the threads; `stopping` is set by then."""
        with self._lock:
            lines = list(self._lines.values())
        for line, thread in lines:
            line.put(None)
        for line, thread in lines:
            thread.join(RECEIVER_SECONDS * 2)


def send(url, secret, body):
    """POST a message to a receiver on this machine; True for a 2xx. No redirect is followed, no proxy asked."""
    parts = urlsplit(url)
    if not is_here(parts.hostname):
        return False
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {"Content-Type": "application/json", "User-Agent": "rebyte-local", "Host": parts.netloc}
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


def _read(row):
    record = dict(row)
    record.update(json.loads(record.pop("facts")))
    return record
