"""stdout, which carries one document, and stderr, which carries everything else."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from rebyte_commands.shell import output
from rebyte_commands.shell.environment import FORMS
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TextIO

    from rebyte_commands.shell.outcome import Outcome


class Console:
    """Writes documents in the form that was asked for: JSON, text for people, or one field."""

    def __init__(
        self,
        *,
        form: str,
        field: str | None = None,
        quiet: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.form = form
        self.field = field
        self.quiet = quiet
        self.stdout = stdout
        self.stderr = stderr

    def __repr__(self) -> str:
        return "Console(%s%s)" % (self.form, ", quiet" if self.quiet else "")

    def info(self, text: str) -> None:
        """Write one plain line to stderr, unless --quiet."""
        if not self.quiet:
            self.error(text)

    def error(self, text: str) -> None:
        """Write one plain line to stderr whatever was asked for; a closed stderr loses it."""
        line = output.escape_non_ascii(output.escape_controls(text))
        output.write_quietly(self.stderr, "rebyte: %s\n" % line)

    def print_outcome(
        self, outcome: Outcome, save: Callable[[str], str | None]
    ) -> bool:
        """Write a document to stdout; False when it lacks the field that was asked for.

        Then the field and what is next are told on stderr. `save(text)` keeps what is too long for
        stdout and returns its path. Raises OSError when nobody reads stdout any more.
        """
        if self.field is None:
            self.write_line(self._render(outcome, save))
            return True
        try:
            text = self._field_text(outcome.document, self.field)
        except InputError as problem:
            for line in [problem.message, *output.next_lines(outcome.document)]:
                self.error(line)
            return False
        self.write_line(text)
        return True

    def _render(self, outcome: Outcome, save: Callable[[str], str | None]) -> str:
        document = output.truncate(outcome.document, save)
        if self.form != "text":
            return output.to_json(document)
        was_emptied = isinstance(document, dict) and set(document) <= {"cut", "next"}
        text = outcome.text
        if text is None or was_emptied:
            text = output.plain_text
        return output.escape_controls(text(document))

    def write_line(self, text: str) -> None:
        """Write a line to stdout and flush it; raises OSError when nobody reads it any more."""
        if self.stdout is None:
            raise BrokenPipeError("stdout is closed")
        if not text.isascii():
            encoding = getattr(self.stdout, "encoding", None) or "ascii"
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        self.stdout.write(text + "\n")
        self.stdout.flush()

    def _field_text(self, document: Any, path: str) -> str:
        """Return one field as text; InputError names what is there instead."""
        value = output.field_of(document, path)
        if not isinstance(value, str):
            return output.to_json(value)
        return (
            output.escape_controls(value) if output.is_terminal(self.stdout) else value
        )


def form_for(
    asked: str | None, environ: Mapping[str, str], *, is_terminal: bool
) -> str:
    """Return json or text: what a flag or REBYTE_OUTPUT asks for, else text on a terminal only."""
    wanted = asked or (environ.get("REBYTE_OUTPUT") or "").strip().lower()
    if wanted in FORMS:
        return wanted
    return "text" if is_terminal else "json"


def silence_stdout() -> None:
    """Point stdout nowhere, so that the interpreter's last flush does not complain."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout = None
