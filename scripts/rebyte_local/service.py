"""What the routes work with: the state, the runner and the settings of one local server."""
from __future__ import annotations

import os
import secrets
import shlex
import threading

from rebyte_local.answers import invalid, is_uuid, not_found
from rebyte_local.faults import HOSTILE_TEXT, Faults
from rebyte_local.holdings import Fleet, Purse
from rebyte_local.hooks import Hooks
from rebyte_local.records import OPEN, Records
from rebyte_local.runner import Runner
from rebyte_local.shelves import Shelves, Signer
from rebyte_local.store import MICROSECONDS, Store, long_form, now_us
from rebyte_local.timelines import Timelines
from rebyte_local.workspaces import Workspaces

REAL_CODE = "/code"
ODD_WORDS = {"pending": "queued", "running": "processing"}


class Service:
    """One folder's tasks, files, artifacts, computers, webhooks and credits, without any HTTP."""

    def __init__(self, folder, key=None, faults=None, repos=None, skills=None, agent=None, width=4,
                 signed_seconds=None, credits=None):
        self.folder = folder
        self.faults = faults if isinstance(faults, Faults) else Faults(faults)
        self.store = Store(folder)
        self.records = Records(self.store)
        self.timelines = Timelines(folder)
        self.shelves = Shelves(self.store, folder)
        self.workspaces = Workspaces(folder, self.shelves, repos, skills)
        self.purse = Purse(self.store, credits)
        self.fleet = Fleet(self.store, self.faults)
        self.signer = Signer(self.store.recall("secret", lambda: secrets.token_hex(32)), signed_seconds)
        self.agent = (shlex.split(agent) if isinstance(agent, str) else [str(word) for word in agent or ()]) or None
        self.has_real_code = os.path.isdir(REAL_CODE)
        self.stopping = threading.Event()
        self.hooks = Hooks(self.store, self.stopping)
        self.origin = ""
        if key:
            self.store.remember("key", key)
        self.key = key or self.store.recall("key", lambda: "rbk_local_" + secrets.token_hex(16))
        self.runner = Runner(self, width)

    def __repr__(self):
        return "Service(%r, %r)" % (self.folder, self.faults)

    def open(self, origin):
        """Take up what an earlier server left, and know under which address it is reached."""
        self.origin = origin
        self.runner.recover()

    def close(self):
        """End what runs and close the state."""
        self.stopping.set()
        self.runner.stop()
        self.timelines.end_all()
        self.hooks.close()

    def begin_task(self, prompt, setup, executor, model, workspace):
        """Make a task with its workspace; nothing runs before `submit`."""
        task, first = self.records.add_task(prompt, setup, executor, model, workspace, rehearsal=not self.agent)
        self.workspaces.path(task["workspace"])
        self.timelines.begin(first["id"])
        self.hooks.tell("task.created", task["id"])
        return task, first

    def tell_end(self, task_id):
        """Tell the webhooks how a task ended, unless more of its prompts are to run."""
        status, _ = self.records.end(task_id)
        if status != "running":
            self.hooks.tell_end(task_id, status)

    def begin_prompt(self, task_id, prompt, setup):
        """Add a follow-up and queue it."""
        record = self.records.add_prompt(task_id, prompt, setup)
        self.timelines.begin(record["id"])
        self.runner.submit(task_id, record["id"])
        return record

    def find_task(self, request):
        """The task of a /tasks/:id route, or 404."""
        task_id = request.params[0].lower()
        task = self.records.task(task_id) if is_uuid(task_id) else None
        if task is None:
            raise not_found("Task")
        if self.faults.is_on("late-visible"):
            age = (now_us() - task["created"]) / MICROSECONDS
            if age < self.faults.value("late-visible"):
                raise not_found("Task")
        return task

    def find_workspace(self, request):
        """The workspace id of a /workspaces/:id route, or 404."""
        workspace = request.params[0].lower()
        if not is_uuid(workspace) or not self.records.workspace_exists(workspace):
            raise not_found("Workspace")
        return workspace

    def check_files(self, references):
        """Refuse files that were never announced or never uploaded."""
        for reference in references:
            file = self.shelves.file(reference["id"])
            if file is None:
                raise invalid("files: no file has the id %s" % reference["id"])
            if file["size"] is None:
                raise invalid("files: %s has no content yet; PUT it to its uploadUrl first" % reference["id"])

    def sign(self, method, segments, seconds, content_type=""):
        """(whole signed address, moment it expires)."""
        path, expires = self.signer.sign_path(method, segments, seconds, content_type)
        return self.origin + path, expires

    def shown_status(self, word):
        """A status as it is told, which odd-status may change."""
        return ODD_WORDS.get(word, word) if self.faults.is_on("odd-status") else word

    def show_title(self, task):
        """A title as it is told, which hostile-text may change."""
        return HOSTILE_TEXT + task["title"] if self.faults.is_on("hostile-text") else task["title"]

    def show_prompt(self, prompt):
        """A prompt as GET /tasks/:id lists it."""
        is_open = prompt["status"] in OPEN
        return {"id": prompt["id"], "status": self.shown_status(prompt["status"]),
                "submittedAt": long_form(prompt["submitted"]),
                "completedAt": None if is_open else long_form(prompt["completed"])}
