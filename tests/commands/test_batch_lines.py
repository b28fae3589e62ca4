"""Tables and lines become tasks: a row nobody wrote is never paid for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rebyte_commands.jobs.batch_lines import csv_rows
from rebyte_wire.errors import InputError

from .conftest import DOOR, posts

ENDS = ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "\x1d", "\x1e"]


def values(text):
    rows, _ = csv_rows(text)
    return [row.value for row in rows]


@pytest.mark.parametrize("letter", ENDS)
def test_a_character_that_ends_no_line_is_part_of_its_cell(letter):
    text = "id,note\na,first%ssecond\nb,plain\n" % letter
    assert values(text) == [
        {"id": "a", "note": "first%ssecond" % letter},
        {"id": "b", "note": "plain"},
    ]


@pytest.mark.parametrize(
    "text, expected",
    [
        ('a\n"x\ny"\n', [{"a": "x\ny"}]),
        ('a\r\n"x\r\ny"\r\nz\r\n', [{"a": "x\r\ny"}, {"a": "z"}]),
        ("a\rx\ry\r", [{"a": "x"}, {"a": "y"}]),
        ("a , b\n1,2\n", [{"a": "1", "b": "2"}]),
        ("a\n%s\n" % ("x" * 200_000), [{"a": "x" * 200_000}]),
        ("\n\na\n\nx\n\n", [{"a": "x"}]),
        ("a,b\nx\n", [{"a": "x"}]),
        ('a\n" "\nx\n', [{"a": "x"}]),
    ],
)
def test_what_a_table_holds(text, expected):
    assert values(text) == expected


@pytest.mark.parametrize(
    "text, empty",
    [("a,b\n1,2\n,\n , \n,\n", 3), ("a\n1\n\n\n", 0), ("a,b\n,,,,\n1,2\n", 1), ("", 0)],
)
def test_rows_that_hold_nothing_are_passed_over_and_counted(text, empty):
    rows, found = csv_rows(text)
    assert found == empty and all(row.value and not row.problem for row in rows)


@pytest.mark.parametrize(
    "text, words",
    [
        ("name,name,n\n1,2,3\n", "line 1: two columns are named name"),
        ("name, name\n1,2\n", "line 1: two columns are named name"),
        ("a,,b\n1,2,3\n", "line 1: column 2 has no name"),
        ("\n\na,a\n1,2\n", "line 3: two columns are named a"),
        ('a,b\n1,2\n3,"4\n5,6\n', "line 3 is no CSV"),
        ('a,b\n1,2\n3,"4"x\n', "line 3 is no CSV"),
        ('a,b\n"1\n2",3\n4,"5"x\n', "line 4 is no CSV"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(text, words):
    with pytest.raises(InputError, match=words):
        csv_rows(text)


def test_a_row_with_too_many_cells_is_a_bad_line():
    rows, _ = csv_rows('city,count\nOslo,1\n"a\nb",2\nLyon, France,3\n')
    assert [(row.number, bool(row.problem)) for row in rows] == [
        (2, False),
        (3, False),
        (5, True),
    ]


@pytest.mark.parametrize(
    "text, words",
    [
        ("city;count\nLyon;3\n", "the row has no city; its fields are: city;count"),
        ("city,count\nLyon, France,3\n", "line 2: the row has 3 cells"),
        ("town,count\nLyon,3\n", "its fields are: town, count"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_before_anything_is_sent(
    rebyte, server, text, words
):
    Path("rows.csv").write_text(text)
    Path("t.md").write_text("Name the best of {{city}}")
    ran = rebyte("batch", "rows.csv", "--template", "t.md")
    assert ran.code == 2 and words in ran.error["message"] and server.requests == []


def test_a_template_without_a_field_pays_for_no_row(rebyte, server):
    Path("rows.csv").write_text("city,count\nLyon,3\nPorto,5\n")
    Path("t.md").write_text("Name the best of {city}")
    ran = rebyte("batch", "rows.csv", "--template", "t.md")
    assert (
        ran.code == 2 and "no field of a row is named in t.md" in ran.error["message"]
    )
    assert "{{NAME}}" in ran.error["hint"] and server.requests == []


def test_rows_of_commas_are_told_also_with_quiet(rebyte, world):
    Path("rows.csv").write_text("city,n\nLyon,1\n,\n,\n")
    Path("t.md").write_text("Name the best of {{city}}")
    line = ("batch", "rows.csv", "--template", "t.md", "--once-field", "city")
    ran = rebyte(*line, "--dry-run", "--quiet")
    assert ran["count"] == 1 and "2 empty rows" in ran.err


ODD = [
    {"prompt": "\ud83d"},
    {"prompt": "nul \0"},
    {"prompt": "x", "want": ["\ud83d.pdf"]},
    {"prompt": "x", "files": ["\ud83d.csv"]},
    {"prompt": "x", "files": ["a\0b"]},
    {"prompt": "x", "model": "\ud83d"},
    {"prompt": "x", "repo": "o/r", "branch": "a\0"},
    {"prompt": "x", "skills": ["./a\0"]},
    {"prompt": "x", "once": "\ud83d"},
    {"prompt_file": "\ud83d"},
    {"prompt_file": "a\0"},
    {"prompt": "x", "repo": "../.."},
]


def test_a_line_that_says_a_thing_twice_is_refused_before_anything_is_sent(
    rebyte, server
):
    Path("twice.jsonl").write_text('{"prompt":"a"}\n{"prompt":"b","prompt":"c"}\n')
    ran = rebyte("batch", "twice.jsonl")
    assert ran.code == 2 and ran["details"]["lines"][0]["line"] == 2
    assert "twice" in ran.error["message"] and server.requests == []


def test_what_is_no_text_is_a_bad_line_already_in_a_dry_run(rebyte, server):
    Path("odd.jsonl").write_text("".join(json.dumps(line) + "\n" for line in ODD))
    ran = rebyte("batch", "odd.jsonl", "--dry-run")
    numbers = [line["line"] for line in ran["details"]["lines"]]
    assert ran.code == 2 and numbers == list(range(1, len(ODD) + 1))
    assert server.requests == []


@pytest.mark.parametrize(
    "words",
    [
        ["batch", "-"],
        ["batch", "/dev/zero"],
        ["api", "POST", "/tasks", "--body", "@/dev/zero"],
    ],
)
def test_an_input_without_an_end_is_bounded(world, server, words):
    # A limit of memory that 64 MiB of text, twice, fit in.
    line = "ulimit -v 700000; exec %s %s %s" % (sys.executable, DOOR, " ".join(words))
    with open("/dev/zero", "rb") as zero:
        done = subprocess.run(
            ["sh", "-c", line], stdin=zero, capture_output=True, timeout=30
        )
    assert done.returncode == 2 and b"does not end" in done.stdout


def test_results_that_are_no_documents_and_a_pipe_of_that_name_are_passed_over(
    rebyte, server, world
):
    Path("o").mkdir()
    Path("o/results.jsonl").write_bytes(
        b'[1]\nnull\n{"id":[1]}\n{"id":"x"}\n\xff\n' + b"[" * 9000 + b"\n"
    )
    assert rebyte("batch", "--prompt", "hello", "--out", "o").code == 0
    os.mkdir("p")
    os.mkfifo("p/results.jsonl")
    ran = rebyte("batch", "--prompt", "hello", "--out", "p")
    assert ran.code == 0 and Path(ran["results"]).is_file()
    assert len(posts(server)) == 1


def test_a_folder_that_is_a_link_is_not_written_through(rebyte, server, world):
    Path("o").mkdir()
    Path("else").mkdir()
    os.symlink("../else", "o/0001")
    ran = rebyte("batch", "--prompt", "hello", "--out", "o")
    assert ran.code == 9 and "is a link" in ran["tasks"][0]["error"]["message"]
    assert os.listdir("else") == [] and posts(server) == []
