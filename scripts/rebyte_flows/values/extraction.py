"""The JSON value in an answer: where it may stand, and in which order the places are believed.

The whole text; else the fences, the last first; else what a scan of the prose finds. The scan
stops for good at an opener that does not decode, so that no inner object of a broken outer one is
taken for the answer.
"""

from __future__ import annotations

import re

from rebyte_flows.values.strict_json import decode, decode_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# No two parts of it can take the same character, else a long line would take minutes.
FENCE = re.compile(r"[ \t]*(`{3,}|~{3,}(?!~))([^`\r\n]*)\r?$")
# A value of JSON has neither: what marks a line as quoted, and what colours a terminal.
QUOTE_MARKS = re.compile(r"^[ \t]*(?:>[ \t]*)+")
COLOUR = re.compile("\x1b\\[[0-9;?]*[@-~]")
# Fences that say they hold a value, or say nothing.
PLAIN_LABELS = ("", "json", "text", "txt", "plaintext", "markdown", "md", "output")
OPENER = re.compile(r"[\[{]")
WORDS = r'[^\[\]{}"\n]'
SHORT_PAIR = r"\[%s{0,200}\]|\{%s{0,200}\}" % (WORDS, WORDS)
# A short pair on one line, which may be a citation although it is JSON.
CITATION = re.compile(SHORT_PAIR)
# What is plainly prose where it is no JSON: a placeholder, a box to tick, pairs in a pair as code
# has them, a half-open interval, words with quotes, a span of code.
PROSE = re.compile(
    r"\[(?:%s|%s){0,200}\]|\{(?:%s|%s){0,200}\}"
    % (WORDS, SHORT_PAIR, WORDS, SHORT_PAIR)
    + r'|\[[^\[\]{}()"\n]{0,60}\)'
    r'|\[(?=[ \t]*[^\s\[\]{}"\d\-tfn])[^\[\]{}\n]{0,200}\]'
    r'|(?<=`)[\[{](?:[^`"\n]|"(?:[^`"\\\n]|\\.)*"){0,400}(?=`)'
)
# What begins as an object or an array of JSON begins.
VALUE_BEGINS = re.compile(r'\{\s*(?:"|\Z)|\[\s*(?:[\[{"\d-]|\Z)')
STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|["\[\]{}]', re.S)


class Extraction:
    """The values found in an answer, the most credible first.

    `is_cut` says that the answer ends inside a value: then an earlier one is a draft.
    """

    def __init__(self, values: list[Any], is_cut: bool) -> None:
        self.values = values
        self.is_cut = is_cut

    def __repr__(self) -> str:
        return "Extraction(%d values)" % len(self.values)


class Fence:
    """One fenced block: the word behind its opening, and what it holds."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.lines: list[str] = []

    def __repr__(self) -> str:
        return "Fence(%r, %d lines)" % (self.label, len(self.lines))

    @property
    def text(self) -> str:
        """What stands between the fences."""
        return "\n".join(self.lines)

    @property
    def is_plain(self) -> bool:
        """True where its label does not say that it holds another language."""
        return self.label in PLAIN_LABELS


def extract(answer: str) -> Extraction:
    """Return the values in an answer, in the order in which they are to be tried."""
    try:
        return Extraction([decode(answer)], is_cut=False)
    except ValueError:
        pass
    parts = split(answer)
    found, stop = _scan(parts.text)
    plain = [fence for fence in parts.fences if fence.is_plain]
    others = [fence for fence in parts.fences if not fence.is_plain]
    values = [*_decoded(plain), *_decoded(others), *found]
    if stop is None or stop < parts.text_before_fence:
        # What breaks off before a whole fence was only shown, or begun again.
        return Extraction(values, is_cut=False)
    return Extraction(values, is_cut=_breaks_off(parts.text, stop))


def _decoded(fences: list[Fence]) -> Iterator[Any]:
    """Yield the value of each fence that holds just one, the last first."""
    for fence in reversed(fences):
        try:
            yield decode(fence.text)
        except ValueError:
            continue


def split(answer: str) -> Parts:
    """Return the parts of an answer.

    A fence that holds no value, and does not say it is of another language, is prose as well.
    """
    parts = Parts()
    for line in COLOUR.sub("", answer).split("\n"):
        parts.take(QUOTE_MARKS.sub("", line))
    # Never closed: whatever its label says, the answer may break off in it.
    parts.put(is_closed=False)
    return parts


class Parts:
    """The fences and the prose of an answer, line by line."""

    def __init__(self) -> None:
        self.fences: list[Fence] = []
        self.prose: list[str] = []
        self._lines_before_fence = 0
        self._fence: Fence | None = None
        self._marks = ""

    def __repr__(self) -> str:
        return "Parts(%d fences)" % len(self.fences)

    @property
    def text(self) -> str:
        """The prose."""
        return "\n".join(self.prose)

    @property
    def text_before_fence(self) -> int:
        """How much of the prose stands before the last fence with a value, in characters."""
        before = self.prose[: self._lines_before_fence]
        return sum(len(line) + 1 for line in before)

    def take(self, line: str) -> None:
        """Take one line."""
        fence = self._fence
        match = FENCE.match(line)
        if match and fence and _closes(match, self._marks):
            self.put()
        elif match and (fence is None or _label(match) == "json"):
            self.prose += fence.lines if fence else []
            self._marks = match.group(1)
            self._fence = _opened(match)
        else:
            (fence.lines if fence else self.prose).append(line)

    def put(self, is_closed: bool = True) -> None:
        """End the fence that is open, if any: what holds no value of its own is prose as well."""
        fence = self._fence
        self._fence = None
        if fence is None:
            return
        try:
            decode(fence.text)
        except ValueError:
            if fence.is_plain or not is_closed:
                self.prose += fence.lines
            return
        self.fences.append(fence)
        self._lines_before_fence = len(self.prose)


def _opened(match: re.Match[str]) -> Fence:
    """Return the fence that a line opens, with what of a value stands in that line already."""
    fence = Fence(_label(match))
    begin = VALUE_BEGINS.search(match.group(2))
    if begin:
        fence.lines.append(begin.string[begin.start() :])
    return fence


def _label(match: re.Match[str]) -> str:
    words = match.group(2).lower().split()
    return words[0] if words else ""


def _closes(match: re.Match[str], marks: str) -> bool:
    if match.group(2).strip():
        return False
    own = match.group(1)
    # At least as many of the same.
    return own.startswith(marks)


def _scan(prose: str) -> tuple[list[Any], int | None]:
    """Return (the values in prose, where it was given up: None where it was read to its end).

    The last complete one comes first, and short pairs, which may be citations, come last.
    """
    whole: list[Any] = []
    pairs: list[Any] = []
    match = OPENER.search(prose)
    while match:
        start = match.start()
        words = PROSE.match(prose, start)
        try:
            value, end = _value_at(prose, start, words)
        except ValueError:
            if words is None:
                return whole[::-1] + pairs[::-1], start
            end = words.end()
        else:
            (pairs if CITATION.match(prose, start) else whole).append(value)
        match = OPENER.search(prose, end)
    return whole[::-1] + pairs[::-1], None


def _value_at(prose: str, start: int, words: re.Match[str] | None) -> tuple[Any, int]:
    """Return (the value that begins at a place, where it ends); ValueError where none does."""
    if words is None:
        return decode_at(prose, start)
    # An error of the decoder costs as much as its text is long.
    value, length = decode_at(words.group(), 0)
    return value, start + length


def _breaks_off(prose: str, start: int) -> bool:
    """Tell whether what begins like a value at a place is never closed."""
    if not VALUE_BEGINS.match(prose, start):
        return False
    depth = 0
    for match in STRING_OR_BRACKET.finditer(prose, start):
        token = match.group()
        if token == '"':
            return True
        depth += (token in "[{") - (token in "]}")
        if depth <= 0 and token in "]}":
            return False
    return True
