"""The HTML, CSS and JavaScript of the pages; values are escaped before they are put in."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1b1f24; --soft: #5c636d; --line: #dde1e6; --paper: #f7f8fa; --card: #fff;
  --run: #0a5fb8; --good: #17734a; --bad: #b92b26; --off: #7a5a00; --ask: #7a3fb5;
  --lead: #c9d3df; --tool: #0a5fb8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e8eaed; --soft: #a0a7b1; --line: #343a42; --paper: #121417; --card: #1a1d22;
    --run: #70b5ff; --good: #4fc78c; --bad: #ff8b82; --off: #e3bb45; --ask: #c79bff;
    --lead: #3b444f; --tool: #70b5ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 76rem; padding: 2rem 1.25rem 4rem;
  background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
}
header {
  position: sticky; top: 0; padding: .75rem 0; background: var(--paper);
  display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: baseline;
}
h1 { flex: 1 1 24rem; margin: 0; font-size: 1.35rem; overflow-wrap: anywhere; }
a { color: var(--run); text-underline-offset: .15em; }
.soft { color: var(--soft); font-size: .875rem; }
.badge {
  display: inline-block; padding: 0 .6rem; border: 1px solid currentColor; border-radius: 1rem;
  font-size: .8125rem; line-height: 1.5rem; white-space: nowrap;
}
.running, .pending { color: var(--run); }
.completed, .succeeded { color: var(--good); }
.failed { color: var(--bad); }
.canceled { color: var(--off); }
section {
  margin-top: 1.5rem; border: 1px solid var(--line); border-radius: .6rem;
  background: var(--card); overflow: hidden;
}
section h2 { margin: 0; padding: .6rem 1rem; font-size: .8rem; color: var(--soft); }
pre, .output {
  margin: 0; padding: .8rem 1rem; border-top: 1px solid var(--line);
  font: 13px/1.55 ui-monospace, Menlo, Consolas, monospace;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
pre.prompt { max-height: 16rem; overflow: auto; color: var(--soft); }
.output { min-height: 3rem; }
.output .text { font-weight: 600; }
.output .stderr { color: var(--bad); }
.output .note { color: var(--soft); }
.output .failed { color: var(--bad); }
.output .ask { color: var(--off); font-weight: 600; }
.output summary { cursor: pointer; }
.output details > span { display: block; padding-left: 1.1rem; }
ul { margin: 0; padding: .8rem 1rem .8rem 2.2rem; border-top: 1px solid var(--line); }
.card {
  margin-top: 1rem; border: 1px solid var(--line); border-radius: .6rem;
  background: var(--card); overflow: hidden;
}
table { width: 100%; border-collapse: collapse; }
td, th {
  padding: .35rem .7rem; border-bottom: 1px solid var(--line);
  text-align: left; vertical-align: middle;
}
tbody tr:last-child td { border-bottom: 0; }
td.bar-cell { width: 42%; min-width: 8rem; }
td.num { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
svg.bar { display: block; width: 100%; height: 1.25rem; }
svg .lead { fill: var(--lead); }
svg .talk { fill: currentColor; opacity: .4; }
svg .tool { fill: var(--tool); }
svg .ask { fill: var(--ask); }
svg .end { fill: currentColor; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; }
.legend svg { width: 1.4rem; height: .7rem; margin-right: .35rem; }
@media (max-width: 44rem) {
  body { padding: 1rem .75rem 3rem; }
  thead, td.created { display: none; }
  tr { display: grid; grid-template-columns: 1fr auto auto; border-bottom: 1px solid var(--line); }
  td { border: 0; }
  td.bar-cell { grid-column: 1 / -1; grid-row: 2; width: auto; padding-top: 0; }
}
td.title { overflow-wrap: anywhere; }
"""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><style nonce="{nonce}">{style}</style>
<title>{title}</title>{head}</head>
{body}</html>
"""

LIST_BODY = """<body data-live="{live}">
<header><h1>{heading}</h1>{beside}</header>{programs}
<div id="tasks"><div class="card"><table>
<thead><tr><th>Task</th><th>Timeline</th><th>Status</th><th></th><th>Created (UTC)</th></tr></thead>
<tbody>
{rows}</tbody></table></div><p class="soft">{scale}</p></div>{legend}
<script nonce="{nonce}">{script}</script></body>"""

PROGRAM_ROW = '<p class="soft">{0}</p>'

LIST_ROW = """<tr><td class="title"><a href="{address}">{title}</a></td>
<td class="bar-cell">{bar}</td><td>{badge}</td><td class="num soft">{seconds}</td>
<td class="soft created">{created}</td></tr>
"""

LEGEND_PIECE = (
    '<span><svg viewBox="0 0 10 10" preserveAspectRatio="none" class="{0}" aria-hidden="true">'
    '<rect class="{1}" width="10" height="10"/></svg>{2}</span>'
)
LEGEND = '<div class="legend soft">%s</div>' % "".join(
    LEGEND_PIECE.format(*row)
    for row in (
        ("", "lead", "until the first word"),
        ("completed", "talk", "at work"),
        ("", "tool", "tools"),
        ("", "ask", "waits for an answer"),
        ("completed", "end", "the end"),
    )
)

BADGE = '<span class="badge {0}">{0}</span>'

# Without JavaScript a running task reloads; with it the page listens to data-stream.
REFRESH = '<noscript><meta http-equiv="refresh" content="3"></noscript>'

TASK_BODY = """<body data-stream="{stream}">
<header><h1>{title}</h1>
<span id="status" class="badge {status}" role="status">{status}</span></header>
<p class="soft">local server &middot; {kind} &middot; created {created} UTC &middot; {id}</p>
{prompts}{files}<script nonce="{nonce}">{script}</script></body>"""

PROMPT_PART = """<section><h2>Prompt</h2><pre class="prompt">{text}</pre>
<h2>Output &middot; <span class="{status}">{status}</span></h2>
<div class="output" id="out-{id}">{output}</div></section>
"""

OUTPUT_PIECE = '<span class="{0}">{1}</span>'

FOLDED_PIECE = '<details class="{0}"><summary>{1}</summary><span>{2}</span></details>'

FILES_PART = """<section><h2>Files</h2><ul>{rows}</ul></section>
"""

FILE_ROW = """<li><a href="{address}" download>{name}</a>
<span class="soft">{size} bytes</span></li>
"""

SCRIPT = """
"use strict";
(function () {
  var address = document.body.dataset.stream;
  if (!address || !window.EventSource) { return; }
  var source = new EventSource(address);
  function reloadIn(milliseconds) {
    source.close();
    setTimeout(function () { location.reload(); }, milliseconds);
  }
  function isAtEnd() {
    return window.innerHeight + window.scrollY >= document.body.scrollHeight - 80;
  }
  source.onmessage = function (message) {
    var data = JSON.parse(message.data);
    var place = document.getElementById("out-" + data.prompt);
    var follow = isAtEnd();
    if (!place) { reloadIn(0); return; }
    data.pieces.forEach(function (piece) {
      var part = document.createElement(piece[2] ? "details" : "span");
      var text = part;
      part.className = piece[0];
      if (piece[2]) {
        part.appendChild(document.createElement("summary")).textContent = piece[2];
        text = part.appendChild(document.createElement("span"));
      }
      text.textContent = piece[1];
      place.appendChild(part);
    });
    if (follow) { window.scrollTo(0, document.body.scrollHeight); }
  };
  source.addEventListener("end", function (message) {
    reloadIn(JSON.parse(message.data).status === "running" ? 1000 : 0);
  });
  source.onerror = function () { reloadIn(2000); };
})();
"""

# The list as it is now takes the place of the one that is shown, while something runs.
LIST_SCRIPT = """
"use strict";
(function () {
  function later() { setTimeout(load, 1500); }
  function load() {
    fetch(location.href, {cache: "no-store"}).then(function (answer) {
      return answer.text();
    }).then(function (text) {
      // The style of the other page is no style of this one.
      var bare = text.replace(/<style[^]*?<\\/style>/, "");
      var page = new DOMParser().parseFromString(bare, "text/html");
      var tasks = page.getElementById("tasks");
      if (tasks) { document.getElementById("tasks").replaceWith(document.adoptNode(tasks)); }
      if (!tasks || page.body.dataset.live) { later(); }
    }).catch(later);
  }
  if (document.body.dataset.live && window.fetch) { later(); }
})();
"""
