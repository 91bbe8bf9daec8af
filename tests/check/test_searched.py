"""The checker of a run that a search for settings led to."""

import json
import re
import shutil
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("optuna", reason="tuning needs optuna")

from clearmargin import check
from clearmargin.files import read_table, sealed, write_json, write_table
from clearmargin.recipe_spaces import Choices, Range
from clearmargin.report.page import write_report
from clearmargin.tuning import tune
from clearmargin.tuning.importance import importance
from clearmargin.tuning.trials import Trial

pytestmark = pytest.mark.usefixtures("without_figures")

RECIPE = """
[data]
size_px = 16
color = "gray"
[audit]
label_suspects = false
[[contender]]
name = "small 2"
layers = [{ conv = { low = 4, high = 12, step = 4 }, kernel = 3, activation = "relu" }, { pool = ["max", "average"] }]
size_px = [16, 20]
[training]
epochs = 2
batch_size = 16
learning_rate = { low = 1e-3, high = 1e-1, log = true }
label_smoothing = [0, 0.1]
[training.augmentation]
flip_horizontal = [true, false]
[evaluation]
resamples = 200
"""
TABLE = """
task = "regression"
[data]
target = "y"
[[contender]]
name = "n"
layers = [{ flatten = true }, { dense = [4, 8], activation = "relu" }]
training = { epochs = 3, learning_rate = [1e-4, 1e-2] }
[evaluation]
resamples = 200
"""


@pytest.fixture(scope="module")
def searched(class_folder, tmp_path_factory):
    home = tmp_path_factory.mktemp("searched")
    (home / "r.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARMARGIN_CACHE", str(home / "cache"))
        return tune(home / "r.toml", trials=22, data=class_folder, out=home / "t", progress=lambda *_: None).folder


def problems_of(run):
    """What the checker says of the search alone."""
    study = check.Study(run)
    search = check.Search(study)
    outcome, _ = check.rederived(search, search.summary, check.SEARCH, ())
    return [*check.hash_problems(study), *outcome.differences, *check.search_problems(search)]


def test_it_agrees_with_a_search(searched, capsys):
    content = json.loads((searched / "tuning" / "tuning.json").read_text())
    assert content["importance"]  # else nothing tells whether it is the same
    assert {trial["outcome"] for trial in content["trials"]} >= {"complete", "pruned"}
    status, out = check.main([str(searched)]), capsys.readouterr().out
    assert status == 0, out
    counted = re.search(r"([\d,]+) numbers re-derived, largest deviation (\S+);", out)
    assert float(counted[2]) < 1e-9


def test_it_agrees_with_the_report_in_another_language(searched, tmp_path):
    shutil.copytree(searched, tmp_path / "t")
    write_report(tmp_path / "t", language="zh")
    assert problems_of(tmp_path / "t") == []


def test_it_agrees_with_the_search_of_a_regression(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    pd.DataFrame(x, columns=["a", "b", "c"]).assign(y=x @ [1.0, -2.0, 0.5]).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "r.toml").write_text(TABLE)
    done = tune(tmp_path / "r.toml", trials=4, data=tmp_path / "t.csv", out=tmp_path / "t", progress=lambda *_: None)
    status, out = check.main([str(done.folder)]), capsys.readouterr().out
    assert status == 0, out
    assert done.summary["tuned"] == "n, tuned"
    in_report(r"(changed the RMSE by )", r"\g<1>9")(done.folder)
    assert any("says that tuning gained" in problem for problem in problems_of(done.folder))


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (0.0, []),
        (-0.0, []),
        (-0.1, ["tuning: the score of trial 1 is -0.1, by its measures -0.0."]),
        (None, ["tuning: the score of trial 1 is None, by its measures -0.0."]),
    ],
)
def test_a_score_of_zero_is_a_score(tmp_path, score, said):
    search = check.Search.__new__(check.Search)
    recipe = {"contender": [{"name": "n"}]}
    search.study = SimpleNamespace(task="regression", folder=tmp_path, recipe=recipe)
    search.asked, search.closed = {"contender": "n", "folds": 0}, {"trials": 2}
    search.spaces, search.untuned = {}, {}
    told = {"outcome": "complete", "settings": {}, "measures": {"loss": 0.0, "mean_squared_error": 0.0}}
    search.trials = [{**told, "number": 1, "score": score}, {**told, "number": 2, "score": -0.0}]
    assert list(check.search_problems(search)) == [*said, "tuning: report.html has no section on the search."]


def in_summary(change, *, keep_seal=False):
    """Change tuning.json; the forger computes its hash anew unless ``keep_seal``."""

    def edit(run):
        path = run / "tuning" / "tuning.json"
        content = json.loads(path.read_text())
        change(content)
        bare = {key: value for key, value in content.items() if key != "content_sha256"}
        write_json(path, content if keep_seal else sealed(bare))

    return edit


def in_trials(column, value, row=-1):
    def edit(run):
        path = run / "tuning" / "trials.csv"
        table = read_table(path, text=("outcome", "note"))
        table[column] = table[column].astype(object)
        table.loc[table.index[row], column] = value
        write_table(path, table)

    return edit


def in_report(pattern, new):
    def edit(run):
        path = run / "report.html"
        text = path.read_text(encoding="utf-8")
        changed = re.sub(pattern, new, text, count=1)
        assert changed != text
        path.write_text(changed, encoding="utf-8")

    return edit


def in_recipe(pattern, new):
    def edit(run):
        path = run / "recipe.toml"
        head, name, tail = path.read_text().partition('name = "small 2, tuned"')
        changed = re.sub(pattern, new, tail, count=1)
        assert changed != tail
        path.write_text(head + name + changed)

    return edit


EDITS = {
    "the seal": (in_summary(lambda one: one.update(seconds=1.0), keep_seal=True), "tuning.json was edited"),
    "the seconds": (in_summary(lambda one: one.update(seconds=1.0)), "seconds is 1.0"),
    "the best": (in_summary(lambda one: one.update(best=one["best"] % 22 + 1)), "best is"),
    "the untuned": (in_summary(lambda one: one.update(untuned=2)), "untuned is 2"),
    "a score": (in_summary(lambda one: one["trials"][0].update(score=0.99)), "trials > 0 > score is 0.99"),
    "an outcome": (in_summary(lambda one: one["trials"][0].update(outcome="failed")), "outcome is 'failed'"),
    "a setting": (in_summary(lambda one: one["trials"][3]["settings"].update(size_px=64)), "size_px is 64"),
    "a trial left out": (in_summary(lambda one: one["trials"].pop()), "trials is"),
    "a share": (in_summary(lambda one: one["importance"].update(size_px=0.9)), "importance > size_px is 0.9"),
    "how many are compared": (in_summary(lambda one: one["importance_of"].update(best=2)), "importance_of > best is 2"),
    "a space": (in_summary(lambda one: one["spaces"]["size_px"].update(values=[16, 64])), "spaces > size_px"),
    "a number that nothing computes": (in_summary(lambda one: one.update(luck=7)), "luck was not re-derived"),
    "a score in the table": (in_trials("score", 0.99, 0), "score of trial 1 is 0.99, by its measures"),
    "a setting in the table": (in_trials("size_px", 64), "size_px of trial 22 is outside its space"),
    "the number of trials": (
        lambda run: write_json(run / "tuning" / "closed.json", {"trials": 40}),
        "closed.json says 40",
    ),
    "the settings that were trained": (
        in_recipe(r"learning_rate = [\d.e-]+", "learning_rate = 0.5"),
        "is 0.5 in recipe",
    ),
    "the gain that is printed": (in_report(r"(tuning changed balanced accuracy by )", r"\g<1>+99.9, "), "gained 99.9"),
    "an end of its interval": (in_report(r"(percentage points \()", r"\g<1>+77.7 to +88.8, "), "gained 77.7"),
    "a count that is printed": (in_report(r"\d+ trained to the end, ", "999 trained to the end, "), "says 999 of the"),
    "the section": (in_report('<section id="tuning"', '<section id="other"'), "no section on the search"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_is_changed_in_a_search_is_noticed(searched, tmp_path, edit):
    run = tmp_path / "t"
    shutil.copytree(searched, run, ignore=shutil.ignore_patterns("figures", "inside"))
    change, said = EDITS[edit]
    change(run)
    assert any(re.search(said, problem) for problem in problems_of(run)), problems_of(run)


def test_the_command_counts_it_among_the_differences(searched, tmp_path, capsys):
    shutil.copytree(searched, tmp_path / "t")
    EDITS["the best"][0](tmp_path / "t")
    EDITS["the section"][0](tmp_path / "t")
    assert check.main([str(tmp_path / "t")]) == 1
    out = capsys.readouterr().out
    assert "DIFFERS  tuning/tuning.json: best is" in out
    assert "DIFFERS  tuning: report.html has no section on the search." in out


def test_a_search_whose_summary_is_gone_can_not_be_checked(searched, tmp_path):
    run = tmp_path / "t"
    shutil.copytree(searched, run)
    (run / "tuning" / "tuning.json").unlink()
    assert check.main([str(run)]) == 2


@pytest.mark.parametrize("n", [24, 40, 80])
def test_importance_is_that_of_the_program(n):
    rng = np.random.default_rng(n)
    spaces = {
        "rate": Range(1e-4, 1e-1, True, None, False, 1e-2),
        "units": Range(3, 500, True, None, True, 16),
        "whole": Range(1, 200, False, None, True, 5),
        "step": Range(0.1, 0.95, False, 0.1, False, 0.1),
        "kind": Choices(("a", "b", True, 3), "a"),
    }
    trials = []
    for number in range(1, n + 1):
        settings = {
            "rate": float(np.exp(rng.uniform(np.log(1e-4), np.log(1e-1)))),
            "units": int(np.exp(rng.uniform(np.log(3.1), np.log(500)))),
            "whole": int(rng.integers(1, 201)),
            "step": float(0.1 + 0.1 * rng.integers(0, 9)),
            "kind": ("a", "b", True, 3)[rng.integers(4)],
        }
        ended = number % 3 > 0
        trials.append(
            Trial(number, "complete" if ended else "pruned", settings, float(rng.random()) if ended else None)
        )
    told = importance(trials, spaces)
    search = check.Search.__new__(check.Search)
    search.trials = [{"outcome": one.outcome, "settings": dict(one.settings), "score": one.score} for one in trials]
    search.spaces = {
        name: {"values": list(space.values)} if isinstance(space, Choices) else asdict(space)
        for name, space in spaces.items()
    }
    shares, counts = check.importance_of(search)
    assert shares == pytest.approx(dict(told.shares), rel=1e-9)
    assert counts == {"best": told.best, "trials": told.trials}
