"""The same nouns in the same order everywhere: in the client, the commands, the local routes, api.md and the tests."""
from __future__ import annotations

import importlib
import os
import re

import pytest
from project_tree import NOUNS, ROOT, SCRIPTS, fences, files_under, read

EXPECTED = list(NOUNS)


def in_order(words):
    """Return the nouns among some words, each once, in their order."""
    seen = []
    for word in words:
        if word.lower() in NOUNS and word.lower() not in seen:
            seen.append(word.lower())
    return seen


def test_the_client_has_a_section_for_each_noun():
    comments = re.findall(r"^ *# (\w+)", read("scripts", "rebyte_client.py"), re.M)
    assert in_order(comments) == EXPECTED


def test_the_reference_has_a_heading_for_each_noun():
    headings = re.findall(r"^## (\w+)$", read("references", "api.md"), re.M)
    assert in_order(headings) == EXPECTED
    assert "Undocumented" in headings


@pytest.mark.parametrize("room", ["rebyte_commands", "rebyte_local"])
@pytest.mark.parametrize("noun", NOUNS)
def test_a_module_is_named_after_each_noun(room, noun):
    assert os.path.exists(os.path.join(SCRIPTS, room, noun + ".py"))


@pytest.mark.parametrize("room", ["client", "commands", "local"])
@pytest.mark.parametrize("noun", NOUNS)
def test_each_room_tests_each_noun_by_its_name(room, noun):
    paths = [path for path in files_under(os.path.join(ROOT, "tests", room)) if os.path.basename(path).startswith("test_")]
    named = [path for path in paths if noun in os.path.basename(path)]
    told = [name for path in paths for name in re.findall(r"^def (test_\w+)", read(path), re.M) if noun[:-1] in name]
    assert named or told


def endpoints_in_reference():
    """Return the endpoints that api.md gives a heading of their own, as (method, path)."""
    return re.findall(r"^### (GET|POST|PATCH|DELETE) (/\S+)$", read("references", "api.md"), re.M)


def test_the_reference_has_every_documented_endpoint():
    assert len(endpoints_in_reference()) == 15


def test_each_method_named_in_the_reference_exists_in_the_client():
    client = importlib.import_module("rebyte_client").RebyteClient
    named = set(re.findall(r"[Cc]lient: `(\w+)\(", read("references", "api.md")))
    named |= set(re.findall(r"^\| `(?:GET|POST)[^|]*\| `(\w+)\(", read("references", "api.md"), re.M))
    assert len(named) >= 15
    assert [name for name in sorted(named) if not callable(getattr(client, name, None))] == []


def test_each_endpoint_method_of_the_client_is_in_the_reference():
    client = importlib.import_module("rebyte_client").RebyteClient
    own = {"close", "request", "wait_for_task", "open_address"}
    methods = {name for name, value in vars(client).items() if callable(value) and not name.startswith("_")} - own
    assert [name for name in sorted(methods) if name + "(" not in read("references", "api.md")] == []


def test_the_reference_shows_one_way_with_curl():
    blocks = [fence for fence in fences(os.path.join(ROOT, "references", "api.md")) if fence.language == "sh"]
    assert len(blocks) == 1 and "API_KEY" in blocks[0].text
