"""`make live`: ask a real deployment what the documents say of it, and print where it differs.

Costs money, so only on demand.

Nothing is contacted unless REBYTE_LIVE is 1 and there is a key. Then it starts two tasks and one
follow-up, each through the ledger and the guards, and cancels and deletes what it made. Exit 0: it
ran to its end, whatever differs; 1: it could not; 2: nobody opted in.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "scripts"))

from rebyte_client import RebyteClient
from rebyte_flows.following.ending import Outcome
from rebyte_flows.following.stream import Watch
from rebyte_flows.starting.guards import Guards, owners_limit
from rebyte_flows.starting.ledger import open_ledger
from rebyte_flows.starting.requests import follow_up_request, task_request
from rebyte_flows.starting.submitter import Submitter
from rebyte_flows.state import find_state
from rebyte_wire.credentials import find_base, find_key
from rebyte_wire.errors import (
    AuthError,
    NotFound,
    RebyteError,
    RequestRefused,
    RouteMissing,
)
from rebyte_wire.status import parse_timestamp, terminal_status

PAID_STARTS_MOST = 3
NOBODY = "00000000-0000-4000-8000-000000000000"
SHORT_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LONG_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
WEBHOOKS_MOST = 3
FILE_BYTES_MOST = 52_428_800
# What a rehearsal adds to answers, and what servers newer than the documents are known to add.
USUAL_EXTRAS = {"rehearsal", "eventKey", "finalResult"}
CREATED = ("id", "workspaceId", "url", "status", "createdAt")
LISTED = ("id", "url", "title", "executor", "model", "createdAt", "completedAt")
READ = LISTED + ("status", "prompts")
PROMPT = ("id", "status", "submittedAt", "completedAt")
CREDITS = (
    "balance",
    "expiringBalance",
    "expiringAllowance",
    "totalAvailable",
    "lifetimePurchased",
    "lifetimeUsed",
    "updatedAt",
)
EVENT_TYPES = {
    "init",
    "thinking",
    "text",
    "assistant",
    "message",
    "response",
    "tool_use",
    "tool_result",
    "result",
    "ask_user_question",
    "stdout",
    "stderr",
}
OPT_IN = """Nothing was contacted. This asks a real deployment, and costs what two short tasks and one follow-up cost.
To opt in:  REBYTE_LIVE=1 make live     (the key as always: REBYTE_API_KEY, or a key file)"""


class Visit:
    """One visit to a deployment: what was started there, and what is said of it."""

    PROMPT = "Answer with the single word ready, and nothing else. Use no tool.\n```python run\nprint('ready')\n```"
    TASK_SECONDS = 600

    def __init__(self, client, ledger, say):
        self.client, self.ledger, self.say = client, ledger, say
        guards = Guards(owners_limit(os.environ), PAID_STARTS_MOST, True)
        self.starter, self.left, self.made = (
            Submitter(client, ledger, guards=guards, info=say),
            PAID_STARTS_MOST,
            [],
        )
        self.task = self.file = self.credits = None

    def __repr__(self):
        return "Visit(%r, %d made)" % (self.client, len(self.made))

    def start(self, prompt, task_id=None, **parts):
        """Start something paid, at most three times, and return the service's answer."""
        if not self.left:
            raise RuntimeError(
                "a visit makes %d paid starts and no more" % PAID_STARTS_MOST
            )
        self.left -= 1
        if task_id:
            request = follow_up_request(task_id, prompt, bare=True, **parts)
        else:
            request = task_request(prompt, bare=True, **parts)
        started = self.starter.submit(request, again=True)
        if not task_id:
            self.made.append(started.row.task_id)
        return started.answer or {
            "id": started.row.task_id,
            "promptId": started.row.prompt_id,
        }

    def read_stream(self, task_id):
        """Wait until the task has ended, then read its stream once more from the start, as it is:
        (events, done).
        """
        whole = self.client.deadline
        self.client.deadline = whole.within(self.TASK_SECONDS)
        try:
            for seen in Watch(self.client, task_id).events():
                if isinstance(seen, Outcome):
                    break
        finally:
            self.client.deadline = whole
        events, done = [], None
        with self.client.stream_events(task_id) as stream:
            for frame in stream:
                if frame.event == "done":
                    done = json.loads(frame.data)
                else:
                    events.append(json.loads(frame.data))
        return events, done

    def wait(self, task_id):
        """Wait until a task has ended and return it."""
        return self.client.wait_for_task(
            task_id, poll_interval=1, timeout=self.TASK_SECONDS
        )

    def tidy(self):
        """Cancel and delete what was made."""
        for task_id in self.made:
            for undo in (self.client.cancel_task, self.client.delete_task):
                # Deleted already, or out of reach.
                with contextlib.suppress(RebyteError):
                    undo(task_id)


def main(environ=os.environ, say=print):
    """Visit the deployment that the environment names, if somebody opted in."""
    if environ.get("REBYTE_LIVE") != "1" or find_key(environ)[0] is None:
        say(OPT_IN)
        return 2
    say(
        "Visiting %s\nThis starts 2 short tasks and 1 follow-up (at most %d paid starts) and no computer; they are charged to your\n"
        "organization like any other, and are deleted at the end. Ctrl-C now costs nothing."
        % (find_base(environ), PAID_STARTS_MOST)
    )
    with RebyteClient(environ=environ) as client:
        ledger = open_ledger(client, find_state(environ))
        visit = Visit(client, ledger, say)
        try:
            return report(visit, say)
        finally:
            visit.tidy()
            ledger.close()


def report(visit, say):
    """Run the checks in order; a check that cannot be made is a difference too, but without a task
    the visit ends.
    """
    different = 0
    for check in CHECKS:
        what = check.__doc__.split("\n")[0]
        try:
            found = check(visit)
        except RouteMissing as error:
            found = ["not on this deployment: " + error.message]
        except RebyteError as error:
            found = ["could not be looked at: %s (%s)" % (error.message, error.code)]
        different += bool(found)
        say("%s  %s" % ("differs" if found else "as told", what))
        for words in found:
            say("    %s" % words)
        if visit.task is None and check is check_create:
            say("No task could be started, so the rest was not looked at.")
            return 1
    _say_cost(visit, say)
    say("%d of %d facts differ." % (different, len(CHECKS)))
    return 0


def _say_cost(visit, say):
    """Say what it cost where the service tells."""
    try:
        before, after = (
            visit.credits["totalAvailable"],
            visit.client.get_credits()["totalAvailable"],
        )
        say("Credits: %s before, %s now." % (before, after))
    except (RebyteError, KeyError, TypeError):
        say("What it cost, the service does not tell.")


CHECKS = []


def fact(check):
    """Note a check; they are made in the order of the file."""
    CHECKS.append(check)
    return check


# What public material says, as questions that a deployment answers: a check takes the Visit and
# returns sentences, none when all is as
# documented. The order matters: the tasks that one check starts are read by those after it.


def fields(what, value, expected):
    """Return what an object lacks and what it has beyond the fields that are documented."""
    if not isinstance(value, dict):
        return ["%s is a %s" % (what, type(value).__name__)]
    lacking = ["%s has no %s" % (what, name) for name in expected if name not in value]
    return lacking + [
        "%s also has %s" % (what, name)
        for name in value
        if name not in expected and name not in USUAL_EXTRAS
    ]


def differs(what, seen, expected):
    """Return a sentence when two values are not the same."""
    return (
        []
        if seen == expected
        else ["%s is %r; documented: %r" % (what, seen, expected)]
    )


def refused(call, kind, code, status):
    """Return how a call that must be refused differs from the documented refusal."""
    try:
        call()
    except RebyteError as error:
        wrong_kind = (
            []
            if type(error) is kind
            else ["it is taken for %s (%s)" % (type(error).__name__, error.message)]
        )
        return (
            wrong_kind
            + differs("the code", error.code, code)
            + differs("the status", error.http_status, status)
        )
    return ["it was not refused"]


@fact
def check_health(visit):
    """GET /health tells a status."""
    return [] if "status" in visit.client.get_health() else ["the answer has no status"]


@fact
def check_refusals(visit):
    """Errors are {"error": {"code", "message"}} with the documented codes."""
    client = visit.client
    found = refused(lambda: client.get_task(NOBODY), NotFound, "not_found", 404)
    found += refused(
        lambda: client.list_tasks(limit=101), RequestRefused, "validation_error", 400
    )
    found += refused(
        lambda: client.request("GET", "/no-such-route"),
        RouteMissing,
        "no_such_route",
        404,
    )
    with RebyteClient("rbk_no_such_key", client.base_url) as stranger:
        return found + refused(stranger.list_tasks, AuthError, "invalid_api_key", 401)


@fact
def check_credits(visit):
    """GET /billing/credits has the fields that others saw."""
    visit.credits = visit.client.get_credits()
    return fields("the answer", visit.credits, CREDITS)


@fact
def check_webhooks(visit):
    """The webhooks are listed under `webhooks`, and there is a public key."""
    listed = visit.client.request("GET", "/webhooks")
    shape = (
        "a bare list"
        if isinstance(listed, list)
        else "webhooks"
        if "webhooks" in listed
        else ", ".join(sorted(listed))
    )
    key = visit.client.get_webhook_key()
    visit.say("    the public key has the fields: %s" % ", ".join(sorted(key)))
    many = len(visit.client.list_webhooks()["data"]) > WEBHOOKS_MOST
    return differs("what the list is under", shape, "webhooks") + (
        ["there are more than %d" % WEBHOOKS_MOST] if many else []
    )


def lists(answer):
    """Return a sentence when there is no list under data."""
    return (
        [] if isinstance(answer.get("data"), list) else ["there is no list under data"]
    )


@fact
def check_computers(visit):
    """The computers are listed under `data`."""
    return lists(visit.client.list_computers(limit=1))


@fact
def check_upload(visit):
    """A file gets an address, its own name back, and a size limit; its bytes are taken."""
    slot = visit.client.create_upload("visit.csv", "text/csv")
    found = fields("the answer", slot, ("id", "filename", "uploadUrl", "maxFileSize"))
    found += differs("the file name", slot.get("filename"), "visit.csv") + differs(
        "maxFileSize", slot.get("maxFileSize"), FILE_BYTES_MOST
    )
    visit.client.put_bytes(slot["uploadUrl"], io.BytesIO(b"1,2\n"), 4, "text/csv")
    visit.file = {"id": slot["id"], "filename": slot["filename"]}
    return found


@fact
def check_create(visit):
    """A task is answered with 201 and five fields, running, at an address that holds its id.

    PAID.
    """
    task = visit.task = visit.start(visit.PROMPT, file_ids=[visit.file])
    found = fields("the answer", task, CREATED) + differs(
        "status", task.get("status"), "running"
    )
    if not str(task.get("url")).partition("?")[0].endswith("/run/" + task["id"]):
        found.append("the address does not end with /run/<id>")
    return found + (
        []
        if SHORT_TIME.fullmatch(str(task.get("createdAt")))
        else ["createdAt is written %r" % task.get("createdAt")]
    )


@fact
def check_list(visit):
    """The newest task is listed first, without status and workspace."""
    page = visit.client.list_tasks(limit=5)
    found = fields("the page", page, ("data", "total", "limit", "offset"))
    items = page.get("data") or [{}]
    return (
        found
        + differs("the first id", items[0].get("id"), visit.task["id"])
        + fields("an item", items[0], LISTED)
    )


@fact
def check_events(visit):
    """The stream has `event` and `done`, known types, seq from 0, and ends after done."""
    events, done = visit.read_stream(visit.task["id"])
    found = fields("done", done, ("status", "lastSeq", "finalResult"))
    for event in events[:1]:
        found += fields(
            "an event", event, ("seq", "timestamp", "promptId", "eventType", "payload")
        )
        found += differs("the first seq", event.get("seq"), 0)
    unknown = sorted({str(event.get("eventType")) for event in events} - EVENT_TYPES)
    visit.say(
        "    %d events, %s eventKey"
        % (len(events), "with" if events and "eventKey" in events[0] else "without")
    )
    return (
        found
        + ["an event type nobody documented: %s" % name for name in unknown]
        + ([] if events else ["no event came"])
    )


@fact
def check_read(visit):
    """A task that has ended has a known status word, its prompts, and neither its workspace nor
    its answer.
    """
    task = visit.wait(visit.task["id"])
    found = fields("the task", task, READ) + differs(
        "status", task.get("status"), "completed"
    )
    found += (
        ["createdAt is written %r" % task.get("createdAt")]
        if not LONG_TIME.fullmatch(str(task.get("createdAt")))
        else []
    )
    for prompt in (task.get("prompts") or [])[:1]:
        found += fields("a prompt", prompt, PROMPT) + differs(
            "a prompt's status", prompt.get("status"), "succeeded"
        )
    return found


@fact
def check_content(visit):
    """GET /tasks/:id/content has the prompt as sent, and the answer."""
    prompts = visit.client.task_content(visit.task["id"], events=True).get(
        "prompts"
    ) or [{}]
    found = fields(
        "a prompt", prompts[0], PROMPT + ("userPrompt", "response", "events")
    )
    if not str(prompts[0].get("userPrompt")).startswith(visit.PROMPT):
        found.append("userPrompt is not the prompt as it was sent")
    return found + (
        []
        if "ready" in str(prompts[0].get("response")).lower()
        else ["response does not hold the answer"]
    )


@fact
def check_follow_up(visit):
    """A follow-up is answered with its promptId; GET lists the newest prompt first, /content the
    oldest. PAID.
    """
    answer = visit.start(visit.PROMPT, task_id=visit.task["id"])
    found = fields("the answer", answer, ("promptId",))
    task = visit.wait(visit.task["id"])
    ids = [
        prompt.get("id")
        for prompt in sorted(
            task.get("prompts") or [],
            key=lambda prompt: parse_timestamp(prompt.get("submittedAt")) or 0,
        )
    ]
    content = [
        prompt.get("id")
        for prompt in visit.client.task_content(visit.task["id"]).get("prompts") or []
    ]
    found += differs("the newest prompt", ids[-1:], [answer.get("promptId")])
    found += differs(
        "the order of GET",
        [prompt.get("id") for prompt in task.get("prompts") or []],
        ids[::-1],
    )
    return found + differs("the order of /content", content, ids)


@fact
def check_workspace_and_cancel(visit):
    """A second task takes the first one's machine; canceled at once it says how many prompts that
    ended. PAID.
    """
    second = visit.start(visit.PROMPT, workspace_id=visit.task.get("workspaceId"))
    found = differs(
        "workspaceId", second.get("workspaceId"), visit.task.get("workspaceId")
    )
    answer = visit.client.cancel_task(second["id"])
    found += fields("the cancel", answer, ("id", "status", "canceledPrompts"))
    status = visit.wait(second["id"]).get("status")
    return found + (
        []
        if terminal_status(status) in ("canceled", "completed")
        else ["afterwards its status is %r" % status]
    )


@fact
def check_artifacts(visit):
    """The artifacts of a workspace are listed under `data`."""
    return lists(visit.client.list_artifacts(visit.task["workspaceId"]))


@fact
def check_visibility(visit):
    """Public comes with a shareUrl, private without."""
    shown, hidden = (
        visit.client.set_visibility(visit.task["id"], "public"),
        visit.client.set_visibility(visit.task["id"], "private"),
    )
    return fields("public", shown, ("visibility", "shareUrl")) + fields(
        "private", hidden, ("visibility",)
    )


@fact
def check_delete(visit):
    """A deleted task is not found."""
    visit.client.delete_task(visit.task["id"])
    return refused(
        lambda: visit.client.get_task(visit.task["id"]), NotFound, "not_found", 404
    )


if __name__ == "__main__":
    sys.exit(main())
