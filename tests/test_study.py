"""The whole way from images to a run folder, and what happens when it can't be gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import clearmargin as cm
from clearmargin.errors import ImageError, RecipeError, RunFolderError, SourceError, UsageError, WeightsError
from clearmargin.evaluation.ledger import read_ledger
from clearmargin.files import sealed, write_json
from clearmargin.runs import Run
from clearmargin.split import read_split

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def finished(class_folder: Path, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARMARGIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        return cm.run(tiny_recipe, data=class_folder, out=tmp_path_factory.mktemp("runs") / "tiny")


def test_the_run_folder_holds_what_the_design_lists(finished: Run) -> None:
    present = {str(path.relative_to(finished.folder)) for path in finished.folder.rglob("*") if path.is_file()}
    expected = ["recipe.toml", "environment.json", "audit.json", "split.csv", "split.json", "run.log", "ledger.jsonl"]
    expected += ["evaluation.json", "report.html"]
    for slug in ("one-layer", "two-layers"):
        files = ("model.safetensors", "model.json", "history.csv", "predictions.csv", "done.json")
        expected += [f"contenders/{slug}/{file}" for file in files]
    assert set(expected) <= present
    assert not [name for name in present if name.endswith(".tmp") or "checkpoint" in name]


def test_every_image_is_accounted_for(finished: Run) -> None:
    audit = json.loads((finished.folder / "audit.json").read_text())
    assert audit["counts"] == {"found": 101, "decoded": 100, "excluded": 1}
    unreadable = [finding for finding in audit["findings"] if finding["kind"] == "unreadable-images"]
    assert [finding["samples"] for finding in unreadable] == [["beta/broken.png"]]
    split = read_split(finished.folder)
    assert len(split.names) == 100
    assert sum(len(split.rows(part)) for part in ("train", "validation", "test")) == 100


def test_predictions_are_those_of_the_stored_weights(finished: Run, class_folder: Path) -> None:
    for contender in finished.contenders.values():
        said = finished.predictions.query("contender == @contender.name and part == 'test'")
        again = contender.predict([class_folder / name for name in said["name"]])
        assert list(again["predicted"]) == list(said["predicted"])
        columns = [f"P({name})" for name in contender.classes]
        np.testing.assert_allclose(again[list(contender.classes)], said[columns], atol=1e-5)


def test_accuracy_follows_from_the_predictions_file(finished: Run) -> None:
    for name, figures in finished.evaluation["contenders"].items():
        table = finished.predictions
        said = table[(table["contender"] == name) & (table["part"] == "test")]
        assert figures["metrics"]["accuracy"]["value"] == pytest.approx((said["label"] == said["predicted"]).mean())
        assert figures["errors"] == (said["label"] != said["predicted"]).sum()


def test_predict_takes_every_kind_of_picture(finished: Run, class_folder: Path) -> None:
    path = class_folder / "alpha" / "000.png"
    with Image.open(path) as image:
        image.load()
        array = np.asarray(image)
        rows = finished.best.predict([path, str(path), path.read_bytes(), image, array, image.convert("I;16")])
    assert isinstance(rows, pd.DataFrame)
    probabilities = rows[list(finished.best.classes)].to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(probabilities[:5], probabilities[:1].repeat(5, axis=0), atol=1e-7)
    stack = np.stack([array, array])[..., None].repeat(3, axis=-1)
    assert len(finished.best.predict(stack)) == 2
    with pytest.raises(ImageError, match=r"nowhere\.png can't be used: No such file"):
        finished.best.predict("nowhere.png")


def timeless(run: Run) -> dict[str, object]:
    """The figures of a run; not what its ledger says of the time, and of other runs on this machine."""
    told = ("ledger_head", "evaluation_number_machine")
    return {key: value for key, value in run.evaluation.items() if key not in told}


def test_the_same_seed_gives_the_same_weights(
    finished: Run, class_folder: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    again = cm.run(tiny_recipe, data=class_folder, out=tmp_path / "again")
    for name, contender in finished.contenders.items():
        assert again.contenders[name].description["weights_sha256"] == contender.description["weights_sha256"]
    assert timeless(again) == timeless(finished)
    other = cm.run(tiny_recipe, data=class_folder, out=tmp_path / "other", overrides=["seed=1", "training.epochs=1"])
    assert other.evaluation != finished.evaluation


def test_an_interrupted_run_resumes_to_the_same_result(
    finished: Run, class_folder: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    def stop_in_the_second_contender(what: str, done: int, total: int, note: str) -> None:
        if what == "two layers: training" and note.startswith("epoch 2"):
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        cm.run(tiny_recipe, data=class_folder, out=out, progress=stop_in_the_second_contender)
    with pytest.raises(RunFolderError, match="is not finished"):
        cm.open_run(out)
    with pytest.raises(RunFolderError, match="interrupted: go on with it by --resume"):
        cm.run(tiny_recipe, data=class_folder, out=out)
    with pytest.raises(RunFolderError, match="another recipe"):
        cm.run(tiny_recipe, data=class_folder, out=out, overrides=["training.epochs=4"], resume=True)
    resumed = cm.run(tiny_recipe, data=class_folder, out=out, resume=True)
    assert timeless(resumed) == timeless(finished)
    for name, contender in finished.contenders.items():
        assert resumed.contenders[name].description["weights_sha256"] == contender.description["weights_sha256"]


def test_a_resumed_run_refuses_other_data(class_folder: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int, note: str) -> None:
        if "training" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cm.run(tiny_recipe, data=class_folder, out=tmp_path / "run", progress=stop)
    other = tmp_path / class_folder.name
    shutil.copytree(class_folder, other)
    (other / "alpha" / "000.png").unlink()
    with pytest.raises(RunFolderError, match="The data are not those"):
        cm.run(tiny_recipe, data=other, out=tmp_path / "run", resume=True)


def test_a_resumed_run_refuses_other_pixels_under_the_same_names(
    class_folder: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(class_folder, images)
    run = cm.run(tiny_recipe, data=images, out=tmp_path / "run", overrides=["training.epochs=1"])
    first = images / "alpha" / "000.png"
    with Image.open(first) as image:
        changed = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    changed.save(first)
    with pytest.raises(RunFolderError, match="another SHA-256"):
        cm.run(tiny_recipe, data=images, out=run.folder, overrides=["training.epochs=1"], resume=True)


def test_two_writers_exclude_each_other(class_folder: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    def start_another(what: str, done: int, total: int, note: str) -> None:
        if what == "one layer: training":
            with pytest.raises(RunFolderError, match="Another process is writing"):
                cm.run(tiny_recipe, data=class_folder, out=tmp_path / "run", resume=True, overrides=few)
            tried.append(what)

    tried: list[str] = []
    few = ["training.epochs=1"]
    run = cm.run(tiny_recipe, data=class_folder, out=tmp_path / "run", overrides=few, progress=start_another)
    assert tried
    assert not (run.folder / ".lock").exists()


def test_the_run_folder_lies_outside_the_data(class_folder: Path, tiny_recipe: Path) -> None:
    with pytest.raises(RunFolderError, match="lies inside the data"):
        cm.run(tiny_recipe, data=class_folder, out=class_folder / "run")


def test_the_folder_one_stands_in_is_data_too(
    class_folder: Path, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(class_folder)
    run = cm.run(tiny_recipe, data=".", out=tmp_path / "figures", overrides=["training.epochs=1"])
    assert run.recipe.data.source == class_folder.name


def test_a_path_is_never_a_name_of_the_catalogue(
    class_folder: Path, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(class_folder, tmp_path / "phantom")
    monkeypatch.chdir(tmp_path)
    run = cm.run(tiny_recipe, data=Path("phantom"), out=tmp_path / "run", overrides=["training.epochs=1"])
    assert json.loads((run.folder / "audit.json").read_text())["simulated"] is False


def test_a_finished_run_is_not_overwritten(finished: Run, class_folder: Path, tiny_recipe: Path) -> None:
    with pytest.raises(RunFolderError, match="holds a finished run: choose another folder with --out"):
        cm.run(tiny_recipe, data=class_folder, out=finished.folder)
    again = cm.run(tiny_recipe, data=class_folder, out=finished.folder, resume=True)
    assert again.evaluation == finished.evaluation
    assert len(read_ledger(finished.folder / "ledger.jsonl")) == 1


def test_other_files_in_the_run_folder_are_respected(class_folder: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_bytes(b"x")
    with pytest.raises(RunFolderError, match="holds other files"):
        cm.run(tiny_recipe, data=class_folder, out=tmp_path)
    with pytest.raises(RunFolderError, match="is a file"):
        cm.run(tiny_recipe, data=class_folder, out=tmp_path / "thesis.docx")


def test_changed_weights_are_noticed(finished: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished.folder, copy)
    weights = copy / "contenders" / "one-layer" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(WeightsError, match=r"differs from model\.json"):
        cm.open_run(copy).contenders["one layer"].predict(np.zeros((20, 20), np.uint8))
    write_json(copy / "contenders" / "one-layer" / "model.json", sealed({"classes": 3}))
    with pytest.raises(RunFolderError, match="does not describe a model"):
        cm.open_run(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["gamma", "beta", "alpha"]},
        {"preprocessing": {"size_px": 32, "fit": "pad", "color": "gray", "mean": [0.5], "std": [0.5]}},
        {"training": {"precision": "bfloat16"}},
        {"content_sha256": None},
    ],
)
def test_a_changed_description_is_not_predicted_from(finished: Run, tmp_path: Path, change: dict[str, object]) -> None:
    """Classes in another order, another size, another number format: the model would answer, and otherwise."""
    copy = tmp_path / "copy"
    shutil.copytree(finished.folder, copy)
    path = copy / "contenders" / "one-layer" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RunFolderError, match=r"model\.json is damaged, or was changed .* SHA-256 differs\. Take"):
        cm.open_run(copy)


def test_no_path_of_the_machine_is_written(finished: Run, class_folder: Path) -> None:
    hidden = [str(class_folder.parent).encode(), str(finished.folder.parent).encode(), str(Path.home()).encode()]
    for path in finished.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [place for place in hidden if place in content], path


def test_nothing_is_made_when_the_input_is_wrong(class_folder: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(SourceError):
        cm.run(tiny_recipe, data=tmp_path / "nowhere", out=out)
    with pytest.raises(RecipeError):
        cm.run(tiny_recipe, data=class_folder, out=out, overrides=["training.epochs=-1"])
    with pytest.raises(RecipeError, match="does not fit the map"):
        cm.run(
            tiny_recipe,
            data=class_folder,
            out=out,
            overrides=[
                "contender.0.layers=[{conv=2, kernel=20, padding='valid'}]",
            ],
        )
    assert not out.exists()


def test_dropping_copies_keeps_one_of_each(class_folder: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    doubled = tmp_path / "doubled"
    shutil.copytree(class_folder, doubled)
    for number in range(5):
        shutil.copy(doubled / "alpha" / f"{number:03d}.png", doubled / "alpha" / f"copy-{number}.png")
    few = ["training.epochs=1", "split.near_duplicates=drop"]
    run = cm.run(tiny_recipe, data=doubled, out=tmp_path / "dropped", overrides=few)
    names = set(read_split(run.folder).names)
    assert len(names) == 100
    assert not [name for name in names if "copy" in name]


def test_grouping_by_a_manifest_column(class_folder: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(class_folder, images)
    files = sorted(path for path in images.rglob("*.png") if path.name != "broken.png")
    named = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in files]
    rows = [f"{name},site {number % 25}" for number, name in enumerate(named)]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,label,site\n" + "\n".join(rows) + "\n")
    few = ["training.epochs=1", "split.group_by=site"]
    asked = ['evaluation.subgroups=["site"]', "evaluation.prevalence.alpha=0.01"]
    run = cm.run(tiny_recipe, data=manifest, out=tmp_path / "run", overrides=[*few, *asked])
    (column,) = run.evaluation["subgroups"]
    assert column["column"] == "site"
    assert all(value["suppressed"] for value in column["values"])  # a site has four images
    assert run.evaluation["prevalence"] == {"alpha": 0.01}
    assert set(read_split(run.folder).groups) == {f"site {number}" for number in range(25)}
    patients = [f"{name},site {number // 10},patient {number // 5}" for number, name in enumerate(named)]
    manifest.write_text("path,label,site,patient\n" + "\n".join(patients) + "\n")
    both = cm.run(tiny_recipe, data=manifest, out=tmp_path / "both", overrides=[*few, "split.fractions=[0.6,0.2,0.2]"])
    split = read_split(both.folder)
    sites = {name: f"site {number // 10}" for number, name in enumerate(row.split(",")[0] for row in named)}
    parts = {(sites[name], part) for name, part in zip(split.names, split.parts, strict=True)}
    assert len(parts) == 10  # every site in one part
    with pytest.raises(SourceError, match="expected patient, site"):
        cm.run(tiny_recipe, data=manifest, out=tmp_path / "other", overrides=["split.group_by=hospital"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ('evaluation.subgroups=["age"]', r"There is no column 'age' for \[evaluation\] subgroups: these data have no"),
        ("evaluation.prevalence.alpa=0.1", "names the class 'alpa', .*did you mean 'alpha'"),
    ],
)
def test_what_the_data_cannot_answer_is_said_before_training(
    class_folder: Path, tiny_recipe: Path, tmp_path: Path, asked: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        cm.run(tiny_recipe, data=class_folder, out=tmp_path / "run", overrides=[asked])
    assert not (tmp_path / "run" / "recipe.toml").exists()


def test_the_public_surface_is_what_it_says() -> None:
    expected = {
        "ClearmarginError",
        "Run",
        "TrainedContender",
        "UsageError",
        "WorkError",
        "__version__",
        "open_run",
        "run",
    }
    assert set(cm.__all__) == expected == set(dir(cm))
    for name in cm.__all__:
        assert getattr(cm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        cm.train  # noqa: B018


def test_trim_and_intensity_travel_with_the_weights(class_folder: Path, tiny_recipe: Path, tmp_path: Path) -> None:
    overrides = ["data.trim=true", 'data.intensity="standardised"', "training.epochs=1"]
    run = cm.run(tiny_recipe, data=class_folder, out=tmp_path / "run", overrides=overrides)
    contender = next(iter(cm.open_run(run.folder).contenders.values()))
    assert contender.preprocessing.trim
    assert contender.preprocessing.intensity == "standardised"
    rng = np.random.default_rng(0)
    content = rng.integers(60, 160, (40, 40)).astype(np.uint8)
    framed = np.pad(np.pad(content // 2, 20), 3, constant_values=255)  # darker, in a margin, in a frame
    plain, other = contender.predict([content, framed])[list(contender.classes)].to_numpy()
    assert other == pytest.approx(plain, abs=0.02)
