"""The same nouns everywhere, and documents that tell the truth about the code."""
from __future__ import annotations

import importlib
import os
import re
import shlex

from measure import NOUNS, ROOT, SCRIPTS, documents, fences, files_under, modules, read, short, without_fences
import pytest

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


# The documents tell the truth about the code: links, exit codes, variables and verbs.

VARIABLE = re.compile(r"\bREBYTE_[A-Z]+(?:_[A-Z]+)*\b")
# A path that exists on one machine only never belongs in a shipped document.
MACHINE_PATH = re.compile(r"(?<![\w.~/])/(?:root|home/(?!user\b)\w+|Users/\w+|work|workspace)/\S*")

each_document = pytest.mark.parametrize("path", documents(), ids=short)


def anchors(path):
    """Return the anchors that GitHub makes of a document's headings."""
    titles = re.findall(r"^#+ +(.*?) *$", without_fences(read(path)), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_document
def test_every_relative_link_leads_somewhere(path):
    prose = re.sub(r"`[^`\n]*`", "", without_fences(read(path)))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = os.path.join(os.path.dirname(path), name) if name else path
        if not os.path.exists(place) or (anchor and anchor not in anchors(place)):
            broken.append(target)
    assert broken == []


@each_document
def test_no_document_names_a_path_of_one_machine(path):
    assert MACHINE_PATH.findall(read(path)) == []


def exit_codes():
    """Return the numbers of the one table in the code."""
    return {number for number, _, _ in importlib.import_module("rebyte_wire.errors").EXIT_CODES}


def codes_in_table(path):
    """Return the numbers in the first cells of the table whose first heading is "Exit"."""
    table = re.search(r"^\| *Exit\b.*\n\|[-| :]+\n((?:\|.*\n)+)", read(path), re.M)
    assert table, short(path) + " has no table of exit codes"
    cells = [row.split("|")[1] for row in table.group(1).splitlines()]
    return {int(number) for cell in cells for number in re.findall(r"\d+", cell)}


@pytest.mark.parametrize("path", ["SKILL.md", "references/errors.md"])
def test_a_table_of_exit_codes_lists_what_the_code_has(path):
    assert codes_in_table(path) == exit_codes()


@each_document
def test_exit_codes_in_the_text_exist(path):
    named = {int(number) for number in re.findall(r"\b[Ee]xit(?:s|ed)?(?: code| with)? (\d+)", read(path))}
    assert named - exit_codes() == set()


def codes_in_the_code():
    """Return every error code that the client's side of scripts/ gives by name."""
    found = set()
    for module in modules():
        if not module.name.startswith("rebyte_local"):
            found |= set(re.findall(r'\bcode="([a-z_]+)"', read(module.path)))
    classes = vars(importlib.import_module("rebyte_wire.errors")).values()
    return found | {kind.default_code for kind in classes if hasattr(kind, "default_code")}


def test_every_error_code_is_in_the_reference():
    assert [code for code in sorted(codes_in_the_code()) if "`%s`" % code not in read("references", "errors.md")] == []


def variables():
    """Return the names of the environment variables that the code says it reads."""
    return set(dict(importlib.import_module("rebyte_commands.environment").VARIABLES))


@each_document
def test_variables_in_a_document_exist(path):
    assert set(VARIABLE.findall(read(path))) - variables() == set()


def test_every_variable_is_in_the_command_line_reference():
    assert [name for name in sorted(variables()) if "`%s`" % name not in read("references", "cli.md")] == []


def test_the_code_reads_no_variable_that_its_table_does_not_have():
    named = {name for module in modules() for name in VARIABLE.findall(read(module.path))}
    assert named - variables() == set()


def test_every_verb_is_in_the_command_line_reference():
    verbs = importlib.import_module("rebyte_commands.verbs").VERBS
    headings = re.findall(r"^### +(.*)$", read("references", "cli.md"), re.M)
    described = {word for heading in headings for word in re.findall(r"[a-z][a-z-]*", heading.split("(")[0])}
    assert {name for name in verbs} - described == set()


def test_the_faults_in_the_reference_are_those_of_the_local_server():
    table = re.search(r"^\| Name \|.*\n\|[-| ]+\n((?:\|.*\n)+)", read("references", "local.md"), re.M).group(1)
    assert set(re.findall(r"^\| `([\w-]+)`", table, re.M)) == set(importlib.import_module("rebyte_local.faults").FAULTS)


@each_document
def test_a_command_in_a_sentence_has_a_verb_and_flags_that_exist(path):
    parse = importlib.import_module("rebyte_commands.arguments").parse
    for line in re.findall(r"`rebyte ([^`\n]+)`", without_fences(read(path))):
        words = [word for word in shlex.split(line) if word != "..."]
        # A verb alone is spoken of, not typed.
        if len(words) > 1 and "--help" not in words:
            parse(words, "rebyte")


def test_there_is_one_skill_file():
    found = []
    for place, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name != ".git" and not name.startswith(".venv")]
        found += [os.path.join(place, name) for name in names if name.lower() == "skill.md"]
    assert found == [os.path.join(ROOT, "SKILL.md")]


def test_each_finding_of_a_linter_that_is_let_pass_is_explained():
    explained = importlib.import_module("measure").EXPLAINED
    rows = [line for line in read("CONTRIBUTING.md").splitlines() if line.startswith("| skill-scanner")]
    assert [pair for pair in explained if not any(pair[0] in row and pair[1] in row for row in rows)] == []


# SKILL.md keeps to the specification, and to the limits that keep it worth loading.

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
