"""upload: files for a later task."""
from __future__ import annotations

import pytest

from .conftest import SUM


def test_an_uploaded_file_is_attached_by_its_flag(rebyte, world):
    document = rebyte("upload", "numbers.csv").document
    ran = rebyte("run", SUM, document["flags"][0])
    assert ran.document["answer"] == "the total is 6"


def test_several_files_go_up_at_once(rebyte, world):
    (world / "b.csv").write_text("x")
    assert [item["filename"] for item in rebyte("upload", "numbers.csv", "b.csv").document["files"]] == ["numbers.csv", "b.csv"]


def test_a_file_over_the_limit_is_refused_before_a_slot_is_asked_for(rebyte, world, server):
    with open("large.csv", "wb") as file:
        file.truncate(52_428_801)
    for words in (("upload", "large.csv"), ("run", "x", "--file", "large.csv")):
        ran = rebyte(*words)
        assert ran.code == 2 and "52428800" in ran.error["message"] and "artifacts put" in ran.error["hint"]
    assert server.requests == []


@pytest.mark.parametrize("path", ["missing.csv", ".", ""])
def test_what_is_no_file_is_refused_with_its_reason(rebyte, server, path):
    ran = rebyte("run", "x", "--file", path)
    assert ran.code == 2 and ran.error["hint"] and server.requests == []


def test_two_files_of_one_name_are_refused(rebyte, world):
    (world / "d").mkdir()
    (world / "d" / "numbers.csv").write_text("other")
    assert "numbers.csv" in rebyte("run", "x", "--file", "numbers.csv", "--file", "d/numbers.csv").error["message"]


def test_the_signed_put_carries_no_key(rebyte, server):
    rebyte("upload", "numbers.csv")
    puts = [seen for seen in server.requests if seen["method"] == "PUT"]
    assert len(puts) == 1 and not {"api_key", "x-api-key", "authorization", "api-key"} & set(puts[0]["headers"])
