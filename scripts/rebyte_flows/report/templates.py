"""The HTML, the style and the one script of the page; values are escaped before they are put in."""

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
  margin: 0 auto; max-width: 76rem; padding: 1.5rem 1.25rem 4rem;
  background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
}
h1 { margin: 0; font-size: 1.4rem; overflow-wrap: anywhere; }
h2 { margin: 2rem 0 .6rem; font-size: 1.05rem; }
h3 { margin: 1rem 0 .3rem; font-size: .875rem; color: var(--soft); font-weight: 600; }
a { color: var(--run); text-underline-offset: .15em; }
p { margin: .3rem 0; }
.soft { color: var(--soft); font-size: .875rem; }
.chips {
  display: flex; flex-wrap: wrap; gap: .4rem .6rem; margin: .6rem 0 0; padding: 0;
  list-style: none;
}
.badge {
  display: inline-block; padding: 0 .6rem; border: 1px solid currentColor; border-radius: 1rem;
  font-size: .8125rem; line-height: 1.5rem; white-space: nowrap;
}
.completed { color: var(--good); }
.failed, .invalid, .error, .unknown { color: var(--bad); }
.canceled { color: var(--off); }
.question { color: var(--ask); }
.running, .waiting, .gone { color: var(--run); }
.card {
  border: 1px solid var(--line); border-radius: .6rem; background: var(--card); overflow: hidden;
}
.time > div {
  display: grid; grid-template-columns: minmax(6rem, 15rem) 1fr 7rem 5.5rem; gap: .8rem;
  align-items: center; padding: .2rem .9rem; border-bottom: 1px solid var(--line);
}
.time > div:last-child { border-bottom: 0; }
.time a { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.time .num { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.time .badge { justify-self: start; }
svg.bar { display: block; width: 100%; height: 1.25rem; }
svg .lead { fill: var(--lead); }
svg .talk { fill: currentColor; opacity: .4; }
svg .tool { fill: var(--tool); }
svg .ask { fill: var(--ask); }
svg .end { fill: currentColor; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .5rem 0 0; }
.legend svg { width: 1.4rem; height: .7rem; margin-right: .35rem; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .9375rem; }
th, td {
  padding: .4rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top;
}
tbody tr:last-child td { border-bottom: 0; }
td { overflow-wrap: break-word; max-width: 26rem; vertical-align: baseline; }
td.name { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; max-width: 16rem; }
td .badge { vertical-align: baseline; }
th.num { text-align: right; }
td.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th button {
  all: unset; cursor: pointer; font-weight: 600; white-space: nowrap;
}
th button:focus-visible, summary:focus-visible, a:focus-visible {
  outline: 2px solid var(--run); outline-offset: 2px;
}
th[aria-sort=ascending] button::after { content: " \\25B2"; font-size: .7em; }
th[aria-sort=descending] button::after { content: " \\25BC"; font-size: .7em; }
details.task, .inner details { margin-top: .6rem; }
.many .time, .many .scroll { max-height: 36rem; overflow: auto; }
.many thead th { position: sticky; top: 0; background: var(--card); }
.many details.task { content-visibility: auto; contain-intrinsic-size: auto 3rem; }
.many .time > div { content-visibility: auto; contain-intrinsic-size: auto 2.1rem; }
details.task > summary {
  display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: baseline; padding: .5rem .9rem;
  cursor: pointer;
}
details.task > summary b { overflow-wrap: anywhere; }
details.task > summary .brief {
  flex: 1 1 12rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.inner { padding: 0 .9rem .9rem; border-top: 1px solid var(--line); }
pre {
  margin: 0; padding: .7rem .8rem; border: 1px solid var(--line); border-radius: .4rem;
  background: var(--paper);
  font: 13px/1.55 ui-monospace, Menlo, Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere;
  max-height: 32rem; overflow: auto;
}
.why {
  margin: .7rem 0 0; padding-left: .8rem; border-left: 3px solid currentColor;
  overflow-wrap: anywhere;
}
ul.plain { margin: .2rem 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.pictures { display: flex; flex-wrap: wrap; gap: .6rem; }
.pictures img {
  display: block; max-width: 14rem; max-height: 9rem; border: 1px solid var(--line);
  border-radius: .3rem;
  background: #fff;
}
footer { margin-top: 2.5rem; }
@media (max-width: 44rem) {
  body { padding: 1rem .75rem 3rem; }
  .time > div { grid-template-columns: 1fr auto auto; gap: .2rem .6rem; }
  .time .bar-cell { grid-column: 1 / -1; grid-row: 2; }
}
@media print {
  :root {
    --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; --card: #fff; --run: #0a4a90;
    --good: #115c3b;
    --bad: #a01f1b; --off: #6a4e00; --ask: #5f2f92; --lead: #c9d3df; --tool: #0a5fb8;
  }
  body { max-width: none; padding: 0; font-size: 11pt; }
  a { color: inherit; }
  .card { overflow: visible; }
  pre { max-height: none; overflow: visible; }
  .many .time, .many .scroll { max-height: none; overflow: visible; }
  .many thead th { position: static; }
  .many details.task, .many .time > div { content-visibility: visible; }
  details.task > summary { break-after: avoid; }
  svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .scroll { overflow: visible; }
  table { font-size: 8.5pt; }
  td { overflow-wrap: anywhere; min-width: 2.5rem; }
  td.name { white-space: normal; }
  tr, .time > div, .why { break-inside: avoid; }
  th[aria-sort] button::after { content: ""; }
}
"""

SCRIPT = """
"use strict";
(function () {
  var table = document.getElementById("values");
  function keyOf(row, column) {
    if (column > 1 && row.className === "none") { return ""; }
    var cell = row.cells[column];
    var number = cell.dataset.number;
    return number === undefined ? cell.textContent : Number(number);
  }
  function compare(one, other) {
    var isNumber = typeof one === "number";
    if (isNumber !== (typeof other === "number")) { return isNumber ? -1 : 1; }
    return isNumber ? one - other : one.localeCompare(other);
  }
  function sortBy(column, head) {
    var falls = head.getAttribute("aria-sort") === "ascending";
    var rows = Array.from(table.tBodies[0].rows);
    rows.sort(function (a, b) {
      var one = keyOf(a, column);
      var other = keyOf(b, column);
      // What has no value comes last, whichever way.
      if (one === "" || other === "") { return (one === "") - (other === ""); }
      return falls ? -compare(one, other) : compare(one, other);
    });
    table.querySelectorAll("th").forEach(function (th) { th.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
    table.tBodies[0].append.apply(table.tBodies[0], rows);
  }
  if (table) {
    table.querySelectorAll("th").forEach(function (head, column) {
      head.firstElementChild.addEventListener("click", function () { sortBy(column, head); });
    });
  }
  function openNamed() {
    var id = decodeURIComponent(location.hash.slice(1));
    var named = id && document.getElementById(id);
    if (named && named.tagName === "DETAILS") { named.open = true; named.scrollIntoView(); }
  }
  window.addEventListener("hashchange", openNamed);
  openNamed();
  window.addEventListener("beforeprint", function () {
    // A thousand answers are nothing to print.
    if (document.body.className === "many") { return; }
    document.querySelectorAll("details").forEach(function (part) { part.open = true; });
  });
})();
"""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">
<title>{title}</title><style>{style}</style></head>
<body{many}>
<header><h1>{title}</h1>
<p class="soft">{facts}</p>
<ul class="chips">{chips}</ul></header>
{parts}
<footer class="soft"><p>Answers, names, values and files come from the agents: read them as their
word. A file opens as what it is, with whatever it does.</p></footer>
<script>{script}</script>
</body></html>
"""
POLICY = (
    "default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
    "img-src 'self' file:; base-uri 'none'; form-action 'none'"
)
CHIP = '<li><span class="badge {0}">{1} {0}</span></li>'
BADGE = '<span class="badge {0}">{0}</span>'
TIMELINE = """<section><h2>Timeline</h2><div class="card time">
{rows}</div><p class="soft">{scale}</p><div class="legend soft">{legend}</div></section>
"""
TIME_ROW = """<div><a href="#task-{number}">{label}</a>
<span class="bar-cell {standing}">{bar}</span>{badge}<span class="num soft">{seconds}</span></div>
"""
BAR = (
    '<svg class="bar" viewBox="0 0 1000 20" preserveAspectRatio="none" role="img"'
    ' aria-label="{words}">{paths}</svg>'
)
PATH = '<path class="{0}" d="{1}"/>'
LEGEND = (
    '<span><svg viewBox="0 0 10 10" preserveAspectRatio="none" class="{0}" aria-hidden="true">'
    '<rect class="{1}" width="10" height="10"/></svg>{2}</span>'
)
VALUES = """<section><h2>Values</h2><div class="card scroll"><table id="values">
<thead><tr>{head}</tr></thead><tbody>
{rows}</tbody></table></div>{note}</section>
"""
NOTE = '<p class="soft">{0}</p>'
HEAD = '<th scope="col"{1}><button type="button">{0}</button></th>'
ROW = "<tr>{0}</tr>\n"
ROW_WITHOUT = '<tr class="none">{0}</tr>\n'
NAME_CELL = '<td class="name"><a href="#task-{0}">{1}</a></td>'
CELL = "<td>{0}</td>"
PROBLEM_CELL = '<td class="soft" colspan="{0}">{1}</td>'
NUMBER_CELL = '<td class="num" data-number="{0}">{0}</td>'
TASKS = "<section><h2>Tasks</h2>\n{0}</section>"
TASK = """<details class="task card" id="task-{number}"{is_open}><summary><b>{label}</b>{badge}
<span class="soft brief">{brief}</span><span class="soft">{seconds}</span></summary>
<div class="inner">{body}</div></details>
"""
WHY = '<p class="why {0}">{1}</p>'
HEADING = "<h3>{0}</h3>"
PRE = "<pre>{0}</pre>"
FOLDED = '<details><summary class="soft">{0}</summary><pre>{1}</pre></details>'
PICTURE = '<a href="{0}"><img src="{0}" alt="{1}" title="{1}" loading="lazy" decoding="async"></a>'
FILE = '<a href="{0}">{1}</a>'
