"""Copies of training images among the new ones: left out of every figure with their groups, whatever else is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clearmargin as cm
from clearmargin.errors import RunFolderError, UsageError
from clearmargin.evaluation.ledger import machine_ledger
from clearmargin.evaluation.predictions import read_predictions
from clearmargin.external import ExternalTest, evaluate_external
from clearmargin.external.overlap import Overlap
from clearmargin.external.untouched import rows_to_test
from clearmargin.files import read_table, sealed, write_table
from clearmargin.report import write_report
from clearmargin.runs import Run
from clearmargin.split import read_split

NO_GROUPS = (
    "The data state no groups (patients): images of one patient count as independent, which makes intervals too "
    "narrow, and patients who were learned from are not recognised by other images of theirs."
)
NOT_LEARNED = (
    "Of 90 of the 90 images learned from no group (patient) is stated: whether it is among those tested could not be "
    "looked for by name."
)
NUMBER = r"(\d{3})\.png$"  # images of the same number, in all classes, are of one patient

pytestmark = pytest.mark.usefixtures("without_figures")


def quiet(*_: object) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module", autouse=True)
def _same_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARMARGIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _own_cache() -> None:
    """The cache of the module stays."""


@pytest.fixture(scope="module")
def finished(class_folder: Path, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory, _same_cache: None) -> Run:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    return cm.run(tiny_recipe, data=class_folder, out=out, overrides=["training.epochs=1"])


@pytest.fixture(scope="module")
def learned(finished: Run) -> list[str]:
    """Names of the images of the training and validation part, mixed."""
    split = read_split(finished.folder)
    rows = np.concatenate([split.rows("train"), split.rows("validation")])
    return [str(split.names[row]) for row in np.random.default_rng(3).permutation(rows)]


@pytest.fixture(scope="module")
def elsewhere(draw_images: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("elsewhere"), {"alpha": 12, "beta": 10, "gamma": 9}, seed=7)


@pytest.fixture(scope="module")
def alone(finished: Run, elsewhere: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExternalTest]:
    """The new images without any copy, each a group of its own and in groups."""
    home = tmp_path_factory.mktemp("alone")
    return {
        pattern: evaluate_external(
            finished.folder, str(elsewhere), out=home / str(place), group_pattern=pattern or None, progress=quiet
        )
        for place, pattern in enumerate(["", NUMBER])
    }


def with_copies(elsewhere: Path, there: Path, of: Path, names: list[str], first: int = 500) -> Path:
    """The new images and copies of some others, under names that sort before, between and behind theirs."""
    mixed = shutil.copytree(elsewhere, there)
    for number, name in enumerate(names, start=first):
        shutil.copy(of / name, mixed / Path(name).parent / f"{('0', '0045', 'z')[number % 3]}-{number}.png")
    return mixed


def headline(found: ExternalTest) -> dict[str, object]:
    """Every figure of the images tested, their comparisons in words, the shift, and the place in the ledger."""
    given = json.loads((found.folder / "evaluation.json").read_text())
    del given["rests_on"]  # hashes of files that list the copies too
    return {**given, "shift": found.record["shift"], "internal": found.record["internal"]}


@pytest.mark.parametrize("pattern", ["", NUMBER])
@pytest.mark.parametrize("number", [1, 7, 1000])
def test_copies_of_training_images_change_no_figure(
    finished: Run, learned: list[str], class_folder: Path, elsewhere: Path, alone: dict[str, ExternalTest],
    tmp_path: Path, number: int, pattern: str,
) -> None:  # fmt: skip
    copies = learned[:number]
    mixed = with_copies(elsewhere, tmp_path / "mixed", class_folder, copies)
    found = evaluate_external(
        finished.folder, str(mixed), out=tmp_path / "out", group_pattern=pattern or None, progress=quiet
    )
    assert found.evaluation["clustered"] is bool(pattern)
    assert headline(found) == headline(alone[pattern])
    for sentence, before in zip(found.record["sentences"], alone[pattern].record["sentences"], strict=True):
        assert sentence.startswith(before)
        assert f" {len(copies)} more image" in sentence
    assert found.record["overlap"]["identical"] == found.record["overlap"]["left_out"] == len(copies)
    assert found.record["all_images"]["n"] == 31 + len(copies)


def test_a_group_with_one_copy_goes_entirely(
    finished: Run, learned: list[str], class_folder: Path, elsewhere: Path, tmp_path: Path
) -> None:
    mixed = with_copies(elsewhere, tmp_path / "mixed", class_folder, learned[:2], first=0)
    for path in mixed.rglob("*-[01].png"):  # of the patients 000 and 004
        path.rename(path.with_name(f"copy-00{'04'[int(path.stem[-1])]}.png"))
    found = evaluate_external(finished.folder, str(mixed), out=tmp_path / "out", group_pattern=NUMBER, progress=quiet)
    listed = read_table(tmp_path / "out" / "images.csv", text=("name", "pixel_sha256", "copy"))
    marks = dict(zip(listed["name"], listed["copy"], strict=True))
    assert {name for name, mark in marks.items() if mark == "group"} == {
        f"{label}/00{patient}.png" for label in ("alpha", "beta", "gamma") for patient in "04"
    }
    assert found.evaluation["n"] == 31 - 6
    assert found.record["overlap"]["same_group"] == 6
    assert found.record["overlap"]["left_out"] == 8
    for name, contender in finished.contenders.items():
        said = read_predictions(tmp_path / "out" / "contenders" / contender.folder.name / "predictions.csv")["test"]
        assert len(said.names) == 33  # all are kept, so that both figures can be computed anew
        right = np.array(said.classes, dtype=object)[said.probabilities.argmax(axis=1)] == said.labels
        kept = np.array([not marks[each] for each in said.names])
        assert found.evaluation["contenders"][name]["metrics"]["accuracy"]["value"] == pytest.approx(right[kept].mean())
        assert found.record["all_images"]["contenders"][name]["accuracy"]["value"] == pytest.approx(right.mean())
    page = (tmp_path / "out" / "external.html").read_text(encoding="utf-8")
    assert "8 more images were left out" in page.partition("<table")[0]
    assert "with copies of training images" in page


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), min_size=1, max_size=20))
def test_tested_is_whose_group_holds_no_copy(images: list[tuple[int, bool, bool]]) -> None:
    groups, identical, near = (np.array(column) for column in zip(*images, strict=True))
    nobody = np.array([None] * len(groups), dtype=object)
    overlap = Overlap(identical, near & ~identical, True, "", (), groups, nobody, np.zeros(len(groups), bool), 9, 0)
    expected = [
        row for row, (own, _, _) in enumerate(images)
        if not any(one or other for group, one, other in images if group == own)
    ]  # fmt: skip
    assert [row for row, kind in enumerate(overlap.kinds) if not kind] == expected
    if expected:
        assert list(rows_to_test(overlap)) == expected
    else:
        with pytest.raises(UsageError, match="No external test"):
            rows_to_test(overlap)


def test_nothing_left_is_no_external_test(
    finished: Run, learned: list[str], class_folder: Path, tmp_path: Path,
    clearmargin: Callable[..., tuple[int, str, str]],
) -> None:  # fmt: skip
    run = shutil.copytree(finished.folder, tmp_path / "run")
    for name in learned[:6]:
        (tmp_path / "same" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(class_folder / name, tmp_path / "same" / name.replace(".png", "-copy.png"))
    before = (run / "ledger.jsonl").read_bytes(), machine_ledger().read_bytes()
    status, out, said = clearmargin("evaluate", run, "--data", tmp_path / "same")
    assert status == 2
    assert "No external test: every image (or its group) has a copy in training. Of 6 images 6 are identical" in said
    assert "accuracy" not in out
    assert ((run / "ledger.jsonl").read_bytes(), machine_ledger().read_bytes()) == before
    assert not (run / "external").exists()
    write_report(run)
    assert "Internal test only" in (run / "report.html").read_text(encoding="utf-8")


def test_a_class_that_is_gone_is_named(
    finished: Run, learned: list[str], class_folder: Path, elsewhere: Path, tmp_path: Path
) -> None:
    shutil.copytree(elsewhere / "alpha", tmp_path / "new" / "alpha")
    (tmp_path / "new" / "beta").mkdir()
    name = next(name for name in learned if name.startswith("beta/"))
    shutil.copy(class_folder / name, tmp_path / "new" / "beta" / "copy.png")
    found = evaluate_external(finished.folder, str(tmp_path / "new"), out=tmp_path / "out", progress=quiet)
    assert found.evaluation["n"] == 12
    assert found.record["warnings"] == [
        "No image is left of: beta.",
        "All images tested are of one class, so that nothing is said of telling it from others: alpha.",
        NO_GROUPS,
    ]
    page = (tmp_path / "out" / "external.html").read_text(encoding="utf-8")
    assert all(warning in page.partition("<table")[0] for warning in found.record["warnings"])


def test_a_single_group_has_no_interval_unless_all_are_right_or_wrong(
    finished: Run, elsewhere: Path, tmp_path: Path
) -> None:
    found = evaluate_external(
        finished.folder, str(elsewhere), out=tmp_path / "out", group_pattern=r"(\.png)$", progress=quiet
    )
    assert (found.evaluation["n"], found.evaluation["groups"]) == (31, 1)
    assert found.record["warnings"] == [
        NOT_LEARNED,
        "All images tested are of one group: how others would do is not known.",
    ]
    for sentence, said in zip(found.record["sentences"], found.evaluation["contenders"].values(), strict=True):
        accuracy = said["metrics"]["accuracy"]
        assert (accuracy["low"] is None) == (0 < accuracy["value"] < 1) == ("(no interval)" in sentence)


def test_a_test_of_the_earlier_form_is_refused(alone: dict[str, ExternalTest], finished: Run, tmp_path: Path) -> None:
    run = shutil.copytree(finished.folder, tmp_path / "run")
    folder = shutil.copytree(alone[""].folder, run / "external" / "old")
    record = {key: value for key, value in alone[""].record.items() if key not in ("content_sha256", "all_images")}
    (folder / "external.json").write_text(json.dumps(sealed(record)))
    with pytest.raises(RunFolderError, match="lacks all_images: its figures count copies"):
        write_report(run)


def test_groups_that_bear_the_name_of_one_learned_from_are_told(
    finished: Run, elsewhere: Path, tmp_path: Path, alone: dict[str, ExternalTest]
) -> None:
    """The run's data stated no groups; here its first images are of patients 003 and 005."""
    run = shutil.copytree(finished.folder, tmp_path / "run")
    listed = read_table(run / "training_images.csv", text=("name", "part", "group", "pixel_sha256"))
    assert set(listed["group"]) == {""}
    listed.loc[[0, 1, 2], "group"] = ["003", "005", "none of these"]
    write_table(run / "training_images.csv", listed)
    found = evaluate_external(run, str(elsewhere), out=tmp_path / "out", group_pattern=NUMBER, progress=quiet)
    overlap = found.record["overlap"]
    assert (overlap["groups_stated"], overlap["same_name"], overlap["left_out"]) == (31, 6, 0)
    assert all(
        sentence.endswith("6 images tested are of groups that bear the names of some learned from.")
        for sentence in found.record["sentences"]
    )
    assert any("If they are the same patients, the figures are too good" in text for text in found.record["warnings"])
    # Nothing is left out for a name.
    assert found.evaluation["contenders"].keys() == alone[NUMBER].evaluation["contenders"].keys()
    assert found.evaluation["n"] == alone[NUMBER].evaluation["n"] == 31
    assert alone[NUMBER].record["overlap"]["same_name"] == alone[""].record["overlap"]["groups_stated"] == 0
    assert NO_GROUPS in alone[""].record["warnings"]
    assert alone[NUMBER].record["warnings"] == [NOT_LEARNED]
