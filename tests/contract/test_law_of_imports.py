"""The law of imports, what `create` imports, and the sizes that keep scripts/ readable."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sys
import sysconfig

import pytest

import style
from measure import (
    FILE_LINES_MOST,
    SCRIPTS,
    files_under,
    lines_of,
    modules,
    read,
    run_quietly,
    short,
    tree_of,
)
from mutants import MUTANTS

# Each room may import itself and the rooms below it.
STOREYS = (
    "rebyte_types",
    "rebyte_wire",
    "rebyte_client",
    "rebyte_flows",
    "rebyte_commands",
    "rebyte_cli",
)
# Inside a room each family may import itself, those before it, and what stands beside the families.
FAMILIES = {
    "rebyte_flows": (
        "files",
        "code",
        "values",
        "starting",
        "following",
        "report",
        "diagnosis",
    ),
    "rebyte_commands": (
        "verb_table",
        "shell",
        "jobs",
        "mcp",
        "verbs",
        "runner",
        "main",
    ),
    "rebyte_local": ("agents", "storage", "http", "execution"),
}
ONLY_DOOR_TO_LOCAL = "rebyte_commands.verbs.local"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LAZY_ROOMS = ("rebyte_cli", "rebyte_commands")
NOT_EVERYWHERE = {
    "msvcrt",
    "winreg",
    "_winapi",
    "fcntl",
    "pwd",
    "grp",
    "resource",
    "termios",
    "tty",
    "pty",
}
FUNCTION_STATEMENTS_MOST = 40

MODULES = modules()
each_module = pytest.mark.parametrize(
    "module", MODULES, ids=lambda module: short(module.path)
)


def imports_of(tree):
    """Yield (dotted name, node) for everything a module imports, lazily or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node


def room_of(dotted):
    """Return the first part of a dotted name: a room, or a module of the standard library."""
    return dotted.split(".")[0]


def is_standard(name):
    """Say whether a top-level module belongs to the standard library of the Python that runs this."""
    if name in NOT_EVERYWHERE or name in sys.builtin_module_names:
        return True
    spec = importlib.util.find_spec(name)
    if spec is None:
        return False
    if spec.origin in ("built-in", "frozen"):
        return True
    places = [
        os.path.realpath(sysconfig.get_paths()[key]) for key in ("stdlib", "platstdlib")
    ]
    origin = os.path.realpath(spec.origin or "")
    return origin.startswith(tuple(places)) and "site-packages" not in origin


def complaint(module, dotted):
    """Say what is wrong with one import, or None."""
    own, other = room_of(module.name), room_of(dotted)
    if dotted.startswith("."):
        return None if not dotted.startswith("..") else "climbs out of its room"
    if not other.startswith("rebyte_"):
        return None if is_standard(other) else "is not in the standard library"
    if other == own:
        return None
    if other == "rebyte_local":
        return (
            None
            if module.name == ONLY_DOOR_TO_LOCAL
            else "may be named only by " + ONLY_DOOR_TO_LOCAL
        )
    if own == "rebyte_local":
        return "the local server shares no code with the client"
    if other not in STOREYS or own not in STOREYS:
        return "is a room that the law does not know"
    return None if STOREYS.index(other) < STOREYS.index(own) else "is above or beside"


@each_module
def test_no_import_goes_up_sideways_or_outside(module):
    wrong = [
        (dotted, complaint(module, dotted)) for dotted, _ in imports_of(tree_of(module))
    ]
    assert [pair for pair in wrong if pair[1]] == []


@each_module
def test_only_one_module_names_the_local_server(module):
    if module.name == ONLY_DOOR_TO_LOCAL or room_of(module.name) == "rebyte_local":
        return
    named = [
        node.lineno
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith("rebyte_local")
        and " " not in node.value
    ]
    assert named == []


@each_module
def test_imports_are_at_the_top_but_for_the_two_lazy_seams(module):
    if room_of(module.name) in LAZY_ROOMS:
        return
    tree = tree_of(module)
    functions = [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    lazy = sorted(
        {
            node.lineno
            for function in functions
            for dotted, node in imports_of(function)
            if room_of(dotted) not in NOT_EVERYWHERE
        }
    )
    assert lazy == []


@each_module
def test_annotations_are_never_evaluated(module):
    tree = tree_of(module)
    has_code = any(
        not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in tree.body
    )
    # The door itself must be readable by a Python that is too old, so that it can say so.
    if has_code and module.name != "rebyte_cli":
        assert ("__future__", "annotations") in [
            (node.module, alias.name)
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        ]


def test_no_name_in_scripts_collides_with_anything_or_is_left_out_by_installers():
    assert [
        name
        for name in os.listdir(SCRIPTS)
        if not name.startswith("rebyte_") and name != "__pycache__"
    ] == []
    names = [os.path.basename(path) for path in files_under(SCRIPTS)]
    assert [
        name for name in names if name.startswith("_") and name != "__init__.py"
    ] == []


def test_packages_are_empty():
    for path in files_under(SCRIPTS):
        if os.path.basename(path) == "__init__.py":
            body = ast.parse(read(path)).body
            docstring = (
                len(body) == 1
                and isinstance(body[0], ast.Expr)
                and isinstance(body[0].value, ast.Constant)
            )
            assert body == [] or docstring, short(path) + " holds code"


@each_module
def test_neither_file_nor_function_is_longer_than_the_house_allows(module):
    assert lines_of(module.path) <= FILE_LINES_MOST
    long = [
        (node.name, sum(isinstance(part, ast.stmt) for part in ast.walk(node)) - 1)
        for node in ast.walk(tree_of(module))
        if isinstance(node, FUNCTIONS)
    ]
    assert [found for found in long if found[1] > FUNCTION_STATEMENTS_MOST] == []


def family_of(dotted):
    """Return (room, family) of a dotted name; the family is None for what stands beside families."""
    room, _, rest = dotted.partition(".")
    family = rest.partition(".")[0]
    return room, family if family in FAMILIES.get(room, ()) else None


def breaks_order(module, dotted):
    """Say whether an import inside a room goes up from one family to another."""
    room, own = family_of(module.name)
    other_room, other = family_of(dotted)
    if room != other_room or own is None or other is None:
        return False
    order = FAMILIES[room]
    return order.index(other) > order.index(own)


def at_the_top(tree):
    """Yield the imports of a module that happen when it is loaded, or only for types."""
    for statement in tree.body:
        if not isinstance(statement, FUNCTIONS + (ast.ClassDef,)):
            yield from imports_of(statement)


@each_module
def test_no_family_of_a_room_imports_a_later_one(module):
    named = [
        dotted for dotted, node in at_the_top(tree_of(module)) if node.col_offset == 0
    ]
    assert [dotted for dotted in named if breaks_order(module, dotted)] == []


@each_module
def test_no_verb_module_is_anothers_library(module):
    if module.name.startswith("rebyte_commands.verbs."):
        named = [dotted for dotted, _ in imports_of(tree_of(module))]
        assert not [name for name in named if name.startswith("rebyte_commands.verbs")]


@each_module
def test_every_signature_is_annotated(module):
    figures = style.Figures([module.path])
    assert figures.returns == len(figures.functions)
    assert figures.annotated == figures.parameters


@each_module
def test_no_function_is_too_complex(module):
    found = [
        pair
        for pair in style.Figures([module.path]).functions
        if pair[0] > style.COMPLEXITY_NEVER
    ]
    assert found == []


def public_parts(tree, name):
    """Yield (name, node) for the module and for each function and class in it, however deep it
    stands, whose name is public.
    """
    yield name, tree
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS + (ast.ClassDef,)) and node.name[0] != "_":
            yield node.name, node


@each_module
def test_everything_public_has_a_docstring(module):
    if os.path.basename(module.path) == "__init__.py":
        return
    bare = [
        name
        for name, node in public_parts(tree_of(module), module.name)
        if not ast.get_docstring(node)
    ]
    assert bare == []


# What the path of `create` imports, as the difference to a bare start of the same Python.

SLOW_AND_UNNEEDED = {
    "typing",
    "dataclasses",
    "logging",
    "concurrent.futures",
    "http.server",
    "asyncio",
}
DOOR = os.path.join(SCRIPTS, "rebyte_cli.py")


def loaded_by(arguments, environ=None):
    """Run this Python with `-I -S` and arguments; return (exit code, stdout, names of the modules
    it loaded).
    """
    done = run_quietly(
        [sys.executable, "-I", "-S", "-B", "-X", "importtime"] + arguments,
        env=dict(os.environ, **(environ or {})),
    )
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    names = {
        match.group(1)
        for match in (
            re.match(r"import time:.*\|\s*([\w.]+)\s*$", line) for line in lines
        )
        if match
    }
    return done.returncode, done.stdout, names


@pytest.fixture(scope="module")
def bare_start():
    """The modules that a start which does nothing loads."""
    return loaded_by(["-c", "pass"])[2]


def test_the_measure_sees_an_import(bare_start):
    assert "dataclasses" in loaded_by(["-c", "import dataclasses"])[2] - bare_start


@pytest.mark.parametrize(
    "arguments",
    [
        [
            "-c",
            "import sys; sys.path.insert(0, sys.argv[1]); import rebyte_client",
            SCRIPTS,
        ],
        [DOOR, "create", "--dry-run", "say hello"],
        [DOOR, "create", "say hello"],
    ],
    ids=["the client", "a dry create", "a real create"],
)
def test_nothing_slow_is_imported_by(bare_start, server, tmp_path, arguments):
    status, stdout, names = loaded_by(
        arguments,
        {
            "REBYTE_API_KEY": server.key,
            "REBYTE_BASE_URL": server.base_url,
            "REBYTE_STATE_DIR": str(tmp_path / "state"),
        },
    )
    assert status == 0 and ("rebyte_client" in names or "--dry-run" in arguments), (
        stdout
    )
    assert SLOW_AND_UNNEEDED & (names - bare_start) == set()


def test_each_mutant_is_found_in_the_code_it_breaks():
    """The list has to keep up with the code; that they are noticed takes `tests/mutants.py`."""
    odd = [
        (path, old)
        for path, old, new, _ in MUTANTS
        if read(os.path.join(SCRIPTS, path)).count(old) != 1 or old == new
    ]
    assert odd == []
