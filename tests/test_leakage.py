"""The price of leakage: known leaks are priced, clean sets cost nothing, and the control sees what crosses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from clearmargin import leakage as room
from clearmargin.errors import SourceError
from clearmargin.features import Features
from clearmargin.leakage import FOLDS, SHUFFLES, price_of_leakage
from clearmargin.records import Sample

Command = Callable[..., tuple[int, str, str]]


def silent(*_: object) -> None:
    """No progress."""


@pytest.fixture(autouse=True)
def _without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clearmargin.features.weights_at_hand", lambda cache: False)


def made(
    groups: int = 80, of_each: int = 4, noise: float = 0.05, signal: float = 1.0, seed: int = 0
) -> tuple[list[Sample], np.ndarray, Features]:
    """Samples, their groups, features (samples, 300): the look of a group, some of its class, little noise."""
    random = np.random.default_rng(seed)
    truth = np.arange(groups) % 2
    looks = random.standard_normal((groups, 300))
    looks[:, 0] += signal * (2 * truth - 1)
    number = np.repeat(np.arange(groups), of_each)
    values = looks[number] + noise * random.standard_normal((len(number), 300))
    samples = [Sample(f"{row}.png", "ab"[truth[group]]) for row, group in enumerate(number)]
    return samples, number, Features(values.astype(np.float32), "made up")


def price(samples: list[Sample], copies: np.ndarray, features: Features, groups: np.ndarray | None = None) -> Any:
    names = np.array([f"g{number}" for number in (copies if groups is None else groups)], dtype=object)
    return price_of_leakage(samples, copies, names, features, seeds=(0, 1), resamples=300, progress=silent)


def splits(found: dict[str, Any]) -> dict[str, Any]:
    return {split["split"]: split for split in found["splits"]}


def test_copies_are_priced_and_told_of() -> None:
    samples, copies, features = made()
    found = price(samples, copies, features)
    by = splits(found)
    assert set(by) == {"random", "leak-free"}
    assert by["random"]["accuracy"]["value"] > 0.95
    assert by["leak-free"]["accuracy"]["value"] < 0.85
    difference = found["difference"]
    assert difference["value"] == pytest.approx(
        by["random"]["accuracy"]["value"] - by["leak-free"]["accuracy"]["value"]
    )
    assert 0 < difference["low"] < difference["value"] < difference["high"]
    assert difference["from_copies"]["value"] == pytest.approx(difference["value"])  # every image has a copy
    assert difference["sentence"].endswith("of it are leakage.")
    assert by["random"]["with_copy"]["n"] > 0.95 * len(samples)
    assert by["leak-free"]["with_copy"] is None
    json.dumps(found, allow_nan=False)


def test_the_control_is_at_chance_on_clean_splits_and_fails_on_leaky_ones() -> None:
    samples, copies, features = made()
    control = price(samples, copies, features)["control"]
    assert control["holds"]
    assert control["accuracy"]["low"] <= control["chance"]
    assert not control["random"]["holds"]
    assert control["random"]["accuracy"]["low"] > control["random"]["chance"]
    assert "no better than chance" in control["sentence"]
    assert control["sentence"].endswith("better than chance.")


def test_a_split_that_is_called_leak_free_and_leaks_fails_the_control(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = room.stratified_folds
    monkeypatch.setattr(  # a bug that forgets the groups
        room,
        "stratified_folds",
        lambda classes, groups, folds, rng: whole(classes, np.arange(len(classes)), folds, rng),
    )
    control = price(*made())["control"]
    assert not control["holds"]
    assert "not to be believed" in control["sentence"]


def test_independent_images_have_no_price() -> None:
    samples, copies, features = made(groups=200, of_each=1, signal=3.0)
    found = price(samples, copies, features)
    assert found["difference"]["value"] == 0
    assert found["difference"]["from_copies"] is None
    assert splits(found)["random"]["accuracy"] == splits(found)["leak-free"]["accuracy"]
    assert found["control"]["holds"]
    assert "No patients and no copies are known" in found["sentences"][0]


def test_what_comes_from_patients_is_not_put_down_to_copies() -> None:
    samples, patients, features = made()
    found = price(samples, np.arange(len(samples)), features, groups=patients)
    assert found["difference"]["low"] > 0
    assert found["difference"]["from_copies"] is None
    assert "other images of the same patient" in found["sentences"][1]


def test_given_parts_with_and_without_copies() -> None:
    samples, copies, features = made(groups=120)
    # a third of the groups in both parts, a third in training only, a third in test only
    crossing = copies % 3 == 0
    in_test = np.where(crossing, np.arange(len(copies)) % 4 == 0, copies % 3 == 1)
    samples = [
        Sample(sample.name, sample.label, part="test" if test else "train")
        for sample, test in zip(samples, in_test, strict=True)
    ]
    given = splits(price(samples, copies, features))["given"]
    assert given["n_test"] == in_test.sum()
    assert given["with_copy"]["n"] == (crossing & in_test).sum()
    assert given["without_copy"]["n"] == (~crossing & in_test).sum()
    assert given["with_copy"]["accuracy"]["value"] > given["without_copy"]["accuracy"]["value"] + 0.1
    right = sum(given[key]["n"] * given[key]["accuracy"]["value"] for key in ("with_copy", "without_copy"))
    assert right == pytest.approx(given["n_test"] * given["accuracy"]["value"])


def test_figures_agree_with_counting_by_hand() -> None:
    samples, copies, features = made(groups=40)
    images, _ = room._chosen(samples, copies, np.array(copies.astype(str), dtype=object), features, 0)
    right = np.random.default_rng(0).integers(0, 2, len(samples)).astype(float)
    among = np.random.default_rng(1).integers(0, 2, len(samples)).astype(float)
    weights = np.random.default_rng(2).integers(0, 3, (5, 40)).astype(float)
    scores = room._scores(images, weights, right * among, among)
    for row, weight in enumerate(weights):
        times = np.repeat(np.arange(len(samples)), weight[images.units].astype(int))
        times = times[among[times] == 1]
        assert scores["accuracy"][row] == pytest.approx(right[times].mean())
        recalls = [right[times[images.truth[times] == k]].mean() for k in range(2)]
        assert scores["balanced_accuracy"][row] == pytest.approx(np.mean(recalls))


def test_a_copy_elsewhere_is_one_in_another_fold() -> None:
    random = np.random.default_rng(0)
    copies, folds = random.integers(0, 30, 60), random.integers(0, 4, 60)
    expected = [any(copies[i] == copies[j] and folds[i] != folds[j] for j in range(60)) for i in range(60)]
    assert room._copy_elsewhere(copies, folds).tolist() == expected


def test_shuffled_labels_stay_whole_in_a_group_and_keep_the_numbers_of_groups() -> None:
    samples, copies, features = made()
    images, _ = room._chosen(samples, copies, np.array(copies.astype(str), dtype=object), features, 0)
    shuffled = room._shuffled(images, np.random.default_rng(0)).truth
    assert all(len(set(shuffled[images.units == unit])) == 1 for unit in range(images.n_units))
    assert np.bincount(shuffled).tolist() == np.bincount(images.truth).tolist()  # groups are of one size here
    assert (shuffled != images.truth).any()


def test_the_interval_of_the_control_is_students() -> None:
    samples, copies, features = made()
    control = price(samples, copies, features)["control"]
    assert control["shuffles"] == SHUFFLES
    assert control["accuracy"]["method"] == "Student's t over 5 shuffles, 99 %"
    images, _ = room._chosen(samples, copies, np.array([f"g{c}" for c in copies], dtype=object), features, 0)
    shuffled = [room._shuffled(images, np.random.default_rng([0, 3, number])) for number in range(SHUFFLES)]
    excess = []
    for number, each in enumerate(shuffled):
        folds = room.stratified_folds(each.truth, each.units, FOLDS, np.random.default_rng([number, 4]))
        said = room.out_of_fold(each.features, each.truth, folds, 2).argmax(axis=1)
        shares = [(np.mean(said == k), np.mean(each.truth == k)) for k in range(2)]
        excess.append(np.mean(said == each.truth) - sum(one * other for one, other in shares))
    interval = stats.ttest_1samp(excess, 0).confidence_interval(0.99)
    reach = (interval.high - interval.low) / 2
    assert control["accuracy"]["high"] - control["accuracy"]["value"] == pytest.approx(reach)


def test_too_few_groups_are_refused_and_small_classes_left_out() -> None:
    samples, copies, features = made(groups=80)
    rare = [Sample(s.name, "rare" if row < 8 else s.label) for row, s in enumerate(samples)]
    assert "'rare'" in price(rare, copies, features)["notes"][0]
    samples, copies, features = made(groups=6)
    with pytest.raises(SourceError, match="at least two classes with 5 independent groups"):
        price(samples, copies, features)


def test_many_images_are_sampled_by_whole_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_IMAGES", 100)
    samples, copies, features = made(groups=60)
    images, notes = room._chosen(samples, copies, np.array(copies.astype(str), dtype=object), features, 0)
    assert len(images.truth) == 100
    assert images.n_units == 25
    assert notes == ["Measured on 100 of 240 images, drawn by whole groups."]


# --- at the door, and in a study ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copied_folder(tmp_path_factory: pytest.TempPathFactory, draw_images: Callable[..., Path]) -> Path:
    """Two classes of 30 images, a third of them there twice."""
    folder = draw_images(tmp_path_factory.mktemp("copied"), {"alpha": 30, "beta": 30})
    (folder / "beta" / "029.png").write_bytes((folder / "alpha" / "029.png").read_bytes())  # wrongly labelled
    for name in ("alpha", "beta"):
        for number in range(10):
            content = (folder / name / f"{number:03d}.png").read_bytes()
            (folder / name / f"copy-{number:03d}.png").write_bytes(content)
    return folder


def test_leakage_as_table_and_json(clearmargin: Command, copied_folder: Path) -> None:
    status, out, err = clearmargin("leakage", copied_folder, "--seeds", 2)
    assert status == 0
    assert "leak-free" in out
    assert "pooled pixels" in out
    assert "With labels shuffled among the groups" in out
    assert "Price of leakage" in err
    status, out, _ = clearmargin("leakage", copied_folder, "--seeds", 2, "--json")
    found = json.loads(out)
    assert (status, found["format"], found["seeds"]) == (0, 1, [0, 1])
    assert (found["images"], found["groups"]) == (80, 59)


def test_leakage_knows_patients_by_a_pattern(clearmargin: Command, copied_folder: Path) -> None:
    out = clearmargin("leakage", copied_folder, "--seeds", 1, "--group-pattern", r"(\d)\.png", "--json")[1]
    assert json.loads(out)["groups"] == 10


@pytest.mark.parametrize("data", ["boston", "{table}"])
def test_leakage_is_for_images(clearmargin: Command, tmp_path: Path, data: str) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a,b,y\n1,2,3\n4,5,6\n")
    status, out, err = clearmargin("leakage", data.format(table=table))
    assert (status, out) == (2, "")
    assert "is measured on images with class names" in err
    assert "audit DATA --target COLUMN" in err
    assert "Traceback" not in err


def test_a_study_writes_it_once(
    clearmargin: Command, copied_folder: Path, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clearmargin.study import run

    changes = ["training.epochs=1", "audit.leakage=true", "audit.label_suspects=true"]
    run(tiny_recipe, data=copied_folder, out=tmp_path / "run", overrides=changes, progress=silent)
    path = tmp_path / "run" / "leakage.json"
    found = json.loads(path.read_text())
    assert {"splits", "difference", "control", "sentences"} <= set(found)
    assert len(found["seeds"]) == room.SEEDS
    kinds = {finding["kind"] for finding in json.loads((tmp_path / "run" / "audit.json").read_text())["findings"]}
    assert "label-suspects" in kinds
    # stopped before the report: what is there is kept
    (tmp_path / "run" / "report.html").unlink()
    with monkeypatch.context() as measured:
        measured.setattr(room, "price_of_leakage", lambda *_, **__: pytest.fail("it was measured again"))
        run(tiny_recipe, data=copied_folder, out=tmp_path / "run", overrides=changes, resume=True, progress=silent)
    assert json.loads(path.read_text()) == found
    # edited by hand: refused by the report, measured again on --resume
    edited = {**found, "difference": {**found["difference"], "value": 0.5, "sentence": "All is well."}}
    path.write_text(json.dumps(edited))
    status, _, err = clearmargin("report", tmp_path / "run")
    assert (status, "leakage.json was edited or damaged" in err, "Traceback" in err) == (2, True, False)
    (tmp_path / "run" / "report.html").unlink()
    words = [word for change in changes for word in ("--set", change)]
    status, out, err = clearmargin(
        "run", tiny_recipe, "--data", copied_folder, "--out", tmp_path / "run", *words, "--resume"
    )
    assert status == 0, err
    assert json.loads(path.read_text()) == found
    assert f"Price of leakage: {found['difference']['sentence']}" in out


@pytest.mark.parametrize("command", ["leakage", "run"])
def test_too_few_groups_are_told_before_the_work(
    clearmargin: Command, draw_images: Callable[..., Path], tiny_recipe: Path, tmp_path: Path, command: str
) -> None:
    folder = draw_images(tmp_path / "images", {"alpha": 12, "beta": 4})
    out = ["--data", folder, "--out", tmp_path / "run", "--set", "audit.leakage=true"]
    status, _, err = clearmargin(command, *([tiny_recipe, *out] if command == "run" else [folder]))
    assert (status, "at least two classes with 5 independent groups" in err) == (2, True), err
    assert "eatures" not in err
    assert "training" not in err
    assert not (tmp_path / "run").exists()


def test_a_regression_has_no_such_audit(clearmargin: Command, tmp_path: Path) -> None:
    status, _, err = clearmargin("run", "boston", "--set", "audit.leakage=true", "--out", tmp_path / "run")
    assert status == 2
    assert "'leakage' is for images and classes" in err
