"""artifacts list, get, put, delete."""
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


@pytest.fixture
def task(rebyte):
    script = "mkdir -p /code/artifacts; echo 1 > /code/artifacts/a.csv; echo 22 > /code/artifacts/b.csv"
    return rebyte("run", "```bash run\n%s\n```" % script).document


def test_list_shows_no_signed_address_unless_asked(rebyte, task):
    assert [item["name"] for item in rebyte("artifacts", "list", task["id"]).document["data"]] == ["a.csv", "b.csv"]
    assert "downloadUrl" not in rebyte("artifacts", "list", task["id"]).out
    assert "downloadUrl" in rebyte("artifacts", "list", task["workspaceId"], "--urls").out


def test_get_without_names_means_all(rebyte, task, world):
    ran = rebyte("artifacts", "get", task["id"], "--out", "r")
    assert ran.code == 0 and sorted(os.listdir("r")) == ["a.csv", "b.csv"] and Path("r/b.csv").read_text() == "22\n"


def test_get_of_one_name_and_of_none_such(rebyte, task, world):
    assert rebyte("artifacts", "get", task["id"], "a.csv").code == 0 and sorted(os.listdir()) == ["a.csv", "numbers.csv"]
    ran = rebyte("artifacts", "get", task["id"], "none.csv")
    assert ran.code in (5, 9) and ran.document["missing"] == ["none.csv"]


def test_get_never_overwrites_other_bytes_without_force(rebyte, task, world):
    Path("a.csv").write_text("mine, and longer")
    ran = rebyte("artifacts", "get", task["id"])
    assert ran.code == 9 and Path("a.csv").read_text() == "mine, and longer" and Path("b.csv").exists()
    assert rebyte("artifacts", "get", task["id"], "--force").code == 0 and Path("a.csv").read_text() == "1\n"


def test_hostile_names_are_refused_with_reasons_and_the_others_still_come(rebyte, task, server, world, tmp_path):
    server.faults.enable("hostile-names")
    before = {str(path) for path in tmp_path.rglob("*") if "server" not in str(path)}
    ran = rebyte("artifacts", "get", task["id"], "--out", "r")
    listed = rebyte("artifacts", "list", task["id"]).document["data"]
    assert ran.code == 9 and sorted(os.listdir("r")) == ["a.csv", "b.csv"]
    assert len(ran.document["refused"]) == len(listed) - 2 and all(item["reason"] for item in ran.document["refused"])
    new = {str(path) for path in tmp_path.rglob("*") if "server" not in str(path)} - before
    assert all(path.startswith((str(world / "r"), str(tmp_path / "state"))) for path in new)


def test_a_link_in_the_way_is_not_followed(rebyte, task, world, tmp_path):
    (tmp_path / "elsewhere").write_text("keep me")
    os.symlink(str(tmp_path / "elsewhere"), "a.csv")
    assert rebyte("artifacts", "get", task["id"], "--force").code == 9
    assert (tmp_path / "elsewhere").read_text() == "keep me"


def test_put_small_and_large_and_back(rebyte, task, world):
    Path("small.csv").write_text("x")
    with open("large.zip", "wb") as file:
        file.truncate(10 * 1024 * 1024 + 1)
    ran = rebyte("artifacts", "put", task["id"], "small.csv", "large.zip")
    assert {item["name"]: item["size"] for item in ran.document["uploaded"]} == {"small.csv": 1, "large.zip": 10 * 1024 * 1024 + 1}
    assert rebyte("artifacts", "get", task["id"], "large.zip", "--out", "r").document["files"][0]["bytes"] == 10 * 1024 * 1024 + 1


def test_put_names_a_refused_type_and_guards_an_existing_name(rebyte, task, world, server):
    Path("notes.md").write_text("x")
    Path("a.csv").write_text("x")
    assert rebyte("artifacts", "put", task["id"], "notes.md").error["code"] == "type_refused"
    assert rebyte("artifacts", "put", task["id"], "a.csv").code == 7
    assert rebyte("artifacts", "put", task["id"], "a.csv", "--force").code == 0


def test_delete_needs_a_name_and_all_needs_yes(rebyte, task):
    assert rebyte("artifacts", "delete", task["id"]).code == 2
    assert rebyte("artifacts", "delete", task["id"], "--all").code == 7
    assert rebyte("artifacts", "delete", task["id"], "a.csv").code == 0
    assert [item["name"] for item in rebyte("artifacts", "list", task["id"]).document["data"]] == ["b.csv"]
    assert rebyte("artifacts", "delete", task["id"], "--all", "--yes").code == 0
    assert json.loads(rebyte("artifacts", "list", task["id"]).out)["data"] == []


def test_a_task_made_elsewhere_gets_a_message_that_says_what_to_pass(rebyte, task, monkeypatch, tmp_path):
    monkeypatch.setenv("REBYTE_STATE_DIR", str(tmp_path / "other"))
    assert "workspaceId" in rebyte("artifacts", "list", task["url"]).error["hint"]
    assert "workspaceId" in rebyte("artifacts", "list", task["id"]).error["hint"]


def test_put_packs_folders_and_refused_types_with_zip(rebyte, task, world):
    Path("notes.md").write_text("x")
    Path("site").mkdir()
    Path("site/a.js").write_text("x")
    assert "--zip" in rebyte("artifacts", "put", task["id"], "notes.md").error["hint"]
    ran = rebyte("artifacts", "put", task["id"], "notes.md", "site", "numbers.csv", "--zip")
    assert sorted(item["name"] for item in ran.document["uploaded"]) == ["notes.zip", "numbers.csv", "site.zip"]


def test_put_sends_the_type_of_the_extension_both_ways(rebyte, task, world):
    Path("a.pdf").write_text("x")
    with open("b.pdf", "wb") as file:
        file.truncate(10 * 1024 * 1024 + 1)
    rebyte("artifacts", "put", task["id"], "a.pdf", "b.pdf")
    listed = {item["name"]: item["contentType"] for item in rebyte("artifacts", "list", task["id"]).document["data"]}
    assert listed["a.pdf"] == listed["b.pdf"] == "application/pdf"


def test_get_takes_the_address_of_the_listing_and_else_the_api(rebyte, task, server, world):
    del server.requests[:]
    rebyte("artifacts", "get", task["id"], "--out", "r")
    assert [seen["path"].startswith("/storage/") for seen in server.requests] == [False, True, True]
