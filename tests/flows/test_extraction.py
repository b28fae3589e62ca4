"""The value in an answer: which place is believed, and when none is."""

from __future__ import annotations

import json

import pytest

from rebyte_flows.values.extraction import extract
from rebyte_flows.values.reader import read_value
from rebyte_flows.values.schema import ANY_VALUE, read_schema

OBJECT = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
LIST = {"type": "array", "items": OBJECT}
NUMBERS = {"type": "array", "items": {"type": "integer"}}
ONE = {"a": 1}
NONE = object()


def fenced(text, label="json", marks="```"):
    return "%s%s\n%s\n%s" % (marks, label, text, marks)


# (what it is, schema, answer, the value or NONE)
CASES = [
    ("the whole text", OBJECT, '{"a": 1}', ONE),
    ("the whole text between blanks", OBJECT, '\n\n  {"a": 1}\r\n ', ONE),
    ("the whole text after a byte order mark", OBJECT, '\ufeff{"a": 1}', ONE),
    ("a whole number", {"type": "integer"}, "42", 42),
    ("a whole zero", {"type": "integer"}, "0\n", 0),
    ("a whole null", {"type": "null"}, "null", None),
    ("a whole false", {"type": "boolean"}, "false", False),
    ("a whole string", {"type": "string"}, '"done"', "done"),
    ("an empty array", LIST, "[]", []),
    ("a fence", OBJECT, "Here:\n" + fenced('{"a": 1}'), ONE),
    ("a fence in capitals", OBJECT, "Here:\n" + fenced('{"a": 1}', "JSON"), ONE),
    ("a bare fence", OBJECT, "Here:\n" + fenced('{"a": 1}', ""), ONE),
    ("a fence of tildes", OBJECT, "x\n" + fenced('{"a": 1}', "json", "~~~"), ONE),
    ("a fence of four", OBJECT, "x\n" + fenced('{"a": 1}', "json", "````"), ONE),
    ("a fence with a title", OBJECT, fenced('{"a": 1}', "json title=out.json"), ONE),
    (
        "a fence with carriage returns",
        OBJECT,
        'x\r\n```json\r\n{"a": 1}\r\n```\r\n',
        ONE,
    ),
    (
        "a fence in a list",
        OBJECT,
        "- so:\n\n   " + fenced('{"a": 1}').replace("\n", "\n   "),
        ONE,
    ),
    ("a fence in a quotation", OBJECT, "> ```json\n> x\n> ```\n" + '{"a": 1}', ONE),
    ("a fence and words after it", OBJECT, fenced('{"a": 1}') + "\nThat is all.", ONE),
    ("a fence and a citation after it", OBJECT, fenced('{"a": 1}') + "\nSee [1].", ONE),
    ("a fence that nobody closed", OBJECT, 'x\n```json\n{"a": 1}\n', ONE),
    (
        "a string with a fence in it",
        {"type": "object"},
        fenced(json.dumps({"t": "```json\n{}\n```"})),
        {"t": "```json\n{}\n```"},
    ),
    (
        "several fences, the last",
        OBJECT,
        fenced('{"a": 2}') + "\nno:\n" + fenced('{"a": 1}'),
        ONE,
    ),
    (
        "several fences, the last that fits",
        OBJECT,
        fenced('{"a": 1}') + "\nuse it:\n" + fenced('{"run": "x"}'),
        ONE,
    ),
    (
        "several fences, the last broken",
        OBJECT,
        fenced('{"a": 1}') + "\n" + fenced("pip install x", "sh"),
        ONE,
    ),
    (
        "a fence of another language",
        OBJECT,
        "x\n" + fenced('{"a": 1}', "javascript"),
        ONE,
    ),
    (
        "json before another language",
        OBJECT,
        fenced('{"a": 1}') + "\n" + fenced('{"a": 2}', "js"),
        ONE,
    ),
    (
        "code before the value",
        OBJECT,
        fenced("d = {x: [1, {y: 2}]}", "python") + '\n{"a": 1}',
        ONE,
    ),
    (
        "json inside markdown",
        OBJECT,
        "```markdown\n# Report\n" + fenced('{"a": 1}') + "\n```",
        ONE,
    ),
    ("a value and words in one fence", OBJECT, fenced('Result: {"a": 1}', ""), ONE),
    ("fences on one line", OBJECT, 'so ```json {"a": 1}``` it is', ONE),
    ("prose around it", OBJECT, 'The answer is {"a": 1}, I think.', ONE),
    ("prose, the last", OBJECT, 'First {"a": 2}, then {"a": 1}.', ONE),
    ("brackets before it", OBJECT, 'As in [the manual] and {name}: {"a": 1}', ONE),
    ("a citation before it", OBJECT, 'By [1] and [2, 3]: {"a": 1}', ONE),
    ("a citation after it", OBJECT, '{"a": 1} [1]', ONE),
    ("links around it", OBJECT, '[a "b"](http://x) {"a": 1} [c](http://y)', ONE),
    ("a half-open interval", OBJECT, 'In [0, 1) it is {"a": 1}', ONE),
    ("boxes to tick", OBJECT, '- [ ] one\n- [x] two\n{"a": 1}', ONE),
    ("braces of a template", OBJECT, "Set {{name}} first", NONE),
    ("a list with a citation after it", LIST, 'So: [{"a": 1}]\nSource: [1]', [ONE]),
    ("numbers, not the citation", NUMBERS, "```json\n[4, 5]\n```\nSee [1].", [4, 5]),
    ("a pretty one over lines", OBJECT, 'Result:\n{\n  "a": 1\n}\nDone.', ONE),
    ("brackets in a string", {"type": "object"}, 'x {"a": "]} {"} y', {"a": "]} {"}),
    ("escaped quotes", {"type": "object"}, 'x {"a": "\\"}"} y', {"a": '"}'}),
    (
        "an inner object of a broken outer one",
        OBJECT,
        '{"items": [{"a": 1}, oops]}',
        NONE,
    ),
    (
        "an outer one that is never closed",
        OBJECT,
        '{"items": [{"a": 1}, {"a": 2}',
        NONE,
    ),
    ("never closed in a fence", OBJECT, 'x\n```json\n{"items": [{"a": 1},', NONE),
    ("unquoted keys around it", OBJECT, '{items: [{"a": 1}]}', NONE),
    ("single quotes around it", OBJECT, "{'items': {\"a\": 1}}", NONE),
    ("a draft, and an end that breaks off", OBJECT, '{"a": 2}\nBetter: {"a": ', NONE),
    (
        "a draft, and a fence that breaks off",
        OBJECT,
        fenced('{"a": 2}') + '\nNow:\n```json\n{"a',
        NONE,
    ),
    ("a trailing comma", OBJECT, '{"a": 1,}', NONE),
    ("a comment", OBJECT, '{"a": 1 /* one */}', NONE),
    ("a key twice", OBJECT, '{"a": 2, "a": 1}', NONE),
    ("NaN", ANY_VALUE, '{"a": NaN}', NONE),
    ("Infinity", ANY_VALUE, "[-Infinity]", NONE),
    ("beyond any number", ANY_VALUE, '{"a": 1e999}', NONE),
    ("too many digits", ANY_VALUE, '{"a": %s}' % ("9" * 5000), NONE),
    ("too deep", ANY_VALUE, "[" * 100 + "]" * 100, NONE),
    ("far too deep", ANY_VALUE, "[" * 200_000, NONE),
    ("nothing", ANY_VALUE, "", NONE),
    ("words alone", ANY_VALUE, "I could not do it.", NONE),
    ("any value, not the citation", ANY_VALUE, 'x {"a": 1} as in [1]', ONE),
    ("any value that is a citation", ANY_VALUE, "the list [1, 2]", [1, 2]),
    ("an inner object of one that does not fit", OBJECT, '{"found": {"a": 1}}', NONE),
    (
        "a quoted fence over lines",
        OBJECT,
        '> > ```json\n> > {\n> >   "a": 1\n> > }\n> > ```',
        ONE,
    ),
    ("a quoted value over lines", OBJECT, 'It says\n> {\n>  "a": 1\n> }', ONE),
    ("a value in the line of the fence", OBJECT, '```json {\n"a": 1\n}\n```', ONE),
    (
        "a broken piece that is only shown",
        OBJECT,
        'It begins so:\n```\n{"items": [\n```\n' + fenced('{"a": 1}'),
        ONE,
    ),
    (
        "one that broke off, and was begun again",
        OBJECT,
        '```json\n{"a": \n\nAgain:\n' + fenced('{"a": 1}'),
        ONE,
    ),
    (
        "a piece in code after it",
        OBJECT,
        fenced('{"a": 1}') + '\nThe line `{"x": [` was wrong.',
        ONE,
    ),
    (
        "code in a string in code",
        {"type": "object"},
        'So `{"t": "a `b` [1]", "u": [{"a": 2}]}` it is',
        {"t": "a `b` [1]", "u": [{"a": 2}]},
    ),
    ("an inner one of a broken one in code", OBJECT, '`{"b": [{"a": 1}, x]}`', NONE),
    ("brackets in brackets", OBJECT, '{{ b }}, dict[str, list[int]]: {"a": 1}', ONE),
    ("a table of numbers, not the citation", ANY_VALUE, "[[1, 2]] by [3]", [[1, 2]]),
    ("colours of a terminal", OBJECT, '\x1b[1;32mDone\x1b[0m {"a": 1}\x1b[K', ONE),
    ("a value of another type", OBJECT, fenced('{"a": "1"}'), NONE),
    ("too much in it", OBJECT, fenced('{"a": 1, "b": 2}'), NONE),
]


@pytest.mark.parametrize(
    "schema, answer, value",
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_the_value_is_the_one_that_was_meant_or_none(schema, answer, value):
    checked = schema if schema is ANY_VALUE else read_schema(json.dumps(schema))
    found = read_value(checked, answer)
    if value is NONE:
        assert "value" not in found and found["valueErrors"], found
    else:
        # 1 is not true, and a value that is 0 or null is there.
        assert json.dumps(found) == json.dumps({"value": value})


def test_there_are_sixty_answers_and_more():
    assert len({case[2] for case in CASES}) >= 60


@pytest.mark.parametrize(
    "answer, candidate",
    [
        (fenced('{"a": "1"}'), {"a": "1"}),
        (fenced('{"b": 1}') + "\n" + fenced('{"a": "1"}'), {"a": "1"}),
        ('{"a": 2}\nBetter: {"a": ', {"a": 2}),
        ("null", None),
        ('Only {"b": 0} and [1].', {"b": 0}),
    ],
)
def test_the_best_that_was_found_is_kept_beside_its_faults(answer, candidate):
    found = read_value(read_schema(json.dumps(OBJECT)), answer)
    assert found["candidate"] == candidate and "value" not in found


@pytest.mark.parametrize(
    "answer",
    [
        "[" * 500_000,
        "{" * 500_000,
        '{"a": [' * 100_000,
        '"' * 500_000,
        "[1] " * 100_000,
        "```\n" * 100_000,
        "```" + " " * 300_000 + "`",
        "~" * 300_000 + "`",
        '[a"b] ' * 150_000,
        '`{"a": [` ' * 100_000,
        "> " * 300_000,
        "\x1b[0" * 200_000,
    ],
    ids=[
        *("arrays", "objects", "both", "quotes", "pairs", "fences"),
        *("blanks", "tildes", "words", "code", "quoted", "colours"),
    ],
)
def test_a_long_answer_takes_linear_time(answer):
    extract(answer)
