"""A whole job: start, follow to an end that can be trusted, the answer, the files: one document."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress

from rebyte_flows.files.downloads import disk_words, download_artifacts, list_files, open_folder
from rebyte_flows.files.uploads import Attachment
from rebyte_flows.following.result import (
    Reader,
    is_latest,
    last_words,
    prompts_in,
    question_of,
    seconds_taken,
    shown,
    task_document,
)
from rebyte_flows.following.stream import End, watch
from rebyte_flows.starting.credit import credit_note
from rebyte_flows.starting.ledger import open_ledger
from rebyte_flows.starting.orders import Order, wanted_name
from rebyte_flows.starting.submitter import Guards, Submitter, owners_limit
from rebyte_flows.state import find_state, open_private
from rebyte_wire.errors import DeadlineReached, NetworkError, RateLimited, ServerError
from rebyte_wire.status import FINAL, is_id, terminal_status

ANSWER_FILE, MANIFEST_FILE = "answer.md", "manifest.json"


def run(
    client,
    prompt,
    *,
    files=(),
    out=None,
    want=(),
    once=None,
    again=False,
    state=None,
    on_event=None,
    no_questions=False,
    bare=False,
    **fields,
):
    """Start one task through a client, follow it, and return its document (see result.KEYS), as the command `run` does.

    `files` are paths; `fields` are those of create_task (executor, model, workspace_id, skills, github_url, branch_name).
    Journaled: the same call again goes on with the same task, and the owner's REBYTE_MAX_TASKS_PER_DAY holds. Set
    `client.deadline` to bound it; past that the document's status is running. Raises what Starter.start raises.
    """
    state = state or find_state(os.environ)
    if out:
        open_folder(out)
    ledger = open_ledger(client, state)
    try:
        order = Order(
            prompt,
            attachments=[Attachment(path) for path in files],
            want=want,
            no_questions=no_questions,
            bare=bare,
            **fields,
        )
        started = Submitter(
            client, ledger, guards=Guards(owners_limit(os.environ), lasting=state.lasting)
        ).start(order, name=once, again=again)
        job = Job(
            client,
            started.row,
            state=state,
            out=out,
            want=want,
            order=order,
            reused=started.reused,
            on_event=on_event,
            service="local" if client.is_loopback else "cloud",
            answered=ledger.replies(started.row.task_id),
        )
        document = job.follow()
        if document["status"] in FINAL:
            ledger.note(
                started.row.id,
                delivered_at=started.row.delivered_at or time.time(),
                status=document["status"],
                prompt_id=document.get("promptId"),
            )
        return document
    finally:
        ledger.close()


def not_through_links(path, flags):
    """Open a file for writing, but not one that a link of the same name points to: the folder may hold what others put there."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


class Transcript:
    """A task's events, a line each, written anew since each connect replays from the start; a disk that refuses stops nothing."""

    def __init__(self, find):
        """Open the file whose path `find()` gives."""
        self.path = self._file = None
        self.warnings = []
        try:
            path = find()
            self._file, self.path = open_private(path), path
        except OSError as problem:
            self._give_up(problem)

    def __repr__(self):
        return "Transcript(%r)" % self.path

    def keep(self, event):
        """Write one event."""
        try:
            if self._file:
                self._file.write(json.dumps(event) + "\n")
        except OSError as problem:
            self._give_up(problem)

    def close(self):
        """Close the file and return the warnings."""
        try:
            if self._file:
                self._file.close()
        except OSError as problem:
            self._give_up(problem)
        return self.warnings

    def _give_up(self, problem):
        file, self._file = self._file, None
        with suppress(OSError, AttributeError):
            file.close()
        self.warnings.append("the transcript is not whole: %s" % disk_words(problem))


class Job:
    """One task being followed: who it is, where its files go, and what is told on the way."""

    def __init__(
        self,
        client,
        row,
        *,
        state,
        out=None,
        want=(),
        order=None,
        reused=False,
        service="cloud",
        rehearsal=False,
        answered=(),
        on_event=None,
        look_seconds=None,
        clock=time.monotonic,
        sleep=time.sleep,
    ):
        self.client, self.row, self.state, self.out, self.want = client, row, state, out, list(want)
        self.order, self.reused, self.service, self.rehearsal = order, reused, service, rehearsal
        self.answered, self.on_event, self.look_seconds = answered, on_event, look_seconds
        self.status, self.said = "running", None
        self.clock, self.sleep = clock, sleep
        self.reader = Reader()
        self.warnings, self.files, self.refused, self.missing = [], [], [], []
        self.task, self.transcript_path, self.answer_path = {}, None, None

    def __repr__(self):
        return "Job(%s)" % self.row.task_id

    def follow(self):
        """Follow to the end and return the document; when the client's deadline comes first its status is running."""
        self.reader, self.warnings, self.refused = Reader(), [], []
        end = self._look() if self._knows_its_turn() else None
        if end is None:
            return self._document("running")
        self.status = end.status
        if end.status == "question":
            return self._document("question", question=shown(question_of(end.question)))
        self.task = end.task
        if self.out and self._holds_another():
            self.warnings.append(
                "the folder held what another task had brought; what has the same name was replaced"
            )
        answer = self.said = self._answer(end.final)
        self._bring_files(end.status)
        if end.status == "failed":
            self.warnings += filter(None, [credit_note(self.client)])
            return self._document("failed", answer, failure=self._failure(answer))
        self._warn(answer, end.status)
        return self._document(end.status, answer)

    def cancel(self):
        """Cancel the task if the turn that the row started is its latest one and still runs; tell whether it was canceled."""
        task = self.client.get_task(self.row.task_id)
        own = (
            is_latest(task, self.row.prompt_id)
            if self.row.prompt_id
            else len(prompts_in(task)) <= 1
        )
        if terminal_status(task.get("status")) or not own:
            return False
        self.client.cancel_task(self.row.task_id)
        return True

    def _knows_its_turn(self):
        """Find the first turn of a task that was started earlier, if it has had more since; False when the time is over."""
        if (
            self.reused
            and self.order is not None
            and self.order.kind == "task"
            and not self.row.prompt_id
        ):
            try:
                turns = prompts_in(self.client.get_task(self.row.task_id))
            except DeadlineReached:
                return False
            if len(turns) > 1 and is_id(turns[0].get("id")):
                self.row.prompt_id = turns[0]["id"]
        return True

    def _look(self):
        """Watch to the end, or for `look_seconds`: the limit of a look is not one for bringing the files."""
        if self.look_seconds is None:
            return self._watch()
        whole = self.client.deadline
        self.client.deadline = whole.within(self.look_seconds)
        try:
            return self._watch()
        finally:
            self.client.deadline = whole

    def _watch(self):
        """Read events into the transcript; returns the End, or None when the time is over."""
        transcript = Transcript(self._transcript_file)
        self.transcript_path = transcript.path
        try:
            for seen in watch(
                self.client,
                self.row.task_id,
                prompt_id=self.row.prompt_id,
                answered=self.answered,
                age=self._age(),
                clock=self.clock,
                sleep=self.sleep,
            ):
                if isinstance(seen, End):
                    return seen
                self.reader.take(seen)
                transcript.keep(seen)
                if self.on_event:
                    self.on_event(seen)
        except DeadlineReached:
            return None
        finally:
            self.warnings += transcript.close()

    def _age(self):
        """Return how many seconds ago the task was started; one from elsewhere, or seen at its end, counts as old."""
        return (
            time.time() if self.row.status else max(0.0, time.time() - (self.row.claimed_at or 0))
        )

    def _transcript_file(self):
        """Return where the transcript goes, the folder made when missing."""
        if self.out:
            open_folder(self.out)
            return os.path.abspath(os.path.join(self.out, "transcript.jsonl"))
        ids = [id for id in (self.row.task_id, self.row.prompt_id) if is_id(id)]
        return self.state.file("transcripts", "-".join(ids) + ".jsonl")

    def _answer(self, final):
        # What `done` and the task say at last speak of the latest turn, which need not be ours.
        mine = is_latest(self.task, self.row.prompt_id)
        try:
            text = self.reader.answer(
                self.client,
                self.row.task_id,
                task=self.task if mine else None,
                final=final if mine else None,
                prompt_id=self.row.prompt_id,
            )
        except (NetworkError, RateLimited, ServerError) as problem:
            self.warnings.append(
                "what it said could not be read: %s The same line again tries once more."
                % problem.message
            )
            text = ""
        if text and self.out:
            self.answer_path = self._keep(ANSWER_FILE, text)
        return text

    def _holds_another(self):
        """Tell whether the out folder holds the manifest of another task."""
        try:
            with open(os.path.join(self.out, MANIFEST_FILE), encoding="utf-8") as file:
                return json.load(file)["taskId"] != self.row.task_id
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return False

    def _keep(self, name, text):
        """Write a file of our own into the out folder and return its path; None, and the reason in `refused`, when the disk says no."""
        path = os.path.abspath(os.path.join(self.out, name))
        try:
            with open(
                path,
                "w",
                encoding="utf-8",
                errors="backslashreplace",
                newline="\n",
                opener=not_through_links,
            ) as file:
                file.write(text if text.endswith("\n") else text + "\n")
            return path
        except OSError as problem:
            self.refused.append({"name": name, "reason": disk_words(problem)})
            return None

    def _bring_files(self, status):
        """List the artifacts; with an out folder bring them into its files/ and write the manifest."""
        if not self.row.workspace_id:
            if self.want or self.out:
                self.warnings.append(
                    "the workspace of this task is not known here, so its files cannot be listed; result ID --workspace WORKSPACE lists them"
                )
            self.missing = list(self.want)
            return
        listing = list_files(self.client, self.row.workspace_id)
        if self.out:
            folder = os.path.join(self.out, "files")
            if os.path.islink(folder):
                self.refused.append(
                    {
                        "name": "files",
                        "reason": "it is a link, and what is brought here is not written through one",
                    }
                )
            elif listing:
                self.files, refused = download_artifacts(
                    self.client, self.row.workspace_id, folder, listing=listing, force=True
                )
                self.refused += refused
            files = [{key: item[key] for key in ("name", "bytes", "sha256")} for item in self.files]
            self._keep(
                MANIFEST_FILE,
                json.dumps(
                    {
                        "taskId": self.row.task_id,
                        "workspaceId": self.row.workspace_id,
                        "files": files,
                    },
                    indent=1,
                ),
            )
        else:
            self.files = [
                {"name": str(item.get("name")), "bytes": item.get("size")} for item in listing
            ]
        if status == "completed":
            here = {item["name"] for item in self.files}
            self.missing = [
                name for name in self.want if name not in here and wanted_name(name) not in here
            ]

    def _failure(self, answer):
        """Return the last words of the answer or the last event as the reason, and the events before it."""
        events = self.reader.last_events()
        reason = last_words(answer) or (
            events[-1]["text"] if events else "the service gives no reason"
        )
        return {
            "reason": reason,
            "lastEvents": [event for event in events if event["text"] not in answer],
        }

    def _warn(self, answer, status):
        if self._is_rehearsal():
            if not self.reader.tools and self.reader.events:
                self.warnings.append("the prompt held nothing to run, so nothing was done")
            if self.missing:
                self.warnings.append(
                    "a rehearsal publishes only what its code leaves in /code/artifacts/"
                )
        elif self.order and self.order.attachments and not self.reader.tools and self.reader.events:
            self.warnings.append(
                "files were attached, but no tool was used: the answer may not come from them"
            )
        if (
            status == "completed"
            and not answer
            and not any("could not be read" in text for text in self.warnings)
        ):
            self.warnings.append("it finished with nothing to show: no words and no result")
        asked, reported = self.row.executor, self.task.get("executor")
        if asked and reported and asked != reported:
            self.warnings.append(
                "%s was asked for, and the service reports another executor" % asked
            )

    def _is_rehearsal(self):
        return self.rehearsal or self.reader.rehearsal or self.task.get("rehearsal") is True

    def _seconds(self):
        """Return how long the turn took by the service's clock, else how long ago it was started here."""
        took = seconds_taken(self.task, self.row.prompt_id or self.reader.prompt_id)
        if took is None and self.row.claimed_at and self.row.delivered_at is None:
            took = time.time() - self.row.claimed_at
        return None if took is None else max(round(took, 1), 0.1)

    def document_now(self, status=None):
        """Return the document as it stands, without asking the service anything."""
        return self._document(status or self.status, self.said)

    def _document(self, status, answer=None, **more):
        rehearsal = self._is_rehearsal()
        warnings = [
            "a rehearsal on this machine: no model read the prompt"
        ] * rehearsal + self.warnings
        requested = {
            key: getattr(self.row, key) for key in ("executor", "model") if getattr(self.row, key)
        }
        return task_document(
            id=self.row.task_id,
            workspaceId=self.row.workspace_id,
            url=self.row.url or self.task.get("url"),
            once=self.row.name,
            status=status,
            promptId=self.row.prompt_id or self.reader.prompt_id,
            answer=answer,
            answerBytes=len(answer.encode("utf-8", "replace")) if answer else None,
            answerPath=self.answer_path,
            files=self.files,
            missing=self.missing,
            refused=self.refused,
            warnings=warnings,
            requested=requested,
            executor=self.task.get("executor"),
            model=self.task.get("model") or self.reader.model,
            seconds=self._seconds(),
            transcriptPath=self.transcript_path,
            reused=self.reused,
            service=self.service,
            rehearsal=rehearsal,
            **more,
        )
