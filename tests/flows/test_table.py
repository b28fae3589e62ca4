"""Many values as one table: columns, rows, and cells that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
import json

import pytest

from rebyte_flows.results import Results
from rebyte_flows.values.schema import ANY_VALUE, read_schema
from rebyte_flows.values.table import (
    Record,
    cell_of,
    choose,
    harmless,
    problem_of,
    standing_of,
    table_text,
    values_text,
)

SCHEMA = read_schema(
    json.dumps(
        {
            "properties": {
                "city": {"type": "string"},
                "price": {"type": "number"},
                "tags": {"type": "array"},
                "url": {"type": "string"},
            }
        }
    )
)
FAULTS = [{"at": "/price", "wanted": "a number", "came": '"x"'}]
DONE = {"id": "1", "status": "completed", "url": "http://x/1"}


def rows(text):
    return list(csv.reader(io.StringIO(text, newline="")))


def test_the_table_has_a_row_for_each_task_whatever_became_of_it():
    value = {"city": "Lyon", "price": -3.5, "tags": ["a", {"b": None}], "url": "u"}
    records = [
        Record("good", {**DONE, "value": value}),
        Record("wrong", {**DONE, "valueErrors": FAULTS, "candidate": {"price": "x"}}),
        Record("bad", {"status": "failed", "failure": {"reason": "no\nluck"}}),
        Record("lost", {"error": {"code": "outcome_unknown", "message": "who knows"}}),
        Record("asks", {"status": "question", "question": {"text": "which?"}}),
        Record("late", None),
    ]
    text = table_text(records, SCHEMA)
    assert text.endswith("\r\n") and text.count("\n") == text.count("\r\n") == 7
    head, *found = rows(text)
    assert ",".join(head) == "name,id,status,problem,url,city,price,tags,value.url"
    tags = '["a", {"b": null}]'
    assert found[0] == [
        "good",
        "1",
        "completed",
        "",
        "http://x/1",
        "Lyon",
        "-3.5",
        tags,
        "u",
    ]
    assert found[1][:4] == [
        "wrong",
        "1",
        "invalid",
        'at /price: a number was wanted, "x" came',
    ]
    assert found[2][2:4] == ["failed", "no luck"]
    assert found[3][2:4] == ["unknown", "who knows"]
    assert found[4][2:4] == ["question", "it asks: which?"]
    assert found[5][2] == "waiting" and {len(row) for row in found} == {9}


@pytest.mark.parametrize(
    "value, cell",
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\uff1d1", "'\uff1d1"),
        (" =1", "' =1"),
        ("\u00a0\ufeff@x", "'\u00a0\ufeff@x"),
        ("\x00=1", "'\x00=1"),
        ("\u202e-1", "'\u202e-1"),
        (" a", " a"),
        ("a=1", "a=1"),
        ("", ""),
        (-1, "-1"),
        (-1.5e300, "-1.5e+300"),
        (0, "0"),
        (True, "true"),
        (None, ""),
        (["=1"], '["=1"]'),
        ({"=a": "\u00e9"}, '{"=a": "\u00e9"}'),
    ],
)
def test_text_that_begins_like_a_formula_is_made_harmless_and_numbers_stay(value, cell):
    assert cell_of(value) == cell


def test_names_problems_and_columns_are_made_harmless_too():
    schema = read_schema('{"properties": {"=cmd": true}}')
    record = Record(
        "@name", {"status": "failed", "failure": {"reason": "=HYPERLINK()"}}
    )
    text = table_text([record], schema)
    cells = [cell for row in rows(text) for cell in row]
    assert "'@name" in cells and "'=HYPERLINK()" in cells and "'=cmd" in cells
    assert not any(cell != harmless(cell) for cell in cells)


def test_what_a_cell_holds_comes_back_as_it_was():
    hostile = 'a,"b"\r\nc\n\n\u2028;d'
    text = table_text([Record("x", {**DONE, "value": {"city": hostile}})], SCHEMA)
    assert rows(text)[1][5] == hostile


def test_a_value_without_properties_is_one_column():
    text = table_text([Record("x", {**DONE, "value": [1, 2]})], ANY_VALUE)
    assert rows(text) == [
        ["name", "id", "status", "problem", "url", "value"],
        ["x", "1", "completed", "", "http://x/1", "[1, 2]"],
    ]


@pytest.mark.parametrize("value", [[1, 2], "x", 0, None])
def test_a_value_that_no_column_can_hold_is_told_of_in_its_row(value):
    text = table_text([Record("x", {**DONE, "value": value})], SCHEMA)
    assert rows(text)[1][2:4] == [
        "completed",
        "the value is no object; values.jsonl has it",
    ]


def test_values_are_a_line_each_with_the_value_or_the_problem():
    records = [
        Record("a", {**DONE, "value": None}),
        Record("b", {**DONE, "valueErrors": FAULTS}),
    ]
    first, second = map(json.loads, values_text(records).splitlines())
    assert first == {"name": "a", "id": "1", "status": "completed", "value": None}
    assert second["status"] == "invalid" and "/price" in second["problem"]


@pytest.mark.parametrize(
    "rule, kept", [("best", ["a.2", "b.1", "c.1"]), ("least", ["a.1", "b.1", "c.1"])]
)
def test_of_several_attempts_the_one_with_the_best_number_is_kept(rule, kept):
    def attempt(name, line, price):
        return Record(name, {**DONE, "value": {"price": price}}, line)

    records = [
        attempt("a.1", 1, 1),
        attempt("a.2", 1, 3),
        attempt("a.3", 1, 3),
        attempt("b.1", 2, 0),
        Record("b.2", {"status": "failed"}, 2),
        Record("c.1", {"status": "failed"}, 3),
        attempt("c.2", 3, "many"),
    ]
    assert [record.name for record in choose(records, rule, "price")] == kept


def test_a_long_problem_is_one_short_line():
    line = problem_of({"failure": {"reason": "x\n" * 5000}})
    assert len(line) <= 300 and "\n" not in line


def test_a_failed_task_with_an_old_candidate_counts_as_failed():
    assert standing_of({"status": "failed", "valueErrors": FAULTS}) == "failed"


def test_the_files_are_replaced_and_never_written_through_a_link(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "table.csv").symlink_to(mine)
    paths = Results(str(folder), SCHEMA).write([Record("x", None)])
    assert mine.read_text() == "mine" and sorted(paths) == [
        "results",
        "table",
        "values",
    ]
    assert sorted(path.name for path in folder.iterdir()) == [
        "results.jsonl",
        "table.csv",
        "values.jsonl",
    ]
    assert not (folder / "table.csv").is_symlink()


def test_half_a_surrogate_pair_can_be_written(tmp_path):
    record = Record("x", {**DONE, "value": {"city": "\ud800"}})
    Results(str(tmp_path), SCHEMA).write([record])
    assert "\\ud800" in (tmp_path / "table.csv").read_text()


def test_no_two_columns_have_one_name():
    names = ["name", "value.name", "value", "value.value", "url"]
    schema = read_schema(json.dumps({"properties": {name: {} for name in names}}))
    record = Record("r", {**DONE, "value": {name: name for name in names}})
    head, found = rows(table_text([record], schema))
    assert len(set(head)) == len(head) == 10
    assert found[5:] == names
