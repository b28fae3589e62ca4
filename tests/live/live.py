"""`make live`: ask a real deployment what the documents say of it, and print where it differs. Costs money, so only on demand.

Nothing is contacted unless REBYTE_LIVE is 1 and there is a key. Then it starts two tasks and one follow-up, each through
the ledger and the guards, and cancels and deletes what it made. Exit 0: it ran to its end, whatever differs; 1: it could
not; 2: nobody opted in.
"""
from __future__ import annotations

import io
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "scripts"), os.path.dirname(os.path.abspath(__file__))]

import facts  # noqa: E402
from rebyte_client import RebyteClient  # noqa: E402
from rebyte_commands.environment import read_number  # noqa: E402
from rebyte_flows.ledger import open_ledger  # noqa: E402
from rebyte_flows.orders import Order  # noqa: E402
from rebyte_flows.starts import Guards, Starter  # noqa: E402
from rebyte_flows.state import find_state  # noqa: E402
from rebyte_flows.stream import End, watch  # noqa: E402
from rebyte_wire.credentials import find_base, find_key  # noqa: E402
from rebyte_wire.errors import RebyteError, RouteMissing  # noqa: E402

PAID_STARTS_MOST = 3
OPT_IN = """Nothing was contacted. This asks a real deployment, and costs what two short tasks and one follow-up cost.
To opt in:  REBYTE_LIVE=1 make live     (the key as always: REBYTE_API_KEY, or a key file)"""


class Visit:
    """One visit to a deployment: what was started there, and what is said of it."""

    PROMPT = "Answer with the single word ready, and nothing else. Use no tool.\n```python run\nprint('ready')\n```"
    TASK_SECONDS = 600

    def __init__(self, client, ledger, say):
        self.client, self.ledger, self.say = client, ledger, say
        guards = Guards(read_number(os.environ, "REBYTE_MAX_TASKS_PER_DAY", int), PAID_STARTS_MOST, True)
        self.starter, self.left, self.made = Starter(client, ledger, guards=guards, say=say), PAID_STARTS_MOST, []
        self.task = self.file = self.credits = None

    def __repr__(self):
        return "Visit(%r, %d made)" % (self.client, len(self.made))

    def start(self, prompt, **parts):
        """Start something paid, at most three times, and return the service's answer."""
        if not self.left:
            raise RuntimeError("a visit makes %d paid starts and no more" % PAID_STARTS_MOST)
        self.left -= 1
        started = self.starter.start(Order(prompt, bare=True, **parts), again=True)
        if parts.get("kind") != "follow-up":
            self.made.append(started.row.task_id)
        return started.answer or {"id": started.row.task_id, "promptId": started.row.prompt_id}

    def read_stream(self, task_id):
        """Wait until the task has ended, then read its stream once more from the start, as it is: (events, done)."""
        whole = self.client.deadline
        self.client.deadline = whole.within(self.TASK_SECONDS)
        try:
            for seen in watch(self.client, task_id):
                if isinstance(seen, End):
                    break
        finally:
            self.client.deadline = whole
        with self.client.stream_events(task_id) as stream:
            return facts.frames(stream)

    @staticmethod
    def open_bytes(data):
        """Return something to upload."""
        return io.BytesIO(data)

    def tidy(self):
        """Cancel and delete what was made."""
        for task_id in self.made:
            for undo in (self.client.cancel_task, self.client.delete_task):
                try:
                    undo(task_id)
                except RebyteError:
                    pass  # deleted already, or out of reach


def main(environ=os.environ, say=print):
    """Visit the deployment that the environment names, if somebody opted in."""
    if environ.get("REBYTE_LIVE") != "1" or find_key(environ)[0] is None:
        say(OPT_IN)
        return 2
    say("Visiting %s\nThis starts 2 short tasks and 1 follow-up (at most %d paid starts) and no computer; they are charged to your\n"
        "organization like any other, and are deleted at the end. Ctrl-C now costs nothing." % (find_base(environ), PAID_STARTS_MOST))
    with RebyteClient(environ=environ) as client:
        ledger = open_ledger(client, find_state(environ))
        visit = Visit(client, ledger, say)
        try:
            return report(visit, say)
        finally:
            visit.tidy()
            ledger.close()


def report(visit, say):
    """Run the checks in order; a check that cannot be made is a difference too, but without a task the visit ends."""
    different = 0
    for check in facts.CHECKS:
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
        if visit.task is None and check is facts.check_create:
            say("No task could be started, so the rest was not looked at.")
            return 1
    _say_cost(visit, say)
    say("%d of %d facts differ." % (different, len(facts.CHECKS)))
    return 0


def _say_cost(visit, say):
    """Say what it cost where the service tells."""
    try:
        before, after = visit.credits["totalAvailable"], visit.client.get_credits()["totalAvailable"]
        say("Credits: %s before, %s now." % (before, after))
    except (RebyteError, KeyError, TypeError):
        say("What it cost, the service does not tell.")


if __name__ == "__main__":
    sys.exit(main())
