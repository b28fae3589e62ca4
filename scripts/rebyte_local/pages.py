"""What a person watches in a browser: the list, a task as it runs, a shared task. No key, loopback only, no trust."""

from __future__ import annotations

import json
import re
import secrets
from html import escape

from rebyte_local.artifacts import artifacts_of, signed_download
from rebyte_local.computers import find_or_refuse, state_of
from rebyte_local.messages import Answer, found
from rebyte_local.store import long_form
from rebyte_local.streams import EVENT_STREAM, HEARTBEAT, HEARTBEAT_SECONDS
from rebyte_local.tasks import show_title

UNCLEAN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)

STYLE = """
:root {{ color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --line: #d9dce1; --paper: #fbfbfc; --card: #fff;
  --run: #0a66c2; --good: #18794e; --bad: #c0322b; --off: #7d5e00; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #edeef0; --soft: #a1a6ae; --line: #33373d; --paper: #131518;
  --card: #1a1d21; --run: #6cb4ff; --good: #4cc38a; --bad: #ff8a80; --off: #e2b93b; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }}
header {{ position: sticky; top: 0; padding: .75rem 0; background: var(--paper); display: flex;
  flex-wrap: wrap; gap: .5rem 1rem; align-items: baseline; }}
h1 {{ flex: 1 1 24rem; margin: 0; font-size: 1.35rem; overflow-wrap: anywhere; }}
a {{ color: var(--run); text-underline-offset: .15em; }}
.soft {{ color: var(--soft); font-size: .875rem; }}
.badge {{ padding: .1rem .65rem; border: 1px solid currentColor; border-radius: 1rem; font-size: .875rem;
  white-space: nowrap; }}
.running, .pending {{ color: var(--run); }} .completed, .succeeded {{ color: var(--good); }}
.failed {{ color: var(--bad); }} .canceled {{ color: var(--off); }}
section {{ margin-top: 1.5rem; border: 1px solid var(--line); border-radius: .6rem; background: var(--card);
  overflow: hidden; }}
section h2 {{ margin: 0; padding: .6rem 1rem; font-size: .8rem; font-weight: 600; color: var(--soft); }}
pre {{ margin: 0; padding: .8rem 1rem; font: 13px/1.55 ui-monospace, Menlo, Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; border-top: 1px solid var(--line); }}
pre.prompt {{ max-height: 16rem; overflow: auto; color: var(--soft); }}
pre.output {{ min-height: 3rem; }}
pre.output .text {{ font-weight: 600; }} pre.output .stderr {{ color: var(--bad); }}
pre.output .note {{ color: var(--soft); }}
pre.output .ask {{ color: var(--off); font-weight: 600; }}
ul {{ margin: 0; padding: .8rem 1rem .8rem 2.2rem; border-top: 1px solid var(--line); }}
table {{ width: 100%; border-collapse: collapse; margin-top: 1.5rem; }}
td, th {{ padding: .5rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }}
td.title {{ overflow-wrap: anywhere; }}
"""

HEAD = (
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><style nonce="{nonce}">"""
    + STYLE
    + "</style>\n"
)

LIST_PAGE = (
    HEAD
    + """<title>{title}</title></head><body>
<header><h1>{title}</h1>{beside}</header>
<table><thead><tr><th>Task</th><th>Status</th><th>Created (UTC)</th></tr></thead><tbody>
{rows}</tbody></table></body></html>
"""
)

LIST_ROW = """<tr><td class="title"><a href="/run/{id}">{title}</a></td>
<td>{badge}</td><td class="soft">{created}</td></tr>
"""

BADGE = '<span class="badge {0}">{0}</span>'

RUN_PAGE = (
    HEAD
    + """{refresh}<title>{status}: {title}</title></head>
<body data-stream="{stream}">
<header><h1>{title}</h1><span id="status" class="badge {status}" role="status">{status}</span></header>
<p class="soft">local server &middot; {kind} &middot; created {created} UTC &middot; {id}</p>
{parts}{files}<script nonce="{nonce}">{script}</script></body></html>
"""
)

PROMPT_PART = """<section><h2>Prompt</h2><pre class="prompt">{text}</pre>
<h2>Output &middot; <span class="{status}">{status}</span></h2>
<pre class="output" id="out-{id}">{output}</pre></section>
"""

FILES_PART = """<section><h2>Files</h2><ul>{rows}</ul></section>
"""

FILE_ROW = (
    '<li><a href="{address}" download>{name}</a> <span class="soft">{size} bytes</span></li>\n'
)

SCRIPT = """
"use strict";
(function () {
  var address = document.body.dataset.stream;
  if (!address || !window.EventSource) { return; }
  var source = new EventSource(address);
  function isAtEnd() { return window.innerHeight + window.scrollY >= document.body.scrollHeight - 80; }
  source.onmessage = function (message) {
    var data = JSON.parse(message.data), place = document.getElementById("out-" + data.prompt), follow = isAtEnd();
    if (!place) { source.close(); location.reload(); return; }
    data.pieces.forEach(function (piece) {
      var span = document.createElement("span");
      span.className = piece[0];
      span.textContent = piece[1];
      place.appendChild(span);
    });
    if (follow) { window.scrollTo(0, document.body.scrollHeight); }
  };
  source.addEventListener("end", function (message) {
    source.close();
    setTimeout(function () { location.reload(); }, JSON.parse(message.data).status === "running" ? 1000 : 0);
  });
  source.onerror = function () { source.close(); setTimeout(function () { location.reload(); }, 2000); };
})();
"""

LIST_ROWS = 100
SHOWN_BYTES = 512 * 1024  # of a prompt's events; the end is what matters


def _page(template, **parts):
    nonce = secrets.token_urlsafe(16)
    policy = (
        "default-src 'none'; style-src 'nonce-%s'; script-src 'nonce-%s'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'" % (nonce, nonce)
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
    }
    html = template.format(nonce=nonce, **parts)
    return Answer(200, html.encode("utf-8", "replace"), "text/html; charset=utf-8", headers)


def _plain(text):
    """Foreign text without characters that hide or reorder what is read."""
    return UNCLEAN.sub("\ufffd", text)


def _clean(text):
    return escape(_plain(text))


def _title_and_created(service, task):
    return {
        "id": task["id"],
        "title": _clean(show_title(service, task)) or "(no title)",
        "created": long_form(task["created"])[:19].replace("T", " "),
    }


def _list_page(service, title, beside, tasks):
    ends = service.store.ends([task["id"] for task in tasks])
    rows = [
        LIST_ROW.format(
            badge=BADGE.format(ends[task["id"]][0]), **_title_and_created(service, task)
        )
        for task in tasks
    ]
    return _page(LIST_PAGE, title=title, beside=beside, rows="".join(rows))


def show_list(service, request):
    """GET /: the tasks, newest first."""
    tasks, total = service.store.page("tasks", LIST_ROWS, 0)
    return _list_page(
        service,
        "Tasks on this machine",
        '<span class="soft">%d in all, newest first</span>' % total,
        tasks,
    )


def show_computer(service, request):
    """GET /agent/computer/:id: how a computer stands, and its tasks, newest first."""
    computer = find_or_refuse(service, request)
    badge = BADGE.format(state_of(service, computer)[0])
    return _list_page(
        service, _clean(computer["name"]), badge, service.store.tasks_of(computer["id"])
    )


def _find(service, request):
    """The task of a path and its door: /share is open only while the task is public."""
    task, door = (
        found("Task", service.store.task(request.params[0].lower())),
        request.path.split("/")[1],
    )
    found("Task", door != "share" or task["visibility"] == "public")
    return task, door


def show_task(service, request):
    """GET /run/:id, the address that create gives, and GET /share/:id"""
    task, door = _find(service, request)
    status, _ = service.store.end(task["id"])
    parts = ""
    for prompt in service.store.prompts(task["id"]):
        output, offset = _read_output(service, prompt["id"])
        parts += PROMPT_PART.format(
            id=prompt["id"],
            text=_clean(prompt["text"].rstrip()),
            output=output,
            status=prompt["status"],
        )
    refresh = stream = ""
    if status == "running":
        refresh = '<noscript><meta http-equiv="refresh" content="3"></noscript>'
        stream = "/%s/%s/stream?prompt=%s&amp;offset=%d" % (door, task["id"], prompt["id"], offset)
    return _page(
        RUN_PAGE,
        status=status,
        parts=parts,
        refresh=refresh,
        stream=stream,
        script=SCRIPT,
        kind="rehearsal, no model" if task["rehearsal"] else "agent program",
        files=_show_files(service, task["workspace"]),
        **_title_and_created(service, task),
    )


def _show_files(service, workspace):
    rows = "".join(
        FILE_ROW.format(
            address=escape(signed_download(service, workspace, row["name"])),
            name=_clean(row["name"]),
            size=row["size"],
        )
        for row in artifacts_of(service, workspace)
    )
    return FILES_PART.format(rows=rows) if rows else ""


def _read_output(service, prompt_id):
    """(the prompt's last output as HTML, the offset after it)."""
    timeline = service.timelines.find(prompt_id)
    with open(service.timelines.path(prompt_id), "rb") as file:
        size = timeline.size if timeline else file.seek(0, 2)
        start = max(0, size - SHOWN_BYTES)
        file.seek(start)
        lines = file.read(size - start).split(b"\n")[:-1]
    spans = []
    if start:
        del lines[0]
        spans.append('<span class="note">[earlier output left out]\n</span>')
    spans += [
        '<span class="%s">%s</span>' % (kind, _clean(text)) for kind, text in map(_read_line, lines)
    ]
    return "".join(spans), size


def _read_line(line):
    """(kind, text) of one stored event, as a person wants to read it."""
    event = json.loads(line.decode("ascii"))
    payload, event_type = event["payload"], event["eventType"]
    if event_type in ("stdout", "stderr"):
        return event_type, payload["content"] + "\n"
    if event_type in ("text", "result"):
        words = payload.get("content", payload.get("result", ""))
        return "text", words if payload.get("is_delta") else words + "\n"
    if event_type == "tool_use":
        return "note", "\u2500\u2500 %s\n" % payload["name"]
    if event_type == "tool_result":
        return "note", "\u2500\u2500 failed\n" if payload["is_error"] else "\u2500\u2500 done\n"
    if event_type == "ask_user_question":
        options = "".join(
            "\n  %d. %s" % (n, o["label"]) for n, o in enumerate(payload["options"], 1)
        )
        return "ask", "? %s%s\n" % (payload["question"], options)
    return "note", ""


def stream_task(service, request):
    """GET /run/:id/stream and /share/:id/stream: what the page listens to."""
    task, _ = _find(service, request)
    offset = request.query.get("offset", "")
    offset = int(offset) if re.fullmatch("[0-9]{1,14}", offset) else 0
    pieces = _say(service, task["id"], request.query.get("prompt", ""), offset)
    return Answer(
        200,
        pieces,
        EVENT_STREAM,
        {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )


def _say(service, task_id, prompt_id, offset):
    """Pieces of text for the page, until nothing of the task runs; then its status."""
    for prompt in service.store.prompts(task_id):
        if prompt_id and prompt["id"] != prompt_id:
            continue
        for lines in service.timelines.follow(prompt["id"], HEARTBEAT_SECONDS, offset):
            pieces = [(kind, _plain(text)) for kind, text in map(_read_line, lines)]
            data = json.dumps({"prompt": prompt["id"], "pieces": pieces})
            yield b"data: %s\n\n" % data.encode("ascii") if lines else HEARTBEAT
        prompt_id, offset = "", 0
    status = service.store.end(task_id)[0]
    yield b"event: end\ndata: %s\n\n" % json.dumps({"status": status}).encode("ascii")
