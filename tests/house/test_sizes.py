"""Nothing grows past what a reader can hold: files, functions, arguments, nesting."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "smalti"
FILES = sorted(SOURCE.rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BLOCKS = (ast.For, ast.While, ast.If, ast.Try)  # a `with` names a resource and decides nothing

# "file.py:function" -> the reason why it may be larger
MANY_ARGUMENTS = {
    "pipeline.py:sample": "the public signature: one keyword a choice of the user",
}


def functions(path: Path):
    tree = ast.parse(path.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def depth(node: ast.AST) -> int:
    """How deep blocks stand in one another; `elif` does not nest."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            continue
        chained = isinstance(node, ast.If) and node.orelse == [child] and isinstance(child, ast.If)
        deepest = max(deepest, depth(child) + (isinstance(child, BLOCKS) and not chained))
    return deepest


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_sizes(path):
    assert len(path.read_text().splitlines()) <= 400, "is there a second subject in this file?"
    for function in functions(path):
        where = f"{path.relative_to(SOURCE)}:{function.name}"
        assert function.end_lineno - function.lineno < 60, f"{where} is longer than 60 lines"
        count = len(function.args.args) + len(function.args.kwonlyargs)
        assert count <= 9 or where in MANY_ARGUMENTS, f"{where} takes {count} arguments"
        assert depth(function) <= 3, f"{where} nests deeper than 3"


def test_exceptions_still_exist():
    there = {f"{path.relative_to(SOURCE)}:{function.name}" for path in FILES for function in functions(path)}
    assert set(MANY_ARGUMENTS) <= there


# first words of a phrase that says what a thing is, not what a function does
_NO_VERB = {
    "the",
    "a",
    "an",
    "what",
    "whether",
    "which",
    "all",
    "as",
    "of",
    "by",
    "from",
    "how",
    "with",
    "one",
    "for",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_docstrings_of_what_returns_something_begin_with_a_verb(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.returns is not None and not node.name.startswith("__"):
            first = (ast.get_docstring(node) or "See").split()[0].strip(",:;.").lower()
            assert first not in _NO_VERB, f"{node.name} in line {node.lineno}: begin with what it does"
