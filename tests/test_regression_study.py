"""A regression on a table, from the CSV file to the report, and what can't work."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import clearmargin as cm
from clearmargin.errors import RecipeError, RunFolderError, SourceError, UsageError
from clearmargin.evaluation.ledger import head, read_ledger

pytestmark = pytest.mark.usefixtures("without_figures")

RECIPE = """
task = "regression"
[data]
target = "y"
[split]
fractions = [0.6, 0.2, 0.2]
[[contender]]
name = "1-D CNN"
layers = [{ conv = 8, kernel = 2, padding = "valid", activation = "relu" }, { flatten = true }, { dense = 8 }]
[training]
epochs = 12
optimizer = "adam"
learning_rate = 1e-2
[evaluation]
resamples = 200
repeats = 3
references = [{ name = "elsewhere", metric = "rmse", value = 2.5 }]
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(150, 4)) * [1, 10, 0.1, 1] + [0, 100, 0, -5]
    values[:, 3] = 7.0  # says nothing
    target = 3 * values[:, 0] - 0.2 * values[:, 1] + rng.normal(size=150) * 0.5 - 40
    frame = pd.DataFrame(values, columns=["a", "b", "c", "same"]).assign(y=target)
    frame.loc[5, "b"] = np.nan
    path = tmp_path_factory.mktemp("table") / "table.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "numbers.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def finished(table: Path, recipe: Path, tmp_path_factory) -> cm.Run:
    return cm.run(recipe, data=table, out=tmp_path_factory.mktemp("runs") / "numbers")


def test_it_learns_and_says_so(finished: cm.Run) -> None:
    figures = finished.evaluation
    assert figures["task"] == "regression"
    rmse = figures["contenders"]["1-D CNN"]["metrics"]["rmse"]
    assert rmse["low"] < rmse["value"] < rmse["high"]
    assert rmse["value"] < 0.6 * figures["baselines"]["mean predictor"]["metrics"]["rmse"]["value"]
    assert figures["baselines"]["ridge regression"]["metrics"]["rmse"]["value"] < rmse["value"]  # the truth is a line
    assert figures["references"] == [{"name": "elsewhere", "metric": "rmse", "value": 2.5}]
    report = finished.report.read_text(encoding="utf-8")
    assert "rows-with-gaps".replace("-", " ") in report
    assert "Over 3 seeds" in report


def test_the_figures_follow_from_the_files(finished: cm.Run) -> None:
    said = finished.predictions.query("part == 'test'")
    by_hand = np.sqrt(((said["target"] - said["predicted"]) ** 2).mean())
    assert finished.evaluation["contenders"]["1-D CNN"]["metrics"]["rmse"]["value"] == pytest.approx(by_hand, rel=1e-9)
    stored = pd.read_csv(finished.folder / "baselines" / "ridge-regression" / "predictions.csv")
    by_hand = np.sqrt(((stored["target"] - stored["predicted"]) ** 2).mean())
    assert finished.evaluation["baselines"]["ridge regression"]["metrics"]["rmse"]["value"] == pytest.approx(by_hand)


def test_repeats_are_other_splits_whose_predictions_are_kept(finished: cm.Run) -> None:
    rows = pd.read_csv(finished.folder / "repeats.csv")
    assert sorted(set(rows["seed"])) == [0, 1, 2]
    tested = []
    for seed in (1, 2):
        folder = finished.folder / "repeats" / f"seed-{seed}"
        said = pd.read_csv(folder / "contenders" / "1-d-cnn" / "predictions.csv").query("part == 'test'")
        by_hand = np.sqrt(((said["target"] - said["predicted"]) ** 2).mean())
        row = rows[(rows["seed"] == seed) & (rows["contender"] == "1-D CNN")]
        assert row["rmse"].item() == pytest.approx(by_hand)
        assert not (folder / "contenders" / "1-d-cnn" / "model.safetensors").exists()
        tested.append(frozenset(said["name"]))
    assert len(set(tested)) == 2
    assert len(read_ledger(finished.folder / "ledger.jsonl")) == 3
    over = finished.evaluation["repeats"]["contenders"]["1-D CNN"]["rmse"]
    assert over["mean"] == pytest.approx(rows[rows["contender"] == "1-D CNN"]["rmse"].mean())


def test_predict_takes_tables(finished: cm.Run, table: Path, clearmargin) -> None:
    frame = pd.read_csv(table).drop(index=5)
    again = finished.best.predict(frame)
    assert list(again.columns) == ["row", "predicted"]
    said = finished.predictions.query("part == 'test'").set_index("name")["predicted"]
    names = pd.Series([f"row {number + 1}" for number in frame.index], index=again.index)
    ours = again.assign(name=names).set_index("name")["predicted"]
    np.testing.assert_allclose(ours[said.index], said, rtol=1e-5, atol=1e-5)
    with pytest.raises(UsageError, match=r"lacks 'b', which '1-D CNN' needs"):
        finished.best.predict(frame.drop(columns="b"))
    with pytest.raises(UsageError, match=r"several columns called 'b': expected one"):
        finished.best.predict(pd.concat([frame, frame[["b"]]], axis=1))
    with pytest.raises(UsageError, match=r"Row 1 of the table has a number beyond ±1e\+100 for 'a'"):
        finished.best.predict(frame.assign(a=1e300))
    with pytest.raises(UsageError, match=r"takes a table with the columns a, b, c"):
        finished.best.predict("picture.png")
    with pytest.raises(UsageError, match=r"Row 2 of the table has no number for 'c'"):
        finished.best.predict(frame.assign(c=["1", "x", *["2"] * (len(frame) - 2)]))


def test_predict_from_the_command_line(finished: cm.Run, table: Path, tmp_path: Path, capsys) -> None:
    from clearmargin.prediction import predict_files

    whole = tmp_path / "new.csv"
    pd.read_csv(table).dropna().drop(columns="y").head(3).to_csv(whole, index=False)
    said = predict_files(finished.best, [whole])
    assert [row["row"] for row in said.as_json()["predictions"]] == ["row 1", "row 2", "row 3"]
    assert "probabilities" not in said.as_json()["predictions"][0]
    with pytest.raises(SourceError, match=r"Row 6 of .* has no 'b': a model needs every input"):
        predict_files(finished.best, [table])
    with pytest.raises(SourceError, match=r"There is no file .*old\.csv"):
        predict_files(finished.best, [tmp_path / "old.csv"])
    whole.write_text("a,b,c,same,a\n1,2,3,7,5\n")
    with pytest.raises(SourceError, match=r"several columns called 'a'"):
        predict_files(finished.best, [whole])
    whole.write_text("a,b,c,same\n1e300,2,3,7\n")
    with pytest.raises(SourceError, match=r"beyond ±1e\+100"):
        predict_files(finished.best, [whole])


def test_an_answer_that_is_no_number_is_an_error(finished: cm.Run, table: Path) -> None:
    said = finished.best.description
    huge = replace(finished.best, description={**said, "target": {**said["target"], "std": 1e308}})
    with pytest.raises(UsageError, match=r"no finite number for row 1: it lies too far"):
        huge.predict(pd.read_csv(table).drop(index=5).assign(a=1e90))


def test_an_interrupted_repeat_resumes_to_the_same_figures(
    finished: cm.Run, table: Path, recipe: Path, tmp_path: Path
) -> None:
    def stop_in_the_second_repeat(what: str, done: int, total: int, note: str) -> None:
        if what == "Repeats" and note.startswith("seed 2, 1-D CNN: training 3/"):
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        cm.run(recipe, data=table, out=out, progress=stop_in_the_second_repeat)
    resumed = cm.run(recipe, data=table, out=out, resume=True)
    assert resumed.evaluation == finished.evaluation | {"ledger_head": head(out / "ledger.jsonl")}
    assert (out / "repeats.csv").read_bytes() == (finished.folder / "repeats.csv").read_bytes()
    assert len(read_ledger(out / "ledger.jsonl")) == 3


def test_what_a_kill_left_half_done_is_made_whole(finished: cm.Run, table: Path, recipe: Path, tmp_path: Path) -> None:
    """Killed between two files: a split without its summary, an entry in the ledger without its figures, leftovers."""
    out = tmp_path / "run"
    shutil.copytree(finished.folder, out)
    repeat = out / "repeats" / "seed-1"
    for name in ("report.html", "evaluation.json", "split.json", "repeats/seed-1/split.json"):
        (out / name).unlink()
    for place in (out / "contenders" / "1-d-cnn", repeat / "contenders" / "1-d-cnn"):
        (place / "checkpoint").mkdir()
        (place / "checkpoint" / "state.safetensors").write_bytes(b"left over")
    (repeat / "contenders" / "1-d-cnn" / "model.safetensors").write_bytes(b"left over")
    resumed = cm.run(recipe, data=table, out=out, resume=True)
    assert resumed.evaluation == finished.evaluation
    assert (out / "ledger.jsonl").read_bytes() == (finished.folder / "ledger.jsonl").read_bytes()
    for name in ("split.json", "repeats/seed-1/split.json"):
        assert (out / name).read_bytes() == (finished.folder / name).read_bytes()
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.name.startswith(("state", "model.s"))}
    assert left == {"contenders/1-d-cnn/model.safetensors"}
    assert not list(out.rglob("checkpoint"))


def test_a_repeat_that_was_split_otherwise_is_refused(
    finished: cm.Run, table: Path, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished.folder, out)
    for name in ("report.html", "evaluation.json"):
        (out / name).unlink()
    for name in ("split.csv", "split.json"):
        shutil.copy(out / name, out / "repeats" / "seed-1" / name)
    with pytest.raises(RunFolderError, match=r"seed-1 was started with: its split no longer fits"):
        cm.run(recipe, data=table, out=out, resume=True)


def test_a_contender_may_have_the_name_of_a_baseline(table: Path, recipe: Path, tmp_path: Path) -> None:
    changes = ['contender.0.name="ridge regression"', "training.epochs=1", "evaluation.repeats=2"]
    made = cm.run(recipe, data=table, out=tmp_path / "run", overrides=changes)
    for figures in (made.evaluation, made.evaluation["repeats"]):
        assert list(figures["contenders"]) == ["ridge regression"]
        assert list(figures["baselines"]) == ["mean predictor", "ridge regression (baseline)", "gradient-boosted trees"]
    assert (made.folder / "baselines" / "ridge-regression-baseline" / "predictions.csv").is_file()


def test_the_best_is_chosen_by_one_measure_where_losses_differ(table: Path, recipe: Path, tmp_path: Path) -> None:
    """A Huber loss with a small delta is a small number, whatever the network is worth."""
    second = """
[[contender]]
name = "Huber"
layers = [{ flatten = true }, { dense = 2 }]
training = { loss = "huber", huber_delta = 0.01, learning_rate = 1e-6 }
"""
    both = tmp_path / "both.toml"
    both.write_text(recipe.read_text() + second)
    made = cm.run(both, data=table, out=tmp_path / "run", overrides=["evaluation.repeats=1"])
    first, second_said = (one.description["validation"] for one in made.contenders.values())
    assert second_said["loss"] < first["loss"]
    assert second_said["mean_squared_error"] > first["mean_squared_error"]
    assert made.best.name == "1-D CNN"


def test_a_table_is_learned_in_float32_whatever_is_fastest_for_images(
    table: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clearmargin.models.precision.fastest_precision", lambda: torch.bfloat16)
    monkeypatch.setattr("clearmargin.contest.WORTH_THREADS", 0)
    made = cm.run(recipe, data=table, out=tmp_path / "run", overrides=["evaluation.repeats=1", "training.epochs=1"])
    assert made.best.description["training"]["precision"] == "float32"


def test_the_target_of_the_test_part_does_not_reach_the_model(table: Path, recipe: Path, tmp_path: Path) -> None:
    """The target's mean and deviation, the columns', and every weight come from the other rows."""
    changes = ["evaluation.repeats=1", "training.epochs=2"]
    first = cm.run(recipe, data=table, out=tmp_path / "first", overrides=changes)
    split = pd.read_csv(first.folder / "split.csv")
    tested = set(split[split["part"] == "test"]["name"])
    frame = pd.read_csv(table)
    inside = frame.index.map(lambda row: f"row {row + 1}" in tested)
    order = frame["y"].rank()
    noise = frame.assign(a=np.where(inside, frame["a"] * 50, frame["a"]))
    assert (noise["y"].rank() == order).all()  # the same quartiles, so the same split
    changed = tmp_path / "noise.csv"
    noise.to_csv(changed, index=False)
    second = cm.run(recipe, data=changed, out=tmp_path / "second", overrides=changes)
    assert pd.read_csv(second.folder / "split.csv").equals(split)
    models = [json.loads((run.folder / "contenders/1-d-cnn/model.json").read_text()) for run in (first, second)]
    for key in ("weights_sha256", "preprocessing", "target"):
        assert models[0][key] == models[1][key]


def test_images_and_tables_are_not_mixed_up(recipe: Path, class_folder: Path, table: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a table"):
        cm.run(recipe, data=class_folder, out=tmp_path / "a")
    with pytest.raises(SourceError, match=r"For a table of numbers name"):
        cm.run("demo", data=table, out=tmp_path / "b")
    with pytest.raises(RecipeError, match=r"target"):
        cm.run(recipe, data=table, out=tmp_path / "c", overrides=['task="classification"'])
    assert list(tmp_path.iterdir()) == []
