import pytest

from clearmargin.errors import RecipeError
from clearmargin.recipe import Contender, Data, Recipe, Training, check_recipe, dump_recipe, load_recipe
from clearmargin.recipe_conflicts import REFERENCE_METRICS
from clearmargin.report import overview
from clearmargin.report.regression import overview as regression_overview

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
    def load(text: str) -> Recipe:
        path = tmp_path / "study.toml"
        path.write_text(text)
        return load_recipe(path)

    return load


def mistakes_in(load, text: str) -> list[str]:
    with pytest.raises(RecipeError) as raised:
        load(text)
    first, *listed = str(raised.value).split("\n  - ")
    count = "1 mistake" if len(listed) == 1 else f"{len(listed)} mistakes"
    assert first == f"{count} in study.toml:"
    return listed


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            PLAIN + '[evaluation]\nprevalence = { glioma = 1.0, "no tumour" = 0.5 }',
            "The 'glioma' setting must be less than 1, got 1.0 ([evaluation.prevalence]).",
        ),
        (PLAIN + "[evaluation]\nprevalence = 0.1", "The 'prevalence' setting must be a table, got 0.1 ([evaluation])."),
        (
            PLAIN + '[evaluation]\nsubgroups = ["sex", "sex"]',
            "'subgroups' names 'sex' more than once ([evaluation]).",
        ),
        ("", "A recipe needs at least one [[contender]] table."),
        ("contender = []", "A recipe needs at least one [[contender]] table."),
        ("contender = 3", "The 'contender' setting must be a list, got 3."),
        (PLAIN.replace("[[contender]]", "[contender]"), "The 'contender' setting must be a list, got a table."),
        ('contender = ["x"]', "Contender 1 must be a table, got 'x'."),
        (PLAIN + PLAIN, "Contenders 'plain', 'plain' would share the folder 'plain': give them other names."),
        ("nam = 1\n" + PLAIN, "There is no setting 'nam'; did you mean 'name'?"),
        ("epochs = 1\n" + PLAIN, "There is no setting 'epochs'; it belongs to [training]."),
        ("name = 3\n" + PLAIN, "The 'name' setting must be text, in quotes, got 3."),
        ('name = " "\n' + PLAIN, "The 'name' setting must not be blank, got ' '."),
        ("seed = 1.5\n" + PLAIN, "The 'seed' setting must be a whole number, got 1.5."),
        ("seed = true\n" + PLAIN, "The 'seed' setting must be a whole number, got true."),
        (
            f"seed = 0x{'f' * 500}\n" + PLAIN,
            "The 'seed' setting must be less than 2147483648, got a number of 2000 bits.",
        ),
        ("seed = -1\n" + PLAIN, "The 'seed' setting must be at least 0, got -1."),
        ('task = "ranking"\n' + PLAIN, "The 'task' setting must be one of classification, regression, got 'ranking'."),
        ("data = 3\n" + PLAIN, "The 'data' setting must be a table, got 3."),
        (PLAIN + "[data]\nsize_px = 3", "The 'size_px' setting must be at least 8, got 3 ([data])."),
        (PLAIN + '[data]\nsource = ""', "The 'source' setting must have at least 1 character, got '' ([data])."),
        (
            PLAIN + '[data]\nfit = "Pad"',
            "The 'fit' setting must be one of pad, stretch, crop, got 'Pad' ([data]); did you mean 'pad'?",
        ),
        (PLAIN + "[data]\nfit = 3", "The 'fit' setting must be one of pad, stretch, crop, got 3 ([data])."),
        (
            PLAIN + "[split]\nfractions = [0.5, 0.1, 0.1]",
            "'fractions' must sum to 1, got [0.5, 0.1, 0.1], which sum to 0.7 ([split]).",
        ),
        (
            PLAIN + "[split]\nfractions = [0.5, 0.5, 0]",
            "Number 3 of 'fractions' must be more than 0, got 0 ([split]).",
        ),
        (
            PLAIN + "[split]\nfractions = [0.5, 0.5]",
            "The 'fractions' setting must have at least 3 items, got 2 ([split]).",
        ),
        (
            PLAIN + "[split]\nfractions = [nan, 0.5, 0.5]",
            "Number 1 of 'fractions' must be a finite number, got nan ([split]).",
        ),
        (
            PLAIN + "[training]\nlearning_rate = true",
            "The 'learning_rate' setting must be a number, got true ([training]).",
        ),
        (
            PLAIN + "[training]\nlearning_rate = '1'",
            "The 'learning_rate' setting must be a number, got '1' ([training]).",
        ),
        (
            PLAIN + "[training]\nlearning_rate = inf",
            "The 'learning_rate' setting must be a finite number, got inf ([training]).",
        ),
        (PLAIN + "[training]\nbatch_size = 1", "The 'batch_size' setting must be at least 2, got 1 ([training])."),
        (
            PLAIN + "[training]\nclass_weights = 1",
            "The 'class_weights' setting must be true or false, got 1 ([training]).",
        ),
        (
            PLAIN + "[training.augmentation]\nrotate_degree = 1",
            "There is no setting 'rotate_degree' ([training.augmentation]); did you mean 'rotate_degrees'?",
        ),
        (
            PLAIN + '[training]\nkeep = "last"\nearly_stopping = 3',
            "'early_stopping' waits for a better epoch, and keep = \"last\" calls every epoch the best: "
            'set keep = "best", or early_stopping = 0 ([training]).',
        ),
        ("[[contender]]\nlayers = [{ conv = 4 }]", "A recipe needs the setting 'name' (contender 1)."),
        (
            '[[contender]]\nname = "a"',
            "A plain CNN needs its 'layers', or say architecture = \"vgg16\" or \"resnet18\" (contender 'a').",
        ),
        (PLAIN + 'weights = "imagenet"', "'weights' does not go with architecture = \"cnn\" (contender 'plain')."),
        (
            '[[contender]]\nname = "a"\narchitecture = "vgg16"\nlayers = [{ conv = 4 }]',
            "'layers' does not go with architecture = \"vgg16\" (contender 'a').",
        ),
        (
            '[[contender]]\nname = "a"\narchitecture = "vgg16"\nweights = "none"\nfreeze_through = "block3"',
            "'freeze_through' = 'block3' would freeze random weights, as weights = \"none\": "
            'take weights = "imagenet", or freeze_through = "none" (contender \'a\').',
        ),
        (PLAIN + "training = 3", "The 'training' setting must be a table, got 3 (contender 'plain')."),
        (
            PLAIN + "training = { epohcs = 3 }",
            "There is no setting 'epohcs' (contender 'plain', [training]); did you mean 'epochs'?",
        ),
        (
            PLAIN + 'training = { early_stopping = 2 }\n[training]\nkeep = "last"',
            "'early_stopping' waits for a better epoch, and keep = \"last\" calls every epoch the best: "
            "set keep = \"best\", or early_stopping = 0 (contender 'plain', [training]).",
        ),
    ],
)
def test_each_mistake_says_what_is_expected_and_where(load, text, mistake):
    assert mistakes_in(load, text) == [mistake]


@pytest.mark.parametrize(
    ("layers", "mistake"),
    [
        ("3", "The 'layers' setting must be a list, got 3 (contender 'a')."),
        ("{ conv = 3 }", "The 'layers' setting must be a list, got a table (contender 'a')."),
        (
            "[3]",
            "Layer 1 is not a layer: it needs one of the keys conv, whitening, pool, dropout, flatten, dense, "
            "batch_norm, activation, got 3 (contender 'a').",
        ),
        (
            "[{ cnov = 3 }]",
            "Layer 1 is not a layer: it needs one of the keys conv, whitening, pool, dropout, flatten, dense, "
            "batch_norm, activation, got a table (contender 'a'); did you mean 'conv'?",
        ),
        (
            "[{ activation = 'relu', cnov = 3 }]",
            "Layer 1 is not a layer: it needs one of the keys conv, whitening, pool, dropout, flatten, dense, "
            "batch_norm, activation, got a table (contender 'a'); did you mean 'conv'?",
        ),
        (
            "[{ conv = 1 }, { conv = 3, kernl = 2 }]",
            "There is no setting 'kernl' (contender 'a', layer 2); did you mean 'kernel'?",
        ),
        (
            "[{ pool = 'max', dense = 2 }]",
            "There is no setting 'dense' (contender 'a', layer 1); expected one of pool, size, stride.",
        ),
        ("[{ conv = 'x' }]", "The 'conv' setting must be a whole number, got 'x' (contender 'a', layer 1)."),
        ("[{ conv = 0 }]", "The 'conv' setting must be at least 1, got 0 (contender 'a', layer 1)."),
        ("[{ dropout = 1 }]", "The 'dropout' setting must be less than 1, got 1 (contender 'a', layer 1)."),
        ("[{ flatten = false }]", "The 'flatten' setting must be true, got false (contender 'a', layer 1)."),
        ("[{ batch_norm = false }]", "The 'batch_norm' setting must be true, got false (contender 'a', layer 1)."),
        (
            "[{ dense = 3, activation = 'rleu' }]",
            "The 'activation' setting must be one of relu, leaky_relu, elu, gelu, tanh, sigmoid, maxout, "
            "softmax, got 'rleu' (contender 'a', layer 1); did you mean 'relu'?",
        ),
        (
            "[{ pool = 'max', activation = 'maxout' }]",
            "There is no setting 'activation' (contender 'a', layer 1); expected one of pool, size, stride.",
        ),
        (
            "[{ pool = 'global_max', size = 9 }]",
            "'size' is for windows, and pool = \"global_max\" takes each map whole: leave it out, or say "
            "pool = \"max\" (contender 'a', layer 1).",
        ),
        (
            "[{ pool = 'global_sum', stride = 3 }]",
            "'stride' is for windows, and pool = \"global_sum\" takes each map whole: leave it out, or say "
            "pool = \"sum\" (contender 'a', layer 1).",
        ),
        (
            "[{ conv = 2, activation = 'relu', pieces = 2 }]",
            "'pieces' goes with activation = \"maxout\" only (contender 'a', layer 1).",
        ),
        (
            "[{ conv = 2 }, { dense = 2, slope = 0.1 }]",
            "'slope' goes with activation = \"leaky_relu\" only (contender 'a', layer 2).",
        ),
        (
            "[{ conv = 2, activation = 'maxout', pieces = 1 }]",
            "The 'pieces' setting must be at least 2, got 1 (contender 'a', layer 1).",
        ),
        *(
            (
                f"[{layer}, {{ flatten = true }}]",
                "'activation' = \"softmax\" belongs to the last dense layer, the one of the classes: take another "
                "activation here, or leave it out, as the output layer follows from the classes "
                "(contender 'a', layer 1).",
            )
            for layer in (
                "{ conv = 2, activation = 'softmax' }",
                "{ dense = 2, activation = 'softmax' }",
                "{ activation = 'softmax' }",
            )
        ),
    ],
)
def test_mistakes_in_layers_name_the_layer(load, layers, mistake):
    assert mistakes_in(load, f'[[contender]]\nname = "a"\nlayers = {layers}\n') == [mistake]


def test_mistakes_in_a_head_say_so(load):
    head = (
        '[[contender]]\nname = "a"\narchitecture = "vgg16"\nhead = [{ dense = 2 }, { dense = 2, size = 3 }, { x = 1 }]'
    )
    first, second = mistakes_in(load, head)
    assert first.startswith("There is no setting 'size' (contender 'a', layer 2 of the head)")
    assert second.startswith("Layer 3 is not a layer")
    assert second.endswith("(contender 'a', [head]).")


TABLE = '[data]\ntarget = "medv"\n'
NUMBERS = 'task = "regression"\n' + PLAIN + TABLE
LEFT_OUT = 'say task = "regression", or leave it out, as classes come with the images'


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        (
            'task = "regression"\n' + PLAIN,
            ['A regression (task = "regression") needs to know the column it learns: set [data] target.'],
        ),
        (
            PLAIN + TABLE + 'features = ["rm"]',
            [
                f"'{key}' names columns of a table to learn numbers from: {LEFT_OUT} ([data])."
                for key in ("target", "features")
            ],
        ),
        (
            PLAIN + '[evaluation]\nreferences = [{ name = "a", metric = "acuracy", value = 0.9 }]',
            [
                "The 'metric' of a reference must be one of accuracy, balanced_accuracy, macro_f1, mcc, auc, log_loss, "
                "brier, got 'acuracy' ([evaluation]); did you mean 'accuracy'?"
            ],
        ),
        (
            NUMBERS
            + '[evaluation]\nreferences = [{ name = "a", metric = "RMSE", value = 3 }, { name = "b", metric = "r2",'
            ' value = 0.9 }, { name = "c", metric = "accuracy", value = 1 }]',
            [
                "The 'metric' of a reference must be one of rmse, mae, mse, r2, got 'RMSE' ([evaluation]); did you "
                "mean 'rmse'?",
                "The 'metric' of a reference must be one of rmse, mae, mse, r2, got 'accuracy' ([evaluation]).",
            ],
        ),
        (
            NUMBERS + 'features = ["rm", "b", "rm"]',
            ["'features' names 'rm' more than once ([data])."],
        ),
        (
            NUMBERS + 'features = ["rm", "medv"]',
            ["'features' holds the target 'medv', which would then be learned from itself: leave it out ([data])."],
        ),
        (
            NUMBERS + 'size_px = 224\nfit = "pad"\ncolor = "gray"',
            [
                f"'{key}' is for images, and a 'target' makes the data a table: leave it out ([data])."
                for key in ("size_px", "fit", "color")
            ],
        ),
        (
            PLAIN + '[training]\nloss = "huber"',
            [
                '\'loss\' = "huber" is for numbers (task = "regression"): classes are learned by "cross-entropy", '
                "which is what leaving it out means ([training])."
            ],
        ),
        (
            NUMBERS + '[training]\nloss = "cross-entropy"\nlabel_smoothing = 0.1\nclass_weights = true',
            [
                "'loss' = \"cross-entropy\" is for classes: a regression takes squared, absolute or huber "
                "([training]).",
                "'label_smoothing' is for classes: leave it out of a regression ([training]).",
                "'class_weights' is for classes: leave it out of a regression ([training]).",
            ],
        ),
        (
            NUMBERS + '[evaluation]\nsubgroups = ["sex"]\nprevalence = { high = 0.1 }',
            [
                "'prevalence' is for classes: leave it out of a regression ([evaluation]).",
                "'subgroups' is for classes: leave it out of a regression ([evaluation]).",
            ],
        ),
        (
            'task = "regression"\n' + PLAIN + "training = { class_weights = true }\n" + TABLE,
            ["'class_weights' is for classes: leave it out of a regression (contender 'plain', [training])."],
        ),
        (
            NUMBERS + "[training.augmentation]\nflip_vertical = true\nnoise = 0.1\ncached_views = 1",
            [
                "'augmentation' changes images, and a regression learns from a table: leave out flip_vertical, noise "
                "([training])."
            ],
        ),
        *(
            (
                f'task = "regression"\n{TABLE}[[contender]]\nname = "a"\narchitecture = "{architecture}"',
                [
                    f"'architecture' = \"{architecture}\" takes images, and a regression learns from a table: take a "
                    "plain CNN, with its 'layers' (contender 'a')."
                ],
            )
            for architecture in ("vgg16", "resnet18")
        ),
        (
            NUMBERS.replace("{ conv = 4 }", '{ flatten = true }, { dense = 3, activation = "softmax" }'),
            [
                "'activation' = \"softmax\" of the last layer is for classes: a regression ends in { dense = 1 } "
                "(contender 'plain')."
            ],
        ),
        (
            '[[contender]]\nname = "a"\narchitecture = "resnet18"\nweights = "imagenet"\n'
            'freeze_through = "block1"\nhead = []',
            [
                "'head' does not go with architecture = \"resnet18\" (contender 'a').",
                "'freeze_through' does not go with architecture = \"resnet18\" (contender 'a').",
                "'weights' = \"imagenet\" are VGG16's: ResNet-18 starts from random weights (leave 'weights' out), "
                "or from a .safetensors or .pth file of your own (contender 'a').",
            ],
        ),
    ],
)
def test_settings_have_to_fit_the_task(load, text, mistakes):
    assert mistakes_in(load, text) == mistakes


def test_what_does_not_fit_the_task_is_refused_however_a_recipe_is_made():
    plain = Contender.model_validate({"name": "a", "layers": [{"conv": 2}]})
    for given, words in (
        ({"task": "regression"}, "needs to know the column"),
        ({"data": Data(target="y")}, "names columns of a table"),
        ({"task": "regression", "data": Data(target="y", size_px=8)}, "'size_px' is for images"),
        ({"task": "regression", "data": Data(target="y"), "training": Training(class_weights=True)}, "for classes"),
    ):
        with pytest.raises(ValueError, match=words):
            Recipe(contender=[plain], **given)


def test_a_regression_is_written_without_settings_of_images_and_read_back_equal(load):
    recipe = load(NUMBERS + 'features = ["rm", "b"]\n[training]\nloss = "huber"\nhuber_delta = 0.5\n')
    written = dump_recipe(recipe)
    assert "size_px" not in written
    assert load(written) == recipe


def test_all_mistakes_are_reported_at_once(load):
    text = """
        nam = "x"
        [dta]
        [split]
        fractions = [0.1, 0.1, 0.1]
        [training]
        epochs = 0
        early_stopping = 3
        keep = "last"
        [[contender]]
        name = "a"
        layers = [{ conv = 1 }, { conv = 1, kernel = 0 }]
        head = []
        [[contender]]
        name = "A"
        architecture = "vgg17"
        training = { epochs = "many", optimizer = "adan" }
    """
    found = mistakes_in(load, text)
    wanted = ["'nam'", "'dta'", "fractions", "at least 1, got 0 ([training])", "early_stopping", "layer 2", "'head'"]
    wanted += ["vgg17", "got 'many' (contender 'A', [training])", "did you mean 'adam'?", "share the folder"]
    assert len(found) == len(wanted)
    for words in wanted:
        assert sum(words in mistake for mistake in found) == 1, words


def test_a_mistake_all_contenders_inherit_is_reported_once(load):
    assert mistakes_in(load, TWO.replace("epochs = 4", "epochs = 'x'").replace("batch_size", "batchsize")) == [
        "The 'epochs' setting must be a whole number, got 'x' ([training]).",
        "There is no setting 'batchsize' ([training]); did you mean 'batch_size'?",
    ]


def test_a_mistake_of_its_own_is_reported_beside_the_shared_one(load):
    text = PLAIN + "training = { epochs = 0 }\n[training]\nepochs = 0\n"
    assert len(mistakes_in(load, text)) == 2


def test_long_and_odd_values_do_not_flood_the_message(load):
    (mistake,) = mistakes_in(load, PLAIN + f"[data]\nfit = '{'x' * 5000}'")
    assert len(mistake) < 200
    (mistake,) = mistakes_in(load, PLAIN + '"a\\nb" = 1')
    assert mistake.startswith(r"There is no setting 'a\nb' (contender 'plain')")


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"contender": [{"name": {"a": 1}, "layers": [[]], "training": []}, 3, None]},
        {"training": [], "split": "x", "contender": [{"architecture": ["cnn"], "weights": 3, "freeze_through": {}}]},
        {"contender": [{"name": "a", "layers": [{"conv": {}}, {"pool": None}], "training": {"augmentation": 3}}]},
        {"training": {"early_stopping": "3", "keep": "last", "augmentation": {"x": {}}}, "contender": {}},
        {"contender": [{"name": "\ud800", "layers": [{"conv": 3}]}]},
        {"task": [], "data": {"features": [[]], "target": {}}, "contender": [{"name": "a", "layers": [{"conv": 3}]}]},
        {"task": "regression", "data": {"features": [{}, 3], "target": 4}, "training": {"loss": []}, "contender": [4]},
        {
            "contender": [
                {"name": "a", "layers": [{"activation": []}, {"conv": 3, "pieces": {}}, [["conv"]], "softmax"]}
            ]
        },
        {"evaluation": {"references": [3, {}, {"metric": []}, {"metric": "x" * 90}]}, "contender": []},
        {"split": {"fractions": ["a", None, {}]}, "contender": [{"name": "a", "layers": [{"conv": 3}]}]},
    ],
)
def test_whatever_the_types_the_mistakes_are_in_words(content):
    with pytest.raises(RecipeError, match=r"^\d+ mistakes? in here:\n  - [A-Z']"):
        check_recipe(content, "here")


def test_a_reference_may_have_every_metric_of_the_first_table():
    assert REFERENCE_METRICS["classification"] == tuple(metric.key for metric in overview.METRICS)
    assert REFERENCE_METRICS["regression"] == tuple(metric.key for metric in regression_overview.METRICS)


def test_conflicts_are_refused_however_a_recipe_is_made():
    with pytest.raises(ValueError, match="early_stopping"):
        Training(early_stopping=2, keep="last")
    with pytest.raises(ValueError, match="needs its 'layers'"):
        Contender(name="a")
