"""Values that a recipe leaves to a search, and what is made of them."""

import copy
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearmargin.errors import RecipeError
from clearmargin.recipe import load_recipe, shipped_recipes
from clearmargin.recipe_spaces import Choices, Range, take_spaces
from clearmargin.tuning import make_plan
from clearmargin.tuning.default_spaces import default_spaces

RECIPE = """
[data]
size_px = [16, 24]
[[contender]]
name = "a"
layers = [{ conv = [4, 8], kernel = 3, activation = ["relu", "elu"] }, { pool = "max" },
          { dropout = { low = 0, high = 0.5, default = 0.1 } }]
[contender.training]
optimizer = { choices = ["adam", "sgd"], default = "sgd" }
[[contender]]
name = "b"
layers = [{ conv = 4 }, { pool = "max" }]
[training]
learning_rate = { low = 1e-4, high = 1e-2, log = true }
batch_size = { low = 8, high = 32, step = 8 }
[training.augmentation]
flip_horizontal = true
rotate_degrees = { low = 0, high = 20 }
"""


def plan_of(tmp_path, text, **more):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return make_plan(path, **more)


def test_spaces_are_taken_out_and_their_defaults_stay():
    content = tomllib.loads(RECIPE)
    before = copy.deepcopy(content)
    plain, found = take_spaces(content, "x")
    assert content == before
    assert plain["data"]["size_px"] == 16
    assert plain["contender"][0]["training"]["optimizer"] == "sgd"
    assert plain["training"] == {
        "learning_rate": 1e-3, "batch_size": 24, "augmentation": {"flip_horizontal": True, "rotate_degrees": 10},
    }  # fmt: skip
    assert found["contender", 0, "layers", 0, "conv"] == Choices((4, 8), 4)
    assert found["contender", 0, "layers", 2, "dropout"].default == 0.1
    assert found["training", "batch_size"] == Range(8, 32, False, 8, True, 24)
    assert not any(place[:2] == ("contender", 1) for place in found)


def test_a_plan_names_settings_by_their_place_in_the_contender(tmp_path):
    plan = plan_of(tmp_path, RECIPE)
    assert plan.contender.name == "a"
    assert set(plan.spaces) == {
        "size_px", "layers.0.conv", "layers.0.activation", "layers.2.dropout", "training.optimizer",
        "training.learning_rate", "training.batch_size", "training.augmentation.rotate_degrees",
    }  # fmt: skip
    tuned = plan.contender_with({"size_px": 24, "layers.0.conv": 8, "training.augmentation.rotate_degrees": 3.5})
    assert (tuned.size_px, tuned.layers[0].conv, tuned.training.augmentation.rotate_degrees) == (24, 8, 3.5)
    assert tuned.training.augmentation.flip_horizontal
    assert plan.contender.size_px is None
    both = plan.recipe_with({"training.learning_rate": 0.005})
    assert [each.name for each in both.contender] == ["a", "a, tuned"]
    assert both.contender[1].training.learning_rate == 0.005
    assert both.contender[0] == plan.contender
    assert [each.name for each in plan.recipe_with(None).contender] == ["a"]


def test_whole_ends_of_a_setting_that_takes_any_number_span_all_of_those(tmp_path):
    spaces = plan_of(tmp_path, RECIPE).spaces
    assert not spaces["training.augmentation.rotate_degrees"].whole
    assert spaces["training.batch_size"].whole


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("{ low = 2, high = 1 }", "'low' below its 'high'"),
        ("{ low = 0, high = 1, log = true }", "'low' must be more than 0"),
        ("{ low = 0.1, high = 1, step = 0.1, log = true }", "both a 'step' and 'log'"),
        ("{ low = 0.1 }", "numbers as 'low' and 'high'"),
        ("{ low = 0.1, high = nan }", "numbers as 'low' and 'high'"),
        ("{ low = 0.1, high = 1, hihg = 3 }", "no setting 'hihg'"),
        ("{ low = 0.1, high = 1, default = 2 }", "not from 0.1 to 1"),
        ("{ low = 1, high = 9, step = 3, default = 3 }", "not whole steps of 3"),
        ("[]", "1 to 100 choices"),
        ("[1.0, 1.0]", "a choice twice"),
        ("[[1.0]]", "got a list"),
        ("{ choices = [0.1, 0.2], default = 0.3 }", "none of its choices"),
        ("{ low = 1, high = 2, step = 3 }", "is less than that"),
        ("{ low = 0, high = 1, step = 5e-324 }", "more than 1,000,000 steps"),
        ("{ low = 0, high = 1, step = 5e-324, default = 0.5 }", "more than 1,000,000 steps"),
        ("{ low = 1, high = 1" + 400 * "0" + " }", "numbers as 'low' and 'high'"),
        ("[0.1, -3.0]", "must be more than 0, got -3.0"),
        ("{ low = 0.1, high = 1500 }", "must be at most 1000, got 1500"),
        ('[0.1, "much"]', "must be a number, got 'much'"),
    ],
)
def test_a_space_that_is_none_is_said_so(tmp_path, space, said):
    text = RECIPE.replace("{ low = 1e-4, high = 1e-2, log = true }", space)
    with pytest.raises(RecipeError, match="mistake") as caught:
        plan_of(tmp_path, text)
    assert said in str(caught.value)
    assert "learning_rate" in str(caught.value)


def test_a_study_refuses_spaces_and_says_who_takes_them(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    for setting in ("size_px", "learning_rate", "batch_size", "optimizer", "conv"):
        line = next(line for line in str(caught.value).splitlines() if f"'{setting}'" in line)
        assert "clearmargin tune" in line


def test_a_study_over_several_splits_is_refused_whose_test_parts_the_search_would_have_seen(tmp_path):
    with pytest.raises(RecipeError, match="samples that the search has seen"):
        plan_of(tmp_path, RECIPE + "[split]\nfolds = 5\n")
    once = plan_of(tmp_path, RECIPE + "[evaluation]\nrepeats = 3\n")
    assert (once.recipe.rounds, once.recipe_with(once.untuned).rounds, once.repeats) == (1, 1, 3)
    assert plan_of(tmp_path, RECIPE + "[evaluation]\ninitialisations = 2\n").recipe.rounds == 2


def test_a_contender_with_a_size_of_its_own_keeps_it(tmp_path):
    plan = plan_of(tmp_path, RECIPE.replace('name = "a"', 'name = "a"\nsize_px = 32'))
    assert "size_px" not in plan.spaces
    assert plan.contender_with(plan.untuned) == plan.contender
    assert plan.contender.size_px == 32


def test_the_hint_is_given_only_where_a_search_may_choose(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace("size_px = [16, 24]", 'fit = ["pad", "crop"]'))
    with pytest.raises(RecipeError) as caught:
        make_plan(path)
    assert "'fit'" in str(caught.value)
    assert "tune" not in str(caught.value)


def test_which_contender_is_tuned(tmp_path):
    plain = '[[contender]]\nname = "a"\nlayers = [{ conv = 4 }]\n[[contender]]\nname = "VGG"\narchitecture = "vgg16"\n'
    assert plan_of(tmp_path, plain).contender.name == "VGG"
    assert plan_of(tmp_path, plain, contender="A").contender.name == "a"
    both = plain.replace("conv = 4", "conv = [4, 8]") + 'freeze_through = ["block4", "block5"]\n'
    with pytest.raises(RecipeError, match="--contender 'a' or 'VGG'"):
        plan_of(tmp_path, both)
    assert set(plan_of(tmp_path, both, contender="vgg").spaces) == {"freeze_through"}
    with pytest.raises(RecipeError, match="There is no contender 'c'"):
        plan_of(tmp_path, plain, contender="c")


@pytest.mark.parametrize("recipe", shipped_recipes())
def test_every_shipped_recipe_has_spaces_whose_values_it_may_say(recipe):
    for each in load_recipe(recipe).contender:
        plan = make_plan(recipe, contender=each.name)
        assert not plan.own
        assert plan.contender == plan.contender_with(plan.untuned)
        for name, space in plan.spaces.items():
            for value in space.ends():
                plan.contender_with({name: value})


def test_behind_frozen_layers_images_are_changed_as_the_recipe_says():
    contenders = {each.name: each for each in load_recipe("tumor").contender}
    places = {name: default_spaces(contender, classes=True) for name, contender in contenders.items()}
    assert ("training", "augmentation", "rotate_degrees") in places["plain CNN"]
    assert not any("augmentation" in place for place in places["VGG16"])
    assert "adadelta" not in places["VGG16"]["training", "optimizer"].values  # its learning rates are others
    assert ("head", 1, "dense") in places["VGG16"]


numbers = st.floats(-1e6, 1e6, allow_nan=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | numbers | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["low", "high", "log", "step", "default", "choices", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(values)
def test_whatever_stands_there_is_a_space_or_a_mistake_or_left_to_others(value):
    content = {"contender": [{"name": "a", "layers": [{"conv": value}]}], "training": {"learning_rate": value}}
    try:
        plain, found = take_spaces(content, "x")
    except RecipeError:
        return
    for place, space in found.items():
        ends = space.ends()
        if isinstance(space, Range):
            assert space.low <= space.default <= space.high
            assert space.low < space.high
        else:
            assert space.default in ends
        assert place in {("contender", 0, "layers", 0, "conv"), ("training", "learning_rate")}
    if not found:
        assert plain == content
