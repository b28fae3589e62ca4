"""The pure parts: fences, lines, names, signatures, times."""
from __future__ import annotations

import pytest

from rebyte_local.executors import find_steps, place_code, read_question
from rebyte_local.processes import LINE_LIMIT_BYTES, LineCutter
from rebyte_local.records import Records, derive_end
from rebyte_local.shelves import TYPES, artifact_type
from rebyte_local.store import Store, long_form, short_form
from rebyte_local.workspaces import fit_name

ALLOWED = (".pdf, .doc, .docx, .xls, .xlsx, .ppt, .pptx, .csv, .tsv, .rtf, .epub, .html, .htm, .zip, .gz, .tar, .tgz, "
           ".png, .jpg, .jpeg, .gif, .webp, .svg, .tiff, .tif, .bmp, .avif, .mp4, .webm, .mov, .avi, .mkv, .mp3, .wav, "
           ".ogg, .aac, .flac, .m4a")  # as the Tasks API page lists them


def test_only_fences_that_ask_for_it_are_steps():
    prompt = ("```python\nno\n```\n``` bash run\nyes 1\n```\n````markdown\n```python run\nquoted\n```\n````\n"
              "~~~sh run\r\nyes 2\r\n~~~\r\n```Python run\nno\n```\n"
              "```python run now\nno\n```\n    ```sh run\nno\n    ```\n"
              "`````ask run\nwhich?\n- a\n```\n- b\n`````\n```sh run\nnever closed\n")
    assert find_steps(prompt) == [("bash", "yes 1\n"), ("sh", "yes 2\n"), ("ask", "which?\n- a\n```\n- b\n")]


def test_code_means_the_workspace_only_where_it_is_the_folder():
    text = "cd /code && cat '/code/a' /code; /codec /home/code/x ~/code/y a/code/z $X/code/w /code-x \"/code\""
    assert place_code(text, "W") == "cd W && cat 'W/a' W; /codec /home/code/x ~/code/y a/code/z $X/code/w /code-x \"W\""


def test_a_question_has_lines_and_options():
    assert read_question("Which one?\nReally?\n- A\n-  b c \n") == ("Which one?\nReally?", ["A", "b c"])
    assert read_question("\n") == ("What now?", [])


def test_lines_are_cut_at_newlines_only_and_long_ones_are_kept_short():
    cutter = LineCutter()
    assert cutter.feed(b"a\xc3") == [] and cutter.feed(b"\xa9\x0b\xe2\x80\xa8\xff\nb") == ["a\u00e9\x0b\u2028\ufffd"]
    for _ in range(100):
        assert cutter.feed(b"x" * 65536) == []
    line = cutter.feed(b"\n")[0]
    assert line.startswith("b" + "x" * (LINE_LIMIT_BYTES - 1) + " [") and "more bytes" in line
    assert cutter.finish() == [] and cutter.feed(b"end") == [] and cutter.finish() == ["end"]


def test_the_store_takes_the_documented_kinds_of_files_and_no_others():
    assert {"." + kind for kind in TYPES} == set(ALLOWED.split(", "))
    assert artifact_type("A.B.CSV") == "text/csv"
    for name in ("csv", "a.md", "a.txt", "a.json", "a.py", "a.patch", "a.csv.", ".", ""):
        assert artifact_type(name) is None


def test_times_have_the_two_spellings_of_the_documents():
    assert short_form(1769601600000000) == "2026-01-28T12:00:00.000Z"
    assert long_form(1769601600000001) == "2026-01-28T12:00:00.000001+00:00"
    assert long_form(None) is None


@pytest.mark.parametrize("pairs,wanted", [
    ([("succeeded", 1)], ("completed", 1)), ([("failed", 1), ("succeeded", 2)], ("completed", 2)),
    ([("succeeded", 1), ("failed", 2)], ("failed", 2)), ([("succeeded", 1), ("canceled", 2)], ("canceled", 2)),
    ([("running", None), ("canceled", 2)], ("running", None)),
    ([("succeeded", 1), ("pending", None)], ("running", None))])
def test_a_tasks_status_follows_from_its_prompts(pairs, wanted):
    assert derive_end(pairs) == wanted


def test_a_long_name_is_shortened_in_its_middle():
    assert fit_name("short.csv") == "short.csv"
    name = fit_name("\u00e9" * 251 + ".csv")
    assert name.endswith("\u00e9.csv") and len(name.encode("utf-8")) <= 255
    assert len(fit_name("\u00e9" * 255).encode("utf-8")) <= 255


def test_a_cancel_that_came_first_stays_though_the_work_was_done(tmp_path):
    store = Store(str(tmp_path))
    records = Records(store)
    task, prompt = records.add_task("x", {}, None, None, None, True)
    assert records.start_prompt(prompt["id"]) and not records.start_prompt(prompt["id"])
    assert records.cancel_prompts(task["id"]) == [prompt["id"]] and records.cancel_prompts(task["id"]) == []
    records.finish_prompt(prompt["id"], "succeeded", {"final": "too late"})
    assert records.prompt(prompt["id"])["status"] == "canceled"
    assert records.end(task["id"])[0] == "canceled"
    store.close()
