"""The value that an answer was asked to end with: read, and asked for again in paid turns."""

from __future__ import annotations

import io
import re

from rebyte_flows.starting.requests import digest_of_part, follow_up_request
from rebyte_flows.starting.rows import RESUME, REUSE, START
from rebyte_flows.values.contradictions import find_contradiction
from rebyte_flows.values.prompts import repair_prompt
from rebyte_flows.values.reader import ARCHIVE_BYTES_MOST, read_value_or_archive
from rebyte_flows.values.validation import fault
from rebyte_wire.errors import AuthError, DeadlineReached, RebyteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO

    from rebyte_client import RebyteClient
    from rebyte_flows.starting.rows import Row
    from rebyte_flows.starting.submitter import Submitter
    from rebyte_flows.values.schema import Schema
    from rebyte_types import FileHome, Json, TaskDocument

REPAIRS_MOST = 2
UNREAD = "an answer that could not be read just now"
ID_CHARACTERS = 8
# No name that a caller can give begins with @.
REPAIR_NAME = re.compile(r"@repair-(\d+)-")


class Expectation:
    """What the answers of one task are held against, turn by turn.

    With a `submitter` it pays for up to `repairs` turns that send back only the errors. Each has
    a name made from the turn that it mends, so that the same line finds it again.
    """

    def __init__(
        self, schema: Schema, submitter: Submitter | None = None, repairs: int = 0
    ) -> None:
        self.schema = schema
        self.repairs = repairs
        self.rows: list[Row] = []
        # The first turn of the chain, as it was told: the line again begins with it.
        self.first: TaskDocument | None = None
        self._submitter = submitter
        self._best: Json = {}
        self._is_unread = False

    def __repr__(self) -> str:
        return "Expectation(%r, %d of %d repairs)" % (
            self.schema,
            len(self.rows),
            self.repairs,
        )

    def keys(
        self,
        answer: str | None,
        files: Sequence[FileHome],
        client: RebyteClient,
        workspace_id: str | None,
        tell_again: Callable[[], str],
    ) -> Json:
        """Return the keys of the document that tell the value of a completed turn.

        Where none fits, the best candidate of all turns is told, with its own faults. `answer` is
        None where it could not be read: then nothing is wrong with it, and nothing is paid for.
        `tell_again()` asks the service for it once more, before it is found wanting.
        """
        self._is_unread = answer is None
        if answer is None:
            return {"valueErrors": [fault("", "one JSON value", UNREAD)]}

        def open_file(file: FileHome) -> BinaryIO:
            """Open a file that came home, or fetch it."""
            return _open(client, workspace_id, file)

        found = read_value_or_archive(self.schema, answer, files, open_file)
        if "value" not in found:
            whole = _told_again(tell_again)
            if whole and whole != answer:
                later = read_value_or_archive(self.schema, whole, files, open_file)
                found = later if "value" in later else found
        if "value" in found:
            self._best = {}
            return found
        self._best = _better(self._best, found)
        return dict(self._best)

    def kept(self) -> Json:
        """Return what earlier turns came to, which the document tells while another one runs."""
        found = dict(self._best)
        if self.rows:
            found["repaired"] = len(self.rows)
        return found

    def next_turn(self, row: Row, document: TaskDocument) -> Row | None:
        """Pay for the turn that sends the errors of a document back, and return its row.

        None where no more may be paid for, or none can be right; one that was paid for before is
        gone on with whatever is allowed now. Raises what Submitter.submit raises.
        """
        submitter = self._submitter
        if submitter is None or self._is_unread or not document.get("valueErrors"):
            return None
        number = self._number_of(row, document) + 1
        if number > REPAIRS_MOST:
            return None
        request = follow_up_request(row.task_id, repair_prompt(document["valueErrors"]))
        mark = digest_of_part([document.get("promptId"), request.digest()])
        name = "@repair-%d-%s-%s" % (number, row.task_id[:ID_CHARACTERS], mark)
        move = submitter.move_for(request, name=name, again=False)
        if number > self.repairs and move not in (REUSE, RESUME):
            return None
        if move == START and find_contradiction(self.schema):
            return None
        if submitter.client.deadline.expired:
            raise DeadlineReached("the time is over, and the errors were not sent back")
        if move == START:
            submitter.info(
                "the value is not as asked for; sending the errors back, paid"
            )
        turn = submitter.submit(request, name=name).row
        turn.workspace_id = row.workspace_id
        turn.url = row.url
        self.first = self.first or document
        self.rows.append(turn)
        return turn

    def _number_of(self, row: Row, document: TaskDocument) -> int:
        """Return how many repairs lie behind a turn, whoever asked for them."""
        name = row.name
        prompt_id = document.get("promptId")
        if not is_repair(name) and prompt_id and self._submitter:
            found = self._submitter.ledger.find_prompt(row.task_id, prompt_id)
            name = found.name if found else None
        match = REPAIR_NAME.match(name or "")
        return int(match.group(1)) if match else 0


def is_repair(name: str | None) -> bool:
    """Tell whether a row of the ledger bears the name of a repair."""
    return bool(REPAIR_NAME.match(name or ""))


def _told_again(tell_again: Callable[[], str]) -> str:
    """Return the answer as the service keeps it, "" where it cannot be read just now."""
    try:
        return tell_again()
    except (AuthError, DeadlineReached):
        raise
    except RebyteError:
        return ""


def _better(best: Json, found: Json) -> Json:
    """Return which failure to tell: the candidate with fewer faults, of equals the later."""
    if "candidate" in best and "candidate" not in found:
        return best
    if "candidate" in best and len(best["valueErrors"]) < len(found["valueErrors"]):
        return best
    return found


def _bounded(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Yield pieces until there is more than allowed."""
    count = 0
    for piece in pieces:
        yield piece
        count += len(piece)
        if count > most:
            return


def _open(client: RebyteClient, workspace_id: str | None, file: FileHome) -> BinaryIO:
    """Open a zip that came home, or fetch it into memory; ValueError says why it cannot be read."""
    try:
        if "path" in file:
            return open(file["path"], "rb")
        with client.open_artifact(workspace_id or "", file["name"]) as source:
            pieces = iter(source.read, b"")
            data = b"".join(_bounded(pieces, ARCHIVE_BYTES_MOST))
    except (AuthError, DeadlineReached):
        raise
    except RebyteError as problem:
        raise ValueError(problem.message) from None
    except OSError as problem:
        raise ValueError(problem.strerror or str(problem)) from None
    if len(data) > ARCHIVE_BYTES_MOST:
        raise ValueError("it is over %d bytes" % ARCHIVE_BYTES_MOST)
    return io.BytesIO(data)
