"""The same nouns everywhere, and documents that tell the truth about the code."""

from __future__ import annotations

import argparse
import os
import re
import shlex

import pytest

from measure import (
    EXPLAINED,
    NOUNS,
    ROOT,
    SCRIPTS,
    SKILL_LINES_MOST,
    SKILL_TOKENS_MOST,
    documents,
    fences,
    files_under,
    modules,
    read,
    short,
    without_fences,
)
from rebyte_client import RebyteClient
from rebyte_commands.main import _help_text
from rebyte_commands.shell.arguments import parse
from rebyte_commands.shell.environment import VARIABLES
from rebyte_commands.verb_table import VERBS, commands_of
from rebyte_commands.verbs import artifacts, computers, webhooks
from rebyte_local.api.routes import find_route
from rebyte_local.faults import FAULTS
from rebyte_wire import errors

API, CLI = read("references", "api.md"), read("references", "cli.md")
PROSE_WIDTH = 120
each_document = pytest.mark.parametrize("path", documents(), ids=short)
each_noun = pytest.mark.parametrize("noun", NOUNS)


def in_order(words):
    """Return the nouns among some words, each once, in their order."""
    return list(dict.fromkeys(word.lower() for word in words if word.lower() in NOUNS))


def test_client_and_reference_have_a_section_for_each_noun():
    comments = re.findall(
        r"^ *# (\w+)",
        read("scripts", "rebyte_client.py"),
        re.M,
    )
    headings = re.findall(r"^## (\w+)$", API, re.M)
    assert (
        in_order(comments) == in_order(headings) == list(NOUNS)
        and "Undocumented" in headings
    )


@pytest.mark.parametrize("room", ["rebyte_commands/verbs", "rebyte_local/api"])
@each_noun
def test_a_module_is_named_after_each_noun(room, noun):
    assert os.path.exists(os.path.join(SCRIPTS, room, noun + ".py"))


@pytest.mark.parametrize("room", ["client", "commands", "local"])
@each_noun
def test_each_room_tests_each_noun_by_its_name(room, noun):
    paths = [
        path
        for path in files_under(os.path.join(ROOT, "tests", room))
        if os.path.basename(path).startswith("test_")
    ]
    named = [path for path in paths if noun in os.path.basename(path)]
    assert named or [
        name
        for path in paths
        for name in re.findall(r"^def (test_\w+)", read(path), re.M)
        if noun[:-1] in name
    ]


def test_the_reference_has_every_documented_endpoint_and_shows_one_way_with_curl():
    assert len(re.findall(r"^### (GET|POST|PATCH|DELETE) (/\S+)$", API, re.M)) >= 24
    blocks = [
        fence
        for fence in fences(os.path.join(ROOT, "references", "api.md"))
        if fence.language == "sh"
    ]
    assert len(blocks) == 1 and "API_KEY" in blocks[0].text


def endpoint_methods():
    """Return {name: docstring} of the client's methods that stand for one call of the API."""
    own = {
        "close",
        "within",
        "with_deadline",
        "request",
        "wait_for_task",
        "open_address",
        "upload_source",
    }
    return {
        name: getattr(RebyteClient, name).__doc__
        for name in dir(RebyteClient)
        if callable(getattr(RebyteClient, name))
        and not name.startswith("_")
        and name not in own
    }


def test_reference_and_client_have_the_same_methods():
    named = set(re.findall(r"[Cc]lient: `(\w+)\(", API)) | set(
        re.findall(r"^\| `(?:GET|POST)[^|]*\| `(\w+)\(", API, re.M)
    )
    assert (
        len(named) >= 15
        and [
            name
            for name in sorted(named)
            if not callable(getattr(RebyteClient, name, None))
        ]
        == []
    )
    assert (
        len(endpoint_methods()) >= 32
        and [name for name in sorted(endpoint_methods()) if name + "(" not in API] == []
    )


def test_each_method_of_the_client_has_its_command():
    above = [
        module
        for module in modules()
        if module.name.startswith(("rebyte_commands", "rebyte_flows"))
    ]
    used = set(
        re.findall(r"\.(\w+)\b", "\n".join(read(module.path) for module in above))
    )
    # The command takes the first two as the steps of upload_source; starts are sent by request.
    steps = {
        "create_upload",
        "upload_file",
        "create_task",
        "follow_up",
        "create_computer",
    }
    assert sorted(set(endpoint_methods()) - used - steps) == []


def test_each_method_of_the_client_has_its_route():
    without = []
    for name, words in sorted(endpoint_methods().items()):
        named = re.search(r"(GET|POST|PUT|PATCH|DELETE) (/[\w/:-]+)", words)
        if named:
            path = (
                named.group(2)
                if named.group(2) == "/health"
                else "/v1" + named.group(2)
            )
            find_route(
                named.group(1),
                re.sub(r":\w+", "00000000-0000-4000-8000-000000000000", path),
            )
        else:
            without.append(name)
    assert without == ["put_bytes"]


@pytest.mark.parametrize("module", [artifacts, computers, webhooks])
def test_each_action_of_a_nouns_command_is_in_the_reference(module):
    text = CLI.split("### " + module.__name__.rpartition(".")[2])[1].split("\n#")[0]
    actions = [name.split()[1] for name in module.COMMANDS]
    assert [
        action for action in actions if not re.search(r"`%s[ `]" % action, text)
    ] == []


# The documents tell the truth about the code: links, exit codes, variables and verbs.

VARIABLE = re.compile(r"\bREBYTE_[A-Z]+(?:_[A-Z]+)*\b")
# A path that exists on one machine only never belongs in a shipped document.
MACHINE_PATH = re.compile(
    r"(?<![\w.~/])/(?:root|home/(?!user\b)\w+|Users/\w+|work|workspace)/\S*"
)
KNOWN_CODES = {row.number for row in errors.EXIT_CODES}
KNOWN_VARIABLES = set(dict(VARIABLES))


def anchors(path):
    """Return the anchors that GitHub makes of a document's headings."""
    titles = re.findall(r"^#+ +(.*?) *$", without_fences(read(path)), re.M)
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles
    }


@each_document
def test_every_relative_link_leads_somewhere(path):
    broken = []
    for target in re.findall(
        r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", without_fences(read(path)))
    ):
        name, _, anchor = target.partition("#")
        place = os.path.join(os.path.dirname(path), name) if name else path
        if not re.match(r"[a-z]+:", target) and (
            not os.path.exists(place) or anchor and anchor not in anchors(place)
        ):
            broken.append(target)
    assert broken == []


@each_document
def test_paths_exit_codes_and_variables_in_a_document_are_not_of_one_machine_and_exist(
    path,
):
    assert MACHINE_PATH.findall(read(path)) == []
    assert {
        int(number)
        for number in re.findall(
            r"\b[Ee]xit(?:s|ed)?(?: code| with)? (\d+)", read(path)
        )
    } - KNOWN_CODES == set()
    assert set(VARIABLE.findall(read(path))) - KNOWN_VARIABLES == set()


def rows_under(heading, path):
    """Return the rows of the table whose first cell begins so."""
    table = re.search(
        r"^\| *%s\b.*\n\|[-| :]+\n((?:\|.*\n)+)" % heading, read(path), re.M
    )
    assert table, "%s has no table of %s" % (path, heading)
    return table.group(1).splitlines()


@pytest.mark.parametrize("path", ["SKILL.md", "references/errors.md"])
def test_a_table_of_exit_codes_lists_what_the_code_has(path):
    cells = [row.split("|")[1] for row in rows_under("Exit", path)]
    assert {
        int(number) for cell in cells for number in re.findall(r"\d+", cell)
    } == KNOWN_CODES


def test_every_error_code_that_the_clients_side_gives_is_in_the_reference():
    found = {
        kind.default_code
        for kind in vars(errors).values()
        if hasattr(kind, "default_code")
    }
    for module in modules():
        if not module.name.startswith("rebyte_local"):
            found |= set(re.findall(r'\bcode="([a-z_]+)"', read(module.path)))
    assert [
        code
        for code in sorted(found)
        if "`%s`" % code not in read("references", "errors.md")
    ] == []


def test_the_variables_of_the_code_are_those_of_its_table_and_each_is_in_the_reference():
    assert {
        name for module in modules() for name in VARIABLE.findall(read(module.path))
    } - KNOWN_VARIABLES == set()
    assert [name for name in sorted(KNOWN_VARIABLES) if "`%s`" % name not in CLI] == []


def test_every_verb_is_in_the_command_line_reference():
    headings = re.findall(r"^### +(.*)$", CLI, re.M)
    assert (
        set(VERBS)
        - {
            word
            for heading in headings
            for word in re.findall(r"[a-z][a-z-]*", heading.split("(")[0])
        }
        == set()
    )


def flags_of(verb):
    """Return the spellings of each flag of a verb and its actions."""
    parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    for command in commands_of(verb).values():
        if command.add_flags:
            command.add_flags(parser)
    return [
        action.option_strings for action in parser._actions if action.option_strings
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_of_a_verb_is_in_the_reference(verb):
    said = CLI + read("references", "local.md")
    lacking = [
        spellings[0]
        for spellings in flags_of(verb)
        if not any(
            re.search(re.escape(word) + r"(?![\w-])", said) for word in spellings
        )
    ]
    assert lacking == []


def test_every_flag_in_the_reference_is_one_of_a_verb():
    known = {word for verb in VERBS for flag in flags_of(verb) for word in flag}
    everywhere = {flag.split()[0] for flag in re.findall(r"--[\w-]+", _help_text())}
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", CLI))
    assert sorted(named - known - everywhere) == []


@each_document
def test_no_line_of_prose_is_longer_than_a_screen_is_wide(path):
    lines = re.sub(
        r"\A---\n.*?\n---\n", "", without_fences(read(path)), flags=re.S
    ).splitlines()
    assert [
        line
        for line in lines
        if len(line) > PROSE_WIDTH and not line.startswith(("|", "#"))
    ] == []


def test_the_faults_in_the_reference_are_those_of_the_local_server():
    rows = "\n".join(rows_under("Name", "references/local.md"))
    assert set(re.findall(r"^\| `([\w-]+)`", rows, re.M)) == set(FAULTS)


@each_document
def test_a_command_in_a_sentence_has_a_verb_and_flags_that_exist(path):
    for line in re.findall(r"`rebyte ([^`\n]+)`", without_fences(read(path))):
        words = [word for word in shlex.split(line) if word != "..."]
        # A verb alone is spoken of, not typed.
        if len(words) > 1 and "--help" not in words:
            parse(words, "rebyte")


def test_there_is_one_skill_file():
    found = []
    for place, folders, names in os.walk(ROOT):
        folders[:] = [
            name for name in folders if name != ".git" and not name.startswith(".venv")
        ]
        found += [
            os.path.join(place, name) for name in names if name.lower() == "skill.md"
        ]
    assert found == [os.path.join(ROOT, "SKILL.md")]


def test_each_finding_of_a_linter_that_is_let_pass_is_explained():
    rows = [
        line
        for line in read("CONTRIBUTING.md").splitlines()
        if line.startswith("| skill-scanner")
    ]
    assert [
        pair
        for pair in EXPLAINED
        if not any(pair[0] in row and pair[1] in row for row in rows)
    ] == []


# SKILL.md keeps to the specification, and to the limits that keep it worth loading.

SPECIFIED_KEYS = {
    "name",
    "description",
    "license",
    "compatibility",
    "metadata",
    "allowed-tools",
}
DESCRIPTION_CHARACTERS = (350, 450)
COMPATIBILITY_CHARACTERS_MOST = 500
LINES_LEAST = 120
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


def test_it_begins_with_frontmatter_of_the_specified_keys_and_its_name_is_the_folder_name():
    assert (
        TEXT.startswith("---\nname: ") and frontmatter()["name"] == "skill-as-a-service"
    )
    assert {key.split(".")[0] for key in frontmatter()} - SPECIFIED_KEYS == set()


def test_its_description_is_one_plain_line_of_the_right_length():
    description = frontmatter()["description"]
    assert DESCRIPTION_CHARACTERS[0] <= len(description) <= DESCRIPTION_CHARACTERS[1], (
        len(description)
    )
    # A colon with a blank after it, or a leading quote or bracket, means something to YAML.
    assert not re.search(r"[<>]|: |^[\"'\[{|>&*!%@`]| #", description)


def test_its_compatibility_fits_and_its_metadata_are_quoted_strings():
    assert 0 < len(frontmatter()["compatibility"]) <= COMPATIBILITY_CHARACTERS_MOST
    values = {
        key: value
        for key, value in frontmatter().items()
        if key.startswith("metadata.")
    }
    assert (
        "metadata.version" in values
        and [value for value in values.values() if not re.match(r'"[^"]*"$', value)]
        == []
    )


def test_it_is_ascii_and_neither_a_stub_nor_a_manual():
    assert [
        character
        for character in TEXT
        if ord(character) > 126 or (ord(character) < 32 and character != "\n")
    ] == []
    assert (
        LINES_LEAST <= TEXT.count("\n") <= SKILL_LINES_MOST
        and -(-len(TEXT) // 4) <= SKILL_TOKENS_MOST
    )


def test_nothing_in_it_is_rewritten_or_run_when_it_is_loaded():
    # Harnesses replace these before the model sees the text, and run a command that follows an
    # exclamation mark.
    # The one that is meant to be replaced by the path is explained for the others.
    text = TEXT.replace("${CLAUDE_SKILL_DIR}", "")
    assert re.findall(r"\$\d|\$ARGUMENTS|\$\{CLAUDE|!`", text) == []


def test_it_says_how_to_find_the_folder_where_no_harness_puts_it_in():
    place = TEXT.index("`${CLAUDE_SKILL_DIR}` is the directory of this SKILL.md")
    assert "write its absolute path out" in TEXT[place:]


def test_the_first_line_is_one_plain_command_that_a_rule_can_allow():
    block = re.search(r"```sh\n(.*?)```", TEXT, re.S).group(1)
    assert block.count("\n") == 1
    assert block.startswith("python3 ${CLAUDE_SKILL_DIR}/scripts/rebyte_cli.py ")
    assert not set(block.replace("${CLAUDE_SKILL_DIR}", "")) & set("$`;|&<>{}'\\")


def test_every_reference_is_named_with_its_occasion():
    pointers = re.findall(r"\]\((references/[\w-]+\.md)\)", without_fences(TEXT))
    assert len(pointers) == len(set(pointers)) >= 6
