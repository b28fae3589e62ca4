"""Finding out by looking whether a start of unknown outcome was accepted: adopts what is proven,
starts nothing.
"""

from __future__ import annotations

import time

from rebyte_flows.starting.kinds import KINDS
from rebyte_flows.starting.requests import digest_of_part, digest_of_prompt
from rebyte_flows.starting.rows import SETTLED
from rebyte_wire.errors import (
    AuthError,
    LedgerUnwritable,
    NotFound,
    OutcomeUnknown,
    RebyteError,
    RouteMissing,
    ServerError,
)
from rebyte_wire.status import (
    dict_items,
    is_id,
    items_with_id,
    parse_timestamp,
    str_field,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, List, Tuple

    from rebyte_client import RebyteClient
    from rebyte_flows.starting.ledger import Ledger
    from rebyte_flows.starting.rows import Row
    from rebyte_types import Json, Shape

    # What stays unknown: a row, and what could be what it started.
    Unproven = List[Tuple[Row, List["Match"]]]

LOOKS_AFTER_SECONDS = (2, 10, 30)
PAGE_ROWS = 100
MAX_PAGES = 50
# How far the clocks of the service and of this machine may differ, and how long a start may take.
CLOCK_SLACK_SECONDS = 60
WINDOW_BEFORE_SECONDS = 5
WINDOW_AFTER_SECONDS = 60
START_TAKES_AT_MOST_SECONDS = 300
DAY_SECONDS = 86_400


class Match:
    """A task, computer or prompt that the ledger does not know and that may be what a row started.

    `created` is in seconds since 1970 by this machine's clock, `digest` that of its prompt; None
    when not told.
    """

    def __init__(self, item: Json, digest: str | None, created: float | None) -> None:
        self.item = item
        self.id: str = item["id"]
        self.digest = digest
        self.created = created

    def __repr__(self) -> str:
        return "Match(%s)" % self.id

    def as_dict(self) -> Json:
        """Return what a person needs to tell matches apart."""
        fields = ("id", "url", "createdAt", "title", "name", "submittedAt")
        return {field: self.item[field] for field in fields if self.item.get(field)}


# Pure: what is proven by what was seen


def has_same_prompt(row: Row, match: Match) -> bool:
    """Tell whether the service tells the prompt of a match, and it is the one that the row sent."""
    return match.digest is not None and match.digest == row.prompt_digest


def is_in_window(row: Row, match: Match) -> bool:
    """Tell whether a match was made at about the time of the row's start, by the executor and
    model asked for.
    """
    if match.created is None:
        return False
    for field in ("executor", "model"):
        asked = getattr(row, field)
        reported = match.item.get(field)
        if asked and reported and asked != reported:
            return False
    latest = row.answered_at or row.claimed_at + START_TAKES_AT_MOST_SECONDS
    earliest = row.claimed_at - WINDOW_BEFORE_SECONDS
    return earliest <= match.created <= latest + WINDOW_AFTER_SECONDS


def possible_tasks(group: Sequence[Row], matches: Iterable[Match]) -> list[Match]:
    """Return the tasks that rows of one prompt may have started: those with this prompt or,
    untold, of that time.
    """
    found = []
    for match in matches:
        if match.digest is not None:
            fits = has_same_prompt(group[0], match)
        else:
            fits = any(is_in_window(row, match) for row in group)
        if fits:
            found.append(match)
    return found


def proven_tasks(
    group: Sequence[Row], matches: Sequence[Match]
) -> list[tuple[Row, Match]]:
    """Return which task each row of one prompt started, nothing unless that is certain.

    Rows of equal digest are exchangeable, so that many matches with their prompt are theirs,
    oldest first. Where the service does not tell prompts, a task of that moment may be anybody's
    who shares the key.
    """
    told = [match for match in matches if match.digest is not None]
    digests = {row.digest for row in group}
    if not told or len(told) > len(group) or len(digests) > 1:
        return []
    told.sort(key=lambda match: match.created or 0)
    return list(zip(group, told))


def possible_computers(row: Row, matches: Iterable[Match]) -> list[Match]:
    """Return the computers of the row's time that have the name that was asked for, if one was."""
    name = row.parts_sent().get("name")
    return [
        match
        for match in matches
        if is_in_window(row, match)
        and name in (None, digest_of_part(match.item.get("name")))
    ]


def is_proven_computer(row: Row, rows: Sequence[Row], matches: Sequence[Match]) -> bool:
    """Tell whether the one match is the row's: a name of the caller's own proves it, if no equal
    start is lost too.
    """
    has_name = "name" in row.parts_sent()
    equals = [other for other in rows if other.parts == row.parts]
    return has_name and len(matches) == 1 and len(equals) == 1


def possible_prompts(
    row: Row, matches: Iterable[Match], known: set[str]
) -> list[Match]:
    """Return the prompts of a follow-up's task that were not there before and may be the one it
    sent.
    """
    return [
        match
        for match in matches
        if match.id not in known and match.digest in (None, row.prompt_digest)
    ]


def looks_due(since: float) -> list[float]:
    """Return after how many seconds from the failure to look, `since` seconds after it; the first
    is now if overdue.

    A negative age comes from a clock that was set back: how long ago it was is unknown, so the
    look is due.
    """
    if since < 0:
        return [since]
    later: list[float] = [due for due in LOOKS_AFTER_SECONDS if due > since]
    return later if len(later) == len(LOOKS_AFTER_SECONDS) else [since, *later]


def look_back_to(rows: Sequence[Row], now: float) -> float:
    """Return from which moment on what was made may belong to some rows; a row from the future may
    be a day old.
    """
    oldest = min(row.claimed_at for row in rows)
    if oldest > now:
        oldest = now - DAY_SECONDS
    return oldest - CLOCK_SLACK_SECONDS


# Acting: looks at the service and writes what is proven


def reconcile_row(
    client: RebyteClient,
    ledger: Ledger,
    row: Row,
    *,
    info: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Row:
    """Look at about 2, 10 and 30 s after the failure and return the row once it is proven; else
    raise OutcomeUnknown.

    No look is waited for past the client's deadline.
    """
    matches: list[Match] = []
    looked = False
    since = clock() - (row.answered_at or row.claimed_at)
    waited = 0.0
    for due in looks_due(since):
        pause = due - since - waited
        left = client.deadline.left()
        if pause > 0 and left is not None and left <= pause:
            break
        if pause > 0:
            sleep(pause)
            waited += pause
        unproven = _reconcile_forgiving(client, ledger, info)
        looked = looked or unproven is not None
        matches = matches_of(row, unproven or [])
        now = ledger.row(row.id)
        if now.is_started():
            info("found it: the service had accepted it")
            return now
    raise still_unknown(row, matches, looked=looked)


def _reconcile_forgiving(
    client: RebyteClient, ledger: Ledger, info: Callable[[str], None]
) -> Unproven | None:
    """Look once; None when the service could not be asked, which leaves the outcome as unknown as
    it was.
    """
    try:
        return reconcile(client, ledger)
    except LedgerUnwritable:
        raise
    except RebyteError as problem:
        info("the look failed: %s" % problem.message)
        return None


def reconcile(client: RebyteClient, ledger: Ledger) -> Unproven:
    """Look once for all rows of unknown outcome, adopt what is proven, and return what stays
    unknown.
    """
    rows = ledger.expire_orphans()
    by_kind = {name: [row for row in rows if row.kind == name] for name in KINDS}
    unproven: Unproven = []
    if by_kind["task"]:
        unproven += _reconcile_tasks(client, ledger, by_kind["task"])
    if by_kind["computer"]:
        unproven += _reconcile_computers(client, ledger, by_kind["computer"])
    for row in by_kind["follow-up"]:
        unproven += _reconcile_follow_up(client, ledger, row)
    return unproven


def matches_of(row: Row, unproven: Unproven) -> list[Match]:
    """Return what a look found that may be what one row started."""
    return [
        match for other, matches in unproven if other.id == row.id for match in matches
    ]


def _reconcile_tasks(
    client: RebyteClient, ledger: Ledger, rows: Sequence[Row]
) -> Unproven:
    since = look_back_to(rows, ledger.clock())
    matches = [
        Match(item, _first_prompt_digest(client, item["id"]), created)
        for item, created in _new_items(client, ledger, client.list_tasks, since)
    ]
    unproven: Unproven = []
    for prompt_digest in {row.prompt_digest for row in rows}:
        group = [row for row in rows if row.prompt_digest == prompt_digest]
        possible = possible_tasks(group, matches)
        pairs = proven_tasks(group, possible)
        for row, match in pairs:
            adopt(client, ledger, row, match.item)
        unproven += [(row, possible) for row in group[len(pairs) :]]
    return unproven


def _reconcile_computers(
    client: RebyteClient, ledger: Ledger, rows: Sequence[Row]
) -> Unproven:
    since = look_back_to(rows, ledger.clock())
    matches = [
        Match(item, None, created)
        for item, created in _new_items(client, ledger, client.list_computers, since)
    ]
    unproven: Unproven = []
    for row in rows:
        possible = possible_computers(row, matches)
        if is_proven_computer(row, rows, possible):
            adopt(client, ledger, row, possible[0].item)
        else:
            unproven.append((row, possible))
    return unproven


def _reconcile_follow_up(client: RebyteClient, ledger: Ledger, row: Row) -> Unproven:
    """A follow-up is the one prompt that was not there before, told apart by its text where the
    service tells it.
    """
    try:
        prompts = prompts_of(client.get_task(row.task_id))
    except (NotFound, RouteMissing):
        prompts = []
    texts = {
        prompt.get("id"): prompt.get("userPrompt")
        for prompt in _content(client, row.task_id)
    }
    matches = [
        Match(prompt, _digest_of(texts.get(prompt["id"])), None) for prompt in prompts
    ]
    known = set(row.known_before()) | ledger.known_ids()
    possible = possible_prompts(row, matches, known)
    if len(possible) != 1:
        return [(row, possible)]
    ledger.update(row.id, state=SETTLED, prompt_id=possible[0].id)
    return []


def adopt(client: RebyteClient, ledger: Ledger, row: Row, item: Shape) -> None:
    """Write down that a task or computer of the service is the one that this row started."""
    columns = row.kind_value.columns(item)
    if not columns["workspace_id"]:
        # The request named it, or a read of the task may tell it, or nobody knows.
        columns["workspace_id"] = row.workspace_id or _workspace_of(client, item["id"])
    ledger.update(row.id, state=SETTLED, **columns)


def _workspace_of(client: RebyteClient, task_id: str) -> str | None:
    """Return the workspace that the service tells of a task, None when it tells none."""
    try:
        return str_field(client.get_task(task_id), "workspaceId")
    except (NotFound, RouteMissing, ServerError):
        return None


def _new_items(
    client: RebyteClient, ledger: Ledger, list_page: Callable[..., Shape], since: float
) -> list[tuple[Json, float | None]]:
    """Return each listed item newer than `since` that the ledger does not know, with its moment by
    our clock.
    """
    skew = client.clock_skew or 0
    known = ledger.known_ids()
    found: list[tuple[Json, float | None]] = []
    for page in range(MAX_PAGES):
        items = items_with_id(list_page(limit=PAGE_ROWS, offset=page * PAGE_ROWS))
        reached_older = False
        for item in items:
            moment = parse_timestamp(item.get("createdAt"))
            created = None if moment is None else moment - skew
            if created is not None and created < since:
                reached_older = True
            elif item["id"] not in known:
                known.add(item["id"])
                found.append((item, created))
        if reached_older or len(items) < PAGE_ROWS:
            break
    return found


def _first_prompt_digest(client: RebyteClient, task_id: str) -> str | None:
    """Return the digest of a task's first prompt where the service tells it, else None."""
    prompts = _content(client, task_id)
    return _digest_of(prompts[0].get("userPrompt")) if prompts else None


def prompts_of(task: Shape) -> list[Json]:
    """Return the prompts of a task that have a usable id."""
    return [prompt for prompt in dict_items(task, "prompts") if is_id(prompt.get("id"))]


def _digest_of(text: Any) -> str | None:
    return digest_of_prompt(text) if isinstance(text, str) else None


def _content(client: RebyteClient, task_id: str) -> list[Json]:
    """Return the prompts of a task, oldest first; empty on a deployment that lacks this
    undocumented call.
    """
    try:
        return dict_items(client.task_content(task_id), "prompts")
    except AuthError:
        raise
    except RebyteError:
        return []


def still_unknown(
    row: Row, matches: Iterable[Match] = (), *, looked: bool = True
) -> OutcomeUnknown:
    """Return the error for a start whose outcome is not known; `looked` says whether the service
    was asked.
    """
    why = "looking did not prove it" if looked else "the service could not be asked yet"
    return OutcomeUnknown(
        "the service may have accepted this start, and %s" % why,
        outcome="unknown",
        hint="type the same line again later to look once more; "
        "--again starts a second paid task knowingly",
        details={
            "row": row.id,
            "reason": row.reason,
            "candidates": [match.as_dict() for match in matches],
        },
    )
