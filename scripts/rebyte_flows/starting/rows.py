"""One paid start as the ledger knows it, and what typing its line again means: the table of
reruns, as code.
"""

from __future__ import annotations

import json

from rebyte_flows.starting.kinds import KINDS, Kind
from rebyte_wire.errors import InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rebyte_flows.starting.requests import StartRequest

# The columns of the ledger's table, in order.
COLUMNS = (
    "id",
    "kind",
    "origin",
    "account",
    "digest",
    "ordinal",
    "attempt",
    "name",
    "parts",
    "prompt_digest",
    "state",
    "holder",
    "claimed_at",
    "answered_at",
    "delivered_at",
    "task_id",
    "workspace_id",
    "prompt_id",
    "url",
    "executor",
    "model",
    "known",
    "reason",
    "status",
    "again",
    "message_id",
    "revision",
    "uid",
)
# claimed: a run is preparing it and no byte has left; sent: bytes may have left, the answer is not
# in.
CLAIMED, SENT = "claimed", "sent"
CREATED, SETTLED, UNKNOWN = "created", "settled", "unknown"
NOT_SENT, REFUSED, ABANDONED = "not_sent", "refused", "abandoned"
STARTED = (CREATED, SETTLED)
# Such a row started nothing: an earlier row of its line counts instead.
NEVER_STARTED = (NOT_SENT, REFUSED, ABANDONED)
# Nobody knows yet what became of such a row.
OPEN = (CLAIMED, SENT, UNKNOWN)
# The moves that typing a line again can lead to.
START, REUSE, RESUME, WAIT, RECONCILE = "start", "reuse", "resume", "wait", "reconcile"
RECOVERED = "the answer to the start was lost; what it had started was found by looking"
REUSE_SECONDS = 15 * 60
RESUME_SECONDS = 24 * 3600


class Row:
    """One paid start: the columns as attributes, times in seconds since 1970 by this machine's
    clock.
    """

    id: int
    kind: str
    origin: str
    digest: str
    ordinal: int
    attempt: int
    name: str | None
    parts: str
    prompt_digest: str | None
    state: str
    holder: str | None
    claimed_at: float
    answered_at: float | None
    delivered_at: float | None
    task_id: str
    workspace_id: str | None
    prompt_id: str | None
    url: str | None
    executor: str | None
    model: str | None
    known: str | None
    reason: str | None
    status: str | None
    again: int | None
    message_id: str | None
    revision: int
    uid: str | None

    def __init__(self, values: Sequence[Any]) -> None:
        self.__dict__.update(zip(COLUMNS, values))

    def __repr__(self) -> str:
        return "Row(%s %s %s %s)" % (self.id, self.kind, self.state, self.task_id)

    @property
    def kind_value(self) -> Kind:
        """The Kind of this start."""
        return KINDS[self.kind]

    def parts_sent(self) -> dict[str, str]:
        """Return a short digest for each part of what was sent; see StartRequest.parts."""
        found = _json_or_none(self.parts)
        return found if isinstance(found, dict) else {}

    def known_before(self) -> list[str]:
        """Return the prompt ids that a task had before this follow-up."""
        found = _json_or_none(self.known or "[]")
        return found if isinstance(found, list) else []

    def is_started(self) -> bool:
        """Tell whether the service is known to have started it."""
        return self.state in STARTED

    def is_recovered(self) -> bool:
        """Tell whether the answer to the start was lost, and its task found by looking."""
        return self.state == SETTLED


def _json_or_none(text: Any) -> Any:
    """Return the value of a cell, None for one that other hands have changed to what is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None


def untracked_row(task_id: str) -> Row:
    """Return a row for a task that was started elsewhere: it stands in no ledger, most of it is
    None.
    """
    row = Row([None] * len(COLUMNS))
    row.task_id = task_id
    row.kind = "task"
    row.state = CREATED
    row.parts = "{}"
    return row


def next_move(
    row: Row | None,
    *,
    named: bool,
    again: bool,
    held: bool,
    now: float,
    same: bool = True,
) -> str:
    """Return START, REUSE (delivered), RESUME (not yet delivered), WAIT (another run is at it) or
    RECONCILE.

    `row` is the latest row of the line, `held` whether a live run is at it, `same` whether it has
    the same digest.
    """
    if row is None or row.state in NEVER_STARTED:
        return START
    if again and not _is_same_again(row, same):
        return START
    if held:
        return WAIT
    if row.state in OPEN:
        # Where the run is gone before a byte had left, nothing was started.
        return START if row.state == CLAIMED else RECONCILE
    return _move_when_started(row, named, now)


def _move_when_started(row: Row, named: bool, now: float) -> str:
    """Return what typing the line of a start means that the service is known to have made."""
    if row.delivered_at is None:
        is_ours = named or now - row.claimed_at < RESUME_SECONDS
        return RESUME if is_ours else START
    return REUSE if named or _is_fresh(row, now) else START


def _is_fresh(row: Row, now: float) -> bool:
    """Tell whether a delivered row is shown again to a line without a name.

    An age below zero comes from a clock that was wrong; it is not taken for a fresh one.
    """
    age = now - (row.delivered_at or 0)
    return row.kind_value.repeats and 0 <= age < REUSE_SECONDS


def _is_same_again(row: Row, same: bool) -> bool:
    """Tell whether a row was itself started with --again by this very line, and nobody has seen
    its end.
    """
    return same and bool(row.again) and row.delivered_at is None


def check_same(row: Row, request: StartRequest, name: str) -> None:
    """Raise InputError when a name was used for something else, saying which parts differ."""
    mine: dict[str, Any] = request.parts()
    theirs: dict[str, Any] = row.parts_sent()
    if "path" not in theirs:
        # Written by a version that digested parts in another way: the columns have to tell.
        mine, theirs = (
            _columns_of(request),
            {"executor": row.executor, "model": row.model},
        )
    differing = sorted(
        part for part in set(mine) | set(theirs) if mine.get(part) != theirs.get(part)
    )
    if not differing:
        return
    verb = "differs" if len(differing) == 1 else "differ"
    raise InputError(
        "the name %s was used for another start: %s %s"
        % (name, ", ".join(differing), verb),
        code="name_in_use",
        hint="choose another name, or --again to start this one under the same name knowingly",
        details={"differs": differing, "taskId": row.task_id},
    )


def _columns_of(request: StartRequest) -> dict[str, Any]:
    return {field: request.body.get(field) for field in ("executor", "model")}


def check_name(name: str) -> str:
    """Return a name given with --once, or raise InputError.

    It has 1 to 200 printable characters, no blanks at its ends, and does not begin with @.
    """
    is_plain = name == name.strip() and name.isprintable() and not name.startswith("@")
    if not is_plain or not 0 < len(name) <= 200:
        raise InputError(
            "%r cannot be a name: 1 to 200 printable characters, not beginning with @"
            % name
        )
    return name
