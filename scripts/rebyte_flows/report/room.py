"""How much of each text the page has room for, so that it stays a page that opens at once."""

from __future__ import annotations

from rebyte_flows.report.markup import ADDRESS_CHARACTERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_flows.report.folder import FolderView

# All answers together, and the longest; the whole ones lie beside the page.
ANSWERS_CHARACTERS = 1_200_000
ANSWER_CHARACTERS = 20_000
DIFFS_CHARACTERS = 800_000
DIFF_CHARACTERS = 60_000
CELLS_CHARACTERS = 800_000
CELL_CHARACTERS = 400
TEXTS_CHARACTERS = 600_000
TEXT_CHARACTERS = 2_000
NOTES_CHARACTERS = 20_000
LEAST_CHARACTERS = 60
# What is no longer than a name; where there is least room some letters of it.
NAME_CHARACTERS = 80
SHORTEST_CHARACTERS = 12
LIST_MOST = 40
LIST_OF_MANY = 5
CELLS_MOST = 30_000
COLUMNS_LEAST = 8


class Room:
    """The lengths of one page, in characters: a `share` below 1 makes all of them shorter."""

    def __init__(self, view: FolderView, share: float) -> None:
        tasks = max(len(view.tasks), 1)
        columns = min(
            max(len(view.columns), 1), max(CELLS_MOST // tasks, COLUMNS_LEAST)
        )
        parts = tasks / share
        cells = parts * columns
        self._share = share
        self.columns = columns
        self.answer = _part(ANSWERS_CHARACTERS, parts, ANSWER_CHARACTERS)
        self.diff = _part(DIFFS_CHARACTERS, parts, DIFF_CHARACTERS)
        self.cell = self._least(_part(CELLS_CHARACTERS, cells, CELL_CHARACTERS))
        self.text = self._least(_part(TEXTS_CHARACTERS, parts, TEXT_CHARACTERS))
        self.notes = self._least(_part(TEXTS_CHARACTERS, parts, NOTES_CHARACTERS))
        self.address = int(ADDRESS_CHARACTERS * share)
        self.name = self.short(NAME_CHARACTERS)
        self.items = LIST_MOST if parts <= LIST_MOST else LIST_OF_MANY

    def __repr__(self) -> str:
        return "Room(%d characters an answer)" % self.answer

    def short(self, most: int) -> int:
        """Return how long a text may be that is never longer than a line or two."""
        return max(SHORTEST_CHARACTERS, int(most * self._share))

    def _least(self, characters: int) -> int:
        return max(characters, self.short(LEAST_CHARACTERS))


def _part(whole: int, parts: float, most: int) -> int:
    """Return the length of one of so many parts of a whole."""
    return min(most, int(whole / parts))
