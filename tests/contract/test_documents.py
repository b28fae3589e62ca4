"""The documents tell the truth about the code: links, exit codes, variables and verbs."""
from __future__ import annotations

import importlib
import os
import re
import shlex

import pytest
from project_tree import ROOT, documents, modules, read, short, without_fences

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
