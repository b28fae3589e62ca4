"""The bars of the timeline, drawn to scale as SVG: its attributes need no style of their own."""

from __future__ import annotations

from rebyte_flows.report import templates
from rebyte_flows.report.markup import cut, text
from rebyte_flows.report.timeline import QUESTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_flows.report.folder import TaskView
    from rebyte_flows.report.timeline import Scale, Timeline

# Thinner could not be seen.
LEAST_WIDTH = 2.0
TOP, HEIGHT = 4, 12
LABEL_CHARACTERS = 80
# (class of the whole, class of the piece, what it means)
LEGEND = (
    ("", "lead", "until the first word"),
    ("completed", "talk", "at work"),
    ("", "tool", "tools"),
    ("", "ask", "waits for an answer"),
    ("completed", "end", "the end"),
)


def time_row(
    number: int, task: TaskView, scale: Scale, badge: str, seconds: str
) -> str:
    """Return one row of the timeline."""
    return templates.TIME_ROW.format(
        number=number,
        label=text(cut(task.label, LABEL_CHARACTERS)),
        standing=text(task.standing),
        bar=_bar(task.timeline, scale, task.standing),
        badge=badge,
        seconds=text(seconds),
    )


def _bar(timeline: Timeline, scale: Scale, standing: str) -> str:
    if timeline.begin is None or timeline.end is None:
        return ""
    begin = scale.place(timeline, timeline.begin)
    end = scale.place(timeline, timeline.end)
    word = end
    if timeline.first_word is not None:
        word = scale.place(timeline, timeline.first_word)
    rects = [
        _rect("lead", begin, word, TOP, HEIGHT),
        _rect("talk", word, end, TOP, HEIGHT),
    ]
    for span in timeline.spans:
        kind = "ask" if span.kind == QUESTION else "tool"
        left = scale.place(timeline, span.begin)
        right = scale.place(timeline, span.end or span.begin)
        rects.append(
            _rect(kind, left, max(right, left + LEAST_WIDTH), TOP + 3, HEIGHT - 6)
        )
    if standing not in ("running", "waiting"):
        left = min(end, scale.width - LEAST_WIDTH)
        rects.append(_rect("end", left, left + LEAST_WIDTH, 1, 18))
    words = "%s, %.1f seconds, %d tool calls" % (standing, end - begin, timeline.tools)
    if timeline.seconds is not None:
        words = "%s after %.1f seconds, %d tool calls" % (
            standing,
            timeline.seconds,
            timeline.tools,
        )
    return templates.BAR.format(words=text(words), rects="".join(rects))


def _rect(kind: str, left: float, right: float, top: int, height: int) -> str:
    width = max(right - left, 0)
    return templates.RECT.format(kind, left, width, top, height) if width else ""


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
