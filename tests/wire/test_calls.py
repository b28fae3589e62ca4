"""How far a call got, and how much time it has."""
from __future__ import annotations

from rebyte_wire.calls import PAID_START_SECONDS, Call, Deadline


def test_a_paid_call_has_its_own_time_only_from_its_first_byte_to_its_answer():
    call = Call("POST", "https://x/v1/tasks", {}, deadline=Deadline(5), paid=True)
    assert call.pace(60) <= 5 and not call.sent
    call.begin()
    assert 5 < call.pace(1000) <= PAID_START_SECONDS and call.sent
    call.rewind()
    assert call.pace(60) <= 5 and not call.sent


def test_a_call_counts_as_sent_only_after_its_last_step():
    seen = []
    call = Call("GET", "https://x/", {}, before_send=lambda: seen.append(call.sent))
    call.begin()
    assert seen == [False] and call.sent
