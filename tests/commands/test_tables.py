"""Many tasks with a schema: counts, table and the line again tell the same, and cost nothing twice."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import DOOR, posts, wait_until

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "price": {"type": "number"}},
        "required": ["city", "price"],
    }
)


def saying(value, more=""):
    words = "```json\n%s\n```" % json.dumps(value)
    return "Look it up.\n```python run\n%sprint(%r)\n```" % (more, words)


def price(city, number, more=""):
    return saying({"city": city, "price": number}, more)


def failing(word):
    return "```bash run\necho %s >&2; exit 3\n```" % word


def write_lines(rows):
    Path("jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "jobs.jsonl"


def table(folder):
    with open(os.path.join(folder, "table.csv"), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def values(folder):
    lines = Path(folder, "values.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


ROWS = [
    {"once": "a", "prompt": price("Lyon", 3)},
    {"once": "b", "prompt": price("=Porto", "four")},
    {"once": "c", "prompt": failing("broken")},
    {"once": "d", "prompt": price("=Rome", -5)},
]


def test_a_batch_with_a_schema_ends_as_one_table(rebyte, server):
    line = ["batch", write_lines(ROWS), "--schema", SCHEMA, "--out", "out"]
    ran = rebyte(*line)
    assert ran.code == 9, ran
    assert ran["counts"] == {"completed": 2, "invalid": 1, "failed": 1}
    assert ran["table"] == os.path.abspath("out/table.csv")
    told = [
        (row["name"], row["status"], row["city"], row["price"]) for row in table("out")
    ]
    assert told == [
        ("a", "completed", "Lyon", "3"),
        ("b", "invalid", "", ""),
        ("c", "failed", "", ""),
        ("d", "completed", "'=Rome", "-5"),
    ]
    assert "a number was wanted" in table("out")[1]["problem"]
    assert "broken" in table("out")[2]["problem"]
    assert values("out")[3]["value"] == {"city": "=Rome", "price": -5}
    assert ran["tasks"][1]["valueErrors"][0]["at"] == "/price"
    assert "--repair 1" in ran["next"][0]["run"]
    before = Path("out/table.csv").read_bytes()
    again = rebyte(*line)
    assert again["counts"] == ran["counts"] and len(posts(server)) == 4
    assert Path("out/table.csv").read_bytes() == before


ODD = [
    (0, "warnings", [None]),
    (0, "error", None),
    (0, "value", {"city": 1}),
    (2, "failure", {"reason": [1]}),
    (2, "valueErrors", [1]),
]


def test_results_that_somebody_edited_are_asked_for_again_and_cost_nothing(
    rebyte, server
):
    line = ["batch", write_lines(ROWS), "--schema", SCHEMA, "--out", "out"]
    counts = rebyte(*line)["counts"]
    path = Path("out/results.jsonl")
    for which, key, odd in ODD:
        documents = [json.loads(text) for text in path.read_text().splitlines()]
        documents[which][key] = odd
        path.write_text("".join(json.dumps(one) + "\n" for one in documents))
        again = rebyte(*line)
        assert again.code == 9 and again["counts"] == counts, again
        found = json.loads(path.read_text().splitlines()[which])
        assert (key, odd) not in found.items() and len(posts(server)) == 4


def test_more_attempts_than_anybody_would_compare_are_refused(rebyte, server):
    ran = rebyte("batch", "--prompt", "x", "--attempts", "101", "--dry-run")
    assert ran.code == 2 and "at most 100" in ran.error["message"]


def test_without_a_schema_there_is_no_table(rebyte):
    ran = rebyte("batch", "--prompt", price("x", 1), "--out", "out")
    assert sorted(set(os.listdir("out")) - {"report.html"}) == ["0001", "results.jsonl"]
    assert "table" not in ran.document


def test_each_attempt_is_a_task_of_its_own_name_and_the_best_is_kept(rebyte, server):
    dice = "Roll.\n```python run\nimport os\nprint({'city': 'x', 'price': int.from_bytes(os.urandom(4), 'big')}.__repr__().replace(chr(39), chr(34)))\n```"
    rows = [{"once": "r", "prompt": dice}, {"prompt": dice + " "}]
    line = ["batch", write_lines(rows), "--schema", SCHEMA, "--attempts", "3"]
    line += ["--keep", "best=price", "--out", "out"]
    ran = rebyte(*line)
    assert ran.code == 0 and ran["counts"] == {"completed": 6}, ran
    found = [
        json.loads(text) for text in Path("out/results.jsonl").read_text().splitlines()
    ]
    assert [one.get("once") for one in found] == ["r.1", "r.2", "r.3", None, None, None]
    best = [max(one["value"]["price"] for one in found[n : n + 3]) for n in (0, 3)]
    assert [int(row["price"]) for row in table("out")] == best
    assert [name.split(".")[0] for name in ran["kept"]] == ["r", "2"]
    assert rebyte(*line).code == 0 and len(posts(server)) == 6
    assert not any("to compare" in text for text in ran["warnings"])


def test_attempts_that_cannot_be_compared_are_warned_of(rebyte):
    ran = rebyte(
        *("batch", "--prompt", "Nothing to run.", "--schema", SCHEMA, "--out", "out"),
        *("--attempts", "2", "--keep", "best=price"),
    )
    assert ran["kept"] == ["1.1"]
    assert "the first was kept: 1.1" in ran["warnings"][0]


@pytest.mark.parametrize(
    "words",
    [
        ["--attempts", "0"],
        ["--keep", "best=price", "--schema", SCHEMA],
        ["--keep", "best=price", "--attempts", "2"],
        ["--keep", "price", "--attempts", "2", "--schema", SCHEMA],
        ["--keep", "best=colour", "--attempts", "2", "--schema", SCHEMA],
    ],
)
def test_attempts_and_keep_say_what_they_need(rebyte, server, words):
    ran = rebyte("batch", "--prompt", "x", *words)
    assert ran.code == 2 and not posts(server), ran


def test_attempts_count_in_the_guards(rebyte, server):
    ran = rebyte("batch", "--prompt", "x", "--attempts", "3", "--max-tasks", "2")
    assert ran.code == 7 and not posts(server), ran


def test_wait_brings_what_was_started_one_by_one_into_one_table(rebyte, server):
    for name, prompt in (
        ("a", price("Lyon", 3)),
        ("b", price("Rome", "x")),
        ("c", failing("no")),
    ):
        assert rebyte("create", prompt, "--once", name).code == 0
    line = ["wait", "@a", "@b", "@c", "--schema", SCHEMA, "--out", "out"]
    ran = rebyte(*line)
    assert ran.code == 9 and ran["counts"] == {
        "completed": 1,
        "invalid": 1,
        "failed": 1,
    }, ran
    assert [row["status"] for row in table("out")] == ["completed", "invalid", "failed"]
    assert {task.get("once"): task.get("value") for task in ran["tasks"]}["a"] == {
        "city": "Lyon",
        "price": 3,
    }
    assert Path("out/0001-a/answer.md").is_file()
    assert len(Path("out/results.jsonl").read_text().splitlines()) == 3
    one = rebyte("wait", "@b", "--schema", SCHEMA)
    assert one.code == 9 and Path(one["table"]).is_file(), one


def test_a_wait_goes_on_with_what_it_had_brought(rebyte, server):
    """Else the same line would bring all from the start in each slice, and never come to its end."""
    for name in "ab":
        prompt = price(name, 1, "open('artifacts/%s.csv', 'w').write('1')\n" % name)
        assert rebyte("create", prompt, "--once", name).code == 0
    line = ["wait", "@a", "@b", "--schema", SCHEMA, "--out", "out"]

    def heard():
        """Type the line; return its document, and the names of the tasks it listened to."""
        before = len(server.requests)
        ran = rebyte(*line)
        names = {task["id"]: task["once"] for task in ran["tasks"]}
        paths = [seen["path"] for seen in server.requests[before:]]
        return ran, sorted(
            names[id] for id in names if any(id + "/events" in path for path in paths)
        )

    first, names = heard()
    assert first.code == 0 and names == ["a", "b"]
    again, names = heard()
    assert again.code == 0 and names == []
    assert sorted(again["tasks"], key=str) == sorted(first["tasks"], key=str)
    os.remove("out/0002-b/files/b.csv")
    assert heard()[1] == ["b"] and Path("out/0002-b/files/b.csv").is_file()
    assert rebyte("follow-up", "@a", price("c", 2), "--wait").code == 0
    more, names = heard()
    assert names == ["a"] and table("out")[0]["city"] == "c"
    line[4] = json.dumps({"type": "object", "required": ["other"]})
    other, names = heard()
    assert other.code == 9 and names == ["a", "b"]


def test_a_batch_that_is_killed_leaves_a_whole_table_and_pays_once(
    rebyte, server, world
):
    # All have started before the first one ends, so that no start is in the air.
    rows = [
        {"once": "n%d" % n, "prompt": price("c%d" % n, n, _sleeping(0.6 + n * 0.2))}
        for n in range(6)
    ]
    line = ["batch", write_lines(rows), "--schema", SCHEMA, "--out", "out"]
    for least in (1, 3):
        process = subprocess.Popen(
            [sys.executable, DOOR, *line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: process.poll() is not None or _has_rows(least))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(table("out")) == len(values("out")) == 6
    ran = rebyte(*line)
    assert ran.code == 0 and ran["counts"] == {"completed": 6}, ran
    assert [row["price"] for row in table("out")] == [str(n) for n in range(6)]
    assert len(posts(server)) == 6
    assert not [name for name in os.listdir("out") if name.endswith(".part")]


def _sleeping(seconds):
    return "import time; time.sleep(%s)\n" % seconds


def _has_rows(least):
    """Say whether the table tells of so many values."""
    try:
        return sum(row["status"] == "completed" for row in table("out")) >= least
    except OSError:
        return False


def test_every_folder_gets_its_page_and_report_writes_it_anew(rebyte, server):
    ran = rebyte("run", price("Lyon", 3), "--schema", SCHEMA, "--out", "one")
    assert "Lyon" in Path("one/report.html").read_text() and ran.code == 0
    many = rebyte("batch", write_lines(ROWS), "--schema", SCHEMA, "--out", "many")
    page = Path(many["report"]).read_text()
    assert "2 completed" in page and "1 invalid" in page and "1 failed" in page
    sent = len(server.requests)
    for folder, count in (("one", 1), ("many", 4)):
        os.unlink(os.path.join(folder, "report.html"))
        anew = rebyte("report", folder)
        assert anew.code == 0 and anew["tasks"] == count, anew
        assert Path(anew["report"]).name == "report.html"
    assert len(server.requests) == sent


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_report_of_nothing_is_refused(rebyte, folder):
    assert rebyte("report", folder).code == 2


def test_the_line_of_next_repairs_only_what_is_invalid(rebyte, server):
    line = ["batch", write_lines(ROWS), "--schema", SCHEMA, "--out", "out"]
    assert rebyte(*line)["counts"]["invalid"] == 1
    ran = rebyte(*line, "--repair", "1")
    # A rehearsal mends nothing, and its follow-up is counted all the same.
    assert ran["counts"] == {"completed": 2, "invalid": 1, "failed": 1}, ran
    repairs = [seen for seen in server.requests if seen["path"].endswith("/prompts")]
    assert (len(posts(server)), len(repairs)) == (4, 1)
    assert rebyte(*line, "--repair", "1").code == 9
    repairs = [seen for seen in server.requests if seen["path"].endswith("/prompts")]
    assert (len(posts(server)), len(repairs)) == (4, 1)


WORK = """Change it.
```sh run
cd /code && sh tree-code.sh unpack && echo "new line" > tree/a.txt
sh tree-code.sh home && mv "$(find . -name tree-home.zip | head -1)" artifacts/
```"""


@pytest.mark.skipif(not shutil.which("git"), reason="git is not here")
def test_changes_of_code_stand_in_the_page_with_their_diff(rebyte, world, monkeypatch):
    tree = world / "tree"
    tree.mkdir()
    (tree / "a.txt").write_text("old line\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
        subprocess.run(["git", *who, *words], cwd=str(tree), check=True)
    monkeypatch.chdir(tree)
    ran = rebyte("run", WORK, "--code", "--out", "../out")
    assert ran.code == 0 and ran["changes"]["files"] == 1, ran
    page = (world / "out" / "report.html").read_text()
    assert "+new line" in page and "-old line" in page and "1 files" in page
