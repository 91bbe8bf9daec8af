"""Contenders from ONNX files in a recipe: what they need, and every mistake at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from clearmargin.errors import RecipeError
from clearmargin.recipe import dump_recipe, load_recipe
from clearmargin.recipe_foreign import ForeignContender

GUEST = """
[[contender]]
name = "guest"
onnx = "model.onnx"
size_px = 64
scaling = "0..1"
outputs = "logits"
classes = ["a", "b"]
"""


@pytest.fixture
def recipe(tmp_path: Path):
    def write(text: str) -> Path:
        (tmp_path / "study.toml").write_text(text, encoding="utf-8")
        return tmp_path / "study.toml"

    return write


def test_a_foreign_contender_is_read_and_written_back(recipe, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    found = load_recipe(recipe("[training]\nepochs = 3\n" + GUEST))
    guest = found.contender[0]
    assert isinstance(guest, ForeignContender)
    assert guest.onnx == str(tmp_path / "model.onnx"), "a relative path is meant from where the recipe lies"
    assert guest.meant == {"a": "a", "b": "b"}
    assert found.without_paths().contender[0].onnx == "model.onnx"
    assert load_recipe(recipe(dump_recipe(found))) == found


def test_a_file_of_a_package_keeps_its_name(recipe) -> None:
    found = load_recipe(recipe(GUEST.replace("model.onnx", "some-wheel:model.onnx")))
    assert found.without_paths().contender[0].onnx == "some-wheel:model.onnx"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({'scaling = "0..1"': ""}, "How its author scaled the pixels is never guessed: set 'scaling' to one of 0..1"),
        ({'scaling = "0..1"': 'scaling = "0-1"'}, "The 'scaling' setting must be one of 0..1, 0..255, -1..1, imagenet"),
        ({'scaling = "0..1"': 'scaling = "0..1"\nmean = [0.0, 0.0, 0.0]'}, "take one of them (contender 'guest')"),
        ({'scaling = "0..1"': "mean = [0.0, 0.0, 0.0]"}, "'mean' and 'std' go together: give both"),
        (
            {'scaling = "0..1"': "mean = [0.5]\nstd = [1.0, 1.0, 1.0]"},
            "'mean' needs a number for each of 3 channels, got 1",
        ),
        ({'scaling = "0..1"': 'scaling = "imagenet"\nchannels = "gray"'}, "has a mean for each of three colours"),
        ({'outputs = "logits"': ""}, "A recipe needs the setting 'outputs' (contender 'guest')"),
        ({"size_px = 64": ""}, "A recipe needs the setting 'size_px' (contender 'guest')"),
        (
            {"size_px = 64": "size_pix = 64"},
            "There is no setting 'size_pix' (contender 'guest'); did you mean 'size_px'",
        ),
        ({"size_px = 64": 'size_px = 64\narchitecture = "cnn"'}, "There is no setting 'architecture'"),
        ({'["a", "b"]': '["a", "a"]'}, "'classes' names 'a' more than once"),
        ({'["a", "b"]': '["a", "b"]\nmap = { a = "x", c = "y" }'}, "'map' speaks of 'c', which is none of the model's"),
        ({'["a", "b"]': '["a", "b"]\nmap = { a = "b" }'}, "'a', 'b' would all be the class 'b'"),
        ({'["a", "b"]': '["a"]'}, "The 'classes' setting must have at least 2 items, got 1"),
    ],
)
def test_each_mistake_says_what_is_expected(recipe, change: dict[str, str], said: str) -> None:
    text = GUEST
    for old, new in change.items():
        text = text.replace(old, new)
    with pytest.raises(RecipeError) as raised:
        load_recipe(recipe(text))
    assert said in str(raised.value)


def test_all_mistakes_are_told_at_once(recipe) -> None:
    with pytest.raises(RecipeError) as raised:
        load_recipe(
            recipe('[data]\nsize_px = 3\n[[contender]]\nname = "guest"\nonnx = "x.onnx"\nclasses = ["a", "a"]\n')
        )
    told = str(raised.value)
    assert told.startswith("5 mistakes")
    for word in ("'size_px' setting must be at least 8", "'outputs'", "'scaling'", "more than once"):
        assert word in told


def test_a_regression_takes_no_foreign_classifier(recipe) -> None:
    with pytest.raises(RecipeError, match="'onnx' takes a classifier of images"):
        load_recipe(recipe('task = "regression"\n[data]\ntarget = "y"\n' + GUEST))
