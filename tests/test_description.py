"""Networks described from a recipe: sizes as they are, and what is said when a size is not known."""

from __future__ import annotations

import json
import sys

import pytest

from clearmargin.cli import main
from clearmargin.description import describe
from clearmargin.errors import RecipeError, SourceError, UsageError

HOUSING = """
task = "regression"
[data]
target = "price"
[[contender]]
name = "1-D CNN"
layers = [{ conv = 64, kernel = 2, padding = "valid", activation = "relu" }, { flatten = true },
          { dense = 32, activation = "relu" }, { dense = 1 }]
"""


@pytest.fixture
def housing(tmp_path):
    (tmp_path / "housing.toml").write_text(HOUSING)
    columns = [f"x{k}" for k in range(13)]
    rows = [",".join(str((k + 1) * (row % 5) + row) for k in range(14)) for row in range(30)]
    (tmp_path / "housing.csv").write_text("\n".join([",".join([*columns, "price"]), *rows]))
    return tmp_path / "housing.toml"


def test_classes_are_counted_in_the_data(class_folder, tiny_recipe):
    described = describe(tiny_recipe, data=class_folder)
    assert (described.task, described.input, described.outputs) == ("classification", (1, 16, 16), 3)
    first, second = described.contenders
    assert [row.layer for row in first.layers] == ["conv 4, 3x3, relu", "max pool, 2x2", "flatten", "dense 3, softmax"]
    # 4 · (9 + 1), 3 · (4 · 8 · 8 + 1)
    assert (first.trained, first.frozen) == (40 + 771, 0)
    assert first.multiply_adds == 16 * 16 * 4 * 9 + 3 * 256
    assert second.name == "two layers"


def test_nothing_of_an_image_is_read(draw_images, tiny_recipe, tmp_path):
    folder = draw_images(tmp_path / "images", {"a": 3, "b": 3})
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no image")
    assert describe(tiny_recipe, data=folder).outputs == 2


def test_columns_are_counted_in_the_table_or_in_the_recipe(housing):
    (network,) = describe(housing, data=housing.with_suffix(".csv")).contenders
    assert network.trained == 24_833
    assert [row.output for row in network.layers] == [(64, 12), (768,), (32,), (1,)]
    listed = describe(housing, overrides=['data.features=["a", "b", "c"]'])
    assert (listed.input, listed.outputs) == ((1, 3), 1)


def test_given_data_have_to_be_there_and_to_have_what_the_recipe_lists(housing, class_folder, tiny_recipe):
    table, listed = housing.with_suffix(".csv"), ['data.features=["x0", "x12"]']
    assert describe(housing, data=table, overrides=listed).input == (1, 2)
    with pytest.raises(SourceError, match=r"no .*nowhere\.csv"):
        describe(housing, data="nowhere.csv", overrides=listed)
    with pytest.raises(SourceError, match="'x13'"):
        describe(housing, data=table, overrides=['data.features=["x0", "x13"]'])
    with pytest.raises(SourceError, match="no nowhere"):
        describe(tiny_recipe, data="nowhere", classes=3)
    with pytest.raises(UsageError, match=r"--classes says 4, but .* has 3: leave --classes out"):
        describe(tiny_recipe, data=class_folder, classes=4)
    assert describe(tiny_recipe, data=class_folder, classes=3).outputs == 3


@pytest.mark.parametrize(("recipe", "outputs", "input_"), [("mnist", 10, (1, 28, 28)), ("cifar10", 10, (3, 32, 32))])
def test_the_catalogue_knows_the_classes_of_a_named_set(monkeypatch, tmp_path, recipe, outputs, input_):
    monkeypatch.delenv("CLEARMARGIN_DATA", raising=False)
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path))
    described = describe(recipe)
    assert (described.outputs, described.input) == (outputs, input_)


@pytest.mark.parametrize("classes", [1, 0, -3, 65_537, 1_000_000_000])
def test_a_number_of_classes_that_cannot_be_is_refused(tiny_recipe, classes):
    with pytest.raises(UsageError, match=r"--classes must be between 2 and 65,536, got"):
        describe(tiny_recipe, classes=classes)


@pytest.mark.parametrize(("block", "frozen"), [("none", 0), ("block4", 7_635_264), ("block5", 14_714_688)])
def test_vgg16_is_described_without_its_weights(monkeypatch, tmp_path, block, frozen):
    monkeypatch.setenv("CLEARMARGIN_VGG16", str(tmp_path / "missing.safetensors"))
    named = next(
        network
        for network in describe("tumor", classes=4, overrides=[f"contender.VGG16.freeze_through={block}"]).contenders
        if network.name == "VGG16"
    )
    assert named.frozen == frozen
    # 14,714,688 of the convolutions; 512 · 256 + 256 and 256 · 4 + 4 of the head
    assert named.trained + named.frozen == 14_714_688 + 131_328 + 1028
    said = named.as_json()
    assert said["parameters"] == {"total": named.trained + frozen, "trained": named.trained, "frozen": frozen}
    assert sum(row["parameters"] for row in said["layers"] if not row["trained"]) == frozen


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({}, SourceError, "how many classes there are is not known: give --data PATH or --classes N"),
        (
            {"data": "nowhere"},
            SourceError,
            r"no nowhere.* To describe the networks without the data, give --classes N\.",
        ),
        ({"classes": 3, "overrides": ["contender.0.layers.0.conv=0"]}, RecipeError, "must be at least 1"),
        (
            {"classes": 3, "overrides": ["contender.0.layers.1.size=17"]},
            RecipeError,
            "would empty the map of shape 4x16x16",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_said(tiny_recipe, settings, error, message):
    with pytest.raises(error, match=message):
        describe(tiny_recipe, **settings)


def test_a_regression_says_what_it_misses(housing):
    with pytest.raises(SourceError, match=r"how many columns it has is not known: give --data PATH, or list them in"):
        describe(housing)
    with pytest.raises(UsageError, match="leave --classes out"):
        describe(housing, classes=2)


def test_one_class_is_too_few(draw_images, tiny_recipe, tmp_path):
    with pytest.raises(SourceError):
        describe(tiny_recipe, data=draw_images(tmp_path / "images", {"only": 4}))


def command(monkeypatch, capsys, *words) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["clearmargin", "describe", *map(str, words)])
    with pytest.raises(SystemExit) as leaving:
        main()
    captured = capsys.readouterr()
    return int(leaving.value.code or 0), captured.out, captured.err


def test_the_command_prints_tables(monkeypatch, capsys, housing):
    status, out, err = command(monkeypatch, capsys, housing, "--data", housing.with_suffix(".csv"))
    assert (status, err) == (0, "")
    for words in ("conv 64, kernel 2, valid, relu", "64x12", "24,608", "dense 1 ", "24,833 parameters, 24,833 of them"):
        assert words in out
    status, out, _ = command(monkeypatch, capsys, "tumor", "--classes", 4)
    assert status == 0
    for words in ("frozen", "7,635,264", "14,847,044 parameters, 7,211,780 of them trained", "ResNet-18", "224x224"):
        assert words in out


def test_the_command_prints_json(monkeypatch, capsys, tiny_recipe, class_folder):
    status, out, _ = command(monkeypatch, capsys, tiny_recipe, "--data", class_folder, "--json")
    said = json.loads(out)
    assert (status, said["outputs"], said["input"]) == (0, 3, [1, 16, 16])
    assert said["contenders"][0]["layers"][0]["receptive_field"] == 3


def test_the_command_says_what_is_missing(monkeypatch, capsys, tiny_recipe):
    status, out, err = command(monkeypatch, capsys, tiny_recipe)
    assert (status, out) == (2, "")
    assert "--classes N" in err
    for classes in ("1", "1000000000"):
        status, out, err = command(monkeypatch, capsys, tiny_recipe, "--classes", classes)
        assert (status, out) == (2, "")
        assert "must be between 2 and 65,536" in err
