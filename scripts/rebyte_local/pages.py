"""What a person watches in a browser: the list, a task as it runs, a shared task. No key, loopback only, no trust."""
from __future__ import annotations

import json
import secrets
from html import escape

from rebyte_local.answers import Answer, StreamAnswer, is_uuid, not_found
from rebyte_local.shelves import DOWNLOAD_SECONDS
from rebyte_local.store import long_form
from rebyte_local.streams import EVENT_STREAM

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

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><style nonce="{nonce}">""" + STYLE + "</style>\n"

LIST_PAGE = HEAD + """<title>Tasks on this machine</title></head><body>
<header><h1>Tasks on this machine</h1><span class="soft">{total} in all, newest first</span></header>
<table><thead><tr><th>Task</th><th>Status</th><th>Created (UTC)</th></tr></thead><tbody>
{rows}</tbody></table></body></html>
"""

LIST_ROW = """<tr><td class="title"><a href="/run/{id}">{title}</a></td>
<td><span class="badge {status}">{status}</span></td><td class="soft">{created}</td></tr>
"""

COMPUTER_PAGE = HEAD + """<title>{name}</title></head><body>
<header><h1>{name}</h1><span class="badge {status}">{status}</span></header>
<table><thead><tr><th>Task</th><th>Status</th><th>Created (UTC)</th></tr></thead><tbody>
{rows}</tbody></table></body></html>
"""

RUN_PAGE = HEAD + """{refresh}<title>{status}: {title}</title></head>
<body data-stream="{stream}">
<header><h1>{title}</h1><span id="status" class="badge {status}" role="status">{status}</span></header>
<p class="soft">local server &middot; {kind} &middot; created {created} UTC &middot; {id}</p>
{parts}{files}<script nonce="{nonce}">{script}</script></body></html>
"""

PROMPT_PART = """<section><h2>Prompt</h2><pre class="prompt">{text}</pre>
<h2>Output &middot; <span class="{status}">{status}</span></h2>
<pre class="output" id="out-{id}">{output}</pre></section>
"""

FILES_PART = """<section><h2>Files</h2><ul>{rows}</ul></section>
"""

FILE_ROW = '<li><a href="{address}" download>{name}</a> <span class="soft">{size} bytes</span></li>\n'

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
      span.textContent = piece[1].replace(
        /[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u2069\\ufeff]/g,
        "\\ufffd");
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
HEARTBEAT_SECONDS = 15.0


def _page(html, nonce):
    policy = ("default-src 'none'; style-src 'nonce-%s'; script-src 'nonce-%s'; connect-src 'self'; base-uri 'none'; "
              "form-action 'none'; frame-ancestors 'none'" % (nonce, nonce))
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
               "X-Frame-Options": "DENY", "Cache-Control": "no-store"}
    return Answer(200, html.encode("utf-8", "replace"), "text/html; charset=utf-8", headers)


def clean(text):
    """Foreign text made harmless for HTML: escaped, and without characters that hide or reorder what is read."""
    return escape("".join(c if _is_plain(ord(c)) else "\ufffd" for c in str(text)), quote=True)


def _is_plain(code):
    if code < 32:
        return code in (9, 10)
    return not (127 <= code < 160 or 0x200B <= code <= 0x200F or 0x202A <= code <= 0x202E or 0x2060 <= code <= 0x2069
                or code == 0xFEFF or 0xD800 <= code <= 0xDFFF or 0xE0000 <= code <= 0xE007F)


def show_list(service, request):
    """GET /: the tasks, newest first."""
    nonce = secrets.token_urlsafe(16)
    tasks, total = service.records.tasks(LIST_ROWS, 0)
    return _page(LIST_PAGE.format(nonce=nonce, rows=_rows(service, tasks), total=total), nonce)


def _rows(service, tasks):
    ends = service.records.ends([task["id"] for task in tasks])
    return "".join(LIST_ROW.format(id=task["id"], title=clean(service.show_title(task)) or "(no title)",
                                   status=ends[task["id"]][0],
                                   created=long_form(task["created"])[:19].replace("T", " "))
                   for task in tasks)


def show_computer(service, request):
    """GET /agent/computer/:id: how a computer stands, and its tasks, newest first."""
    computer = service.fleet.find(request.params[0].lower())
    if computer is None:
        raise not_found("Agent computer")
    nonce = secrets.token_urlsafe(16)
    tasks = [service.records.task(task_id) for task_id in reversed(service.records.tasks_of(computer["id"]))]
    rows = _rows(service, [task for task in tasks if task])
    status, _ = service.fleet.state_of(computer)
    return _page(COMPUTER_PAGE.format(nonce=nonce, name=clean(computer["name"]), status=clean(status), rows=rows), nonce)


def _find(service, request, only_public):
    task_id = request.params[0].lower()
    task = service.records.task(task_id) if is_uuid(task_id) else None
    if task is None or (only_public and task["visibility"] != "public"):
        raise not_found("Task")
    return task


def show_run(service, request):
    """GET /run/:id: the address that create gives."""
    return _show(service, _find(service, request, False), "run")


def show_share(service, request):
    """GET /share/:id: the same, only while the task is public."""
    return _show(service, _find(service, request, True), "share")


def _show(service, task, door):
    nonce = secrets.token_urlsafe(16)
    status, _ = service.records.end(task["id"])
    prompts = service.records.prompts(task["id"])
    parts = []
    offset = 0
    for prompt in prompts:
        output, offset = _read_output(service, prompt["id"])
        parts.append(PROMPT_PART.format(id=prompt["id"], text=clean(prompt["text"].rstrip()), output=output,
                                        status=clean(prompt["status"])))
    is_live = status == "running"
    stream = "/%s/%s/stream?prompt=%s&amp;offset=%d" % (door, task["id"], prompts[-1]["id"], offset)
    html = RUN_PAGE.format(
        nonce=nonce, title=clean(service.show_title(task)) or "(no title)", status=status, id=task["id"],
        created=long_form(task["created"])[:19].replace("T", " "), parts="".join(parts),
        kind="rehearsal, no model" if task["rehearsal"] else "agent program",
        refresh='<noscript><meta http-equiv="refresh" content="3"></noscript>' if is_live else "",
        stream=stream if is_live else "",
        files=_show_files(service, task["workspace"]), script=SCRIPT)
    return _page(html, nonce)


def _show_files(service, workspace):
    rows = "".join(
        FILE_ROW.format(address=escape(service.sign("GET", ["artifacts", workspace, a["name"]], DOWNLOAD_SECONDS)[0]),
                        name=clean(a["name"]), size=a["size"]) for a in service.shelves.artifacts(workspace))
    return FILES_PART.format(rows=rows) if rows else ""


def _read_output(service, prompt_id):
    """(the prompt's last output as HTML, the offset after it)."""
    timeline = service.timelines.find(prompt_id)
    try:
        with open(service.timelines.path(prompt_id), "rb") as file:
            size = timeline.size if timeline else file.seek(0, 2)
            start = max(0, size - SHOWN_BYTES)
            file.seek(start)
            data = file.read(size - start)
    except FileNotFoundError:
        return "", 0
    lines = data.split(b"\n")[:-1]
    skipped = lines[:1] if start else []
    spans = ["<span class=\"note\">[earlier output left out]\n</span>"] if skipped else []
    for kind, text in (read_line(line) for line in lines[len(skipped):]):
        spans.append("<span class=\"%s\">%s</span>" % (kind, clean(text)))
    return "".join(spans), size


def read_line(line):
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
        options = "".join("\n  %d. %s" % (n, o["label"]) for n, o in enumerate(payload["options"], 1))
        return "ask", "? %s%s\n" % (payload["question"], options)
    return "note", ""


def stream_run(service, request):
    """GET /run/:id/stream: what the page listens to."""
    return _stream(service, request, _find(service, request, False))


def stream_share(service, request):
    """GET /share/:id/stream: the same for a public task."""
    return _stream(service, request, _find(service, request, True))


def _stream(service, request, task):
    offset = request.query.get("offset", "")
    offset = int(offset) if offset.isascii() and offset.isdigit() and len(offset) < 15 else 0
    chunks = _say(service, task["id"], request.query.get("prompt", ""), offset)
    return StreamAnswer(chunks, EVENT_STREAM, {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})


def _say(service, task_id, prompt_id, offset):
    """Pieces of text for the page, until nothing of the task runs; then its status."""
    for prompt in service.records.prompts(task_id):
        if prompt_id and prompt["id"] != prompt_id:
            continue
        for block, _ in service.timelines.follow(prompt["id"], HEARTBEAT_SECONDS, offset):
            pieces = [read_line(line) for line in block.split(b"\n")[:-1]]
            data = json.dumps({"prompt": prompt["id"], "pieces": pieces})
            yield b"data: %s\n\n" % data.encode("ascii") if pieces else b": alive\n\n"
        prompt_id, offset = "", 0
    status = service.records.end(task_id)[0]
    yield b"event: end\ndata: %s\n\n" % json.dumps({"status": status}).encode("ascii")
