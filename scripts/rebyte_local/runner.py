"""Who runs when: prompts of one task in order, at most `width` at once, a parked question takes no place."""
from __future__ import annotations

import threading
import time
import traceback

from rebyte_local.processes import end_leftover
from rebyte_local.prompt_runs import STOPPED_WORDS, PromptRun

JOIN_SECONDS = 10.0


class Runner:
    """Starts prompts, cancels them, and ends them all when the server goes."""

    def __init__(self, service, width):
        self._service = service
        self._width = max(1, int(width))
        self._changed = threading.Condition()
        self._waiting = []  # (task id, prompt id), oldest first
        self._active = {}  # prompt id -> PromptRun
        self._places = 0
        self._threads = set()
        self.stopping = threading.Event()

    def __repr__(self):
        return "Runner(active=%d, waiting=%d)" % (len(self._active), len(self._waiting))

    def recover(self):
        """After a restart: what was running has failed and says so, what was waiting waits again."""
        service = self._service
        for row in service.store.rows("SELECT pid, born FROM processes"):
            end_leftover(row["pid"], row["born"])
        service.store.write(("DELETE FROM processes", ()))
        for prompt in service.records.open_prompts():
            timeline = service.timelines.begin(prompt["id"])
            if prompt["status"] == "pending":
                self.submit(prompt["task"], prompt["id"])
                continue
            timeline.append("text", {"content": STOPPED_WORDS})
            service.records.finish_prompt(prompt["id"], "failed", {"final": STOPPED_WORDS, "response": STOPPED_WORDS})
            service.timelines.end(prompt["id"])
            service.tell_end(prompt["task"])

    def submit(self, task_id, prompt_id):
        """Queue a prompt whose timeline was begun."""
        with self._changed:
            self._waiting.append((task_id, prompt_id))
            self._dispatch()

    def _dispatch(self):
        if self.stopping.is_set():
            return
        busy = {run.task["id"] for run in self._active.values()}
        for entry in list(self._waiting):
            if self._places >= self._width:
                return
            if entry[0] not in busy:
                busy.add(entry[0])
                self._waiting.remove(entry)
                self._start(*entry)

    def _start(self, task_id, prompt_id):
        self._places += 1
        run = PromptRun(self._service, self, task_id, prompt_id)
        self._active[prompt_id] = run
        thread = threading.Thread(target=self._carry_out, args=(run,), name="prompt-" + prompt_id[:8], daemon=True)
        self._threads.add(thread)
        thread.start()

    def _carry_out(self, run):
        began = time.monotonic()
        try:
            if self._service.records.start_prompt(run.prompt["id"]):
                self._service.hooks.tell_running(run.task["id"])
                run.carry_out()
        except Exception:  # a fault of ours must not leave the task running for ever
            traceback.print_exc()
            words = "The local server failed: " + traceback.format_exc(limit=0).strip().splitlines()[-1]
            run.emit("text", content=words)
            self._service.records.finish_prompt(run.prompt["id"], "failed", {"final": words, "response": words})
        finally:
            self._service.purse.pay_work(time.monotonic() - began)
            self._service.tell_end(run.task["id"])
            self._service.timelines.end(run.prompt["id"])
            with self._changed:
                self._active.pop(run.prompt["id"], None)
                self._threads.discard(threading.current_thread())
                self._places -= 1
                self._dispatch()
                self._changed.notify_all()

    def park(self):
        """Give the place away while a question waits for its answer."""
        with self._changed:
            self._places -= 1
            self._dispatch()
            self._changed.notify_all()

    def unpark(self):
        """Take a place again, waiting for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._places < self._width or self.stopping.is_set())
            self._places += 1

    def find(self, task_id):
        """The active run of a task, or None."""
        with self._changed:
            for run in self._active.values():
                if run.task["id"] == task_id:
                    return run
        return None

    def cancel(self, task_id):
        """Cancel every open prompt of the task; gives how many."""
        ids = self._service.records.cancel_prompts(task_id)
        with self._changed:
            self._waiting = [entry for entry in self._waiting if entry[1] not in ids]
            runs = [self._active[i] for i in ids if i in self._active]
            idle = [i for i in ids if i not in self._active]
        for run in runs:
            run.stop("canceled")
        for prompt_id in idle:
            self._service.timelines.end(prompt_id)
        if idle and not runs:  # what runs tells the end itself
            self._service.tell_end(task_id)
        return len(ids)

    @property
    def is_busy(self):
        """True while something runs, waits to run or waits for an answer."""
        with self._changed:
            return bool(self._active or self._waiting)

    def stop(self):
        """End every process group; the prompts that ran have failed."""
        self.stopping.set()
        with self._changed:
            runs, threads = list(self._active.values()), list(self._threads)
            self._changed.notify_all()
        for run in runs:
            run.stop("stopped")
        for thread in threads:
            thread.join(JOIN_SECONDS)
