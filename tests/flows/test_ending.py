"""When following a task may end: the decisions as tables, and what a connection is read as."""

from __future__ import annotations

import pytest

from rebyte_flows.following import ending
from rebyte_flows.following.ending import Connect, may_end, pause_before_next

WHOLE = Connect(came=4, cut=False, done=True, behind=False)
ENDS = {
    "a whole connection with words, and the status agrees": (WHOLE, {}, True),
    "the status still says that it runs": (WHOLE, {"waited": None}, False),
    "a connection that stopped, its status known before": (
        WHOLE._replace(done=False),
        {},
        True,
    ),
    "a connection that stopped, its status not known before": (
        WHOLE._replace(done=False),
        {"was_over": False},
        False,
    ),
    "`done`, though the status was not known before": (
        WHOLE,
        {"was_over": False},
        True,
    ),
    "no words follow the last tool use": (WHOLE, {"spoken": False}, False),
    "no words, and they were waited for": (WHOLE, {"spoken": False, "waited": 5}, True),
    "no words, nearly waited for": (WHOLE, {"spoken": False, "waited": 4.9}, False),
    "no words, waited for since before it was known": (
        WHOLE,
        {"spoken": False, "waited": 5, "was_over": False},
        False,
    ),
    "a cut is no end, not even after words with the status known": (
        WHOLE._replace(cut=True),
        {},
        False,
    ),
    "a cut does not end the drain": (WHOLE._replace(cut=True), {"waited": 9.9}, False),
    "cut again and again, and now and then there is something new": (
        WHOLE._replace(cut=True),
        {"waited": 60, "quiet": 9.9},
        False,
    ),
    "cut again and again, and nothing new comes": (
        WHOLE._replace(cut=True),
        {"waited": 60, "quiet": 10},
        True,
    ),
    "cut again and again, and little time is left": (
        WHOLE._replace(cut=True),
        {"waited": 60, "quiet": 2, "patience": 2},
        True,
    ),
    "it ended long ago, and the first connection failed": (
        Connect(came=0, cut=True, done=False, behind=False),
        {"waited": 3600, "quiet": 0, "spoken": False},
        False,
    ),
    "`done` with a later lastSeq is not whole": (
        WHOLE._replace(behind=True),
        {},
        False,
    ),
    "`done` with a later lastSeq, and the rest was waited for": (
        WHOLE._replace(behind=True),
        {"waited": 5},
        True,
    ),
    "nothing came on this connection": (WHOLE._replace(came=0), {}, False),
    "nothing came, and it was waited for": (
        WHOLE._replace(came=0),
        {"waited": 5},
        True,
    ),
    "nothing came, though something had just before": (
        WHOLE._replace(came=0),
        {"waited": 5, "quiet": 4.9},
        False,
    ),
    "nothing came of a task that ended long ago": (
        WHOLE._replace(came=0),
        {"waited": 3600, "quiet": 0, "was_over": False},
        True,
    ),
    "it was left before anything came, which may be the answer": (
        Connect(came=0, cut=False, done=False, behind=False, left=True),
        {"waited": 9.9},
        False,
    ),
    "it was left in the middle of its work": (
        WHOLE._replace(done=False, left=True),
        {"waited": 60, "quiet": 9.9, "spoken": False},
        False,
    ),
    "it was left in the middle of its work, and again": (
        WHOLE._replace(done=False, left=True),
        {"waited": 60, "quiet": 10, "spoken": False},
        True,
    ),
    "it was left after words": (WHOLE._replace(done=False, left=True), {}, True),
    "the drain ends after ten seconds whatever comes": (
        Connect(came=0, cut=True, done=False, behind=True),
        {"waited": 10, "spoken": False, "was_over": False},
        True,
    ),
}


@pytest.mark.parametrize("connect, change, expected", ENDS.values(), ids=ENDS)
def test_the_end_is_trusted_or_not_when(connect, change, expected):
    known = dict({"was_over": True, "waited": 0.0, "spoken": True}, **change)
    known.setdefault("quiet", known["waited"])
    assert may_end(connect, **known) is expected


@pytest.mark.parametrize(
    "done, unchanged, expected",
    [(True, 60, True), (True, 59.9, False), (False, 600, False)],
)
def test_an_undocumented_status_ends_once_done_was_said_and_nothing_changed(
    done, unchanged, expected
):
    assert ending.is_stuck(WHOLE._replace(done=done), unchanged=unchanged) is expected


EMPTY = Connect(came=0, cut=False, done=False, behind=False)
EMPTY_DONE = EMPTY._replace(done=True)


@pytest.mark.parametrize(
    "connect, idle, is_over, seconds",
    [
        (WHOLE, 0, False, 0.2),
        (EMPTY, 1, False, 0.5),
        (EMPTY, 5, False, 8),
        (EMPTY, 500, False, 8),
        (EMPTY, 500, True, 0.8),
        (EMPTY_DONE, 1, False, 0.8),
        (EMPTY_DONE, 11, False, 0.8),
        (EMPTY_DONE, 24, False, 4),
    ],
)
def test_the_pause_grows_while_nothing_new_comes_and_stays_short_at_the_end(
    connect, idle, is_over, seconds
):
    assert pause_before_next(connect, idle, is_over) == seconds


def test_an_outcome_tells_the_true_length_of_its_answer():
    outcome = ending.Outcome("t", "completed", answer="\u00e9")
    assert outcome.answer_bytes == 2 and "completed" in repr(outcome)
