"""A look inside a real small run: what is kept, that it agrees with the run, and that it changes nothing."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import clearmargin as cm
from clearmargin.inside import look_inside
from clearmargin.inside.views import Shown
from clearmargin.records import Columns, Inputs, Predictions, Split
from clearmargin.report import write_report
from clearmargin.runs import Run

pytestmark = pytest.mark.usefixtures("without_figures")

RECIPE = """
name = "Tiny"
[data]
size_px = 16
color = "gray"
[[contender]]
name = "two layers"
layers = [{ conv = 4, kernel = 3, activation = "relu" }, { pool = "max" },
          { conv = 8, kernel = 3, activation = "relu" }, { flatten = true }]
[[contender]]
name = "dense only"
layers = [{ flatten = true }, { dense = 6, activation = "relu" }]
[training]
epochs = 1
learning_rate = 1e-4
[evaluation]
resamples = 200
"""


def files(folder, pattern):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob(pattern) if path.is_file()}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(class_folder, recipe, tmp_path_factory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARMARGIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        return cm.run(recipe, data=class_folder, out=tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture
def copied(run, tmp_path):
    return Run(shutil.copytree(run.folder, tmp_path / "copy"))


def kept(run, name):
    return json.loads((run.contenders[name].folder / "inside" / "inside.json").read_text())


def test_what_is_kept_agrees_with_the_predictions(run):
    table = run.predictions
    for name in run.contenders:
        said = table[(table["contender"] == name) & (table["part"] == "test")].set_index("name")
        content = kept(run, name)
        looks = content["grad_cam"]["looks"] if content["grad_cam"] else []
        for answer in [content["sample"], *looks]:
            row = said.loc[answer["name"]]
            assert (answer["label"], answer["predicted"]) == (row["label"], row["predicted"])
            assert answer["probability"] == pytest.approx(row[f"P({row['predicted']})"])
            assert answer["true_probability"] == pytest.approx(row[f"P({row['label']})"])
        wrong = [look for look in looks if look["label"] != look["predicted"]]
        confident = [look["probability"] for look in wrong]
        assert confident == sorted(confident, reverse=True)


def test_the_sample_is_the_first_that_the_best_contender_gets_right_and_its_matrix_is_its_pixels(run, class_folder):
    table = run.predictions
    said = table[(table["contender"] == run.best.name) & (table["part"] == "test")]
    first = min(said["name"][said["label"] == said["predicted"]])
    for name in run.contenders:
        assert kept(run, name)["sample"]["name"] == first
        assert kept(run, name)["sample"]["chosen_right"] is True
    sample = kept(run, "two layers")["sample"]
    prepared = run.best.prepare(class_folder / first, first)
    assert sample["matrix"]["block_px"] == 1
    np.testing.assert_array_equal(sample["matrix"]["channels"][0]["rows"], prepared[..., 0])
    with Image.open(run.contenders["two layers"].folder / "inside" / sample["picture"]) as image:
        np.testing.assert_array_equal(np.asarray(image), prepared[..., 0])


@pytest.mark.parametrize(("said", "followed", "right"), [((1, 1, 0), "b", True), ((1, 0, 0), "a", False)])
def test_where_no_answer_is_right_the_first_image_is_followed(said, followed, right):
    names, labels = np.array(["a", "b", "c"], dtype=object), np.array(["no", "yes", "yes"], dtype=object)
    best = Predictions(names, labels, names, ("no", "yes"), np.eye(2)[list(said)])
    split = Split(names, labels, names, np.array(["test"] * 3, dtype=object), (0.8, 0.1, 0.1), False, True)
    shown = Shown.of(None, split, best, contenders=1)
    assert (names[shown.sample], shown.sample_right) == (followed, right)


def test_every_mistake_has_a_neighbour_of_its_true_class_from_the_training_part(run):
    split = pd.read_csv(run.folder / "split.csv").set_index("name")
    table = run.predictions
    for name in run.contenders:
        said = table[(table["contender"] == name) & (table["part"] == "test")]
        wrong = said[said["label"] != said["predicted"]].set_index("name")
        assert len(wrong)
        pairs = kept(run, name)["nearest"]["pairs"]
        assert sorted(pair["name"] for pair in pairs) == sorted(wrong.index)
        for pair in pairs:
            neighbour = split.loc[pair["nearest"]]
            assert (neighbour["part"], neighbour["label"]) == ("train", wrong.loc[pair["name"], "label"])
            assert 0 <= pair["distance"] <= 2


def test_a_network_without_convolutions_has_neighbours_only(run):
    content = kept(run, "dense only")
    assert (content["filters"], content["maps"], content["grad_cam"]) == (None, [], None)
    assert "It has no convolution: there are no filters" in run.report.read_text()


def test_the_page_shows_it_and_a_later_report_needs_no_data(run, copied):
    page = run.report.read_text(encoding="utf-8")
    for words in ("One image, in numbers", "First filters", "conv 8, 3x3, relu", "Its most confident mistakes"):
        assert words in page
    assert page.count("Nearest training image of") >= len(kept(run, "two layers")["nearest"]["pairs"])
    write_report(copied.folder)
    assert copied.report.read_bytes() == run.report.read_bytes()


def test_it_changes_nothing_else_and_gives_the_same_bytes_again(copied, class_folder):
    before = files(copied.folder / "contenders", "*")
    models = {name: data for name, data in before.items() if "inside" not in name}
    assert any(name.endswith("model.safetensors") for name in models)
    for contender in copied.contenders.values():
        shutil.rmtree(contender.folder / "inside")
    cm.run(
        copied.folder / "recipe.toml", data=class_folder, out=copied.folder, resume=True
    )  # finished: opened as it is
    assert not (copied.contenders["two layers"].folder / "inside").exists()
    copied.report.unlink()
    cm.run(copied.folder / "recipe.toml", data=class_folder, out=copied.folder, resume=True)
    assert files(copied.folder / "contenders", "*") == before


def test_stopped_in_between_it_goes_on_with_the_next_contender(recipe, class_folder, tmp_path):
    def stop(what, done, total, note):
        if what == "Looking inside" and done == 1:
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        cm.run(recipe, data=class_folder, out=out, progress=stop)
    first = out / "contenders" / "two-layers" / "inside" / "inside.json"
    written = first.stat().st_mtime_ns
    assert not (out / "contenders" / "dense-only" / "inside").exists()
    done = cm.run(recipe, data=class_folder, out=out, resume=True)
    assert first.stat().st_mtime_ns == written
    assert kept(done, "dense only")["nearest"]["pairs"]
    environment = json.loads((out / "environment.json").read_text())
    assert environment["seconds"]["looking inside"] > 0


def test_a_table_has_nothing_to_look_at(tmp_path):
    empty = np.array([], dtype=object)
    rows = Inputs(None, (), None, (), 0, "key", Columns(("a", "b")), False)
    look_inside(tmp_path, rows, Split(empty, empty, empty, empty, (0.8, 0.1, 0.1), False), None, None)
    assert list(tmp_path.iterdir()) == []
