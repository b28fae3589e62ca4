"""What surrounds one command: its time, its console, the client, state and ledger it asks for."""

from __future__ import annotations

import os
import re
import sys
import time

from rebyte_commands.shell.console import Console, form_for
from rebyte_commands.shell.environment import in_harness, read_number, shell_join
from rebyte_commands.shell.interrupts import Interrupts
from rebyte_commands.shell.output import is_terminal
from rebyte_commands.shell.stdin import Stdin
from rebyte_wire.credentials import DEFAULT_BASE_URL, find_base, key_for
from rebyte_wire.errors import LedgerUnwritable
from rebyte_wire.requests import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from rebyte_client import RebyteClient
    from rebyte_flows.starting.ledger import Ledger
    from rebyte_flows.starting.rows import Row
    from rebyte_flows.state import StateFolder
    from rebyte_types import Step

DEFAULT_WAIT_SECONDS = 90
# How our own local server calls itself in its answers.
# A longer line is described instead of shown.
LINE_LIMIT_CHARACTERS = 1500
REPOSITORY_FLAGS = ("--repo", "--github-url")
REMOTE_USER = r"^((?:--[a-z-]+=)?(?:[a-z+]+://)?)[^@/\s]+@"
FROM_STDIN = r"-$|-=|--[a-z-]+=-(=|$)|@-$"


class Context:
    """Made once per command; client, state folder and ledger are made when first asked for."""

    def __init__(
        self,
        options: Namespace,
        environ: Mapping[str, str],
        started: float,
        words: Sequence[str] = (),
    ) -> None:
        self.options = options
        self.environ = environ
        self.words = list(words)
        self.console = console_for(options, environ)
        self.info = self.console.info
        self.error = self.console.error
        self.deadline = Deadline(self.wait_limit(), started=_monotonic(started))
        self.stdin = Stdin(sys.stdin, self.deadline)
        self.interrupts = Interrupts(self._is_busy, self.error)
        self._client: RebyteClient | None = None
        self._state: StateFolder | None = None
        self._ledger: Ledger | None = None

    def __repr__(self) -> str:
        return "Context(%s)" % self.options.verb

    def wait_limit(self) -> float | None:
        """Return the slice in seconds; None, no limit, for a person at a terminal outside any
        harness.
        """
        if self.options.max_wait is not None:
            limit: float = self.options.max_wait
            return limit
        asked = read_number(self.environ, "REBYTE_MAX_WAIT")
        if asked is not None:
            return asked
        is_person = is_terminal(sys.stdin) and is_terminal(self.console.stdout)
        if is_person and not in_harness(self.environ):
            return None
        return DEFAULT_WAIT_SECONDS

    def _is_busy(self) -> bool:
        """Tell whether the answer to a paid start is waited for."""
        return self._ledger is not None and self._ledger.is_busy

    def save_overflow(self, text: str) -> str | None:
        """Keep a long text whole in the state folder and return its path; None when the disk
        refuses.
        """
        from rebyte_flows.state import open_private

        name = "%s-%s.txt" % (self.options.verb.partition(" ")[0], os.urandom(6).hex())
        try:
            path = self.state.file("answers", name)
            with open_private(path) as file:
                file.write(text.encode("utf-8", "backslashreplace").decode("utf-8"))
            return path
        except (OSError, LedgerUnwritable):
            return None

    # Lines to paste

    def command_line(self, *words: object) -> str:
        """Return a whole command line to paste, with the interpreter, the path and the flags that
        work here.
        """
        flags: list[str] = []
        if self.options.local and words[0] != "local":
            flags.append("--local")
        if self.options.base_url and "--local" not in words:
            flags += ["--base-url", self.options.base_url]
        if self.options.api_key_file and "--local" not in words:
            flags += ["--api-key-file", self.options.api_key_file]
        return shell_join(flags + [str(word) for word in words])

    def rerun_line(self, *more: str, without: str | None = None) -> str | None:
        """Return the line that was typed, with flags added and less one.

        None if it cannot be pasted: it is too long, or it read stdin.
        """
        words = _without_tokens(word for word in self.words if word != without)
        # After "--" nothing is a flag.
        end = words.index("--") if "--" in words else len(words)
        words[end:end] = more
        reads_stdin = any(re.match(FROM_STDIN, word) for word in words)
        if reads_stdin or sum(map(len, words)) > LINE_LIMIT_CHARACTERS:
            return None
        return shell_join(words)

    def rerun_step(self, why: str, *more: str, without: str | None = None) -> Step:
        """Return the entry of `next` that types the line again; one that cannot be pasted is
        described.
        """
        line = self.rerun_line(*more, without=without)
        if line:
            return {"why": why, "run": line}
        flags = " with " + " ".join(more) if more else ""
        return {"why": "%s: type the same line%s, with what it read" % (why, flags)}

    def again_step(self, why: str) -> Step:
        """Return the entry of `next` that pays for a second task knowingly."""
        return self.rerun_step(why, "--again", without="--again")

    # What is reached

    @property
    def client(self) -> RebyteClient:
        """The client for the service this command speaks to, with --local that of this machine."""
        if self._client is None:
            # Lazy: verbs that send nothing load no network.
            from rebyte_client import RebyteClient

            key, base = self._local_address() if self.options.local else self._address()
            self._client = RebyteClient(
                key, base, deadline=self.deadline, environ=self.environ
            )
        return self._client

    def _local_address(self) -> tuple[str, str]:
        from rebyte_commands.shell.local_server import ensure_running

        server = ensure_running(self)
        return server["key"], server["baseUrl"]

    def _address(self) -> tuple[str, str]:
        base = find_base(self.environ, self.options.base_url)
        key_file = self.options.api_key_file
        key = key_for(self.environ, base, key_file, self.deadline, self.error)
        if base != DEFAULT_BASE_URL:
            # Also with --quiet: work must not go to another service unnoticed.
            self.error("speaking to %s" % base)
        return key, base

    @property
    def service(self) -> str:
        """Who answers; see service_of."""
        from rebyte_flows.following.result import service_of

        return service_of(self.client)

    @property
    def state(self) -> StateFolder:
        """The state folder; raises LedgerUnwritable when there is none."""
        if self._state is None:
            # Lazy: what only asks the service loads no ledger.
            from rebyte_flows.state import find_state, prune

            self._state = find_state(self.environ, self.info)
            prune(self._state)
        return self._state

    @property
    def ledger(self) -> Ledger:
        """The ledger of this origin and account; raises LedgerUnwritable when it cannot be kept."""
        if self._ledger is None:
            from rebyte_flows.starting.ledger import open_ledger

            self._ledger = open_ledger(self.client, self.state)
        return self._ledger

    def read_whole_ledger(self) -> None:
        """Take the ledger as it is, of every service and account: this needs neither key nor
        network.
        """
        from rebyte_flows.starting.ledger import Ledger

        self._ledger = Ledger(self.state, None, None, deadline=self.deadline)

    def deliver(self, row: Row, **values: Any) -> None:
        """Remember that a start's final document was written to stdout; the first time counts."""
        if row.id is None:
            return
        try:
            self.ledger.update(
                row.id, delivered_at=row.delivered_at or time.time(), **values
            )
        except LedgerUnwritable as problem:
            self.error("%s; the same line will show this again" % problem.message)

    def answered(self, task_id: str) -> set[str]:
        """Return the questions of a task that were answered from here; none where there is no
        ledger.
        """
        try:
            return self.ledger.answered(task_id)
        except LedgerUnwritable:
            return set()

    def close(self) -> None:
        """Give back connections, locks and files."""
        if self._client is not None:
            self._client.close()
        if self._ledger is not None:
            self._ledger.close()


def _without_tokens(words: Iterable[str]) -> list[str]:
    """Return the words of a line, without the user and token in the address of a repository."""
    shown: list[str] = []
    for word in words:
        is_address = bool(shown) and shown[-1] in REPOSITORY_FLAGS
        if is_address or word.startswith(
            tuple(flag + "=" for flag in REPOSITORY_FLAGS)
        ):
            word = re.sub(REMOTE_USER, r"\1", word)
        shown.append(word)
    return shown


def console_for(options: Namespace, environ: Mapping[str, str]) -> Console:
    """Return the console of a command line."""
    is_person = is_terminal(sys.stdout) and not in_harness(environ)
    form = form_for(options.form, environ, is_terminal=is_person)
    return Console(
        form=form,
        field=options.field,
        quiet=options.quiet,
        stdout=sys.stdout,
        stderr=sys.stderr,
    )


def _monotonic(started: float) -> float:
    """Return the monotonic moment of a wall-clock moment just past, never in the future."""
    return time.monotonic() - min(max(time.time() - started, 0), 10)
