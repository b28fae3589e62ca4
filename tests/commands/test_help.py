"""Help: examples first, every flag, the exit codes of that verb, the environment in a line; small, and without a network."""
from __future__ import annotations

import re
import subprocess
import sys

import pytest

from rebyte_commands.verbs import CODES, SHORT, VERBS, codes_of
from rebyte_commands.main import main
from rebyte_wire.errors import EXIT_CODES

from .conftest import DOOR

MOST_BYTES = 4096
# The wire reads addresses with socket.inet_aton, so the name `socket` may be loaded; nothing that could speak is.
NETWORK = {"ssl", "http.client", "urllib.request", "http.server"}


def shown(capsys, *words):
    assert main(list(words), 0) == 0
    return capsys.readouterr().out


def test_the_table_of_codes_speaks_of_every_verb_and_of_codes_that_exist():
    known = {number for number, _, _ in EXIT_CODES}
    assert set(CODES) == set(VERBS) and set(SHORT) == known
    assert {number for verb in VERBS for number in codes_of(verb)} == known


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_shows_two_examples_first_then_flags_codes_and_environment(capsys, verb):
    text = shown(capsys, verb, "--help")
    examples, flags, codes, environment = (text.index(word) for word in ("examples:", "--base-url", "exit codes: ", "environment: "))
    assert examples < flags < codes < environment and len(text.encode()) < MOST_BYTES
    lines = re.findall(r"^  rebyte_cli\.py .*$", text[examples:flags], re.M)
    assert len(lines) >= 2 and any(line.split()[1] == verb for line in lines)
    assert "--help" in text[flags - 900:] or "-h, --help" in text
    assert shown(capsys, "help", verb) == text


def test_the_help_of_everything_is_small_too(capsys):
    assert len(shown(capsys, "--help").encode()) < MOST_BYTES


@pytest.mark.parametrize("verb", VERBS)
def test_help_loads_no_network(verb):
    done = subprocess.run([sys.executable, "-I", "-S", "-B", "-X", "importtime", DOOR, verb, "--help"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60)
    loaded = set(re.findall(rb"\| +([\w.]+)$", done.stderr, re.M))
    assert done.returncode == 0 and b"rebyte_commands.verbs" in loaded
    assert {name.encode() for name in NETWORK} & loaded == set()


@pytest.mark.parametrize("line, nearest", [(["rnu", "x"], "run"), (["resutl", "x"], "result"), (["run", "x", "--wnat", "a.pdf"], "--want"),
                                           (["list", "--limt", "3"], "--limit")])
def test_a_misspelt_word_is_answered_with_the_nearest(capsys, line, nearest):
    assert main(line, 0) == 2
    assert "did you mean %s?" % nearest in capsys.readouterr().err
