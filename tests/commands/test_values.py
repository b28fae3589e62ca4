"""--schema on the command line: what is asked for, what is told, and what it costs."""

from __future__ import annotations

import json
import shlex

import pytest

from rebyte_commands.shell.output import BUDGET_BYTES, to_json, truncate
from rebyte_flows.following.result import task_document

from .conftest import posts, with_agent

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "price": {"type": "number"}},
    "required": ["name", "price"],
    "additionalProperties": False,
}
GOOD = {"name": "Lyon", "price": 3}
BAD = {"name": "Lyon", "price": "three"}


def saying(value, fence="```json"):
    """Return a prompt whose answer ends with a value."""
    words = "Found:\n%s\n%s\n```" % (fence, json.dumps(value))
    return "Look it up.\n```python run\nprint(%r)\n```" % words


def prompt_of(server, ran):
    """Return the latest prompt of a task as the service got it."""
    return server._service.tasks.prompts(ran["id"])[-1]["text"]


@pytest.fixture
def schema(world):
    (world / "shape.json").write_text(json.dumps(SCHEMA))
    return "shape.json"


def test_the_document_has_the_value_that_was_asked_for(rebyte, server, schema):
    ran = rebyte("run", saying(GOOD), "--schema", schema)
    assert ran.code == 0 and ran["value"] == GOOD, ran
    assert "valueErrors" not in ran.document
    sent = prompt_of(server, ran)
    assert json.dumps(SCHEMA, separators=(",", ":")) in sent
    assert "exactly one ```json block" in sent


def test_a_value_that_does_not_fit_is_exit_9_with_the_errors_and_the_way_on(
    rebyte, schema
):
    ran = rebyte("run", saying(BAD), "--schema", schema, "--out", "out")
    assert ran.code == 9 and "value" not in ran.document, ran
    assert ran["candidate"] == BAD
    assert ran["valueErrors"] == [
        {"at": "/price", "wanted": "a number", "came": '"three"'}
    ]
    line = ran["next"][0]["run"]
    assert " follow-up %s " % ran["id"] in line and "/price" in line
    assert "--schema shape.json" in line and "--out out" in line and "three" not in line


@pytest.mark.parametrize("value", [0, [], None])
def test_an_empty_value_is_told_as_well(rebyte, value):
    ran = rebyte("run", saying(value), "--json-answer")
    assert ran.code == 0 and ran.document["value"] == value
    assert type(ran.document["value"]) is type(value)


@pytest.mark.parametrize("value", [0, False, "", [], {}, None, 0.0])
def test_the_document_of_a_task_keeps_values_and_drops_what_is_empty(value):
    found = task_document(id="x", value=value, candidate=value, answer="", warnings=[])
    assert found == {"id": "x", "value": value, "candidate": value}


def test_a_schema_that_cannot_be_checked_costs_nothing(rebyte, server):
    ran = rebyte("run", "hi", "--schema", '{"properties": {"a": {"format": "uri"}}}')
    assert ran.code == 2 and ran["details"]["at"] == "/properties/a/format", ran
    assert not posts(server)


@pytest.mark.parametrize(
    "words",
    [
        ["--schema", "nowhere.json"],
        ["--schema", "{}", "--json-answer"],
        ["--schema", "-", "--file", "-=x.csv"],
        ["--schema", '{"type": "text"}'],
    ],
)
@pytest.mark.parametrize("verb", ["run", "create", "batch"])
def test_a_wrong_shape_is_exit_2_before_anything_is_sent(rebyte, server, verb, words):
    prompt = ["--prompt", "hi"]
    ran = rebyte(verb, *prompt, *words)
    assert ran.code == 2 and not posts(server), ran


def test_a_bare_prompt_says_nothing_of_the_shape_and_the_value_is_checked(
    rebyte, server, schema
):
    ran = rebyte("run", saying(GOOD), "--bare", "--schema", schema)
    assert ran["value"] == GOOD
    assert prompt_of(server, ran) == saying(GOOD)


def test_a_dry_run_shows_the_lines_that_are_added(rebyte, server, schema):
    ran = rebyte("run", "hi", "--schema", schema, "--dry-run")
    assert "JSON Schema" in ran["body"]["prompt"] and not posts(server)


def test_later_turns_and_later_looks_tell_the_value_too(rebyte, schema):
    ran = rebyte("create", saying(BAD), "--once", "price", "--schema", schema)
    assert "--schema shape.json" in ran["next"][0]["run"]
    looked = rebyte("result", "@price", "--wait", "--schema", schema)
    assert looked.code == 9 and looked["candidate"] == BAD
    more = rebyte(
        "follow-up", "@price", saying(GOOD), "--wait", "--schema", schema, "--bare"
    )
    assert more.code == 0 and more["value"] == GOOD


def test_a_failed_task_has_no_value(rebyte, schema):
    ran = rebyte(
        "run",
        "x\n```bash run\necho '%s'; exit 3\n```" % json.dumps(GOOD),
        "--schema",
        schema,
    )
    assert ran.code == 3 and "value" not in ran.document, ran
    assert "valueErrors" not in ran.document


def test_a_batch_counts_apart_what_completed_without_its_value(rebyte, schema):
    ran = rebyte(
        "batch",
        "--prompt",
        saying(GOOD),
        "--prompt",
        saying(BAD),
        "--schema",
        schema,
        "--out",
        "many",
    )
    assert ran.code == 9 and ran["counts"] == {"completed": 1, "invalid": 1}, ran


# Answers wrongly first, and rightly once the errors came back.
MENDS = """if grep -q 'a number was wanted'
then echo '```json'; echo '{"name": "Lyon", "price": 3}'; echo '```'
else echo '{"name": "Lyon", "price": "three"}'
fi"""
SLOWLY = MENDS.replace("then echo", "then sleep 2; echo", 1)
# Forgets even what it had.
FORGETS = MENDS.replace('echo \'{"name": "Lyon", "price": 3}\'', "echo nothing")


def turns(server):
    """Return how many follow-ups were paid for."""
    return sum(
        seen["method"] == "POST" and seen["path"].endswith("/prompts")
        for seen in server.requests
    )


@with_agent(MENDS)
def test_a_repair_sends_only_the_errors_once_however_often_the_line_is_typed(
    rebyte, server, schema
):
    line = ["run", "Look it up.", "--schema", schema, "--repair", "2", "--out", "out"]
    ran = rebyte(*line)
    assert ran.code == 0 and ran["value"] == GOOD and ran["repaired"] == 1, ran
    assert "valueErrors" not in ran.document and "candidate" not in ran.document
    assert "once" not in ran.document
    sent = prompt_of(server, ran)
    assert "/price: a number was wanted" in sent and "JSON Schema" not in sent
    for more in (line, [*line[:4], "--out", "out"]):
        # What was paid for is told without --repair too.
        again = rebyte(*more)
        assert again.code == 0 and again["value"] == GOOD and again["repaired"] == 1
    turn = rebyte("result", ran["id"], "--prompt", ran["promptId"])
    assert turn.code == 0 and "once" not in turn.document
    assert again["reused"] and again["promptId"] == ran["promptId"]
    assert (len(posts(server)), turns(server)) == (1, 1)


@with_agent(SLOWLY)
def test_a_repair_that_outlasts_the_slice_is_gone_on_with_and_paid_once(
    rebyte, server, schema
):
    line = ["run", "Look it up.", "--schema", schema, "--repair", "1"]
    ran = rebyte(*line, "--max-wait", "1.5")
    assert ran.code == 75 and ran["status"] == "running", ran
    assert ran["candidate"] == BAD and "--repair 1" in ran["next"][0]["run"]
    done = rebyte(*line)
    assert done.code == 0 and done["value"] == GOOD, done
    assert (len(posts(server)), turns(server)) == (1, 1)


@with_agent(MENDS)
def test_a_result_that_is_looked_at_again_is_not_repaired_twice(rebyte, server, schema):
    ran = rebyte("run", "Look it up.", "--once", "it", "--schema", schema)
    assert ran.code == 9 and turns(server) == 0
    look = ["result", "@it", "--wait", "--schema", schema, "--repair", "1"]
    assert [rebyte(*look).code for _ in range(3)] == [0, 0, 0]
    assert turns(server) == 1


@with_agent("cat >/dev/null; echo '{\"name\": 1}'")
def test_repairs_end_after_as_many_as_were_allowed(rebyte, server, schema):
    ran = rebyte(
        "run", "Look it up.", "--once", "it", "--schema", schema, "--repair", "2"
    )
    assert ran.code == 9 and ran["repaired"] == 2 and ran["candidate"] == {"name": 1}
    assert turns(server) == 2
    look = ["result", "@it", "--wait", "--schema", schema, "--repair", "2"]
    assert rebyte(*look).code == 9 and turns(server) == 2


@with_agent(FORGETS)
def test_a_good_candidate_survives_a_repair_that_brings_nothing(rebyte, schema):
    ran = rebyte("run", "Look it up.", "--schema", schema, "--repair", "1")
    assert ran.code == 9 and ran["candidate"] == BAD, ran
    assert ran["valueErrors"][0]["at"] == "/price"


@pytest.mark.parametrize(
    "words",
    [["--repair", "3", "--json-answer"], ["--repair", "1"], ["--repair", "-1"]],
)
def test_a_repair_of_nothing_or_without_end_is_refused(rebyte, server, words):
    assert rebyte("run", "hi", *words).code == 2 and not posts(server)


@with_agent(MENDS)
def test_each_value_of_a_batch_is_repaired_and_paid_for_once(rebyte, server, schema):
    prompts = [word for n in "abc" for word in ("--prompt", "Look up %s." % n)]
    line = ["batch", *prompts, "--schema", schema, "--repair", "1", "--out", "many"]
    for _ in range(2):
        ran = rebyte(*line)
        assert ran.code == 0 and ran["counts"] == {"completed": 3}, ran
        assert (len(posts(server)), turns(server)) == (3, 3)


@with_agent(MENDS)
def test_python_gets_the_value_too(
    server, impatient, monkeypatch, tmp_path, client_for
):
    from rebyte_flows.job import run

    monkeypatch.setenv("REBYTE_STATE_DIR", str(tmp_path / "state"))
    client = client_for(server, key=server.key)
    asked = {"schema": SCHEMA, "repair": 1, "once": "it"}
    documents = [run(client, "Look it up.", **asked) for _ in range(2)]
    assert [document["value"] for document in documents] == [GOOD, GOOD]
    assert (len(posts(server)), turns(server)) == (1, 1)


ZIPPED = """Write it.
```python run
import json, os, zipfile
os.makedirs("/code/artifacts", exist_ok=True)
with zipfile.ZipFile("/code/artifacts/%s", "w") as archive:
    archive.writestr("result.json", json.dumps({"name": "x" * 50000, "price": 3}))
print("The value is in %s.")
```"""


@pytest.mark.parametrize("out", [[], ["--out", "out"]], ids=["fetched", "at home"])
def test_a_value_too_long_for_an_answer_comes_in_a_zip(rebyte, schema, out):
    prompt = ZIPPED % ("answer.zip", "answer.zip")
    ran = rebyte("run", prompt, "--schema", schema, *out)
    assert ran.code == 0 and len(ran.out) < 8000, ran
    assert "value" not in ran.document and ran["valueBytes"] > 50_000
    with open(ran["valuePath"]) as file:
        assert json.load(file) == {"name": "x" * 50_000, "price": 3}
    whole = rebyte("run", prompt, "--schema", schema, *out, "--field", "value")
    assert len(json.loads(whole.out)["name"]) == 50_000


def test_a_zip_that_the_answer_does_not_name_is_not_believed(rebyte, schema):
    ran = rebyte("run", ZIPPED % ("older.zip", "another file"), "--schema", schema)
    assert ran.code == 9 and ran["files"][0]["name"] == "older.zip", ran


def test_a_small_value_is_whole_beside_an_answer_that_is_cut(rebyte):
    value = {"text": "y" * 2500}
    words = "word " * 5000 + "\n" + json.dumps(value)
    ran = rebyte("run", "x\n```python run\nprint(%r)\n```" % words, "--json-answer")
    assert ran["value"] == value and len(ran.out) < 8000 and ran["answerPath"]


@pytest.mark.parametrize("step_bytes, is_kept", [(3800, False), (100, True)])
def test_a_document_without_room_tells_its_task_before_it_tells_a_line(
    step_bytes, is_kept
):
    faults = [{"at": "/a" * 99, "wanted": "w" * 99, "came": "c" * 60}] * 10
    document = {
        "id": "1" * 36,
        "status": "completed",
        "next": [{"run": "x" * step_bytes}],
        "answer": "y" * 9000,
        "candidate": "v" * 2900,
        "valueErrors": faults,
        "files": [{"name": "f" * 80, "path": "p" * 150}] * 9,
    }
    shown = truncate(document, lambda whole: "kept")
    assert len(to_json(shown)) <= BUDGET_BYTES and ("next" in shown) == is_kept
    for key in ("id", "status", "candidate"):
        assert shown[key] == document[key]


IMPOSSIBLE = json.dumps(
    {"type": "object", "properties": {"a": {"enum": []}}, "required": ["a"]}
)


def test_no_line_pays_for_a_value_that_cannot_exist(rebyte, server, world):
    ran = rebyte("run", saying(GOOD))
    (world / "lines.jsonl").write_text(json.dumps({"prompt": "Sum it."}) + "\n")
    seen = len(server.requests)
    for words in (
        ["run", saying(GOOD)],
        ["create", saying(GOOD)],
        ["batch", "lines.jsonl"],
        ["follow-up", ran["id"], "And now?"],
        ["reply", ran["id"], "--say", "yes"],
        ["result", ran["id"], "--repair", "1"],
    ):
        refused = rebyte(*words, "--schema", IMPOSSIBLE)
        assert refused.code == 2 and refused.error["code"] == "schema_refused", refused
        assert refused["details"] == {"at": "/properties/a/enum"}
    assert len(server.requests) == seen
    # What is paid for already is only looked at.
    told = rebyte("result", ran["id"], "--schema", IMPOSSIBLE)
    assert told.code == 9 and told["valueErrors"]


ASKING = "```ask run\nWhich?\n- a\n- b\n```\n" * 2


def test_a_start_made_before_its_schema_was_refused_goes_on_and_no_new_one_is_made(
    rebyte, server, world, monkeypatch
):
    (world / "lines.jsonl").write_text(json.dumps({"prompt": saying([])}) + "\n")
    lines = {
        "run": ["run", saying(GOOD), "--repair", "1"],
        "create": ["create", saying(BAD), "--once", "made"],
        "batch": ["batch", "lines.jsonl"],
        "follow-up": ["follow-up", "@made", "And now?", "--once", "turn"],
    }

    def run(verb, *more):
        return rebyte(*lines[verb], "--schema", IMPOSSIBLE, *more)

    def all_ids(ran):
        tasks = ran.document.get("tasks", [ran.document])
        return [(one.get("id"), one.get("promptId")) for one in tasks]

    asked = rebyte("run", ASKING)
    pasted = shlex.split(asked["next"][0]["run"])[2:]
    lines["reply"] = [word for word in pasted if word != "--wait"]

    with monkeypatch.context() as patch:
        # As an earlier version, which did not look yet.
        find = "rebyte_flows.values.contradictions._Finder.find"
        patch.setattr(find, lambda *schema: None)
        before = {verb: all_ids(run(verb)) for verb in lines}
    paid = [seen["path"] for seen in server.requests if seen["method"] == "POST"]
    assert len(paid) == len(lines) + 2, "a question and a repair as well"
    for verb in lines:
        assert all_ids(run(verb)) == before[verb], verb
        for flag in ("--again", "--dry-run") if verb != "reply" else ():
            refused = run(verb, flag)
            assert refused.code == 2 and refused.error["code"] == "schema_refused"
    # The same words to another question were not paid for.
    assert rebyte("result", asked["id"], "--wait")["question"]
    line = ["reply", asked["id"], "--option", "1", "--schema", IMPOSSIBLE]
    assert rebyte(*line).error["code"] == "schema_refused"
    now = [seen["path"] for seen in server.requests if seen["method"] == "POST"]
    assert now == paid
