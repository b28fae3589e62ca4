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
    comments = re.findall(r"^ *# (\w+)", read("scripts", "rebyte_client.py") + read("scripts", "rebyte_services.py"), re.M)
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
    assert len(endpoints_in_reference()) == 24


def test_each_method_named_in_the_reference_exists_in_the_client():
    client = importlib.import_module("rebyte_client").RebyteClient
    named = set(re.findall(r"[Cc]lient: `(\w+)\(", read("references", "api.md")))
    named |= set(re.findall(r"^\| `(?:GET|POST)[^|]*\| `(\w+)\(", read("references", "api.md"), re.M))
    assert len(named) >= 15
    assert [name for name in sorted(named) if not callable(getattr(client, name, None))] == []


def endpoint_methods():
    """Return {name: docstring} of the client's methods that stand for one call of the API."""
    client = importlib.import_module("rebyte_client").RebyteClient
    own = {"close", "request", "wait_for_task", "open_address", "upload_source"}
    return {name: getattr(client, name).__doc__ for name in dir(client)
            if callable(getattr(client, name)) and not name.startswith("_") and name not in own}


def test_each_endpoint_method_of_the_client_is_in_the_reference():
    assert len(endpoint_methods()) >= 32
    assert [name for name in sorted(endpoint_methods()) if name + "(" not in read("references", "api.md")] == []


def test_each_method_of_the_client_has_its_command():
    above = [path for room in ("rebyte_commands", "rebyte_flows") for path in files_under(os.path.join(SCRIPTS, room)) if path.endswith(".py")]
    used = set(re.findall(r"\.(\w+)\b", "\n".join(map(read, above))))
    # The command takes these two as the steps of upload_source.
    assert sorted(set(endpoint_methods()) - used - {"create_upload", "upload_file"}) == []


def test_each_method_of_the_client_has_its_route():
    find_route = importlib.import_module("rebyte_local.routes").find_route
    without = []
    for name, words in sorted(endpoint_methods().items()):
        named = re.search(r"(GET|POST|PUT|PATCH|DELETE) (/[\w/:-]+)", words)
        if named:
            path = named.group(2) if named.group(2) == "/health" else "/v1" + named.group(2)
            find_route(named.group(1), re.sub(r":\w+", "00000000-0000-4000-8000-000000000000", path))
        else:
            without.append(name)
    assert without == ["put_bytes"]


def test_each_action_of_a_nouns_command_is_in_its_help_and_in_the_reference():
    for noun in ("artifacts", "computers", "webhooks"):
        module = importlib.import_module("rebyte_commands." + noun)
        text = read("references", "cli.md").split("### " + noun)[1].split("\n#")[0]
        assert [action for action in module.ACTIONS if not re.search(r"`%s[ `]" % action, text)] == []


def test_the_reference_shows_one_way_with_curl():
    blocks = [fence for fence in fences(os.path.join(ROOT, "references", "api.md")) if fence.language == "sh"]
    assert len(blocks) == 1 and "API_KEY" in blocks[0].text
