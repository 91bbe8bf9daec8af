"""The checker on external tests: it agrees with them, in the run's own classes and in sums, and notices changes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import clearmargin as cm
from clearmargin import check
from clearmargin.external import evaluate_external
from clearmargin.files import file_sha256, sealed
from clearmargin.split import read_split

pytestmark = pytest.mark.usefixtures("without_figures")


def quiet(*_: object) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module")
def run(
    draw_images: Callable[..., Path], class_folder: Path, tiny_recipe: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run with two external tests with copies of training images: one of them in groups, with classes summed up."""
    home = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARMARGIN_CACHE", str(home / "cache"))
        quick = ["training.epochs=1", "audit.label_suspects=false"]
        folder = cm.run(tiny_recipe, data=class_folder, out=home / "run", overrides=quick).folder
        images = draw_images(home / "other", {"alpha": 12, "beta": 10, "gamma": 9}, seed=7)
        split = read_split(folder)
        for number, name in enumerate(split.names[split.rows("train")][:4]):
            shutil.copy(class_folder / name, images / Path(name).parent / f"copy-00{number}.png")
        evaluate_external(
            folder, str(images), out=folder / "external" / "summed", merges=["other=beta,gamma"],
            group_pattern=r"(\d{3})\.png$", progress=quiet,
        )  # fmt: skip
        evaluate_external(folder, str(images), progress=quiet)
    return folder


def test_it_agrees_with_external_tests(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list(run.glob("external/*/evaluation.json"))) == 2
    status = check.main([str(run), "--all"])
    out = capsys.readouterr().out
    assert status == 0, out
    given = [line for line in out.splitlines() if line.startswith("  given: external/")]
    told = "format|evaluation_number_machine|data|shift > .* > new"
    assert all(re.search(rf"> ({told})", line) for line in given)
    read = json.loads((run / "external" / "summed" / "evaluation.json").read_text())
    assert "gate" in read["contenders"]["one layer"]
    assert (read["n"], read["groups"], read["clustered"]) == (31 - 12, 8, True)
    assert json.loads((run / "external" / "other" / "evaluation.json").read_text())["n"] == 31


def test_a_sentence_with_another_figure_is_noticed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    path = copy / "external" / "other" / "external.json"
    record = json.loads(path.read_text())
    record["sentences"][0] = re.sub(r"accuracy 0\.\d+", "accuracy 0.9871", record["sentences"][0])
    path.write_text(json.dumps(sealed({key: value for key, value in record.items() if key != "content_sha256"})))
    assert check.main([str(copy)]) == 1
    assert "says 0.9871" in capsys.readouterr().out


ONE = ("contenders", "one layer")
EDITS: dict[str, tuple[str, tuple[str | int, ...], object, str]] = {
    "accuracy": ("evaluation.json", (*ONE, "metrics", "accuracy", "value"), 0.987, "accuracy > value is 0.987"),
    "gate": ("evaluation.json", (*ONE, "gate", "unlike_n"), 77, "unlike_n is 77"),
    "coverage": ("evaluation.json", (*ONE, "conformal", "coverage", "value"), 0.123, "coverage > value is 0.123"),
    "withheld": ("evaluation.json", (*ONE, "abstention", "abstained"), 99, "abstained is 99"),
    "internal": ("external.json", ("internal", *ONE, "auc", "value"), 0.99, "auc > value is 0.99"),
    "identical": ("external.json", ("overlap", "identical"), 1, "overlap > identical is 1"),
    "near": ("external.json", ("overlap", "near"), 55, "overlap > near is 55"),
    "left out": ("external.json", ("overlap", "left_out"), 0, "overlap > left_out is 0"),
    "group": ("external.json", ("overlap", "same_group"), 77, "overlap > same_group is 77"),
    "all": ("external.json", ("all_images", *ONE, "accuracy", "value"), 0.987, "accuracy > value is 0.987"),
    "tested": ("evaluation.json", ("n",), 35, "n is 35"),
    "shift": ("external.json", ("shift", 0, "effect"), 12.5, "effect is 12.5"),
    "new": ("evaluation.json", ("extra",), 1.5, "extra was not re-derived"),
}


IN_OWN_CLASSES = ("accuracy", "gate", "internal", "identical")  # what differs where no classes are summed


@pytest.mark.parametrize(
    ("edit", "test"), [*((edit, "summed") for edit in EDITS), *((edit, "other") for edit in IN_OWN_CLASSES)]
)
def test_a_changed_figure_is_noticed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], edit: str, test: str
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    for other in copy.glob("external/*"):
        if other.name != test:
            shutil.rmtree(other)
    file, path, value, said = EDITS[edit]
    content = json.loads((copy / "external" / test / file).read_text())
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (copy / "external" / test / file).write_text(json.dumps(content))
    assert check.main([str(copy)]) == 1
    assert re.search(rf"external/{test}/{file}: .*{said}", capsys.readouterr().out)


@pytest.mark.parametrize("file", ["images.csv", "predictions.csv", "own_classes.csv", "gate.csv"])
def test_a_changed_file_is_noticed(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copy / "external" / "other")
    path = next((copy / "external" / "summed").rglob(file))
    text = path.read_text()
    path.write_text(re.sub(r"(\d)(?=\D*\Z)", lambda found: str((int(found[1]) + 1) % 10), text))
    assert check.main([str(copy)]) == 1
    assert f"{file} is not the file" in capsys.readouterr().out


@pytest.mark.parametrize(("mark", "said"), [("group", "exactly those images"), ("identical", "does not mark those")])
def test_an_image_that_is_put_back_is_noticed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], mark: str, said: str
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copy / "external" / "other")
    folder = copy / "external" / "summed"
    listed = (folder / "images.csv").read_text()
    assert f',"{mark}"\n' in listed
    (folder / "images.csv").write_text(listed.replace(f',"{mark}"\n', ',""\n', 1))
    evaluation = json.loads((folder / "evaluation.json").read_text())
    evaluation["rests_on"]["images.csv"] = file_sha256(folder / "images.csv")
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    assert check.main([str(copy)]) == 1
    assert said in capsys.readouterr().out


def test_it_agrees_where_only_identical_copies_were_looked_for_and_a_class_and_all_groups_but_one_are_gone(
    run: Path, draw_images: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("CLEARMARGIN_CACHE", str(tmp_path / "another-cache"))
    copy = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copy / "external")
    images = draw_images(tmp_path / "last", {"alpha": 5, "beta": 5}, seed=11)
    for path in images.rglob("*.png"):
        path.rename(path.with_name(f"one-{path.name}"))
    (images / "gamma").mkdir()
    known = next(path for path in run.parent.parent.rglob("copy-000.png"))
    shutil.copy(known, images / "gamma" / "two-000.png")
    found = evaluate_external(copy, str(images), group_pattern=r"(one|two)-", progress=quiet)
    assert (found.evaluation["n"], found.evaluation["groups"]) == (10, 1)
    assert found.record["overlap"]["left_out"] == 1
    assert len(found.record["warnings"]) == 4
    status = check.main([str(copy)])
    assert status == 0, capsys.readouterr().out
    path = found.folder / "external.json"
    record = {key: value for key, value in found.record.items() if key != "content_sha256"}
    record["sentences"] = [sentence.partition(" Only")[0] for sentence in record["sentences"]]
    path.write_text(json.dumps(sealed(record)))
    assert check.main([str(copy)]) == 1
    assert "does not say that near copies were not looked for" in capsys.readouterr().out
