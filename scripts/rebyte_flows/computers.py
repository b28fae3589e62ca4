"""Waiting for an agent computer until it can be used."""
from __future__ import annotations

import time

from rebyte_wire.errors import AuthError, DeadlineReached, NotFound, RebyteError

POLL_SECONDS = 2.0
FAILURES_AT_MOST = 12


def how_it_stands(computer):
    """Return ready, error or provisioning: an error counts first, and a sandbox id counts as ready."""
    if computer.get("status") == "error":
        return "error"
    return "ready" if computer.get("status") == "ready" or computer.get("sandboxId") else "provisioning"


def reason_of(computer):
    """Return why a computer could not be provisioned, in the service's words."""
    return str(computer.get("provisionError") or "the service gives no reason")


def wait_until_usable(client, computer_id, *, sleep=time.sleep, on_look=None):
    """Ask until a computer is ready, has a sandbox id, or is in error, and return it; raises DeadlineReached.

    Single failures are forgiven; a refused key and a computer that is not there are not.
    """
    failures = 0
    while True:
        try:
            computer, failures = client.get_computer(computer_id), 0
        except (AuthError, DeadlineReached, NotFound):
            raise
        except RebyteError:
            failures += 1
            if failures > FAILURES_AT_MOST:
                raise
            computer = {}
        if how_it_stands(computer) != "provisioning":
            return computer
        if on_look:
            on_look(computer)
        left = client.deadline.left()
        if left is not None and left <= POLL_SECONDS:
            raise DeadlineReached("the computer is still being provisioned", hint="type the same line again to go on waiting")
        sleep(POLL_SECONDS)
