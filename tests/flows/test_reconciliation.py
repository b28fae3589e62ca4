"""What looking proves about a start whose answer was lost: each rule as a table, then the looks."""

from __future__ import annotations

import json
import time

import pytest

from rebyte_flows.starting import reconciliation
from rebyte_flows.starting.ledger import Ledger
from rebyte_flows.starting.reconciliation import (
    Match,
    is_in_window,
    is_proven_computer,
    look_back_to,
    looks_due,
    possible_computers,
    possible_prompts,
    possible_tasks,
    proven_tasks,
    reconcile,
    reconcile_row,
)
from rebyte_flows.starting.requests import (
    computer_request,
    digest_of_part,
    digest_of_prompt,
    follow_up_request,
    task_request,
)
from rebyte_flows.starting.rows import untracked_row
from rebyte_flows.state import StateFolder
from rebyte_wire.errors import AuthError, NetworkError, OutcomeUnknown
from rebyte_wire.requests import Deadline

NOW = 1_000_000.0
PROMPT = digest_of_prompt("count the beans")


def lost(number=1, *, digest="d", prompt=PROMPT, claimed=NOW, **more):
    """Return a row of a task whose outcome is unknown."""
    row = untracked_row("")
    row.__dict__.update(id=number, digest=digest, prompt_digest=prompt)
    row.__dict__.update(claimed_at=claimed, state="unknown", **more)
    return row


def seen(id="t", digest=PROMPT, created=NOW, **item):
    """Return something that the service lists."""
    return Match(dict(item, id=id), digest, created)


def ids(matches):
    return [match.id for match in matches]


def pairs(group, matches):
    return [(row.id, match.id) for row, match in proven_tasks(group, matches)]


@pytest.mark.parametrize(
    "group, matches, expected",
    [
        ([lost()], [], []),
        ([lost()], [seen("a")], [(1, "a")]),
        ([lost()], [seen("a"), seen("b")], []),
        ([lost(1), lost(2)], [seen("a")], [(1, "a")]),
        (
            [lost(1), lost(2)],
            [seen("b", created=NOW + 9), seen("a")],
            [(1, "a"), (2, "b")],
        ),
        ([lost(1), lost(2, digest="e")], [seen("a"), seen("b")], []),
        ([lost(1), lost(2, digest="e")], [seen("a")], []),
        ([lost()], [seen("a", digest=None)], []),
        ([lost()], [seen("a", digest=None), seen("b")], [(1, "b")]),
    ],
    ids=[
        "nothing there proves nothing",
        "the one task with the prompt is the row's",
        "of two with the prompt none is guessed",
        "equal rows are exchangeable",
        "equal rows get theirs oldest first",
        "two lost starts with one prompt and different fields are not paired",
        "nor is one task of them",
        "a task of that moment whose prompt is not told may be anybody's",
        "and hides none that is told",
    ],
)
def test_which_tasks_are_proven(group, matches, expected):
    assert pairs(group, matches) == expected


@pytest.mark.parametrize(
    "match, is_possible",
    [
        (seen(digest=None, created=NOW), True),
        (seen(digest=None, created=NOW - 4), True),
        (seen(digest=None, created=NOW - 86_400), False),
        (seen(digest=None, created=NOW - 6), False),
        (seen(digest=None, created=NOW + 359), True),
        (seen(digest=None, created=NOW + 361), False),
        (seen(digest=None, created=None), False),
        (seen(digest="another"), False),
        (seen(created=NOW - 9e5), True),
        (seen(digest=None, executor="codex"), True),
        (seen(digest=None, executor="claude"), False),
        (seen(digest=None, executor="codex", model="m2"), False),
        (seen(digest=None, executor=None), True),
    ],
)
def test_a_task_from_before_the_start_or_of_another_executor_is_no_candidate(
    match, is_possible
):
    row = lost(executor="codex", model="m1")
    assert bool(possible_tasks([row], [match])) is is_possible
    if match.digest is None:
        assert is_in_window(row, match) is is_possible


def test_what_was_made_long_after_a_failure_is_no_candidate():
    row = lost(answered_at=NOW + 10)
    assert is_in_window(row, seen(created=NOW + 69))
    assert not is_in_window(row, seen(created=NOW + 71))


def named(name, number=1):
    parts = {"path": "p", **({"name": digest_of_part(name)} if name else {})}
    return lost(number, kind="computer", parts=json.dumps(parts))


@pytest.mark.parametrize(
    "rows, matches, proven",
    [
        ([named("box")], [seen("a", None, name="box")], True),
        ([named("box")], [seen("a", None, name="other")], False),
        ([named("box")], [seen("a", None, NOW - 99, name="box")], False),
        ([named(None)], [seen("a", None, name="box")], False),
        (
            [named("box")],
            [seen("a", None, name="box"), seen("b", None, name="box")],
            False,
        ),
        ([named("box"), named("box", 2)], [seen("a", None, name="box")], False),
        ([named("box"), named("pot", 2)], [seen("a", None, name="box")], True),
    ],
    ids=[
        "a name of the caller's own proves it",
        "another name does not",
        "nor one from before",
        "without a name it may be anybody's",
        "nor where two have it",
        "two equal computers that were lost stay unknown",
        "another one that was lost is in nobody's way",
    ],
)
def test_which_computer_is_proven(rows, matches, proven):
    possible = possible_computers(rows[0], matches)
    assert is_proven_computer(rows[0], rows, possible) is proven


def test_a_computer_of_that_moment_is_a_candidate_where_no_name_was_asked_for():
    assert ids(possible_computers(named(None), [seen("a", None, name="x")])) == ["a"]


@pytest.mark.parametrize(
    "match, known, is_possible",
    [
        (seen("p2"), {"p1"}, True),
        (seen("p1"), {"p1"}, False),
        (seen("p2", digest=None), {"p1"}, True),
        (seen("p2", digest="another"), {"p1"}, False),
    ],
)
def test_a_follow_up_whose_answer_was_lost_is_never_an_earlier_turn(
    match, known, is_possible
):
    assert bool(possible_prompts(lost(), [match], known)) is is_possible


@pytest.mark.parametrize(
    "since, due",
    [
        (0, [2, 10, 30]),
        (1.9, [2, 10, 30]),
        (2, [2, 10, 30]),
        (3, [3, 10, 30]),
        (11, [11, 30]),
        (31, [31]),
        (1e6, [1e6]),
        (-1, [-1]),
        (-86_400, [-86_400]),
    ],
)
def test_when_to_look(since, due):
    assert looks_due(since) == due


def test_the_look_goes_back_to_the_time_of_sending_or_a_day_where_that_is_in_the_future():
    assert look_back_to([lost(claimed=NOW - 500), lost(claimed=NOW)], NOW) == NOW - 560
    ahead = look_back_to([lost(claimed=NOW + 864_000)], NOW)
    assert ahead == NOW - 86_400 - 60


# With a ledger, a service that tells what a test wrote down, and a clock that only moves when it
# sleeps.


class Told:
    """A service of lists: tasks and computers, newest first, their prompts, what fails."""

    def __init__(self, tasks=(), *, computers=(), prompts=None, left=None, fails=None):
        self.tasks = list(tasks)
        self.computers = list(computers)
        self.prompts = prompts or {}
        self.deadline = Deadline(left)
        self.clock_skew = 0
        self.fails = fails
        self.asked = []

    def _page(self, word, items, limit, offset):
        self.asked.append("%s %d" % (word, offset))
        if self.fails:
            raise self.fails
        return {"data": items[offset : offset + limit]}

    def list_tasks(self, limit, offset):
        return self._page("tasks", self.tasks, limit, offset)

    def list_computers(self, limit, offset):
        return self._page("computers", self.computers, limit, offset)

    def get_task(self, task_id):
        self.asked.append("task")
        return {
            "id": task_id,
            "workspaceId": "w-" + task_id,
            "prompts": self.prompts.get(task_id, []),
        }

    def task_content(self, task_id):
        return {"prompts": self.prompts.get(task_id, [])}


def stamp(moment):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def task(id, prompt="hello", moment=NOW, told=None):
    """Return a listed task, and note the prompt in `told`."""
    if told is not None:
        told[id] = [{"id": "p-" + id, "userPrompt": prompt}]
    return {"id": id, "createdAt": stamp(moment)}


@pytest.fixture
def clock():
    return [NOW]


@pytest.fixture
def ledger(tmp_path, clock):
    made = Ledger(StateFolder(str(tmp_path)), "o", "a", clock=lambda: clock[0])
    yield made
    made.close()


def lose(ledger, request):
    """Claim a request, send it, and lose its answer; return its row."""
    row, _ = ledger.claim(request)
    ledger.mark_sent(
        row.id, prompt_digest=digest_of_prompt(request.body.get("prompt", ""))
    )
    row = ledger.record(row.id, state="unknown", reason="cut")
    ledger.release(row.id)
    return row


def look(service, ledger, row, clock):
    """Look as a line typed again does; return (the row or the error, the pauses)."""
    pauses = []

    def sleep(seconds):
        pauses.append(round(seconds, 3))
        clock[0] += seconds

    try:
        found = reconcile_row(
            service,
            ledger,
            row,
            info=pauses.append,
            sleep=sleep,
            clock=lambda: clock[0],
        )
    except OutcomeUnknown as problem:
        found = problem
    return found, [pause for pause in pauses if not isinstance(pause, str)]


def test_a_lost_task_is_taken_with_the_workspace_that_a_read_of_it_tells(ledger, clock):
    told = {}
    service = Told([task("t1", told=told)], prompts=told)
    row, pauses = look(service, ledger, lose(ledger, task_request("hello")), clock)
    assert (row.state, row.task_id, row.workspace_id) == ("settled", "t1", "w-t1")
    assert pauses == [2] and row.is_recovered()


def test_what_is_on_the_second_page_is_found_and_what_is_older_is_not_asked_for(
    ledger, clock
):
    told = {}
    many = [task("n%d" % n, "other", NOW + 200 - n, told) for n in range(100)]
    old = [task("o%d" % n, "other", NOW - 9_000 - n, told) for n in range(250)]
    service = Told([*many, task("t1", "hello", NOW, told), *old], prompts=told)
    row, _ = look(service, ledger, lose(ledger, task_request("hello")), clock)
    assert row.task_id == "t1" and "tasks 200" not in service.asked


@pytest.mark.parametrize("skew", [40_000, -40_000])
def test_a_machine_with_a_wrong_clock_finds_what_it_started(ledger, clock, skew):
    told = {}
    service = Told([task("t1", moment=NOW + skew, told=told)], prompts=told)
    service.clock_skew = skew
    row, _ = look(service, ledger, lose(ledger, task_request("hello")), clock)
    assert row.task_id == "t1"


@pytest.mark.parametrize("back", [1, 3600, 864_000])
def test_after_the_clock_was_set_back_it_is_looked_at_once(ledger, clock, back):
    told = {}
    row = lose(ledger, task_request("hello"))
    clock[0] -= back
    service = Told([task("t1", moment=clock[0] - 5, told=told)], prompts=told)
    found, pauses = look(service, ledger, row, clock)
    assert found.task_id == "t1" and pauses == []


def test_no_look_is_waited_for_past_the_slice_and_none_is_told_that_was_not_made(
    ledger, clock
):
    row = lose(ledger, task_request("hello"))
    service = Told(left=1)
    problem, pauses = look(service, ledger, row, clock)
    assert pauses == [] and service.asked == []
    assert "could not be asked yet" in problem.message


def test_looks_end_with_the_slice(ledger, clock):
    row = lose(ledger, task_request("hello"))
    problem, pauses = look(Told(left=9), ledger, row, clock)
    assert pauses == [2, 8]
    assert "looking did not prove it" in problem.message


def test_a_service_that_cannot_be_asked_is_told_as_such(ledger, clock):
    row = lose(ledger, task_request("hello"))
    service = Told(fails=NetworkError("no way there"))
    problem, _ = look(service, ledger, row, clock)
    assert "could not be asked yet" in problem.message


def test_a_key_that_is_refused_while_looking_is_told_as_such(ledger):
    lose(ledger, task_request("hello"))
    with pytest.raises(AuthError):
        reconcile(Told(fails=AuthError("refused")), ledger)


def test_a_key_that_reads_no_prompts_is_told_as_such_and_nothing_is_guessed(ledger):
    def refuse(task_id):
        raise AuthError("refused")

    lose(ledger, task_request("hello"))
    service = Told([task("t1")])
    service.task_content = refuse
    with pytest.raises(AuthError):
        reconcile(service, ledger)


def test_one_look_serves_rows_of_every_kind(ledger, clock):
    told = {
        "old": [{"id": "p1", "userPrompt": "first"}, {"id": "p2", "userPrompt": "more"}]
    }
    lose(ledger, task_request("hello"))
    lose(ledger, computer_request("box"))
    lose(ledger, follow_up_request("old", "more"))
    service = Told(
        [task("t1", told=told)],
        computers=[{"id": "c1", "name": "box", "createdAt": stamp(NOW)}],
        prompts=told,
    )
    assert reconcile(service, ledger) == []
    assert [row.state for row in ledger.rows()] == ["settled"] * 3
    assert ledger.rows()[2].prompt_id == "p2"


def test_looks_never_go_on_for_ever(ledger, clock, monkeypatch):
    monkeypatch.setattr(reconciliation, "MAX_PAGES", 3)
    told = {}
    many = [task("n%d" % n, "other", NOW + 9, told) for n in range(900)]
    service = Told(many, prompts=told)
    lose(ledger, task_request("hello"))
    reconcile(service, ledger)
    assert service.asked == ["tasks 0", "tasks 100", "tasks 200"]
