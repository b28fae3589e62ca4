"""What a command has to say: the one document, its exit code, and what to note once printed."""

from __future__ import annotations

from rebyte_wire.errors import EXIT_DONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Outcome:
    """A command's document, how people read it, its exit code, and what to do once it was printed.

    `text` turns the document into lines for a terminal. `on_printed` runs only when the document,
    or the field of it that was asked for, has reached stdout: what was delivered is noted in the
    ledger there.
    """

    def __init__(
        self,
        document: Any,
        *,
        text: Callable[[Any], str] | None = None,
        code: int = EXIT_DONE,
        on_printed: Callable[[], None] | None = None,
    ) -> None:
        self.document = document
        self.text = text
        self.code = code
        self.on_printed = on_printed

    def __repr__(self) -> str:
        return "Outcome(code %d)" % self.code
