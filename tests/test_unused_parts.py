"""Parts as shipped that leak: serious where they count, a note where a study does not use them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import clearmargin as cm
from clearmargin.auditing import audit_data

pytestmark = pytest.mark.usefixtures("without_figures")

TABLE = """
task = "regression"
[data]
target = "y"
[[contender]]
name = "net"
layers = [{ conv = 2, kernel = 2, activation = "relu" }, { flatten = true }, { dense = 2 }]
[training]
epochs = 1
[evaluation]
resamples = 200
"""


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A table whose own parts leak by a patient, and its recipe."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 3)).round(3), columns=["a", "b", "c"])
    frame["y"] = frame["a"] + rng.normal(size=60).round(2)
    frame["patient"] = [f"g{row // 2}" for row in range(60)]
    frame["part"] = ["test" if row >= 50 else "validation" if row >= 40 else "train" for row in range(60)]
    frame.loc[0, "patient"] = "g29"
    frame.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "rows.toml").write_text(TABLE)
    found = audit_data(tmp_path / "rows.csv", target="y", progress=lambda *_: None)
    assert [f.severity for f in found.findings if f.kind == "groups-across-parts"] == ["serious"]
    return tmp_path


def leaks(run) -> list[dict]:
    found = json.loads((run.folder / "audit.json").read_text())["findings"]
    return [finding for finding in found if finding["kind"].endswith("-across-parts")]


def run_rows(folder: Path, *changes: str, resume: bool = False):
    return cm.run(
        folder / "rows.toml", data=folder / "rows.csv", out=folder / "run", overrides=changes, resume=resume,
        progress=lambda *_: None,
    )  # fmt: skip


def test_leaks_of_parts_that_are_not_used_are_notes_also_when_resumed(shipped: Path) -> None:
    run = run_rows(shipped)
    (told,) = leaks(run)
    assert told["severity"] == "note"
    assert told["message"].startswith("The parts as shipped, not used here, leak: 1 of 5 groups in the given test part")
    assert "Nothing has to be done" in told["remedy"]
    assert "serious finding" not in run.report.read_text(encoding="utf-8")
    before = (run.folder / "audit.json").read_bytes()
    run.report.unlink()
    (run.folder / "evaluation.json").unlink()
    run = run_rows(shipped, resume=True)
    assert (run.folder / "audit.json").read_bytes() == before


def test_leaks_of_parts_that_are_used_stay_serious(shipped: Path) -> None:
    (told,) = leaks(run_rows(shipped, "split.use_given=true", "split.accept_leaks=true"))
    assert told["severity"] == "serious"
    assert told["message"].startswith("1 of 5 groups in the given test part")


def test_leaks_that_were_left_out_are_notes(tmp_path: Path, draw_images, tiny_recipe: Path) -> None:
    parts = {"train": {"a": 40, "b": 40}, "test": {"a": 12, "b": 12}}
    for seed, (part, classes) in enumerate(parts.items()):
        draw_images(tmp_path / "data" / part, classes, seed=seed)
    for number in range(3):
        shutil.copy(tmp_path / "data/test/a" / f"{number:03d}.png", tmp_path / "data/train/a" / f"copy-{number}.png")
    changes = ["training.epochs=1", "split.use_given=true", "split.near_duplicates=drop"]
    run = cm.run(tiny_recipe, data=tmp_path / "data", out=tmp_path / "run", overrides=changes, progress=lambda *_: None)
    told = leaks(run)
    assert told
    assert all(finding["severity"] == "note" for finding in told)
    assert all(
        finding["message"].startswith("The parts as shipped leak, and what leaks is left out") for finding in told
    )
    assert run.evaluation["n"] == 24
    assert not run.evaluation["leaky"]
    page = run.report.read_text(encoding="utf-8")
    assert "serious finding" not in page
    assert "repeats left out: 3" in page
