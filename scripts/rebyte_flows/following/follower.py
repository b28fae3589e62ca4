"""One started task, followed to its one document: its end, its answer, its files."""

from __future__ import annotations

import time
from functools import partial

from rebyte_flows.files.downloads import list_files
from rebyte_flows.files.names import missing_names
from rebyte_flows.files.out_folder import ANSWER_FILE, OutFolder, Transcript
from rebyte_flows.files.types import wanted_name
from rebyte_flows.following.answer import (
    REASON_CHARACTERS,
    AnswerBuilder,
    last_words,
    response_of,
)
from rebyte_flows.following.costs import costs_in, turn_told, warnings_in
from rebyte_flows.following.ending import Outcome
from rebyte_flows.following.result import cut_off_error, task_document
from rebyte_flows.following.stream import TOLD_NOTHING, UNDOCUMENTED, Watch
from rebyte_flows.following.turns import (
    error_of,
    is_latest,
    seconds_taken,
    turns_of,
    undocumented_word,
)
from rebyte_flows.starting.credit import credit_note
from rebyte_flows.starting.rows import RECOVERED
from rebyte_wire.errors import (
    AnswerUnreadable,
    DeadlineReached,
    NetworkError,
    RateLimited,
    ServerError,
)
from rebyte_wire.status import is_id, str_field, terminal_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from typing import Any

    from rebyte_client import RebyteClient
    from rebyte_flows.code.home.homecoming import Homecoming
    from rebyte_flows.following.expectation import Expectation
    from rebyte_flows.starting.requests import StartRequest
    from rebyte_flows.starting.rows import Row
    from rebyte_flows.state import StateFolder
    from rebyte_types import (
        Artifact,
        Event,
        EventLine,
        Failure,
        FileHome,
        Json,
        Refusal,
        Shape,
        TaskDocument,
    )


REHEARSAL = "a rehearsal on this machine: no model read the prompt"
ANOTHERS_FOLDER = (
    "the folder held what another task had brought; what has the same name was replaced"
)
# What leaves it unknown what a task said, and may be gone at the next attempt.
UNREAD = (AnswerUnreadable, NetworkError, RateLimited, ServerError)
NO_WORKSPACE = (
    "the workspace of this task is not known here, so its files cannot be listed;"
    " result ID --workspace WORKSPACE lists them"
)


class Follower:
    """Follows the task of a row to its end: `follow()` may be called again to go on.

    `out` is the folder its results go to, `want` the names that have to come. `request` is what was
    asked for, where this command started it. `answered` are the questions answered from here.
    `watch_seconds` bounds watching alone: what has ended is still brought home. `code` brings the
    code home that the task was sent with. `on_event(event)` is told of each event.
    `expectation` is the value that the answer was asked to end with.
    """

    def __init__(
        self,
        client: RebyteClient,
        row: Row,
        *,
        state: StateFolder,
        out: str | None = None,
        want: Sequence[str] = (),
        request: StartRequest | None = None,
        reused: bool = False,
        service: str = "cloud",
        rehearsal: bool = False,
        answered: Collection[str] = (),
        on_event: Callable[[Event], object] | None = None,
        watch_seconds: float | None = None,
        code: Homecoming | None = None,
        expectation: Expectation | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.client = client
        self.row = row
        self.state = state
        self.want = list(want)
        self.request = request
        self.answered = answered
        self.on_event = on_event
        self.watch_seconds = watch_seconds
        self.code = code
        self.expectation = expectation
        self.status = "running"
        self._clock = clock
        self._sleep = sleep
        self._rehearsal = rehearsal
        # Names that begin with @ are our own, and nobody can type them.
        self._once = None if (row.name or "").startswith("@") else row.name
        self._out_path = out
        self._known = {
            "reused": reused,
            "service": service,
            "recovered": row.is_recovered(),
        }
        self._begin()

    def __repr__(self) -> str:
        return "Follower(%s, %s)" % (self.row.task_id, self.status)

    def _begin(self) -> None:
        """Forget what an earlier call found."""
        self._out = OutFolder(self._out_path) if self._out_path else None
        self._builder = AnswerBuilder()
        self._task: Shape = {}
        self._answer = ""
        self._is_unread = False
        self._warnings = [RECOVERED] * bool(self._known["recovered"])
        # Keys of the document, as they are found out.
        self._refused: list[Refusal] = []
        self._found: Json = self.expectation.kept() if self.expectation else {}

    def follow(self) -> TaskDocument:
        """Follow to the end and return the document; past the deadline its status is running.

        A turn whose value does not fit may have another one after it; see Expectation.
        """
        document = self._follow_turn()
        while self.expectation and self.status == "completed":
            turn = self.expectation.next_turn(self.row, document)
            if turn is None:
                break
            self.row = turn
            self.status = "running"
            document = self._follow_turn()
        return document

    def _follow_turn(self) -> TaskDocument:
        self._begin()
        try:
            self._find_first_turn()
            outcome = self._watch()
        except DeadlineReached:
            return self.document_now()
        self.status = outcome.status
        if outcome.question:
            self._found["question"] = outcome.question.as_dict()
            return self.document_now()
        self._task = outcome.task
        if self._out and self._out.holds_another(self.row.task_id):
            self._warnings.append(ANOTHERS_FOLDER)
        self._answer = self._find_answer(outcome)
        self._bring_files()
        self._judge()
        turn = turn_told(self._task, self.row.prompt_id or self._builder.prompt_id)
        self._found.update(dict(self._builder.costs, **costs_in(turn)))
        self._warnings += warnings_in(turn)
        if self.expectation and self.status == "completed":
            self._read_value(self.expectation)
        return self.document_now()

    def _read_value(self, expectation: Expectation) -> None:
        """Find the value in the answer; one that fits takes the place of earlier failures."""
        prompt_id = self.row.prompt_id or self._builder.prompt_id
        keys = expectation.keys(
            None if self._is_unread else self._answer,
            self._found.get("files", []),
            self.client,
            self.row.workspace_id,
            partial(response_of, self.client, self.row.task_id, prompt_id),
        )
        for key in ("valueErrors", "candidate"):
            self._found.pop(key, None)
        self._found.update(keys)

    def cancel(self) -> bool:
        """Cancel the task if the row's turn is its latest and still runs; say whether it did."""
        task = self.client.get_task(self.row.task_id)
        is_own = is_latest(task, self.row.prompt_id)
        if not self.row.prompt_id:
            is_own = len(turns_of(task)) <= 1
        if terminal_status(task.get("status")) or not is_own:
            return False
        self.client.cancel_task(self.row.task_id)
        return True

    def document_now(self, status: str | None = None) -> TaskDocument:
        """Return the document as it stands, without asking the service anything."""
        rehearsal = self._is_rehearsal()
        row = self.row
        requested = {"executor": row.executor, "model": row.model}
        refused = [*(self._out.refused if self._out else []), *self._refused]
        return task_document(
            id=row.task_id,
            workspaceId=row.workspace_id,
            url=row.url or self._task.get("url"),
            once=self._once,
            status=status or self.status,
            promptId=row.prompt_id or self._builder.prompt_id,
            answer=self._answer,
            answerBytes=len(self._answer.encode("utf-8", "replace")),
            refused=refused,
            warnings=[REHEARSAL] * rehearsal + self._warnings,
            requested={key: value for key, value in requested.items() if value},
            executor=self._task.get("executor"),
            model=self._model(),
            seconds=self._seconds(),
            rehearsal=rehearsal,
            **self._known,
            **self._found,
        )

    def _find_first_turn(self) -> None:
        """Find the turn that an earlier start made, if the task has had more since."""
        is_task = self.request is not None and not self.request.kind.is_turn
        is_later = self.row.kind_value.is_turn
        if not (self._known["reused"] and is_task) or is_later or self.row.prompt_id:
            return
        try:
            turns = turns_of(self.client.get_task(self.row.task_id))
        except DeadlineReached:
            self._warnings.append(TOLD_NOTHING)
            raise
        if len(turns) > 1 and is_id(turns[0].get("id")):
            self.row.prompt_id = turns[0]["id"]

    def _watch(self) -> Outcome:
        """Read events into the transcript up to the end; DeadlineReached when time is over."""
        client = self.client
        if self.watch_seconds is not None:
            client = client.within(self.watch_seconds)
        is_repair = bool(self.expectation and self.expectation.rows)
        transcript = Transcript(self._transcript_path, goes_on=is_repair)
        self._found["transcriptPath"] = transcript.path
        watch = Watch(
            client,
            self.row.task_id,
            self.row.prompt_id,
            self.answered,
            self._age(),
            self._clock,
            self._sleep,
        )
        try:
            for seen in watch.events():
                if isinstance(seen, Outcome):
                    return seen
                self._builder.take(seen)
                transcript.write(seen)
                if self.on_event:
                    self.on_event(seen)
        finally:
            self._warnings += transcript.close()
            self._warnings += watch.warnings()
        raise AssertionError("a watch ends with an Outcome")

    def _age(self) -> float:
        """Return how many seconds ago the task was started; one seen at its end counts as old."""
        if self.row.status:
            return time.time()
        return max(0.0, time.time() - (self.row.claimed_at or 0))

    def _transcript_path(self) -> str:
        if self._out:
            return self._out.transcript_path()
        ids = [id for id in (self.row.task_id, self.row.prompt_id) if id and is_id(id)]
        return self.state.file("transcripts", "-".join(ids) + ".jsonl")

    def _find_answer(self, outcome: Outcome) -> str:
        text = self._builder.answer()
        # What `done` and the task say at last speak of the latest turn, which need not be ours.
        if is_latest(self._task, self.row.prompt_id):
            text = self._builder.answer(self._task, outcome.final)
        try:
            prompt_id = self.row.prompt_id or self._builder.prompt_id
            text = text or response_of(self.client, self.row.task_id, prompt_id)
        except UNREAD as problem:
            self._is_unread = True
            self._warnings.append(
                "what it said could not be read: %s The same line again tries once more."
                % problem.message
            )
        else:
            if not text and self.status == "completed":
                self._warnings.append(
                    "it finished with nothing to show: no words and no result"
                )
        if text and self._out:
            self._found["answerPath"] = self._out.write(ANSWER_FILE, text)
        return text

    def _bring_files(self) -> None:
        """List the artifacts; with an out folder bring them into it."""
        workspace_id = self.row.workspace_id or str_field(self._task, "workspaceId")
        self.row.workspace_id = workspace_id
        if not workspace_id:
            self._tell_no_workspace()
            return
        listing = list_files(self.client, workspace_id)
        if self._out:
            files = self._out.bring(
                self.client, workspace_id, self.row.task_id, listing
            )
        else:
            files = [_listed(item) for item in listing]
        self._found["files"] = files
        if self.status == "completed":
            self._found["missing"] = missing_names(
                self.want, [file["name"] for file in files]
            )
        if self.code is not None and is_latest(self._task, self.row.prompt_id):
            self._bring_code(self.code, workspace_id, listing)

    def _tell_no_workspace(self) -> None:
        """Say that nothing can be listed, to who expects something."""
        if self.want or self._out or self.row.is_recovered():
            self._warnings.append(NO_WORKSPACE)
        self._found["missing"] = self.want

    def _bring_code(
        self, code: Homecoming, workspace_id: str, listing: list[Artifact]
    ) -> None:
        """Bring the code home; that it did not come is only said of a task that completed."""
        turn = self.row.prompt_id or self._builder.prompt_id
        found = code.bring(
            self.client, workspace_id, listing, self._found["files"], turn
        )
        is_missing = bool(found.get("missing"))
        if is_missing and self.status != "completed":
            return
        if is_missing:
            self._found["missing"] = [*self._found["missing"], *found["missing"]]
        self._refused += found.get("refused", [])
        self._warnings += found.get("warnings", [])
        if found.get("changes"):
            self._found["changes"] = found["changes"]

    def _judge(self) -> None:
        """Say why it failed, or what an honest reader would want to know of how it ended."""
        if self.status == "failed":
            self._judge_failure()
            return
        if self._builder.events and not self._builder.tools:
            self._note_idleness()
        if self._is_rehearsal() and self._found.get("missing"):
            awaited = ", ".join(map(wanted_name, self._found["missing"]))
            self._warnings.append(
                "a rehearsal publishes only what its code leaves in /code/artifacts/; not there: "
                + awaited
            )
        asked = self.row.executor
        if asked and asked != (self._task.get("executor") or asked):
            self._warnings.append(
                "%s was asked for, and the service reports another executor" % asked
            )

    def _judge_failure(self) -> None:
        gone = cut_off_error(self._answer) if self._is_rehearsal() else None
        if gone:
            self._found["error"] = gone.as_dict()
            return
        note = credit_note(self.client)
        if note:
            self._warnings.append(note)
        self._found["failure"] = self._failure()

    def _note_idleness(self) -> None:
        if self._is_rehearsal():
            self._warnings.append("the prompt held nothing to run, so nothing was done")
        elif self.request and self.request.attachments:
            self._warnings.append(
                "files were attached, but no tool was used: the answer may not come from them"
            )

    def _failure(self) -> Failure:
        """Return why it failed in the service's or the agent's words, and the last events."""
        events = self._builder.last_events()
        prompt_id = self.row.prompt_id or self._builder.prompt_id
        reason = error_of(self._task, prompt_id) or last_words(self._answer)
        word = undocumented_word(self._task, self.row.prompt_id)
        if word and not reason:
            reason = UNDOCUMENTED % word
        return {
            "reason": reason or "the service gave no reason",
            "lastEvents": [line for line in events if not self._is_in_answer(line)],
        }

    def _is_in_answer(self, line: EventLine) -> bool:
        text = line.get("text", "")[:REASON_CHARACTERS]
        return bool(text) and text in self._answer

    def _is_rehearsal(self) -> bool:
        return (
            self._rehearsal
            or self._builder.rehearsal
            or self._task.get("rehearsal") is True
        )

    def _model(self) -> str | None:
        """Return the model that answered: what the turn, else the task, else its events tell."""
        prompt_id = self.row.prompt_id or self._builder.prompt_id
        turn = turn_told(self._task, prompt_id)
        told = turn.get("model") or self._task.get("model")
        return told or self._builder.model

    def _seconds(self) -> float | None:
        """Return how long the turn took by the service's clock, else since it was started here."""
        row = self.row
        took = seconds_taken(self._task, row.prompt_id or self._builder.prompt_id)
        if took is None and row.claimed_at and row.delivered_at is None:
            took = time.time() - row.claimed_at
        return None if took is None else max(round(took, 1), 0.1)


def _listed(item: Any) -> FileHome:
    return {"name": str(item.get("name")), "bytes": item.get("size"), "fetched": False}
