"""What a repair is paid for, and what it is not."""

from __future__ import annotations

import json
import types

import pytest

from rebyte_flows.following.expectation import Expectation, is_repair
from rebyte_flows.starting.rows import RECONCILE, RESUME, REUSE, START
from rebyte_flows.values.schema import read_schema
from rebyte_wire.errors import AuthError, DeadlineReached, NetworkError, ServerError

SCHEMA = read_schema('{"type": "object", "required": ["a"]}')
GOOD = '{"a": 1}'
BAD = '{"b": 1}'


class Submitter:
    """Notes what it was asked to pay for."""

    def __init__(self, expired=False, name=None, move=START):
        self.move = move
        deadline = types.SimpleNamespace(expired=expired)
        self.client = types.SimpleNamespace(deadline=deadline)
        earlier = types.SimpleNamespace(name=name)
        self.ledger = types.SimpleNamespace(find_prompt=lambda *ids: earlier)
        self.paid = []

    def info(self, text):
        pass

    def move_for(self, request, name, again):
        return self.move

    def submit(self, request, name):
        self.paid.append((request.body["prompt"], name))
        return types.SimpleNamespace(row=types.SimpleNamespace(name=name))


def row(name=None):
    return types.SimpleNamespace(task_id="t" * 36, name=name, workspace_id="w", url="u")


def document(prompt_id="p1"):
    errors = [{"at": "/a", "wanted": "a value", "came": "nothing"}]
    return {"promptId": prompt_id, "valueErrors": errors}


def keys(expectation, answer, again=""):
    def tell_again():
        if isinstance(again, Exception):
            raise again
        return again

    return expectation.keys(answer, [], None, None, tell_again)


def test_an_answer_that_could_not_be_read_is_no_wrong_one_and_costs_nothing():
    submitter = Submitter()
    expectation = Expectation(SCHEMA, submitter, 2)
    found = keys(expectation, None)
    assert "could not be read" in found["valueErrors"][0]["came"]
    assert expectation.next_turn(row(), found) is None and submitter.paid == []


def test_an_answer_is_asked_for_once_more_before_it_is_found_wanting():
    assert keys(Expectation(SCHEMA), BAD, again=GOOD) == {"value": {"a": 1}}
    assert "valueErrors" in keys(Expectation(SCHEMA), BAD, again=BAD)
    assert "valueErrors" in keys(Expectation(SCHEMA), BAD, again=ServerError("x"))
    assert "valueErrors" in keys(Expectation(SCHEMA), BAD, again=NetworkError("x"))
    with pytest.raises(AuthError):
        keys(Expectation(SCHEMA), BAD, again=AuthError("x"))


@pytest.mark.parametrize(
    "move, is_told", [(REUSE, True), (RESUME, True), (START, False), (RECONCILE, False)]
)
def test_a_repair_that_was_paid_for_is_told_whatever_is_allowed_now(move, is_told):
    submitter = Submitter(move=move)
    turn = Expectation(SCHEMA, submitter, 0).next_turn(row(), document())
    assert bool(turn) == is_told


@pytest.mark.parametrize("move, is_told", [(RESUME, True), (START, False)])
def test_no_repair_is_paid_for_where_no_value_can_fit(move, is_told):
    submitter = Submitter(move=move)
    expectation = Expectation(read_schema('{"enum": []}'), submitter, 2)
    assert bool(expectation.next_turn(row(), document())) == is_told


def test_the_name_of_a_repair_is_made_from_the_turn_and_the_errors():
    names = []
    for prompt_id in ("p1", "p1", "p2"):
        submitter = Submitter()
        Expectation(SCHEMA, submitter, 1).next_turn(row(), document(prompt_id))
        names.append(submitter.paid[0][1])
    assert names[0] == names[1] != names[2] and all(map(is_repair, names))


@pytest.mark.parametrize(
    "name, most, number",
    [
        (None, 0, None),
        (None, 1, 1),
        ("mine", 1, 1),
        ("@repair-1-x-y", 1, None),
        ("@repair-1-x-y", 2, 2),
        ("@repair-2-x-y", 2, None),
    ],
)
@pytest.mark.parametrize("where", ["the row", "the ledger"])
def test_repairs_are_counted_whoever_asked_for_them(name, most, number, where):
    submitter = Submitter(name=name if where == "the ledger" else None)
    turn = row(name if where == "the row" else None)
    Expectation(SCHEMA, submitter, most).next_turn(turn, document())
    paid = [int(name.split("-")[1]) for _, name in submitter.paid]
    assert paid == ([number] if number else [])


def test_nothing_is_paid_for_when_the_time_is_over():
    submitter = Submitter(expired=True)
    with pytest.raises(DeadlineReached):
        Expectation(SCHEMA, submitter, 1).next_turn(row(), document())
    assert submitter.paid == []


def test_of_two_candidates_the_one_with_fewer_faults_is_told():
    two = read_schema(json.dumps({"required": ["a", "b"], "type": "object"}))
    expectation = Expectation(two)
    assert keys(expectation, '{"a": 1}')["candidate"] == {"a": 1}
    assert keys(expectation, "{}")["candidate"] == {"a": 1}
    assert keys(expectation, "nothing")["candidate"] == {"a": 1}
    assert keys(expectation, '{"b": 2}')["candidate"] == {"b": 2}
    assert expectation.kept()["candidate"] == {"b": 2}
    assert keys(expectation, '{"a": 1, "b": 2}') == {"value": {"a": 1, "b": 2}}
    assert expectation.kept() == {}
