"""SKILL.md keeps to the specification, and to the limits that keep it worth loading.

Tokens are estimated as characters divided by four, rounded up: no tokenizer is in the standard library.
"""
from __future__ import annotations

import re

from project_tree import read, without_fences

SPECIFIED_KEYS = {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}
DESCRIPTION_CHARACTERS = (350, 450)
COMPATIBILITY_CHARACTERS_MOST = 500
LINES = (120, 180)
TOKENS_MOST = 2000
CHARACTERS_PER_TOKEN = 4

TEXT = read("SKILL.md")


def frontmatter():
    """Return the keys of the frontmatter with their raw values; nested ones as `metadata.version`."""
    found, parent = {}, None
    for line in TEXT.split("---\n")[1].splitlines():
        match = re.match(r"( *)([\w-]+):(?: +(.*))?$", line)
        assert match, "not a plain `key: value` on one line: " + line
        key = match.group(2) if not match.group(1) else parent + "." + match.group(2)
        parent = match.group(2) if not match.group(1) else parent
        found[key] = match.group(3) or ""
    return found


def test_it_begins_with_frontmatter_and_has_only_the_specified_keys():
    assert TEXT.startswith("---\nname: ")
    assert {key.split(".")[0] for key in frontmatter()} - SPECIFIED_KEYS == set()


def test_its_name_is_the_folder_name():
    assert frontmatter()["name"] == "skill-as-a-service"


def test_its_description_is_one_plain_line_of_the_right_length():
    description = frontmatter()["description"]
    assert DESCRIPTION_CHARACTERS[0] <= len(description) <= DESCRIPTION_CHARACTERS[1], len(description)
    # A colon with a blank after it, or a leading quote or bracket, means something to YAML.
    assert not re.search(r"[<>]|: |^[\"'\[{|>&*!%@`]| #", description)


def test_its_compatibility_fits():
    assert 0 < len(frontmatter()["compatibility"]) <= COMPATIBILITY_CHARACTERS_MOST


def test_its_metadata_are_quoted_strings():
    values = {key: value for key, value in frontmatter().items() if key.startswith("metadata.")}
    assert "metadata.version" in values
    assert [value for value in values.values() if not re.match(r'"[^"]*"$', value)] == []


def test_it_is_ascii():
    assert [character for character in TEXT if ord(character) > 126 or (ord(character) < 32 and character != "\n")] == []


def test_it_is_neither_a_stub_nor_a_manual():
    assert LINES[0] <= TEXT.count("\n") <= LINES[1]


def test_it_costs_few_tokens():
    assert -(-len(TEXT) // CHARACTERS_PER_TOKEN) <= TOKENS_MOST


def test_nothing_in_it_is_rewritten_or_run_when_it_is_loaded():
    # Harnesses replace these before the model sees the text, and run a command that follows an exclamation mark.
    assert re.findall(r"\$\d|\$ARGUMENTS|\$\{CLAUDE|!`", TEXT) == []


def test_the_skill_folder_is_set_before_it_is_used():
    assert TEXT.index('SKILL_DIR="<absolute path of the directory containing this SKILL.md>"') < TEXT.index("$SKILL_DIR")


def test_every_reference_is_named_with_its_occasion():
    pointers = re.findall(r"\]\((references/[\w-]+\.md)\)", without_fences(TEXT))
    assert len(pointers) == len(set(pointers)) >= 6
