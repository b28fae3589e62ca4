"""The bars of the list: when each task waited, spoke, used tools, asked and ended, to scale."""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Collection
from typing import NamedTuple

from rebyte_local.formats import JsonObject, now_us
from rebyte_local.service import Service
from rebyte_local.storage.task_table import OPEN_STATUSES

# Of each prompt so many lines are looked at; a bar shows no more.
LINES_MOST = 2000
WIDTH = 1000
LEAST_WIDTH = 2.0
# From the lowest to the uppermost: where each begins, and how high it is.
LAYERS = {
    "lead": (4, 12),
    "talk": (4, 12),
    "tool": (7, 6),
    "ask": (7, 6),
    "end": (1, 18),
}
MARKS = ("tool", "ask", "end")
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


class Event(NamedTuple):
    """A moment, in seconds since 1970, and the type of what happened then."""

    moment: float
    kind: str


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
        events = list(filter(None, map(_event, lines)))
        word = _first_word(events, end)
        self.stretches.append(Stretch("lead", begin, word))
        self.stretches.append(Stretch("talk", word, end))
        self.stretches += _stretches(events, end)


def _first_word(events: list[Event], end: float) -> float:
    """Return when the first word was said, the end where none was."""
    for event in events:
        if event.kind in SPOKEN:
            return event.moment
    return end


def _stretches(events: list[Event], end: float) -> list[Stretch]:
    """Return when tools were used and questions waited; what nobody ended lasts to the end."""
    found: list[Stretch] = []
    opened: dict[str, float] = {}
    for event in events:
        for kind in _ended_by(event, opened):
            begin = opened.pop(kind)
            found.append(Stretch(kind, begin, event.moment))
        if event.kind in BEGINS:
            begun = BEGINS[event.kind]
            opened.setdefault(begun, event.moment)
    for kind, begin in opened.items():
        found.append(Stretch(kind, begin, end))
    return found


def _ended_by(event: Event, opened: Collection[str]) -> list[str]:
    """Return the open stretches that an event ends: any ends a question, a result all."""
    ended = [*opened] if event.kind == "tool_result" else ["ask"]
    return [kind for kind in ended if kind in opened]


def _event(line: str) -> Event | None:
    """Return a stored event, None for a line that is none."""
    match = HEAD.match(line)
    if not match:
        return None
    *date, fraction, kind = match.groups()
    seconds = timegm(tuple(map(int, date)))
    return Event(seconds + float(fraction or 0), kind)


def bars_of(service: Service, tasks: list[JsonObject]) -> list[Bar]:
    """Return the bar of each task."""
    now = now_us() / MICROSECONDS
    return [_bar_of(service, task, now) for task in tasks]


def _bar_of(service: Service, task: JsonObject, now: float) -> Bar:
    task_id = task["id"]
    created = task["created"] / MICROSECONDS
    standing = service.tasks.status(task_id)[0]
    bar = Bar(created, created, standing)
    for prompt in service.tasks.prompts(task_id):
        begin = prompt["submitted"] / MICROSECONDS
        end = max(begin, _end_of(prompt, now))
        blocks = service.events.read(prompt["id"])
        lines = next(blocks, [])
        bar.add_prompt(begin, end, lines[:LINES_MOST])
        bar.end = max(bar.end, end)
    return bar


def _end_of(prompt: JsonObject, now: float) -> float:
    """Return when a prompt ended, now for an open one, 0 where that was not kept."""
    if prompt["status"] in OPEN_STATUSES:
        return now
    completed = prompt["completed"] or 0
    return float(completed / MICROSECONDS)


class Scale:
    """Where a moment lies on bars that share one clock, or that each begin at the left."""

    def __init__(self, bars: list[Bar]) -> None:
        durations = [bar.seconds for bar in bars]
        begins = [bar.begin for bar in bars]
        ends = [bar.end for bar in bars]
        longest = max(durations, default=0.0)
        self.begin = min(begins, default=0.0)
        whole = max(ends, default=0.0) - self.begin
        self.is_shared = longest >= whole * LEAST_SHARE
        self.seconds = whole if self.is_shared else longest

    def place(self, bar: Bar, moment: float) -> float:
        """Return where a moment of a bar lies, from 0 to WIDTH."""
        if self.seconds <= 0:
            return 0.0
        begin = self.begin if self.is_shared else bar.begin
        share = (moment - begin) / self.seconds
        inside = min(max(share, 0.0), 1.0)
        return round(inside * WIDTH, 1)

    def words(self) -> str:
        """Return what the whole width stands for."""
        if self.is_shared:
            return "The whole width is %.3g s, one clock for all." % self.seconds
        return "The whole width is %.3g s; each task begins at the left." % self.seconds


def draw(bar: Bar, scale: Scale) -> str:
    """Return a bar as SVG."""
    outlines = dict.fromkeys(LAYERS, "")
    for stretch in bar.stretches:
        left = scale.place(bar, stretch.begin)
        right = scale.place(bar, stretch.end)
        outlines[stretch.kind] += _outline(stretch.kind, left, right)
    if bar.standing not in OPEN_STATUSES:
        end = scale.place(bar, bar.end)
        left = min(end, WIDTH - LEAST_WIDTH)
        outlines["end"] = _outline("end", left, left)
    paths = [PATH.format(kind, d) for kind, d in outlines.items() if d]
    words = "%s, %.1f seconds" % (bar.standing, bar.seconds)
    return BAR.format(standing=bar.standing, words=words, paths="".join(paths))


def _outline(kind: str, left: float, right: float) -> str:
    """Return the outline of a stretch; what marks something is seen however short it was."""
    top, height = LAYERS[kind]
    if kind in MARKS:
        right = max(right, left + LEAST_WIDTH)
    return _box(left, right, top, height)


def _box(left: float, right: float, top: int, height: int) -> str:
    if right <= left:
        return ""
    return "M%g %dH%gV%dH%gz" % (left, top, right, top + height, left)
