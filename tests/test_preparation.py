"""Tables on their way to the parts: what is dropped, what stays together, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import clearmargin as cm
from clearmargin.audit.division import division_findings
from clearmargin.description import describe
from clearmargin.errors import SourceError
from clearmargin.preparation import audit_inputs, divide, read_inputs
from clearmargin.recipe import Data, SplitSettings

pytestmark = pytest.mark.usefixtures("without_figures")


def silent(what: str, done: int, total: int, note: str) -> None:
    """Progress that nobody sees."""


def prepared(path: Path, frame: pd.DataFrame, seed: int = 0, **settings):
    """Inputs as read, their audit, and the inputs and the split that come of them."""
    frame.to_csv(path / "t.csv", index=False)
    asked = SplitSettings(**settings)
    found, source = read_inputs(Data(source=str(path / "t.csv"), target="y"), silent, settings.get("group_by"))
    audit = audit_inputs(found, source)
    return found, audit, *divide(found, audit.copies, asked, seed)


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60), "y": rng.normal(size=60)})


def test_rows_with_the_same_inputs_are_dropped_only_with_the_same_target(tmp_path, frame):
    twice = pd.concat([frame, frame.iloc[:5], frame.iloc[5:15].assign(y=9.0)])
    found, _, kept, split = prepared(tmp_path, twice, near_duplicates="drop")
    assert len(found.samples) == 75
    assert len(kept.samples) == len(split.names) == 70
    part = dict(zip(split.names, split.parts, strict=True))
    assert all(part[f"row {row}"] == part[f"row {row + 60}"] for row in range(6, 16))  # the others stay together
    (finding,) = division_findings(found, kept, split)
    assert finding.kind == "copies-dropped"
    assert "5 of 75 rows left out, because another one has the same inputs and the same target" in finding.message
    assert len(finding.samples) == 5


def test_a_given_test_part_stays_whole_and_its_copies_leave_the_others(tmp_path, frame):
    copied = pd.concat([frame, frame.iloc[:5], frame.iloc[50:54], frame.iloc[20:23], frame.iloc[58:]])
    copied["split"] = (
        ["train"] * 40
        + ["validation"] * 5
        + ["test"] * 15
        + ["test"] * 5
        + ["train"] * 4
        + ["train"] * 3
        + ["test"] * 2
    )
    with pytest.raises(SourceError, match="The given parts leak"):
        prepared(tmp_path, copied, use_given=True)
    found, _, kept, split = prepared(tmp_path, copied, use_given=True, near_duplicates="drop")
    # rows 1 to 5 were tested copies' originals, 66 to 69 copies of tested rows, 70 to 72 copies within training
    gone = {f"row {row}" for row in (*range(1, 6), *range(66, 73))}
    assert {sample.name for sample in found.samples} - set(split.names) == gone
    assert (split.parts == "test").sum() == 22  # with two that are alike among themselves
    (finding,) = division_findings(found, kept, split)
    assert "12 of 74 rows left out" in finding.message


def test_a_column_of_a_table_keeps_rows_together(tmp_path, frame):
    frame["site"] = np.arange(60) % 12
    found, audit, _, split = prepared(tmp_path, frame, group_by="site")
    assert found.preprocessing.names == ("a", "b")
    site = {f"row {row + 1}": row % 12 for row in range(60)}
    for part in ("train", "validation", "test"):
        inside = {site[name] for name in split.names[split.rows(part)]}
        outside = {site[name] for name in split.names[split.parts != part]}
        assert inside
        assert not inside & outside
    assert any("'site' says which rows belong together" in finding.message for finding in audit.findings)


def test_what_never_changes_in_training_is_said(tmp_path, frame):
    frame["split"] = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
    frame["late"] = [1.0] * 40 + [2.0] * 20
    found, audit, kept, split = prepared(tmp_path, frame, use_given=True)
    (finding,) = division_findings(found, kept, split)
    assert finding.kind == "constant-in-training"
    assert "not in all parts: 'late'" in finding.message
    assert audit.given == {"train": {"rows": 40}, "validation": {"rows": 10}, "test": {"rows": 10}}
    labels = np.array([5.0] * 40 + [6.0] * 20, dtype=object)
    *_, serious = division_findings(found, kept, replace(split, labels=labels))
    assert (serious.kind, serious.severity) == ("constant-target-in-training", "serious")


def test_leaks_of_given_parts_are_said_in_words_for_rows(tmp_path, frame):
    frame["split"] = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
    frame["group"] = [f"g{row}" for row in range(59)] + ["g0"]
    frame.loc[58, ["a", "b"]] = frame.loc[0, ["a", "b"]]
    with pytest.raises(SourceError, match=r"Groups \(group, or rows with the same inputs\) in more than.* with 3 rows"):
        prepared(tmp_path, frame, use_given=True)
    _, audit, _, _ = prepared(tmp_path, frame, use_given=True, accept_leaks=True)
    said = {finding.kind: finding.message for finding in audit.findings if finding.severity == "serious"}
    assert said["copies-across-parts"].startswith("1 of 10 rows in the given test part has a row with the same inputs")
    assert said["groups-across-parts"].startswith("1 of 10 groups in the given test part also has rows in the training")


RECIPE = """
task = "regression"
[data]
target = "y"
[split]
fractions = [0.6, 0.2, 0.2]
near_duplicates = "drop"
[[contender]]
name = "net"
layers = [{ conv = 2, kernel = 2, activation = "relu" }, { flatten = true }, { dense = 2 }]
[training]
epochs = 1
[evaluation]
resamples = 200
repeats = 2
"""


@pytest.mark.parametrize("size", [1e69, 1e-69])
def test_targets_of_any_admitted_size_get_figures_over_seeds(tmp_path, frame, size):
    frame.assign(y=frame["y"] * size).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "r.toml").write_text(RECIPE)
    run = cm.run(tmp_path / "r.toml", data=tmp_path / "t.csv", out=tmp_path / "run", progress=silent)
    over = run.evaluation["repeats"]
    for figures in (over["contenders"]["net"], over["baselines"]["ridge regression"]):
        assert 0 < figures["mse"]["sd"] < np.inf
        assert 0.1 * size < figures["rmse"]["mean"] < 10 * size


def test_describe_counts_the_columns_that_are_inputs(tmp_path, frame):
    frame.assign(site=1).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "r.toml").write_text(RECIPE.replace("near_dup", 'group_by = "site"\nnear_dup'))
    assert describe(str(tmp_path / "r.toml"), data=tmp_path / "t.csv").input == (1, 2)


def test_help_says_that_data_may_be_a_table(clearmargin):
    assert "a table for a regression" in " ".join(clearmargin("run", "--help")[1].replace("│", " ").split())


def test_what_was_dropped_stays_dropped_in_repeats_and_reaches_the_report(tmp_path, frame):
    twice = pd.concat([frame.iloc[:20], frame.iloc[:20], frame.iloc[20:]])
    twice.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "r.toml").write_text(RECIPE)
    run = cm.run(tmp_path / "r.toml", data=tmp_path / "t.csv", out=tmp_path / "run", progress=silent)
    names = [set(pd.read_csv(place / "split.csv")["name"]) for place in (run.folder, run.folder / "repeats" / "seed-1")]
    assert names[0] == names[1]
    assert len(names[0]) == 60
    kinds = {finding["kind"] for finding in json.loads((run.folder / "audit.json").read_text())["findings"]}
    assert "copies-dropped" in kinds
    assert "20 of 80 rows left out" in run.report.read_text(encoding="utf-8")
    seconds = json.loads((run.folder / "environment.json").read_text())["seconds"]
    assert "rows" in seconds
    assert "images" not in seconds


@pytest.mark.parametrize(("sides", "expected"), [([20, 28], 32), ([20, 100], 100), ([100, 300], 224)])
def test_small_images_are_not_enlarged_for_an_audit(tmp_path, sides, expected):
    folder = tmp_path / "data"
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        (folder / label / "broken.png").write_bytes(b"nothing")
        for side in sides:
            Image.new("L", (side, 20), side % 256).save(folder / label / f"{side}.png")
    asked = Data(source=str(folder))
    inputs, _ = read_inputs(asked, silent, no_larger=True)
    assert inputs.rows.shape == (4, expected, expected, 3)
    assert read_inputs(asked, silent)[0].rows.shape[1] == 224
