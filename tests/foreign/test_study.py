"""A study with a contender that somebody else trained: the same rooms, and what is left out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import clearmargin as cm
from clearmargin import check
from clearmargin.errors import UsageError, WeightsError
from clearmargin.learn.page import write_page
from clearmargin.report import write_report
from clearmargin.runs import Run

CLASSES = ("alpha", "beta", "gamma")
# The brightness of the square's place tells the class; of three channels that are alike, this tells nearly nothing,
# which is enough to hold the arithmetic against.
WEIGHTS = np.array([[3.0, -1.0, 0.5], [0.0, 2.0, 0.0], [-1.0, 0.0, 1.0]], dtype=np.float32)
RECIPE = """
name = "With a guest"
[data]
size_px = 24
color = "gray"
[audit]
label_suspects = false
[[contender]]
name = "<b>guest</b>"
onnx = "guest.onnx"
size_px = 16
scaling = "0..1"
fit = "stretch"
outputs = "probabilities"
classes = ["b", "a", "gamma"]
map = { a = "alpha", b = "beta" }
[[contender]]
name = "one layer"
layers = [{ conv = 4, kernel = 3, activation = "relu" }, { pool = "max" }]
[training]
epochs = 1
batch_size = 16
[evaluation]
resamples = 200
"""

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture(scope="module")
def recipe(build_onnx: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guest")
    (folder / "guest.onnx").write_bytes(build_onnx(weights=WEIGHTS).SerializeToString())
    (folder / "guest.toml").write_text(RECIPE, encoding="utf-8")
    return folder / "guest.toml"


@pytest.fixture(scope="module")
def finished(class_folder: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARMARGIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        out = tmp_path_factory.mktemp("runs") / "guest"
        return cm.run(recipe, data=class_folder, out=out, overrides=["evaluation.repeats=3"])


def test_its_folder_holds_the_file_bound_by_hash(finished: Run, recipe: Path) -> None:
    place = finished.folder / "contenders" / "b-guest-b"
    assert {path.name for path in place.iterdir()} == {"model.onnx", "model.json", "predictions.csv", "done.json"}
    assert (place / "model.onnx").read_bytes() == recipe.with_name("guest.onnx").read_bytes()
    model = json.loads((place / "model.json").read_text())
    assert (model["kind"], model["classes"], model["architecture"]["onnx"]) == ("onnx", list(CLASSES), "guest.onnx")
    assert model["preprocessing"]["size_px"] == 16
    assert model["parameters"] == {"total": 9, "trained": 0}
    ledger = (finished.folder / "ledger.jsonl").read_text()
    assert model["weights_sha256"] in ledger


def test_it_is_judged_on_the_very_same_images(finished: Run, class_folder: Path) -> None:
    table = finished.predictions
    guest, own = (table[table["contender"] == name] for name in finished.contenders)
    assert list(guest["name"]) == list(own["name"])
    again = finished.contender("<b>guest</b>").predict([class_folder / name for name in guest["name"]])
    columns = [f"P({name})" for name in CLASSES]
    np.testing.assert_allclose(again[list(CLASSES)], guest[columns], atol=1e-6)
    assert list(again["predicted"]) == list(guest["predicted"])


def test_predict_chooses_one_that_was_trained_here(finished: Run, class_folder: Path) -> None:
    assert finished.best.name == "one layer"
    picture = class_folder / "alpha" / "000.png"
    assert set(finished.contender("<b>guest</b>").predict(picture)["predicted"]) <= set(CLASSES)


def test_predict_and_an_external_test_take_it_too(
    finished: Run, class_folder: Path, tmp_path: Path, clearmargin: Callable[..., tuple[int, str, str]]
) -> None:
    picture = class_folder / "alpha" / "000.png"
    status, out, _ = clearmargin("predict", finished.folder, picture, "--contender", "<b>guest</b>", "--json")
    assert status == 0
    (said,) = json.loads(out)["predictions"]
    assert "unlike" not in said  # what is inside an ONNX file is not known: it has no gate
    out_folder = tmp_path / "elsewhere"
    status, _, err = clearmargin("evaluate", finished.folder, "--data", class_folder, "--out", out_folder)
    assert status == 0, err
    judged = json.loads((out_folder / "evaluation.json").read_text())["contenders"]
    assert "gate" not in judged["<b>guest</b>"]
    assert "gate" in judged["one layer"]
    assert "no gate" in (out_folder / "external.html").read_text(encoding="utf-8")


def test_the_checker_agrees_with_it_in(finished: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([str(finished.folder)]) == 0, capsys.readouterr().out


def test_every_place_says_that_it_was_trained_elsewhere(finished: Run) -> None:
    figures = finished.evaluation
    assert figures["contenders"]["<b>guest</b>"]["trained_elsewhere"] is True
    assert "trained_elsewhere" not in figures["contenders"]["one layer"]
    told = "was trained elsewhere: it may have seen these images."
    for comparison in (*figures["comparisons"], *figures["repeats"]["comparisons"]):
        assert comparison["sentence"].endswith(told)
    page = finished.report.read_text(encoding="utf-8")
    assert "was trained elsewhere: it may have seen these images" in page
    assert "on which images is not known here" in page
    assert "<b>guest</b>" not in page.replace("<b><b>", ""), "its name is text"
    assert "Learning curves" in page


def test_the_terminal_says_it_too(finished: Run, capsys: pytest.CaptureFixture[str]) -> None:
    from clearmargin.outcome import print_outcome

    print_outcome(finished)
    assert "trained elsewhere, may have seen these images." in capsys.readouterr().out


def test_repeats_judge_it_on_the_test_part_of_each_seed(finished: Run) -> None:
    rows = pd.read_csv(finished.folder / "repeats.csv")
    assert list(rows["contender"]) == ["<b>guest</b>", "one layer"] * 3
    place = finished.folder / "repeats" / "seed-1" / "contenders" / "b-guest-b"
    assert {path.name for path in place.iterdir()} == {"model.json", "predictions.csv", "done.json"}


def test_over_the_seeds_it_has_no_interval_since_it_learned_nothing(
    finished: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    guest, own = (
        finished.evaluation["repeats"]["contenders"][name]["accuracy"] for name in ("<b>guest</b>", "one layer")
    )
    assert (guest["low"], guest["high"]) == (None, None)
    assert guest["method"] == "no interval: it learned nothing from the splits"
    assert own["low"] <= own["mean"] <= own["high"]
    assert check.main([str(finished.folder)]) == 0, capsys.readouterr().out


def test_the_report_can_be_written_again_and_pages_that_look_inside_refuse(finished: Run, tmp_path: Path) -> None:
    before = finished.report.read_bytes()
    write_report(finished.folder)
    assert finished.report.read_bytes() == before
    with pytest.raises(UsageError, match="is an ONNX file, which has no layers to look into"):
        write_page(tmp_path / "learn.html", None, finished.folder, "b-guest-b")
    assert "Trained elsewhere" not in write_page(tmp_path / "learn.html", None, finished.folder, None).read_text()


def test_a_changed_file_is_refused(finished: Run, class_folder: Path, build_onnx: Callable) -> None:
    path = finished.folder / "contenders" / "b-guest-b" / "model.onnx"
    sound = path.read_bytes()
    path.write_bytes(build_onnx(weights=-WEIGHTS).SerializeToString())
    try:
        with pytest.raises(WeightsError, match=r"SHA-256 differs from model\.json"):
            cm.open_run(finished.folder).contender("b-guest-b").predict(class_folder / "alpha" / "000.png")
    finally:
        path.write_bytes(sound)


def test_alone_it_is_a_study_too(class_folder: Path, recipe: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.toml"
    guest_only = RECIPE.partition('[[contender]]\nname = "one layer"')[0]
    alone.write_text(guest_only.replace("guest.onnx", str(recipe.with_name("guest.onnx"))), encoding="utf-8")
    run = cm.run(alone, data=class_folder, out=tmp_path / "run", overrides=["evaluation.resamples=200"])
    assert run.best.name == "<b>guest</b>"
    assert run.report.is_file()


def test_what_can_not_work_is_said_before_anything_is_trained(
    class_folder: Path, recipe: Path, tmp_path: Path, clearmargin: Callable[..., tuple[int, str, str]]
) -> None:
    out = tmp_path / "run"
    words = ("run", recipe, "--data", class_folder, "--out", out)
    status, _, said = clearmargin(*words, "--set", "contender.b-guest-b.map={ a = 'alpha' }")
    assert status == 2
    assert "nothing of it covers 'beta'" in said
    status, _, said = clearmargin(*words, "--set", "contender.b-guest-b.size_px=17")
    assert status == 2
    assert "does not fit size_px = 17" in said
    assert not out.exists()


def test_without_the_extra_the_command_to_install_it_is_told(
    class_folder: Path, recipe: Path, tmp_path: Path, clearmargin: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "onnx", None)
    status, _, said = clearmargin("run", recipe, "--data", class_folder, "--out", tmp_path / "run")
    assert status == 2
    assert 'pip install "clearmargin[onnx]"' in said


def test_describe_tells_its_size(
    class_folder: Path, recipe: Path, clearmargin: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, _ = clearmargin("describe", recipe, "--data", class_folder)
    assert status == 0
    assert "<b>guest</b>: trained elsewhere, 9 parameters." in out
