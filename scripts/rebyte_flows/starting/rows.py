"""One paid start as the ledger knows it, and what typing its line again means: the table of reruns, as code."""

from __future__ import annotations

import json

from rebyte_wire.errors import InputError

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
)
# Such a row started nothing: the earlier one of its line counts.
NEVER_STARTED = ("not_sent", "refused", "abandoned")
START, REUSE, RESUME, WAIT, RECONCILE = "start", "reuse", "resume", "hold", "settle"
REUSE_SECONDS = 15 * 60
RESUME_SECONDS = 24 * 3600


class Row:
    """One paid start as the ledger knows it: the columns as attributes, times in seconds since 1970."""

    def __init__(self, values):
        self.__dict__.update(zip(COLUMNS, values))

    def __repr__(self):
        return "Row(%d %s %s%s)" % (
            self.id,
            self.kind,
            self.state,
            " " + self.task_id if self.task_id else "",
        )

    def parts_sent(self):
        """Return the parts that were sent as short digests, by name; see Order.parts."""
        return json.loads(self.parts)

    def known_before(self):
        """Return the prompt ids that a task had before this follow-up."""
        return json.loads(self.known) if self.known else []

    def is_started(self):
        """Tell whether the service is known to have started it."""
        return self.state in ("created", "settled")


def untracked_row(task_id):
    """Return a row for a task that was started elsewhere: it stands in no ledger, and most of it is unknown."""
    row = Row([None] * len(COLUMNS))
    row.task_id, row.kind, row.state, row.parts = task_id, "task", "created", "{}"
    return row


def next_move(row, *, named, again, held, now, same=True):
    """Return START, REUSE (delivered), RESUME (not yet delivered), HOLD (another run is at it) or SETTLE (outcome unknown).

    With `again` a new one starts, unless it is the `same` that was started so itself and whose end nobody has seen.
    """
    if (
        row is None
        or row.state in NEVER_STARTED
        or again
        and not (same and row.again and row.delivered_at is None)
    ):
        return START
    if held:
        return WAIT
    if row.state in ("intent", "unknown"):
        return RECONCILE
    if row.delivered_at is None:
        return RESUME if named or now - row.claimed_at < RESUME_SECONDS else START
    if named:
        return REUSE
    # Saying "go on" twice is normal, so a delivered follow-up is only repeated back when it has a name.
    return REUSE if row.kind != "follow-up" and now - row.delivered_at < REUSE_SECONDS else START


def check_same(row, order, name):
    """Raise InputError when a name was used for something else, saying which parts differ."""
    mine, theirs = order.parts(), row.parts_sent()
    differing = sorted(
        part for part in set(mine) | set(theirs) if mine.get(part) != theirs.get(part)
    )
    if differing:
        raise InputError(
            "the name %s was used for another start: %s differ%s"
            % (name, ", ".join(differing), "s" if len(differing) == 1 else ""),
            code="name_in_use",
            hint="choose another name, or --again to start this one under the same name knowingly",
            details={"differs": differing, "taskId": row.task_id},
        )


def check_name(name):
    """Return a name given with --once, or raise InputError: 1 to 200 printable characters without blanks at the ends."""
    if (
        not name
        or name != name.strip()
        or len(name) > 200
        or not name.isprintable()
        or name.startswith("@")
    ):
        raise InputError(
            "%r cannot be a name: 1 to 200 printable characters, not beginning with @" % name
        )
    return name
