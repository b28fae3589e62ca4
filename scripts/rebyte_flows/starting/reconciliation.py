"""Finding out by looking whether a start of unknown outcome was accepted. Adopts what is proven and never starts anything."""

from __future__ import annotations

import time

from rebyte_flows.starting.orders import digest_of_prompt, part_digest
from rebyte_wire.errors import (
    AuthError,
    LedgerUnwritable,
    NotFound,
    OutcomeUnknown,
    RebyteError,
    RouteMissing,
)
from rebyte_wire.status import dict_items, items_with_id, parse_timestamp, str_field

LOOKS_AFTER_SECONDS = (2, 10, 30)
PAGE_ROWS = 100
PAGES_AT_MOST = 50
BEFORE_SECONDS = 60
WINDOW_BEFORE_SECONDS = 5
WINDOW_AFTER_SECONDS = 60
START_TAKES_AT_MOST_SECONDS = 300


class Candidate:
    """A task or prompt that the ledger does not know and that may be the one; `digest` is its prompt's, None when not told."""

    def __init__(self, item, digest, created=None):
        self.id, self.digest, self.item = item.get("id"), digest, item
        self.created = (
            parse_timestamp(item.get("createdAt") or item.get("submittedAt"))
            if created is None
            else created
        )

    def __repr__(self):
        return "Candidate(%s)" % self.id

    def as_dict(self):
        """Return what a person needs to tell candidates apart."""
        return {
            key: self.item[key]
            for key in ("id", "url", "createdAt", "title", "name", "submittedAt")
            if self.item.get(key)
        }


def reconcile_row(client, ledger, row, *, say=None, sleep=time.sleep, clock=time.time):
    """Look at about 2, 10 and 30 s after the failure and return the row once it is proven; else raise OutcomeUnknown."""
    candidates = []
    failed_at = row.answered_at or row.claimed_at
    for due in looks_due(clock() - failed_at):
        if not _wait(client, failed_at + due - clock(), sleep):
            break
        candidates = found_for(_settle_forgiving(client, ledger, say), row)
        now = ledger.row(row.id)
        if now.is_started():
            if say:
                say("found it: the service had accepted it")
            return now
    raise still_unknown(row, candidates)


def _settle_forgiving(client, ledger, say):
    """Look once; a look that fails proves nothing and hides nothing."""
    try:
        return settle(client, ledger)
    except LedgerUnwritable:
        raise
    except RebyteError as problem:
        if say:
            say("the look failed: %s" % problem.message)
        return []


def looks_due(since):
    """Return after how many seconds from the failure to look, when `since` seconds have gone: what is overdue is one look now."""
    later = [due for due in LOOKS_AFTER_SECONDS if due > since]
    return later if len(later) == len(LOOKS_AFTER_SECONDS) else [since] + later


def settle(client, ledger):
    """Look once for all open rows of this account; return [(row, candidates)] for those that stay unknown."""
    rows = ledger.expire_orphans()
    tasks = [row for row in rows if row.kind == "task"]
    left = _settle_tasks(client, ledger, tasks) if tasks else []
    computers = [row for row in rows if row.kind == "computer"]
    left += _settle_computers(client, ledger, computers) if computers else []
    for row in rows:
        if row.kind == "follow-up":
            left += _settle_follow_up(client, ledger, row)
    return left


def found_for(left, row):
    """Return the candidates that a look left for one row."""
    return [
        candidate for other, candidates in left if other.id == row.id for candidate in candidates
    ]


def _settle_tasks(client, ledger, rows):
    candidates = [
        _task_candidate(client, item, moment)
        for item, moment in _new_items(
            client, ledger, client.list_tasks, min(row.claimed_at for row in rows)
        )
    ]
    left = []
    for group in _groups(rows):
        matching = _matching(group, candidates)
        told = [candidate for candidate in matching if candidate.digest is not None]
        if told and len(told) <= len(group) and len({row.digest for row in group}) == 1:
            pairs = list(zip(group, sorted(told, key=lambda candidate: candidate.created or 0)))
        else:
            # Where the service does not tell prompts, a task of that moment may be anybody's who shares the key.
            pairs = []
        for row, candidate in pairs:
            adopt(ledger, row, candidate.item)
        left += [(row, matching) for row in group[len(pairs) :]]
    return left


def _groups(rows):
    by_prompt = {}
    for row in rows:
        by_prompt.setdefault(row.prompt_digest, []).append(row)
    return by_prompt.values()


def _matching(group, candidates):
    """Return the candidates whose prompt is the group's, or, where prompts are not told, those in its window of time."""
    return [
        candidate
        for candidate in candidates
        if (
            candidate.digest == group[0].prompt_digest
            if candidate.digest is not None
            else any(_in_window(row, candidate) for row in group)
        )
    ]


def _in_window(row, candidate):
    if candidate.created is None:
        return False
    for field in ("executor", "model"):
        asked, reported = getattr(row, field), candidate.item.get(field)
        if asked and reported and asked != reported:
            return False
    end = row.answered_at or row.claimed_at + START_TAKES_AT_MOST_SECONDS
    return row.claimed_at - WINDOW_BEFORE_SECONDS <= candidate.created <= end + WINDOW_AFTER_SECONDS


def _settle_computers(client, ledger, rows):
    """A computer is proven by a name of the caller's own, in its window of time; the usual name proves nothing."""
    candidates = [
        Candidate(item, None, moment)
        for item, moment in _new_items(
            client, ledger, client.list_computers, min(row.claimed_at for row in rows)
        )
    ]
    left = []
    for row in rows:
        matching = [
            candidate
            for candidate in candidates
            if _in_window(row, candidate) and _is_named_as(row, candidate.item)
        ]
        alike = [other for other in rows if other.parts == row.parts]
        if _name_part(row) and len(matching) == 1 and len(alike) == 1:
            adopt(ledger, row, matching[0].item)
        else:
            left.append((row, matching))
    return left


def _name_part(row):
    parts = row.parts_sent()
    return parts.get("name") or parts.get("field name")


def _is_named_as(row, item):
    return _name_part(row) in (None, part_digest(item.get("name")))


def _new_items(client, ledger, list_page, since):
    """Return (item, its moment here) for each listed one that is newer than `since` and not in the ledger, page by page."""
    known, seen, found = ledger.known_ids(), set(), []
    for page in range(PAGES_AT_MOST):
        items = items_with_id(list_page(limit=PAGE_ROWS, offset=page * PAGE_ROWS))
        times = [_local_time(client, item) for item in items]
        for item, moment in zip(items, times):
            fresh = moment is None or moment >= since - BEFORE_SECONDS
            if fresh and item.get("id") not in known and item.get("id") not in seen:
                seen.add(item.get("id"))
                found.append((item, moment))
        if len(items) < PAGE_ROWS or any(
            moment is not None and moment < since - BEFORE_SECONDS for moment in times
        ):
            break
    return found


def _local_time(client, item):
    moment = parse_timestamp(item.get("createdAt"))
    return None if moment is None else moment - (client.clock_skew or 0)


def _task_candidate(client, item, moment):
    return Candidate(item, _digest_of_first_prompt(client, item["id"]), moment)


def _digest_of_first_prompt(client, task_id):
    """Return the digest of a task's first prompt where the service tells it, else None."""
    prompts = _prompts(client, task_id)
    text = prompts[0].get("userPrompt") if prompts else None
    return digest_of_prompt(text) if isinstance(text, str) else None


def _prompts(client, task_id):
    try:
        return dict_items(client.task_content(task_id), "prompts")
    except AuthError:
        raise
    except RebyteError:
        # Undocumented: a deployment may lack it.
        return []


def _settle_follow_up(client, ledger, row):
    """A follow-up is the one prompt that was not there before, told apart by its text where the service tells it."""
    known = set(row.known_before()) | ledger.known_ids()
    try:
        new = [
            prompt
            for prompt in dict_items(client.get_task(row.task_id), "prompts")
            if isinstance(prompt.get("id"), str) and prompt["id"] not in known
        ]
    except (NotFound, RouteMissing):
        new = []
    texts = {
        str(prompt.get("id")): prompt.get("userPrompt") for prompt in _prompts(client, row.task_id)
    }
    candidates = [
        Candidate(
            prompt,
            digest_of_prompt(texts[prompt["id"]])
            if isinstance(texts.get(prompt["id"]), str)
            else None,
        )
        for prompt in new
    ]
    matching = [
        candidate for candidate in candidates if candidate.digest in (None, row.prompt_digest)
    ]
    if len(matching) == 1:
        ledger.note(row.id, state="settled", prompt_id=matching[0].id, holder=None)
        return []
    return [(row, matching)]


def adopt(ledger, row, task):
    """Write down that a task or computer of the service is the one this row started."""
    workspace = (
        task["id"] if row.kind == "computer" else str_field(task, "workspaceId") or row.workspace_id
    )
    ledger.note(
        row.id,
        state="settled",
        task_id=task["id"],
        url=str_field(task, "url"),
        workspace_id=workspace,
        holder=None,
    )


def _wait(client, seconds, sleep):
    """Wait before the next look; False when the slice has no room for it."""
    if seconds <= 0:
        return True
    left = client.deadline.left()
    if left is not None and left <= seconds:
        return False
    sleep(seconds)
    return True


def still_unknown(row, candidates=()):
    """Return the error for a start whose outcome looking did not prove."""
    return OutcomeUnknown(
        "the service may have accepted this start, and looking did not prove it",
        outcome="unknown",
        hint="type the same line again later to look once more; --again starts a second paid task knowingly",
        details={
            "row": row.id,
            "reason": row.reason,
            "candidates": [candidate.as_dict() for candidate in candidates],
        },
    )
