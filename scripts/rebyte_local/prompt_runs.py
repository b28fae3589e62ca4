"""The life of one prompt: its workspace made ready, its program run, its files published, its end told."""
from __future__ import annotations

import os
import shutil
import threading

from rebyte_local.executors import ANSWER_LIMIT_CHARS, OUTPUT_LIMIT_CHARS, Question, rehearse, run_agent
from rebyte_local.faults import HOSTILE_TEXT
from rebyte_local.processes import Process, Tail, birth_of
from rebyte_local.workspaces import GIT_SECONDS, SetupFailed

PLACES = {"answer-in-result": "result", "answer-in-final": "final", "answer-in-content": "response"}
STOPPED_WORDS = "The local server was stopped while this prompt ran; it was not run again."


class Halted(Exception):
    """The prompt was canceled or the server is stopping."""


class PromptRun:
    """The life of one prompt from its place in the line to its end."""

    def __init__(self, service, runner, task_id, prompt_id):
        self.service = service
        self._runner = runner
        self._process = None
        self._lock = threading.Lock()
        self._dropped = 0
        self.halted = threading.Event()
        self.why_halted = None
        self.question = None
        self.task = service.records.task(task_id) or {"id": task_id}
        self.prompt = service.records.prompt(prompt_id)
        self.timeline = service.timelines.find(prompt_id)

    def __repr__(self):
        return "PromptRun(%s, halted=%r)" % (self.prompt["id"], self.why_halted)

    def emit(self, event_type, **payload):
        """Add an event to the prompt's timeline."""
        self.timeline.append(event_type, payload)

    def stop(self, why):
        """End the run from another thread: its process group and its question."""
        with self._lock:
            self.why_halted = self.why_halted or why
            self.halted.set()
            if self._process:
                self._process.kill()
            if self.question:
                self.question.settle(None)

    def carry_out(self):
        """Prepare the workspace, run, publish, tell the end."""
        workspaces = self.service.workspaces
        workspace = self.task.get("workspace")
        if workspace is None:
            return  # deleted before it began
        self.path = workspaces.path(workspace)
        os.makedirs(os.path.join(self.path, "artifacts"), 0o700, exist_ok=True)
        self.scratch = workspaces.make_scratch()
        self.env = workspaces.environment(self.path, self.scratch)
        try:
            succeeded, answer = self._prepare_and_run()
            if self.service.faults.is_on("question"):
                self.ask("May this task end now?", ["Yes", "No"])
            for sentence in workspaces.publish(workspace, self.path):
                self.emit("stderr", content=sentence)
            if self.halted.is_set():
                raise Halted()
            self._tell_end("succeeded" if succeeded else "failed", answer)
        except Halted:
            self._tell_halt()
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _prepare_and_run(self):
        agent = self.service.agent
        if agent:
            self.emit("init", session_id=self.prompt["id"], model=os.path.basename(agent[0]), cwd=self.path)
        else:
            self.emit("init", session_id=self.prompt["id"], model="none (rehearsal)", cwd=self.path, rehearsal=True)
        try:
            self._prepare()
        except SetupFailed as error:
            return False, str(error)
        return run_agent(self, agent) if agent else rehearse(self)

    def _prepare(self):
        setup = self.prompt["setup"]
        for reference in setup.get("files", ()):
            name = self.service.workspaces.copy_file(self.path, reference)
            if name != reference["filename"]:
                self.emit("stderr", content="a file name was too long for this machine; it is %s here" % name)
        for slug in setup.get("skills", ()):
            problem = self.service.workspaces.copy_skill(self.path, slug)
            if problem:
                self.emit("stderr", content=problem)
        if setup.get("repository"):
            self._clone(setup["repository"], setup["branch"])

    def _clone(self, repository, branch):
        argv, env, target = self.service.workspaces.clone_command(repository, branch, self.path)
        if os.path.lexists(target):
            name = os.path.basename(target)
            self.emit("stderr", content="%s is already in the workspace; it was left as it is" % name)
            return
        self.emit("tool_use", id="clone", name="git_clone", input={"repository": repository, "branch": branch})
        code, _, errors = self.execute(argv, env=env, limit_seconds=GIT_SECONDS)
        words = "\n".join(errors.last)
        self.emit("tool_result", tool_id="clone", output=words or "cloned to " + target, is_error=code != 0)
        if code != 0:
            words = words or "no words (%s)" % code
            raise SetupFailed("git could not clone %s at %s:\n%s" % (repository, branch, words))

    def execute(self, argv, env=None, stdin_path=os.devnull, limit_seconds=None, on_stdout=None):
        """Run a program in the workspace with its lines as events; gives (exit code, stdout Tail, stderr Tail)."""
        tails = {"stdout": Tail(ANSWER_LIMIT_CHARS), "stderr": Tail(OUTPUT_LIMIT_CHARS)}

        def pass_on(stream, lines):
            """Keep what the answer needs and tell the rest."""
            tails[stream].add(lines)
            self._emit_lines(stream, lines, on_stdout)
        try:
            with self._lock:
                if self.halted.is_set():
                    raise Halted()
                self._process = process = Process(argv, self.path, env or self.env, stdin_path, limit_seconds)
        except OSError as error:
            pass_on("stderr", ["%s cannot be started: %s" % (argv[0], error.strerror)])
            return 127, tails["stdout"], tails["stderr"]
        pid = process.pid
        self.service.store.write(("INSERT OR REPLACE INTO processes VALUES(?,?)", (pid, birth_of(pid))))
        try:
            code = process.run(pass_on)
        finally:
            self._process = None
            self.service.store.write(("DELETE FROM processes WHERE pid=?", (pid,)))
        if self.halted.is_set():
            raise Halted()
        if process.timed_out:
            pass_on("stderr", ["ended after %d seconds" % limit_seconds])
        return code, tails["stdout"], tails["stderr"]

    def _emit_lines(self, stream, lines, on_stdout):
        if self.timeline.is_full:
            if not self._dropped:
                self.emit("stderr", content="[the output is too long; from here on it is dropped]")
            self._dropped += len(lines)
        elif stream == "stdout" and on_stdout:
            self.timeline.append_all([on_stdout(line) for line in lines])
        else:
            self.timeline.append_all([(stream, {"content": line}) for line in lines])

    def ask(self, text, options):
        """Ask the caller and wait, without a place in the line, until an answer comes."""
        question = Question(self.timeline.count, text, options)
        with self._lock:
            if self.halted.is_set():
                raise Halted()
            self.question = question
        self.emit("ask_user_question", actionId=question.action_id, messageId=question.message_id, question=text,
                  options=[{"label": label} for label in options], multiSelect=False)
        self._runner.park()
        answer = question.wait()
        self._runner.unpark()
        with self._lock:
            self.question = None
        if answer is None or self.halted.is_set():
            raise Halted()
        self.env["ANSWER"] = answer.replace("\x00", "").encode("utf-8", "replace").decode()
        self.emit("tool_result", tool_id=question.message_id, output="Answer: " + answer, is_error=False)

    def _tell_end(self, status, answer):
        faults = self.service.faults
        if faults.is_on("hostile-text"):
            answer = HOSTILE_TEXT + "\n" + answer
        places = {place for name, place in PLACES.items() if faults.is_on(name)} or {"text", "final", "response"}
        outcome = {place: answer for place in ("final", "response") if place in places}
        finish = self.service.records.finish_prompt
        if faults.is_on("late-tail"):
            finish(self.prompt["id"], status, {})
            self.timeline.rest()
            self.halted.wait(faults.value("late-tail"))
        is_told = self.service.agent and status == "succeeded"  # an agent's words went out as they came
        if "text" in places and not is_told:
            self.emit("text", content=answer)
        if "result" in places:
            self.emit("result", result=answer, status="success" if status == "succeeded" else "error")
        finish(self.prompt["id"], status, outcome)

    def _tell_halt(self):
        if self.why_halted == "canceled":
            self.service.records.finish_prompt(self.prompt["id"], "canceled", {})
            return
        self.emit("text", content=STOPPED_WORDS)
        outcome = {"final": STOPPED_WORDS, "response": STOPPED_WORDS}
        self.service.records.finish_prompt(self.prompt["id"], "failed", outcome)
