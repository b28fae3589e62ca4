"""Deadlines on a clock that stands still until told."""
from __future__ import annotations

from rebyte_wire.calls import Deadline


class Clock:
    """A clock that shows what it is set to."""

    now = 100.0

    def __call__(self):
        """Return the time set."""
        return self.now


def test_a_deadline_counts_down_and_never_below_zero():
    clock = Clock()
    deadline = Deadline(5, clock)
    assert deadline.left() == 5 and not deadline.expired
    clock.now = 104.5
    assert deadline.left() == 0.5
    clock.now = 200.0
    assert deadline.left() == 0.0 and deadline.expired


def test_no_limit_has_nothing_left_to_tell():
    assert Deadline().left() is None and not Deadline().expired


def test_a_deadline_can_begin_in_the_past():
    assert Deadline(5, Clock(), started=97.0).left() == 2


def test_within_is_the_earlier_of_the_two():
    clock = Clock()
    assert Deadline(5, clock).within(2).left() == 2
    assert Deadline(5, clock).within(9).left() == 5
    assert Deadline(None, clock).within(9).left() == 9
    assert Deadline(5, clock).within(None).left() == 5
    assert Deadline(None, clock).within(None).left() is None


def test_a_parent_moved_by_the_clock_moves_the_child_alike():
    clock = Clock()
    child = Deadline(5, clock).within(60)
    clock.now += 4
    assert child.left() == 1
