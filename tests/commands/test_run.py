"""run: one line, one task, one document."""
from __future__ import annotations

import json
import os
from pathlib import Path

from .conftest import SUM, creates


def test_a_file_goes_in_and_an_answer_and_a_file_come_out(rebyte, world):
    ran = rebyte("run", SUM, "--file", "numbers.csv", "--out", "result", "--want", "total.csv")
    document = ran.document
    assert (ran.code, document["status"], document["answer"]) == (0, "completed", "the total is 6")
    assert (world / "result/files/total.csv").read_text() == "6"
    assert document["files"][0]["path"] == str(world / "result/files/total.csv")
    assert "missing" not in document and document["rehearsal"] is True and document["service"] == "local"
    assert (world / "result/answer.md").read_text() == "the total is 6\n"
    assert json.loads((world / "result/manifest.json").read_text())["files"][0]["sha256"] == document["files"][0]["sha256"]
    assert json.loads(Path(document["transcriptPath"]).read_text().splitlines()[0])["eventType"] == "init"


def test_flags_stand_before_or_after_the_verb(rebyte):
    assert rebyte("--field", "status", "run", "hello").out == "completed\n"
    assert rebyte("run", "hello", "--field", "status").out == "completed\n"


def test_the_same_line_again_gives_the_first_answer_and_sends_nothing(rebyte, server):
    first, second = rebyte("run", "hello").document, rebyte("run", "hello").document
    assert second["id"] == first["id"] and second["reused"] is True and second["answer"] == first["answer"]
    assert any(step["run"].endswith("--again") for step in second["next"])
    assert len(creates(server)) == 1


def test_again_means_a_second_task(rebyte, server):
    first, second = rebyte("run", "hello").document, rebyte("run", "hello", "--again").document
    assert first["id"] != second["id"] and "reused" not in second and len(creates(server)) == 2


def test_another_file_content_is_another_line(rebyte, world, server):
    rebyte("run", "hello", "--file", "numbers.csv")
    (world / "numbers.csv").write_text("4\n")
    assert "reused" not in rebyte("run", "hello", "--file", "numbers.csv").document
    assert len(creates(server)) == 2


def test_a_failing_task_ends_with_three_and_says_why(rebyte):
    ran = rebyte("run", "```bash run\necho broken >&2; exit 4\n```")
    assert (ran.code, ran.document["status"]) == (3, "failed")
    assert "broken" in json.dumps(ran.document["failure"])


def test_a_canceled_task_ends_with_six(rebyte, server):
    made = rebyte("create", "```bash run\nsleep 30\n```").document
    rebyte("cancel", made["id"])
    assert rebyte("result", made["id"], "--wait").code == 6


def test_the_slice_ends_with_75_and_the_line_that_goes_on(rebyte, shell, world):
    prompt = "```bash run\nwhile [ ! -e %s ]; do sleep 0.1; done; echo done\n```" % (world / "go")
    ran = rebyte("run", prompt, "--max-wait", "1")
    assert (ran.code, ran.document["status"]) == (75, "running")
    (world / "go").touch()
    again = rebyte("run", prompt)
    assert (again.code, again.document["id"], again.document["reused"]) == (0, ran.document["id"], True)
    assert ran.document["next"][0]["run"].endswith("result %s --wait" % again.document["id"])


def test_a_wanted_file_that_did_not_come_is_named_with_the_line_that_asks_again(rebyte):
    ran = rebyte("run", "hello", "--want", "report.pdf")
    assert ran.code == 9 and ran.document["missing"] == ["report.pdf"]
    assert any(" follow-up " in step["run"] and "--want report.pdf" in step["run"] for step in ran.document["next"])


def test_a_prompt_with_nothing_to_run_is_told_as_such(rebyte):
    assert any("nothing to run" in text for text in rebyte("run", "hello").document["warnings"])


def test_a_question_ends_with_thirteen_and_the_line_that_answers(rebyte):
    ran = rebyte("run", "```ask run\nWhich colour?\n- red\n- blue\n```\n```bash run\necho \"took $ANSWER\"\n```")
    document = ran.document
    assert ran.code == 13 and document["question"]["options"] == [{"n": 1, "label": "red"}, {"n": 2, "label": "blue"}]
    assert " reply %s --option 1 --wait" % document["id"] in document["next"][0]["run"]
    replied = rebyte("reply", document["id"], "--option", "blue", "--wait")
    assert (replied.code, replied.document["answer"]) == (0, "took blue")


def test_a_long_answer_is_cut_and_kept_whole(rebyte):
    ran = rebyte("run", "```bash run\nseq 1 20000\n```")
    assert len(ran.out) <= 8001 and ran.document["answer"].endswith("characters in all]")
    whole = Path(ran.document["answerPath"]).read_text()
    assert whole.startswith("1\n2\n3\n") and len(whole) >= ran.document["answerBytes"]


def test_dry_run_shows_the_body_and_sends_nothing(rebyte, server):
    document = rebyte("run", "hello", "--dry-run", "--file", "numbers.csv", "--want", "a.md", "--no-questions", "--executor", "codex").document
    assert document["body"]["executor"] == "codex" and "model" not in document["body"]
    assert "/code/numbers.csv" in document["body"]["prompt"] and "a.zip" in document["body"]["prompt"]
    assert server.requests == []


def test_bare_adds_nothing_to_the_prompt(rebyte):
    body = rebyte("run", "hello", "--bare", "--dry-run", "--file", "numbers.csv", "--want", "a.csv", "--no-questions").document["body"]
    assert body["prompt"] == "hello"


def test_cancel_after_ends_a_task_that_still_runs(rebyte):
    ran = rebyte("run", "```bash run\nsleep 60\n```", "--cancel-after", "1")
    assert (ran.code, ran.document["status"]) == (6, "canceled")


def test_a_stdin_prompt_is_read_only_when_asked_for(rebyte, server):
    assert rebyte("run", "--prompt-file", "-", stdin="```bash run\necho from stdin\n```").document["answer"] == "from stdin"
    ran = rebyte("run", stdin="never read")
    assert (ran.code, ran.error["code"]) == (2, "usage") and len(creates(server)) == 1


def test_text_for_people_still_carries_id_address_and_next_line(rebyte):
    ran = rebyte("run", "hello", "--text", "--want", "x.csv")
    assert "id:   " in ran.out and "live: http://127.0.0.1" in ran.out and "next: " in ran.out


def test_the_live_address_is_a_page_at_once(rebyte):
    from urllib.request import urlopen
    with urlopen(rebyte("create", "hello").document["url"]) as page:
        assert page.status == 200 and b"hello" in page.read()


def test_nothing_is_written_beside_the_scripts(shell):
    from .conftest import DOOR
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    assert shell("run", "hello", env=env).code == 0
    found = [name for _, folders, _ in os.walk(os.path.dirname(DOOR)) for name in folders if name == "__pycache__"]
    assert found == []
