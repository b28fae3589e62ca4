"""What the organization holds: computers, machines that last, as rows; and credits, of which a start costs one."""
from __future__ import annotations

import json
import secrets
import uuid

from rebyte_local.answers import Refusal
from rebyte_local.store import MICROSECONDS, long_form, now_us

PROVISION_SECONDS = 0.5
DEFAULT_NAME = "Agent Computer"
FAILED_WORDS = "No machine could be provisioned (the fault computer-error is on)."
VIEWS = ("web_search_&_browse", "sandbox", "coding_agent", "skills", "ask_user_question", "interactive_content")
FIRST_CREDITS = 10000
START_CREDITS = 1
MINUTE_SECONDS = 60
BALANCE, USED, BOUGHT, CHANGED = "credits.balance", "credits.used", "credits.bought", "credits.changed"


class Fleet:
    """The computers of one folder."""

    def __init__(self, store, faults):
        self._store, self._faults = store, faults

    def __repr__(self):
        return "Fleet(%r)" % (self._store,)

    def add(self, name, icon):
        """Make a computer and its workspace; gives its row."""
        computer_id, now = str(uuid.uuid4()), now_us()
        facts = {"name": name or DEFAULT_NAME, "icon": icon, "fails": self._faults.is_on("computer-error"), "instructions": None,
                 "key": "sbx_local_" + secrets.token_hex(16), "sandbox": secrets.token_hex(10), "off": []}
        self._store.write(
            ("INSERT INTO workspaces VALUES(?,?)", (computer_id, now)),
            ("INSERT INTO computers(id,created,updated,facts) VALUES(?,?,?,?)", (computer_id, now, now, json.dumps(facts))))
        return self.find(computer_id)

    def find(self, computer_id):
        """The computer, or None."""
        row = self._store.row("SELECT * FROM computers WHERE id=?", computer_id)
        return _read(row) if row else None

    def page(self, limit, offset):
        """(computers newest first, how many there are)."""
        rows = self._store.rows("SELECT * FROM computers ORDER BY number DESC LIMIT ? OFFSET ?", limit, offset)
        return [_read(row) for row in rows], self._store.row("SELECT count(*) AS n FROM computers")["n"]

    def change(self, computer, instructions, views):
        """Set the standing instructions and switch views by id; gives the new row."""
        facts = {name: computer[name] for name in ("name", "icon", "fails", "instructions", "key", "sandbox", "off")}
        facts["instructions"] = computer["instructions"] if instructions is None else instructions
        facts["off"] = [word for word in VIEWS if not (views or {}).get(word, word not in computer["off"])]
        self._store.write(("UPDATE computers SET facts=?, updated=? WHERE id=?", (json.dumps(facts), now_us(), computer["id"])))
        return self.find(computer["id"])

    def remove(self, computer_id):
        """Forget the computer and its workspace."""
        self._store.write(("DELETE FROM computers WHERE id=?", (computer_id,)),
                          ("DELETE FROM workspaces WHERE id=?", (computer_id,)))

    def state_of(self, computer):
        """(status, sandbox id or None) as the service would tell them now."""
        took = self._faults.value("slow-computer") if self._faults.is_on("slow-computer") else PROVISION_SECONDS
        if now_us() - computer["created"] < took * MICROSECONDS:
            return "provisioning", None
        if computer["fails"]:
            return "error", None
        return "provisioning" if self._faults.is_on("sandbox-first") else "ready", computer["sandbox"]

    def show(self, computer, origin, whole=False):
        """A computer as the service tells it; `whole` adds what is undocumented, its secret key among it."""
        status, sandbox = self.state_of(computer)
        shown = {"id": computer["id"], "name": computer["name"], "status": status, "sandboxId": sandbox, "icon": computer["icon"],
                 "url": "%s/agent/computer/%s" % (origin, computer["id"]),
                 "provisionError": FAILED_WORDS if status == "error" else None,
                 "createdAt": long_form(computer["created"]), "updatedAt": long_form(computer["updated"]), "rehearsal": True}
        if whole:
            shown.update(sandboxBaseUrl=None, sandboxApiKey=computer["key"] if sandbox else None,
                         agentInstructions=computer["instructions"], views=[_view(word, computer["off"]) for word in VIEWS])
        return shown


def _view(word, off):
    return {"id": word, "name": word, "enabled": word not in off,
            "server": {"type": "internal", "internalName": word, "remoteId": None}}


def _read(row):
    record = dict(row)
    record.update(json.loads(record.pop("facts")))
    return record


class Purse:
    """The credits of one folder; they outlive a restart."""

    def __init__(self, store, credits=None):
        self._store = store
        if credits is not None or store.recall(BALANCE) is None:
            credits = FIRST_CREDITS if credits is None else credits
            for name, value in ((BALANCE, credits), (BOUGHT, credits), (USED, 0), (CHANGED, now_us())):
                store.remember(name, value)

    def __repr__(self):
        return "Purse(%d)" % self._number(BALANCE)

    def _number(self, name):
        return int(self._store.recall(name))

    def _take(self, count):
        """Take credits in one transaction; False when there are not so many."""
        add = "UPDATE meta SET value=CAST(value AS INTEGER)+? WHERE name=? AND CAST(? AS INTEGER)<=" \
              "(SELECT CAST(value AS INTEGER) FROM meta WHERE name=?)"
        taken = self._store.write((add, (count, USED, count, BALANCE)), (add, (-count, BALANCE, count, BALANCE)))
        if taken[1]:
            self._store.remember(CHANGED, now_us())
        return bool(taken[1])

    def pay_start(self):
        """Pay for a start, or refuse it with 402; what the real service says when nothing is left is not known."""
        if not self._take(START_CREDITS):
            raise Refusal(402, "insufficient_credits", "Insufficient credits: %d left, and a start costs %d" % (
                self._number(BALANCE), START_CREDITS))

    def pay_work(self, seconds):
        """Pay for each whole minute of work, as far as the credits go: what runs is not ended for want of them."""
        minutes = int(seconds // MINUTE_SECONDS)
        if minutes and not self._take(minutes):
            self._take(self._number(BALANCE))

    def show(self):
        """The credits in the shape that others saw."""
        balance = self._number(BALANCE)
        return {"balance": balance, "expiringBalance": 0, "expiringAllowance": 0, "totalAvailable": balance,
                "lifetimePurchased": self._number(BOUGHT), "lifetimeUsed": self._number(USED),
                "updatedAt": long_form(self._number(CHANGED))}
