"""What the benchmarks take from the package is there: no other check reads them."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


def taken(program: str) -> Iterator[tuple[str, str]]:
    """Module and name of everything a program imports from clearmargin."""
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "clearmargin":
            yield from ((node.module, alias.name) for alias in node.names)


def is_there(module: str, name: str) -> bool:
    found = importlib.import_module(module)
    if hasattr(found, name):
        return True
    try:
        importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return False
    return True


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(path):
    assert [(module, name) for module, name in taken(path.read_text("utf-8")) if not is_there(module, name)] == []


def test_a_name_that_moved_is_noticed():
    program = "def late():\n    from clearmargin.recipe import load_recipe, moved_away\n"
    assert [name for module, name in taken(program) if not is_there(module, name)] == ["moved_away"]
