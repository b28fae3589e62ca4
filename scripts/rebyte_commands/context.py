"""One command's surroundings: where it writes, how long it may take, its client, its ledger, and what an ID means."""

from __future__ import annotations

import os
import re
import sys
import time

from rebyte_commands import output
from rebyte_commands.arguments import Stdin
from rebyte_commands.environment import FORMS, HARNESS_MARKERS, read_number, shell_join
from rebyte_wire.credentials import DEFAULT_BASE_URL, find_base, key_for
from rebyte_wire.errors import InputError, LedgerUnwritable, NotFound
from rebyte_wire.requests import Deadline

DEFAULT_WAIT_SECONDS = 90
LINE_LIMIT_CHARACTERS = 1500
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", re.I)
ADDRESS = r"https?://[^/\s]+/(?:run|share|agent/computer)/([0-9A-Za-z-]+)/?(?:[?#].*)?$"
PREFIX = r"(?i)[0-9a-f-]{6,35}$"
FROM_STDIN = r"-$|-=|--[a-z-]+=-(=|$)|@-$"


class Context:
    """Made once per command; the client, the state folder and the ledger are made when first asked for."""

    def __init__(self, options, environ, started, stdout=None, stderr=None):
        self.options, self.environ = options, environ
        self.stdout, self.stderr = stdout or sys.stdout, stderr or sys.stderr
        self.deadline = Deadline(self._wait_limit(), started=_monotonic(started))
        self.printed, self.writing, self.lacks_field, self.words, self.flight = (
            False,
            False,
            False,
            [],
            None,
        )
        self._client = self._state = self._ledger = self._stdin = None

    def __repr__(self):
        return "Session(%s)" % getattr(self.options, "verb", None)

    def _wait_limit(self):
        """Return the slice in seconds, None for no limit: only a person at a terminal, outside any harness, has none."""
        if self.options.max_wait is not None:
            return self.options.max_wait
        asked = read_number(self.environ, "REBYTE_MAX_WAIT")
        if asked is not None:
            return asked
        harness = any(self.environ.get(name) for name in HARNESS_MARKERS)
        return (
            None
            if output.is_terminal(sys.stdin) and output.is_terminal(self.stdout) and not harness
            else DEFAULT_WAIT_SECONDS
        )

    # What is said

    def say(self, text):
        """Write one plain line to stderr, unless --quiet."""
        if not self.options.quiet:
            self.complain(text)

    def complain(self, text):
        """Write one plain line to stderr whatever was asked for."""
        try:
            self.stderr.write(
                "rebyte: %s\n" % output.escape_non_ascii(output.escape_controls(text))
            )
            self.stderr.flush()
        except (OSError, ValueError, AttributeError):
            pass

    @property
    def form(self):
        """json or text: what was asked for, else text on a terminal only."""
        asked = self.options.form or (self.environ.get("REBYTE_OUTPUT") or "").strip().lower()
        return asked if asked in FORMS else "text" if output.is_terminal(self.stdout) else "json"

    def emit(self, document, text=None):
        """Write the one document to stdout; `text` is its form for people. A field that it lacks is told on stderr, with what is next."""
        if self.options.field:
            try:
                words = self._field_text(document)
            except InputError as problem:
                self.lacks_field = self.printed = True
                for line in [problem.message] + output.next_lines(document):
                    self.complain(line)
                return
        else:
            document = output.fit(output.fit_answer(document, self.keep), self.keep)
            if self.form == "text":
                whole = (
                    text and not set(document) <= {"cut", "next"}
                    if isinstance(document, dict)
                    else text
                )
                words = output.escape_controls((text if whole else output.plain_text)(document))
            else:
                words = output.to_json(document)
        # An interrupt in the middle of the document would leave half of it, or bring a second one.
        self.writing = self.printed = True
        self.write(words)
        self.writing = False

    def write(self, words):
        """Write a line to stdout and flush it; raises OSError when nobody reads it any more."""
        if self.stdout is None:
            raise BrokenPipeError("stdout is closed")
        if not words.isascii():
            encoding = getattr(self.stdout, "encoding", None) or "ascii"
            words = words.encode(encoding, "backslashreplace").decode(encoding)
        self.stdout.write(words + "\n")
        self.stdout.flush()

    def _field_text(self, document):
        try:
            value = output.field_of(document, self.options.field)
        except KeyError as problem:
            part, place = problem.args
            there = (
                ", ".join(sorted(place))
                if isinstance(place, dict)
                else "a list of %d" % len(place)
                if isinstance(place, list)
                else "no parts"
            )
            raise InputError(
                "--field %s: there is no %s, but %s"
                % (self.options.field, part, there or "nothing"),
                code="no_such_field",
            )
        if isinstance(value, str):
            return output.escape_controls(value) if output.is_terminal(self.stdout) else value
        return output.to_json(value)

    def keep(self, text):
        """Keep a long text whole in the state folder and return its path; None when the disk refuses."""
        from rebyte_flows.state import open_private

        try:
            path = self.state.file(
                "answers", "%s-%s.txt" % (self.options.verb, os.urandom(6).hex())
            )
            with open_private(path) as file:
                file.write(text.encode("utf-8", "backslashreplace").decode("utf-8"))
            return path
        except (OSError, LedgerUnwritable):
            return None

    def line(self, *words):
        """Return a whole command line to paste, with the interpreter, the path and the flags that work here."""
        flags = ["--local"] if self.options.local and words[0] != "local" else []
        if self.options.base_url and "--local" not in words:
            flags += ["--base-url", self.options.base_url]
        if self.options.api_key_file and "--local" not in words:
            flags += ["--api-key-file", self.options.api_key_file]
        return shell_join(flags + [str(word) for word in words])

    def same_line(self, *more, without=None):
        """Return the line that was typed, with flags added and less one; None if it cannot be pasted: too long, or it read stdin."""
        words = [word for word in self.words if word != without]
        # After "--" nothing is a flag.
        place = words.index("--") if "--" in words else len(words)
        words[place:place] = more
        if sum(map(len, words)) > LINE_LIMIT_CHARACTERS or any(
            re.match(FROM_STDIN, word) for word in words
        ):
            return None
        return shell_join(words)

    def same_step(self, why, *more, without=None):
        """Return the entry of `next` that types the line again; one that cannot be pasted is described."""
        line = self.same_line(*more, without=without)
        if line:
            return {"why": why, "run": line}
        return {
            "why": "%s: type the same line%s, with what it read"
            % (why, " with " + " ".join(more) if more else "")
        }

    @property
    def stdin(self):
        """stdin, which nothing reads unless it was asked for, and never for longer than the slice."""
        if self._stdin is None:
            self._stdin = Stdin(sys.stdin, self.deadline)
        return self._stdin

    # What is reached

    @property
    def client(self):
        """The client for the service this command speaks to, the one on this machine with --local."""
        if self._client is None:
            # Second lazy seam: verbs that send nothing load no network.
            from rebyte_client import RebyteClient

            key, base = self._local_address() if self.options.local else self._address()
            self._client = RebyteClient(key, base, deadline=self.deadline, environ=self.environ)
        return self._client

    def _local_address(self):
        from rebyte_commands.verbs.local import ensure_running

        server = ensure_running(self)
        return server["key"], server["baseUrl"]

    def _address(self):
        base = find_base(self.environ, self.options.base_url)
        key_file = self.options.api_key_file
        key = key_for(self.environ, base, key_file, self.deadline, self.say)
        if base != DEFAULT_BASE_URL:
            self.say("speaking to %s" % base)
        return key, base

    @property
    def service(self):
        """local when the service runs on this machine, else cloud."""
        return "local" if self.client.is_loopback else "cloud"

    @property
    def state(self):
        """The state folder; raises LedgerUnwritable when there is none."""
        if self._state is None:
            # Second lazy seam: what only asks the service loads no ledger.
            from rebyte_flows.state import find_state, prune

            self._state = find_state(self.environ, self.say)
            prune(self._state)
        return self._state

    @property
    def ledger(self):
        """The ledger of this origin and account; raises LedgerUnwritable when it cannot be kept."""
        if self._ledger is None:
            from rebyte_flows.starting.ledger import open_ledger

            self._ledger = open_ledger(self.client, self.state)
        return self._ledger

    def read_whole_ledger(self):
        """Take the ledger as it is, of every service and account: this needs neither key nor network."""
        from rebyte_flows.starting.ledger import Ledger

        self._ledger = Ledger(self.state, None, None)

    def close(self):
        """Give back connections, locks and files."""
        for thing in (self._client, self._ledger):
            if thing is not None:
                thing.close()

    # What an ID means

    def resolve(self, word):
        """Return the task id that a UUID, a pasted address, @NAME or a prefix in the ledger stands for."""
        if UUID.match(word):
            return word.lower()
        address = re.match(ADDRESS, word)
        if address:
            return self.resolve(address.group(1))
        if word.startswith("@"):
            row = self.ledger.named(word[1:])
            if row is None or not row.task_id:
                raise NotFound(
                    "nothing was started under the name %s here" % word[1:],
                    hint="names belong to one service and account; see: %s"
                    % self.line("ledger", "list"),
                )
            return row.task_id
        if re.match(PREFIX, word):
            return self._resolve_prefix(word)
        raise InputError(
            "%r is no task id" % word[:80],
            hint="an id is a UUID, a task's address, @NAME, or 6 or more characters of an id",
        )

    def _resolve_prefix(self, word):
        found = self.ledger.with_prefix(word)
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(
                "%d tasks in the ledger begin with %s" % (len(found), word),
                hint="give more characters of the id",
            )
        raise NotFound(
            "no task in the ledger begins with %s" % word,
            hint="pass the whole id or the task's address",
        )

    def row_of(self, task_id, prompt_id=None):
        """Return the ledger's row of a task, or of one of its turns; a stand-in for what was started elsewhere."""
        row = (
            self.ledger.find_prompt(task_id, prompt_id)
            if prompt_id
            else self.ledger.find_task(task_id)
        )
        if row is None:
            from rebyte_flows.starting.rows import untracked_row

            row = untracked_row(task_id)
            row.prompt_id = prompt_id
        return row

    def deliver(self, row, **values):
        """Remember that a start's final document was written to stdout."""
        if row.id is None or self.lacks_field:
            return
        try:
            # The first time counts: who types a line every few minutes wants a new task some day.
            self.ledger.note(row.id, delivered_at=row.delivered_at or time.time(), **values)
        except LedgerUnwritable as problem:
            self.complain("%s; the same line will show this again" % problem.message)

    def deliver_turn(self, row, prompt_id, status):
        """Remember what became of the turn that was shown, which need not be the one that the row started."""
        turn = self.ledger.find_prompt(row.task_id, prompt_id)
        if turn is None:
            turn = self.ledger.find_task(row.task_id)
        if turn is not None and turn.prompt_id in (None, prompt_id):
            self.deliver(turn, status=status)

    def deliver_replies(self, task_id):
        """Remember that what the replies to a task led to was written to stdout."""
        from rebyte_flows.starting.replies import Replies

        if self.lacks_field:
            return
        try:
            Replies(self.ledger, task_id).deliver()
        except LedgerUnwritable as problem:
            self.complain(problem.message)

    def workspace_of(self, word):
        """Return the workspace that a task or workspace id stands for, found through the ledger."""
        task_id = self.resolve(word)
        try:
            row = self.ledger.find_start(task_id)
        except LedgerUnwritable:
            row = None
        if row is None:
            if UUID.match(word):
                return word.lower()
            raise InputError(
                "the workspace of task %s is not known here; it was told once, when the task was created"
                % task_id,
                hint="pass the workspaceId that create printed",
            )
        if not row.workspace_id:
            raise InputError(
                "the service did not tell the workspace of task %s" % task_id,
                hint="pass a workspaceId instead",
            )
        return row.workspace_id


def _monotonic(started):
    """Return the monotonic moment of a wall-clock moment just past, never in the future."""
    return time.monotonic() - min(max(time.time() - started, 0), 10)
