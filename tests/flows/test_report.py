"""The page of results: what it shows of a folder, to scale, and that foreign text runs nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from html.parser import HTMLParser

import pytest

from rebyte_flows.report.folder import read_folder
from rebyte_flows.report.markup import link, text
from rebyte_flows.report.page import duration, render, write_report
from rebyte_flows.report.timeline import Scale, Timeline, read_timeline
from rebyte_flows.values.schema import read_schema
from rebyte_flows.values.table import table_text

SCRIPT = "<script>alert(1)</script>"
HOSTILE = '"><img src=x onerror=alert(1)>%s\x1b[31m\u202etxt' % SCRIPT


def event(second, kind, **payload):
    stamp = "2026-01-01T00:%02d:%06.3fZ" % divmod(second, 60)
    return json.dumps({"timestamp": stamp, "eventType": kind, "payload": payload})


TRANSCRIPT = [
    event(0, "init"),
    event(2, "text", content="Looking."),
    event(3, "tool_use", id="a", name="bash"),
    event(5, "tool_result", tool_id="a"),
    event(6, "ask_user_question", question="which?"),
    event(9, "text", content="Thanks."),
    event(10, "text", content="Done."),
]


class Page(HTMLParser):
    """The elements, addresses and scripts of a page."""

    def __init__(self, markup):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        self.words.append(data)

    def all(self, name):
        return [value for _, key, value in self.attributes if key == name]


def batch(folder, *documents, transcript=TRANSCRIPT):
    """Write a folder as batch does."""
    folder.mkdir(exist_ok=True)
    lines = []
    for index, document in enumerate(documents, 1):
        place = folder / ("%04d-x" % index)
        place.mkdir()
        (place / "transcript.jsonl").write_text("\n".join(transcript))
        (place / "answer.md").write_text(document.get("answer", ""))
        lines.append(json.dumps({"index": index, **document}))
    (folder / "results.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def shown(folder):
    return Page(render(read_folder(str(folder))))


GOOD = {
    "id": "1",
    "once": "good",
    "status": "completed",
    "answer": "fine",
    "seconds": 10,
}


def test_the_page_tells_each_task_its_status_problem_and_value(tmp_path):
    faults = [{"at": "/n", "wanted": "a number", "came": '"x"'}]
    folder = batch(
        tmp_path,
        {**GOOD, "value": {"n": 3, "who": "x"}},
        {**GOOD, "once": "wrong", "valueErrors": faults, "candidate": {"n": "x"}},
        {"once": "bad", "status": "failed", "failure": {"reason": "no luck"}},
        {**GOOD, "once": "lacks", "missing": ["a.pdf"], "warnings": ["odd"]},
    )
    page = shown(folder)
    words = " ".join(page.words)
    assert "2 completed" in words and "1 invalid" in words and "1 failed" in words
    assert "at /n: a number was wanted" in words and "no luck" in words
    assert "missing: a.pdf" in words and "note: odd" in words
    assert page.tags.count("details") >= 4 and page.all("data-number") == ["3"]


def test_bars_are_drawn_to_scale():
    timeline = read_timeline(TRANSCRIPT)
    assert (timeline.seconds, timeline.tools) == (10, 1)
    scale = Scale([timeline])
    moments = [timeline.begin + seconds for seconds in (0, 2, 5, 10)]
    assert [scale.place(timeline, moment) for moment in moments] == [0, 200, 500, 1000]
    spans = [
        (span.kind, span.begin - timeline.begin, span.end - timeline.begin)
        for span in timeline.spans
    ]
    assert spans == [("tool", 3, 5), ("question", 6, 9)]


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["", "{", "[1]", "null", '{"timestamp": 3}', '{"timestamp": "soon"}'],
        [json.dumps({"timestamp": "2026-01-01T00:00:00Z", "payload": [1]})],
        [event(9, "tool_use", id=None), event(3, "tool_result"), event(1, "text")],
    ],
)
def test_events_without_times_or_sense_make_no_trouble(lines):
    timeline = read_timeline(lines)
    assert (timeline.seconds or 0) >= 0
    Scale([timeline, Timeline()])


def test_many_tools_are_drawn_together_and_tasks_of_other_days_begin_at_the_left():
    many = read_timeline([event(n / 100, "tool_use", id=n) for n in range(5000)])
    assert len(many.spans) <= 60 and many.tools == 5000
    other = Timeline()
    other.begin = many.begin + 86400
    other.end = other.begin + 5
    scale = Scale([many, other])
    assert not scale.is_shared and scale.place(other, other.begin) == 0


def test_foreign_text_is_no_markup_whatever_it_says(tmp_path):
    names = ["a'b.png", "<b>.csv", "%2e%2e.csv", "x\u202egnp.exe", "javascript:x.png"]
    document = {
        "id": HOSTILE,
        "once": HOSTILE,
        "status": HOSTILE,
        "answer": HOSTILE,
        "url": "javascript:alert(1)",
        "failure": {"reason": HOSTILE},
        "error": {"message": HOSTILE},
        "question": {"text": HOSTILE},
        "warnings": [HOSTILE, {"a": 1}],
        "missing": [HOSTILE],
        "refused": [{"name": HOSTILE, "reason": HOSTILE}, 3],
        "executor": HOSTILE,
        "model": HOSTILE,
        "usage": {HOSTILE: 1, "input": HOSTILE},
        "changes": {"files": HOSTILE, "branch": HOSTILE, "sensitive": [HOSTILE]},
        "conflicts": [HOSTILE],
        "value": {
            HOSTILE: HOSTILE,
            "u": "javascript:alert(1)",
            "w": "https://ok.example/",
        },
        "valueErrors": [{"at": HOSTILE, "wanted": HOSTILE, "came": HOSTILE}, 4],
        "files": [{"name": HOSTILE}, {"name": "../../x"}, 5],
    }
    folder = batch(
        tmp_path / "out", document, transcript=[event(0, HOSTILE, content=HOSTILE)]
    )
    (folder / "0001-x" / "files").mkdir()
    for name in names:
        (folder / "0001-x" / "files" / name).write_text("x")
    (folder / "0001-x" / "changes.diff").write_text(HOSTILE)
    markup = render(read_folder(str(folder)))
    page = Page(markup)
    assert page.tags.count("script") == 1 and SCRIPT not in markup
    assert not [
        name
        for _, name, _ in page.attributes
        if name.startswith("on") or name == "style"
    ]
    assert "\u202e" not in markup and "\x1b" not in markup
    for address in page.all("href") + page.all("src"):
        assert re.match(
            r"#task-|https://ok\.example/|[\w%.-]+(/[\w%.-]+)*\Z", address
        ), address
        assert ".." not in address and ":" not in address.replace("https:", "")
    pictures = [
        value for tag, name, value in page.attributes if (tag, name) == ("img", "src")
    ]
    assert len(pictures) == 2 and all(
        place.startswith("0001-x/files/") for place in pictures
    )


def test_the_policy_lets_only_the_own_script_and_style_in(tmp_path):
    markup = render(read_folder(str(batch(tmp_path, GOOD))))
    policy = Page(markup).all("content")[0]
    assert (
        "default-src 'none'" in policy
        and "unsafe" not in policy
        and "http" not in policy
    )
    for element in ("style", "script"):
        found = re.findall("<%s>(.*?)</%s>" % (element, element), markup, re.S)
        digest = hashlib.sha256(found[0].encode()).digest()
        assert len(found) == 1
        assert "'sha256-%s'" % base64.b64encode(digest).decode() in policy
    assert markup.index("Content-Security-Policy") < markup.index("<style>")


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "null\n[1]\n{\n",
        '{"status": 3, "failure": "x", "error": [], "seconds": "1", "warnings": 4}',
        '{"status": "completed", "value": NaN, "files": [1], "changes": []}',
        "[" * 100_000,
        '{"value": %s%s}' % ("[" * 900, "]" * 900),
        '{"seconds": NaN, "costUsd": 1e999}\n{"seconds": -1e999}',
        '{"seconds": 1%s, "repaired": 1%s}\n{"seconds": 0.5}' % (("0" * 400,) * 2),
        '{"costUsd": 1%s, "usage": {"a": 1%s}}' % (("0" * 400,) * 2),
    ],
)
def test_a_folder_that_others_have_written_to_makes_no_trouble(tmp_path, lines):
    (tmp_path / "results.jsonl").write_text(lines)
    render(read_folder(str(tmp_path)))


def test_a_line_that_cannot_be_read_costs_no_other_one_and_is_told(tmp_path):
    lines = [json.dumps({"index": n, "status": "completed"}).encode() for n in (1, 2)]
    damaged = [
        b"\xef\xbb\xbf" + lines[0],
        b'{"once": "b\xff"}',
        lines[1],
        lines[0][:20],
    ]
    (tmp_path / "results.jsonl").write_bytes(b"\r\n".join(damaged))
    view = read_folder(str(tmp_path))
    assert len(view.tasks) == 3 and view.unread == 1
    assert "1 line of results.jsonl could not be read" in render(view)


PROPERTIES = [
    *("name", "value.name", "value", "value.value", "url", "=c", "'=d", "", "a\nb"),
    *("x\u2028y", "x\x0by", " =e"),
]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "name\x00,id",
        "name,id,status,problem,url,of,another,run\r\n",
        'name,id,status,problem,url,"' + "x" * 200_000,
        table_text(
            [], read_schema(json.dumps({"properties": dict.fromkeys(PROPERTIES, {})}))
        ),
    ],
    ids=["no table", "empty", "a NUL", "of another run", "too long", "its own"],
)
def test_each_property_is_in_the_page_whatever_the_table_calls_it(tmp_path, header):
    value = {name: place + 100 for place, name in enumerate(PROPERTIES)}
    folder = batch(tmp_path, {**GOOD, "value": value})
    if header is not None:
        (folder / "table.csv").write_bytes(header.encode())
    figures = shown(folder).all("data-number")
    assert figures == [str(place + 100) for place in range(len(PROPERTIES))]


def test_a_value_that_is_no_object_is_in_the_row_beside_objects(tmp_path):
    folder = batch(tmp_path, {**GOOD, "value": {"n": 1}}, {**GOOD, "value": [5, 6]})
    assert "[5, 6]" in shown(folder).words


def test_a_table_of_an_earlier_run_is_no_part_of_a_page_without_values(tmp_path):
    folder = batch(tmp_path, GOOD)
    (folder / "table.csv").write_text("name,id,status,problem,url,n\r\n")
    assert "table.csv" not in shown(folder).all("href")


def test_links_and_pipes_in_a_folder_are_not_followed(tmp_path):
    (tmp_path / "secret.txt").write_text("SECRET")
    folder = batch(tmp_path / "out", {**GOOD, "answer": ""})
    task = folder / "0001-x"
    (task / "answer.md").unlink()
    (task / "answer.md").symlink_to(tmp_path / "secret.txt")
    (task / "transcript.jsonl").unlink()
    os.mkfifo(task / "transcript.jsonl")
    (task / "files").symlink_to(tmp_path)
    page = shown(folder)
    assert "SECRET" not in "".join(page.words) and "secret" not in "".join(page.words)


def test_a_folder_of_one_task_is_read_without_its_document_too(tmp_path):
    (tmp_path / "answer.md").write_text("The answer.\n")
    (tmp_path / "manifest.json").write_text('{"taskId": "t1", "files": []}')
    (tmp_path / "transcript.jsonl").write_text("\n".join(TRANSCRIPT))
    view = read_folder(str(tmp_path))
    assert [task.standing for task in view.tasks] == ["completed"]
    words = " ".join(shown(tmp_path).words)
    assert "The answer." in words and "t1" in words and "10 s" in words


def test_changes_of_code_are_figures_with_the_diff_folded(tmp_path):
    changes = {
        "files": 2,
        "added": 5,
        "removed": 1,
        "branch": "rebyte/x",
        "sensitive": ["Makefile"],
    }
    folder = batch(tmp_path, {**GOOD, "changes": changes})
    (folder / "0001-x" / "changes.diff").write_text("--- a/x\n+++ b/x\n+new line\n")
    words = " ".join(shown(folder).words)
    assert "rebyte/x" in words and "Makefile" in words and "+new line" in words


def test_a_thousand_tasks_stay_small(tmp_path):
    documents = [
        {
            **GOOD,
            "once": "task-%d" % n,
            "answer": "word & " * 1000,
            "value": {"company": "name %d" % n, "figure": n, "tags": ["x"] * 200},
            "warnings": ["w" * 500] * 20,
        }
        for n in range(1000)
    ]
    (tmp_path / "results.jsonl").write_text("\n".join(map(json.dumps, documents)))
    path = write_report(str(tmp_path))
    assert os.path.getsize(path) < 5_000_000
    with open(path, encoding="utf-8") as file:
        assert Page(file.read()).tags.count("details") >= 1000


@pytest.mark.parametrize(
    "seconds, words",
    [(0.1, "0.1 s"), (59.94, "59.9 s"), (61, "1 min 01 s"), (7260, "2 h 01 min")],
)
def test_times_are_told_as_people_write_them(seconds, words):
    assert duration(seconds) == words


def test_only_addresses_of_the_web_can_be_clicked():
    assert "href" in link("https://example.org/?a=1&b=2", "x")
    for address in (
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc",
        " https://x",
        "https://x\u202e",
        None,
    ):
        assert "href" not in link(address, "x")
    assert text("\ud800\u2028") == "\\ud800\\u2028"


@pytest.mark.parametrize(
    "count, more",
    [
        (300, {"answer": '"' * 20_000, "value": {"x": "<" * 900}}),
        (1000, {"value": {"k%d" % n: "&" * 200 for n in range(60)}}),
        (
            1000,
            {
                "url": "https://x/" + "&" * 3000,
                "value": {"u%d" % n: "https://x/" + "&" * 1900 for n in range(5)},
                "status": "<" * 3000,
                "usage": {"<" * 100 + str(n): n for n in range(9)},
                "files": [{"name": "<" * 200 + str(n)} for n in range(20)],
                "changes": {"files": "<" * 3000, "branch": "<" * 3000},
                "conflicts": ["<" * 3000] * 20,
            },
        ),
    ],
    ids=["texts", "columns", "everything else"],
)
def test_what_grows_as_html_is_cut_to_what_the_page_has_room_for(tmp_path, count, more):
    lines = "\n".join([json.dumps({**GOOD, **more})] * count)
    (tmp_path / "results.jsonl").write_text(lines)
    assert os.path.getsize(write_report(str(tmp_path))) < 5_000_000
