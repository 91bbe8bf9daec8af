"""External tests of a finished run: frozen models, overlap with training, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clearmargin as cm
from clearmargin.errors import RunFolderError, SourceError, UsageError, WeightsError
from clearmargin.evaluation.ledger import read_ledger
from clearmargin.evaluation.predictions import read_predictions
from clearmargin.external import ExternalTest, evaluate_external
from clearmargin.files import is_sealed, sealed
from clearmargin.runs import Run
from clearmargin.split import read_split

pytestmark = pytest.mark.usefixtures("without_figures")


def quiet(*_: object) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _same_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(cache))


@pytest.fixture(scope="module")
def finished(class_folder: Path, tiny_recipe: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARMARGIN_CACHE", str(cache))
        return cm.run(tiny_recipe, data=class_folder, out=tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def elsewhere(draw_images: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """New images of the same three classes."""
    return draw_images(tmp_path_factory.mktemp("elsewhere"), {"alpha": 12, "beta": 10, "gamma": 9}, seed=7)


@pytest.fixture
def run_copy(finished: Run, tmp_path: Path) -> Path:
    """A copy of the run that a test may change."""
    return shutil.copytree(finished.folder, tmp_path / "run")


@pytest.fixture(scope="module")
def tested(finished: Run, elsewhere: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> ExternalTest:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARMARGIN_CACHE", str(cache))
        out = tmp_path_factory.mktemp("external") / "new"
        return evaluate_external(finished.folder, str(elsewhere), out=out, progress=quiet)


def test_figures_are_those_of_the_frozen_models(tested: ExternalTest, finished: Run, elsewhere: Path) -> None:
    for name, contender in finished.contenders.items():
        said = read_predictions(tested.folder / "contenders" / contender.folder.name / "predictions.csv")["test"]
        assert len(said.names) == 31
        again = contender.predict([elsewhere / each for each in said.names])
        np.testing.assert_allclose(again[list(said.classes)], said.probabilities, atol=1e-5)
        accuracy = float((again["predicted"].to_numpy() == said.labels).mean())
        assert tested.evaluation["contenders"][name]["metrics"]["accuracy"]["value"] == pytest.approx(accuracy)
    assert {"calibration", "conformal", "abstention"} <= set(tested.evaluation["contenders"]["one layer"])


def test_the_internal_figures_stand_beside_them(tested: ExternalTest, finished: Run) -> None:
    for name, metrics in tested.record["internal"]["contenders"].items():
        own = finished.evaluation["contenders"][name]["metrics"]
        assert {key: metrics[key] for key in ("accuracy", "auc")} == {key: own[key] for key in ("accuracy", "auc")}
        assert any(sentence.startswith(f"{name}: accuracy") for sentence in tested.record["sentences"])


def test_the_page_tells_it_and_the_report_of_the_run_leads_to_it(
    tested: ExternalTest, finished: Run, run_copy: Path, elsewhere: Path
) -> None:
    page = (tested.folder / "external.html").read_text(encoding="utf-8")
    for sentence in tested.record["sentences"]:
        assert sentence in page
    assert "What was frozen" in page
    assert "Internal test only" in finished.report.read_text(encoding="utf-8")
    evaluate_external(run_copy, str(elsewhere), progress=quiet)
    report = (run_copy / "report.html").read_text(encoding="utf-8")
    assert "Internal test only" not in report
    assert 'href="external/' in report
    (written,) = (run_copy / "external").iterdir()
    assert (written / "external.html").is_file()


def test_strangers_overlap_with_nothing(tested: ExternalTest) -> None:
    overlap = tested.record["overlap"]
    assert (overlap["identical"], overlap["near_looked_for"]) == (0, True)
    assert overlap["left_out"] == overlap["near"] + overlap["same_group"] == 0
    assert tested.record["all_images"] is None
    assert [warning[:31] for warning in tested.record["warnings"]] == ["The data state no groups (patie"]


def test_both_files_are_whole(tested: ExternalTest) -> None:
    assert is_sealed(json.loads((tested.folder / "external.json").read_text()))
    evaluation = json.loads((tested.folder / "evaluation.json").read_text())
    assert (evaluation["kind"], evaluation["n"]) == ("external", 31)


def test_the_ledger_of_the_run_has_an_entry(tested: ExternalTest, finished: Run) -> None:
    entries = read_ledger(finished.folder / "ledger.jsonl")
    assert entries[-1]["kind"] == "external"
    assert entries[-1]["hash"] == tested.evaluation["ledger_head"]
    assert entries[-1]["models"].keys() == finished.contenders.keys()


def test_the_gate_of_the_run_judges_the_new_images(tested: ExternalTest, finished: Run, elsewhere: Path) -> None:
    contender = finished.contender("one-layer")
    assert contender.decision is not None
    assert contender.decision.gate is not None
    block = tested.evaluation["contenders"]["one layer"]["gate"]
    names = read_predictions(tested.folder / "contenders" / "one-layer" / "predictions.csv")["test"].names
    unlike = contender.predict([elsewhere / name for name in names])["unlike"]
    assert (block["unlike_n"], block["threshold"]) == (int(unlike.sum()), contender.decision.gate.threshold)
    assert block["unlike"]["value"] == pytest.approx(unlike.mean())
    assert "Called unlike the training images" in (tested.folder / "external.html").read_text(encoding="utf-8")


def test_noise_is_called_unlike_also_where_classes_are_summed(finished: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for place in (tmp_path / "noise" / "alpha", tmp_path / "noise" / "beta"):
        place.mkdir(parents=True)
        for number in range(4):
            Image.fromarray(rng.integers(0, 256, (24, 24), dtype=np.uint8)).save(place / f"{number}.png")
    found = evaluate_external(
        finished.folder, str(tmp_path / "noise"), merges=["other=beta,gamma"], maps=["beta=other"],
        out=tmp_path / "out", progress=quiet,
    )  # fmt: skip
    gate = found.evaluation["contenders"]["one layer"]["gate"]
    assert (gate["unlike_n"], gate["unlike"]["value"]) == (8, 1.0)


def test_the_report_command_writes_the_pages_of_external_tests_too(
    run_copy: Path, elsewhere: Path, clearmargin: Callable[..., tuple[int, str, str]]
) -> None:
    page = evaluate_external(run_copy, str(elsewhere), progress=quiet).folder / "external.html"
    written = page.read_text(encoding="utf-8")
    page.unlink()
    status, out, _ = clearmargin("report", run_copy)
    assert status == 0
    assert f"External test: {page}" in out
    assert page.read_text(encoding="utf-8") == written


def test_without_the_cache_near_copies_are_said_not_to_be_looked_for(
    finished: Run, class_folder: Path, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "another-cache"))
    found = evaluate_external(finished.folder, str(elsewhere), out=tmp_path / "out", progress=quiet)
    overlap = found.record["overlap"]
    assert (overlap["near"], overlap["near_looked_for"]) == (None, False)
    assert "--training-data" in overlap["why_not"]
    assert overlap["identical"] == 0
    caveat = "Only identical copies were looked for, not near ones."
    assert all(sentence.endswith(caveat) for sentence in found.record["sentences"])
    first_screen = (tmp_path / "out" / "external.html").read_text(encoding="utf-8").partition("<table")[0]
    assert caveat in first_screen
    assert "Only identical copies of training images were looked for." in first_screen
    again = evaluate_external(
        finished.folder, str(elsewhere), out=tmp_path / "again", training_data=str(class_folder), progress=quiet
    )
    assert again.record["overlap"]["near_looked_for"]
    assert not any(caveat in sentence for sentence in again.record["sentences"])
    with pytest.raises(UsageError, match="--training-data are not the data this run learned from"):
        evaluate_external(
            finished.folder, str(elsewhere), out=tmp_path / "third", training_data=str(elsewhere), progress=quiet
        )


def test_with_a_damaged_cache_near_copies_are_said_not_to_be_looked_for(
    finished: Run, elsewhere: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    key = json.loads((finished.folder / "training_summary.json").read_text())["pixels_key"]
    damaged = shutil.copytree(cache / "pixels" / key, tmp_path / "damaged" / "pixels" / key) / "miniatures.bin"
    damaged.write_bytes(bytes(damaged.stat().st_size))
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "damaged"))
    found = evaluate_external(finished.folder, str(elsewhere), out=tmp_path / "out", progress=quiet)
    overlap = found.record["overlap"]
    assert (overlap["near"], overlap["near_looked_for"]) == (None, False)
    assert overlap["why_not"] == "The pictures the run learned from are damaged in the cache of this machine."
    assert "miniatures.bin is damaged: row" in caplog.text
    assert "Near copies of training images are not looked for." in caplog.text


def test_classes_of_the_run_can_be_summed(finished: Run, elsewhere: Path, tmp_path: Path) -> None:
    found = evaluate_external(
        finished.folder, str(elsewhere), maps=["gamma="], merges=["other=beta,gamma"], out=tmp_path / "out",
        contenders=["one-layer"], progress=quiet,
    )  # fmt: skip
    assert found.evaluation["classes"] == ["alpha", "other"]
    assert found.evaluation["n"] == 22
    said = read_predictions(tmp_path / "out" / "contenders" / "one-layer" / "predictions.csv")["test"]
    own = finished.contender("one-layer").predict([elsewhere / name for name in said.names])
    np.testing.assert_allclose(said.probabilities[:, 1], own["beta"] + own["gamma"], atol=1e-5)
    block = found.evaluation["contenders"]["one layer"]
    decision = finished.contender("one-layer").decision
    assert decision is not None
    sets = decision.conformal.sets(own[["alpha", "beta", "gamma"]].to_numpy(), ("alpha", "beta", "gamma"))
    held = np.where(said.labels == "alpha", sets[:, 0], sets[:, 1] | sets[:, 2])
    assert block["conformal"]["coverage"]["value"] == pytest.approx(held.mean())
    assert block["calibration"]["temperature"] == decision.temperature.value


@pytest.mark.parametrize("field", ["temperature", "conformal", "abstention"])
def test_a_changed_threshold_is_refused_even_when_it_is_sealed_again(
    run_copy: Path, elsewhere: Path, field: str
) -> None:
    path = run_copy / "contenders" / "one-layer" / "model.json"
    model = json.loads(path.read_text())
    changes = {
        "temperature": {"temperature": 1.5},
        "conformal": {"conformal": {**model["decision"]["conformal"], "threshold": 0.123}},
        "abstention": {"abstention": {**model["decision"]["abstention"], "threshold": 0.5, "outcome": "reached"}},
    }
    changed = {**model["decision"], **changes[field]}
    del changed["content_sha256"]
    path.write_text(json.dumps({**model, "decision": changed}))
    with pytest.raises(RunFolderError, match="SHA-256 differs"):  # not even sealed
        evaluate_external(run_copy, str(elsewhere), progress=quiet)
    path.write_text(json.dumps(sealed({**model, "decision": sealed(changed)})))
    with pytest.raises(RunFolderError, match="A threshold, the temperature or something else in it was changed"):
        evaluate_external(run_copy, str(elsewhere), progress=quiet)
    assert not (run_copy / "external").exists()


def test_changed_weights_and_ledgers_are_refused(run_copy: Path, elsewhere: Path) -> None:
    weights = run_copy / "contenders" / "one-layer" / "model.safetensors"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(WeightsError, match="are not those this run was finished with"):
        evaluate_external(run_copy, str(elsewhere), progress=quiet)
    weights.write_bytes(sound)
    (run_copy / "ledger.jsonl").write_text("")
    with pytest.raises(RunFolderError, match="is not the ledger this run was evaluated with"):
        evaluate_external(run_copy, str(elsewhere), progress=quiet)


def test_a_changed_summary_of_the_training_part_is_refused(run_copy: Path, elsewhere: Path) -> None:
    path = run_copy / "training_summary.json"
    path.write_text(path.read_text().replace('"n": ', '"n": 1'))
    with pytest.raises(RunFolderError, match="was edited or damaged"):
        evaluate_external(run_copy, str(elsewhere), progress=quiet)


def test_the_run_folder_keeps_no_pictures_of_training_images(finished: Run) -> None:
    kept = {path.name for path in finished.folder.iterdir()}
    assert {"training_summary.json", "training_images.csv"} <= kept
    assert "miniatures.bin" not in kept
    assert len((finished.folder / "training_images.csv").read_text().splitlines()) == 1 + sum(
        len(read_split(finished.folder).rows(part)) for part in ("train", "validation")
    )


def test_one_class_only_works_and_says_what_is_undefined(finished: Run, elsewhere: Path, tmp_path: Path) -> None:
    shutil.copytree(elsewhere / "alpha", tmp_path / "one" / "alpha")
    found = evaluate_external(finished.folder, str(tmp_path / "one"), out=tmp_path / "out", progress=quiet)
    metrics = found.evaluation["contenders"]["one layer"]["metrics"]
    assert found.evaluation["n"] == 12
    assert any("are of one class" in warning for warning in found.record["warnings"])
    assert metrics["auc"]["value"] is None
    assert 0 <= metrics["accuracy"]["value"] <= 1


def test_a_single_image_works(finished: Run, elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "one" / "beta").mkdir(parents=True)
    shutil.copy(elsewhere / "beta" / "000.png", tmp_path / "one" / "beta")
    found = evaluate_external(finished.folder, str(tmp_path / "one"), out=tmp_path / "out", progress=quiet)
    assert found.evaluation["n"] == 1


def test_what_can_not_be_tested_is_refused(finished: Run, elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError):
        evaluate_external(finished.folder, str(tmp_path / "empty"), progress=quiet)
    strange = shutil.copytree(elsewhere, tmp_path / "strange")
    (strange / "gamma").rename(strange / "gama")
    with pytest.raises(UsageError, match='--map "gama=gamma"'):
        evaluate_external(finished.folder, str(strange), progress=quiet)
    with pytest.raises(RunFolderError, match="holds files"):
        evaluate_external(finished.folder, str(elsewhere), out=finished.folder, progress=quiet)
    with pytest.raises(RunFolderError, match="lies inside the data"):
        evaluate_external(finished.folder, str(elsewhere), out=elsewhere / "out", progress=quiet)


def test_the_command_prints_the_table_and_json(
    finished: Run, elsewhere: Path, tmp_path: Path, clearmargin: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, _ = clearmargin("evaluate", finished.folder, "--data", elsewhere, "--out", tmp_path / "a")
    assert status == 0
    assert "internal accuracy" in out
    assert "images from elsewhere" in out
    assert "are identical to one that was learned from" in out
    assert "Left out with their groups: 0." in out
    status, out, _ = clearmargin("evaluate", finished.folder, "--data", elsewhere, "--out", tmp_path / "b", "--json")
    assert status == 0
    assert json.loads(out)["external"]["data"]["used"] == 31
    status, _, said = clearmargin("evaluate", finished.folder, "--data", elsewhere, "--map", "alpha")
    assert status == 2
    assert "--map needs theirs=ours" in said
