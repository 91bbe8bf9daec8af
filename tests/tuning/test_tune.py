"""A whole search, interrupted or not, and what it shows."""

import importlib
import json
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

pytest.importorskip("optuna", reason="tuning needs optuna")

from clearmargin.contest import learn
from clearmargin.errors import DiskError, DivergenceError, RunFolderError, UsageError, WorkError
from clearmargin.files import read_table, sealed, write_json
from clearmargin.interruption import Stopped
from clearmargin.records import Preprocessing
from clearmargin.report import tuning as report_tuning
from clearmargin.report.page import write_report
from clearmargin.tuning import attempt, make_plan, tune
from clearmargin.tuning.search import MOST_BEGINS, Search

pytestmark = pytest.mark.usefixtures("without_figures")

RECIPE = """
name = "Tiny"
[data]
size_px = 16
color = "gray"
[audit]
label_suspects = false
[[contender]]
name = "small"
layers = [{ conv = [4, 8], kernel = 3, activation = "relu" }, { pool = ["max", "average"] }]
size_px = [16, 20]
[training]
epochs = 4
batch_size = 16
learning_rate = { low = 1e-3, high = 1e-1, log = true }
[evaluation]
resamples = 200
"""
TOLD = ["trial", "outcome", "score", "validation_loss", "layers.0.conv", "size_px", "training.learning_rate"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def tuned(recipe, class_folder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARMARGIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        return tune(recipe, trials=8, data=class_folder, out=tmp_path_factory.mktemp("runs") / "t", progress=quiet)


def quiet(*_):
    """Say nothing."""


def trials_of(folder):
    return read_table(folder / "tuning" / "trials.csv", text=("outcome", "note"))


def test_every_trial_is_a_line_and_the_best_stands_beside_the_untuned_one(tuned):
    lines = trials_of(tuned.folder)
    assert list(lines["trial"]) == list(range(1, 9))
    assert list(lines["outcome"]) == [trial.outcome for trial in tuned.trials]
    best = lines.loc[lines["score"].idxmax()]
    assert tuned.summary["best"] == best["trial"]
    untuned, winner = tuned.run.recipe.contender
    assert (untuned.name, winner.name) == ("small", "small, tuned")
    assert untuned.training.learning_rate == pytest.approx(1e-2)
    assert winner.training.learning_rate == best["training.learning_rate"]
    assert winner.size_px == best["size_px"]
    assert winner.layers[0].conv == best["layers.0.conv"]
    assert tuned.run.contenders["small, tuned"].preprocessing.size_px == best["size_px"]
    assert len(tuned.run.evaluation["comparisons"]) == 1


def test_a_trial_never_sees_the_test_part(recipe, class_folder, tmp_path, monkeypatch):
    seen = []

    def watched(contender, network, task, inputs, split, *rest):
        tested = set(split.rows("test").tolist())

        class Rows:
            shape, dtype = inputs.rows.shape, inputs.rows.dtype

            def read(self, rows):
                seen.append(len(tested & set(np.asarray(rows).tolist())))
                return inputs.rows.read(rows)

        from dataclasses import replace

        return learn(contender, network, task, replace(inputs, rows=Rows()), split, *rest)

    monkeypatch.setattr(attempt, "learn", watched)
    tune(recipe, trials=2, data=class_folder, out=tmp_path / "t", progress=quiet, overrides=["training.epochs=1"])
    assert len(seen) > 4
    assert not any(seen)


def test_stopped_at_any_moment_it_goes_on_to_the_same_end(tuned, recipe, class_folder, tmp_path):
    class Stop(BaseException):
        pass

    for moment in (5, 31, 60, 100):
        left = moment

        def stopping(*_):
            nonlocal left
            left -= 1
            if left == 0:
                raise Stop

        try:
            tune(recipe, trials=8, data=class_folder, out=tmp_path / "t", resume=True, progress=stopping)
        except Stop:
            continue
    again = tune(recipe, trials=8, data=class_folder, out=tmp_path / "t", resume=True, progress=quiet)
    pd.testing.assert_frame_equal(trials_of(tmp_path / "t")[TOLD], trials_of(tuned.folder)[TOLD])
    for name in tuned.run.contenders:
        sums = [one.run.contenders[name].description["weights_sha256"] for one in (again, tuned)]
        assert sums[0] == sums[1]


def test_a_finished_search_is_opened_as_it_is(tuned, recipe, class_folder):
    before = (tuned.folder / "report.html").stat().st_mtime_ns
    said = []
    for trials in (8, 9):
        again = tune(
            recipe,
            trials=trials,
            data=class_folder,
            out=tuned.folder,
            resume=True,
            progress=lambda what, *_: said.append(what),
        )
        assert again.summary == tuned.summary
        assert any("has ended with 8 trials" in what for what in said) == (trials == 9)
    assert (tuned.folder / "report.html").stat().st_mtime_ns == before


def test_it_refuses_what_it_would_spoil_or_can_not_go_on_with(tuned, recipe, class_folder, tmp_path):
    with pytest.raises(RunFolderError, match="holds a search"):
        tune(recipe, trials=8, data=class_folder, out=tuned.folder, progress=quiet)
    with pytest.raises(RunFolderError, match="other recipe"):
        tune(recipe, data=class_folder, out=tuned.folder, overrides=["seed=3"], resume=True, progress=quiet)
    with pytest.raises(RunFolderError, match="other folds"):
        tune(recipe, data=class_folder, out=tuned.folder, folds=3, resume=True, progress=quiet)
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(RunFolderError, match="other files"):
        tune(recipe, data=class_folder, out=tmp_path, progress=quiet)
    for wrong in ({"trials": 0}, {"minutes": 0}, {"minutes": float("nan")}, {"folds": 1}, {"folds": -1}):
        with pytest.raises(UsageError, match="must be"):
            tune(recipe, data=class_folder, out=tmp_path / "new", progress=quiet, **wrong)


def test_inner_folds_judge_too(recipe, class_folder, tmp_path):
    done = tune(
        recipe, trials=3, folds=3, data=class_folder, out=tmp_path / "t", progress=quiet,
        overrides=["training.epochs=1"],
    )  # fmt: skip
    first = done.trials[0]
    assert first.outcome == "complete"
    assert first.epochs_run == 3  # one epoch on each fold
    assert done.summary["folds"] == 3
    assert "3 inner folds" in done.run.report.read_text(encoding="utf-8")


def test_a_trial_that_diverges_or_does_not_fit_ends_that_trial_alone(recipe, class_folder, tmp_path, monkeypatch):
    calls = []

    def sometimes(contender, *rest):
        calls.append(contender)
        if len(calls) == 2:
            raise DivergenceError("Training diverged in epoch 1.")
        return learn(contender, *rest)

    monkeypatch.setattr(attempt, "learn", sometimes)
    done = tune(
        recipe, trials=5, data=class_folder, out=tmp_path / "t", progress=quiet,
        overrides=["training.epochs=1", "contender.small.layers.1.size=[2, 63]"],
    )  # fmt: skip
    outcomes = [trial.outcome for trial in done.trials]
    assert outcomes[0] == "complete"
    assert "diverged" in outcomes
    assert all(trial.note for trial in done.trials if trial.outcome in ("diverged", "refused"))
    refused = [trial for trial in done.trials if trial.outcome == "refused"]
    assert all(trial.settings["layers.1.size"] == 63 for trial in refused)


def told_of(ground, settings, begins=1):
    told = []
    asked = SimpleNamespace(
        settings=settings,
        number=1,
        begins=begins,
        hopeless=lambda *_: False,
        tell=lambda outcome, score, **facts: told.append((outcome, score, facts)),
    )
    ground.attempt(asked, [], quiet)
    return told


def test_a_trial_that_ended_its_process_again_and_again_is_left(tmp_path):
    (outcome, score, facts), *more = told_of(attempt.Ground(None, None, None, [], None, tmp_path), {}, MOST_BEGINS + 1)
    assert (outcome, score, more) == ("failed", None, [])
    assert "memory" in facts["note"]


def full_disk():
    return DiskError("The disk is full.")


def stopped_at_once():
    return Stopped(signal.SIGTERM, at_once=True)


@pytest.mark.parametrize("reason", [full_disk, stopped_at_once, KeyboardInterrupt, SystemError])
def test_only_trials_that_end_their_process_are_left(recipe, tmp_path, monkeypatch, reason):
    plan = make_plan(recipe)
    inputs = SimpleNamespace(preprocessing=Preprocessing(16, "pad", "gray"))
    ground = attempt.Ground(plan, SimpleNamespace(outputs=3), inputs, [None, None], None, tmp_path / "trials")
    checkpoint = tmp_path / "trials" / "00001" / "1" / "checkpoint"
    checkpoint.mkdir(parents=True)

    def begin():
        with Search(tmp_path, plan.spaces, {**plan.untuned, "size_px": 16}, 1, 2) as search:
            asked = search.ask(1)
            assert (asked.number, checkpoint.is_dir()) == (1, True)
            ground.attempt(asked, [], quiet)
            return search.finished()[0].outcome

    def leaving(*_):
        raise reason()

    monkeypatch.setattr(attempt, "learn", leaving)
    for _ in range(MOST_BEGINS):
        with pytest.raises(reason if isinstance(reason, type) else (DiskError, Stopped)):
            begin()
    monkeypatch.setattr(attempt, "learn", told_seconds(1.0))
    assert begin() == ("failed" if reason is SystemError else "complete")


def test_why_a_trial_is_left_is_told_when_the_journal_can_not_be_written_either(recipe, tmp_path, monkeypatch):
    def refuse():
        raise DiskError("The journal can't be written.")

    asked = SimpleNamespace(settings={}, number=1, begins=1, take_begin_back=refuse)
    ground = attempt.Ground(None, None, None, [None], None, tmp_path)
    monkeypatch.setattr(attempt.Ground, "_learn", lambda *_: (_ for _ in ()).throw(Stopped(signal.SIGTERM)))
    with pytest.raises(Stopped):
        ground.attempt(asked, [], quiet)


def told_seconds(seconds):
    """A training of two epochs, in the place of `learn`."""
    rows = [{"epoch": epoch, "seconds": seconds, "validation_mean_squared_error": 1.0} for epoch in (1, 2)]
    return lambda *_: SimpleNamespace(fitted=SimpleNamespace(history=rows, best_epoch=2))


def test_a_trial_takes_the_seconds_of_all_its_epochs(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(attempt, "learn", told_seconds(300.0))
    plan = make_plan(recipe)
    inputs = SimpleNamespace(preprocessing=Preprocessing(16, "pad", "gray"))
    ground = attempt.Ground(plan, SimpleNamespace(outputs=3), inputs, [None, None], None, tmp_path)
    ((outcome, score, facts),) = told_of(ground, {**plan.untuned, "size_px": 16})
    assert (outcome, score) == ("complete", -1.0)
    assert (facts["trained_seconds"], facts["epochs_run"], facts["best_epoch"]) == (1200.0, 4, 2.0)


def test_a_search_without_a_result_says_why_and_goes_on_when_more_is_asked_for(
    recipe, class_folder, tmp_path, monkeypatch
):
    def diverging(*_):
        raise DivergenceError("Training diverged in epoch 1.")

    asked = {"data": class_folder, "out": tmp_path / "t", "progress": quiet, "overrides": ["training.epochs=1"]}
    with pytest.raises(WorkError, match="No trial was begun"):
        tune(recipe, minutes=1e-9, **asked)
    with monkeypatch.context() as patch:
        patch.setattr(attempt, "learn", diverging)
        for _ in range(2):
            with pytest.raises(WorkError, match=r"2 diverged.*--resume and more --trials than 2"):
                tune(recipe, trials=2, resume=True, **asked)
    done = tune(recipe, trials=3, resume=True, **asked)
    assert [trial.outcome for trial in done.trials] == ["diverged", "diverged", "complete"]
    assert (done.summary["best"], done.summary["untuned"]) == (3, None)
    assert list(done.run.contenders) == ["small", "small, tuned"]


def test_no_trial_is_begun_after_the_minutes(recipe, class_folder, tmp_path, monkeypatch):
    passed = iter(range(0, 1000, 25))  # seconds: a trial takes 25
    clock = SimpleNamespace(monotonic=lambda: next(passed), sleep=time.sleep)
    monkeypatch.setattr(importlib.import_module("clearmargin.tuning.tune"), "time", clock)
    overrides = ["training.epochs=1"]
    done = tune(recipe, minutes=1, data=class_folder, out=tmp_path / "t", progress=quiet, overrides=overrides)
    assert [trial.number for trial in done.trials] == [1, 2]  # after 25 and 50 s; not after 75


HOLDING = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_a_process_waits_for_the_one_that_compares_and_takes_over_when_that_is_killed(
    tuned, recipe, class_folder, tmp_path
):
    folder = tmp_path / "t"
    shutil.copytree(tuned.folder, folder)
    for name in ("report.html", "evaluation.json", "tuning/tuning.json"):
        (folder / name).unlink()
    left = folder / "tuning" / "trials" / "00001" / "left.safetensors"
    left.parent.mkdir(parents=True)  # as if it had been killed when it had told its outcome
    left.write_bytes(b"left")
    waited = []
    words = [sys.executable, "-c", HOLDING, str(folder / "tuning" / "report.lock")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"

        def waiting(what, *_):
            if what.startswith("Waiting for the process"):
                waited.append(what)
                if len(waited) == 2:
                    other.kill()

        done = tune(recipe, trials=8, data=class_folder, out=folder, resume=True, progress=waiting)
    assert other.returncode == -signal.SIGKILL
    assert len(waited) >= 2
    assert done.summary == tuned.summary
    assert done.run.report.is_file()
    assert not left.parent.parent.exists()


def test_a_process_that_waited_opens_what_the_other_wrote(tuned, recipe, class_folder, tmp_path, monkeypatch):
    folder = tmp_path / "t"
    shutil.copytree(tuned.folder, folder)
    report = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    lock = FileLock(folder / "tuning" / "report.lock")
    lock.acquire()

    def waiting(what, *_):
        if what.startswith("Waiting for the process"):
            (folder / "report.html").write_bytes(report)
            lock.release()

    monkeypatch.setattr(importlib.import_module("clearmargin.tuning.tune"), "Study", None)
    done = tune(recipe, trials=8, data=class_folder, out=folder, resume=True, progress=waiting)
    assert done.summary == tuned.summary
    assert done.run.evaluation == tuned.run.evaluation


def test_a_window_that_is_larger_than_what_it_is_laid_on_is_refused_in_its_trial_alone(recipe, tmp_path):
    plan = make_plan(recipe, ["contender.small.layers.1.size=[2, 63]"])
    inputs = SimpleNamespace(preprocessing=Preprocessing(16, "pad", "gray"))
    ground = attempt.Ground(plan, SimpleNamespace(outputs=3), inputs, [None], None, tmp_path)
    ((outcome, score, facts),) = told_of(ground, {**plan.untuned, "layers.1.size": 63})
    assert (outcome, score) == ("refused", None)
    assert "63" in facts["note"]


def test_where_nothing_is_better_the_report_says_so(recipe, class_folder, tmp_path):
    done = tune(recipe, trials=1, data=class_folder, out=tmp_path / "t", progress=quiet)
    assert done.summary["tuned"] is None
    assert list(done.run.contenders) == ["small"]
    assert "the search gained nothing" in done.run.report.read_text(encoding="utf-8")


def test_the_report_tells_the_gain_with_its_interval(tuned):
    page = tuned.run.report.read_text(encoding="utf-8")
    section = page[page.index('<section id="tuning"') :].split("</section>")[0]
    assert "tuning changed balanced accuracy by" in section
    assert "8 trials" in section
    assert section.count('<tr><th scope="row">') == 4
    assert "it takes 20 trials" in section
    write_report(tuned.folder, language="zh")
    assert "调参使平衡准确率变化了" in tuned.run.report.read_text(encoding="utf-8")
    path = tuned.folder / "tuning" / "tuning.json"
    whole = path.read_text()
    path.write_text(whole.replace('"seconds":', '"seconds": 1, "was":'))
    with pytest.raises(RunFolderError, match="edited or damaged"):
        write_report(tuned.folder)
    path.write_text(whole)
    write_report(tuned.folder)


def test_a_regression_is_tuned_by_its_squared_error(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(90, 3))
    table = pd.DataFrame(x, columns=["a", "b", "c"]).assign(y=x @ [1.0, -2.0, 0.5])
    table.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "r.toml").write_text(
        'task = "regression"\n[data]\nsource = "t.csv"\ntarget = "y"\n[[contender]]\nname = "n"\n'
        "layers = [{ flatten = true }, { dense = [4, 8], activation = 'relu' }]\n"
        'training = { epochs = 3, loss = ["squared", "absolute"], learning_rate = [1e-2, 1e-3] }\n'
        "[evaluation]\nresamples = 200\n"
    )
    done = tune(tmp_path / "r.toml", trials=4, out=tmp_path / "t", progress=quiet)
    assert done.summary["measure"] == "mean_squared_error"
    reached = {trial.number: trial.measures["mean_squared_error"] for trial in done.trials if trial.score is not None}
    assert done.summary["best"] == min(reached, key=reached.get)
    assert 'id="tuning"' in done.run.report.read_text(encoding="utf-8")


def test_the_command(recipe, class_folder, tmp_path, clearmargin):
    words = ("tune", recipe, "--data", class_folder, "--out", tmp_path / "t", "--trials", 2)
    status, out, err = clearmargin(*words, "--set", "training.epochs=1", "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["tuning"]["contender"] == "small"
    assert told["contenders"]
    status, out, _ = clearmargin(*words, "--set", "training.epochs=1", "--resume")
    assert status == 0
    assert "1 (untuned)" in out
    assert "Trials:" in out
    status, _, err = clearmargin(*words, "--contender", "none")
    assert status == 2
    assert "There is no contender 'none'" in err


def test_the_report_says_on_which_trials_importance_rests(tuned, tmp_path):
    shutil.copytree(tuned.folder, tmp_path / "t")
    path = tmp_path / "t" / "tuning" / "tuning.json"
    content = json.loads(path.read_text())
    share = 1 / len(content["spaces"])
    content |= {"importance": dict.fromkeys(content["spaces"], share), "importance_of": {"best": 7, "trials": 31}}
    write_json(path, sealed({key: value for key, value in content.items() if key != "content_sha256"}))
    write_report(path.parents[1])
    assert "the best 7 trials differ from those of all 31" in (tmp_path / "t" / "report.html").read_text("utf-8")
    write_report(path.parents[1], language="zh")
    assert "最好的 7 次试验的设置与全部 31 次试验" in (tmp_path / "t" / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("first", "told"), [("n, tuned", "−0.500 (−0.800 to −0.200;"), ("n", "0.500 (0.200 to 0.800;")]
)
def test_the_gain_of_a_regression_is_how_its_error_changed(first, told):
    second = {"n": "n, tuned", "n, tuned": "n"}[first]
    pair = {"first": first, "second": second, "difference": {"value": 0.5, "low": 0.2, "high": 0.8}, "sentence": "."}
    found = SimpleNamespace(contender="n", tuned="n, tuned")
    assert f"changed the RMSE by {told}" in report_tuning._gain({"task": "regression", "comparisons": [pair]}, found)
