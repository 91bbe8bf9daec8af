from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearmargin.errors import RecipeError
from clearmargin.recipe import Recipe, check_recipe, dump_recipe, load_recipe, shipped_recipes, slug

PLAIN = '[[contender]]\nname = "plain"\nlayers = [{ conv = 4 }]\n'
TWO = """
[[contender]]
name = "plain"
layers = [{ conv = 4 }, { flatten = true }]

[[contender]]
name = "VGG 16.b"
architecture = "vgg16"
training = { epochs = 5, augmentation = { noise = 0.2 } }

[training]
epochs = 4
batch_size = 8

[training.augmentation]
flip_horizontal = true
"""


@pytest.fixture
def load(tmp_path):
    def load(text: str | bytes, *overrides: str, data: str | None = None) -> Recipe:
        path = tmp_path / "study.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_recipe(path, overrides, data)

    return load


# What a recipe is


def test_defaults_are_filled_in(load):
    recipe = load(PLAIN)
    assert (recipe.seed, recipe.data.size_px, recipe.split.fractions) == (0, 224, [0.8, 0.1, 0.1])
    assert (recipe.training.epochs, recipe.training.optimizer, recipe.training.keep) == (12, "adamw", "best")
    assert recipe.contender[0].training == recipe.training


def test_contenders_inherit_what_they_do_not_say_themselves(load):
    plain, vgg = load(TWO).contender
    assert (plain.training.epochs, plain.training.batch_size) == (4, 8)
    assert (vgg.training.epochs, vgg.training.batch_size) == (5, 8)
    assert plain.training.augmentation.noise == 0
    assert vgg.training.augmentation.flip_horizontal
    assert vgg.training.augmentation.noise == 0.2


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load_and_come_back_equal(load, name):
    recipe = load_recipe(name)
    assert load(dump_recipe(recipe)) == recipe


def test_the_tumour_study_is_shipped():
    assert {"tumor", "demo"} <= set(shipped_recipes())
    assert [contender.architecture for contender in load_recipe("tumor").contender] == ["cnn", "vgg16", "resnet18"]


hostile = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(str.strip)
fractions = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(
    lambda pair: [(100 - sum(pair)) / 100, pair[0] / 100, pair[1] / 100]
)


@given(
    names=st.lists(hostile, min_size=1, max_size=3, unique_by=slug),
    source=st.none() | hostile,
    fractions=fractions,
    rate=st.floats(1e-300, 1000, allow_nan=False),
    patience=st.integers(0, 3),
)
def test_what_is_written_is_read_back_equal(tmp_path_factory, names, source, fractions, rate, patience):
    content = {
        "name": names[0],
        "data": {"source": source} if source else {},
        "split": {"fractions": fractions},
        "training": {"learning_rate": rate, "early_stopping": patience},
        "contender": [
            {"name": name, "layers": [{"conv": 3, "activation": "elu"}, {"dropout": 0.25}, {"dense": 2}]}
            for name in names
        ],
    }
    recipe = check_recipe(content, "a test")
    path = tmp_path_factory.getbasetemp() / "written.toml"
    path.write_text(dump_recipe(recipe), encoding="utf-8", newline="\n")
    assert load_recipe(path) == recipe


@pytest.mark.parametrize(
    ("given", "weights", "frozen"),
    [
        ({}, "imagenet", "block4"),
        ({"weights": "none"}, "none", "none"),
        ({"weights": "own.pth"}, "own.pth", "block4"),
        ({"freeze_through": "block2"}, "imagenet", "block2"),
    ],
)
def test_vgg16_starts_from_imagenet_with_most_of_it_frozen(given, weights, frozen):
    recipe = check_recipe({"contender": [{"name": "VGG", "architecture": "vgg16", **given}]}, "a test")
    assert (recipe.contender[0].weights, recipe.contender[0].freeze_through) == (weights, frozen)


def test_a_recipe_does_not_change(load):
    recipe = load(PLAIN)
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1


@pytest.mark.parametrize(
    ("name", "folder"), [("VGG16", "vgg16"), ("plain CNN, 3×3!", "plain-cnn-3-3"), ("../../etc", "etc"), (".", None)]
)
def test_folders_of_contenders_have_harmless_names(name, folder):
    assert slug(name) == folder or (folder is None and slug(name).startswith("contender-"))


def test_long_names_in_other_scripts_get_folders_of_their_own():
    assert slug("卷积神经网络一") != slug("卷积神经网络二")


@given(st.text(min_size=1))
def test_folder_names_hold_letters_digits_and_dashes_only(name):
    assert set(slug(name)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert slug(name)


# Where it comes from


@pytest.mark.parametrize(
    "text",
    [PLAIN.replace("\n", "\r\n"), b"\xef\xbb\xbf" + PLAIN.encode(), "# Größe\n" + PLAIN, PLAIN + "# no line end"],
)
def test_files_as_editors_write_them(load, text):
    assert load(text).contender[0].name == "plain"


def test_a_relative_source_lies_beside_the_recipe(load, tmp_path):
    (tmp_path / "scans.zip").touch()
    text = PLAIN + '[data]\nsource = "scans.zip"\n'
    assert load(text).data.source == str(tmp_path.resolve() / "scans.zip")
    assert load(text.replace("scans", "elsewhere")).data.source == "elsewhere.zip"


def test_relative_weights_lie_beside_the_recipe_but_imagenet_is_a_word(load, tmp_path):
    for name in ("own.safetensors", "imagenet"):
        (tmp_path / name).touch()
    text = '[[contender]]\nname = "VGG"\narchitecture = "vgg16"\nweights = "own.safetensors"\n'
    assert load(text).contender[0].weights == str(tmp_path.resolve() / "own.safetensors")
    assert load(text.replace("own.safetensors", "imagenet")).contender[0].weights == "imagenet"


def test_a_source_named_on_the_command_line_is_taken_as_it_is(load, tmp_path):
    (tmp_path / "scans.zip").touch()
    assert load(PLAIN, data="scans.zip").data.source == "scans.zip"
    assert load(PLAIN, "data.source=scans.zip").data.source == "scans.zip"
    assert load(PLAIN + '[data]\nsource = "other"\nsize_px = 32\n', data="x").data.size_px == 32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name = ", "not valid TOML: Invalid value"),
        (b'name = "a\0b"', "not valid TOML: Illegal character"),
        (b"a = 1\na = 2", "not valid TOML: Cannot overwrite a value"),
        (PLAIN.encode("utf-16"), "not UTF-8 text"),
        (bytes(range(256)), "not UTF-8 text"),
        (b"#" * 300_000, "larger than 200,000 bytes"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b".".join([b"a"] * 50_000) + b" = 1", "nested too deeply"),
        (b"seed = " + b"9" * 5000, "too long a number"),
    ],
)
def test_what_is_no_recipe_is_refused(load, content, message):
    with pytest.raises(RecipeError, match=f"study.toml is .*{message}") as raised:
        load(content)
    assert len(str(raised.value)) < 400


def test_deep_tables_that_are_valid_toml_are_a_mistake_like_others(load):
    with pytest.raises(RecipeError, match="There is no setting 'a'; expected one of name, task, seed"):
        load("a = " + "[" * 100 + "]" * 100 + "\n" + PLAIN)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("tumr", "There is no recipe 'tumr': expected a TOML file or one of .*tumor.* Did you mean 'tumor'?"),
        ("tumor.toml", "There is no recipe 'tumor.toml'.* Did you mean 'tumor'?"),
        ("", "There is no recipe ''"),
        ("nowhere/study.toml", "There is no recipe 'nowhere/study.toml'"),
        ("a\0b", "There is no recipe 'a\0b'"),
        ("a" * 5000, "There is no recipe 'a{200}'"),
    ],
)
def test_a_missing_recipe_names_the_nearest(recipe, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe)


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(RecipeError, match=r"is a folder|can't be read"):
        load_recipe(tmp_path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
def test_a_device_without_end_is_refused():
    with pytest.raises(RecipeError, match="larger than"):
        load_recipe("/dev/zero")
