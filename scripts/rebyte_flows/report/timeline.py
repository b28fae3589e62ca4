"""When a task began, said its first word, used tools, asked and ended: read, and drawn to scale.

The bars are SVG, whose attributes need no style of their own.
"""

from __future__ import annotations

from rebyte_flows.following.events import SPOKEN, event_text, parse_object, payload_of
from rebyte_flows.report import templates
from rebyte_flows.report.markup import text
from rebyte_wire.status import parse_timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from rebyte_types import Event

TOOL = "tool"
QUESTION = "question"
SPANS_MOST = 60
# Thinner could not be seen.
LEAST_WIDTH = 2.0
TOP, HEIGHT = 4, 12
# (class of the whole, class of the piece, what it means)
LEGEND = (
    ("", "lead", "until the first word"),
    ("completed", "talk", "at work"),
    ("", "tool", "tools"),
    ("", "ask", "waits for an answer"),
    ("completed", "end", "the end"),
)


class Span:
    """A stretch of time: what for, from when to when, in seconds since 1970."""

    def __init__(self, kind: str, begin: float, end: float | None = None) -> None:
        self.kind = kind
        self.begin = begin
        self.end = end

    def __repr__(self) -> str:
        return "Span(%s, %s to %s)" % (self.kind, self.begin, self.end)

    def close(self, moment: float) -> None:
        """End it, unless it has ended."""
        if self.end is None:
            self.end = max(self.begin, moment)


class Timeline:
    """The moments of one task; None and empty where its events have no times."""

    def __init__(self) -> None:
        self.begin: float | None = None
        self.first_word: float | None = None
        self.end: float | None = None
        self.spans: list[Span] = []
        self.tools = 0
        self._open: dict[str, Span] = {}
        self._question: Span | None = None

    def __repr__(self) -> str:
        return "Timeline(%s to %s)" % (self.begin, self.end)

    @property
    def seconds(self) -> float | None:
        """How long it took by its own events."""
        if self.begin is None or self.end is None:
            return None
        return self.end - self.begin

    def take(self, event: Event) -> None:
        """Take one event; one without a time is passed over."""
        moment = parse_timestamp(event.get("timestamp"))
        if moment is None:
            return
        if self.begin is None:
            self.begin = moment
        # A clock that was put back does not make time run backwards.
        moment = max(moment, self.end or self.begin)
        self.end = moment
        if self._question:
            self._question.close(moment)
            self._question = None
        self._take_kind(event, moment)

    def _take_kind(self, event: Event, moment: float) -> None:
        kind = event.get("eventType")
        payload = payload_of(event)
        if kind == "tool_use":
            self.tools += 1
            span = Span(TOOL, moment)
            self.spans.append(span)
            self._open[str(payload.get("id"))] = span
        elif kind == "tool_result":
            found = self._open.pop(str(payload.get("tool_id")), None)
            if found:
                found.close(moment)
        elif kind == "ask_user_question":
            self._question = Span(QUESTION, moment)
            self.spans.append(self._question)
        elif kind in SPOKEN and self.first_word is None and event_text(event):
            self.first_word = moment

    def finish(self) -> None:
        """End what nobody ended, and draw together what is too much to show."""
        for span in self.spans:
            span.close(self.end or span.begin)
        while len(self.spans) > SPANS_MOST:
            self.spans = _halved(self.spans)


def _halved(spans: list[Span]) -> list[Span]:
    """Return half as many spans, neighbours of one kind drawn together."""
    found: list[Span] = []
    firsts = spans[::2]
    seconds = spans[1::2]
    for one, other in zip(firsts, seconds):
        found.append(_joined(one, other))
    left_over = spans[len(found) * 2 :]
    return found + left_over


def _joined(one: Span, other: Span) -> Span:
    """Return one span in place of two; a question in either is not lost."""
    kind = TOOL
    if QUESTION in (one.kind, other.kind):
        kind = QUESTION
    end = max(one.end or one.begin, other.end or other.begin)
    return Span(kind, one.begin, end)


def read_timeline(lines: Iterable[str]) -> Timeline:
    """Return the moments that the lines of a transcript tell; what is no event is passed over."""
    timeline = Timeline()
    for line in lines:
        event = parse_object(line)
        if event is not None:
            timeline.take(event)
    timeline.finish()
    return timeline


class Scale:
    """Where moments lie on a bar that is `width` wide.

    All tasks share one clock; where they lie far apart, each begins at the left.
    """

    width = 1000
    # Bars that are shorter than this part of the whole could not be seen.
    least_share = 1 / 40

    def __init__(self, timelines: Iterable[Timeline]) -> None:
        begins = []
        ends = []
        lengths = []
        for one in timelines:
            if one.begin is None or one.end is None:
                continue
            begins.append(one.begin)
            ends.append(one.end)
            lengths.append(one.end - one.begin)
        self.longest = max(lengths, default=0.0)
        self.begin = min(begins, default=0.0)
        self.seconds = max(ends, default=0.0) - self.begin
        self.is_shared = self.longest >= self.seconds * self.least_share
        if not self.is_shared:
            self.seconds = self.longest

    def __repr__(self) -> str:
        return "Scale(%.1f s)" % self.seconds

    def place(self, timeline: Timeline, moment: float) -> float:
        """Return where a moment of a task lies, from 0 to `width`."""
        if self.seconds <= 0:
            return 0.0
        begin = self.begin
        if not self.is_shared and timeline.begin is not None:
            begin = timeline.begin
        share = (moment - begin) / self.seconds
        within = min(max(share, 0.0), 1.0)
        return round(within * self.width, 1)


def bar_of(timeline: Timeline, scale: Scale, standing: str) -> str:
    """Return the bar of one task, every colour of it one path; "" without times."""
    if timeline.begin is None or timeline.end is None:
        return ""
    begin = scale.place(timeline, timeline.begin)
    end = scale.place(timeline, timeline.end)
    word = end
    if timeline.first_word is not None:
        word = scale.place(timeline, timeline.first_word)
    paths = {
        "lead": _box(begin, word, TOP, HEIGHT),
        "talk": _box(word, end, TOP, HEIGHT),
        "tool": "",
        "ask": "",
        "end": "",
    }
    for span in timeline.spans:
        kind = "ask" if span.kind == QUESTION else "tool"
        left = scale.place(timeline, span.begin)
        right = scale.place(timeline, span.end or span.begin)
        right = max(right, left + LEAST_WIDTH)
        paths[kind] += _box(left, right, TOP + 3, HEIGHT - 6)
    if standing not in ("running", "waiting"):
        left = min(end, scale.width - LEAST_WIDTH)
        paths["end"] = _box(left, left + LEAST_WIDTH, 1, 18)
    words = "%s after %.1f seconds, %d tool calls" % (
        standing,
        timeline.end - timeline.begin,
        timeline.tools,
    )
    shown = [templates.PATH.format(*pair) for pair in paths.items() if pair[1]]
    return templates.BAR.format(words=text(words), paths="".join(shown))


def _box(left: float, right: float, top: int, height: int) -> str:
    """Return the outline of a box in the letters of an SVG path."""
    if right <= left:
        return ""
    return "M%g %dH%gV%dH%gz" % (left, top, right, top + height, left)


def scale_words(scale: Scale, length: str) -> str:
    """Return in words what the width of a bar stands for."""
    if scale.is_shared:
        return "The whole width is %s, one clock for all." % length
    return (
        "The whole width is %s; the tasks lie far apart, so each begins at the left."
        % length
    )


def legend() -> str:
    """Return what the colours mean."""
    return "".join(templates.LEGEND.format(*row) for row in LEGEND)
