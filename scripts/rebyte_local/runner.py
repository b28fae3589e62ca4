"""Who runs when, and the life of each prompt: its workspace made ready, its program run, its files published, its end told."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
import traceback

from rebyte_local import credits
from rebyte_local.executors import (
    ANSWER_LIMIT_CHARS,
    OUTPUT_LIMIT_CHARS,
    Question,
    rehearse,
    run_agent,
)
from rebyte_local.faults import HOSTILE_TEXT
from rebyte_local.processes import Process, Tail, birth_of, end_leftover
from rebyte_local.store import OPEN
from rebyte_local.workspaces import SetupFailed, environment, prepare, publish, workspace_path

JOIN_SECONDS = 10.0
PLACES = {"answer-in-result": "result", "answer-in-final": "final", "answer-in-content": "response"}
STOPPED_WORDS = "The local server was stopped while this prompt ran; it was not run again."


class Halted(Exception):
    """The prompt was canceled or the server is stopping."""


class PromptRun:
    """The life of one prompt from its place in the line to its end."""

    def __init__(self, service, prompt_id):
        self.service = service
        self.prompt = service.store.prompt(prompt_id)
        self.task_id = self.prompt["task"]
        self.task = service.store.task(self.task_id)
        self.timeline = service.timelines.find(prompt_id)
        self.question = None
        self._process = None
        self._lock = threading.Lock()
        self._is_dropping = False
        self._halted = threading.Event()
        self._why_halted = None

    def __repr__(self):
        return "PromptRun(%s, halted=%r)" % (self.prompt["id"], self._why_halted)

    def emit(self, event_type, **payload):
        """Add an event to the prompt's timeline."""
        self.timeline.append((event_type, payload))

    def stop(self, why):
        """End the run from another thread: its process group and its question."""
        with self._lock:
            self._why_halted = self._why_halted or why
            self._halted.set()
            if self._process:
                self._process.kill()
            if self.question:
                self.question.settle(None)

    def carry_out(self):
        """Prepare the workspace, run, publish, tell the end."""
        if self.task is None:
            return  # deleted before it began
        self.path = workspace_path(self.service, self.task["workspace"])
        os.makedirs(os.path.join(self.path, "artifacts"), 0o700, exist_ok=True)
        self.scratch = tempfile.mkdtemp(dir=os.path.join(self.service.folder, "scratch"))
        self.env = environment(self.path, self.scratch)
        try:
            succeeded, answer = self._prepare_and_run()
            if self.service.faults.is_on("question"):
                self.ask("May this task end now?", ["Yes", "No"])
            publish(self)
            if self._halted.is_set():
                raise Halted()
            self._tell_end("succeeded" if succeeded else "failed", answer)
        except Halted:
            if self._why_halted == "canceled":
                self.service.store.finish_prompt(self.prompt["id"], "canceled")
            else:
                self.fail(STOPPED_WORDS)
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def fail(self, words):
        """End as failed with some words of the server's own."""
        self.emit("text", content=words)
        self.service.store.finish_prompt(self.prompt["id"], "failed", final=words, response=words)

    def _prepare_and_run(self):
        agent = self.service.agent
        told = (
            {"model": os.path.basename(agent[0])}
            if agent
            else {"model": "none (rehearsal)", "rehearsal": True}
        )
        self.emit("init", session_id=self.prompt["id"], cwd=self.path, **told)
        try:
            prepare(self)
        except SetupFailed as error:
            return False, str(error)
        return run_agent(self) if agent else rehearse(self)

    def execute(self, argv, env=None, stdin_path=os.devnull, limit_seconds=None, on_stdout=None):
        """Run a program in the workspace with its lines as events; gives (exit code, stdout Tail, stderr Tail)."""
        tails = {"stdout": Tail(ANSWER_LIMIT_CHARS), "stderr": Tail(OUTPUT_LIMIT_CHARS)}

        def pass_on(stream, lines):
            """Keep what the answer needs and tell the rest."""
            tails[stream].add(lines)
            if lines:
                self._emit_lines(stream, lines, on_stdout)

        try:
            with self._lock:
                if self._halted.is_set():
                    raise Halted()
                self._process = process = Process(
                    argv, self.path, env or self.env, stdin_path, limit_seconds
                )
        except OSError as error:
            pass_on("stderr", ["%s cannot be started: %s" % (argv[0], error.strerror)])
            return 127, tails["stdout"], tails["stderr"]
        pid = process.pid
        self.service.store.write(
            ("INSERT OR REPLACE INTO processes VALUES(?,?)", pid, birth_of(pid))
        )
        try:
            code = process.run(pass_on)
        finally:
            self._process = None
            self.service.store.write(("DELETE FROM processes WHERE pid=?", pid))
        if self._halted.is_set():
            raise Halted()
        if process.timed_out:
            pass_on("stderr", ["ended after %d seconds" % limit_seconds])
        return code, tails["stdout"], tails["stderr"]

    def _emit_lines(self, stream, lines, on_stdout):
        if self.timeline.is_full:
            if not self._is_dropping:
                self.emit("stderr", content="[the output is too long; from here on it is dropped]")
            self._is_dropping = True
        elif stream == "stdout" and on_stdout:
            self.timeline.append(*map(on_stdout, lines))
        else:
            self.timeline.append(*[(stream, {"content": line}) for line in lines])

    def ask(self, text, options):
        """Ask the caller and wait, without a place in the line, until an answer comes."""
        question = Question(self.timeline.count, options)
        with self._lock:
            if self._halted.is_set():
                raise Halted()
            self.question = question
        self.emit(
            "ask_user_question",
            actionId=question.action_id,
            messageId=question.message_id,
            question=text,
            options=[{"label": label} for label in options],
            multiSelect=False,
        )
        self.service.runner.park()
        answer = question.result()
        self.service.runner.unpark()
        with self._lock:
            self.question = None
        if answer is None or self._halted.is_set():
            raise Halted()
        self.env["ANSWER"] = answer.replace("\x00", "").encode("utf-8", "replace").decode()
        self.emit(
            "tool_result", tool_id=question.message_id, output="Answer: " + answer, is_error=False
        )

    def _tell_end(self, status, answer):
        faults, finish = self.service.faults, self.service.store.finish_prompt
        if faults.is_on("hostile-text"):
            answer = HOSTILE_TEXT + "\n" + answer
        places = {place for name, place in PLACES.items() if faults.is_on(name)} or {
            "text",
            "final",
            "response",
        }
        if faults.is_on("late-tail"):
            finish(self.prompt["id"], status)
            self.timeline.rest()
            self._halted.wait(faults.value("late-tail", 0))
        is_told = (
            self.service.agent and status == "succeeded"
        )  # an agent's words went out as they came
        if "text" in places and not is_told:
            self.emit("text", content=answer)
        if "result" in places:
            self.emit(
                "result", result=answer, status="success" if status == "succeeded" else "error"
            )
        finish(
            self.prompt["id"],
            status,
            **{place: answer for place in ("final", "response") if place in places},
        )


class Runner:
    """Starts prompts, cancels them, and ends them all when the server goes."""

    def __init__(self, service, width):
        self._service = service
        self._width = max(1, width)
        self._changed = threading.Condition()
        self._waiting = []  # (task id, prompt id), oldest first
        self._active = {}  # prompt id -> PromptRun
        self._places = 0

    def __repr__(self):
        return "Runner(active=%d, waiting=%d)" % (len(self._active), len(self._waiting))

    def recover(self):
        """After a restart: what was running has failed and says so, what was waiting waits again."""
        service = self._service
        for row in service.store.rows("SELECT pid, born FROM processes"):
            end_leftover(row["pid"], row["born"])
        service.store.write(("DELETE FROM processes",))
        for prompt in service.store.rows(
            "SELECT * FROM prompts WHERE status IN (?,?) ORDER BY number", *OPEN
        ):
            service.timelines.begin(prompt["id"])
            if prompt["status"] == "pending":
                self.submit(prompt["task"], prompt["id"])
            else:
                PromptRun(service, prompt["id"]).fail(STOPPED_WORDS)
                service.timelines.end(prompt["id"])
                service.deliveries.tell_end(prompt["task"])

    def submit(self, task_id, prompt_id):
        """Queue a prompt whose timeline was begun."""
        with self._changed:
            self._waiting.append((task_id, prompt_id))
            self._dispatch()

    def _dispatch(self):
        busy = {run.task_id for run in self._active.values()}
        for task_id, prompt_id in list(self._waiting):
            if self._places >= self._width or self._service.stopping.is_set():
                return
            if task_id not in busy:
                busy.add(task_id)
                self._waiting.remove((task_id, prompt_id))
                self._start(prompt_id)

    def _start(self, prompt_id):
        self._places += 1
        self._active[prompt_id] = run = PromptRun(self._service, prompt_id)
        run.thread = threading.Thread(
            target=self._carry_out, args=(run,), name="prompt-" + prompt_id[:8], daemon=True
        )
        run.thread.start()

    def _carry_out(self, run):
        service, prompt_id, began = self._service, run.prompt["id"], time.monotonic()
        try:
            if service.store.start_prompt(prompt_id):
                service.deliveries.tell_running(run.task_id)
                run.carry_out()
        except Exception:  # a fault of ours must not leave the task running for ever
            traceback.print_exc()
            run.fail(
                "The local server failed: " + traceback.format_exc(limit=0).strip().splitlines()[-1]
            )
        finally:
            credits.pay_work(service.store, time.monotonic() - began)
            service.deliveries.tell_end(run.task_id)
            service.timelines.end(prompt_id)
            with self._changed:
                del self._active[prompt_id]
                self.park()

    def park(self):
        """Give a place away: the prompt has ended, or its question waits for an answer."""
        with self._changed:
            self._places -= 1
            self._dispatch()
            self._changed.notify_all()

    def unpark(self):
        """Take a place again, waiting for one."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._places < self._width or self._service.stopping.is_set()
            )
            self._places += 1

    def find(self, task_id):
        """The active run of a task, or None."""
        with self._changed:
            return next((run for run in self._active.values() if run.task_id == task_id), None)

    def cancel(self, task_id):
        """Cancel every open prompt of the task; gives how many."""
        ids = self._service.store.cancel_prompts(task_id)
        with self._changed:
            self._waiting = [entry for entry in self._waiting if entry[1] not in ids]
            runs = [self._active[i] for i in ids if i in self._active]
            idle = [i for i in ids if i not in self._active]
        for run in runs:
            run.stop("canceled")
        for prompt_id in idle:
            self._service.timelines.end(prompt_id)
        if idle and not runs:  # what runs tells the end itself
            self._service.deliveries.tell_end(task_id)
        return len(ids)

    @property
    def is_busy(self):
        """True while something runs, waits to run or waits for an answer."""
        with self._changed:
            return bool(self._active or self._waiting)

    def stop(self):
        """End every process group, the server being about to stop; the prompts that ran have failed."""
        with self._changed:
            runs = list(self._active.values())
            self._changed.notify_all()
        for run in runs:
            run.stop("stopped")
        for run in runs:
            run.thread.join(JOIN_SECONDS)
