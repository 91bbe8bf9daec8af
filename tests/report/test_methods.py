"""What a classification's page says was done: only what was done."""

import json
import shlex
import tomllib

import pytest
import tomli_w

from clearmargin.report import methods, write_report
from clearmargin.report.folder import read_run


def changed(path, **settings):
    """Set keys of a JSON or TOML file."""
    if path.suffix == ".json":
        path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
        return
    recipe = tomllib.loads(path.read_text())
    recipe.update(settings)
    path.write_text(tomli_w.dumps(recipe))


def with_training(run_folder, **settings):
    path = run_folder / "recipe.toml"
    contenders = tomllib.loads(path.read_text())["contender"]
    for contender in contenders:
        contender["training"] = {**contender["training"], **settings}
    changed(path, contender=contenders)


def told(run_folder, step):
    return dict(methods.steps(read_run(run_folder)))[step].replace("\u202f", " ")


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (False, "The parts are the source's own, as shipped; nothing was moved between them."),
        (
            True,
            "The test part is the source's own, as shipped. Of the 540 given training images 60 were held out for "
            "validation, by lot from seed 0, stratified by class.",
        ),
    ],
)
def test_a_validation_part_that_was_cut_is_told(synthetic_run, cut, words):
    run_folder = synthetic_run()
    changed(run_folder / "split.json", given=True, validation_cut=cut)
    assert told(run_folder, "Split") == words


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (False, "The parts are those of the file ok.csv; nothing was moved between them."),
        (True, "The test part is that of the file ok.csv. Of the 540 given training images 60 were held out for "),
    ],
)
def test_parts_of_a_file_are_not_the_source_s_own(synthetic_run, reading, cut, words):
    run_folder = synthetic_run()
    changed(run_folder / "split.json", given=True, from_file=True, validation_cut=cut)
    changed(run_folder / "recipe.toml", split={"file": "ok.csv"})
    assert told(run_folder, "Split").startswith(words)
    write_report(run_folder)
    text = reading.words(reading.read_page(run_folder))
    assert text.index("parts of the file ok.csv") < text.index("What was done", text.index("60 test images"))
    assert "as shipped" not in text


def test_given_parts_are_told_on_the_first_screen(synthetic_run, reading):
    run_folder = synthetic_run()
    changed(run_folder / "split.json", given=True)
    write_report(run_folder)
    assert "60 test images parts as shipped" in " ".join(reading.words(reading.read_page(run_folder)).split())


@pytest.mark.parametrize("name", ["mine.zip", "my images.zip", 'a"b$(touch x).zip', "it's.zip", "`ls`", "-x.zip"])
def test_the_command_can_be_pasted_into_a_shell(synthetic_run, name):
    run_folder = synthetic_run()
    changed(run_folder / "recipe.toml", data={"source": f"/home/jane/{name}"})
    given = shlex.split(methods.command(read_run(run_folder)))
    own = f"./{name}" if name.startswith("-") else name
    assert given == ["clearmargin", "run", "recipe.toml", "--data", own, "--out", "another-folder"]


def test_a_network_without_convolution_is_no_cnn(synthetic_run):
    run_folder = synthetic_run()
    path = run_folder / "contenders" / "plain-cnn" / "model.json"
    assert told(run_folder, "plain CNN").startswith("A plain CNN with")
    layers = [layer for layer in json.loads(path.read_text())["layers"] if not layer["layer"].startswith("conv")]
    changed(path, layers=layers)
    assert told(run_folder, "plain CNN").startswith("A dense network with")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "with AdamW, learning rate"),
        ({"momentum": 0.9}, "with AdamW, learning rate"),  # which has none
        ({"optimizer": "sgd", "momentum": 0.9}, "with SGD and Nesterov momentum 0.9, learning rate"),
        ({"optimizer": "rmsprop", "momentum": 0.5}, "with RMSprop and momentum 0.5, learning rate"),
        ({"optimizer": "sgd", "momentum": 0.0}, "with SGD, learning rate"),
        ({}, "The loss is cross-entropy."),
        ({"label_smoothing": 0.1}, "The loss is cross-entropy with label smoothing 0.1."),
    ],
)
def test_loss_smoothing_and_momentum_are_named_where_they_are_active(synthetic_run, settings, words):
    run_folder = synthetic_run(skills={"plain CNN": 2.2})
    with_training(run_folder, **settings)
    assert words in told(run_folder, "Training")
