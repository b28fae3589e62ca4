"""Answers: frames however they are cut, what may be tried again and when, words and clocks."""

from __future__ import annotations

import json
import os
import random
import time

import pytest

import rebyte_wire.errors as errors
from rebyte_wire import retry
from rebyte_wire.errors import NetworkError, RateLimited, RequestRefused, ServerError
from rebyte_wire.requests import PAID_START_SECONDS, Deadline, Request
from rebyte_wire.sse import Decoder, events
from rebyte_wire.status import terminal_status

with open(
    os.path.join(os.path.dirname(__file__), "sse-vectors.json"), encoding="utf-8"
) as file:
    VECTORS = {}
    for name, text, expected, *more in json.load(file)[
        "vectors"
    ]:  # what is not said is the usual
        more = more[0] if more else {}
        text = "".join(
            piece if isinstance(piece, str) else piece[0] * piece[1] for piece in text
        )
        told = [
            event if isinstance(event, dict) else {"data": event} for event in expected
        ]
        # Bytes that are no text stand as surrogates.
        VECTORS[name] = (
            text.encode("utf-8", "surrogateescape"),
            more.get("splits"),
            (
                [
                    dict({"event": "message", "id": "", "retry": None}, **event)
                    for event in told
                ],
                dict({"last_event_id": "", "retry": None}, **more.get("final", {})),
            ),
        )


def cut(data, sizes):
    """Cut bytes into pieces whose sizes are taken in turn."""
    start = 0
    while start < len(data):
        size = next(sizes)
        yield data[start : start + size]
        start += size


def forever(choose):
    """Yield what `choose` gives, without end."""
    while True:
        yield choose()


def sizes_of(rng):
    """Return a function that gives small random sizes."""
    return lambda: rng.randint(1, 9)


WAYS = {
    "whole": lambda: forever(lambda: 1 << 30),
    "byte by byte": lambda: forever(lambda: 1),
    "by two": lambda: forever(lambda: 2),
    "by three": lambda: forever(lambda: 3),
}
for seed in range(5):
    WAYS["random %d" % seed] = lambda seed=seed: forever(sizes_of(random.Random(seed)))


def decode(chunks):
    """Return what the chunks say, in the shape of the vectors."""
    decoder = Decoder()
    told = [event._asdict() for chunk in chunks for event in decoder.feed(chunk)]
    return [dict(event) for event in told], {
        "last_event_id": decoder.last_event_id,
        "retry": decoder.retry,
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_gives_its_events_however_it_is_cut(name, way):
    data, _, told = VECTORS[name]
    assert decode(cut(data, WAYS[way]())) == told


@pytest.mark.parametrize("name", [name for name in VECTORS if VECTORS[name][1]])
def test_a_vector_gives_its_events_when_cut_where_it_asks(name):
    data, splits, told = VECTORS[name]
    edges = [0] + splits + [None]
    assert decode(data[a:b] for a, b in zip(edges, edges[1:])) == told


def test_a_character_cut_in_the_middle_is_whole_again_and_a_broken_one_is_replaced():
    assert [
        event.data
        for event in events([b"data: \xe2\x80", b"\xa6\n\n", b"data: \xff\n\n"])
    ] == ["\u2026", "\ufffd"]


def test_carriage_return_ends_a_line_without_waiting_for_more():
    assert [event.data for event in Decoder().feed(b"data: now\r\r")] == ["now"]


def test_the_separators_that_splitlines_would_cut_at_stay_in_the_data():
    odd = "a\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029b"
    assert [event.data for event in events([("data: %s\n\n" % odd).encode()])] == [odd]


def test_an_event_cut_before_its_empty_line_is_not_told():
    assert list(events([b"event: done\ndata: {}\n"])) == []


def test_digits_of_other_scripts_are_no_retry_time_and_a_huge_one_is_clamped():
    decoder = Decoder()
    decoder.feed("retry: \u0663\nretry: \u00b2\n".encode())
    assert decoder.retry is None
    decoder.feed(b"retry: " + b"9" * 10000 + b"\n")
    assert decoder.retry == 10**9


def test_a_five_mebibyte_line_in_small_chunks_is_linear():
    chunks = [b"data: "] + [b"x" * 1024] * 5120 + [b"\n\n"]
    started = time.process_time()
    assert [len(event.data) for event in events(chunks)] == [5 * 1024 * 1024]
    assert time.process_time() - started < 2


def test_an_event_without_an_end_is_not_kept_for_ever():
    decoder = Decoder()
    with pytest.raises(errors.AnswerUnreadable):
        for _ in range(40):
            decoder.feed(b"data: " + b"x" * 2**20 + b"\n")
    decoder = Decoder()
    with pytest.raises(errors.AnswerUnreadable):
        for _ in range(40):
            decoder.feed(b"x" * 2**20)


def test_comments_and_finished_events_are_not_counted():
    decoder = Decoder()
    for _ in range(20):
        decoder.feed(b": " + b"x" * 2**20 + b"\n")
    for _ in range(20):
        assert len(decoder.feed(b"data: " + b"x" * 2**20 + b"\n\n")) == 1


# May this be tried again, and after how long?

NOW = 1696004797.0
DATE = "Fri, 29 Sep 2023 16:26:37 GMT"
ERROR = NetworkError("cut", code="connection_cut")
UNSENT = NetworkError("refused", code="connection_refused", outcome="not_sent")
CONFIGURATION = NetworkError(
    "tls", code="tls_failed", outcome="not_sent", retryable=False
)


def answered(status, retry_after=None, retryable=None):
    """Return the failure that a status stands for, as transport sees it."""
    kind = (
        RateLimited
        if status == 429
        else ServerError
        if retry.is_passing(status)
        else RequestRefused
    )
    return kind(
        "x",
        http_status=status,
        retry_after=retry_after,
        retryable=retry.is_passing(status) if retryable is None else retryable,
    )


@pytest.mark.parametrize(
    "value, seconds",
    [
        ("20", 20),
        ("0", 0),
        ("60", 60),
        ("61", 61),
        ("120", 120),
        ("121", 121),
        ("1.5", 1.5),
        (" 7 ", 7),
        ("Fri, 29 Sep 2023 16:26:57 GMT", 20),
        ("Fri, 29 Sep 2023 16:26:37 GMT", 0),
        ("Fri, 29 Sep 2023 16:26:27 GMT", 0),
        ("Fri, 29 Sep 2023 16:27:37 GMT", 60),
        ("Fri, 29 Sep 2023 16:28:38 GMT", 121),
        ("Friday, 29-Sep-23 16:26:57 GMT", 20),
        ("Fri Sep 29 16:26:57 2023", 20),
        ("Fri Sep  1 16:26:57 2023", 0),
        ("3, 3", 3),
        ("3 , 60", 3),
        ("3 s", None),
        (", 3", None),
        ("-10", None),
        ("99999999999999999999999999999999999", None),
        ("inf", None),
        ("nan", None),
        ("1e3", None),
        ("", None),
        ("Zun, 29 Sep 2023 16:26:57 GMT", None),
        ("Fri, 29 Sep 100000 16:26:57 GMT", None),
        ("Fri, 99 Sep 2023 16:26:57 GMT", None),
        ("Fri, 29 Foo 2023 16:26:57 GMT", None),
        ("\u0663", None),
        (None, None),
    ],
)
def test_retry_after_is_read_or_ignored(value, seconds):
    assert retry.retry_after_seconds(value, DATE, NOW + 5000) == seconds
    assert retry.retry_after_seconds(value, None, NOW) == seconds


@pytest.mark.skipif(
    not hasattr(time, "tzset"), reason="the time zone cannot be set here"
)
def test_a_date_without_a_zone_is_none_of_this_machine(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        moments = [retry.moment_of("Fri Sep 29 16:26:37 2023"), retry.moment_of(DATE)]
    time.tzset()
    assert moments == [NOW, NOW]


def test_a_retry_after_date_counts_from_the_answers_own_date_and_not_from_our_clock():
    assert (
        retry.retry_after_seconds("Fri, 29 Sep 2023 16:26:57 GMT", DATE, now=0.0) == 20
    )
    assert (
        retry.retry_after_seconds(
            "Fri, 29 Sep 2023 16:26:57 GMT", "rubbish", now=NOW + 10
        )
        == 10
    )


def test_the_backoff_doubles_up_to_its_cap_and_never_overflows():
    assert [retry.delay_before(tried, lambda: 1.0) for tried in (1, 2, 3, 4, 5, 6)] == [
        0.5,
        1,
        2,
        4,
        8,
        8,
    ]
    assert retry.delay_before(10**9, lambda: 1.0) == 8


def test_the_jitter_is_full():
    rng = random.Random(1).random
    draws = [retry.delay_before(3, rng) / 2 for _ in range(10000)]
    for tenth in range(10):
        assert 800 < sum(tenth / 10 <= draw < (tenth + 1) / 10 for draw in draws) < 1200


def test_what_the_service_asks_for_beats_the_jitter_but_zero_does_not():
    assert retry.delay_before(1, lambda: 1.0, 20) == 20
    assert retry.delay_before(2, lambda: 1.0, 0) == 1


@pytest.mark.parametrize(
    "method, path, paid",
    [
        ("POST", "/tasks", True),
        ("post", "/tasks/", True),
        ("POST", "/tasks?x=1", True),
        ("POST", "/TASKS", True),
        ("POST", "//tasks", True),
        ("POST", "/t%61sks", True),
        ("POST", "/./tasks", True),
        ("POST", "/tasks/abc/prompts", True),
        ("POST", "/agent-computers", True),
        ("GET", "/tasks", False),
        ("POST", "/tasks/abc/cancel", False),
        ("POST", "/files", False),
        ("POST", "/tasks/abc/answer", False),
        ("PUT", "/tasks", False),
        ("POST", "/webhooks", False),
    ],
)
def test_paid_starts_are_known_in_any_spelling(method, path, paid):
    assert (retry.kind_of_start(method, path) is not None) is paid


@pytest.mark.parametrize(
    "method, path, repeatable",
    [
        ("GET", "/tasks", True),
        ("DELETE", "/tasks/a", True),
        ("PUT", "/x", True),
        ("POST", "/tasks/a/cancel", True),
        ("PATCH", "/tasks/a/visibility", True),
        ("POST", "/files", True),
        ("POST", "/workspaces/w/artifacts", True),
        ("POST", "/workspaces/w/artifacts/upload-url", True),
        ("POST", "/tasks", False),
        ("POST", "/tasks/a/prompts", False),
        ("POST", "/agent-computers", False),
        ("POST", "/tasks/a/answer", False),
        ("POST", "/webhooks", False),
        ("PATCH", "/agent-computers/a", False),
    ],
)
def test_only_calls_with_the_same_end_state_are_repeatable(method, path, repeatable):
    assert retry.is_idempotent(method, path) is repeatable


def test_no_paid_start_is_idempotent():
    for path in ("/tasks", "/tasks/a/prompts", "/agent-computers"):
        assert retry.kind_of_start("POST", path) and not retry.is_idempotent(
            "POST", path
        )


@pytest.mark.parametrize(
    "status", list(range(300, 309)) + list(range(400, 452)) + list(range(500, 530))
)
def test_every_status_of_a_read_is_repeated_or_not_as_the_table_says(status):
    assert retry.may_retry(answered(status), True, 1) is (
        status in (408, 425, 429) or status >= 500
    )


@pytest.mark.parametrize(
    "status", list(range(300, 309)) + list(range(400, 452)) + list(range(500, 530))
)
def test_every_status_of_a_paid_start_is_repeated_or_not_as_the_table_says(status):
    assert retry.may_retry(answered(status), False, 1) is (status in (425, 429))
    assert retry.may_retry(answered(status, retry_after=3), False, 1) is (
        status in (425, 429, 503)
    )


REFUSED = {
    400,
    401,
    402,
    403,
    404,
    405,
    406,
    409,
    411,
    413,
    414,
    415,
    422,
    425,
    429,
    431,
    451,
    301,
    302,
    307,
    308,
}
UNKNOWN = {
    200,
    201,
    202,
    204,
    300,
    303,
    304,
    408,
    444,
    499,
    500,
    501,
    502,
    503,
    504,
    520,
    521,
    522,
    523,
    524,
    599,
}


@pytest.mark.parametrize("status", sorted(REFUSED))
def test_a_paid_start_answered_so_was_surely_not_made(status):
    assert retry.outcome_of_start(status, False) == "refused"


@pytest.mark.parametrize("status", sorted(UNKNOWN) + [None])
def test_a_paid_start_answered_so_may_have_been_made(status):
    assert retry.outcome_of_start(status, False) == "unknown"


def test_only_with_retry_after_is_a_503_a_refusal():
    assert retry.outcome_of_start(503, True) == "refused"
    assert retry.outcome_of_start(500, True) == "unknown"


def test_network_failures_are_repeated_only_where_nothing_was_sent_or_nothing_is_doubled():
    assert retry.may_retry(UNSENT, False, 1) and retry.may_retry(UNSENT, True, 1)
    assert retry.may_retry(ERROR, True, 1) and not retry.may_retry(ERROR, False, 1)
    assert not retry.may_retry(CONFIGURATION, True, 1) and not retry.may_retry(
        CONFIGURATION, False, 1
    )


def test_three_retries_and_no_more():
    assert [retry.may_retry(ERROR, True, tried) for tried in (1, 2, 3, 4)] == [
        True,
        True,
        True,
        False,
    ]


def test_more_than_two_minutes_is_reported_and_not_waited_for():
    assert retry.may_retry(answered(429, 120), True, 1) and not retry.may_retry(
        answered(429, 121), True, 1
    )


def test_a_service_that_says_stop_is_obeyed():
    assert not retry.may_retry(answered(503, 1, retryable=False), True, 1)


# The service's words for how a task stands.


@pytest.mark.parametrize(
    "word, outcome",
    [
        ("completed", "completed"),
        ("succeeded", "completed"),
        ("Succeeded", "completed"),
        ("failed", "failed"),
        ("error", "failed"),
        ("canceled", "canceled"),
        ("cancelled", "canceled"),
        ("running", None),
        ("pending", None),
        ("queued", None),
        ("a-new-word", None),
        ("", None),
        (None, None),
        (7, None),
        ([], None),
    ],
)
def test_a_word_is_an_outcome_or_still_running(word, outcome):
    assert terminal_status(word) == outcome


# The family of errors and the one table of exit codes.

FAMILY = [
    thing
    for thing in vars(errors).values()
    if isinstance(thing, type) and issubclass(thing, errors.RebyteError)
]


def test_every_member_ends_with_an_exit_code_of_the_table():
    numbers = [row.number for row in errors.EXIT_CODES]
    assert len(set(numbers)) == len(numbers) == 17
    assert {member.exit_code for member in FAMILY} <= set(numbers)


def test_every_member_is_drawn_in_the_tree():
    for member in FAMILY:
        assert member.__name__ in errors.__doc__


def test_a_dictionary_of_an_error_leaves_out_what_is_empty_and_keeps_a_false():
    assert errors.InputError("No.").as_dict() == {
        "code": "invalid_input",
        "message": "No.",
        "retryable": False,
    }
    told = errors.RateLimited("Slow down.", http_status=429, retry_after=7.5).as_dict()
    assert (told["httpStatus"], told["retryAfter"], told["retryable"]) == (
        429,
        7.5,
        True,
    )


# How far a call got, and how much time it has.


def test_a_paid_call_has_its_own_time_only_from_its_first_byte_to_its_answer():
    call = Request("POST", "https://x/v1/tasks", {}, deadline=Deadline(5), kind="task")
    assert call.timeout_for(60) <= 5 and not call.sent
    call.mark_sent()
    assert 5 < call.timeout_for(1000) <= PAID_START_SECONDS and call.sent
    call.reset()
    assert call.timeout_for(60) <= 5 and not call.sent


def test_a_call_counts_as_sent_only_after_its_last_step():
    seen = []
    call = Request("GET", "https://x/", {}, before_send=lambda: seen.append(call.sent))
    call.mark_sent()
    assert seen == [False] and call.sent


# Deadlines on a clock that stands still until told.


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
