"""Reading the run folder: what is missing, damaged or contradictory is said in one sentence."""

import json

import pytest

from clearmargin.errors import RunFolderError
from clearmargin.report import write_report


@pytest.mark.parametrize(
    "name",
    [
        "recipe.toml",
        "environment.json",
        "audit.json",
        "split.csv",
        "split.json",
        "evaluation.json",
        "contenders/vgg16/history.csv",
        "contenders/vgg16/predictions.csv",
    ],
)
def test_a_missing_file_is_named_and_nothing_is_written(synthetic_run, name):
    run_folder = synthetic_run(skills={"VGG16": 3.0})
    (run_folder / name).unlink()
    with pytest.raises(RunFolderError, match=name.rpartition("/")[2]):
        write_report(run_folder)
    assert not (run_folder / "report.html").exists()


@pytest.mark.parametrize("name", ["recipe.toml", "audit.json", "split.json", "evaluation.json"])
def test_a_damaged_file_is_named(synthetic_run, name):
    run_folder = synthetic_run(skills={"VGG16": 3.0})
    (run_folder / name).write_bytes(b'{"format": 1,')
    with pytest.raises(RunFolderError, match=rf"{name} can't be read"):
        write_report(run_folder)


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_another_format_is_refused(synthetic_run):
    run_folder = synthetic_run(skills={"VGG16": 3.0})
    change(run_folder / "audit.json", format=2)
    with pytest.raises(RunFolderError, match="format 2, expected 1"):
        write_report(run_folder)


def test_lacking_keys_are_named(synthetic_run):
    run_folder = synthetic_run(skills={"VGG16": 3.0})
    (run_folder / "split.json").write_text('{"format": 1, "asked": [0.8, 0.1, 0.1]}')
    with pytest.raises(RunFolderError, match="lacks achieved, counts"):
        write_report(run_folder)


def test_a_contender_without_a_folder_is_named(synthetic_run):
    run_folder = synthetic_run(skills={"VGG16": 3.0})
    change(run_folder / "contenders" / "vgg16" / "model.json", name="VGG19")
    with pytest.raises(RunFolderError, match=r"'VGG16'.*found: VGG19"):
        write_report(run_folder)


def test_predictions_of_another_evaluation_are_refused(synthetic_run):
    run_folder = synthetic_run(skills={"VGG16": 2.0})
    evaluation = json.loads((run_folder / "evaluation.json").read_text())
    evaluation["contenders"]["VGG16"]["errors"] += 1
    change(run_folder / "evaluation.json", **evaluation)
    with pytest.raises(RunFolderError, match="do not belong together"):
        write_report(run_folder)


def test_another_task_is_refused(synthetic_run):
    run_folder = synthetic_run(skills={"VGG16": 3.0})
    change(run_folder / "evaluation.json", task="ranking")
    with pytest.raises(RunFolderError, match="got 'ranking'"):
        write_report(run_folder)


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("evaluation.json", lambda e: e["contenders"]["VGG16"].pop("metrics"), r"VGG16\.metrics: field required"),
        ("evaluation.json", lambda e: e["contenders"]["VGG16"].pop("per_class"), r"VGG16\.per_class"),
        ("evaluation.json", lambda e: e["contenders"]["VGG16"].pop("confusion"), r"VGG16\.confusion"),
        ("evaluation.json", lambda e: e["contenders"]["VGG16"].update(confusion=[[1]]), "is not 4 × 4"),
        ("evaluation.json", lambda e: e["contenders"]["VGG16"]["confusion"][1].pop(), "is not 4 × 4"),
        ("evaluation.json", lambda e: e["contenders"]["VGG16"]["per_class"].pop(), "figures for 3 of 4"),
        ("evaluation.json", lambda e: e["contenders"]["VGG16"]["metrics"].update(accuracy=0.5), "metrics.accuracy"),
        ("evaluation.json", lambda e: e.update(contenders={}), "contenders"),
        ("evaluation.json", lambda e: e.update(comparisons=[{"first": "VGG16"}]), r"comparisons\.0\.second"),
        ("evaluation.json", lambda e: e.update(references=[{"name": "x"}]), r"references\.0\.metric"),
        ("split.json", lambda e: e.update(counts={"train": 5}), r"counts\.train"),
        ("split.json", lambda e: e.update(asked=[0.5]), "asked"),
        ("split.json", lambda e: e.update(groups=[1, 2, 3]), "groups"),
        ("audit.json", lambda e: e.update(counts={"found": 5}), r"counts\.decoded"),
        ("audit.json", lambda e: e.update(findings=[{"kind": "x", "severity": "dire", "message": ""}]), "severity"),
        ("environment.json", lambda e: e.update(seconds=[1]), "seconds"),
        ("contenders/vgg16/model.json", lambda e: e["layers"][0].pop("output"), r"layers\.0\.output"),
        ("contenders/vgg16/model.json", lambda e: e["layers"][0].pop("layer"), r"layers\.0\.layer"),
        ("contenders/vgg16/model.json", lambda e: e.update(training=None), "training"),
        ("contenders/vgg16/model.json", lambda e: e.update(parameters={}), r"parameters\.total"),
    ],
)
def test_a_value_of_another_kind_is_named_with_its_place(synthetic_run, name, damage, words):
    run_folder = synthetic_run(skills={"VGG16": 3.0})
    path = run_folder / name
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(RunFolderError, match=rf"{path.name} is damaged \(.*{words}"):
        write_report(run_folder)


def test_what_no_check_foresaw_is_still_said_in_words(synthetic_run):
    run_folder = synthetic_run(skills={"VGG16": 3.0})
    change(run_folder / "evaluation.json", repeats={"contenders": 7})
    with pytest.raises(RunFolderError, match="don't hold what a page needs"):
        write_report(run_folder)
