"""A service that says far too much, and how much of it each verb lets through: 10,000 tasks, 5 MB answers, 1 MB titles."""
from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading

from project_tree import SCRIPTS

TASK, SPACE, PROMPT = ("%08d-0000-4000-8000-000000000000" % number for number in (1, 2, 3))
MEGABYTE = 1 << 20
TITLE, ANSWER = "\u00e9t\x1b[31m" * (MEGABYTE // 7), "word \u2028 \u00fc" * (5 * MEGABYTE // 9)
COMMAND_SECONDS = 60
# verb -> the words after it.
LINES = {
    "run": ["say something"], "create": ["start something"], "batch": ["--prompt", "one", "--prompt", "two"], "result": [TASK],
    "wait": [TASK], "watch": [TASK], "follow-up": [TASK, "more", "--wait"], "reply": [TASK, "--option", "1"], "cancel": [TASK], "get": [TASK],
    "list": [], "share": [TASK, "public"], "delete": [TASK, "--yes"], "upload": ["small.csv"], "artifacts": ["list", SPACE],
    "computers": ["list"], "webhooks": ["list"], "credits": [], "ledger": ["list"], "doctor": [], "api": ["GET", "/tasks"],
    "local": ["status"],
}


def body_of(method, path):
    """Return what the service says to a request, as a value."""
    many = [{"id": "%08d-0000-4000-8000-000000000000" % n, "title": "task %d" % n, "url": "https://x.example/" + "u" * 99} for n in range(10_000)]
    if path.startswith("/v1/tasks?") or path == "/v1/tasks" and method == "GET":
        return {"data": [dict(many[0], id=TASK, title=TITLE, createdAt="2026-01-01T00:00:00Z")] + many, "total": len(many)}
    if "/artifacts" in path:
        return {"files": [{"name": "n" * 200 + "%d.csv" % n, "size": n, "downloadUrl": "http://127.0.0.1/x"} for n in range(5_000)]}
    if "/content" in path:
        return {"prompts": [{"id": PROMPT, "content": ANSWER}]}
    if path.endswith("/prompts"):
        return {"promptId": PROMPT, "extra": TITLE}
    if path.endswith("/files"):
        return {"id": PROMPT, "filename": "small.csv", "uploadUrl": "http://%s/up", "extra": TITLE}
    if "/agent-computers" in path or "/webhooks" in path:
        return {"data": [dict(item, name="m" * 200, events=["task.completed"] * 5) for item in many], "extra": TITLE[:1000]}
    if "/billing" in path:
        return {"totalAvailable": 5, "note": TITLE}
    return {"id": TASK, "workspaceId": SPACE, "url": "https://x.example/" + "u" * 5000, "title": TITLE, "status": "completed", "extra": ANSWER[:MEGABYTE],
            "prompts": [{"id": PROMPT, "status": "completed", "error": TITLE}], "shareUrl": "https://x.example/s"}


def stream():
    """Return the events of a task that talks without end."""
    def event(seq, kind, payload):
        envelope = {"seq": seq, "timestamp": "2026-01-01T00:00:00Z", "promptId": PROMPT, "eventType": kind, "payload": payload, "eventKey": "k%d" % seq}
        return "event: event\ndata: %s\n\n" % json.dumps(envelope)
    events = [event(n, "tool_use", {"name": "t" * 5000, "input": {"x": "y" * 5000}}) for n in range(20)]
    done = "event: done\ndata: %s\n\n" % json.dumps({"status": "succeeded", "lastSeq": 20, "finalResult": "short"})
    return ("".join(events) + event(20, "text", {"text": ANSWER}) + done).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers everything with too much."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        """Read the body and say the value of the path."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind, body = "application/json", b""
        if "/events" in self.path:
            kind, body = "text/event-stream", stream()
        elif self.command not in ("PUT", "DELETE"):
            body = json.dumps(body_of(self.command, self.path)).replace("%s/up", self.headers["Host"] + "/up").encode()
        self.send_response(204 if self.command == "DELETE" else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            # Whoever has read enough hangs up.
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, *_):
        """Say nothing."""


class HostileService:
    """The service on a free port of loopback, for the length of a `with` block."""

    def __enter__(self):
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return "http://127.0.0.1:%d" % self._server.server_port

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def said_by(verb, url, folder):
    """Run a verb against the service in a folder of its own; return (exit code, the bytes on stdout, stderr)."""
    with open(os.path.join(folder, "small.csv"), "w") as file:
        file.write("1\n")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REBYTE_") and not name.lower().endswith("_proxy")}
    environ.update(REBYTE_API_KEY="sample", REBYTE_BASE_URL=url, REBYTE_STATE_DIR=os.path.join(folder, "state"), REBYTE_MAX_WAIT="25")
    done = subprocess.run([sys.executable, "-B", os.path.join(SCRIPTS, "rebyte_cli.py"), verb] + LINES[verb], cwd=folder, env=environ,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=COMMAND_SECONDS)
    return done.returncode, done.stdout, done.stderr
