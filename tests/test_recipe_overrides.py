import pytest

from clearmargin.errors import RecipeError
from clearmargin.recipe import Recipe, load_recipe

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
    def load(text: str, *overrides: str, data: str | None = None) -> Recipe:
        path = tmp_path / "study.toml"
        path.write_text(text)
        return load_recipe(path, overrides, data)

    return load


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("seed=5", lambda r: r.seed, 5),
        (" seed = 5 ", lambda r: r.seed, 5),
        ("name=Two words", lambda r: r.name, "Two words"),
        ('name="3"', lambda r: r.name, "3"),
        ('name=say "yes"', lambda r: r.name, 'say "yes"'),
        ("name=[", lambda r: r.name, "["),
        ("data.source=a/b=c#1.zip", lambda r: r.data.source, "a/b=c#1.zip"),
        ("data={ size_px = 32 }", lambda r: r.data.size_px, 32),
        ("split.fractions=[0.6, 0.2, 0.2]", lambda r: r.split.fractions, [0.6, 0.2, 0.2]),
        ("training.learning_rate=1e-4", lambda r: r.training.learning_rate, 1e-4),
        ("training.class_weights=true", lambda r: r.training.class_weights, True),
        ("training.epochs=3", lambda r: [c.training.epochs for c in r.contender], [3, 3]),
        ("training.augmentation.noise=0.1", lambda r: [c.training.augmentation.noise for c in r.contender], [0.1, 0.1]),
        ("training={ epochs = 9 }", lambda r: [c.training.epochs for c in r.contender], [9, 9]),
        ("contender.plain.training.epochs=7", lambda r: [c.training.epochs for c in r.contender], [7, 5]),
        ("contender.PLAIN.training.epochs=7", lambda r: [c.training.epochs for c in r.contender], [7, 5]),
        ("contender.0.training.epochs=7", lambda r: [c.training.epochs for c in r.contender], [7, 5]),
        ("contender.1.training.epochs=7", lambda r: [c.training.epochs for c in r.contender], [4, 7]),
        ("contender.vgg-16-b.training.epochs=7", lambda r: [c.training.epochs for c in r.contender], [4, 7]),
        ('contender."VGG 16.b".training.epochs=7', lambda r: [c.training.epochs for c in r.contender], [4, 7]),
        ("contender.'vgg 16.B'.freeze_through=block5", lambda r: r.contender[1].freeze_through, "block5"),
        ("contender.plain.name=other", lambda r: r.contender[0].name, "other"),
        ("contender.plain.layers.0.conv=9", lambda r: r.contender[0].layers[0].conv, 9),
        ("contender.plain.layers.0={ dense = 9 }", lambda r: r.contender[0].layers[0].dense, 9),
        ("contender.plain.layers=[{ dropout = 0.5 }]", lambda r: len(r.contender[0].layers), 1),
    ],
)
def test_a_setting_can_be_overridden(load, override, read, value):
    assert read(load(TWO, override)) == value


def test_later_overrides_win(load):
    def epochs(*overrides):
        return [contender.training.epochs for contender in load(TWO, *overrides).contender]

    assert epochs("contender.1.training.epochs=7", "training.epochs=3") == [3, 3]
    assert epochs("training.epochs=3", "contender.1.training.epochs=7") == [3, 7]


def test_a_name_goes_before_a_number(load):
    text = PLAIN + PLAIN.replace("plain", "0")
    assert [c.name for c in load(text, "contender.0.name=x").contender] == ["plain", "x"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("x", "--set needs KEY=VALUE, for example training.epochs=3, got 'x'"),
        ("=3", "--set needs KEY=VALUE"),
        (".a=3", "--set needs KEY=VALUE"),
        ("a..b=3", "--set needs KEY=VALUE"),
        (" =3", "--set needs KEY=VALUE"),
        ("contender.'a'b.c=3", "--set needs KEY=VALUE"),
        ("." * 50_000 + "'" * 50_000, "--set needs KEY=VALUE"),
        (
            "contender.nobody.name=x",
            "--set contender.nobody: expected 'plain', 'VGG 16.b', a number from 0 to 1, got 'nobody'",
        ),
        ("contender.2.name=x", "a number from 0 to 1, got '2'"),
        ("contender.-1.name=x", "a number from 0 to 1, got '-1'"),
        ("contender.nobody=3", "expected 'plain'"),
        ("contender.plain.layers.2.conv=3", "--set contender.plain.layers.2: expected a number from 0 to 1, got '2'"),
        ("training.epochs.x=3", "--set training.epochs.x: 'training.epochs' is a value and holds no settings"),
        ("training.epochs.x.y=3", "'training.epochs' is a value and holds no settings"),
        ("nme=3", "There is no setting 'nme'; did you mean 'name'?"),
        ("training.epocs=3", "There is no setting 'epocs' ([training]); did you mean 'epochs'?"),
        ("a.b.c=3", "There is no setting 'a'"),
        ("training.epochs=", "The 'epochs' setting must be a whole number, got ''"),
        ("training.epochs=3 4", "got '3 4'"),
        ("seed=1\nname='x'", "The 'seed' setting must be a whole number, got"),
        ("training.class_weights=True", "The 'class_weights' setting must be true or false, got 'True'"),
        ("data.source=", "The 'source' setting must have at least 1 character"),
        ("contender=3", "The 'contender' setting must be a list, got 3"),
        ("contender.plain=3", "Contender 1 must be a table, got 3"),
        ("name=" + "[" * 100_000, "must have at most 200 characters"),
    ],
)
def test_a_wrong_override_says_what_is_expected(load, override, message):
    with pytest.raises(RecipeError) as raised:
        load(TWO, override)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 500


def test_data_given_for_a_recipe_whose_data_is_no_table(load):
    with pytest.raises(RecipeError, match="The 'data' setting must be a table, got 3"):
        load("data = 3\n" + PLAIN, data="scans.zip")
