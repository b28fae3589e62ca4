"""Which prompt runs when: prompts of one task in order, and so many tasks at once."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
import time
import traceback
from typing import NamedTuple

from rebyte_local.execution.lifecycle import INTERRUPTED, fail_prompt, run_prompt
from rebyte_local.execution.process_tree import kill_marked
from rebyte_local.execution.prompt_run import PromptRun, Question, run_mark
from rebyte_local.formats import JsonObject, log_exception
from rebyte_local.service import Service

JOIN_SECONDS = 10.0
RETRY_SECONDS = 0.5
SQLITE_FULL = "database or disk is full"
DISK_FULL = (
    "The disk is full, so this was ended. Its files lie in the folder %s: make room there, and give"
    " the task one more turn."
)


def _reason_of(error: Exception, workspace: str) -> str:
    """Return what ended a prompt that did not come to its own end, and what to do about it."""
    if getattr(error, "errno", None) == errno.ENOSPC or SQLITE_FULL in str(error):
        return DISK_FULL % (workspace or "of the local server")
    reason = traceback.format_exception_only(type(error), error)[-1].strip()
    return "The local server failed: " + reason


class Waiting(NamedTuple):
    """A prompt in the queue. Of one key, as of one task, only one runs at a time."""

    task_id: str
    prompt_id: str
    key: tuple[str, str]


def queue_key(task: JsonObject) -> tuple[str, str]:
    """Return what a task's prompts must not share with others that run: a program of one kind
    works alone in a workspace.
    """
    program = task.get("program")
    return (program, task["workspace"]) if program else ("", task["id"])


class Runner:
    """Starts prompts, each in a thread of its own; cancels them; stops all of them."""

    def __init__(self, service: Service, width: int) -> None:
        self._service = service
        self._width = max(1, width)
        self._changed = threading.Condition()
        self._waiting: list[Waiting] = []  # oldest first
        self._active: dict[str, PromptRun] = {}  # prompt id -> its run
        self._threads: set[threading.Thread] = set()
        self._used_slots = 0

    def __repr__(self) -> str:
        return "Runner(active=%d, waiting=%d)" % (len(self._active), len(self._waiting))

    def recover(self) -> None:
        """After a restart, fail the prompts that were running and queue those that waited."""
        service = self._service
        for prompt in service.tasks.open_prompts():
            service.events.open(prompt["id"])
            if prompt["status"] == "pending":
                self.submit(prompt["task"], prompt["id"])
            else:
                kill_marked(run_mark(service, prompt["id"]))
                fail_prompt(service, prompt["id"], INTERRUPTED)
                service.events.close(prompt["id"])
                service.deliveries.send_end(prompt["task"])

    def submit(self, task_id: str, prompt_id: str) -> None:
        """Queue a prompt whose timeline is open."""
        key = queue_key(self._service.tasks.get_with_deleted(task_id))
        with self._changed:
            self._waiting.append(Waiting(task_id, prompt_id, key))
            self._start_next()

    def _start_next(self) -> None:
        """Start what may start: the oldest prompts of tasks that are not busy, while slots last."""
        tasks = [run.task for run in self._active.values()]
        busy = {queue_key(task) for task in tasks}
        for entry in list(self._waiting):
            if self._used_slots >= self._width or self._service.stopping.is_set():
                return
            if entry.key not in busy:
                busy.add(entry.key)
                self._waiting.remove(entry)
                self._start(PromptRun(self._service, entry.prompt_id))

    def _start(self, run: PromptRun) -> None:
        prompt_id = run.prompt["id"]
        self._used_slots += 1
        self._active[prompt_id] = run
        thread = threading.Thread(
            target=self._run, args=(run,), name="prompt-" + prompt_id[:8], daemon=True
        )
        self._threads.add(thread)
        thread.start()

    def _run(self, run: PromptRun) -> None:
        service = self._service
        task_id = run.task["id"]
        prompt_id = run.prompt["id"]
        started = time.monotonic()
        try:
            # It may have been canceled, or its task deleted, before its turn came.
            if not run.task["deleted"] and service.tasks.start_prompt(prompt_id):
                service.deliveries.send_running(task_id)
                run_prompt(run)
        except Exception as error:
            # A full disk or our own bug must not leave the task running.
            log_exception()
            self._fail(prompt_id, _reason_of(error, run.path))
        finally:
            with contextlib.suppress(sqlite3.Error):
                service.credits.take_for_work(time.monotonic() - started)
                service.deliveries.send_end(task_id)
            service.events.close(prompt_id)
            with self._changed:
                del self._active[prompt_id]
                self._threads.discard(threading.current_thread())
                self.release_slot()

    def _fail(self, prompt_id: str, message: str) -> None:
        """End a prompt as failed, as soon as there is room on the disk to keep that."""
        while True:
            try:
                fail_prompt(self._service, prompt_id, message)
                return
            except sqlite3.Error:
                if self._service.stopping.wait(RETRY_SECONDS):
                    return  # the next server finds it running, and fails it

    def release_slot(self) -> None:
        """Give a slot away: the prompt has ended, or its question waits for an answer."""
        with self._changed:
            self._used_slots -= 1
            self._start_next()
            self._changed.notify_all()

    def acquire_slot(self) -> None:
        """Take a slot again, waiting for one."""
        with self._changed:
            while (
                self._used_slots >= self._width and not self._service.stopping.is_set()
            ):
                self._changed.wait()
            self._used_slots += 1

    def question(self, task_id: str) -> Question | None:
        """Return the question that a task asks at the moment, or None."""
        with self._changed:
            questions = [
                run.question
                for run in self._active.values()
                if run.task["id"] == task_id
            ]
        return questions[0] if questions else None

    def cancel(self, task_id: str) -> int:
        """Cancel every open prompt of the task; return how many there were."""
        ids = self._service.tasks.cancel_prompts(task_id)
        with self._changed:
            waiting = [entry for entry in self._waiting if entry.prompt_id in ids]
            active = [run for run in self._active.values() if run.prompt["id"] in ids]
            for entry in waiting:
                self._waiting.remove(entry)
        for run in active:
            run.stop(is_canceled=True)
        for entry in waiting:
            self._service.events.close(entry.prompt_id)
        if waiting and not active:  # a run tells the end itself
            self._service.deliveries.send_end(task_id)
        return len(ids)

    @property
    def is_busy(self) -> bool:
        """True while something runs, waits to run or waits for an answer."""
        with self._changed:
            return bool(self._active or self._waiting)

    def stop(self) -> None:
        """Stop every run, the server being about to end; what waits stays in the database."""
        with self._changed:
            active = list(self._active.values())
            threads = list(self._threads)
            self._changed.notify_all()
        for run in active:
            run.stop(is_canceled=False)
        for thread in threads:
            thread.join(JOIN_SECONDS)
