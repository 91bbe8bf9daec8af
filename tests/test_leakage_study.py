"""The price of leakage at the door and in a study: a table, JSON, a file that is written once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clearmargin import leakage as room

pytestmark = pytest.mark.usefixtures("without_figures")

Command = Callable[..., tuple[int, str, str]]


def silent(*_: object) -> None:
    """No progress."""


@pytest.fixture(autouse=True)
def _without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clearmargin.features.weights_at_hand", lambda cache: False)


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
