"""What one folder holds and how it is set up: everything that routes and runs work with."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import shutil
import threading

from rebyte_local.agents.readiness import put_ready_first, take_inventory
from rebyte_local.agents.reading import SILENCE_SECONDS, TURN_SECONDS, Limits
from rebyte_local.agents.roster import ALL, parse_agents
from rebyte_local.deliveries import Deliveries
from rebyte_local.faults import Faults
from rebyte_local.storage.artifacts import ArtifactStore
from rebyte_local.storage.blobs import BlobStore
from rebyte_local.storage.credits import CreditAccount
from rebyte_local.storage.database import Database
from rebyte_local.storage.event_log import EventLog
from rebyte_local.storage.sessions import SessionTable
from rebyte_local.storage.task_table import TaskTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rebyte_local.execution.runner import Runner

SUBFOLDERS = ("blobs", "scratch", "workspaces")


class Service:
    """The state, the faults and the settings of one folder; no HTTP.

    `instance` is of this one process; by it its programs are found when it was killed.
    `agents` are the words of --agents; `agent_silence` and `agent_limit` are seconds.
    `runner` is set by who makes the service, because a runner needs a service.
    """

    runner: Runner

    def __init__(
        self,
        folder: str,
        key: str | None = None,
        faults: dict[str, object] | list[str] | None = None,
        repos: str | None = None,
        skills: str | None = None,
        agent: list[str] | None = None,
        agents: str = "",
        agent_silence: float = SILENCE_SECONDS,
        agent_limit: float = TURN_SECONDS,
        signed_seconds: float | None = None,
        credits: int | None = None,
    ) -> None:
        self.folder = folder
        self.faults = Faults(faults)
        self.agent = list(agent or ())
        self.agents = parse_agents(agents)
        self.programs = take_inventory(self.agents)
        if ALL in agents.split(","):
            self.agents = put_ready_first(self.agents, self.programs)
        self.instance = secrets.token_hex(16)
        self.limits = Limits(agent_silence, agent_limit)
        self.repos = os.path.abspath(repos) if repos else None
        self.skills = os.path.abspath(skills) if skills else None
        self.signed_seconds = signed_seconds
        self.origin = ""
        self.stopping = threading.Event()
        self.database = Database(folder)
        self.secret = self._setting("secret", secrets.token_hex(32))
        if key:
            self.database.set_setting("key", key)
        self.key = self._setting("key", "rbk_local_" + secrets.token_hex(16))
        shutil.rmtree(os.path.join(folder, "scratch"), ignore_errors=True)
        for name in SUBFOLDERS:
            os.makedirs(os.path.join(folder, name), 0o700, exist_ok=True)
        self.tasks = TaskTable(self.database)
        self.events = EventLog(self.database)
        self.sessions = SessionTable(self.database)
        self.blobs = BlobStore(os.path.join(folder, "blobs"))
        self.artifacts = ArtifactStore(
            self.database, self.blobs, os.path.join(folder, "workspaces")
        )
        self.credits = CreditAccount(self.database)
        self.credits.init_credits(credits)
        self.deliveries = Deliveries(self.database, self.tasks, self.stopping)

    def __repr__(self) -> str:
        return "Service(%r, %r)" % (self.folder, self.faults)

    def _setting(self, name: str, default: str) -> str:
        return self.database.setting(name) or self.database.set_setting(name, default)

    def token(self, subject: str) -> str:
        """Return an unguessable text for a subject, the same after a restart."""
        key = self.secret.encode("ascii")
        return hmac.new(
            key, subject.encode("utf-8", "surrogatepass"), hashlib.sha256
        ).hexdigest()

    def page_path(self, path: str) -> str:
        """Return the path of a page with the token that opens it, and only it, without the key."""
        return "%s?token=%s" % (path, self.token("page " + path)[:32])

    def page_url(self, path: str) -> str:
        """Return the address at which a person opens a page in the browser."""
        return self.origin + self.page_path(path)

    def workspace_path(self, workspace: str) -> str:
        """Return the folder of a workspace, made if need be."""
        path = os.path.join(self.folder, "workspaces", workspace)
        os.makedirs(path, 0o700, exist_ok=True)
        return path

    def close(self) -> None:
        """End what runs; the database stays open for answers that are still being sent."""
        self.stopping.set()
        self.runner.stop()
        self.events.close_all()
        self.deliveries.close()
