"""The bars of the list: when each task waited, spoke, used tools, asked and ended, to scale."""

from __future__ import annotations

import re
from calendar import timegm
from typing import NamedTuple

from rebyte_local.formats import JsonObject, now_us
from rebyte_local.service import Service
from rebyte_local.storage.task_table import OPEN_STATUSES

# Of each prompt so many lines are looked at; a bar shows no more.
LINES_MOST = 2000
WIDTH = 1000
LEAST_WIDTH = 2.0
TOP, HEIGHT = 4, 12
# Below this share of the whole the longest bar could hardly be seen.
LEAST_SHARE = 1 / 40
MICROSECONDS = 1_000_000
# The log writes an event's time and type before its payload, so nothing has to be parsed.
HEAD = re.compile(
    r'\{"seq":\d+,"timestamp":"(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)(\.\d+)?Z",'
    r'"promptId":"[^"]*","eventType":"([^"]*)"'
)
BEGINS = {"tool_use": "tool", "ask_user_question": "ask"}
SPOKEN = ("text", "stdout", "result")
PATH = '<path class="{0}" d="{1}"/>'
BAR = (
    '<svg class="bar {standing}" viewBox="0 0 1000 20" preserveAspectRatio="none" role="img"'
    ' aria-label="{words}">{paths}</svg>'
)


class Stretch(NamedTuple):
    """A piece of a bar: its class, and from when to when in seconds since 1970."""

    kind: str
    begin: float
    end: float


class Bar:
    """What is drawn of one task."""

    def __init__(self, begin: float, end: float, standing: str) -> None:
        self.begin = begin
        self.end = end
        self.standing = standing
        self.stretches: list[Stretch] = []

    @property
    def seconds(self) -> float:
        """How long it has taken so far, pauses between its prompts included."""
        return self.end - self.begin

    def add_prompt(self, begin: float, end: float, lines: list[str]) -> None:
        """Add one prompt, from its submission to its end or to now, and its events."""
        events = [event for event in map(_event, lines) if event]
        word = next((moment for moment, kind in events if kind in SPOKEN), end)
        self.stretches += [Stretch("lead", begin, word), Stretch("talk", word, end)]
        self.stretches += _stretches(events, end)


def _stretches(events: list[tuple[float, str]], end: float) -> list[Stretch]:
    """Return when tools were used and questions waited; what nobody ended lasts to the end."""
    found: list[Stretch] = []
    opened: dict[str, float] = {}
    for moment, kind in events:
        if "ask" in opened:
            found.append(Stretch("ask", opened.pop("ask"), moment))
        if kind == "tool_result" and "tool" in opened:
            found.append(Stretch("tool", opened.pop("tool"), moment))
        if kind in BEGINS:
            opened.setdefault(BEGINS[kind], moment)
    return found + [Stretch(kind, since, end) for kind, since in opened.items()]


def _event(line: str) -> tuple[float, str] | None:
    """Return (moment, type) of a stored event."""
    match = HEAD.match(line)
    if not match:
        return None
    date = tuple(map(int, match.groups()[:6]))
    return timegm(date) + float(match.group(7) or 0), match.group(8)


def bars_of(service: Service, tasks: list[JsonObject]) -> list[Bar]:
    """Return the bar of each task."""
    now = now_us() / MICROSECONDS
    return [_bar_of(service, task, now) for task in tasks]


def _bar_of(service: Service, task: JsonObject, now: float) -> Bar:
    prompts = service.tasks.prompts(task["id"])
    standing = service.tasks.status(task["id"])[0]
    bar = Bar(task["created"] / MICROSECONDS, task["created"] / MICROSECONDS, standing)
    for prompt in prompts:
        begin = prompt["submitted"] / MICROSECONDS
        is_open = prompt["status"] in OPEN_STATUSES
        ended = now if is_open else (prompt["completed"] or 0) / MICROSECONDS
        end = max(ended, begin)
        lines = next(service.events.read(prompt["id"]), [])
        bar.add_prompt(begin, end, lines[:LINES_MOST])
        bar.end = max(bar.end, end)
    return bar


class Scale:
    """Where a moment lies on bars that share one clock, or that each begin at the left."""

    def __init__(self, bars: list[Bar]) -> None:
        self.longest = max((bar.seconds for bar in bars), default=0.0)
        self.begin = min((bar.begin for bar in bars), default=0.0)
        self.seconds = max((bar.end for bar in bars), default=0.0) - self.begin
        self.is_shared = self.longest >= self.seconds * LEAST_SHARE
        if not self.is_shared:
            self.seconds = self.longest

    def place(self, bar: Bar, moment: float) -> float:
        """Return where a moment of a bar lies, from 0 to WIDTH."""
        begin = self.begin if self.is_shared else bar.begin
        share = (moment - begin) / self.seconds if self.seconds > 0 else 0.0
        return round(min(max(share, 0.0), 1.0) * WIDTH, 1)

    def words(self) -> str:
        """Return what the whole width stands for."""
        if self.is_shared:
            return "The whole width is %.3g s, one clock for all." % self.seconds
        return "The whole width is %.3g s; each task begins at the left." % self.seconds


def draw(bar: Bar, scale: Scale) -> str:
    """Return a bar as SVG."""
    outlines = dict.fromkeys(("lead", "talk", "tool", "ask", "end"), "")
    for kind, begin, end in bar.stretches:
        left = scale.place(bar, begin)
        right = scale.place(bar, end)
        if kind in ("tool", "ask"):
            right = max(right, left + LEAST_WIDTH)
            outlines[kind] += _box(left, right, TOP + 3, HEIGHT - 6)
        else:
            outlines[kind] += _box(left, right, TOP, HEIGHT)
    if bar.standing not in OPEN_STATUSES:
        left = min(scale.place(bar, bar.end), WIDTH - LEAST_WIDTH)
        outlines["end"] = _box(left, left + LEAST_WIDTH, 1, 18)
    paths = [PATH.format(*pair) for pair in outlines.items() if pair[1]]
    words = "%s, %.1f seconds" % (bar.standing, bar.seconds)
    return BAR.format(standing=bar.standing, words=words, paths="".join(paths))


def _box(left: float, right: float, top: int, height: int) -> str:
    if right <= left:
        return ""
    return "M%g %dH%gV%dH%gz" % (left, top, right, top + height, left)
