"""What the documentation tells people to type exists: recipes, commands, options and settings."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from clearmargin.cli import app
from clearmargin.description import describe
from clearmargin.recipe import load_recipe, shipped_recipes

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
END_OF_COMMAND = {"|", ";", "&&", "||", ">", "\\", "done"}


def command_lines(text: str) -> list[str]:
    """Lines of code blocks that begin with ``clearmargin``, and the same between backticks in running text."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return [each for each in [*lines, *spans] if re.match(r"clearmargin [^=]", each)]


def words_of(line: str) -> list[str]:
    """Words of a command line, without what explains it to the right of it."""
    told = re.split(r"\s{3,}|\s#\s", line)[0]
    words = shlex.split(told)[1:]
    ends = [place for place, word in enumerate(words) if word in END_OF_COMMAND]
    return words[: ends[0]] if ends else words


def parse(words: list[str]) -> None:
    """Parse as the command does, and run nothing; what is wrong is raised.

    A mention of a command without any argument, as in "as `clearmargin predict` prepares it", is all right.
    """
    command: Any = typer.main.get_command(app)
    context = command.make_context("clearmargin", list(words))
    while words and hasattr(command, "commands"):
        name, command, words = command.resolve_command(context, list(words))
    if words:
        command.make_context(name, list(words), parent=context)


def documented() -> list[tuple[str, str]]:
    return [(page.name, line) for page in PAGES for line in command_lines(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "line"), documented())
def test_every_command_line_of_the_documentation_parses(page: str, line: str) -> None:
    parse(words_of(line))


def test_command_lines_are_found_at_all_and_wrong_ones_are_told() -> None:
    assert len(documented()) > 25
    for line in ("clearmargin rnu mnist", "clearmargin run mnist --dta x", "clearmargin data fetch mnist"):
        with pytest.raises(Exception, match="No such"):
            parse(words_of(line))
    found = command_lines("Say `clearmargin run\nmnist`.\n```\nclearmargin demo   # small\nother\n```\n")
    assert [words_of(line) for line in found] == [["demo"], ["run", "mnist"]]


@pytest.mark.parametrize(("page", "line"), [each for each in documented() if "--set" in each[1]])
def test_settings_that_the_documentation_changes_exist(page: str, line: str) -> None:
    words = words_of(line)
    changes = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    load_recipe(words[1], [change.replace("$seed", "1") for change in changes])


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_named_where_people_look(name: str) -> None:
    help_of_run = typer.main.get_command(app).commands["run"].params[0].help  # type: ignore[attr-defined]
    assert name in re.split(r"[,.: ]+", help_of_run)
    assert f"`{name}`" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_can_be_described(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a machine without the data: the catalogue, or the table in the package, says what is needed."""
    monkeypatch.delenv("CLEARMARGIN_DATA", raising=False)
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path))
    recipe = load_recipe(name)
    described = describe(name, classes=4 if recipe.data.source is None else None)
    assert [each.name for each in described.contenders] == [each.name for each in recipe.contender]
    assert all(each.trained > 0 and each.layers[-1].output == (described.outputs,) for each in described.contenders)


def test_the_contender_from_elsewhere_of_the_readme_is_one_that_a_recipe_takes(tmp_path: Path) -> None:
    (contender,) = re.findall(r"^```toml\n(.*?)^```", PAGES[0].read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "published.onnx").write_bytes(b"")
    (tmp_path / "guest.toml").write_text(contender, encoding="utf-8")
    (guest,) = load_recipe(tmp_path / "guest.toml").contender
    assert guest.name == "published VGG16"


def python_lines() -> list[str]:
    """Lines of the README's code blocks that run the checker, up to what explains them."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", PAGES[0].read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line.split("   ")[0] for block in blocks for line in block.splitlines() if line.startswith("python runs/")]


def test_the_checker_is_called_as_the_readme_says(tmp_path: Path) -> None:
    (line,) = python_lines()
    program, script = line.split()
    assert (program, Path(script).name) == ("python", "check.py")
    copy = tmp_path / "check.py"
    copy.write_bytes((ROOT / "src" / "clearmargin" / "check.py").read_bytes())
    for words in ([str(copy)], ["-m", "clearmargin.check", str(tmp_path)]):
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 2  # an empty folder: it is called, and says so
        assert "holds no evaluation.json" in done.stderr


def test_the_recipe_of_the_documentation_loads(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    whole, regression = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[:2]
    (tmp_path / "whole.toml").write_text(whole, encoding="utf-8")
    assert len(load_recipe(tmp_path / "whole.toml").contender) == 3
    network = '\n[[contender]]\nname = "1-D CNN"\nlayers = [{ conv = 8 }, { flatten = true }, { dense = 1 }]\n'
    (tmp_path / "regression.toml").write_text(regression + network, encoding="utf-8")
    assert load_recipe(tmp_path / "regression.toml").data.features == ["rooms", "age"]
