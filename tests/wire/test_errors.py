"""The family of errors and the one table of exit codes."""
from __future__ import annotations

import rebyte_wire.errors as errors

FAMILY = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, errors.RebyteError)]


def test_every_member_ends_with_an_exit_code_of_the_table():
    numbers = [number for number, _, _ in errors.EXIT_CODES]
    assert len(set(numbers)) == len(numbers) == 17
    assert {member.exit_code for member in FAMILY} <= set(numbers)


def test_every_member_is_drawn_in_the_tree():
    for member in FAMILY:
        assert member.__name__ in errors.__doc__


def test_a_dictionary_of_an_error_leaves_out_what_is_empty_and_keeps_a_false():
    assert errors.InputError("No.").as_dict() == {"code": "invalid_input", "message": "No.", "retryable": False}
    told = errors.RateLimited("Slow down.", http_status=429, retry_after=7.5).as_dict()
    assert (told["httpStatus"], told["retryAfter"], told["retryable"]) == (429, 7.5, True)
