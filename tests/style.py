"""How the code of scripts/ reads, beside libraries that read well: counted from the source with
ast and tokenize.
"""

from __future__ import annotations

import ast
import io
import os
import tokenize

COLUMNS = 100
COMPLEXITY_MOST = 10
COMPLEXITY_NEVER = 15
STATEMENTS_MOST = 40
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (ast.If, ast.For, ast.While, ast.IfExp, ast.ExceptHandler, ast.Assert)
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
# Counted with this script over the releases that were on PyPI on 2026-11-26.
ANCHORS = {
    "lines over 100 columns, %": "0-0.3",
    "AST nodes per code line": "5.7-6.1",
    "conditional expressions per 1,000 statements": "3-24",
    "tuple assignments per 1,000 statements": "4-17",
    "functions over complexity 10, %": "1.4-5.6",
    "annotated returns, %": "98-100",
    "annotated parameters, %": "98-100",
}


def complexity(function):
    """Return the cyclomatic complexity of a function, boolean operators and comprehensions
    counted.
    """
    count = 1
    for node in ast.walk(function):
        if isinstance(node, BRANCHES):
            count += 1
        elif isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            count += 1 + len(node.ifs)
    return count


def code_lines(text, tree):
    """Return the numbers of the lines that hold code: no comments, no docstrings."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(
            node, (ast.Module, ast.ClassDef) + FUNCTIONS
        ) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


def parameters(function):
    """Return the parameters of a function that want an annotation."""
    given = function.args
    found = [*getattr(given, "posonlyargs", ()), *given.args, *given.kwonlyargs]
    found += [extra for extra in (given.vararg, given.kwarg) if extra]
    return [found for found in found if found.arg not in ("self", "cls")]


class Figures:
    """The sums over some source files."""

    def __init__(self, paths):
        self.lines = self.wide = self.code = self.nodes = self.statements = 0
        self.conditional = self.tuples = 0
        self.parameters = self.annotated = self.returns = 0
        self.functions = []
        for path in paths:
            with open(path, encoding="utf-8") as file:
                self._add(path, file.read())

    def _add(self, path, text):
        tree = ast.parse(text, type_comments=True)
        nodes = list(ast.walk(tree))
        self.lines += text.count("\n")
        self.wide += sum(1 for line in text.split("\n") if len(line) > COLUMNS)
        self.code += len(code_lines(text, tree))
        self.nodes += len(nodes)
        self.statements += sum(isinstance(node, ast.stmt) for node in nodes)
        self.conditional += sum(isinstance(node, ast.IfExp) for node in nodes)
        for node in nodes:
            if isinstance(node, ast.Assign):
                self.tuples += any(
                    isinstance(target, ast.Tuple) for target in node.targets
                )
            elif isinstance(node, FUNCTIONS):
                self._add_function(path, node)

    def _add_function(self, path, function):
        wanted = parameters(function)
        self.functions.append((complexity(function), "%s:%s" % (path, function.name)))
        self.parameters += len(wanted)
        # A type comment annotates all of it.
        typed = bool(function.type_comment)
        self.annotated += sum(typed or bool(part.annotation) for part in wanted)
        self.returns += typed or function.returns is not None

    def rows(self):
        """Return (what, figure, the most or least that is meant) for the table."""
        thousand = self.statements / 1000
        over = [found for found in self.functions if found[0] > COMPLEXITY_MOST]
        count = len(self.functions)
        return [
            ("lines over 100 columns, %", 100 * self.wide / self.lines, "0"),
            ("AST nodes per code line", self.nodes / self.code, "at most 7.0"),
            (
                "conditional expressions per 1,000 statements",
                self.conditional / thousand,
                "at most 25",
            ),
            (
                "tuple assignments per 1,000 statements",
                self.tuples / thousand,
                "at most 15",
            ),
            ("functions over complexity 10, %", 100 * len(over) / count, "at most 1"),
            ("the highest complexity", max(self.functions)[0], "at most 15"),
            ("annotated returns, %", 100 * self.returns / count, "100"),
            ("annotated parameters, %", 100 * self.annotated / self.parameters, "100"),
            ("statements", self.statements, "8,400 was the plan"),
        ]


def python_files(folder):
    """Return the paths of the Python files under a folder."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [os.path.join(place, name) for name in names if name.endswith(".py")]
    return sorted(found)


def broken_rules(figures):
    """Return the rules that hold without exception and are broken, in words."""
    thousand = figures.statements / 1000
    over = [one for one in figures.functions if one[0] > COMPLEXITY_MOST]
    found = {
        "a line is over %d columns" % COLUMNS: figures.wide,
        "too many conditional expressions": figures.conditional > 25 * thousand,
        "too many tuple assignments": figures.tuples > 15 * thousand,
        "too many functions over complexity %d" % COMPLEXITY_MOST: len(over)
        > len(figures.functions) / 100,
        "a function over complexity %d" % COMPLEXITY_NEVER: max(figures.functions)[0]
        > COMPLEXITY_NEVER,
        "a return is not annotated": figures.returns < len(figures.functions),
        "a parameter is not annotated": figures.annotated < figures.parameters,
    }
    return [words for words, is_broken in found.items() if is_broken]


def print_table(folder):
    """Print how the code under a folder reads; return whether the rules hold."""
    print("%-46s %9s  %-19s %s" % ("how scripts/ reads", "is", "meant", "anchors"))
    figures = Figures(python_files(folder))
    for what, figure, meant in figures.rows():
        shown = "%d" % figure if what == "statements" else "%.1f" % figure
        print("%-46s %9s  %-19s %s" % (what, shown, meant, ANCHORS.get(what, "")))
    broken = broken_rules(figures)
    for words in broken:
        print("NOT ALLOWED: %s" % words)
    return not broken
